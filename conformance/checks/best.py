"""BEST: which epoch the best checkpoint holds, and, if it is the wrong one, why.

One diagnosis serves all rules of the group: the deviation is blamed on the one rule whose cause
the evidence shows, on BEST-002 where the cause cannot be told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.checks.history import Session, Start, Timeline, Written, expect
from conformance.convention.rewards import improves, is_float32, same_reward
from conformance.evidence.checkpoint import weights_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.checks.subject import CheckpointFile, Subject
    from conformance.convention.oracle import Epoch


@dataclass(slots=True)
class _Diagnosis:
    """What is known of the best checkpoint.

    Attributes:
        blamed: the rules that the evidence shows broken.
        unknown: why the held epoch cannot be judged; None where it was.
        holder: the session and the epoch that it holds, where that is settled.
        existence: what BEST-001 says.
    """

    existence: Outcome
    blamed: dict[str, Outcome] = field(default_factory=dict)
    unknown: str | None = None
    holder: tuple[Timeline, int] | None = None

    def blame(self, rule: str, message: str, best: CheckpointFile, **evidence: object) -> None:
        self.blamed.setdefault(rule, failed(message, [best.path], **evidence))


@lru_cache(maxsize=1)
def _diagnose(subject: Subject) -> _Diagnosis:
    best = subject.best
    diagnosis = _Diagnosis(_existence(subject, best))
    if best is None or diagnosis.existence.verdict.value == "fail":
        _blame_poison(subject, diagnosis)
        return diagnosis
    if not best.is_file:
        diagnosis.unknown = "the best checkpoint is no readable file (LAYOUT-004 judges)"
    elif best.values is None:
        diagnosis.unknown = "the best checkpoint's contents cannot be read"
    elif not subject.history.usable:
        diagnosis.unknown = "no reward per epoch is logged to hold it against"
    else:
        _judge_held_epoch(subject, best, diagnosis)
    return diagnosis


# --- BEST-001 -------------------------------------------------------------------------------


def _existence(subject: Subject, best: CheckpointFile | None) -> Outcome:
    due, why = _is_due(subject)
    if best is not None:
        last = subject.history.last_epoch
        if due is False and last is not None and best.epoch is not None and best.epoch > last:
            return unobservable(f"the best is of epoch {best.epoch}, and the log ends at {last}")
        if due is False:
            return failed(
                f"there is a best checkpoint, and {why}: none should have been written",
                [best.path],
            )
        if due is None:
            return unobservable(f"whether a best checkpoint was due is not known: {why}")
        return passed(f"the best checkpoint exists, and {why}")
    if due is None:
        return unobservable(f"there is no best checkpoint, and {why}")
    if due:
        name = f"{subject.name}{subject.profile.suffix}"
        return failed(f"there is no best checkpoint {name!a}, and {why}", [])
    return passed(f"there is no best checkpoint, and {why}")


def _is_due(subject: Subject) -> tuple[bool | None, str]:
    """Whether some epoch improved on the initial watermark, and how that is known."""
    history = subject.history
    if history.usable:
        bests = subject.expectation.bests
        if None not in bests:
            first = min(written.epoch for written in bests if written is not None)
            if _may_be_killed_before(subject, first):
                return None, f"the first improvement came in the last logged epoch, {first}"
            return True, "the logged rewards improve on the initial watermark"
        if bests == {None}:
            return False, "no logged reward improves on the initial watermark"
        return None, "the logs leave both readings"
    initial = max(subject.profile.initial_watermarks)
    named = [
        file.path
        for file in subject.periodic
        if file.name.reward is not None and improves(file.name.reward, initial)
    ]
    if named and not subject.profile.has_save_best_after:
        return True, f"the reward in {named[0]!a} improves on the initial watermark"
    return None, "no rewards are logged"


def _may_be_killed_before(subject: Subject, epoch: int) -> bool:
    limit, last = subject.max_epochs.value, subject.history.last_epoch
    return subject.best is None and limit is not None and epoch == last and epoch < limit


def _blame_poison(subject: Subject, diagnosis: _Diagnosis) -> None:
    """A best that is missing since a NaN came first is BEST-005's matter."""
    sessions = subject.history.sessions
    if (
        subject.best is not None
        or diagnosis.existence.verdict.value != "fail"
        or not subject.history.usable
        or len(sessions) != 1
    ):
        return
    rewards = sessions[0].rewards
    first = next((at for at in subject.expectation.timelines[0].readings[0] if at.improved), None)
    if first is None or not any(math.isnan(rewards[e]) for e in rewards if e < first.epoch):
        return
    diagnosis.blamed["BEST-005"] = failed(
        f"a NaN reward came before the first improvement (epoch {first.epoch}, reward"
        f" {first.reward!r}), and no best checkpoint was ever written",
        [],
        epoch=first.epoch,
    )
    diagnosis.existence = not_applicable("no best checkpoint after a NaN reward: BEST-005 judges")


