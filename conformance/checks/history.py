"""A run's sessions as its event files show them, and what the oracle expects of them.

Event files do not say whether a session was resumed or started afresh, nor how it got its
watermark. Where the evidence leaves several readings, all of them are kept, and a check may blame
only what is wrong under each.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.oracle import Epoch, Settings, epochs, is_periodic
from conformance.convention.rewards import as_float32, improves, same_reward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.convention.profile import Profile
    from conformance.evidence.summaries import EventFile, Reward

_MOST_STATES = 32
_FEWEST_TELLING = 10  # rewards that are all different; fewer may be so by chance


class Start(str, Enum):
    """How a session began."""

    FRESH = "fresh"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a session beyond its log, since the harness had it played.

    Attributes:
        watermark: that it started from; None: the profile's initial one.
        save_freq: epochs between its periodic checkpoints.
        current: whether it is the session that was played last.
    """

    watermark: float | None
    save_freq: int
    current: bool


@dataclass(frozen=True)
class Session:
    """One process's training: its event files in sequence and the reward of each logged epoch."""

    index: int
    files: tuple[str, ...]
    rewards: Mapping[int, float]
    starts: tuple[Start, ...]
    known: Known | None = None

    @cached_property
    def first(self) -> int:
        """The first logged epoch."""
        return min(self.rewards)

    @cached_property
    def last(self) -> int:
        """The last logged epoch."""
        return max(self.rewards)

    @cached_property
    def best_epoch(self) -> int | None:
        """The first logged epoch with the highest reward; None where all are NaN."""
        known = {epoch: value for epoch, value in self.rewards.items() if not math.isnan(value)}
        return max(sorted(known), key=known.__getitem__, default=None)


@dataclass(frozen=True)
class Problem:
    """One way in which the logs are no reward per epoch.

    Attributes:
        message: says it in one line.
        cause: in the words of SUMMARY-001's remedies; empty: what it usually is.
        evidence: the file and the numbers that the message speaks of.
    """

    message: str
    cause: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """All sessions that logged rewards, in order of time.

    `problems` holds one for each way in which the logs are no reward per epoch; where there
    is one, no rule may lean on them. `played` says that the rewards are those that a driven trainer
    was given, so that none is missing.
    """

    sessions: tuple[Session, ...]
    count: int
    problems: tuple[Problem, ...]
    played: bool = False

    @property
    def usable(self) -> bool:
        """Whether the reward of each epoch is known."""
        return (bool(self.sessions) or self.played) and not self.problems

    @cached_property
    def last_epoch(self) -> int | None:
        """The highest logged epoch of all sessions."""
        return max((session.last for session in self.sessions), default=None)

    @cached_property
    def lags(self) -> bool:
        """Whether a session but the last may have reached epochs that its log does not show."""
        if self.played:
            return False
        reached = 0
        for number, session in enumerate(self.sessions):
            if number and reached + 1 < session.first:
                return True
            reached = max(reached, session.last)
        return self.count > len(self.sessions)

    @cached_property
    def _logged(self) -> Mapping[int, tuple[float, ...]]:
        found: defaultdict[int, list[float]] = defaultdict(list)
        for session in self.sessions:
            for epoch, reward in session.rewards.items():
                found[epoch].append(reward)
        return {epoch: tuple(rewards) for epoch, rewards in found.items()}

    def rewards_at(self, epoch: int) -> tuple[float, ...]:
        """What the sessions logged for the epoch."""
        return self._logged.get(epoch, ())

    def may_be_interrupted(self, session: Session, max_epochs: int | None) -> bool:
        """Whether a session may have ended between the log of its last epoch and the save.

        The last session of a run that logged the training's last epoch went on to the end.
        """
        if self.played or self.is_continued(session):
            return False
        if session.index < len(self.sessions) - 1 or self.count > len(self.sessions):
            return True
        return max_epochs is not None and session.last < max_epochs

    def is_continued(self, session: Session) -> bool:
        """Whether a later session goes on right where the log of this one alone ends."""
        return session.index in self._continued

    @cached_property
    def _continued(self) -> frozenset[int]:
        return frozenset(session.index for session in self.sessions if self._has_successor(session))

    def _has_successor(self, session: Session) -> bool:
        if any(session.last in earlier.rewards for earlier in self.sessions[: session.index]):
            return False
        for later in self.sessions[session.index + 1 :]:
            if later.first == session.last + 1 and Start.FRESH not in later.starts:
                return True
            if session.last in later.rewards:
                return False
        return False

    def hides(self, epoch: int) -> bool:
        """Whether a killed session may have reached the epoch without a log of it."""
        return not self.played and (self.count > len(self.sessions) or self._first_open_end < epoch)

    @cached_property
    def _first_open_end(self) -> float:
        """The first end of a log behind which its session may have gone on."""
        ends = (session.last for session in self.sessions if self.may_have_gone_on(session))
        return min(ends, default=math.inf)

    def may_have_gone_on(self, session: Session) -> bool:
        """Whether a killed session may have reached epochs behind the end of its log.

        Not if a later one goes on from its newest checkpoint. One that goes on behind the session's
        best may have been resumed from that, and proves nothing of what came after it.
        """
        return not self.played and (
            session.last == session.best_epoch or not self.is_continued(session)
        )

    @cached_property
    def rewards_tell(self) -> bool:
        """Whether equal rewards prove that a file is of the session that logged them.

        Not where rewards repeat, or are too few to tell, or where a session logged none.
        """
        # A NaN is unlike itself, and tells nothing of who logged it.
        logged = [
            None if math.isnan(reward) else reward
            for session in self.sessions
            for reward in session.rewards.values()
        ]
        unlike = len(set(logged)) == len(logged) >= _FEWEST_TELLING
        return unlike and len(self.sessions) == self.count

    def covers(self, epoch: int) -> bool:
        """Whether no session can have reached the epoch without a log of it."""
        first, last = self._common
        return self.played or (len(self.sessions) == self.count and first <= epoch <= last)

    @cached_property
    def _common(self) -> tuple[float, float]:
        """The first and the last epoch of those that each session logged."""
        return (
            max((session.first for session in self.sessions), default=math.inf),
            min((session.last for session in self.sessions), default=-math.inf),
        )


