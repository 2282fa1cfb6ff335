"""A scenario: what a driven trainer is asked to play, and its JSON form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from conformance.convention.brief import Brief

_RESUMES = (None, "best", "last")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_FIELDS = (
    "experiment",
    "root",
    "save_freq",
    "max_epochs",
    "rewards",
    "save_best_after",
    "resume",
    "seed",
)
_OPTIONAL = frozenset(("save_best_after", "resume", "seed"))


class ScenarioError(ValueError):
    """A scenario that cannot be: the message names the field and what it takes."""


@dataclass(frozen=True, slots=True, repr=False)
class Scenario(Brief):
    """One session of a training, as a trainer is asked to play it.

    A trainer that plays it uses the given rewards as its mean rewards; all else (network,
    optimizer, saving code) is its own.

    Attributes:
        experiment: the run's name.
        root: the folder for runs; the run goes to `root/experiment`.
        save_freq: epochs between periodic checkpoints; 0 for none.
        max_epochs: epochs to train, counted over all sessions of the run; at least 1.
        rewards: entry k is the mean reward known after epoch k + 1 (absolute, over all sessions);
            at least `max_epochs` of them. None, only before the first number: no episode has
            finished yet.
        save_best_after: the first epoch that may save a best, for profiles that have it.
        resume: start from that checkpoint of an earlier session: "best", "last" or None.
        seed: of whatever the trainer draws.

    Raises:
        ScenarioError: a field is out of its range.
    """

    experiment: str
    root: Path
    save_freq: int
    max_epochs: int
    rewards: tuple[float | None, ...]
    save_best_after: int = 0
    resume: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        # Callers without a type checker may give a list and a text.
        object.__setattr__(self, "rewards", tuple(self.rewards))
        object.__setattr__(self, "root", Path(self.root))
        experiment: object = self.experiment
        if not isinstance(experiment, str) or not experiment:
            raise ScenarioError("experiment must be a text that is not empty")
        for name, least in (("save_freq", 0), ("max_epochs", 1), ("save_best_after", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ScenarioError(f"{name} must be a whole number of at least {least}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ScenarioError("seed must be a whole number")
        if self.resume not in _RESUMES:
            raise ScenarioError('resume must be null, "best" or "last"')
        if len(self.rewards) < self.max_epochs:
            raise ScenarioError(
                f"rewards must hold max_epochs={self.max_epochs} entries, not {len(self.rewards)}"
            )
        known = [reward is not None for reward in self.rewards]
        if any(before and not after for before, after in pairwise(known)):
            raise ScenarioError("rewards may hold null only before the first number")

    def to_json(self) -> str:
        """Return the scenario as one line of JSON; rewards that are not finite as texts."""
        document = {name: getattr(self, name) for name in _FIELDS}
        document["root"] = str(self.root)
        document["rewards"] = [_encoded(reward) for reward in self.rewards]
        return json.dumps(document, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read what `to_json` wrote, or anyone else by the schema.

        Raises:
            ScenarioError: not JSON, a field missing, unknown or out of its range.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ScenarioError(f"not JSON: {error}") from error
        if not isinstance(document, Mapping):
            raise ScenarioError("a scenario is a JSON object")
        return cls.from_mapping(document)

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Scenario:
        """Build a scenario from decoded JSON.

        Raises:
            ScenarioError: a field missing, unknown or out of its range.
        """
        unknown = sorted(set(document) - set(_FIELDS))
        missing = sorted(set(_FIELDS) - _OPTIONAL - set(document))
        if unknown or missing:
            raise ScenarioError(f"unknown fields {unknown}, missing fields {missing}")
        rewards, root = document["rewards"], document["root"]
        if not isinstance(rewards, (list, tuple)):
            raise ScenarioError("rewards must be a list")
        if not isinstance(root, str):
            raise ScenarioError("root must be a text")
        values = {**document, "root": Path(root), "rewards": tuple(map(_decoded, rewards))}
        return cls(**values)


def _encoded(reward: float | None) -> float | str | None:
    if reward is None or math.isfinite(reward):
        return reward
    return str(reward)


def _decoded(reward: object) -> float | None:
    if reward is None:
        return None
    if isinstance(reward, str) and reward in _NON_FINITE:
        return _NON_FINITE[reward]
    if isinstance(reward, bool) or not isinstance(reward, (int, float)):
        raise ScenarioError(
            f"rewards hold numbers, null, and the texts nan, inf and -inf, not {reward!a}"
        )
    try:
        return float(reward)
    except OverflowError as error:
        raise ScenarioError(f"the reward {str(reward)[:20]}... is no float") from error
