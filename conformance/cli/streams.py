"""The two streams of the command: results on stdout, all else on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from conformance.cli.exits import UsageError
from conformance.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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


def complain_once(told: Iterable[tuple[object, str]]) -> None:
    """Write one line for each message, however many things it is told of.

    Args:
        told: what each message is about, and the message.
    """
    about: dict[str, list[object]] = {}
    for what, message in told:
        about.setdefault(message, []).append(what)
    for message, (first, *others) in about.items():
        more = f" and {len(others)} more" if others else ""
        complain(f"{first}{more}: {message}")


def end_results() -> None:
    """From here on, what is written to stdout goes to stderr.

    A trainer in this process may print once more when the interpreter ends; results are out by now.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


@contextlib.contextmanager
def only_results() -> Iterator[None]:
    """Lead what anybody writes to stdout, at whatever level, to stderr; results come later."""
    try:
        sys.stdout.flush()
        out, err = sys.__stdout__, sys.stderr.fileno()
        target = out.fileno() if out is not None else None
        saved = os.dup(target) if target is not None else None
    except (OSError, ValueError, AttributeError):
        target = saved = None  # closed, or no descriptor: then nobody writes to it either
    with contextlib.redirect_stdout(sys.stderr):
        if target is None or saved is None:
            yield
            return
        os.dup2(err, target)
        try:
            yield
        finally:
            os.dup2(saved, target)
            os.close(saved)


def _silence(stream: TextIO) -> None:
    """Lead a stream nowhere, lest what is left in it fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
