"""Shrinks a failing chain of scenarios to the shortest and plainest one that still fails.

Hypothesis shrinks the choices behind a value that it drew itself. Here a chain may also come from a
probe, from an earlier run's database or from a file, so the chain itself is shrunk, in the terms
that its reader thinks in: sessions, epochs, save_freq, rewards, name.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from conformance.convention.rewards import as_float32, reward_text
from conformance.convention.scenario import ScenarioError
from conformance.convention.sessions import played

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conformance.convention.profile import Profile
    from conformance.convention.scenario import Scenario

    Chain = tuple[Scenario, ...]

_PLAIN_NAME = "A"
# Plainest first. Whole numbers print in few digits, and every float32 holds them.
_PLAIN_REWARDS = (0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, as_float32(0.1), as_float32(0.001))
_WHOLE_REWARDS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_Key = tuple[object, ...]
# A small chain: save_freq, and of each session how it is resumed and its rewards.
_Small = tuple[int, tuple[tuple[str | None, tuple[float | None, ...]], ...]]
_NAN = math.nan
_SMALL: tuple[_Small, ...] = tuple(
    (freq, sessions)
    for sessions in (
        ((None, (0.0,)),),
        ((None, (_NAN,)),),
        ((None, (None,)),),
        ((None, (0.0, 0.0)),),
        ((None, (0.0, 1.0)),),
        ((None, (1.0, 0.0)),),
        ((None, (_NAN, 0.0)),),
        ((None, (0.0, _NAN)),),
        ((None, (0.0, _NAN, 1.0)),),
        ((None, (0.0,)), ("last", (0.0, 0.0))),
        ((None, (1.0,)), ("last", (1.0, 0.0))),
        ((None, (0.0,)), ("last", (0.0, 1.0))),
        ((None, (1.0, 0.0)), ("last", (1.0, 0.0, 0.0))),
    )
    for freq in (0, 1)
)


def shrink(
    chain: Chain,
    fails: Callable[[Chain], bool],
    *,
    profile: Profile,
    most_attempts: int,
) -> Chain:
    """Return the smallest chain found that still fails.

    Args:
        chain: a chain that fails.
        fails: plays a chain and tells whether it fails in the same way.
        profile: the dialect: only chains that a conforming trainer could play are tried.
        most_attempts: after so many calls of `fails` the best so far is returned.
    """
    tried = {identity(chain)}
    smallest = chain
    first = chain[0]
    small = [
        candidate
        for candidate in (_like(first, chain) for chain in _SMALL)
        if _is_playable(profile, candidate)
    ]
    while True:
        # Most defects show in a few epochs: trying those first saves the long way down to them.
        for candidate in itertools.chain(small, _candidates(smallest)):
            if identity(candidate) in tried or size(candidate) >= size(smallest):
                continue
            if not _is_playable(profile, candidate):
                continue
            if len(tried) > most_attempts:
                return smallest
            tried.add(identity(candidate))
            if fails(candidate):
                smallest = candidate
                break
        else:
            return smallest


def _like(first: Scenario, small: _Small) -> Chain:
    """Return a small chain as scenarios, with what is not the chain's own taken from `first`."""
    freq, sessions = small
    return tuple(
        replace(
            first,
            experiment=_PLAIN_NAME,
            save_freq=freq,
            max_epochs=len(rewards),
            rewards=rewards,
            save_best_after=min(first.save_best_after, 1),
            resume=resume,
            seed=0,
        )
        for resume, rewards in sessions
    )


def identity(chain: Chain) -> _Key:
    """Return what two chains have in common if, and only if, they ask for the same.

    Chains themselves do not compare so: 0.0 equals -0.0, and NaN not even itself.
    """
    return tuple(
        (
            s.experiment,
            s.save_freq,
            s.max_epochs,
            s.save_best_after,
            s.resume,
            s.seed,
            repr(s.rewards),
        )
        for s in chain
    )


def size(chain: Chain) -> _Key:
    """Return what makes a chain small: compares lower, is easier to read."""
    return (
        len(chain),
        sum(scenario.max_epochs for scenario in chain),
        sum(len(scenario.rewards) for scenario in chain),
        chain[0].experiment != _PLAIN_NAME,
        len(chain[0].experiment),
        sum(scenario.save_freq for scenario in chain),
        sum(scenario.save_best_after for scenario in chain),
        sum(scenario.seed != 0 for scenario in chain),
        tuple(_plainness(reward) for reward in _distinct(chain)),
        tuple(_plainness(reward) for scenario in chain for reward in scenario.rewards),
    )


def _plainness(reward: float | None) -> tuple[int, int, float, int]:
    if reward is None:
        return (3, 0, 0.0, 0)
    if math.isnan(reward):
        return (5, 0, 0.0, 0)
    if math.isinf(reward):
        return (4, 0, 0.0, int(reward < 0))
    is_negative = int(math.copysign(1.0, reward) < 0)
    if reward.is_integer() and abs(reward) < 100:
        return (0, 0, abs(reward), is_negative)
    # 0.5 is plainer than 1e-15: fewer digits first, then an exponent near 0.
    return (1, _length(reward), abs(math.log10(abs(reward))), is_negative)


