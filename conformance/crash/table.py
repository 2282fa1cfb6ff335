"""The table of a crash: call, fault, what was left, verdict; what is wrong comes first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from conformance.crash.findings import HALF_KILL, POWER_CUT
from conformance.crash.points import FAULTS
from conformance.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from conformance.crash.findings import Tried
    from conformance.crash.session import CrashResult

_WORST_FIRST = ("fail", "lost", "not reached", "pass")
_ORDER = (*FAULTS, HALF_KILL, POWER_CUT)
_HEAD = ("save", "call", "fault", "left of the best", "verdict")
_WIDEST = 60
_MOST_ROWS = 40


def to_table(result: CrashResult, *, verbose: bool = False) -> str:
    """Return the table as lines of text.

    Args:
        result: what to show.
        verbose: also show each call that was survived; else they are counted, by fault.
    """
    lines = [printable(summary(result)), ""]
    if result.explanations:
        lines += [f"  why: {printable(text)}" for text in result.explanations]
        lines.append("")
    shown = [each for each in result.tried if verbose or each.verdict != "pass"]
    rows = list(_rows(shown))
    if rows:
        lines += _aligned([_HEAD, *rows[: None if verbose else _MOST_ROWS]])
        if not verbose and len(rows) > _MOST_ROWS:
            lines.append(f"  and {len(rows) - _MOST_ROWS} more: --verbose")
        lines.append("")
    lines += [*_counted(result.tried), ""]
    return "\n".join(lines)


def summary(result: CrashResult) -> str:
    """How much was tried, and how fast, in one line."""
    played = len(result.played)
    speed = played / result.seconds if result.seconds else 0.0
    of = f" of {result.found}" if result.found != played else ""
    states = f"; {result.states} states of a power cut" if result.states else ""
    return (
        f"{played}{of} points played{states}; {result.seconds:.1f} s, {speed:.1f} points/s"
        f" ({result.pace})"
    )


def _rows(tried: Iterable[Tried]) -> Iterator[tuple[str, ...]]:
    """One row for what is alike in all but the save and the fault, the worst first."""
    groups: dict[tuple[str, str, str], list[Tried]] = {}
    for each in tried:
        groups.setdefault((each.verdict, each.call, each.left or each.why), []).append(each)
    for (verdict, call, left), alike in sorted(
        groups.items(), key=lambda item: _WORST_FIRST.index(item[0][0])
    ):
        faults = sorted({each.fault for each in alike}, key=_ORDER.index)
        saves = sorted({each.save for each in alike})
        why = next((each.why for each in alike if each.why and each.left), "")
        shown = left
        if left == "torn":
            shown = why.removeprefix("the best is ")
        elif why and not why.startswith("the best is "):
            shown = f"{left}; {why}"
        yield (
            ", ".join(map(str, saves)),
            printable(call),
            ", ".join(faults),
            printable(shown),
            "FAIL" if verdict == "fail" else verdict,
        )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [min(_WIDEST, max(len(row[at]) for row in rows)) for at in range(len(_HEAD) - 1)]
    return [
        "  "
        + "  ".join(
            [*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]
        )
        for row in rows
    ]


def _counted(tried: Sequence[Tried]) -> Iterator[str]:
    """How often each fault was survived."""
    counts = Counter((each.fault, each.verdict) for each in tried)
    for fault in _ORDER:
        parts = [f"{counts[fault, word]} {word}" for word in _WORST_FIRST if counts[fault, word]]
        if parts:
            yield f"  {fault:16} {', '.join(reversed(parts))}"
