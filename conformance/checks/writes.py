"""What the journal of a driven session shows of each single write, also of those overwritten later.

The journal tells names and order, not contents. Periodic checkpoints carry their epochs in their
names, so that they divide the session's writes into slots; a rewrite of the best belongs to the
epochs of its slot. Only what no epoch of a slot explains is blamed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.checks.history import expect
from conformance.convention.names import parse_name
from conformance.convention.oracle import Epoch, is_periodic
from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward
from conformance.convention.rules import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.checks.subject import Subject

_Slots = tuple[tuple[Epoch, ...], ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A rule of the best checkpoint that the order of writes shows broken, and how."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Order:
    """What the journal of the last session says.

    Attributes:
        unknown: why the writes cannot be judged; None where they were.
        overflowed: the journal is the harness's own failure.
        unsorted: the first two periodic epochs that were written in the wrong order.
        reversed: the epochs in which the best was written before the periodic checkpoint; empty
            where none was.
        both: the epochs in which both were due.
        wrong: what the rewrites of the best show broken; None where nothing.
        left_alone: the epochs that did not improve and that the best was seen to be left alone in.
        improved: how many improvements were each seen written.
        periodic: how many periodic checkpoints were seen written.
    """

    unknown: str | None = None
    overflowed: bool = False
    unsorted: tuple[int, int] | None = None
    reversed: tuple[int, ...] = ()
    both: tuple[int, ...] = ()
    wrong: Wrong | None = None
    left_alone: tuple[Epoch, ...] = ()
    improved: int = 0
    periodic: int = 0


def order(subject: Subject) -> Order:
    """Hold the writes of the last driven session against its epochs."""
    if not subject.driven:
        return Order(unknown="no trainer was driven")
    session = subject.driven[-1]
    names = session.writes.names
    if names is None or session.writes.unseen is not None:
        why = session.writes.unseen or "no journal was kept"
        return Order(unknown=why, overflowed=session.writes.overflowed)
    if subject.history.problems:
        return Order(unknown="the rewards of the epochs are not known")
    anchors, bests = _tokens(subject, names)
    fallen = next(((a, b) for a, b in pairwise(anchors) if b < a), None)
    if fallen is not None:
        return Order(unsorted=fallen, periodic=len(set(anchors)))
    reading = _reading(subject)
    due = [at.epoch for at in reading if is_periodic(subject.profile, session.save_freq, at)]
    first = {epoch: place for place, epoch in reversed(list(enumerate(anchors)))}
    if sorted(first) != due:
        return Order(
            unknown="the periodic checkpoints written are not those that are due",
            periodic=len(first),
        )
    # How often the best was written in each slot: before the first anchor, and after each.
    places = [first[epoch] for epoch in due]
    counts = [0] * (len(due) + 1)
    for place in bests:
        counts[sum(1 for other in places if other < place)] += 1
    both = tuple(at.epoch for at in reading if at.improved and at.epoch in first)
    right = _slots(reading, due, after=True)
    wrong = list(_violations(counts, right))
    if wrong and _explained_by_reset(subject, counts, due):
        lost = "the resumed session rewrote the best as if it had started without a watermark"
        return Order(wrong=Wrong("BEST-008", lost), periodic=len(due))
    if wrong and both:
        swapped = _slots(reading, due, after=False)
        others = list(_violations(counts, swapped))
        if len(others) < len(wrong):
            return Order(
                reversed=both,
                both=both,
                wrong=_blame(subject, others, swapped, reading),
                periodic=len(due),
            )
    return Order(
        both=both,
        wrong=_blame(subject, wrong, right, reading),
        left_alone=tuple(
            at
            for slot, count in zip(right, counts, strict=True)
            for at in slot
            if not at.improved and count == sum(other.improved for other in slot)
        ),
        improved=sum(at.improved for slot in right for at in slot),
        periodic=len(due),
    )


def _tokens(subject: Subject, names: tuple[str, ...]) -> tuple[list[int], list[float]]:
    """The epochs of the periodic writes in order, and where among them the best was written.

    A place of 1.5 stands between the second and the third periodic write.
    """
    anchors: list[int] = []
    bests: list[float] = []
    for name in names:
        parsed = parse_name(subject.profile, subject.name, name)
        if parsed.kind is Kind.PERIODIC and parsed.epoch is not None:
            if not anchors or anchors[-1] != parsed.epoch:
                anchors.append(parsed.epoch)
        elif parsed.kind is Kind.BEST:
            bests.append(len(anchors) - 0.5)
    return anchors, bests


def _reading(subject: Subject) -> tuple[Epoch, ...]:
    """The last session's epochs as the oracle steps through them; empty where it had no reward."""
    timelines = subject.expectation.timelines
    if not timelines:
        return ()
    session, readings = timelines[-1].session, timelines[-1].readings
    current = session.known is not None and session.known.current
    return readings[0] if current and session.first >= subject.driven[-1].first else ()