# --- the held epoch -------------------------------------------------------------------------


def _judge_held_epoch(subject: Subject, best: CheckpointFile, diagnosis: _Diagnosis) -> None:
    epoch = _held_epoch(subject, best)
    if epoch is None:
        diagnosis.unknown = "neither a stored epoch nor equal weights nor the logs say which epoch"
        return
    history, watermark = subject.history, best.watermark
    limit = subject.max_epochs.value
    unlogged = not any(epoch in session.rewards for session in history.sessions)
    if unlogged:
        last = history.last_epoch or 0
        if epoch > last and (limit is None or epoch <= limit):
            diagnosis.unknown = f"epoch {epoch} is not logged: the log ends at epoch {last}"
            return
        if epoch < history.sessions[0].first and _starts_unknown(subject):
            diagnosis.unknown = f"epoch {epoch} is not logged: earlier event files are missing"
            return
        diagnosis.blame(
            "BEST-002",
            f"the best checkpoint says epoch {epoch}, which has no logged mean reward",
            best,
            epoch=epoch,
        )
        return
    if subject.has_unlogged_session:
        diagnosis.unknown = (
            f"no session logged its reward {watermark!r}: a session that left no log wrote it"
        )
        return
    if _is_expected(subject, epoch, watermark):
        diagnosis.holder = _holder(subject, epoch, watermark)
        _compare_weights(subject, best, epoch, diagnosis)
        return
    _blame(subject, best, epoch, diagnosis)


def _held_epoch(subject: Subject, best: CheckpointFile) -> int | None:
    """The epoch that the best holds: as stored, else by equal weights, else by its watermark."""
    if best.epoch is not None:
        return best.epoch - _epoch_offset(subject)
    twin = _twin(subject, best)
    if twin is not None and twin.name.epoch is not None:
        return twin.name.epoch
    if best.watermark is None:
        return None
    logged = {
        epoch
        for session in subject.history.sessions
        for epoch, reward in session.rewards.items()
        if same_reward(reward, best.watermark)
    }
    return logged.pop() if len(logged) == 1 else None


def _epoch_offset(subject: Subject) -> int:
    """By how much all stored epochs are off from the named ones (NAME-006's matter)."""
    offsets = {
        file.epoch - file.name.epoch
        for file in subject.periodic
        if file.epoch is not None and file.name.epoch is not None and not file.name.flaws
    }
    return offsets.pop() if len(offsets) == 1 else 0


def _starts_unknown(subject: Subject) -> bool:
    """Whether checkpoints are older than the first log: event files are missing."""
    first = subject.history.sessions[0].first
    return first > 1 and any(epoch < first for file in subject.periodic for epoch in file.epochs)


def _is_expected(subject: Subject, epoch: int, watermark: float | None) -> bool:
    return any(
        written is not None
        and written.epoch == epoch
        and (watermark is None or same_reward(watermark, written.reward))
        for written in subject.expectation.bests
    )


def _holder(subject: Subject, epoch: int, watermark: float | None) -> tuple[Timeline, int] | None:
    """The timeline of the last session whose epoch the best may hold."""
    for timeline in reversed(subject.expectation.timelines):
        reward = timeline.session.rewards.get(epoch)
        if reward is not None and (watermark is None or same_reward(reward, watermark)):
            return timeline, epoch
    return None


def _blame(subject: Subject, best: CheckpointFile, epoch: int, diagnosis: _Diagnosis) -> None:
    """Find the rule for a best that holds an epoch, or a watermark, that it should not."""
    watermark = best.watermark
    holder = _holder(subject, epoch, watermark)
    if holder is None:
        _blame_watermark(subject, best, epoch, diagnosis)
        return
    diagnosis.holder = holder
    timeline = holder[0]
    wrong = [_deviation(subject, best, timeline, reading, epoch) for reading in timeline.readings]
    if None in wrong:
        _blame_later_session(subject, best, timeline, diagnosis)
        return
    # Several readings: the mildest one, an improvement that was right when it was written.
    rule, message = min((found for found in wrong if found is not None), key=_mildness)
    diagnosis.blame(rule, message, best, epoch=epoch, watermark=_json(watermark))


