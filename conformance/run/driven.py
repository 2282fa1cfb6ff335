"""What is known of sessions that the harness itself had played: nothing is inferred from files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.convention.rewards import as_float32, same_reward
from conformance.run.history import (
    History,
    Played,
    Problem,
    Session,
    Start,
    build_history,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.evidence.summaries import EventFile
    from conformance.run.files import CheckpointFile


@dataclass(frozen=True, slots=True)
class Writes:
    """The names in the checkpoints' folder in the order in which each got new content.

    Attributes:
        names: repeats included; None where no journal could be kept.
        unseen: why they are not known, or not all; None where they are.
        overflowed: the kernel's queue ran over: the harness's own failure.
    """

    names: tuple[str, ...] | None
    unseen: str | None = None
    overflowed: bool = False


@dataclass(frozen=True, slots=True)
class DrivenSession:
    """One session that a trainer was asked to play, and what could be seen of it.

    Attributes:
        rewards: the mean reward of each epoch whose mean reward was known, by epoch, as float32;
            None where the trainer's rewards are its own: then its log tells them.
        first: the epoch that the session was to begin with.
        last: the epoch that it was to end with.
        save_freq: its own; sessions of one run may differ.
        resumed_from: name of the checkpoint that it was to resume from; None: a fresh session.
        watermark: that it starts from; None: the profile's initial one.
        logs: the event files that it wrote, as they were read right after it.
        lost_logs: names of event files of earlier sessions that it removed or overwrote.
        writes: its journal.
        elsewhere: whether its folder is not the one it was asked to write.
        others: what else stands beside the run's folder and is a checkpoint or made like a run.
    """

    rewards: Mapping[int, float] | None
    first: int
    last: int
    save_freq: int
    resumed_from: str | None = None
    watermark: float | None = None
    logs: tuple[EventFile, ...] = ()
    lost_logs: tuple[str, ...] = ()
    writes: Writes = field(default_factory=lambda: Writes(None, "no journal was kept"))
    elsewhere: bool = False
    others: tuple[str, ...] = ()

    @property
    def logged(self) -> History:
        """The session's own log."""
        return build_history(self.logs)

    @property
    def logged_rewards(self) -> dict[int, float]:
        """The rewards that it logged, by step; empty where the log is no reward per step."""
        rewards: dict[int, float] = {}
        for session in self.logged.sessions:
            rewards.update(session.rewards)
        return rewards


def played_history(driven: Iterable[DrivenSession], files: Iterable[CheckpointFile]) -> History:
    """The history of a driven run: its rewards as they were played, not as they were logged.

    A trainer that logs, names and stores other rewards alike than it was given did not play them
    (SUMMARY-001's matter); everything else is then judged by what it made of them.
    """
    driven, files = tuple(driven), tuple(files)
    sessions: list[Session] = []
    for number, session in enumerate(driven):
        rewards = _rewards_of(session, files)
        if not rewards:
            continue
        sessions.append(
            Session(
                index=len(sessions),
                files=tuple(file.path.name for file in session.logs),
                rewards=rewards,
                starts=(Start.FRESH if session.resumed_from is None else Start.RESUMED,),
                known=Played(
                    watermark=session.watermark,
                    save_freq=session.save_freq,
                    current=number == len(driven) - 1,
                ),
            )
        )
    problems = tuple(
        problem
        for session in driven
        if session.rewards is None
        for problem in (session.logged.problems or _without_log(session))
    )
    return History(tuple(sessions), len(sessions), problems, played=True)


def _without_log(session: DrivenSession) -> tuple[Problem, ...]:
    """Rewards of the trainer's own that it logged nowhere are not known."""
    return () if session.logged.sessions else (Problem("no reward is logged"),)


def _rewards_of(session: DrivenSession, files: tuple[CheckpointFile, ...]) -> dict[int, float]:
    """The rewards to judge the session's files by."""
    logged = session.logged_rewards
    if session.rewards is None:
        return logged
    given = {epoch: as_float32(reward) for epoch, reward in session.rewards.items()}
    return logged if _played_others(given, logged, files) else given


def _played_others(
    given: Mapping[int, float], logged: Mapping[int, float], files: tuple[CheckpointFile, ...]
) -> bool:
    """Whether the trainer made other rewards of the given ones, in its log and its files alike."""
    if not logged or same_rewards(given, logged):
        return False
    if not set(logged) <= set(given) or set(logged) != set(range(min(given), max(logged) + 1)):
        return False
    told = [
        (epoch, reward)
        for file in files
        for epoch, reward in _tells(file)
        if epoch in given and not (epoch in logged and same_reward(logged[epoch], given[epoch]))
    ]
    if len(logged) < len(given):  # it ended early
        return not told
    return bool(told) and all(same_reward(logged[epoch], reward) for epoch, reward in told)


def _tells(file: CheckpointFile) -> Iterable[tuple[int, float]]:
    """The epoch and the reward that a checkpoint tells of, by name or as the best."""
    name = file.name
    if name.epoch is not None and name.reward is not None and not name.flaws:
        yield name.epoch, name.reward
    elif name.epoch is None and file.epoch is not None and file.watermark is not None:
        yield file.epoch, file.watermark


def same_rewards(first: Mapping[int, float], second: Mapping[int, float]) -> bool:
    """Whether both hold the same reward, as float32, for the same epochs."""
    return first.keys() == second.keys() and all(
        same_reward(reward, second[epoch]) for epoch, reward in first.items()
    )
