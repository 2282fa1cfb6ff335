"""What the evidence says where nobody said it: save_freq, save_best_after, a log that is off."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward
from conformance.run.history import History, Problem, build_history
from conformance.run.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.convention.profile import Profile
    from conformance.evidence.summaries import EventFile
    from conformance.run.roles import Roles


def logged_history(profile: Profile, logs: Iterable[EventFile], files: Roles) -> History:
    """The sessions that the event files show; it has a problem where the log is a step off."""
    history = build_history(
        logs, at_intervals=profile.logs_at_intervals, joins=profile.resume_keeps_watermark
    )
    # A session without a log may have saved what only seems to be logged late or early.
    complete = history.usable and not history.silent
    shift = step_shift(history, _rewards_told(files)) if complete else 0
    if not shift:
        return history
    problem = Problem(
        f"{profile.reward_tag} is logged {abs(shift)} step {'late' if shift > 0 else 'early'}:"
        f" each checkpoint's reward stands at the step of its epoch {shift:+d}",
        "step",
        {"shift": shift},
    )
    return replace(history, problems=(problem,))


def _rewards_told(files: Roles) -> tuple[tuple[int, float], ...]:
    """What the checkpoints themselves say of epochs and rewards; the best's own last."""
    named = [
        (file.name.epoch, file.name.reward)
        for file in files.periodic
        if file.name.epoch is not None and file.name.reward is not None and not file.name.flaws
    ]
    stored = [
        (file.epoch, file.watermark)
        for file in files.readable
        if file.name.kind is Kind.BEST and file.epoch is not None and file.watermark is not None
    ]
    return (*named, *stored[:1]) if named and stored else ()


def step_shift(history: History, told: tuple[tuple[int, float], ...]) -> int:
    """By how many steps the log is off, where the best and all periodic checkpoints say so alike.

    A trainer whose names alone are off agrees with the log in its best.
    """
    if len(history.sessions) != 1 or history.sessions[0].sparse or not told:
        return 0
    rewards = history.sessions[0].rewards

    def agrees(epoch: int, reward: float, shift: int) -> bool:
        return epoch + shift in rewards and same_reward(rewards[epoch + shift], reward)

    for shift in (-1, 1):
        if all(agrees(*pair, shift) for pair in told) and not any(
            agrees(*pair, 0) for pair in told
        ):
            return shift
    return 0


def infer_save_freq(epochs: set[int], last_epoch: int | None) -> int | None:
    """The save_freq that leaves the fewest epochs unexplained; None without two epochs.

    (decisions.md: "save_freq that is not configured is inferred from the names".)
    """
    if len(epochs) < 2:
        return None
    last = max(last_epoch or 0, *epochs)
    ordered = sorted(epochs)
    gaps = {later - earlier for earlier, later in pairwise(ordered)}
    candidates = epochs | gaps
    first = ordered[0]

    def unexplained(freq: int) -> tuple[int, int, int]:
        strays = sum(epoch % freq != 0 for epoch in ordered)
        # Before the first file there may have been no finished episode.
        due = last // freq - (first - 1) // freq
        # Of equals the one that calls a save missing rather than another one wrong, unless that is
        # of the last epoch: a save at the end is a likelier fault than a lost one.
        odd = strays - (ordered[-1] == last and last % freq != 0)
        return strays + due - (len(ordered) - strays), odd, -freq

    return min(candidates, key=unexplained)


def infer_save_best_after(profile: Profile, history: History, files: Roles) -> Setting | None:
    """The save_best_after that watermarks older than the default show; None where none are."""
    stored = {file.watermark for file in files.readable if file.watermark is not None}
    moved = [
        epoch
        for session in history.sessions
        for epoch, reward in session.rewards.items()
        if any(same_reward(reward, watermark) for watermark in stored)
    ]
    if moved and min(moved) < profile.default_save_best_after:
        return Setting(min(moved), "the stored watermarks")
    if "last_mean_rewards" in profile.absent_keys:
        bests = [file.epoch for file in files.readable if file.name.kind is Kind.BEST]
        early = [epoch for epoch in bests if epoch is not None]
        if early and min(early) < profile.default_save_best_after:
            return Setting(min(early), "the best checkpoint's epoch")
    return None
