"""Plays the conformance suite's scenarios with this trainer: in process, as a worker, or one file.

The network, the optimizer, the logs and the saver are the trainer's own; only the mean reward of
each epoch is the scenario's. This is the one module here that knows the harness.

    conformance test python:reference_trainer.adapter:ReferenceTrainer
    conformance test "worker:python -m reference_trainer.adapter"
    conformance test "command:python -m reference_trainer.adapter {scenario}"
    conformance bench python:reference_trainer.adapter:ReferenceTrainer
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from conformance import Scenario
from conformance.convention.scenario import ScenarioError
from reference_trainer import __version__
from reference_trainer.async_saver import Saver
from reference_trainer.config import Settings, SettingsError, check
from reference_trainer.ppo import EpisodeStatistics
from reference_trainer.saver import CheckpointError
from reference_trainer.session import TrainingError, play, train

PROTOCOL = 1
SEEDS = 2**32
FAILURES = (SettingsError, CheckpointError, TrainingError, OSError)


class ReferenceTrainer:
    """Plays scenarios; an epoch is eight environment steps and one gradient step.

    The network is the default run's, so that `--model reference_trainer.ppo:ActorCritic` fits.
    `save_best_after` is not part of the default profile and is ignored.

    Args:
        device: where to train, as in the settings.
    """

    name = "reference_trainer"
    version = __version__
    capabilities = ("resume",)

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._saver: Saver | None = None
        torch.set_num_threads(1)  # as the command line's default: the networks are tiny

    def train(self, scenario: Scenario) -> None:
        """Play one session into `scenario.root / scenario.experiment`.

        Raises:
            SettingsError: the scenario cannot be met: its name is none of a file, or a fresh
                session would run over an old one's checkpoints.
            CheckpointError: the checkpoint to resume from is missing or damaged.
            TrainingError: another session has the run.
            OSError: a file could not be written.
        """
        settings = Settings(
            experiment=scenario.experiment,
            root=str(scenario.root),
            max_iterations=scenario.max_epochs,
            save_freq=scenario.save_freq,
            checkpoint=scenario.resume or "",
            seed=scenario.seed % SEEDS,
            device=self.device,
            num_envs=8,
            horizon_length=1,
            mini_epochs=1,
        )
        check(settings, any_file_name=True)

        def mean_reward(epoch: int, _statistics: EpisodeStatistics) -> float | None:
            return scenario.rewards[epoch - 1]

        train(settings, mean_reward=mean_reward)

    def play(self, scenario: Scenario) -> None:
        """Play the best checkpoint of an earlier session, found by the experiment's name alone.

        Raises:
            SettingsError: the name is none of a file.
            CheckpointError: the checkpoint is missing or damaged.
        """
        settings = Settings(
            experiment=scenario.experiment,
            root=str(scenario.root),
            test=True,
            device=self.device,
            num_envs=8,
        )
        check(settings, any_file_name=True)
        play(settings, print)

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        """Save as a session does by default, but copy at once; for `conformance bench`.

        Raises:
            OSError: this save or an earlier one failed.
        """
        self.saver.save(path, state)

    def wait(self) -> None:
        """Wait until all saves are safe; raise OSError if one failed."""
        self.saver.wait()

    @property
    def saver(self) -> Saver:
        """The saver of `save`, made when it is first asked for."""
        if self._saver is None:
            self._saver = self.make_saver()
        return self._saver

    def make_saver(self) -> Saver:
        """Return a saver that works in the background."""
        return Saver()


class SavesBehindTheRollout(ReferenceTrainer):
    """Saves exactly as a session does by default: the copy, too, is made in the background."""

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        """Save, and copy behind the rollout; raise OSError if an earlier save failed."""
        self.saver.save(path, state, overlap=True)

    def before_update(self) -> None:
        """Wait until the copy is made."""
        self.saver.before_update()


class SavesAtOnce(ReferenceTrainer):
    """Saves as a session does with `async_save=False`."""

    def make_saver(self) -> Saver:
        """Return a saver whose `save` returns when the file is safe."""
        return Saver(background=False)


def on_cuda() -> ReferenceTrainer:
    """Return a trainer on the first CUDA device: `python:reference_trainer.adapter:on_cuda`."""
    return ReferenceTrainer("cuda")


def answer(trainer: ReferenceTrainer, request: object) -> dict[str, Any]:
    """Return the worker's answer to a decoded request other than `stop`."""
    if not isinstance(request, Mapping):
        return {"ok": False, "error": "a request is a JSON object"}
    command = request.get("cmd")
    if command == "start":
        if request.get("protocol") != PROTOCOL:
            return {"ok": False, "error": f"this worker speaks protocol {PROTOCOL} alone"}
        return {
            "ok": True,
            "protocol": PROTOCOL,
            "trainer": {"name": trainer.name, "version": trainer.version},
            "capabilities": list(trainer.capabilities),
        }
    if command != "train":
        return {"ok": False, "error": f"unknown cmd {command!a}: start, train and stop are known"}
    document = request.get("scenario")
    if not isinstance(document, Mapping):
        return {"ok": False, "error": "ScenarioError: a scenario is a JSON object"}
    try:
        trainer.train(Scenario.from_mapping(document))
    except (*FAILURES, ScenarioError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}
    return {"ok": True}


def work(trainer: ReferenceTrainer, requests: IO[str], answers: IO[str]) -> None:
    """Speak the worker protocol, one JSON object a line, until `stop` or the end of `requests`."""
    for line in requests:
        try:
            request: object = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if isinstance(request, Mapping) and request.get("cmd") == "stop":
            return
        answers.write(json.dumps(answer(trainer, request)) + "\n")
        answers.flush()


def main(arguments: Sequence[str]) -> int:
    """Play the scenario of the file named, or be a worker without one; return the exit code.

    0: done. 1: training broke off. 2: wrong usage, or a scenario that cannot be read or met.
    """
    trainer = ReferenceTrainer()
    if not arguments:
        # Answers alone go to the standard output: whatever else is printed there would be one.
        answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        requests = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
        with requests, answers:
            work(trainer, requests, answers)
        return 0
    if len(arguments) > 1:
        sys.stderr.write("reference_trainer.adapter: one scenario's file is wanted\n")
        return 2
    try:
        trainer.train(Scenario.from_json(Path(arguments[0]).read_text(encoding="utf-8")))
    except (SettingsError, CheckpointError, ScenarioError, UnicodeDecodeError) as error:
        sys.stderr.write(f"reference_trainer.adapter: {error}\n")
        return 2
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"reference_trainer.adapter: stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
