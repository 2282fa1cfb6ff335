"""CADENCE, as the journal of a driven session alone shows it: the order of its writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.convention.rules import Verdict

if TYPE_CHECKING:
    from conformance.run.order import Order
    from conformance.run.subject import Subject


def _unknown(found: Order) -> Outcome | None:
    if found.overflowed:
        return Outcome(Verdict.ERROR, f"the harness failed: {found.unknown}")
    return None if found.unknown is None else unobservable(found.unknown)


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
        shown = ", ".join(map(str, found.reversed[:5]))
        return failed(
            f"in epoch(s) {shown} the best was written before the periodic checkpoint",
            epochs=list(found.reversed),
        )
    if found.unsorted is not None:
        return not_applicable("the deviation is reported under CADENCE-004")
    if subject.profile.legacy_guard:
        return not_applicable("a new best is saved without a periodic checkpoint (legacy guard)")
    if found.unknown is not None:
        if found.periodic:
            return not_applicable(f"{found.unknown} (CADENCE-001 and -002 judge)")
        return _unknown(found) or not_applicable(found.unknown)
    if not found.both:
        return not_applicable("no epoch made both a periodic and the best checkpoint due")
    if found.wrong is not None:
        return not_applicable(f"the deviation is reported under {found.wrong.rule}")
    return passed(
        f"in {len(found.both)} epoch(s) the periodic checkpoint was written before the best",
        epochs=list(found.both),
    )


CHECKS = {
    "CADENCE-004": periodic_in_order,
    "CADENCE-005": periodic_before_best,
}