def _slots(reading: tuple[Epoch, ...], due: list[int], *, after: bool) -> _Slots:
    """The epochs between two periodic writes: with the one before them, or the one behind them."""
    bounds = [-math.inf, *due, math.inf]
    if after:
        return tuple(
            tuple(at for at in reading if low <= at.epoch < high) for low, high in pairwise(bounds)
        )
    return tuple(
        tuple(at for at in reading if low < at.epoch <= high) for low, high in pairwise(bounds)
    )


def _violations(counts: list[int], slots: _Slots) -> Iterator[tuple[int, int]]:
    """The slots with fewer writes of the best than improvements, or with some and none due.

    More writes than improvements prove nothing where there is an improvement: a trainer may write
    a file twice.
    """
    for number, (count, slot) in enumerate(zip(counts, slots, strict=True)):
        due = sum(at.improved for at in slot)
        if count < due or (count and not due):
            yield number, count - due


def _explained_by_reset(subject: Subject, counts: list[int], due: list[int]) -> bool:
    """Whether a watermark that was lost on resume explains when the best was rewritten."""
    if subject.driven[-1].resumed_from is None or not subject.profile.resume_keeps_watermark:
        return False
    reset = expect(subject.profile, subject.settings, subject.history, resume_resets=True)
    return any(
        not list(_violations(counts, _slots(reading, due, after=True)))
        for reading in reset.timelines[-1].readings
    )


def _blame(
    subject: Subject, wrong: list[tuple[int, int]], slots: _Slots, reading: tuple[Epoch, ...]
) -> Wrong | None:
    missing = next((number for number, surplus in wrong if surplus < 0), None)
    if missing is not None:
        return _missed([at for at in slots[missing] if at.improved], reading)
    for number, _ in wrong:
        blame = _rewritten(slots[number]) if slots[number] else _too_early(subject, reading)
        if blame is not None:
            return blame
    return None


def _too_early(subject: Subject, reading: tuple[Epoch, ...]) -> Wrong | None:
    """A best of an epoch that had no mean reward, where there was such an epoch."""
    if reading and reading[0].epoch == subject.driven[-1].first:
        return None
    return Wrong("BEST-001", "the best was written in an epoch in which no episode had finished")


def _missed(improved: list[Epoch], reading: tuple[Epoch, ...]) -> Wrong:
    shown = ", ".join(str(at.epoch) for at in improved[:5])
    message = f"the best was not rewritten at once for the improvement(s) of epoch(s) {shown}"
    last = max(
        (at.epoch for at in reading if at.improved and at.epoch < improved[0].epoch), default=0
    )
    poison = next(
        (
            at.epoch
            for at in reading
            if last < at.epoch < improved[0].epoch and math.isnan(at.reward)
        ),
        None,
    )
    if poison is None:
        return Wrong("BEST-006", message)
    return Wrong("BEST-005", f"{message}, after the NaN reward of epoch {poison}")


def _rewritten(slot: tuple[Epoch, ...]) -> Wrong | None:
    """The rule that a rewrite in a slot without an improvement breaks; None where it may be two."""
    rules = {_rule_of(at) for at in slot}
    if len(rules) > 1:
        return None
    rule = rules.pop()
    at = slot[0]
    what = {
        "BEST-001": f"an epoch before save_best_after, epoch {at.epoch}",
        "BEST-003": f"a reward equal to the watermark, {at.reward!r} in epoch {at.epoch}",
        "BEST-004": f"{at.reward!r} in epoch {at.epoch}, below the watermark {at.before!r}",
        "BEST-005": f"the NaN reward of epoch {at.epoch}",
    }[rule]
    return Wrong(rule, f"the best was rewritten for {what}; a later write hides it")


def _rule_of(at: Epoch) -> str:
    if math.isnan(at.reward):
        return "BEST-005"
    if same_reward(at.reward, at.before):
        return "BEST-003"
    return "BEST-004" if at.reward < at.before else "BEST-001"


# --- the rules that the journal alone shows -------------------------------------------------


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
