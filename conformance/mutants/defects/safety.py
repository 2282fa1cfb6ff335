"""Trainers whose checkpoints run code when they are unpickled."""

from __future__ import annotations

from conformance.fixtures.archive import Call, Global
from conformance.mutants.trainer import Trainer


class PicklesItsConfig(Trainer):
    """Stores an object of a class of its own."""

    rule = "SAFETY-001"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "config": Call(Global("our_fork.config", "Config"), ())}


class PicklesACommand(Trainer):
    """Stores what would run a command when it is unpickled."""

    rule = "SAFETY-001"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "env_state": Call(Global("os", "system"), ("true",))}
