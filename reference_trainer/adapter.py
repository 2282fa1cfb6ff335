"""Plays the conformance suite's scenarios with this trainer: the one module that knows the harness.

The network, the optimizer, the logs and the saves are the trainer's own; only the mean reward of
each epoch is the scenario's.

    conformance test python:reference_trainer.adapter:ReferenceTrainer
    conformance test "worker:python -m reference_trainer.adapter"
    conformance test "command:python -m reference_trainer.adapter {scenario}"
    conformance bench python:reference_trainer.adapter:ReferenceTrainer
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from conformance import Scenario
from conformance.convention.scenario import ScenarioError
from conformance.trainers import serve
from reference_trainer import __version__
from reference_trainer.async_saver import Saver
from reference_trainer.config import Settings, SettingsError, TrainerError, check
from reference_trainer.train import play, train


class ReferenceTrainer:
    """Plays scenarios; an epoch is one environment step, in eight environments, and its update.

    The network is the default run's, so that `--model reference_trainer.ppo:ActorCritic` fits.
    `save_best_after` is not part of the default profile and is ignored.
    """

    name, version, capabilities = "reference_trainer", __version__, ("resume",)
    background = True  # `save` does not wait for the disk

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.saver = Saver(background=self.background)  # for `conformance bench`
        torch.set_num_threads(1)  # as the command line's default: the networks are tiny

    def settings(self, scenario: Scenario, **changes: Any) -> Settings:  # noqa: ANN401
        """Return a run's settings; raise SettingsError if no file can have its name."""
        settings = Settings(
            experiment=scenario.experiment,
            root=str(scenario.root),
            device=self.device,
            num_envs=8,
            **changes,
        )
        check(settings, any_file_name=True)
        return settings

    def train(self, scenario: Scenario) -> None:
        """Play one session into `scenario.root / scenario.experiment`.

        Raises:
            TrainerError: the scenario cannot be met, or its checkpoint not used.
            OSError: a file could not be written.
        """
        settings = self.settings(
            scenario,
            max_iterations=scenario.max_epochs,
            save_freq=scenario.save_freq,
            checkpoint=scenario.resume or "",
            seed=scenario.seed % 2**32,
            horizon_length=1,
            mini_epochs=1,
        )
        train(settings, mean_reward=lambda epoch, _: scenario.rewards[epoch - 1])

    def play(self, scenario: Scenario) -> None:
        """Play the best checkpoint of an earlier session; raise TrainerError if it has none."""
        play(self.settings(scenario, test=True), print)

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        """Save as a session does, but copy at once; raise OSError if an earlier save failed."""
        self.saver.save(path, state)

    def wait(self) -> None:
        """Wait until all saves are safe; raise OSError if one failed."""
        self.saver.wait()


class SavesBehindTheRollout(ReferenceTrainer):
    """Saves exactly as a session does by default: the copy, too, is made in the background."""

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        """Save, and copy behind the rollout; raise OSError if an earlier save failed."""
        self.saver.save(path, state, overlap=True)

    def before_update(self) -> None:
        """Wait until the copy is made."""
        self.saver.before_update()


class SavesAtOnce(ReferenceTrainer):
    """Saves with the same saver, but each file is safe when `save` returns."""

    background = False


def on_cuda() -> ReferenceTrainer:
    """Return a trainer on the first CUDA device: `python:reference_trainer.adapter:on_cuda`."""
    return ReferenceTrainer("cuda")


def main(arguments: Sequence[str]) -> int:
    """Play the scenario of the file named, or be a worker without one; return the exit code.

    0: done. 1: training broke off. 2: wrong usage, or a scenario that cannot be read or met.
    """
    if not arguments:
        serve(ReferenceTrainer)
        return 0
    try:
        if len(arguments) > 1:
            raise SettingsError("one scenario's file is wanted")
        scenario = Scenario.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
        ReferenceTrainer().train(scenario)
    except (TrainerError, ScenarioError, UnicodeDecodeError, OSError) as error:
        sys.stderr.write(f"reference_trainer.adapter: {error}\n")
        return 2 if isinstance(error, ValueError) else getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
