"""Chains played before anything is generated: each rule is exercised by at least one of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.convention.rewards import as_float32
from conformance.convention.scenario import Scenario

if TYPE_CHECKING:
    from conformance.convention.profile import Profile

    Chain = tuple[Scenario, ...]

_ROOT = Path("runs")
_NAN, _INF = math.nan, math.inf
_JUST_ABOVE_ONE = 1.0 + 2.0**-23  # the next float32


def probes(profile: Profile, *, resume: bool) -> tuple[Chain, ...]:
    """Return the chains.

    Args:
        profile: the dialect; one that has save_best_after gets a value for it.
        resume: whether the trainer can be resumed.
    """
    after = 1 if profile.has_save_best_after else 0
    fresh = (
        # Ties, a lower reward, a NaN, and improvements around them; each epoch's writes apart.
        _session("Cartpole", 1, (1.0, 3.0, 3.0, 2.0, _NAN, 4.0), after),
        # The same with no periodic checkpoint: nothing hides behind one.
        _session("Cartpole", 0, (1.0, 3.0, 3.0, 2.0, _NAN, 4.0), after),
        # The maximum in the first epoch, a larger magnitude in the second; the last periodic epoch
        # is not the last one.
        _session("Ant", 2, (5.0, -7.5, 5.0, 4.25, _NAN), after),
        # Improvements in every epoch.
        _session("Ant", 2, (1.0, 2.0, 3.0, 4.0), after),
        # No episode has finished at first; then rewards below any number that one may start from.
        _session("Humanoid", 1, (None, None, -3e9, -2e9, -2e9), after),
        _session("Anymal", 3, (-5.0, -3.0, -3.5, -3.0, -1.25, -2.0, -0.5), after),
        # Infinite rewards, and NaN before any number.
        _session("Quadcopter", 1, (_NAN, -_INF, 1.0, _INF, _INF, 2.0), after),
        # Neighbours in float32, zeros of both signs, texts with an exponent.
        _session("Ingenuity", 1, (1.0, _JUST_ABOVE_ONE, 1.0, _JUST_ABOVE_ONE), after),
        _session("Ingenuity", 1, tuple(map(as_float32, (-1e-40, 0.0, -0.0, 1.985146e-15))), after),
        _session("Trifinger", 5, tuple(map(as_float32, (485.3, 485.3, 485.4))), after),
        # The multiple of save_freq is not the number of rewards.
        _session("Trifinger", 2, (None, 1.0, 2.0, 2.0), after),
        # Nothing to save at all.
        _session("Allegro", 1, (None, None), after),
        # A name that looks like a checkpoint's own.
        _session("last_Aep1rew2.0ep12rew3", 1, (2.0, 1.0, 2.0), after),
    )
    if not resume:
        return tuple((session,) for session in fresh)
    first = fresh[0]
    long = _session("Shadow", 3, (*map(float, range(1, 12)), 5.0), after)
    return (
        *((session,) for session in fresh),
        # Resumed from the best and from the last, with rewards below the watermark, then above it.
        (first, _resumed(first, "best", (3.5, 3.0, 4.0))),
        (first, _resumed(first, "last", (3.0, 5.0))),
        (
            _session("Ant", 1, (9.0, 2.0), after),
            _session("Ant", 1, (9.0, 2.0, 3.0, 8.0), after, "last"),
            _session("Ant", 2, (9.0, 2.0, 3.0, 8.0, 9.0, 10.0), after, "last"),
        ),
        # Resumed between two multiples of save_freq.
        (
            _session("Anymal", 2, (5.0, 4.0, 3.0), after),
            _session("Anymal", 2, (5.0, 4.5, 3.5, 3.0, 6.0), after, "best"),
        ),
        # Epoch 12 comes after epoch 9, whatever the alphabet says.
        (long, _resumed(long, "last", (6.0, 12.0))),
        (
            _session("Franka", 2, (4.0, 1.0, 2.0), after),
            _session("Franka", 1, (4.0, 3.0, 3.0, 4.0), after, "best"),
        ),
    )


def _session(
    experiment: str,
    save_freq: int,
    rewards: tuple[float | None, ...],
    save_best_after: int,
    resume: str | None = None,
) -> Scenario:
    return Scenario(
        experiment=experiment,
        root=_ROOT,
        save_freq=save_freq,
        max_epochs=len(rewards),
        rewards=rewards,
        save_best_after=save_best_after,
        resume=resume,
    )


def _resumed(first: Scenario, resume: str, further: tuple[float, ...]) -> Scenario:
    """Return a session that goes on where the first one ended, or replays its end."""
    return _session(
        first.experiment,
        first.save_freq,
        (*first.rewards, *further),
        first.save_best_after,
        resume,
    )