@dataclass(frozen=True, slots=True)
class _Segment:
    """Entries of one event file whose steps rise."""

    file: str
    writer: str
    first_epoch: int | None
    rewards: dict[int, float]


def build_history(files: Iterable[EventFile]) -> History:
    """Order the event files by the time of their first records and join them into sessions."""
    files = tuple(files)
    problems = [
        Problem(f"{file.path.name!a}: {file.problem}", file.cause, {"file": file.path.name})
        for file in files
        if is_unreadable(file)
    ]
    segments: list[tuple[_Segment, bool]] = []  # with whether a session without a log came before
    ordered = sorted(
        (file for file in files if file.first_wall_time is not None),
        key=lambda file: (file.first_wall_time, file.path.name),
    )
    silent = 0
    for file in ordered:
        found = list(_segments(file, problems))
        segments.extend((segment, silent > 0) for segment in found)
        silent += not found
    sessions: list[Session] = []
    for segment, unlogged in segments:
        if sessions and _is_rotation(sessions[-1], segment, [other for other, _ in segments]):
            previous = sessions.pop()
            sessions.append(
                Session(
                    previous.index,
                    (*previous.files, segment.file),
                    {**previous.rewards, **segment.rewards},
                    previous.starts,
                )
            )
            continue
        starts = _starts(sessions, segment, unlogged=unlogged)
        sessions.append(Session(len(sessions), (segment.file,), segment.rewards, starts))
    return History(tuple(sessions), len(sessions) + silent, tuple(problems))


def is_unreadable(file: EventFile) -> bool:
    """Whether an event file is wrong in a way that no kill explains.

    A process killed at its start leaves a file without one whole record.
    """
    cut_short = file.records == 0 and (file.torn or file.size == 0) and not file.unreadable
    return file.problem is not None and not cut_short


def _segments(file: EventFile, problems: list[Problem]) -> Iterator[_Segment]:
    name = file.path.name
    current: dict[int, float] = {}
    previous: int | None = None
    for entry in file.rewards:
        if entry.step < 1:
            problems.append(
                Problem(
                    f"{name!a} logs a reward at step {entry.step}; epochs count from 1",
                    "step",
                    {"file": name, "step": entry.step, "reward": entry.value},
                )
            )
            return
        if previous is not None and entry.step < previous:
            yield _Segment(name, _writer(name), file.first_epoch, current)
            current = {}
        elif previous is not None and _jumps(entry, previous, current, name, problems):
            return
        current[entry.step] = entry.value
        previous = entry.step
    if current:
        yield _Segment(name, _writer(name), file.first_epoch, current)


def _jumps(
    entry: Reward, previous: int, current: Mapping[int, float], name: str, problems: list[Problem]
) -> bool:
    """Whether the entry is no reward of the next epoch; says so in `problems`."""
    if entry.step == previous:
        if same_reward(current[previous], entry.value):
            return False
        both = current[previous], entry.value
        problems.append(
            Problem(
                f"{name!a} logs two rewards for epoch {entry.step}: {both[0]!r} and {both[1]!r}",
                "twice",
                {"file": name, "epoch": entry.step, "rewards": list(both)},
            )
        )
        return True
    if entry.step > previous + 1:
        problems.append(
            Problem(
                f"{name!a} logs no reward between the epochs {previous} and {entry.step}",
                "gap",
                {"file": name, "before": previous, "after": entry.step},
            )
        )
        return True
    return False


