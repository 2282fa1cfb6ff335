"""A run's sessions: each with its rewards, as its event files show them."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.convention.rewards import same_reward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.evidence.summaries import EventFile, Reward

_MOST_OVERLAPS = 10_000  # pairs of sessions whose times overlap; more are as good as interleaved
_LONGEST_COUNT = 9  # digits
_TOO_FEW = 2  # rewards of a session, to tell whether its writer logs at intervals
_SHORTEST_WAIT = 4.5  # seconds between two records of a tag, where a writer waits 5


class Start(str, Enum):
    """How a session began."""

    FRESH = "fresh"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Played:
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
    """One process's training: its event files in sequence and the reward of each logged epoch.

    Attributes:
        index: its place in the history.
        files: the names of its event files.
        rewards: the mean reward of each logged epoch.
        starts: the ways in which it may have begun.
        known: what the harness knows of it, having had it played.
        times: when the rewards were logged, in seconds since 1970, sorted.
        sparse: whether its writer logs at intervals: any epoch may have been trained unlogged.
    """

    index: int
    files: tuple[str, ...]
    rewards: Mapping[int, float]
    starts: tuple[Start, ...]
    known: Played | None = None
    times: tuple[float, ...] = ()
    sparse: bool = False

    @cached_property
    def first(self) -> int:
        """The first logged epoch."""
        return min(self.rewards)

    @cached_property
    def last(self) -> int:
        """The last logged epoch."""
        return max(self.rewards)

    @property
    def may_be_fresh(self) -> bool:
        """Whether it may have started afresh."""
        return Start.FRESH in self.starts

    @property
    def may_be_resumed(self) -> bool:
        """Whether it may have been resumed from a checkpoint."""
        return Start.RESUMED in self.starts

    @property
    def has_holes(self) -> bool:
        """Whether its log leaves out epochs between those that it holds."""
        return len(self.rewards) < self.last - self.first + 1

    def leaves_out(self, epoch: int) -> bool:
        """Whether it may have trained the epoch and left it out of its log, which goes on."""
        return self.sparse and 0 < epoch < self.last and epoch not in self.rewards

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

    @property
    def silent(self) -> int:
        """How many sessions logged no reward."""
        return self.count - len(self.sessions)

    @property
    def had_all_been_resumed(self) -> History:
        """The same sessions, had none been started afresh that may have been resumed."""
        return replace(
            self,
            sessions=tuple(
                replace(session, starts=(Start.RESUMED,)) if session.may_be_resumed else session
                for session in self.sessions
            ),
        )

    @cached_property
    def concurrent(self) -> tuple[Session, Session] | None:
        """Two sessions that two processes trained at once; None where there are none.

        So it is where their rewards interleave in wall time: at least two of each were logged
        within the time of the other. One may stand there by a clock that was set.
        """
        running: list[Session] = []
        looks = _MOST_OVERLAPS
        for session in sorted((s for s in self.sessions if s.times), key=lambda s: s.times[0]):
            running = [other for other in running if other.times[-1] >= session.times[0]]
            for other in running:
                looks -= 1
                if _interleave(other.times, session.times) or looks < 0:
                    return other, session
            running.append(session)
        return None

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

    def rewards_at_any(self, epochs: Iterable[int]) -> list[float]:
        """What the sessions logged for any of the epochs."""
        return [reward for epoch in epochs for reward in self.rewards_at(epoch)]


def _interleave(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether at least two times of each lie within the span of the other; both are sorted."""
    start, end = max(first[0], second[0]), min(first[-1], second[-1])
    return all(
        bisect_right(times, end) - bisect_left(times, start) >= 2 for times in (first, second)
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """Who wrote an event file, as its name tells: the host and process, and which of its files.

    `events.out.tfevents.<seconds>.<host>.<pid>.<count>` (TensorBoard) tells them;
    `events.out.tfevents.<seconds>.<host>` (tensorboardX) does not.
    """

    process: str = ""
    count: int = 0

    @classmethod
    def of(cls, name: str) -> _Writer:
        parts = name.removeprefix("events.out.tfevents.").split(".")
        numbered = len(parts) >= 4 and parts[-1].isdecimal() and parts[-2].isdecimal()
        if not numbered or len(parts[-1]) > _LONGEST_COUNT:
            return cls()
        return cls(".".join(parts[1:-1]), int(parts[-1]))

    def follows(self, other: _Writer) -> bool:
        """Whether the same process may have opened this file after that one.

        A container that is restarted has the same host and process id, and counts from 0 again.
        """
        return bool(self.process) and self.process == other.process and self.count > other.count


@dataclass(frozen=True, slots=True)
class _Segment:
    """Entries of one event file whose steps rise."""

    file: EventFile
    entries: tuple[Reward, ...]
    sparse: bool

    @property
    def rewards(self) -> dict[int, float]:
        return {entry.step: entry.value for entry in self.entries}

    @property
    def times(self) -> list[float]:
        return sorted(e.wall_time for e in self.entries if math.isfinite(e.wall_time))

    @property
    def first(self) -> int:
        return self.entries[0].step


def build_history(
    files: Iterable[EventFile], *, at_intervals: bool = False, joins: bool = True
) -> History:
    """Order the event files by the time of their first records and join them into sessions.

    Args:
        files: the event files.
        at_intervals: whether the dialect's writer may log a tag every few seconds alone, so that
            epochs are left out.
        joins: whether files that one process wrote one after the other are one session. Where a
            resume changes what is right, they may be two sessions of a process that played both.
    """
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
    at_intervals = at_intervals and may_be_at_intervals(files)
    silent = 0
    for file in ordered:
        found = list(_segments(file, problems, at_intervals=at_intervals))
        segments.extend((segment, silent > 0) for segment in found)
        silent += not found
    sessions: list[Session] = []
    newest = _Writer()
    for segment, unlogged in segments:
        name = segment.file.path.name
        older, newest = newest, _Writer.of(name)
        if joins and sessions and newest.follows(older) and segment.first == sessions[-1].last + 1:
            previous = sessions.pop()
            sessions.append(
                replace(
                    previous,
                    files=(*previous.files, name),
                    rewards={**previous.rewards, **segment.rewards},
                    times=tuple(sorted((*previous.times, *segment.times))),
                    sparse=previous.sparse or segment.sparse,
                )
            )
            continue
        sessions.append(
            Session(
                len(sessions),
                (name,),
                segment.rewards,
                _starts(sessions, segment, unlogged=unlogged),
                times=tuple(segment.times),
                sparse=segment.sparse,
            )
        )
    return History(tuple(sessions), len(sessions) + silent, tuple(problems))


def is_unreadable(file: EventFile) -> bool:
    """Whether an event file is wrong in a way that no kill explains.

    A process killed at its start leaves a file without one whole record.
    """
    cut_short = file.records == 0 and (file.torn or file.size == 0) and not file.unreadable
    return file.problem is not None and not cut_short


def _segments(
    file: EventFile, problems: list[Problem], *, at_intervals: bool
) -> Iterator[_Segment]:
    name = file.path.name
    current: list[Reward] = []
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
        if current and entry.step < current[-1].step:
            yield _Segment(file, tuple(current), at_intervals and is_sparse(current))
            current = []
        elif current and entry.step == current[-1].step:
            both = current[-1].value, entry.value
            if not same_reward(*both):
                problems.append(
                    Problem(
                        f"{name!a} logs two rewards for epoch {entry.step}: {both[0]!r} and"
                        f" {both[1]!r}",
                        "twice",
                        {"file": name, "epoch": entry.step, "rewards": list(both)},
                    )
                )
                return
            continue
        elif current and entry.step > current[-1].step + 1 and not at_intervals:
            previous = current[-1].step
            problems.append(
                Problem(
                    f"{name!a} logs no reward between the epochs {previous} and {entry.step}",
                    "gap",
                    {"file": name, "before": previous, "after": entry.step},
                )
            )
            return
        current.append(entry)
    if current:
        yield _Segment(file, tuple(current), at_intervals and is_sparse(current))


def is_sparse(entries: Sequence[Reward]) -> bool:
    """Whether entries leave epochs out, or are too few to tell that they leave none out."""
    return len(entries) <= _TOO_FEW or len(entries) < entries[-1].step - entries[0].step + 1


def may_be_at_intervals(files: Iterable[EventFile]) -> bool:
    """Whether a writer that logs a tag at most every 5 s may have written all of a run's files.

    rl_games' IntervalSummaryWriter waits 5 to 300 s (rl_games/common/interval_summary_writer.py).
    """
    return all(
        later.wall_time - one.wall_time >= _SHORTEST_WAIT
        for file in files
        for one, later in pairwise(file.rewards)
    )


def _starts(earlier: list[Session], segment: _Segment, *, unlogged: bool) -> tuple[Start, ...]:
    """The ways in which a session with these epochs may have begun.

    `unlogged` says that one before it left no log: it may go on from that one's checkpoint.

    A resumed session goes on at the epoch after its checkpoint's. A fresh one whose first episodes
    take long starts late too, now and then right behind a checkpoint: only a log of its epochs
    (`info/epochs`) tells it from a resumed one that does not go on where the last one ended.
    (decisions.md: "Event files do not say how a session began".)
    """
    first, counted = segment.first, segment.file.first_epoch
    if first == 1 or counted == 1:
        return (Start.FRESH,)
    if all(session.first >= first for session in earlier):
        return (Start.RESUMED, Start.FRESH) if unlogged else (Start.FRESH,)
    if segment.sparse:  # what it logs first, epochs and their number, is not where it began
        return (Start.RESUMED, Start.FRESH)
    if counted is not None or first == earlier[-1].last + 1:
        return (Start.RESUMED,)
    return (Start.RESUMED, Start.FRESH)
