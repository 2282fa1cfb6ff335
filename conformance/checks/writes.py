"""What the journal of a driven session shows of each single write, also of those overwritten later.

The journal tells names and order, not contents. Periodic checkpoints carry their epochs in their
names, so that they divide the session's writes into slots; a rewrite of the best belongs to the
epochs of its slot. Only what no epoch of a slot explains is blamed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.convention.names import parse_name
from conformance.convention.oracle import Epoch, epochs, is_periodic
from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward
from conformance.convention.rules import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.checks.subject import Subject

_Slots = tuple[tuple[Epoch, ...], ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A rule of the best checkpoint that the order of writes shows broken, and how."""

    rule: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


_TOO_EARLY = Wrong("BEST-001", "the best was written before any epoch had a mean reward")


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
    # Versions of a dialect start from different watermarks: one that explains the writes is enough.
    found = [_held(subject, anchors, bests, reading) for reading in _readings(subject)]
    return next((told for told in found if not _is_off(told)), found[0])


def _is_off(told: Order) -> bool:
    return told.unknown is not None or told.wrong is not None or bool(told.reversed)


def _held(
    subject: Subject, anchors: list[int], bests: list[float], reading: tuple[Epoch, ...]
) -> Order:
    """Hold the writes against one reading of the session."""
    session = subject.driven[-1]
    due = [at.epoch for at in reading if is_periodic(subject.profile, session.save_freq, at)]
    if list(dict.fromkeys(anchors)) != due:
        return Order(
            unknown="the periodic checkpoints written are not those that are due",
            periodic=len(set(anchors)),
        )
    if not _best_is_in_place(subject):
        return Order(unknown="the best checkpoint is not where it should be", periodic=len(due))
    # How often the best was written in each slot: before the first anchor, and after each.
    places = [anchors.index(epoch) for epoch in due]
    counts = [0] * (len(due) + 1)
    for place in bests:
        counts[sum(1 for other in places if other < place)] += 1
    return _judged(subject, counts, reading, due)


def _best_is_in_place(subject: Subject) -> bool:
    """Whether the best checkpoint, where there is one, has its own name and place."""
    best = subject.best
    return best is not None and best.name.kind is Kind.BEST and not best.misplaced


def _judged(
    subject: Subject, counts: list[int], reading: tuple[Epoch, ...], due: list[int]
) -> Order:
    """Judge how often the best was written in each slot."""
    slots = _slots(reading, due)
    both = tuple(at.epoch for at in reading if at.improved and at.epoch in due)
    late, surplus = _late(counts, slots), _surplus(counts, slots)
    if late is None and not surplus:
        return Order(
            both=both,
            left_alone=tuple(
                at
                for slot, count in zip(slots, counts, strict=True)
                for at in slot
                if not at.improved and count == sum(other.improved for other in slot)
            ),
            improved=sum(at.improved for at in reading),
            periodic=len(due),
        )
    found = Order(both=both, periodic=len(due))
    if (late is not None or surplus) and _with_lower_watermark(subject, counts, due):
        return replace(found, wrong=_lost_watermark([slots[number] for number in surplus]))
    if late is not None:
        return replace(found, wrong=_missed(subject, counts, slots, late))
    if _periodic_late(counts, slots, _slots(reading, due, after=False)):
        return replace(found, reversed=both)
    blames = (_rewritten(slots[number]) if slots[number] else _TOO_EARLY for number in surplus)
    return replace(found, wrong=next((blame for blame in blames if blame is not None), None))


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


def _readings(subject: Subject) -> tuple[tuple[Epoch, ...], ...]:
    """The last session's epochs from each watermark that it may have started from, never none.

    As the oracle steps through them; without any epoch where it had no reward.
    """
    timelines = subject.expectation.timelines
    if not timelines:
        return ((),)
    session, readings = timelines[-1].session, timelines[-1].readings
    current = session.known is not None and session.known.current
    return readings if current and session.first >= subject.driven[-1].first else ((),)


def _slots(reading: tuple[Epoch, ...], due: list[int], *, after: bool = True) -> _Slots:
    """The epochs whose best, if any, is due between two periodic writes.

    `after` False: as if an epoch's best were written before its periodic checkpoint.
    """
    bounds = [-math.inf, *due, math.inf]
    if not after:
        return tuple(
            tuple(at for at in reading if low < at.epoch <= high) for low, high in pairwise(bounds)
        )
    return tuple(
        tuple(at for at in reading if low <= at.epoch < high) for low, high in pairwise(bounds)
    )


