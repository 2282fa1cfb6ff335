"""What the evidence says where nobody said it: a save_freq from names, a log that is off."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.convention.rewards import same_reward

if TYPE_CHECKING:
    from conformance.run.history import History


def step_shift(history: History, told: tuple[tuple[int, float], ...]) -> int:
    """By how many steps the log is off, where the best and all periodic checkpoints say so alike.

    A trainer whose names alone are off agrees with the log in its best.
    """
    if len(history.sessions) != 1 or not told:
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
    """The save_freq that leaves the fewest epochs unexplained; None without two epochs."""
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
