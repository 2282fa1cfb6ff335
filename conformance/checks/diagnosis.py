"""Which epoch the best checkpoint holds, and, if it is the wrong one, which rule that breaks.

One diagnosis serves all BEST rules: the deviation is blamed on the one rule whose cause the
evidence shows, on BEST-002 where the cause cannot be told.
(decisions.md: "One diagnosis for all BEST rules".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.checks.finding import Blame
from conformance.checks.writes import blamed
from conformance.convention.oracle import first_best_epoch
from conformance.convention.profile import Kind
from conformance.convention.rewards import improves, is_float32, same_reward
from conformance.run import weights
from conformance.run.once import once

if TYPE_CHECKING:
    from conformance.convention.oracle import Epoch
    from conformance.run.files import CheckpointFile
    from conformance.run.history import Session
    from conformance.run.subject import Subject
    from conformance.run.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Holder:
    """The session and the epoch of it that the best checkpoint holds."""

    timeline: Timeline
    epoch: int

    @property
    def rewards(self) -> dict[int, float]:
        """The session's rewards by epoch."""
        return dict(self.timeline.session.rewards)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of the best checkpoint that is there.

    Attributes:
        blame: the rule that it shows broken; None where it shows none.
        unknown: why the held epoch cannot be judged; None where it was.
        holder: what it holds, where that is settled.
    """

    blame: Blame | None = None
    unknown: str | None = None
    holder: Holder | None = None


@once
def diagnose(subject: Subject) -> Diagnosis:
    """Hold the run's best checkpoint, and the journal of its writes, against the oracle.

    The journal sees rewrites that a later one hides. It tells a missed improvement from a lower
    reward that was saved, and a cause where the file shows none; of all else the file says more.
    """
    left = _diagnose_file(subject)
    wrong = blamed(subject.order)
    if wrong is None:
        return left
    late = wrong.rule in ("BEST-001", "BEST-006")
    if (
        left.blame is None
        or left.blame.rule == "BEST-002"
        or (late and left.blame.rule in ("BEST-003", "BEST-004"))
    ):
        return Diagnosis(wrong, holder=left.holder)
    return left


def _diagnose_file(subject: Subject) -> Diagnosis:
    """What the best checkpoint itself shows."""
    best = subject.best
    if best is None:
        return poisoned(subject)
    if not best.is_file:
        return Diagnosis(
            unknown="the best checkpoint is no readable file (LAYOUT-004 or LOAD-001 judges)"
        )
    if best.values is None:
        return Diagnosis(unknown="the best checkpoint's contents cannot be read")
    if not subject.history.usable:
        return Diagnosis(unknown="no reward per epoch is logged to hold it against")
    epoch = _held_epoch(subject, best)
    if epoch is None:
        return Diagnosis(
            unknown="neither a stored epoch nor equal weights nor the logs say which epoch"
        )
    if not subject.history.rewards_at(epoch):
        return _unlogged(subject, epoch)
    if subject.doubt.best_is_unlogged:
        return Diagnosis(
            unknown=f"no session logged its reward {best.watermark!r}: a session that left no log"
            " wrote it"
        )
    if _is_expected(subject, epoch, best.watermark):
        return _right_epoch(subject, best, epoch)
    found = _wrong_epoch(subject, best, epoch)
    if found.blame is not None and subject.doubt.may_be_unlogged(
        Kind.BEST, epoch, best.watermark, logged=True
    ):
        return Diagnosis(
            unknown=f"a killed session that did not log epoch {epoch} may have written it"
        )
    return found


def poisoned(subject: Subject) -> Diagnosis:
    """A best that is missing since a NaN came before the first improvement is BEST-005's matter."""
    sessions = subject.history.sessions
    if not subject.history.usable or len(sessions) != 1 or None in subject.expectation.bests:
        return Diagnosis()
    rewards = sessions[0].rewards
    first = next(at for at in subject.expectation.timelines[0].readings[0] if at.improved)
    if not any(math.isnan(rewards[epoch]) for epoch in rewards if epoch < first.epoch):
        return Diagnosis()
    return Diagnosis(
        Blame(
            "BEST-005",
            f"a NaN reward came before the first improvement (epoch {first.epoch}, reward"
            f" {first.reward!r}), and no best checkpoint was ever written",
            {"missed": {"epoch": first.epoch, "reward": first.reward}},
        )
    )


# --- the held epoch -------------------------------------------------------------------------


