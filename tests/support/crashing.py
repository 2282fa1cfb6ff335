"""Trainers with torch that are crashed: `python:crashing:InPlace`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch_trainer import TorchTrainer, state_of

from reference_trainer.adapter import ReferenceTrainer
from reference_trainer.config import Settings
from reference_trainer.train import train


class InPlace(TorchTrainer):
    """Has torch write straight to the checkpoint's own name."""

    def save(self, name):
        """Call `torch.save` with the path, as most do."""
        torch.save(state_of(self.epoch, self.watermark), str(self.path(name)))


class Large(ReferenceTrainer):
    """The reference trainer with a network whose checkpoints hold 100 MB."""

    overrides: ClassVar = {"units": [2860, 2860]}

    def train(self, scenario):
        """Play a session, an epoch being one step of two environments."""
        settings = Settings(
            experiment=scenario.experiment,
            root=str(scenario.root),
            max_iterations=scenario.max_epochs,
            save_freq=scenario.save_freq,
            device="cpu",
            num_envs=2,
            horizon_length=1,
            mini_epochs=1,
            **self.overrides,
        )
        train(settings, mean_reward=lambda epoch, _: scenario.rewards[epoch - 1])


class LargeInPlace(TorchTrainer):
    """Has torch write 100 MB straight to the checkpoint's own name."""

    def save(self, name):
        """Call `torch.save` with the path, as most do."""
        state = state_of(self.epoch, self.watermark)
        state["model"]["large"] = torch.full((25_000_000,), float(self.epoch))
        torch.save(state, str(self.path(name)))