def _mildness(found: tuple[str, str]) -> int:
    return ("BEST-006", "BEST-005", "BEST-008", "BEST-003", "BEST-004").index(found[0])


def _deviation(
    subject: Subject,
    best: CheckpointFile,
    timeline: Timeline,
    reading: tuple[Epoch, ...],
    epoch: int,
) -> tuple[str, str] | None:
    """The rule that a session broke if the best holds this epoch of it, under one reading.

    None: the epoch is the session's last improvement, so the session did right.
    """
    at = next(at for at in reading if at.epoch == epoch)
    improvements = [other for other in reading if other.improved]
    if at.improved:
        if improvements[-1].epoch == epoch:
            return None
        return _missed(reading, at, improvements)
    if math.isnan(at.reward):
        return "BEST-005", f"the best checkpoint holds epoch {epoch}, whose mean reward is NaN"
    if _looks_only_at_periodic(subject, timeline.session, at):
        return (
            "BEST-006",
            f"the best checkpoint holds epoch {epoch}, the highest of the periodic epochs alone:"
            f" {at.before!r} was reached in between and not saved",
        )
    if same_reward(at.reward, at.before):
        return (
            None
            if _finer_than_float32(best)
            else (
                "BEST-003",
                f"the best checkpoint was rewritten in epoch {epoch} by a reward equal to the"
                f" watermark {at.before!r}",
            )
        )
    if Start.RESUMED in timeline.session.starts and _explained_by_reset(subject, epoch, at):
        return (
            "BEST-008",
            f"a resumed session replaced the best (reward {at.before!r}) by epoch {epoch}"
            f" (reward {at.reward!r})",
        )
    return (
        "BEST-004",
        f"the best checkpoint holds epoch {epoch} with reward {at.reward!r}, although"
        f" {at.before!r} was reached before",
    )


def _looks_only_at_periodic(subject: Subject, session: Session, at: Epoch) -> bool:
    """Whether the trainer compares rewards at periodic epochs only, as its watermarks show.

    The periodic checkpoint of the held epoch then stores the highest reward of the periodic epochs
    before it, and not the higher one in between.
    """
    freq = subject.save_freq.value or 0
    if freq < 2 or at.epoch % freq or Start.RESUMED in session.starts:
        return False
    before = [
        reward
        for epoch, reward in session.rewards.items()
        if epoch < at.epoch and epoch % freq == 0 and not math.isnan(reward)
    ]
    looked = max(before, default=subject.profile.initial_watermarks[0])
    return improves(at.reward, looked) and any(
        file.name.epoch == at.epoch
        and file.watermark is not None
        and (same_reward(file.watermark, looked) or same_reward(file.watermark, at.reward))
        and not same_reward(file.watermark, at.before)
        for file in subject.periodic
    )


def _missed(reading: tuple[Epoch, ...], at: Epoch, improvements: list[Epoch]) -> tuple[str, str]:
    missed = next(other for other in improvements if other.epoch > at.epoch)
    poison = next(
        (
            other.epoch
            for other in reading
            if at.epoch < other.epoch < missed.epoch and math.isnan(other.reward)
        ),
        None,
    )
    improvement = f"reward {missed.reward!r} in epoch {missed.epoch} improved on {at.reward!r}"
    if poison is not None:
        return (
            "BEST-005",
            f"after the NaN reward of epoch {poison} improvements are no longer saved:"
            f" {improvement}, and the best still holds epoch {at.epoch}",
        )
    return "BEST-006", f"{improvement}, and the best still holds epoch {at.epoch}"


def _finer_than_float32(best: CheckpointFile) -> bool:
    """Whether the trainer compares rewards more finely than the logs can show."""
    return best.watermark is not None and not is_float32(best.watermark)


def _explained_by_reset(subject: Subject, epoch: int, at: Epoch) -> bool:
    """Whether a watermark lost on resume explains the rewrite."""
    reset = expect(subject.profile, subject.settings, subject.history, resume_resets=True)
    return any(
        written is not None and written.epoch == epoch and same_reward(written.reward, at.reward)
        for written in reset.bests
    )


