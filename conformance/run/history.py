"""A run's sessions: each with its rewards, as its event files show them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.rewards import same_reward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from conformance.evidence.summaries import EventFile, Reward


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
    """One process's training: its event files in sequence and the reward of each logged epoch."""

    index: int
    files: tuple[str, ...]
    rewards: Mapping[int, float]
    starts: tuple[Start, ...]
    known: Played | None = None

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

    @cached_property
    def best_epoch(self) -> int | None:
        """The first logged epoch with the highest reward; None where all are NaN."""
        known = {epoch: value for epoch, value in self.rewards.items() if not math.isnan(value)}
        return max(sorted(known), key=known.__getitem__, default=None)


@dataclass(frozen=True)
class History:
    """All sessions that logged rewards, in order of time.

    `problems` holds one line for each way in which the logs are no reward per epoch; where there
    is one, no rule may lean on them. `played` says that the rewards are those that a driven trainer
    was given, so that none is missing.
    """

    sessions: tuple[Session, ...]
    count: int
    problems: tuple[str, ...]
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
    problems = [f"{file.path.name!a}: {file.problem}" for file in files if is_unreadable(file)]
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


def _segments(file: EventFile, problems: list[str]) -> Iterator[_Segment]:
    name = file.path.name
    current: dict[int, float] = {}
    previous: int | None = None
    for entry in file.rewards:
        if entry.step < 1:
            problems.append(f"{name!a} logs a reward at step {entry.step}; epochs count from 1")
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
    entry: Reward, previous: int, current: Mapping[int, float], name: str, problems: list[str]
) -> bool:
    """Whether the entry is no reward of the next epoch; says so in `problems`."""
    if entry.step == previous:
        if same_reward(current[previous], entry.value):
            return False
        problems.append(
            f"{name!a} logs two rewards for epoch {entry.step}:"
            f" {current[previous]!r} and {entry.value!r}"
        )
        return True
    if entry.step > previous + 1:
        problems.append(f"{name!a} logs no reward between the epochs {previous} and {entry.step}")
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
