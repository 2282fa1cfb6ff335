"""Drives a trainer: an object in this process, a worker in any language, a training command."""

from __future__ import annotations

from conformance.trainers.errors import TrainerBroke, TrainerSpecError, UnsupportedScenario
from conformance.trainers.opening import open_object, open_trainer
from conformance.trainers.serving import serve
from conformance.trainers.trainer import Trainer
from conformance.trainers.workspace import Workspace

__all__ = [
    "Trainer",
    "TrainerBroke",
    "TrainerSpecError",
    "UnsupportedScenario",
    "Workspace",
    "open_object",
    "open_trainer",
    "serve",
]