def _blame_later_session(
    subject: Subject, best: CheckpointFile, timeline: Timeline, diagnosis: _Diagnosis
) -> None:
    """The best is the last improvement of its own session, and a later one improved on it."""
    later = [
        written
        for written in subject.expectation.bests
        if written is not None and written.session > timeline.session.index
    ]
    if not later:
        return
    first: Written = min(later, key=lambda written: (written.session, written.epoch))
    diagnosis.blame(
        "BEST-006",
        f"a later session reached reward {first.reward!r} in epoch {first.epoch}, and the best"
        " was not rewritten",
        best,
        epoch=first.epoch,
    )


def _blame_watermark(
    subject: Subject, best: CheckpointFile, epoch: int, diagnosis: _Diagnosis
) -> None:
    """The stored watermark is no logged reward of the stored epoch."""
    watermark = best.watermark
    timeline = next(
        timeline
        for timeline in reversed(subject.expectation.timelines)
        if epoch in timeline.session.rewards
    )
    session = timeline.session
    at = next(at for at in timeline.readings[0] if at.epoch == epoch)
    expected = any(w is not None and w.epoch == epoch for w in subject.expectation.bests)
    if watermark is None:
        deviation = _deviation(subject, best, timeline, timeline.readings[0], epoch)
        if deviation is not None:
            diagnosis.blame(deviation[0], deviation[1], best, epoch=epoch)
        return
    if expected or at.improved:
        if _log_contradicted(subject):
            diagnosis.unknown = "the logged rewards contradict the checkpoints (SUMMARY-002 judges)"
            return
        if not expected:
            diagnosis.blame(
                "BEST-002",
                f"the best checkpoint says epoch {epoch} (reward {at.reward!r}) and watermark"
                f" {watermark!r}: one of them is of another epoch",
                best,
                epoch=epoch,
                watermark=_json(watermark),
            )
            return
        diagnosis.blame(
            "BEST-007",
            f"the best checkpoint of epoch {epoch} stores last_mean_rewards {watermark!r}; its"
            f" reward is {at.reward!r}",
            best,
            epoch=epoch,
            watermark=_json(watermark),
            reward=_json(at.reward),
        )
        return
    if _is_of_later_epoch(session, epoch, watermark):
        diagnosis.blame(
            "BEST-002",
            f"the best checkpoint says epoch {epoch}, and the reward that it stores,"
            f" {watermark!r}, came later",
            best,
            epoch=epoch,
            watermark=_json(watermark),
        )
        return
    rule, message = _late_or_lower(subject, session, at, watermark)
    diagnosis.blame(rule, message, best, epoch=epoch, watermark=_json(watermark))


def _is_of_later_epoch(session: Session, epoch: int, watermark: float) -> bool:
    reached = [e for e, reward in session.rewards.items() if same_reward(reward, watermark)]
    return bool(reached) and min(reached) > epoch


def _names_another(session: Session, watermark: float) -> bool:
    return any(same_reward(reward, watermark) for reward in session.rewards.values())


def _late_or_lower(
    subject: Subject, session: Session, at: Epoch, watermark: float
) -> tuple[str, str]:
    """A best of an epoch that was no improvement, under a watermark that is not its own."""
    held = f"the best checkpoint holds epoch {at.epoch} (reward {at.reward!r})"
    if math.isnan(at.reward):
        return "BEST-005", f"{held}, whose mean reward is NaN"
    if not same_reward(watermark, at.before):
        lower = not same_reward(at.reward, at.before)
        rule = "BEST-004" if lower else "BEST-003"
        return rule, f"{held}, although {at.before!r} was reached before"
    freq = subject.save_freq.value or 0
    reached = (
        next(
            epoch
            for epoch in sorted(session.rewards)
            if same_reward(session.rewards[epoch], at.before)
        )
        if _names_another(session, at.before)
        else 0
    )
    periodic = bool(freq) and at.epoch % freq == 0 and at.epoch - reached < freq
    if periodic and at.epoch != session.last:
        return (
            "BEST-006",
            f"{held} under the watermark {watermark!r} of epoch {reached}: the improvement was"
            " saved only at the next periodic epoch",
        )
    if at.epoch == session.last and not periodic:
        return (
            "BEST-004",
            f"{held}, the last one, although {at.before!r} was reached in epoch {reached}",
        )
    return (
        "BEST-002",
        f"{held} under the watermark {watermark!r} of epoch {reached}: saved late, or rewritten by"
        " a lower reward",
    )


