"""Exit codes, and the error that means the user's own input."""

from __future__ import annotations

from enum import IntEnum

from conformance.convention.rules import RunVerdict


class Exit(IntEnum):
    """What the command's exit codes mean; fixed, since pipelines depend on them."""

    CONFORMS = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    HARNESS = 4
    INTERRUPTED = 130  # as a shell says of whoever Ctrl-C ended


class UsageError(Exception):
    """Wrong usage or unreadable input: one line that says what, where and what to do."""


def of_verdict(verdict: RunVerdict, *, strict: bool) -> Exit:
    """The exit code of a report's verdict."""
    return {
        RunVerdict.CONFORMS: Exit.CONFORMS,
        RunVerdict.INCOMPLETE: Exit.INCOMPLETE if strict else Exit.CONFORMS,
        RunVerdict.FAIL: Exit.FAILED,
        RunVerdict.ERROR: Exit.HARNESS,
    }[verdict]
