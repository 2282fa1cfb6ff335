"""One session as the oracle steps through it, from each watermark that it may have had."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.oracle import Epoch, Settings, epochs, is_periodic
from conformance.convention.rewards import as_float32, improves

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.convention.profile import Profile
    from conformance.run.history import Session


@dataclass(frozen=True, slots=True)
class Written:
    """The state of the best file: which session wrote it last, in which epoch, at which reward.

    Where the session did not log that epoch any more, it is not `logged`: the epoch is then the
    first that it can be, and the reward is higher than the one here.
    """

    session: int
    epoch: int
    reward: float
    logged: bool = True


class Course:
    """A session's epochs under any watermark that it may have started from.

    The oracle steps through them once, from a watermark below all rewards. Started from another
    one, the session goes the same way from the first reward on that improves on it.
    """

    def __init__(self, profile: Profile, settings: Settings, rewards: Mapping[int, float]) -> None:
        self._epochs = tuple(epochs(profile, settings, rewards, watermark=-math.inf))
        self._places = {at.epoch: place for place, at in enumerate(self._epochs)}
        self._improved = tuple(at for at in self._epochs if at.improved)  # their rewards rise

    def improved(self, start: float) -> Sequence[Epoch]:
        """The epochs that improve, in order, of a session that started from this watermark.

        The first of them has its `before` from below all rewards.
        """
        low, high = 0, len(self._improved)
        while low < high:
            middle = (low + high) // 2
            if improves(self._improved[middle].reward, start):
                high = middle
            else:
                low = middle + 1
        return self._improved[low:]

    def first_improved(self, start: float) -> int:
        """The place of the first epoch that improves on the watermark; behind all where none."""
        improved = self.improved(start)
        return self._places[improved[0].epoch] if improved else len(self._epochs)

    def at(self, epoch: int, started: Iterable[tuple[float, int]]) -> tuple[Epoch, ...]:
        """One epoch under each watermark, given with its `first_improved`; equal ones once."""
        place = self._places[epoch]
        found: list[Epoch] = []
        improved = False  # on any of the watermarks before, which then makes no difference
        for start, first in started:
            if place <= first or not improved:
                found.append(self._epoch(place, start, first))
            improved = improved or place > first
        return tuple(found)

    def _epoch(self, place: int, start: float, first: int) -> Epoch:
        at = self._epochs[place]
        if place > first:
            return at
        if place == first:
            return Epoch(at.epoch, at.reward, start, at.after, improved=True)
        return Epoch(at.epoch, at.reward, start, start, improved=False)

    def reading(self, start: float, first: int) -> tuple[Epoch, ...]:
        """All epochs of a session that started from this watermark and first improved there."""
        own = tuple(self._epoch(place, start, first) for place in range(first))
        changed = (self._epoch(first, start, first),) if first < len(self._epochs) else ()
        return (*own, *changed, *self._epochs[first + 1 :])

    @property
    def numbers(self) -> Iterable[int]:
        """The epochs in order."""
        return self._places.keys()


@dataclass(frozen=True)
class Timeline:
    """One session under each watermark that it may have started from."""

    session: Session
    course: Course
    starts: tuple[float, ...]

    @cached_property
    def _started(self) -> tuple[tuple[float, int], ...]:
        """Each watermark with the place of the first epoch that improves on it."""
        return tuple((start, self.course.first_improved(start)) for start in self.starts)

    @cached_property
    def readings(self) -> tuple[tuple[Epoch, ...], ...]:
        """For each of the watermarks, the session's epochs as the oracle steps through them."""
        return tuple(self.course.reading(start, first) for start, first in self._started)

    def at(self, epoch: int) -> tuple[Epoch, ...]:
        """A logged epoch under each of the watermarks, equal ones once."""
        return self.course.at(epoch, self._started)

    def watermarks_before(self, epoch: int) -> tuple[float, ...]:
        """The watermarks behind the last logged epoch before this one, or at the start."""
        place = bisect_left(self._logged, epoch)
        if not place:
            return self.starts
        return tuple(at.after for at in self.at(self._logged[place - 1]))

    @cached_property
    def _logged(self) -> tuple[int, ...]:
        return tuple(self.course.numbers)

    def watermarks_at(self, epoch: int) -> frozenset[float]:
        """The watermarks that a checkpoint of the epoch may store, as float32."""
        if epoch not in self.session.rewards:
            return frozenset()
        values = {value for at in self.at(epoch) for value in (at.before, at.after)}
        return frozenset(map(as_float32, values))

    def surely_periodic(self, profile: Profile, save_freq: int | None) -> Iterator[Epoch]:
        """The epochs that write a periodic checkpoint under every reading."""
        if not save_freq:
            return
        for epoch in self.course.numbers:
            if epoch % save_freq == 0:
                same = self.at(epoch)
                if all(is_periodic(profile, save_freq, at) for at in same):
                    yield same[0]
