"""What the journal of a driven session shows of each single write, also of those overwritten later.

The journal tells names and order, not contents. Periodic checkpoints carry their epochs in their
names, so that they divide the session's writes into slots; a rewrite of the best belongs to the
epochs of its slot. Only what no epoch of a slot explains is a deviation.
(decisions.md: "The journal tells names and order, and that is enough".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.convention.names import parse_name
from conformance.convention.oracle import Epoch, Settings, epochs, is_periodic
from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.run.driven import DrivenSession
    from conformance.run.expectation import Expectation
    from conformance.run.files import CheckpointFile
    from conformance.run.history import History
    from conformance.run.timeline import Timeline

_Slots = tuple[tuple[Epoch, ...], ...]


class How(Enum):
    """How the writes of the best deviate from what is due."""

    MISSED = "an improvement was not written at once"
    MISSED_BEHIND_NAN = "nor was one behind a NaN reward"
    FROM_HIGHER = "as if a fresh session had started from a higher watermark"
    FROM_LOWER = "as if a resumed session had started from a lower watermark"
    BEFORE_ANY_REWARD = "written before any epoch had a mean reward"
    FOR_NAN = "written for a NaN reward"
    FOR_TIE = "written for a reward equal to the watermark"
    FOR_LOWER = "written for a reward below the watermark"
    TOO_EARLY = "written before save_best_after"


@dataclass(frozen=True, slots=True)
class Deviation:
    """What the rewrites of the best show to be wrong.

    Attributes:
        how: which kind of deviation it is.
        at: the epochs that were missed or written for; empty where there was none yet.
        nan: the epoch of the NaN reward before a missed improvement; None where there is none.
    """

    how: How
    at: tuple[Epoch, ...] = ()
    nan: int | None = None


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
        deviation: what the rewrites of the best show to be wrong; None where nothing.
        left_alone: the epochs that did not improve and that the best was seen to be left alone in.
        improved: how many improvements were each seen written.
        periodic: how many periodic checkpoints were seen written.
    """

    unknown: str | None = None
    overflowed: bool = False
    unsorted: tuple[int, int] | None = None
    reversed: tuple[int, ...] = ()
    both: tuple[int, ...] = ()
    deviation: Deviation | None = None
    left_alone: tuple[Epoch, ...] = ()
    improved: int = 0
    periodic: int = 0

    @property
    def is_off(self) -> bool:
        """Whether the writes are not those that are due, or cannot be held against them."""
        return self.unknown is not None or self.deviation is not None or bool(self.reversed)


def order_of_writes(
    profile: Profile,
    settings: Settings,
    session: DrivenSession,
    history: History,
    expectation: Expectation,
    *,
    lower: Timeline | None,
    best: CheckpointFile | None,
) -> Order:
    """Hold the writes of the last driven session against its epochs.

    Args:
        profile: the dialect.
        settings: the run's.
        session: the last one that was driven.
        history: all of its sessions.
        expectation: what the oracle makes of them.
        lower: the last session, had it lost the watermark on its resume.
        best: the best checkpoint that is there.
    """
    names = session.writes.names
    if names is None or session.writes.unseen is not None:
        why = session.writes.unseen or "no journal was kept"
        return Order(unknown=why, overflowed=session.writes.overflowed)
    if history.problems:
        return Order(unknown="the rewards of the epochs are not known")
    anchors, bests = _tokens(profile, settings.name, names)
    fallen = next(((a, b) for a, b in pairwise(anchors) if b < a), None)
    if fallen is not None:
        return Order(unsorted=fallen, periodic=len(set(anchors)))
    writes = _Writes(profile, settings, session, anchors, bests, lower, best)
    # Versions of a dialect start from different watermarks: one that explains the writes is enough.
    found = [writes.held(reading) for reading in _readings(session, expectation)]
    return next((told for told in found if not told.is_off), found[0])


def _tokens(profile: Profile, run: str, names: tuple[str, ...]) -> tuple[list[int], list[float]]:
    """The epochs of the periodic writes in order, and where among them the best was written.

    A place of 1.5 stands between the second and the third periodic write.
    """
    anchors: list[int] = []
    bests: list[float] = []
    for name in names:
        parsed = parse_name(profile, run, name)
        if parsed.kind is Kind.PERIODIC and parsed.epoch is not None:
            if not anchors or anchors[-1] != parsed.epoch:
                anchors.append(parsed.epoch)
        elif parsed.kind is Kind.BEST:
            bests.append(len(anchors) - 0.5)
    return anchors, bests


def _readings(last: DrivenSession, expectation: Expectation) -> tuple[tuple[Epoch, ...], ...]:
    """The last session's epochs from each watermark that it may have started from, never none.

    As the oracle steps through them; without any epoch where it had no reward.
    """
    timelines = expectation.timelines
    if not timelines:
        return ((),)
    session, readings = timelines[-1].session, timelines[-1].readings
    current = session.known is not None and session.known.current
    return readings if current and session.first >= last.first else ((),)


