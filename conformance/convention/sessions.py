"""Chains of sessions: what each session of a run plays, starts from and is due to write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.convention.oracle import Save, Settings, expected_saves, first_best_epoch
from conformance.convention.profile import Kind, Profile
from conformance.convention.scenario import Scenario, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The checkpoint that "best" or "last" means at one moment of a run.

    Attributes:
        kind: why it was written.
        epoch: the epoch that it stores; the resumed session goes on with the next one.
        reward: the mean reward of that epoch; -inf in a final save before any episode finished.
        stored: the watermark that it stores. A periodic checkpoint at a new best may store the one
            from after the improvement as well; this is the one from before.
        watermark: what a session that is resumed from it starts from: the highest of `stored`,
            `reward` and what the best checkpoint stores, NaN left out, or the profile's initial
            watermark where the profile does not keep it. A reward from before `save_best_after`
            is left out too: it never moved the watermark.
        session: index in the chain of the session that wrote it.
    """

    kind: Kind
    epoch: int
    reward: float
    stored: float
    watermark: float
    session: int


@dataclass(frozen=True, slots=True)
class ExpectedSession:
    """One session of a chain as a conforming trainer plays it.

    Attributes:
        scenario: what it was asked to play.
        first: its first epoch: 1, or the one after the checkpoint that it is resumed from.
        last: its last epoch: `max_epochs`, or one more where the profile only ends after it. Lower
            than `first` where there is nothing left to play.
        rewards: the mean reward of each epoch that it plays; those without a finished episode are
            left out.
        watermark: the best mean reward that it starts from.
        resumed_from: the checkpoint; None for a fresh session.
        saves: what it is due to write, in that order, as the oracle has it.
    """

    scenario: Scenario
    first: int
    last: int
    rewards: Mapping[int, float]
    watermark: float
    resumed_from: ResumePoint | None
    saves: tuple[Save, ...]

    @property
    def settings(self) -> Settings:
        """The session's settings as the oracle takes them."""
        return _settings(self.scenario)


def played(profile: Profile, chain: Sequence[Scenario]) -> tuple[ExpectedSession, ...]:
    """Return what each session of a chain plays and is due to write.

    Args:
        profile: the dialect.
        chain: the sessions of one run, in order.

    Raises:
        ScenarioError: the sessions are not of one run, or one is to be resumed from a checkpoint
            that none before it wrote.
    """
    sessions: tuple[ExpectedSession, ...] = ()
    for scenario in chain:
        sessions = (*sessions, next_session(profile, sessions, scenario))
    return sessions


def resume_point(profile: Profile, chain: Sequence[Scenario], resume: str) -> ResumePoint | None:
    """Return the checkpoint that `resume` means after these sessions; None where there is none.

    Args:
        profile: the dialect.
        chain: the sessions so far.
        resume: "best": the best checkpoint; "last": the one with the highest stored epoch of all
            that stand in the run, best, periodic and final alike; of equals the newest.

    Raises:
        ScenarioError: the chain itself cannot be played, or there is no such `resume`.
    """
    return resume_point_after(profile, played(profile, chain), resume)


def next_session(
    profile: Profile, sessions: Sequence[ExpectedSession], scenario: Scenario
) -> ExpectedSession:
    """Return the session that follows `sessions` in the run.

    Raises:
        ScenarioError: as `played` does.
    """
    number = len(sessions) + 1
    run = (scenario.experiment, scenario.root)
    if sessions and run != (sessions[0].scenario.experiment, sessions[0].scenario.root):
        raise ScenarioError(
            f"session {number} is of another run than the first: experiment and root must be the"
            " same in all sessions of a chain"
        )
    point = None
    if scenario.resume is not None:
        point = resume_point_after(profile, sessions, scenario.resume)
        if point is None:
            raise ScenarioError(
                f'session {number} is to be resumed from "{scenario.resume}", and no session before'
                " it writes such a checkpoint"
            )
    first = 1 if point is None else point.epoch + 1
    last = profile.last_epoch(scenario.max_epochs)
    rewards = {
        epoch: reward
        for epoch, reward in enumerate(scenario.rewards[first - 1 : last], start=first)
        if reward is not None
    }
    watermark = profile.initial_watermarks[0] if point is None else point.watermark
    span = range(first, last + 1)
    saves = expected_saves(profile, _settings(scenario), rewards, watermark=watermark, span=span)
    return ExpectedSession(scenario, first, last, rewards, watermark, point, saves)


def resume_point_after(
    profile: Profile, sessions: Sequence[ExpectedSession], resume: str
) -> ResumePoint | None:
    """Return what `resume_point` does, for sessions that are played already.

    Raises:
        ScenarioError: there is no such `resume`.
    """
    if resume not in ("best", "last"):
        raise ScenarioError(f'resume must be "best" or "last", not {resume!a}')
    best, other = _newest(sessions)
    found = best
    if resume == "last" and other is not None:
        later = best is not None and _is_later(profile, best, other)
        found = best if later else other
    if found is None:
        return None
    number, save = found
    watermark = profile.initial_watermarks[0]
    if profile.resume_keeps_watermark:
        values = [save.watermark]
        takes_more = not profile.resume_takes_stored
        if takes_more and save.epoch >= first_best_epoch(profile, sessions[number].settings):
            values.append(save.reward)
        if takes_more and best is not None:
            values.append(best[1].watermark)
        watermark = max(value for value in values if not math.isnan(value))
    return ResumePoint(save.kind, save.epoch, save.reward, save.watermark, watermark, number)


def _newest(
    sessions: Sequence[ExpectedSession],
) -> tuple[tuple[int, Save] | None, tuple[int, Save] | None]:
    """The best checkpoint and the newest other one of the highest epoch, each with its session.

    Of a name that is written twice the newer file is left. It has the epoch of the older one, so
    that only the best needs telling apart: each best overwrites the one before.
    """
    best, other = None, None
    for number, session in enumerate(sessions):
        for save in session.saves:
            if save.kind is Kind.BEST:
                best = (number, save)
            elif other is None or save.epoch >= other[1].epoch:
                other = (number, save)
    return best, other


def _is_later(profile: Profile, best: tuple[int, Save], other: tuple[int, Save]) -> bool:
    """Whether the best stores the higher epoch, or the same one and was written later."""
    if best[1].epoch != other[1].epoch:
        return best[1].epoch > other[1].epoch
    order = profile.order
    within = order.index(other[1].kind) < order.index(Kind.BEST)
    return best[0] > other[0] or (best[0] == other[0] and within)


def _settings(scenario: Scenario) -> Settings:
    return Settings(
        scenario.experiment, scenario.save_freq, scenario.max_epochs, scenario.save_best_after
    )
