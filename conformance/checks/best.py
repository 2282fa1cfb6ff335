"""BEST: that the best checkpoint is there, is the best, and is replaced by nothing worse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from conformance.checks.diagnosis import diagnose, poisoned
from conformance.checks.finding import (
    Blame,
    Outcome,
    failed,
    not_applicable,
    passed,
    reported_under,
    unobservable,
)
from conformance.convention.profile import Kind
from conformance.convention.rewards import improves, same_reward
from conformance.convention.rules import Verdict
from conformance.run.once import once

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.checks.diagnosis import Holder
    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject
    from conformance.run.timeline import Timeline

_MOST_SHOWN = 20


def exists_iff_improved(subject: Subject) -> Outcome:
    """BEST-001."""
    if not subject.profile.has_best:
        return not_applicable(f"profile {subject.profile.name} has no best checkpoint")
    best, (due, why) = subject.best, _is_due(subject)
    if best is None:
        if due is None:
            return unobservable(f"there is no best checkpoint, and {why}")
        if not due:
            return passed(f"there is no best checkpoint, and {why}")
        if poisoned(subject).blame is not None:
            return not_applicable("no best checkpoint after a NaN reward: BEST-005 judges")
        name = f"{subject.given.name}{subject.profile.suffix}"
        return failed(f"there is no best checkpoint {name!a}, and {why}", expected=name)
    if due is None:
        return unobservable(f"whether a best checkpoint was due is not known: {why}")
    if due:
        return _early(subject) or passed(f"the best checkpoint exists, and {why}")
    if best.epoch is not None and subject.doubt.is_behind_the_log(best.epoch):
        last = subject.history.last_epoch
        return unobservable(f"the best is of epoch {best.epoch}, and the log ends at {last}")
    initial = max(subject.profile.initial_watermarks)
    if best.epoch is not None and subject.doubt.may_be_first_best(
        best.epoch, best.watermark, initial
    ):
        return unobservable(
            f"a killed session that did not log epoch {best.epoch} may have written it"
        )
    return failed(
        f"there is a best checkpoint, and {why}: none should have been written",
        [best.path],
        file=best.path,
        epoch=best.epoch,
        last_mean_rewards=_json(best.watermark),
    )


def _early(subject: Subject) -> Outcome | None:
    """A best that a driven trainer was seen to write too early or too late for the first one."""
    blame = diagnose(subject).blame
    if blame is None or blame.rule != "BEST-001":
        return None
    return failed(blame.message, **blame.evidence)


def _is_due(subject: Subject) -> tuple[bool | None, str]:
    """Whether some epoch improved on the initial watermark, and how that is known."""
    if subject.files.stand_apart:
        return None, "the checkpoints stand in another folder, as the profile lets them"
    if subject.history.usable:
        bests = subject.expectation.bests
        if bests == {None}:
            return False, "no logged reward improves on the initial watermark"
        if None not in bests or subject.best is not None:
            return True, "the logged rewards improve on the initial watermark"
        return None, "the only improvement came with the last epoch that is logged"
    initial = max(subject.profile.initial_watermarks)
    named = [
        file.path
        for file in subject.files.periodic
        if file.name.reward is not None and improves(file.name.reward, initial)
    ]
    if subject.doubt.was_killed_before_its_log:
        return None, "no rewards are logged: a session that is killed early loses its log"
    if named and not subject.profile.has_save_best_after:
        return True, f"the reward in {named[0]!a} improves on the initial watermark"
    return None, "no rewards are logged"


def _rule(rule: str, kept: Callable[[Subject, Holder], Outcome]) -> Callable[[Subject], Outcome]:
    """The check of one rule: blamed, or not judged, or kept on the evidence that `kept` names."""

    def check(subject: Subject) -> Outcome:
        if not subject.profile.has_best:
            return not_applicable(f"profile {subject.profile.name} has no best checkpoint")
        diagnosis, best = diagnose(subject), subject.best
        existence = exists_iff_improved(subject).verdict
        if diagnosis.blame is not None and existence is not Verdict.FAIL:
            return _blamed(rule, diagnosis.blame, best)
        if best is None:
            return not_applicable("there is no best checkpoint")
        if existence is Verdict.FAIL:
            return reported_under("BEST-001")
        if diagnosis.unknown is not None:
            return unobservable(diagnosis.unknown, [best.path])
        if diagnosis.holder is None:
            return unobservable("which session wrote the best cannot be told", [best.path])
        return kept(subject, diagnosis.holder)

    check.__doc__ = f"{rule}."
    return check


def _blamed(rule: str, blame: Blame, best: CheckpointFile | None) -> Outcome:
    if blame.rule != rule:
        return reported_under(blame.rule)
    if best is None:
        return failed(blame.message, **blame.evidence)
    return failed(
        blame.message,
        [best.path],
        file=best.path,
        epoch=best.epoch,
        last_mean_rewards=_json(best.watermark),
        **blame.evidence,
    )


def _holds_the_maximum(subject: Subject, holder: Holder) -> Outcome:
    reward = holder.rewards[holder.epoch]
    if subject.doubt.saved_before_all_logs:
        return _lost(subject)
    if holder.timeline.session.has_holes:
        return _left_out(subject)
    return passed(
        f"it holds epoch {holder.epoch}, the first to reach {reward!r}",
        epoch=holder.epoch,
        reward=_json(reward),
    )


def _later(holder: Holder, wanted: Callable[[float, float], bool]) -> list[int]:
    """The epochs after the held one, of its session, whose reward stands so to the held one's."""
    rewards = holder.rewards
    held = rewards[holder.epoch]
    return [e for e in sorted(rewards) if e > holder.epoch and wanted(rewards[e], held)]


