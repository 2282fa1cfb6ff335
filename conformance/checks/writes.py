"""CADENCE as the journal of a driven session alone shows it, and what the journal says of BEST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Blame,
    Outcome,
    failed,
    harness_failed,
    not_applicable,
    passed,
    reported_under,
    unobservable,
)
from conformance.convention.rewards import same_reward
from conformance.run.order import How

if TYPE_CHECKING:
    from conformance.run.order import Order
    from conformance.run.subject import Subject

_MOST_SHOWN = 5


def periodic_in_order(subject: Subject) -> Outcome:
    """CADENCE-004."""
    found = subject.order
    if found.unsorted is not None:
        earlier, later = found.unsorted
        return failed(
            f"the periodic checkpoint of epoch {later} was written after that of epoch {earlier}",
            epochs=[earlier, later],
        )
    if found.unknown is not None and not found.periodic:
        return _unknown(found) or not_applicable(found.unknown)
    if found.periodic < 2:
        return not_applicable("fewer than two periodic checkpoints were written")
    return passed(
        f"{found.periodic} periodic checkpoints were written in the order of their epochs",
        written=found.periodic,
    )


def periodic_before_best(subject: Subject) -> Outcome:
    """CADENCE-005."""
    found = subject.order
    if found.reversed:
        shown = ", ".join(map(str, found.reversed[:_MOST_SHOWN]))
        return failed(
            f"in epoch(s) {shown} the best was written before the periodic checkpoint",
            epochs=list(found.reversed),
        )
    if found.unsorted is not None:
        return reported_under("CADENCE-004")
    if subject.profile.legacy_guard:
        return not_applicable("a new best is saved without a periodic checkpoint (legacy guard)")
    if found.unknown is not None:
        if found.periodic:
            return not_applicable(f"{found.unknown} (CADENCE-001 and -002 judge)")
        return _unknown(found) or not_applicable(found.unknown)
    if not found.both:
        return not_applicable("no epoch made both a periodic and the best checkpoint due")
    blame = blamed(found)
    if blame is not None:
        return reported_under(blame.rule)
    return passed(
        f"in {len(found.both)} epoch(s) the periodic checkpoint was written before the best",
        epochs=list(found.both),
    )


def _unknown(found: Order) -> Outcome | None:
    if found.overflowed:
        return harness_failed(found.unknown)
    return None if found.unknown is None else unobservable(found.unknown)


# --- the best -------------------------------------------------------------------------------


def blamed(found: Order) -> Blame | None:
    """The rule that the writes of the best show broken; None where they show none."""
    deviation = found.deviation
    if deviation is None:
        return None
    if deviation.how is How.BEFORE_ANY_REWARD:
        return Blame("BEST-001", "the best was written before any epoch had a mean reward")
    if deviation.how is How.FROM_LOWER:
        # Unless it was all ties: those may be rewritten on principle.
        if all(same_reward(at.reward, at.before) for at in deviation.at):
            return Blame("BEST-003", "the resumed session rewrote the best for an equal reward")
        return Blame(
            "BEST-008",
            "the resumed session rewrote the best as if it had started from a lower watermark",
        )
    if deviation.how in (How.MISSED, How.MISSED_BEHIND_NAN, How.FROM_HIGHER):
        shown = ", ".join(str(at.epoch) for at in deviation.at[:_MOST_SHOWN])
        missed = f"the best was not rewritten at once for the improvement(s) of epoch(s) {shown}"
        numbers = {"missed": [{"epoch": at.epoch, "reward": at.reward} for at in deviation.at]}
        if deviation.how is How.MISSED_BEHIND_NAN:
            return Blame(
                "BEST-005",
                f"{missed}, after the NaN reward of epoch {deviation.nan}",
                {**numbers, "nan_epoch": deviation.nan},
            )
        if deviation.how is How.FROM_HIGHER:
            return Blame(
                "BEST-001",
                f"{missed}: no best was there yet, as if it had started from a higher watermark",
                numbers,
            )
        return Blame("BEST-006", missed, numbers)
    at = deviation.at[0]
    rule, what = {
        How.TOO_EARLY: ("BEST-001", f"an epoch before save_best_after, epoch {at.epoch}"),
        How.FOR_TIE: (
            "BEST-003",
            f"a reward equal to the watermark, {at.reward!r} in epoch {at.epoch}",
        ),
        How.FOR_LOWER: (
            "BEST-004",
            f"{at.reward!r} in epoch {at.epoch}, below the watermark {at.before!r}",
        ),
        How.FOR_NAN: ("BEST-005", f"the NaN reward of epoch {at.epoch}"),
    }[deviation.how]
    return Blame(
        rule,
        f"the best was rewritten for {what}; a later write hides it",
        {"rewritten": {"epoch": at.epoch, "reward": at.reward, "before": at.before}},
    )


CHECKS = {
    "CADENCE-004": periodic_in_order,
    "CADENCE-005": periodic_before_best,
}
