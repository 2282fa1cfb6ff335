"""Judges one run: each rule's check takes the evidence and the expectation and yields a finding."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from conformance.checks import (
    best,
    cadence,
    integrity,
    layout,
    load,
    names,
    resume,
    safety,
    summary,
    writes,
)
from conformance.checks.driven import DrivenSession, Writes
from conformance.checks.finding import (
    Finding,
    Outcome,
    RunReport,
    not_applicable,
    run_verdict,
    unobservable,
)
from conformance.checks.subject import Options, Subject
from conformance.convention.rules import BY_ID, RULES, Needs, Place, Rule, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conformance.checks.explain import Explanation
    from conformance.checks.files import Readings
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import RunFolder

__all__ = [
    "CHECKS",
    "DrivenSession",
    "Finding",
    "Options",
    "RunReport",
    "Subject",
    "Writes",
    "audit",
]

CHECKS: Mapping[str, Callable[[Subject], Outcome]] = dict(
    chain.from_iterable(
        module.CHECKS.items()
        for module in (
            layout,
            names,
            cadence,
            writes,
            best,
            load,
            integrity,
            safety,
            summary,
            resume,
        )
    )
)


# The groups of rules that a run breaks by what it does not hold.
_OF_WHAT_WAS_LEFT = ("LAYOUT", "CADENCE", "BEST")


def audit(
    folder: RunFolder,
    profile: Profile,
    options: Options | None = None,
    *,
    driven: tuple[DrivenSession, ...] = (),
    selected: frozenset[str] | None = None,
    watch: Callable[[int, int], None] | None = None,
    explaining: bool = False,
    readings: Readings | None = None,
) -> RunReport:
    """Judge a run: from its files alone, or with what is known of a trainer that was driven.

    Args:
        folder: the run, as `scan_run` lists it.
        profile: the dialect to hold it against.
        options: what the caller knows of the run.
        driven: the sessions that the harness had played in it, in order; the last one is judged.
        selected: ids of the rules to judge; None: all.
        watch: told how many of the checkpoints are read, and of how many.
        explaining: whether to explain each of the run's files too.
        readings: what was read of its files already; more is kept there.

    Returns:
        One finding for each selected rule. A check that fails itself yields `error`, never a
        failure of the trainer.
    """
    subject = Subject(folder, profile, options or Options(), driven, readings=readings)
    if watch is not None:
        for number, file in enumerate(subject.checkpoints, start=1):
            _ = file.contents  # read now, kept for the checks
            watch(number, len(subject.checkpoints))
    findings = tuple(
        _finding(rule, subject) for rule in RULES if selected is None or rule.id in selected
    )
    if subject.left_nothing:
        findings = tuple(_told_once(subject.left_nothing, findings))
    if folder.is_file:  # the report's path is the file's own
        findings = tuple(replace(finding, paths=()) for finding in findings)
    return RunReport(
        path=str(folder.path),
        verdict=run_verdict(findings),
        sessions=subject.history.count,
        checkpoints=len(subject.checkpoints),
        findings=findings,
        notes=(*folder.problems, *subject.notes),
        explanation=_explanation(subject) if explaining and not folder.is_file else None,
    )


def _explanation(subject: Subject) -> Explanation:
    from conformance.checks.explain import explain  # noqa: PLC0415 - only who asks pays for it

    return explain(subject)


def _told_once(what: str, findings: tuple[Finding, ...]) -> Iterator[Finding]:
    """The findings on a run that left nothing: that is told once, and no rule blames it.

    What its logs and its name say for themselves stands.
    """
    teller = ""
    for finding in findings:
        rule = BY_ID[finding.rule]
        lacks = finding.verdict is Verdict.FAIL and rule.group in _OF_WHAT_WAS_LEFT
        if not lacks and finding.verdict is not Verdict.UNOBSERVABLE:
            yield finding
        elif teller:
            yield not_applicable(f"the run left nothing ({teller} says so)").of(rule)
        else:
            teller = rule.id
            yield unobservable(what).of(rule)


def _finding(rule: Rule, subject: Subject) -> Finding:
    try:
        outcome = _judge(rule, subject)
    except OSError as error:
        outcome = unobservable(f"a file changed or vanished while it was read: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the harness's own failure
        import traceback  # noqa: PLC0415 - a run that needs it is slow anyway

        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = Outcome(
            Verdict.ERROR,
            f"the harness failed: {type(error).__name__}: {error}"
            f" ({where.name}, line {where.lineno})",
        )
    return outcome.of(rule)


def _judge(rule: Rule, subject: Subject) -> Outcome:
    if rule.shown_otherwise or (rule.driven and not subject.driven):
        return not_applicable(rule.shown_by[0].value)
    if subject.folder.is_file and not rule.of_one_file:
        return not_applicable("it needs the run: this is a checkpoint by itself")
    if subject.driven and rule.id != "RESUME-001" and resume.went_elsewhere(subject):
        return not_applicable("the deviation is reported under RESUME-001")
    hidden = _hidden(rule, subject)
    if hidden is not None:
        return unobservable(f"the folder {hidden or '.'!a} cannot be listed whole", [hidden])
    return CHECKS[rule.id](subject)


def _hidden(rule: Rule, subject: Subject) -> str | None:
    """A folder that the rule needs to see and that could not be listed; empty: the run's own."""
    profile = subject.profile
    needed = {""}
    if not {Needs.NAMES, Needs.CONTENTS}.isdisjoint(rule.needs):
        needed.add(profile.checkpoints)
    if Needs.EVENTS in rule.needs or rule.lists is Place.SUMMARIES:
        needed.add(profile.summaries)
    if rule.lists is Place.EVERYWHERE:
        needed.update(subject.folder.unlisted)
    return next((folder for folder in subject.folder.unlisted if folder in needed), None)