def _held_epoch(subject: Subject, best: CheckpointFile) -> int | None:
    """The epoch that the best holds: as stored, else by equal weights, else by its watermark."""
    if best.epoch is not None:
        offsets = _epoch_offsets(subject)
        if not offsets or 0 in offsets:
            return best.epoch
        # Named and stored epochs never agree (NAME-006's matter): the logs say which are right.
        # See decisions.md: "Values that are wrong everywhere have one cause"
        for epoch in (best.epoch, *(best.epoch - offset for offset in sorted(offsets))):
            if _is_expected(subject, epoch, best.watermark):
                return epoch
        epoch = best.epoch - min(offsets)
        if len(offsets) == 1 and subject.history.rewards_at(epoch):
            return epoch
    twin = weights.twin(subject, best)
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


def _epoch_offsets(subject: Subject) -> set[int]:
    """By how much the epochs that periodic checkpoints store are off from the named ones."""
    return {
        file.epoch - file.name.epoch
        for file in subject.files.periodic
        if file.epoch is not None and file.name.epoch is not None and not file.name.flaws
    }


def _unlogged(subject: Subject, epoch: int) -> Diagnosis:
    """The held epoch has no logged reward: the log lags, is lost in part, or the epoch is wrong."""
    why = subject.doubt.why_unlogged(epoch)
    blame = None if why is None else _contradicted(subject, epoch)
    if blame is not None:
        return Diagnosis(blame)
    if why is not None:
        return Diagnosis(unknown=f"epoch {epoch} is not logged: {why}")
    return Diagnosis(
        Blame(
            "BEST-002",
            f"the best checkpoint says epoch {epoch}, which has no logged mean reward",
        )
    )


def _contradicted(subject: Subject, epoch: int) -> Blame | None:
    """The rule that a best of an epoch breaks that the log of the one session left out."""
    best, history = subject.best, subject.history
    watermark = None if best is None else best.watermark
    if watermark is None or history.count != 1 or not history.sessions[0].leaves_out(epoch):
        return None
    session = history.sessions[0]
    held = f"the best checkpoint holds epoch {epoch} (reward {watermark!r})"
    first = first_best_epoch(subject.profile, subject.settings)
    higher = [e for e, r in session.rewards.items() if e >= first and improves(r, watermark)]
    before = next((at for at in higher if at < epoch), None)
    if before is not None:
        reached = f"{session.rewards[before]!r} was reached before, in epoch {before}"
        return Blame("BEST-004", f"{held}, although {reached}")
    later = next((at for at in higher if at != session.last or at < epoch), None)
    if later is None:
        return None
    return Blame(
        "BEST-006",
        f"{held}, and reward {session.rewards[later]!r} in epoch {later} improved on it",
    )


def _is_expected(subject: Subject, epoch: int, watermark: float | None) -> bool:
    return any(
        written is not None
        and written.epoch == epoch
        and (watermark is None or same_reward(watermark, written.reward))
        for written in subject.expectation.bests
    )


def _right_epoch(subject: Subject, best: CheckpointFile, epoch: int) -> Diagnosis:
    other = weights.contradiction(subject, best, epoch)
    if other is None:
        return Diagnosis(holder=_holder(subject, epoch, best.watermark))
    relation = "differ from" if epoch in other.epochs else "are"
    return Diagnosis(
        Blame(
            "BEST-002",
            f"the best checkpoint says epoch {epoch}, and its weights {relation} those of"
            f" {other.entry.name!a}",
        )
    )


def _holder(subject: Subject, epoch: int, watermark: float | None) -> Holder | None:
    """The last session that logged the watermark at the epoch."""
    for timeline in reversed(subject.expectation.timelines):
        reward = timeline.session.rewards.get(epoch)
        if reward is not None and (watermark is None or same_reward(reward, watermark)):
            return Holder(timeline, epoch)
    return None


def _wrong_epoch(subject: Subject, best: CheckpointFile, epoch: int) -> Diagnosis:
    """Find the rule for a best that holds an epoch, or a watermark, that it should not."""
    holder = _holder(subject, epoch, best.watermark)
    if holder is None:
        return _foreign_watermark(subject, best, epoch)
    found = [
        _deviation(subject, best, holder.timeline, reading, epoch)
        for reading in holder.timeline.readings
    ]
    wrong = [blame for blame in found if blame is not None]
    if len(wrong) < len(found):
        return Diagnosis(_missed_by_later_session(subject, holder.timeline.session), holder=holder)
    # Several readings: the mildest one, an improvement that was right when it was written.
    return Diagnosis(min(wrong, key=lambda blame: _MILDEST_FIRST.index(blame.rule)), holder=holder)


_MILDEST_FIRST = ("BEST-006", "BEST-005", "BEST-008", "BEST-003", "BEST-004")