@lru_cache(maxsize=1024)
def _length(reward: float) -> int:
    """Return how long its text is."""
    return len(reward_text(reward))


def _distinct(chain: Chain) -> list[float | None]:
    """Return the rewards of all sessions, each once, the least plain first."""
    # By text: NaN equals itself there, and -0.0 is not 0.0.
    found = {repr(reward): reward for scenario in chain for reward in scenario.rewards}
    return sorted(found.values(), key=_plainness, reverse=True)


def _is_playable(profile: Profile, chain: Chain) -> bool:
    try:
        sessions = played(profile, chain)
    except ScenarioError:
        return False
    return all(session.first <= session.last for session in sessions)


def _candidates(chain: Chain) -> Iterator[Chain]:
    """Smaller chains, those that save most first."""
    for length in range(1, len(chain)):
        yield chain[:length]
    yield (replace(chain[-1], resume=None),)
    for dropped in range(1, len(chain) - 1):
        yield chain[:dropped] + chain[dropped + 1 :]
    yield from _shorter(chain)
    yield _every(chain, experiment=_PLAIN_NAME)
    for freq in sorted({*range(4), *(s.save_freq for s in chain)}):
        yield _every(chain, save_freq=freq)
        for number in range(len(chain)):
            yield _one(chain, number, save_freq=freq)
    yield _every(chain, save_best_after=0)
    yield _every(chain, seed=0)
    for number in range(len(chain)):
        yield _one(chain, number, save_best_after=1)
    yield from _plainer(chain)


def _shorter(chain: Chain) -> Iterator[Chain]:
    yield tuple(replace(s, rewards=s.rewards[: s.max_epochs]) for s in chain)
    for number in reversed(range(len(chain))):
        session = chain[number]
        for epochs in range(1, session.max_epochs):
            yield _one(chain, number, max_epochs=epochs, rewards=session.rewards[:epochs])
    longest = max(scenario.max_epochs for scenario in chain)
    for epoch in range(longest):
        if all(scenario.max_epochs > 1 or epoch > 0 for scenario in chain):
            fewer = tuple(_without(scenario, epoch) for scenario in chain)
            yield fewer
            # One epoch less may want the next lower save_freq, to leave the last one periodic.
            yield tuple(replace(s, save_freq=max(s.save_freq - 1, 0)) for s in fewer)


def _without(scenario: Scenario, epoch: int) -> Scenario:
    """Return the scenario without an epoch, counted from 0."""
    if epoch >= scenario.max_epochs:
        return scenario
    rewards = scenario.rewards[:epoch] + scenario.rewards[epoch + 1 :]
    return replace(scenario, max_epochs=scenario.max_epochs - 1, rewards=rewards)


def _plainer(chain: Chain) -> Iterator[Chain]:
    """Yield the same chain with plainer rewards: all by their order, each kind, each one."""
    kinds = _distinct(chain)
    numbers = sorted({r for r in kinds if r is not None and math.isfinite(r)})
    for start in (0, 1, -len(numbers), -len(numbers) // 2):
        yield _mapped(chain, {repr(r): float(start + rank) for rank, r in enumerate(numbers)})
    if len(numbers) <= 3:
        for whole in itertools.combinations(_WHOLE_REWARDS, len(numbers)):
            yield _mapped(chain, dict(zip(map(repr, numbers), whole, strict=True)))
    for factor in (0.1, 0.5):
        yield _mapped(chain, {repr(r): float(round(r * factor)) for r in numbers})
        yield _mapped(chain, {repr(r): as_float32(float(f"{r * factor:.4g}")) for r in numbers})
    for kind in kinds:
        for plain in (*_PLAIN_REWARDS, *_rounded(kind)):
            yield _mapped(chain, {repr(kind): plain})
    for number, scenario in enumerate(chain):
        for place in range(len(scenario.rewards)):
            for plain in _PLAIN_REWARDS:
                rewards = (*scenario.rewards[:place], plain, *scenario.rewards[place + 1 :])
                yield _one(chain, number, rewards=rewards)


def _rounded(reward: float | None) -> tuple[float, ...]:
    """Return the reward as a whole number, and with one digit."""
    if reward is None or not math.isfinite(reward):
        return ()
    return as_float32(float(round(reward))), as_float32(float(f"{reward:.1g}"))


def _mapped(chain: Chain, change: Mapping[str, float]) -> Chain:
    """Return the chain with each reward of such a text replaced."""
    return tuple(
        _kept(scenario, rewards=tuple(change.get(repr(r), r) for r in scenario.rewards))
        for scenario in chain
    )


def _every(chain: Chain, **changes: object) -> Chain:
    return tuple(_kept(scenario, **changes) for scenario in chain)


def _one(chain: Chain, number: int, **changes: object) -> Chain:
    return (*chain[:number], _kept(chain[number], **changes), *chain[number + 1 :])


def _kept(scenario: Scenario, **changes: object) -> Scenario:
    """Return the changed scenario; the old one where the change makes it none."""
    try:
        return replace(scenario, **changes)  # type: ignore[arg-type]  # of the fields' own types
    except ScenarioError:
        return scenario
