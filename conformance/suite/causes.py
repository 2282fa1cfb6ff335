"""Which of several broken rules a defect is blamed on: a rule is dropped where it is not the cause.

One scenario may show a symptom of a rule by chance: a trainer that wants an improvement of at least
one also misses one that follows a NaN. So the shrunken scenario is played again without what the
rule is about; if the trainer still breaks a more general rule, that one is the cause.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from conformance.convention.rewards import as_float32, improves, same_reward
from conformance.convention.rules import BY_ID, Matter, When

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from conformance.checks.finding import Finding
    from conformance.convention.scenario import Scenario

    Chain = tuple[Scenario, ...]


def without(rule: str, chain: Chain) -> Iterator[Chain]:
    """Yield the chain without what the rule is about: no ties, no NaN, no resume."""
    matter = BY_ID[rule].matter
    if matter is Matter.TIES:
        yield tuple(_changed(scenario, _without_ties(scenario.rewards)) for scenario in chain)
    elif matter is Matter.NAN:
        yield tuple(_changed(scenario, _lower_for_nan(scenario.rewards)) for scenario in chain)
        yield tuple(_without_nan(scenario) for scenario in chain)
    elif matter is Matter.RESUME:
        yield (replace(chain[-1], resume=None),)


def closely(rule: str, chain: Chain) -> Iterator[Chain]:
    """The chain with a periodic checkpoint in every epoch: each write of the best stands alone."""
    if BY_ID[rule].told_closely:
        yield tuple(replace(scenario, save_freq=1) for scenario in chain)


def is_symptom(rule: str, finding: Finding, chain: Chain, failing: Collection[str]) -> bool:
    """Tell whether a broken rule only shows what another broken one does."""
    return any(
        not set(cause.rules).isdisjoint(failing)
        and (not cause.evidence or cause.evidence in finding.evidence)
        and _HOLDS[cause.when](chain)
        for cause in BY_ID[rule].symptom_of
    )


def _is_resumed(chain: Chain) -> bool:
    return len(chain) > 1


def _has_tie(chain: Chain) -> bool:
    """Tell whether a reward ties with the highest before it; epochs played again do not count."""
    rewards: tuple[float | None, ...] = ()
    for scenario in chain:
        rewards += scenario.rewards[len(rewards) : scenario.max_epochs]
    return repr(rewards) != repr(_without_ties(rewards))


def _has_nan(chain: Chain) -> bool:
    rewards = (reward for scenario in chain for reward in scenario.rewards[: scenario.max_epochs])
    return any(reward is not None and math.isnan(reward) for reward in rewards)


_HOLDS: Mapping[When, Callable[[Chain], bool]] = {
    When.ALWAYS: lambda _chain: True,
    When.RESUMED: _is_resumed,
    When.NAN: _has_nan,
    When.NO_TIE: lambda chain: not _has_tie(chain),
}


def _changed(scenario: Scenario, rewards: tuple[float | None, ...]) -> Scenario:
    return replace(scenario, rewards=rewards)


def _without_ties(rewards: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Each reward equal to the highest before it, a little lowered."""
    best = -math.inf
    changed: list[float | None] = []
    for reward in rewards:
        tie = reward is not None and same_reward(reward, best) and math.isfinite(best)
        changed.append(_just_below(best) if tie else reward)
        if reward is not None and improves(reward, best):
            best = reward
    return tuple(changed)


def _lower_for_nan(rewards: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Each NaN replaced by a number that is no improvement, or by a first one below all others."""
    finite = [reward for reward in rewards if reward is not None and math.isfinite(reward)]
    lowest = as_float32(min(finite, default=0.0) - 1.0)
    best = -math.inf
    changed: list[float | None] = []
    for reward in rewards:
        if reward is not None and math.isnan(reward):
            changed.append(_just_below(best) if math.isfinite(best) else lowest)
            continue
        changed.append(reward)
        if reward is not None and improves(reward, best):
            best = reward
    return tuple(changed)


def _without_nan(scenario: Scenario) -> Scenario:
    """Return the scenario without its NaN epochs; as it is where that leaves none."""
    kept = tuple(
        reward
        for reward in scenario.rewards[: scenario.max_epochs]
        if reward is None or not math.isnan(reward)
    )
    return replace(scenario, rewards=kept, max_epochs=len(kept)) if kept else scenario


def _just_below(reward: float) -> float:
    """Return a float32 below a finite one, near it."""
    return as_float32(reward - max(abs(reward) * 1e-6, 1e-6))