@dataclass(frozen=True, slots=True)
class _Writes:
    """The writes of one session, and what they are held against.

    Attributes:
        profile: the dialect.
        settings: the run's.
        session: as it was played.
        anchors: the epochs of the periodic writes, in order.
        bests: where among them the best was written.
        lower: the session, had it lost the watermark on its resume.
        best: the best checkpoint that is there.
    """

    profile: Profile
    settings: Settings
    session: DrivenSession
    anchors: list[int]
    bests: list[float]
    lower: Timeline | None
    best: CheckpointFile | None

    def held(self, reading: tuple[Epoch, ...]) -> Order:
        """Hold the writes against one reading of the session."""
        due = [at.epoch for at in reading if is_periodic(self.profile, self.session.save_freq, at)]
        if list(dict.fromkeys(self.anchors)) != due:
            return Order(
                unknown="the periodic checkpoints written are not those that are due",
                periodic=len(set(self.anchors)),
            )
        if not self._best_is_in_place():
            return Order(unknown="the best checkpoint is not where it should be", periodic=len(due))
        # How often the best was written in each slot: before the first anchor, and after each.
        places = [self.anchors.index(epoch) for epoch in due]
        counts = [0] * (len(due) + 1)
        for place in self.bests:
            counts[sum(1 for other in places if other < place)] += 1
        return self._compared(counts, reading, due)

    def _best_is_in_place(self) -> bool:
        """Whether the best checkpoint, where there is one, has its own name and place."""
        best = self.best
        return best is not None and best.name.kind is Kind.BEST and not best.misplaced

    def _compared(self, counts: list[int], reading: tuple[Epoch, ...], due: list[int]) -> Order:
        """Compare how often the best was written in each slot with how often it was due."""
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
        if self._started_lower(counts, due):
            written = tuple(at for number in surplus for at in slots[number])
            return replace(found, deviation=Deviation(How.FROM_LOWER, written))
        if late is not None:
            return replace(found, deviation=self._missed(counts, slots, late))
        if _periodic_late(counts, slots, _slots(reading, due, after=False)):
            return replace(found, reversed=both)
        rewritten = (_rewritten(slots[number]) for number in surplus)
        return replace(found, deviation=next(filter(None, rewritten), None))

    def _started_lower(self, counts: list[int], due: list[int]) -> bool:
        """Whether a resumed session wrote as if it had started from a lower watermark."""
        readings = () if self.lower is None else self.lower.readings
        return any(_explains(counts, _slots(reading, due)) for reading in readings)

    def _missed(self, counts: list[int], slots: _Slots, late: int) -> Deviation:
        reading = tuple(at for slot in slots for at in slot)
        improved = tuple(at for at in slots[late] if at.improved)
        before = [at.epoch for at in reading if at.improved and at.epoch < improved[0].epoch]
        since = max(before, default=0)
        nan = next(
            (
                at.epoch
                for at in reading
                if since < at.epoch < improved[0].epoch and math.isnan(at.reward)
            ),
            None,
        )
        if nan is not None:
            return Deviation(How.MISSED_BEHIND_NAN, improved, nan)
        fresh = self.session.resumed_from is None
        if fresh and self._started_higher(counts, slots, reading):
            return Deviation(How.FROM_HIGHER, improved)
        return Deviation(How.MISSED, improved)

    def _started_higher(self, counts: list[int], slots: _Slots, reading: tuple[Epoch, ...]) -> bool:
        """Whether a first best that came late is all that is wrong.

        Some initial watermark explains it: the writes are then those of a session that starts from
        one of the rewards missed.
        """
        rewards = {at.epoch: at.reward for at in reading}
        due = [slot[0].epoch for slot in slots[1:]]
        for at in reading:
            other = tuple(epochs(self.profile, self.settings, rewards, watermark=at.reward))
            last = next((later.epoch for later in reversed(other) if later.improved), None)
            if last is None or self.best is None or self.best.epoch != last:
                continue
            if _explains(counts, _slots(other, due)):
                return True
        return False


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


def _explains(counts: list[int], slots: _Slots) -> bool:
    """Whether the best was written where it was due, and nowhere else."""
    return _late(counts, slots) is None and not _surplus(counts, slots)


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
    if _explains(counts, swapped):
        return True
    improved = sum(at.improved for slot in slots for at in slot)
    return sum(counts) == improved and not any(slots[n] for n in _surplus(counts, slots))


def _rewritten(slot: tuple[Epoch, ...]) -> Deviation | None:
    """How a rewrite in a slot without an improvement deviates; None where it may be in two ways."""
    if not slot:
        return Deviation(How.BEFORE_ANY_REWARD)
    found = {_written_for(at) for at in slot}
    return Deviation(found.pop(), slot) if len(found) == 1 else None


def _written_for(at: Epoch) -> How:
    """What a best that was written in this epoch was written for; it did not improve."""
    if math.isnan(at.reward):
        return How.FOR_NAN
    if same_reward(at.reward, at.before):
        return How.FOR_TIE
    return How.FOR_LOWER if at.reward < at.before else How.TOO_EARLY