def _missed_by_later_session(subject: Subject, session: Session) -> Blame | None:
    """The best is the last improvement of its own session, and a later one improved on it."""
    later = [
        written
        for written in subject.expectation.bests
        if written is not None and written.session > session.index
    ]
    if not later:
        return None
    first = min(later, key=lambda written: (written.session, written.epoch))
    reached = f"a later session reached reward {first.reward!r} in epoch {first.epoch}"
    rewards = subject.history.sessions[first.session].rewards
    missed = {"epoch": first.epoch, "reward": first.reward, "session": first.session}
    poison = next((e for e in sorted(rewards) if e < first.epoch and math.isnan(rewards[e])), None)
    if poison is None:
        return Blame("BEST-006", f"{reached}, and the best was not rewritten", {"missed": missed})
    return Blame(
        "BEST-005",
        f"{reached}, after the NaN reward of epoch {poison}; the best was not rewritten",
        {"missed": missed, "nan_epoch": poison},
    )


# --- one session, one reading ---------------------------------------------------------------


def _deviation(
    subject: Subject,
    best: CheckpointFile,
    timeline: Timeline,
    reading: tuple[Epoch, ...],
    epoch: int,
) -> Blame | None:
    """The rule that a session broke if the best holds this epoch of it.

    None: the epoch is the session's last improvement, so the session did right.
    """
    at = next(at for at in reading if at.epoch == epoch)
    held = f"the best checkpoint holds epoch {epoch} (reward {at.reward!r})"
    both = {"reward": at.reward, "before": at.before}
    if at.improved:
        return _missed(reading, at)
    if math.isnan(at.reward):
        return Blame("BEST-005", f"{held}, whose mean reward is NaN", both)
    if _looks_only_at_periodic(subject, timeline.session, at):
        return Blame(
            "BEST-006",
            f"{held}, the highest of the periodic epochs alone: {at.before!r} was reached in"
            " between and not saved",
            both,
        )
    lower = not same_reward(at.reward, at.before)
    replaced = f"{held}: a resumed session replaced a best of {at.before!r}"
    if lower and at.before == _inherited(timeline.session) and _explained_by_reset(subject, at):
        return Blame("BEST-008", replaced, both)
    if same_reward(at.reward, at.before):
        if best.watermark is not None and not is_float32(best.watermark):
            return None  # the trainer compares more finely than the logs can show
        return Blame("BEST-003", f"{held}, a reward equal to the watermark that it rewrote", both)
    if timeline.session.may_be_resumed and _explained_by_reset(subject, at):
        return Blame("BEST-008", replaced, both)
    poison = _taken_by_nan(subject, reading, at)
    if poison is not None:
        return Blame(
            "BEST-005",
            f"{held}, although {at.before!r} was reached before: the NaN reward of epoch {poison}"
            " took the watermark",
            {**both, "nan_epoch": poison},
        )
    return Blame("BEST-004", f"{held}, although {at.before!r} was reached before", both)


def _taken_by_nan(subject: Subject, reading: tuple[Epoch, ...], at: Epoch) -> int | None:
    """The NaN epoch that took the watermark, where just that explains a rewrite by a lower reward.

    After a NaN that is kept as the watermark the next reward, whatever it is, is a new best. A
    driven trainer shows the write itself.
    """
    if subject.driven:
        return None
    watermark, best, poison = -math.inf, 0, None
    for other in reading:
        if math.isnan(other.reward):
            watermark, poison = -math.inf, other.epoch
        elif improves(other.reward, watermark):
            watermark, best = other.reward, other.epoch
        if other.epoch == at.epoch:
            break
    kept = any(
        poison is not None
        and file.name.epoch is not None
        and poison < file.name.epoch <= at.epoch
        and file.watermark is not None
        and same_reward(file.watermark, at.before)
        for file in subject.files.periodic
    )
    return poison if best == at.epoch and not kept else None


def _missed(reading: tuple[Epoch, ...], at: Epoch) -> Blame | None:
    """The improvement that the session did not save after this one."""
    missed = next((other for other in reading if other.improved and other.epoch > at.epoch), None)
    if missed is None:
        return None
    improvement = f"reward {missed.reward!r} in epoch {missed.epoch} improved on {at.reward!r}"
    still = f"and the best still holds epoch {at.epoch}"
    numbers = {
        "held": {"epoch": at.epoch, "reward": at.reward},
        "missed": {"epoch": missed.epoch, "reward": missed.reward},
    }
    between = (other for other in reading if at.epoch < other.epoch < missed.epoch)
    poison = next((other.epoch for other in between if math.isnan(other.reward)), None)
    if poison is None:
        return Blame("BEST-006", f"{improvement}, {still}", numbers)
    return Blame(
        "BEST-005",
        f"after the NaN reward of epoch {poison} improvements are no longer saved: {improvement},"
        f" {still}",
        {**numbers, "nan_epoch": poison},
    )