def _left_alone(subject: Subject, wanted: Callable[[float, float], bool]) -> list[int]:
    """The epochs in which a driven trainer was seen to leave the best alone, likewise."""
    if not subject.driven:
        return []
    return [at.epoch for at in subject.order.left_alone if wanted(at.reward, at.before)]


def _survived_ties(subject: Subject, holder: Holder) -> Outcome:
    ties = sorted({*_later(holder, same_reward), *_left_alone(subject, same_reward)})
    if not ties:
        return not_applicable("no epoch reached the same reward again")
    return passed(
        f"{len(ties)} epoch(s) with the same reward left it alone", epochs=ties[:_MOST_SHOWN]
    )


def _is_lower(reward: float, watermark: float) -> bool:
    return reward < watermark and not same_reward(reward, watermark)


def _survived_lower(subject: Subject, holder: Holder) -> Outcome:
    lower = sorted({*_later(holder, _is_lower), *_left_alone(subject, _is_lower)})
    if not lower:
        return not_applicable("no epoch had a lower reward afterwards")
    return passed(
        f"{len(lower)} epoch(s) with a lower reward left it alone", epochs=lower[:_MOST_SHOWN]
    )


def _survived_nan(subject: Subject, holder: Holder) -> Outcome:
    del subject
    rewards = holder.rewards
    poisonous = [epoch for epoch in sorted(rewards) if math.isnan(rewards[epoch])]
    if not poisonous:
        return not_applicable("no NaN reward is logged")
    return passed(f"{len(poisonous)} NaN reward(s) did no harm", epochs=poisonous[:_MOST_SHOWN])


def _saved_at_once(subject: Subject, holder: Holder) -> Outcome:
    if subject.driven and subject.order.improved:
        return passed(
            f"{subject.order.improved} improvement(s) were each seen written to the best",
            epoch=holder.epoch,
        )
    if holder.timeline.session.has_holes:
        return _left_out(subject)
    return passed(
        f"the last improvement, in epoch {holder.epoch}, is in the best", epoch=holder.epoch
    )


def _lost(subject: Subject) -> Outcome:
    """What is unknown of a best where checkpoints are older than the first log."""
    return unobservable(
        "checkpoints are older than the first log: what the sessions before it reached is not"
        " logged",
        [] if subject.best is None else [subject.best.path],
    )


def _left_out(subject: Subject) -> Outcome:
    """What is unknown of a best that no logged reward contradicts, where some are not logged."""
    return unobservable(
        "its writer logs at intervals: an epoch that is not logged may have improved",
        [] if subject.best is None else [subject.best.path],
    )


def _stores_its_reward(subject: Subject, holder: Holder) -> Outcome:
    del holder
    watermark = None if subject.best is None else subject.best.watermark
    if watermark is None:
        return not_applicable("the best stores no last_mean_rewards (LOAD-008 judges)")
    return passed(f"it stores its own reward {watermark!r}", last_mean_rewards=_json(watermark))


