"""The comparison of two runs: as lines for people, and as a JSON document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.report.printable import plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.views.compare import Comparison

_VERSION = 1


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the two runs: its folder, the profile that its files were read by, how many."""

    path: str
    profile: str
    checkpoints: int


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What `conformance diff` has to say of the runs A and B."""

    version: str
    first: ComparedRun
    second: ComparedRun
    comparison: Comparison


def to_comparison_text(report: ComparisonReport) -> str:
    """Return the comparison as lines of text, the worst difference first."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ComparisonReport) -> Iterator[str]:
    for letter, run in (("A", report.first), ("B", report.second)):
        about = f"profile {run.profile}, {plural(run.checkpoints, 'checkpoint')}"
        yield f"{letter} {printable(run.path)}  ({printable(about)})"
    comparison = report.comparison
    for found in comparison.differences:
        yield f"  {found.severity.value:8}  {found.topic:9}  {printable(found.message)}"
        if found.consequence:
            yield f"{'':23}a consumer of A: {printable(found.consequence)}"
    for left in comparison.unread:
        yield f"  not compared  {left.run} {printable(left.path)}: {printable(left.why)}"
    yield ""
    number = sum(bool(found.consequence) for found in comparison.differences)
    harmless = len(comparison.differences) - number
    end = f"; {plural(harmless, 'harmless difference')}" if harmless else ""
    compared = f"{plural(comparison.compared, 'checkpoint')} of A compared with their like in B"
    if comparison.nothing:
        yield f"nothing could be compared: {printable(comparison.nothing)}"
    elif comparison.trips:
        yield f"a consumer of A trips over B in {plural(number, 'way')} ({compared}{end})"
    else:
        yield f"the same for a consumer of A ({compared}{end})"


def to_comparison_json(report: ComparisonReport) -> str:
    """Return the comparison as JSON (`diff-1.schema.json`)."""
    document = {
        "diff": _VERSION,
        "tool": {"name": "conformance", "version": report.version},
        "a": _run(report.first),
        "b": _run(report.second),
        "compared": report.comparison.compared,
        "trips": report.comparison.trips,
        "differences": [
            {
                "severity": found.severity.value,
                "topic": found.topic,
                "message": found.message,
                "consequence": found.consequence,
            }
            for found in report.comparison.differences
        ],
        "unread": [
            {"run": left.run.lower(), "path": left.path, "why": left.why}
            for left in report.comparison.unread
        ],
        "nothing": report.comparison.nothing,
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _run(run: ComparedRun) -> dict[str, str | int]:
    return {"path": run.path, "profile": run.profile, "checkpoints": run.checkpoints}