def _looks_only_at_periodic(subject: Subject, session: Session, at: Epoch) -> bool:
    """Whether the trainer compares rewards at periodic epochs only, as its watermarks show.

    The periodic checkpoint of the held epoch then stores the highest reward of the periodic epochs
    before it, and not the higher one in between.
    (decisions.md: "A missing improvement that is periodic looks like a lower reward".)
    """
    freq = subject.save_freq.value or 0
    if freq < 2 or at.epoch % freq or session.may_be_resumed:
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
        for file in subject.files.periodic
    )


def _inherited(session: Session) -> float | None:
    """The watermark that a driven session took over when it was resumed."""
    return None if session.known is None else session.known.watermark


def _explained_by_reset(subject: Subject, at: Epoch) -> bool:
    """Whether a watermark lost on resume explains the rewrite."""
    if subject.driven:
        return any(
            next((other.epoch for other in reversed(reading) if other.improved), None) == at.epoch
            for reading in (() if subject.from_lower is None else subject.from_lower.readings)
        )
    reset = subject.if_reset
    return any(
        written is not None and written.epoch == at.epoch and same_reward(written.reward, at.reward)
        for written in reset.bests
    )


# --- a watermark that is not the held epoch's reward ----------------------------------------


def _foreign_watermark(subject: Subject, best: CheckpointFile, epoch: int) -> Diagnosis:
    """No session logged the stored watermark at the stored epoch."""
    watermark = best.watermark
    timeline = next(
        timeline
        for timeline in reversed(subject.expectation.timelines)
        if epoch in timeline.session.rewards
    )
    reading = timeline.readings[0]
    if watermark is None:
        return Diagnosis(_deviation(subject, best, timeline, reading, epoch))
    at = next(at for at in reading if at.epoch == epoch)
    says = f"the best checkpoint says epoch {epoch} (reward {at.reward!r})"
    expected = any(w is not None and w.epoch == epoch for w in subject.expectation.bests)
    if subject.doubt.log_is_contradicted and not math.isnan(at.reward):
        return Diagnosis(
            unknown="the logged rewards contradict the checkpoints (SUMMARY-002 judges)"
        )
    if expected:
        message = f"{says} and stores last_mean_rewards {watermark!r}"
        return Diagnosis(Blame("BEST-007", message, {"reward": at.reward}))
    reached = _first_reached(timeline.session, watermark)
    if at.improved or (reached is not None and reached > epoch):
        return Diagnosis(
            Blame(
                "BEST-002",
                f"{says} and watermark {watermark!r}: one of them is of another epoch",
                {"reward": at.reward},
            )
        )
    return Diagnosis(_late_or_lower(subject, timeline.session, at, watermark))


def _first_reached(session: Session, reward: float) -> int | None:
    """The first epoch that logged the reward."""
    reached = (e for e in sorted(session.rewards) if same_reward(session.rewards[e], reward))
    return next(reached, None)


def _late_or_lower(subject: Subject, session: Session, at: Epoch, watermark: float) -> Blame:
    """A best of an epoch that was no improvement, under a watermark that is not its own."""
    held = f"the best checkpoint holds epoch {at.epoch} (reward {at.reward!r})"
    both = {"reward": at.reward, "before": at.before}
    if math.isnan(at.reward):
        return Blame("BEST-005", f"{held}, whose mean reward is NaN", both)
    if not same_reward(watermark, at.before):
        rule = "BEST-003" if same_reward(at.reward, at.before) else "BEST-004"
        return Blame(rule, f"{held}, although {at.before!r} was reached before", both)
    freq = subject.save_freq.value or 0
    reached = _first_reached(session, at.before) or 0
    held_late = f"{held} under the watermark {watermark!r} of epoch {reached}"
    late = {**both, "reached": reached}
    next_periodic = bool(freq) and at.epoch % freq == 0 and at.epoch - reached < freq
    if next_periodic and at.epoch != session.last:
        return Blame("BEST-006", f"{held_late}: saved only at the next periodic epoch", late)
    if at.epoch == session.last and not next_periodic:
        return Blame("BEST-004", f"{held_late}: the last epoch rewrote it", late)
    return Blame("BEST-002", f"{held_late}: saved late, or rewritten by a lower reward", late)