def _late(counts: list[int], slots: _Slots) -> int | None:
    """The first slot up to which the best was written less often than it improved."""
    written = improved = 0
    for number, (count, slot) in enumerate(zip(counts, slots, strict=True)):
        written += count
        improved += sum(at.improved for at in slot)
        if written < improved:
            return number
    return None


def _surplus(counts: list[int], slots: _Slots) -> list[int]:
    """The slots in which the best was written although no epoch of them improved.

    More writes than improvements prove nothing where there is an improvement: a trainer may write
    a file twice.
    """
    return [
        number
        for number, (count, slot) in enumerate(zip(counts, slots, strict=True))
        if count and not any(at.improved for at in slot)
    ]


def _periodic_late(counts: list[int], slots: _Slots, swapped: _Slots) -> bool:
    """Whether periodic checkpoints that were written late explain writes that came too early.

    Either each came behind its own epoch's best, or all writes are there, and some stand where no
    epoch can have caused them.
    """
    if _late(counts, swapped) is None and not _surplus(counts, swapped):
        return True
    improved = sum(at.improved for slot in slots for at in slot)
    return sum(counts) == improved and not any(slots[n] for n in _surplus(counts, slots))


def _with_lower_watermark(subject: Subject, counts: list[int], due: list[int]) -> bool:
    """Whether a resumed session wrote as if it had started from a lower watermark."""
    for reading in subject.readings_from_lower:
        slots = _slots(reading, due)
        if _late(counts, slots) is None and not _surplus(counts, slots):
            return True
    return False


def _lost_watermark(surplus: list[tuple[Epoch, ...]]) -> Wrong:
    """BEST-008, unless it was all ties: those may be rewritten on principle."""
    if all(same_reward(at.reward, at.before) for slot in surplus for at in slot):
        return Wrong("BEST-003", "the resumed session rewrote the best for an equal reward")
    return Wrong(
        "BEST-008",
        "the resumed session rewrote the best as if it had started from a lower watermark",
    )


def _missed(subject: Subject, counts: list[int], slots: _Slots, late: int) -> Wrong:
    reading = tuple(at for slot in slots for at in slot)
    improved = [at for at in slots[late] if at.improved]
    shown = ", ".join(str(at.epoch) for at in improved[:5])
    message = f"the best was not rewritten at once for the improvement(s) of epoch(s) {shown}"
    numbers: dict[str, object] = {
        "missed": [{"epoch": at.epoch, "reward": at.reward} for at in improved]
    }
    before = [at.epoch for at in reading if at.improved and at.epoch < improved[0].epoch]
    since = max(before, default=0)
    poison = next(
        (
            at.epoch
            for at in reading
            if since < at.epoch < improved[0].epoch and math.isnan(at.reward)
        ),
        None,
    )
    if poison is not None:
        numbers["nan_epoch"] = poison
        return Wrong("BEST-005", f"{message}, after the NaN reward of epoch {poison}", numbers)
    if subject.driven[-1].resumed_from is None and _from_a_higher_watermark(
        subject, counts, slots, reading
    ):
        return Wrong(
            "BEST-001",
            f"{message}: no best was there yet, as if it had started from a higher watermark",
            numbers,
        )
    return Wrong("BEST-006", message, numbers)


def _from_a_higher_watermark(
    subject: Subject, counts: list[int], slots: _Slots, reading: tuple[Epoch, ...]
) -> bool:
    """Whether a first best that came late is all that is wrong: some initial watermark explains it.

    The writes are then those of a session that starts from one of the rewards missed.
    """
    rewards = {at.epoch: at.reward for at in reading}
    due = [slot[0].epoch for slot in slots[1:]]
    for at in reading:
        other = tuple(epochs(subject.profile, subject.settings, rewards, watermark=at.reward))
        last = next((later.epoch for later in reversed(other) if later.improved), None)
        if last is None or subject.best is None or subject.best.epoch != last:
            continue
        again = _slots(other, due)
        if _late(counts, again) is None and not _surplus(counts, again):
            return True
    return False


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
    return Wrong(
        rule,
        f"the best was rewritten for {what}; a later write hides it",
        {"rewritten": {"epoch": at.epoch, "reward": at.reward, "before": at.before}},
    )


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
