"""The trainer that the suite drives, whatever it is behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from conformance.trainers.errors import UnsupportedScenario

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from conformance.convention.scenario import Scenario

# What an object that does not say is taken to offer: NotImplementedError shows what it lacks.
ASSUMED_CAPABILITIES = frozenset({"resume", "save_best_after"})


class Trainer(ABC):
    """Plays scenarios, one after the other. A context manager: leaving it closes it.

    Attributes:
        spec: TRAINER as it was given.
        form: its name in `FORMS`.
        title: its name and version where it says them, else the spec; one line.
        capabilities: of `resume` and `save_best_after` (and whatever else it names) what it can do,
            as far as that is known before trying.
        plays_rewards: whether its mean rewards are the scenario's; else they are its own.
        can_infer: whether it offers inference by the experiment's name: `infer`.
    """

    spec: str
    form: str
    title: str
    capabilities: frozenset[str]
    plays_rewards: bool = True
    can_infer: bool = False

    def train(self, scenario: Scenario) -> None:
        """Train one session, to its end.

        Raises:
            UnsupportedScenario: it cannot; leave the scenario out.
            TrainerBroke: it did not come to an end, or not to a good one. It may be asked again.
        """
        for asked, capability in (
            (scenario.resume is not None, "resume"),
            (scenario.save_best_after > 0, "save_best_after"),
        ):
            if asked and capability not in self.capabilities:
                raise UnsupportedScenario(f"{self.title} does not offer {capability}")
        self._train(scenario)

    @property
    def printed(self) -> str:
        """The end of what it printed in the last session that it trained to its end."""
        return ""

    @abstractmethod
    def _train(self, scenario: Scenario) -> None:
        """Train a scenario within the capabilities."""

    def infer(self, scenario: Scenario) -> None:
        """Play the policy of an earlier run; nothing but `experiment` and `root` says which.

        Raises:
            UnsupportedScenario: it offers none.
            TrainerBroke: it did not come to an end, or not to a good one. It may be asked again.
        """
        del scenario
        raise UnsupportedScenario(f"{self.title} does not offer inference")

    def stop(self) -> None:  # noqa: B027 - most forms end by themselves
        """End it in good order, where its form knows such an end.

        Raises:
            TrainerBroke: it did not end as it should.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of all that it holds, running or not. Raises nothing; may be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