def _log_contradicted(subject: Subject) -> bool:
    """Whether the periodic checkpoints' names contradict the log as well (SUMMARY-002's matter)."""
    return any(
        file.name.reward is not None
        and file.name.epoch is not None
        and not file.name.flaws
        and subject.history.covers(file.name.epoch)
        and not any(
            same_reward(reward, file.name.reward)
            for epoch in file.epochs
            for reward in subject.history.rewards_at(epoch)
        )
        for file in subject.periodic
    )


# --- equal weights --------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _digest(file: CheckpointFile) -> bytes | None:
    if file.model is None or file.contents is None:
        return None
    return weights_digest(file.model, file.contents)


def _twin(subject: Subject, best: CheckpointFile) -> CheckpointFile | None:
    """The one periodic checkpoint with the best's weights, where the weights tell them apart."""
    own = _digest(best)
    digests = [(_digest(file), file) for file in subject.periodic if not file.damaged]
    known = [digest for digest, _ in digests if digest is not None]
    if own is None or len(known) < 2 or len(set(known)) != len(known):
        return None
    return next((file for digest, file in digests if digest == own), None)


def _compare_weights(
    subject: Subject, best: CheckpointFile, epoch: int, diagnosis: _Diagnosis
) -> None:
    """Hold the best's weights against the periodic checkpoint of its epoch, or of another one."""
    if len(subject.history.sessions) != 1:
        return
    same_epoch = [
        file
        for file in subject.periodic
        if file.name.epoch == epoch and file.epochs == {epoch} and _digest(file) is not None
    ]
    own = _digest(best)
    if own is None:
        return
    if same_epoch:
        if (
            len(same_epoch) == 1
            and _digest(same_epoch[0]) != own
            and _comparable(same_epoch[0], best)
        ):
            diagnosis.blame(
                "BEST-002",
                f"the best checkpoint says epoch {epoch}, and its weights differ from those of"
                f" {same_epoch[0].entry.name!a}",
                best,
                epoch=epoch,
            )
        return
    twin = _twin(subject, best)
    if twin is not None and twin.name.epoch is not None and twin.epochs == {twin.name.epoch}:
        diagnosis.blame(
            "BEST-002",
            f"the best checkpoint says epoch {epoch}, and its weights are those of"
            f" {twin.entry.name!a}",
            best,
            epoch=epoch,
        )


def _comparable(first: CheckpointFile, second: CheckpointFile) -> bool:
    """Whether two state_dicts have the same layout; LOAD-003 judges where they have not."""
    if first.model is None or second.model is None or first.model.keys() != second.model.keys():
        return False
    return all(
        (tensor.dtype, tensor.shape) == (second.model[key].dtype, second.model[key].shape)
        for key, tensor in first.model.items()
    )


# --- the rules ------------------------------------------------------------------------------


def exists_iff_improved(subject: Subject) -> Outcome:
    """BEST-001."""
    if not subject.profile.has_best:
        return not_applicable(f"profile {subject.profile.name} has no best checkpoint")
    return _diagnose(subject).existence


def _rule(
    rule: str, seen: Callable[[Subject, _Diagnosis], Outcome]
) -> Callable[[Subject], Outcome]:
    def check(subject: Subject) -> Outcome:
        if not subject.profile.has_best:
            return not_applicable(f"profile {subject.profile.name} has no best checkpoint")
        diagnosis = _diagnose(subject)
        if rule in diagnosis.blamed:
            return diagnosis.blamed[rule]
        if subject.best is None:
            return not_applicable("there is no best checkpoint")
        if diagnosis.unknown is not None:
            return unobservable(diagnosis.unknown, [subject.best.path])
        if diagnosis.blamed or diagnosis.existence.verdict.value == "fail":
            others = ", ".join(sorted(diagnosis.blamed)) or "BEST-001"
            return not_applicable(f"the deviation is reported under {others}")
        return seen(subject, diagnosis)

    check.__doc__ = f"{rule}."
    return check


