"""`conformance fixtures DIR`: writes the published test vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conformance.cli.exits import Exit, UsageError
from conformance.cli.streams import emit
from conformance.fixtures.cases import CASES
from conformance.fixtures.publish import PublishError, publish, published

if TYPE_CHECKING:
    import argparse


def fixtures(options: argparse.Namespace) -> int:
    """Write all cases and their manifest into `options.folder` and return the exit code."""
    folder = Path(options.folder)
    files = published()
    try:
        publish(folder, files)
    except PublishError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or options.folder!a}: {error.strerror}") from error
    emit(f"{len(CASES)} runs in {len(files)} files written to {options.folder!a}\n")
    return Exit.CONFORMS
