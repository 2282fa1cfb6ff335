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
    sessions,
    summary,
    writes,
)
from conformance.checks.finding import (
    Finding,
    Outcome,
    RunReport,
    harness_failed,
    not_applicable,
    reported_under,
    run_verdict,
    unobservable,
)
from conformance.convention.rules import BY_ID, RULES, Needs, Place, Rule, Verdict
from conformance.run.dialects import of_other_dialects
from conformance.run.settings import Options
from conformance.run.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conformance.convention.profile import Profile
    from conformance.evidence.runs import RunFolder
    from conformance.run.driven import DrivenSession
    from conformance.run.files import Readings

__all__ = ["CHECKS", "Finding", "RunReport", "audit", "judge"]

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
            sessions,
            resume,
        )
    )
)


_TELLS_OTHER_NAMES = "NAME-002"  # fails for the names themselves, whatever else they are
# The groups of rules that a run breaks by what it does not hold.
_OF_WHAT_WAS_LEFT = ("LAYOUT", "CADENCE", "BEST")


def audit(
    folder: RunFolder,
    profile: Profile,
    options: Options | None = None,
    *,
    driven: tuple[DrivenSession, ...] = (),
    selected: frozenset[str] | None = None,
    readings: Readings | None = None,
) -> RunReport:
    """Judge a run: from its files alone, or with what is known of a trainer that was driven.

    Args:
        folder: the run, as `scan_run` lists it.
        profile: the dialect to hold it against.
        options: what the caller knows of the run.
        driven: the sessions that the harness had played in it, in order; the last one is judged.
        selected: ids of the rules to judge; None: all.
        readings: what was read of its files already; more is kept there.
    """
    subject = Subject(folder, profile, options or Options(), driven, readings=readings)
    return judge(subject, selected=selected)


def judge(
    subject: Subject,
    *,
    selected: frozenset[str] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> RunReport:
    """Judge a run.

    Args:
        subject: the run.
        selected: ids of the rules to judge; None: all.
        watch: told how many of the checkpoints are read, and of how many.

    Returns:
        One finding for each selected rule. A check that fails itself yields `error`, never a
        failure of the trainer.
    """
    if watch is not None:
        for number, file in enumerate(subject.files.checkpoints, start=1):
            _ = file.contents  # read now, kept for the checks
            watch(number, len(subject.files.checkpoints))
    findings = tuple(
        _finding(rule, subject) for rule in RULES if selected is None or rule.id in selected
    )
    if subject.left_nothing:
        findings = tuple(_told_once(subject.left_nothing, findings))
    if subject.folder.is_file:  # the report's path is the file's own
        findings = tuple(replace(finding, paths=()) for finding in findings)
    return RunReport(
        path=str(subject.folder.path),
        verdict=run_verdict(findings),
        sessions=subject.history.count,
        checkpoints=len(subject.files.checkpoints),
        findings=findings,
        notes=(*subject.folder.problems, *subject.notes),
        profile=subject.profile.name,
    )


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
        outcome = _outcome(rule, subject)
    except OSError as error:
        outcome = unobservable(f"a file changed or vanished while it was read: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the harness's own failure
        import traceback  # noqa: PLC0415 - a run that needs it is slow anyway

        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = harness_failed(
            f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        )
    return outcome.of(rule)


def _outcome(rule: Rule, subject: Subject) -> Outcome:
    if rule.shown_otherwise or (rule.driven and not subject.driven):
        return not_applicable(rule.shown_by[0].value)
    if subject.folder.is_file and not rule.of_one_file:
        return not_applicable("it needs the run: this is a checkpoint by itself")
    if subject.driven and rule.id != "RESUME-001" and resume.went_elsewhere(subject):
        return reported_under("RESUME-001")
    hidden = _hidden(rule, subject)
    if hidden is not None:
        return unobservable(f"the folder {hidden or '.'!a} cannot be listed whole", [hidden])
    outcome = CHECKS[rule.id](subject)
    if rule.one_at_a_time and not subject.driven and subject.history.concurrent is not None:
        outcome = outcome.in_doubt("two processes trained at once (SESSION-001 judges)")
    depends = rule.tells_dialect and rule.id != _TELLS_OTHER_NAMES
    return _unless_misread(rule, subject, outcome) if depends else outcome


def _unless_misread(rule: Rule, subject: Subject, outcome: Outcome) -> Outcome:
    """What was found; of a run with another dialect's names, blamed if that one breaks it too.

    Which of several dialects it is may be open: it is blamed if all of them break it.
    """
    if outcome.verdict is not Verdict.FAIL:
        return outcome
    for other in of_other_dialects(subject):
        if CHECKS[rule.id](other).verdict is not Verdict.FAIL:
            return unobservable(
                f"it depends on the dialect, and the names are those of {other.profile.name}"
                f" ({_TELLS_OTHER_NAMES} judges)"
            )
    return outcome


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
