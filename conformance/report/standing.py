"""What a finding means to a reader of any format, and where the files that it names stand."""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING

from conformance.convention.rules import Level, RunVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.finding import Finding, RunReport


class Standing(str, Enum):
    """A verdict together with its weight: a SHOULD that failed warns, a waiver excuses."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    WAIVED = "waived"
    UNOBSERVABLE = "unobservable"
    ERROR = "errors"
    NOT_APPLICABLE = "not applicable"


_OF_VERDICT = {
    Verdict.PASS: Standing.PASSED,
    Verdict.NOT_APPLICABLE: Standing.NOT_APPLICABLE,
    Verdict.UNOBSERVABLE: Standing.UNOBSERVABLE,
    Verdict.ERROR: Standing.ERROR,
}


def standing(finding: Finding) -> Standing:
    """Return how the finding stands."""
    if finding.verdict is not Verdict.FAIL:
        return _OF_VERDICT[finding.verdict]
    if finding.waived is not None:
        return Standing.WAIVED
    return Standing.FAILED if finding.level is Level.MUST else Standing.WARNED


def failures_first(runs: Iterable[RunReport]) -> list[RunReport]:
    """The runs for people: what failed first, what conforms last, else in their order."""
    worst = list(RunVerdict)
    return sorted(runs, key=lambda run: worst.index(run.verdict))


def tally(run: RunReport) -> dict[Standing, int]:
    """The run's findings by how they stand, zeros included."""
    found = [standing(finding) for finding in run.findings]
    return {kind: found.count(kind) for kind in Standing}


def tally_in_words(run: RunReport) -> str:
    """The tally as a reader wants it: `21 passed, 1 failed`; empty without findings."""
    return ", ".join(f"{number} {kind.value}" for kind, number in tally(run).items() if number)


def shown_path(path: str) -> str:
    """The path from the working folder where it lies inside, else as it is."""
    relative = os.path.relpath(path)
    return path if relative == ".." or relative.startswith("../") else relative


def shown_run(run: RunReport) -> str:
    """The run's folder as `shown_path` has it, or the driven trainer's title."""
    return run.path if run.driven else shown_path(run.path)


def shown_paths(finding: Finding) -> tuple[str, ...]:
    """The finding's paths from the run's folder; the folder itself is `.`."""
    return tuple(path or "." for path in finding.paths)


def in_run(run: RunReport, path: str) -> str:
    """A path from the run's folder as a path from the working folder, where it lies inside.

    What a driven trainer wrote is gone: of that, the trainer's title.
    """
    if run.driven:
        return run.path
    folder = shown_path(run.path)
    if path in ("", "."):
        return folder
    return path if folder == "." else f"{folder}/{path}"
