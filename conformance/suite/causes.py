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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.checks.finding import Finding
    from conformance.convention.scenario import Scenario

    Chain = tuple[Scenario, ...]

# A rule, and those that explain it away if they break without what the rule is about.
MORE_GENERAL: Mapping[str, frozenset[str]] = {
    "BEST-003": frozenset({"BEST-004"}),
    "BEST-005": frozenset({"BEST-001", "BEST-003", "BEST-004", "BEST-006"}),
    "BEST-008": frozenset({"BEST-003", "BEST-004", "BEST-005", "BEST-006"}),
}
ABOUT_THE_BEST = frozenset(f"BEST-00{number}" for number in (1, 2, 3, 4, 5, 6, 8))
# Where periodic checkpoints come late, the order of writes does not say of which epoch a best is.
ABOUT_THE_ORDER = frozenset({"CADENCE-004", "CADENCE-005"})
# A rule whose symptom is one of another rule's, as soon as that one breaks too: a best that is
# missing, or there too early, where improvements are not told in general; an epoch that the best
# holds where stored epochs are wrong; a name that looks rounded where names carry other rewards.
SYMPTOM_OF: Mapping[str, frozenset[str]] = {
    "BEST-001": frozenset({"BEST-003", "BEST-004", "BEST-006"}),
    "BEST-002": frozenset({"NAME-006"}),
    "BEST-003": frozenset({"NAME-006"}),
    "BEST-004": frozenset({"NAME-006"}),
    "BEST-005": frozenset({"NAME-006", "BEST-002"}),
    "BEST-006": frozenset({"NAME-006"}),
}
# What a NaN that became the watermark leads to.
_SHOWN_BY_NAN = frozenset(f"BEST-00{number}" for number in (1, 3, 4, 6, 8)) | {"CADENCE-005"}
# Where one of these breaks, periodic checkpoints repeat the watermark that it shows.
_OF_THE_WATERMARK = frozenset(f"BEST-00{number}" for number in (1, 3, 4, 5, 6, 7, 8))


_OF_THE_NAME = frozenset({"NAME-005", "SUMMARY-002"})


def without(rule: str, chain: Chain) -> Iterator[Chain]:
    """The chain without what the rule is about: without ties, without NaN, without a resume."""
    if rule == "BEST-003":
        yield tuple(_changed(scenario, _without_ties(scenario.rewards)) for scenario in chain)
    elif rule == "BEST-005":
        yield tuple(_changed(scenario, _lower_for_nan(scenario.rewards)) for scenario in chain)
        yield tuple(_without_nan(scenario) for scenario in chain)
    elif rule == "BEST-008":
        yield (replace(chain[-1], resume=None),)


def closely(rule: str, chain: Chain) -> Iterator[Chain]:
    """The chain with a periodic checkpoint in every epoch: each write of the best stands alone."""
    if rule in ABOUT_THE_BEST or rule == "CADENCE-005":
        yield tuple(replace(scenario, save_freq=1) for scenario in chain)


def is_symptom(rule: str, finding: Finding, chain: Chain, failing: Mapping[str, object]) -> bool:
    """Whether a broken rule only shows what another broken one does."""
    if rule in ("BEST-003", "BEST-004") and len(chain) > 1 and "BEST-008" in failing:
        return True  # it takes a resume to show it
    if rule == "BEST-003" and "BEST-002" in failing and not _has_tie(chain):
        return True  # the best seems to hold an epoch of -inf, which ties with the start
    if rule in _SHOWN_BY_NAN and "BEST-005" in failing and _has_nan(chain):
        return True  # it takes a NaN to show it
    if rule == "CADENCE-002" and len(chain) > 1 and not _OF_THE_NAME.isdisjoint(failing):
        return True  # the reward in a name may be that of an earlier session's file
    if rule == "RESUME-001" and "trained" in finding.evidence and "SUMMARY-001" in failing:
        return True  # it trained, and did not log it
    if not SYMPTOM_OF.get(rule, frozenset()).isdisjoint(failing):
        return True
    if rule == "NAME-005" and "logged" in finding.evidence and "SUMMARY-002" in failing:
        return True
    of_the_watermark = rule == "SUMMARY-002" and "watermark" in finding.evidence
    causes = _OF_THE_WATERMARK if len(chain) > 1 else _OF_THE_WATERMARK - {"BEST-008"}
    return of_the_watermark and not causes.isdisjoint(failing)


def _has_tie(chain: Chain) -> bool:
    """Whether a reward ties with the highest before it, epochs that are played again left out."""
    rewards: tuple[float | None, ...] = ()
    for scenario in chain:
        rewards += scenario.rewards[len(rewards) : scenario.max_epochs]
    return repr(rewards) != repr(_without_ties(rewards))


def _has_nan(chain: Chain) -> bool:
    rewards = (reward for scenario in chain for reward in scenario.rewards[: scenario.max_epochs])
    return any(reward is not None and math.isnan(reward) for reward in rewards)


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
    """The scenario without its NaN epochs; as it is where that leaves none."""
    kept = tuple(
        reward
        for reward in scenario.rewards[: scenario.max_epochs]
        if reward is None or not math.isnan(reward)
    )
    return replace(scenario, rewards=kept, max_epochs=len(kept)) if kept else scenario


def _just_below(reward: float) -> float:
    """A float32 below a finite one, near it."""
    return as_float32(reward - max(abs(reward) * 1e-6, 1e-6))
