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
    from conformance.crash.kills import Killed, KillsResult
    from conformance.crash.session import CrashResult

_WORST_FIRST = ("fail", "lost", "not reached", "pass")
_ORDER = (*FAULTS, HALF_KILL, POWER_CUT)
_HEAD = ("save", "call", "fault", "left of the best", "verdict")
_KILLS_HEAD = ("kills", "in a save", "left of the best", "others", "verdict")
_WIDEST = 96
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
    """Return how much was tried, and how fast, in one line."""
    played = len(result.played)
    speed = played / result.seconds if result.seconds else 0.0
    of = f" of {result.found}" if result.found != played else ""
    states = f"; {result.states} states of a power cut" if result.states else ""
    return (
        f"{played}{of} points played{states}; {result.seconds:.1f} s, {speed:.1f} points/s"
        f" ({result.pace})"
    )


def _rows(tried: Iterable[Tried]) -> Iterator[tuple[str, ...]]:
    """Yield one row for what is alike in all but the save and the fault, the worst first.

    Each fault of a row came in each of its saves.
    """
    by_save: dict[tuple[str, str, str, int], list[Tried]] = {}
    for each in tried:
        key = (each.verdict, each.call, each.left or each.why, each.save)
        by_save.setdefault(key, []).append(each)
    groups: dict[tuple[str, str, str, frozenset[str]], list[Tried]] = {}
    for (verdict, call, left, _), alike in by_save.items():
        key_of_faults = verdict, call, left, frozenset(each.fault for each in alike)
        groups.setdefault(key_of_faults, []).extend(alike)
    for (verdict, call, left, kinds), alike in sorted(
        groups.items(), key=lambda item: _WORST_FIRST.index(item[0][0])
    ):
        faults = sorted(kinds, key=_ORDER.index)
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


def to_kills_table(result: KillsResult) -> str:
    """Return what kills at random instants left, as lines of text; what is wrong comes first."""
    alike: dict[tuple[bool, str, str], list[Killed]] = {}
    for each in sorted(result.killed, key=lambda each: (not each.why, each.instant)):
        others = "" if each.why else f"{each.others}"
        alike.setdefault((not each.why, each.why or each.best, others), []).append(each)
    rows = [
        (
            str(len(group)),
            str(sum(each.within for each in group)),
            printable(left),
            others,
            "pass" if survived else "FAIL",
        )
        for (survived, left, others), group in alike.items()
    ]
    more = [f"  and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else []
    lines = [printable(kills_summary(result)), "", *_aligned([_KILLS_HEAD, *rows[:_MOST_ROWS]])]
    return "\n".join([*lines, *more, ""])


def kills_summary(result: KillsResult) -> str:
    """Return how many kills there were, and how many of them in a save, in one line."""
    within = sum(each.within for each in result.killed)
    size = max((each.bytes for each in result.killed), default=0) / 1e6
    return (
        f"{len(result.killed)} kills at random instants, {within} in a save, {result.ended} too"
        f" late; checkpoints of up to {size:.1f} MB, a session of {result.session:.2f} s;"
        f" {result.seconds:.1f} s ({result.pace})"
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