def _writer(name: str) -> str:
    """The host and process that wrote an event file, as its name tells them.

    `events.out.tfevents.<seconds>.<host>.<pid>.<count>` (TensorBoard) names the process;
    `events.out.tfevents.<seconds>.<host>` (tensorboardX) does not.
    """
    parts = name.removeprefix("events.out.tfevents.").split(".")
    numbered = len(parts) >= 4 and parts[-1].isdigit() and parts[-2].isdigit()
    return ".".join(parts[1:-1]) if numbered else ""


def _is_rotation(session: Session, segment: _Segment, segments: list[_Segment]) -> bool:
    """Whether a segment goes on where the session's last file ended, by the same process."""
    writers = {other.writer for other in segments if other.file in session.files}
    return (
        segment.writer in writers
        and bool(segment.writer)
        and min(segment.rewards) == session.last + 1
    )


def _starts(earlier: list[Session], segment: _Segment, *, unlogged: bool) -> tuple[Start, ...]:
    """The ways in which a session with these epochs may have begun.

    `unlogged` says that one before it left no log: it may go on from that one's checkpoint.

    A resumed session goes on at the epoch after its checkpoint's. A fresh one whose first episodes
    take long starts late too, now and then right behind a checkpoint: only a log of its epochs
    (`info/epochs`) tells it from a resumed one that does not go on where the last one ended.
    """
    first = min(segment.rewards)
    if first == 1 or segment.first_epoch == 1:
        return (Start.FRESH,)
    if all(session.first >= first for session in earlier):
        return (Start.RESUMED, Start.FRESH) if unlogged else (Start.FRESH,)
    if segment.first_epoch is not None or first == earlier[-1].last + 1:
        return (Start.RESUMED,)
    return (Start.RESUMED, Start.FRESH)


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


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the oracle makes of a history.

    Attributes:
        bests: what the best file may hold; None stands for no best file.
        timelines: the sessions with their watermarks.
    """

    bests: frozenset[Written | None]
    timelines: tuple[Timeline, ...]

    def hides(self, history: History, epoch: int, watermark: float, *, best: bool = False) -> bool:
        """Whether a killed session may have stored the watermark in an epoch that it did not log.

        Its watermark never falls; with its best it rises. A session that was resumed from an
        earlier epoch afterwards did not find that best.
        """
        if history.played:
            return False
        resumed = max(
            (
                session.index
                for session in history.sessions
                if best and session.first <= epoch and Start.FRESH not in session.starts
            ),
            default=0,
        )
        ends = (
            at.after
            for timeline in self.timelines[resumed:]
            if timeline.session.last < epoch and history.may_have_gone_on(timeline.session)
            for at in timeline.at(timeline.session.last)
        )
        return history.count > len(history.sessions) or any(
            improves(watermark, end) or (not best and same_reward(watermark, end)) for end in ends
        )


def expect(
    profile: Profile,
    settings: Settings,
    history: History,
    *,
    stored: Iterable[tuple[int, float]] = (),
    resume_resets: bool = False,
) -> Expectation:
    """Play the history through the oracle under every reading that the evidence leaves.

    Args:
        profile: the dialect.
        settings: the run's settings.
        history: its sessions.
        stored: epoch and watermark of the checkpoints at hand; they stand in for what a killed
            session saved but did not log any more.
        resume_resets: also let resumed sessions start from the initial watermark (BEST-008's
            defect).
    """
    unlogged = tuple(stored)
    states: set[Written | None] = {None}
    timelines: list[Timeline] = []
    for session in history.sessions:
        following: set[Written | None] = set()
        course = Course(profile, settings, session.rewards)
        starts: dict[float, Sequence[Epoch]] = {}  # with the epochs that improve
        interrupted = _may_lack_its_last_best(history, session, settings)
        before = _known_before(history, session, timelines, unlogged)
        for state in states:
            for watermark in _watermarks(
                profile, session, before, state, unlogged, resume_resets=resume_resets
            ):
                if watermark not in starts:
                    starts[watermark] = course.improved(watermark)
                improved = starts[watermark]
                following.add(_written(session, improved, state))
                if improved and improved[-1].epoch == session.last and interrupted:
                    following.add(_written(session, improved[:-1], state))
                if not improved and state is not None and improves(state.reward, watermark):
                    following |= _written_behind_its_log(history, session, watermark)
        timelines.append(Timeline(session, course, tuple(starts)))
        states = _newest_and_highest(following)
    bests = frozenset(state for state in states if state is None or state.logged)
    return Expectation(bests, tuple(timelines))


@dataclass(frozen=True, slots=True)
class _Before:
    """What a resumed session may have found, but for the best.

    Attributes:
        watermarks: in the checkpoints of the epoch before, and of what was not logged any more.
            They may know of a best that a kill kept from being saved, or that was replaced later.
        least: what it knows at least; None where its checkpoint may be one that was not logged.
    """

    watermarks: frozenset[float] = frozenset()
    least: float | None = None


def _known_before(
    history: History,
    session: Session,
    earlier: list[Timeline],
    unlogged: tuple[tuple[int, float], ...],
) -> _Before:
    if Start.RESUMED not in session.starts or session.known is not None:
        return _Before()
    epoch = session.first - 1
    logged = max((timeline.session.last for timeline in earlier), default=0)
    hidden = history.count > len(history.sessions) or any(
        timeline.session.last < epoch and history.may_have_gone_on(timeline.session)
        for timeline in earlier
    )
    watermarks = frozenset(
        watermark
        for saved, watermark in unlogged
        if logged < saved <= epoch or (hidden and saved == epoch)
    ).union(*(timeline.watermarks_at(epoch) for timeline in earlier))
    reached = (
        at.after
        for timeline in earlier
        if not hidden and epoch in timeline.session.rewards
        for at in timeline.at(epoch)
    )
    return _Before(watermarks, min(reached, default=None))


def _written(session: Session, improved: Sequence[Epoch], before: Written | None) -> Written | None:
    """The best file after a session that improved in these epochs."""
    if not improved:
        return before
    return Written(session.index, improved[-1].epoch, improved[-1].reward)


def _written_behind_its_log(
    history: History, session: Session, watermark: float
) -> frozenset[Written]:
    """The best file after a killed session that replaced it in an epoch that it did not log.

    A session that logged an improvement, or that had found the watermark of the best, does not
    matter here: what such a one wrote later is no lower than what is known already.
    """
    if not history.may_have_gone_on(session):
        return frozenset()
    return frozenset({Written(session.index, session.last + 1, watermark, logged=False)})


def _may_lack_its_last_best(history: History, session: Session, settings: Settings) -> bool:
    """Whether the session may have ended before it saved the best of its last logged epoch.

    Also where another one goes on from there: from the periodic checkpoint, which is written first.
    """
    if history.may_be_interrupted(session, settings.max_epochs):
        return True
    periodic = bool(settings.save_freq) and session.last % (settings.save_freq or 1) == 0
    return periodic and not history.played and history.is_continued(session)


def _newest_and_highest(states: set[Written | None]) -> set[Written | None]:
    """Bound the readings of a folder with very many restarts; the likely ones stay."""
    if len(states) <= _MOST_STATES:
        return states
    written = sorted(
        (state for state in states if state is not None),
        key=lambda state: (state.session, state.epoch),
    )
    highest = max(written, key=lambda state: (state.logged, state.reward))
    return {highest, *written[1 - _MOST_STATES :]}


def _watermarks(
    profile: Profile,
    session: Session,
    before: _Before,
    state: Written | None,
    unlogged: tuple[tuple[int, float], ...],
    *,
    resume_resets: bool,
) -> Iterator[float]:
    """The watermarks that the session may have started from, given the best file it found."""
    initial = profile.initial_watermarks
    if session.known is not None:
        resumed = Start.RESUMED in session.starts
        if session.known.watermark is None or (resumed and resume_resets):
            yield from initial
        if session.known.watermark is not None:
            yield session.known.watermark
        return
    if Start.FRESH in session.starts:
        yield from initial
        if state is not None:  # a fresh session that heeds BEST-009
            yield state.reward
    if Start.RESUMED in session.starts:
        if resume_resets or not profile.resume_keeps_watermark:
            yield from initial
        yield from _kept(profile, session, before, state, unlogged)


def _kept(
    profile: Profile,
    session: Session,
    before: _Before,
    state: Written | None,
    unlogged: tuple[tuple[int, float], ...],
) -> Iterator[float]:
    """The watermarks that a resumed session may have kept."""
    initial = profile.initial_watermarks[0]
    kept = max(initial, state.reward) if state is not None else initial
    if before.least is not None and not profile.resume_takes_stored:
        kept = max(kept, before.least)
    yield kept
    yield from _stored_before(profile, session, unlogged)
    yield from (watermark for watermark in before.watermarks if improves(watermark, kept))


def _stored_before(
    profile: Profile, session: Session, stored: tuple[tuple[int, float], ...]
) -> Iterator[float]:
    """The watermarks in what the session may have been resumed from, where it takes just those."""
    if profile.resume_takes_stored:
        yield from (watermark for epoch, watermark in stored if epoch == session.first - 1)