def _kept_on_resume(subject: Subject, holder: Holder) -> Outcome:
    if not subject.profile.resume_keeps_watermark:
        return not_applicable(f"profile {subject.profile.name} resets the watermark on resume")
    if subject.doubt.saved_before_all_logs:
        return _lost(subject)
    resumed = [s for s in subject.history.sessions if s.may_be_resumed]
    if not resumed:
        return not_applicable("no session was resumed")
    lost = lost_watermarks(subject)
    if lost:
        return failed(
            "a resumed session's checkpoints store a watermark below the one reached before",
            [file.path for file in lost],
            stored={file.path: _json(file.watermark) for file in lost},
        )
    afresh = _only_afresh(subject, holder)
    if afresh:
        return unobservable(
            "a session that may have been resumed stores a watermark below the one reached before:"
            " whether it was started afresh is not known",
            afresh,
        )
    return passed(f"{len(resumed)} resumed session(s) kept the watermark", sessions=len(resumed))


def _only_afresh(subject: Subject, holder: Holder) -> list[str]:
    """The files that are right only if a session that may have been resumed was started afresh."""
    resumed = subject.if_resumed
    if resumed is None:
        return []
    written = holder.timeline.session.index, holder.epoch
    best = [] if subject.best is None else [subject.best.path]
    if any(at is not None and (at.session, at.epoch) == written for at in resumed.bests):
        best = []
    return best + [
        file.path
        for file in subject.files.periodic
        if file.watermark is not None
        and _explains(subject.expectation.timelines, file)
        and not _explains(resumed.timelines, file)
    ]


@once
def lost_watermarks(subject: Subject) -> tuple[CheckpointFile, ...]:
    """Periodic checkpoints whose watermark only a reset on resume explains (BEST-008)."""
    profile, history = subject.profile, subject.history
    resumed = any(session.may_be_resumed for session in history.sessions)
    if not profile.resume_keeps_watermark or not history.usable or not resumed:
        return ()
    kept = subject.expectation.timelines
    unexplained = [
        file
        for file in subject.files.periodic
        if file.watermark is not None
        and not any(subject.doubt.may_be_unlogged(Kind.PERIODIC, at) for at in file.epochs)
        and not _explains(kept, file)
    ]
    if not unexplained:
        return ()
    reset = subject.if_reset.timelines
    if subject.from_lower is not None:
        reset = (*reset, subject.from_lower)
    return tuple(file for file in unexplained if _explains(reset, file))


def _explains(timelines: tuple[Timeline, ...], file: CheckpointFile) -> bool:
    """Whether some session may have stored the file's watermark in its epoch."""
    watermark, name = file.watermark, file.name
    if watermark is None or name.reward is None:
        return True
    return any(
        same_reward(allowed, watermark)
        for timeline in timelines
        for epoch in file.epochs
        if epoch in timeline.session.rewards
        and same_reward(timeline.session.rewards[epoch], name.reward)
        for allowed in timeline.watermarks_at(epoch)
    )


def _not_replaced_by_fresh(subject: Subject, holder: Holder) -> Outcome:
    session = holder.timeline.session
    fresh = [s for s in subject.history.sessions[1:] if not s.may_be_resumed]
    if not fresh:
        return not_applicable("no session was started afresh in a folder that held a best")
    reward = session.rewards[holder.epoch]
    earlier = [
        at.reward
        for other in subject.expectation.timelines[: session.index]
        for at in other.course.improved(other.starts[0])
    ]
    if earlier and session in fresh and improves(max(earlier), reward):
        return failed(
            f"a fresh session replaced a best of reward {max(earlier)!r} by one of {reward!r}",
            [] if subject.best is None else [subject.best.path],
            before=_json(max(earlier)),
            after=_json(reward),
        )
    return passed(f"{len(fresh)} fresh session(s) replaced no better best")


def _json(value: float | None) -> float | str | None:
    """A number as JSON can hold it: what is not finite as a text."""
    return value if value is None or math.isfinite(value) else str(value)


CHECKS = {
    "BEST-001": exists_iff_improved,
    "BEST-002": _rule("BEST-002", _holds_the_maximum),
    "BEST-003": _rule("BEST-003", _survived_ties),
    "BEST-004": _rule("BEST-004", _survived_lower),
    "BEST-005": _rule("BEST-005", _survived_nan),
    "BEST-006": _rule("BEST-006", _saved_at_once),
    "BEST-007": _rule("BEST-007", _stores_its_reward),
    "BEST-008": _rule("BEST-008", _kept_on_resume),
    "BEST-009": _rule("BEST-009", _not_replaced_by_fresh),
}