def _holds_the_maximum(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    del subject
    if diagnosis.holder is None:
        return unobservable("which session wrote the best cannot be told")
    timeline, epoch = diagnosis.holder
    return passed(
        f"it holds epoch {epoch}, the first to reach {timeline.session.rewards[epoch]!r}",
        epoch=epoch,
        reward=_json(timeline.session.rewards[epoch]),
    )


def _later(diagnosis: _Diagnosis, wanted: Callable[[float, float], bool]) -> list[int]:
    """The epochs after the held one, of its session, whose reward stands so to the held one's."""
    if diagnosis.holder is None:
        return []
    timeline, held = diagnosis.holder
    rewards = timeline.session.rewards
    return [e for e in sorted(rewards) if e > held and wanted(rewards[e], rewards[held])]


def _survived_ties(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    del subject
    ties = _later(diagnosis, same_reward)
    if not ties:
        return not_applicable("no later epoch reached the same reward")
    return passed(
        f"{len(ties)} later epoch(s) with the same reward left it alone", epochs=ties[:20]
    )


def _survived_lower(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    del subject
    lower = _later(diagnosis, lambda later, held: later < held and not same_reward(later, held))
    if not lower:
        return not_applicable("no later epoch had a lower reward")
    return passed(f"{len(lower)} later epoch(s) with a lower reward left it alone")


def _survived_nan(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    if diagnosis.holder is None:
        return not_applicable("no NaN reward is logged")
    del subject
    rewards = diagnosis.holder[0].session.rewards
    poisoned = [epoch for epoch in sorted(rewards) if math.isnan(rewards[epoch])]
    if not poisoned:
        return not_applicable("no NaN reward is logged")
    return passed(f"{len(poisoned)} NaN reward(s) did no harm", epochs=poisoned[:20])


def _saved_at_once(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    if diagnosis.holder is None:
        return unobservable("which session wrote the best cannot be told")
    del subject
    return passed(f"the last improvement, in epoch {diagnosis.holder[1]}, is in the best")


def _stores_its_reward(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    del diagnosis
    watermark = subject.best.watermark if subject.best is not None else None
    if watermark is None:
        return not_applicable("the best stores no last_mean_rewards (LOAD-008 judges)")
    return passed(f"it stores its own reward {watermark!r}", watermark=_json(watermark))


def _kept_on_resume(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    del diagnosis
    if not subject.profile.resume_keeps_watermark:
        return not_applicable(f"profile {subject.profile.name} resets the watermark on resume")
    resumed = [s for s in subject.history.sessions if Start.RESUMED in s.starts]
    if not resumed:
        return not_applicable("no session was resumed")
    lost = lost_watermarks(subject)
    if lost:
        return failed(
            "a resumed session's checkpoints store a watermark below the one reached before",
            [file.path for file in lost],
        )
    return passed(f"{len(resumed)} resumed session(s) kept the watermark", sessions=len(resumed))


def lost_watermarks(subject: Subject) -> list[CheckpointFile]:
    """Periodic checkpoints whose watermark only a reset on resume explains (BEST-008)."""
    profile, history = subject.profile, subject.history
    resumed = any(Start.RESUMED in session.starts for session in history.sessions)
    if not profile.resume_keeps_watermark or not history.usable or not resumed:
        return []
    kept = subject.expectation
    reset = expect(profile, subject.settings, history, resume_resets=True)
    return [
        file
        for file in subject.periodic
        if file.watermark is not None
        and not _explains(kept.timelines, file)
        and _explains(reset.timelines, file)
    ]


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


def _not_replaced_by_fresh(subject: Subject, diagnosis: _Diagnosis) -> Outcome:
    if diagnosis.holder is None:
        return unobservable("which session wrote the best cannot be told")
    timeline, epoch = diagnosis.holder
    fresh = [s for s in subject.history.sessions[1:] if Start.RESUMED not in s.starts]
    if not fresh:
        return not_applicable("no session was started afresh in a folder that held a best")
    reward = timeline.session.rewards[epoch]
    earlier = [
        at.reward
        for other in subject.expectation.timelines[: timeline.session.index]
        for at in other.readings[0]
        if at.improved
    ]
    if earlier and timeline.session in fresh and improves(max(earlier), reward):
        return failed(
            f"a fresh session replaced a best of reward {max(earlier)!r} by one of {reward!r}",
            [subject.best.path] if subject.best is not None else [],
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
