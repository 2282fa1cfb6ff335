"""What a check says: an outcome, and the finding that a report shows of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from conformance.convention.brief import Brief
from conformance.convention.rules import Level, RunVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from conformance.convention.rules import Rule
    from conformance.run.explanation import Explanation
    from conformance.run.remark import Remark


_MOST_CAUSES = 3  # of one finding, each told by a file


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule's verdict on one run, with what it rests on.

    Attributes:
        verdict: see the convention's section on verdicts.
        message: one sentence for a person.
        paths: paths from the run's folder that it speaks of.
        evidence: the values behind it, fit for JSON.
        causes: what broke the rule, in the words of its remedies; none: what it usually is.
    """

    verdict: Verdict
    message: str
    paths: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    causes: tuple[str, ...] = ()

    def in_doubt(self, why: str) -> Outcome:
        """The same where what it rests on cannot be trusted: nothing passes and nothing fails."""
        if self.verdict not in (Verdict.PASS, Verdict.FAIL):
            return self
        return unobservable(why, self.paths)

    def of(self, rule: Rule) -> Finding:
        """What a report shows of it as the outcome of that rule: with the fix, where it failed."""
        return Finding(
            rule=rule.id,
            level=rule.level,
            verdict=self.verdict,
            message=sys.intern(self.message),  # thousands of runs say the same
            paths=self.paths,
            evidence=self.evidence,
            fix=rule.fix_for(self.causes or ("",)) if self.verdict is Verdict.FAIL else "",
        )


@dataclass(frozen=True, slots=True)
class Blame:
    """The rule that evidence of the best checkpoint shows broken, and how; its numbers."""

    rule: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def passed(message: str, **evidence: object) -> Outcome:
    """The rule looked at something and found it kept."""
    return Outcome(Verdict.PASS, message, (), evidence)


def failed(
    message: str, paths: Iterable[str] = (), *, causes: Iterable[str] = (), **evidence: object
) -> Outcome:
    """The rule is broken, by these causes of its remedies."""
    held = {key: _fit(value) for key, value in evidence.items()}
    return Outcome(Verdict.FAIL, message, tuple(paths), held, tuple(causes))


def _fit(value: object) -> object:
    """A value as JSON holds it: a number that is not finite as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _fit(inner) for key, inner in value.items()}
    return [_fit(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def failed_files(
    reasons: Mapping[str, str], how: str = ":", causes: Mapping[str, str] | None = None
) -> Outcome:
    """The rule is broken by each of these files: the first of each cause is told, the rest counted.

    Args:
        reasons: why, by path from the run's folder.
        how: what stands between the path and the reason.
        causes: what broke the rule, by path, in the words of its remedies; None: what usually does.
    """
    of = dict.fromkeys(reasons, "") if causes is None else causes
    firsts: dict[str, str] = {}
    for path in reasons:
        firsts.setdefault(of[path], path)
    told = list(firsts.values())[:_MOST_CAUSES]
    message = "; ".join(f"{path!a}{how} {reasons[path]}" for path in told)
    left = len(reasons) - len(told)
    message += f"; and {left} more" if left else ""
    if causes is None:
        return failed(message, reasons, reasons=reasons)
    return failed(
        message, reasons, causes=[of[path] for path in told], reasons=reasons, causes_of=of
    )


def and_more(told: Sized) -> str:
    """How many there are beyond the one that is told; empty where there is no other."""
    return f"; and {len(told) - 1} more" if len(told) > 1 else ""


def first_few(values: Iterable[object], most: int = 3) -> str:
    """The first few values, safe to print, and how many more there are."""
    listed = list(values)
    shown = ", ".join(ascii(value) for value in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def not_applicable(message: str, **evidence: object) -> Outcome:
    """The profile or the run has nothing for the rule."""
    return Outcome(Verdict.NOT_APPLICABLE, message, (), evidence)


def unobservable(message: str, paths: Iterable[str] = (), **evidence: object) -> Outcome:
    """The evidence that the rule needs is absent."""
    return Outcome(Verdict.UNOBSERVABLE, message, tuple(paths), evidence)


def reported_under(rule: str) -> Outcome:
    """What was found is a deviation from another rule, which reports it."""
    return not_applicable(f"the deviation is reported under {rule}")


def harness_failed(why: str | None) -> Outcome:
    """The harness failed, and not the trainer."""
    return Outcome(Verdict.ERROR, f"the harness failed: {why}")


@dataclass(frozen=True, slots=True, repr=False)
class Finding(Brief):
    """One rule's outcome in a report."""

    rule: str
    level: Level
    verdict: Verdict
    message: str
    paths: tuple[str, ...]
    evidence: Mapping[str, Any]
    fix: str
    waived: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class RunReport(Brief):
    """All findings on one run: one for each selected rule.

    Attributes:
        path: the run's folder; of a driven trainer its title.
        verdict: of the run.
        sessions: how many there were.
        checkpoints: how many there are; of a driven trainer, how many were due.
        findings: one for each rule.
        notes: what else there is to say, a line each.
        driven: whether this is about a trainer that was driven, over all that it played.
        explanation: of each of the run's files, where it was asked for.
        profile: the name of the profile that it was held against.
        remarks: what its files show that no rule judges.
    """

    path: str
    verdict: RunVerdict
    sessions: int
    checkpoints: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    driven: bool = False
    explanation: Explanation | None = None
    profile: str = ""
    remarks: tuple[Remark, ...] = ()

    @property
    def hint(self) -> str:
        """What to know before any finding: that the run is of another dialect; else empty."""
        told = (str(finding.evidence.get("hint", "")) for finding in self.findings)
        return next(filter(None, told), "")

    def sharing(self, other: RunReport) -> RunReport:
        """Return the same report, with the other's findings where they are equal.

        The runs of a root are much alike, and there may be thousands of them in memory.
        """
        known = {finding.rule: finding for finding in other.findings}
        return replace(
            self,
            findings=tuple(
                known[finding.rule] if known.get(finding.rule) == finding else finding
                for finding in self.findings
            ),
        )


def run_verdict(findings: Iterable[Finding]) -> RunVerdict:
    """The verdict on a run, from the MUST rules that are not waived."""
    verdicts = {
        finding.verdict
        for finding in findings
        if finding.verdict is Verdict.ERROR
        or (finding.level is Level.MUST and finding.waived is None)
    }
    if Verdict.FAIL in verdicts:
        return RunVerdict.FAIL
    if Verdict.ERROR in verdicts:
        return RunVerdict.ERROR
    return RunVerdict.INCOMPLETE if Verdict.UNOBSERVABLE in verdicts else RunVerdict.CONFORMS
