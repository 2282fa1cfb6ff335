"""What was left at each point, and the findings that it comes to."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.checks.finding import Finding, Outcome
from conformance.convention.rules import BY_ID, Verdict
from conformance.crash.points import KILL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

POWER_CUT = "power cut"
HALF_KILL = "SIGKILL half way"

_MOST_TOLD = 20
_NUMBERS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Tried:
    """One point, and what it left.

    Attributes:
        call: the call, for a person.
        fault: what happened to it.
        left: what was left of the best.
        verdict: `pass`, `fail`, `lost` (by a power cut), or `not reached`.
        why: of what is no pass, in one sentence; else empty.
        save: the number of the save, from 1.
        leftovers: names that are no checkpoint's, left behind.
        torn: other checkpoints that are not whole.
        replayed: whether it was seen in the recording, without running anything.
    """

    call: str
    fault: str
    left: str
    verdict: str
    why: str = ""
    save: int = 0
    leftovers: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()
    replayed: bool = False


def crash_findings(
    tried: Sequence[Tried], *, best: str, folder: str, causes: Sequence[str], durable: bool
) -> tuple[Finding, ...]:
    """What the points come to: INTEGRITY-001, -002, -003 and LAYOUT-003.

    Args:
        tried: all of them, the replayed ones too.
        best: the best checkpoint, from the run's folder.
        folder: of the checkpoints, likewise.
        causes: what is wrong with the calls; the first one is told.
        durable: whether what a power cut may lose breaks INTEGRITY-002 too.
    """
    sudden = (KILL, HALF_KILL, POWER_CUT) if durable else (KILL, HALF_KILL)
    kills = [each for each in tried if each.fault in sudden]
    faults = [each for each in tried if each.fault not in (KILL, HALF_KILL, POWER_CUT)]
    return (
        _others([each for each in tried if not each.replayed], folder),
        _bests(
            "INTEGRITY-002",
            "kills and power cuts" if durable else "kills",
            "leave the previous or the new best",
            kills,
            best=best,
            causes=causes,
        ),
        _bests(
            "INTEGRITY-003",
            "failing calls",
            "leave a best, and are told of or mended",
            faults,
            best=best,
            causes=causes,
        ),
        _leftovers(faults, folder),
    )


def _bests(
    rule: str, what: str, kept: str, group: Sequence[Tried], *, best: str, causes: Sequence[str]
) -> Finding:
    failed = [each for each in group if each.verdict == "fail"]
    done = [each for each in group if each.verdict in ("pass", "fail")]
    if not failed:
        return _passes(rule, [each for each in group if each.verdict != "lost"], f"{what} {kept}")
    cause = f"{causes[0]}: " if causes else ""
    return _finding(
        rule,
        Verdict.FAIL,
        f"{cause}{len(failed)} of {len(done)} {what} are not survived, first {at(failed[0])}:"
        f" {failed[0].why}",
        group,
        [best],
    )


def _others(tried: Sequence[Tried], folder: str) -> Finding:
    done = [each for each in tried if each.verdict in ("pass", "fail")]
    torn = [each for each in done if each.torn]
    if not torn:
        return _passes("INTEGRITY-001", tried, "points leave every other checkpoint whole")
    return _finding(
        "INTEGRITY-001",
        Verdict.FAIL,
        f"{len(torn)} of {len(done)} points leave another checkpoint torn or gone under its final"
        f" name, first {at(torn[0])}",
        torn,
        [f"{folder}/{name}" for name in sorted({name for each in torn for name in each.torn})],
    )


def _leftovers(faults: Sequence[Tried], folder: str) -> Finding:
    done = [each for each in faults if each.verdict in ("pass", "fail")]
    dirty = [each for each in done if each.leftovers]
    if not dirty:
        return _passes("LAYOUT-003", faults, "failing calls leave no temporary file")
    # A process's number in a name makes each another one; one of them is enough.
    alike = {_NUMBERS.sub("", name): name for each in dirty for name in each.leftovers}
    return _finding(
        "LAYOUT-003",
        Verdict.FAIL,
        f"{len(dirty)} of {len(done)} failing calls leave a temporary file behind, first"
        f" {at(dirty[0])}",
        dirty,
        [f"{folder}/{name}" for name in sorted(alike.values())],
    )


def at(tried: Tried) -> str:
    """Where and how, for a person."""
    if tried.fault == POWER_CUT:
        return f"a power cut {tried.call} of save {tried.save}"
    if tried.fault == HALF_KILL:
        return f"killed in the middle of {tried.call} of save {tried.save}"
    fault = "killed" if tried.fault == KILL else tried.fault
    return f"{fault} at {tried.call} of save {tried.save}"


def _passes(rule: str, tried: Sequence[Tried], kept: str) -> Finding:
    """No point failed: that is a pass only where each was reached."""
    done = [each for each in tried if each.verdict in ("pass", "fail")]
    if not done or len(done) < len(tried):
        missed = f"{len(tried) - len(done)} of {len(tried)} points were not reached"
        why = (
            f"{missed}: the calls came otherwise than recorded"
            if tried
            else "no such point was played"
        )
        return _finding(rule, Verdict.UNOBSERVABLE, why, tried, ())
    return _finding(rule, Verdict.PASS, f"all {len(done)} {kept}", done, ())


def _finding(
    rule: str, verdict: Verdict, message: str, tried: Sequence[Tried], paths: Iterable[str]
) -> Finding:
    return Outcome(verdict, message, tuple(paths), _evidence(tried)).of(BY_ID[rule])


def _evidence(tried: Sequence[Tried]) -> Mapping[str, object]:
    counted = Counter((each.fault, each.verdict) for each in tried)
    rows = (each for each in tried if each.verdict != "pass")
    return {
        "points": {f"{fault}: {verdict}": number for (fault, verdict), number in counted.items()},
        "rows": [
            {
                "save": each.save,
                "call": each.call,
                "fault": each.fault,
                "left": each.left,
                "verdict": each.verdict,
                "why": each.why,
            }
            for each in rows
        ][:_MOST_TOLD],
    }
