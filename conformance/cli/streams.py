"""The two streams of the command: results on stdout, all else on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from conformance.cli.exits import UsageError
from conformance.report.printable import printable

if TYPE_CHECKING:
    from typing import TextIO


def emit(text: str) -> None:
    """Write a result to stdout, whole; a reader that went away has seen enough.

    Raises:
        UsageError: it cannot be written, as on a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise UsageError(f"standard output cannot be written: {error.strerror}") from error


def complain(message: str) -> None:
    """Write one line to stderr, if it can be written."""
    try:
        sys.stderr.write(f"conformance: {printable(message)}\n")
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Lead a stream nowhere, lest what is left in it fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
