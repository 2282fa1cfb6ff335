"""TRAINER, as a user writes it, to the trainer that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from conformance.trainers.errors import TrainerSpecError

if TYPE_CHECKING:
    from conformance.trainers.trainer import Trainer

# To start is not to play: an import of a large framework alone may take half a minute.
START_LIMIT_S = 120.0


def open_trainer(
    spec: str, *, time_limit: float = 60.0, start_limit: float = START_LIMIT_S
) -> Trainer:
    """Find and start a trainer.

    Args:
        spec: `python:MODULE:ATTRIBUTE`, `worker:COMMAND` or `command:TEMPLATE`.
        time_limit: seconds for each session; more than 0.
        start_limit: seconds for its start: an import, a worker's first answer; more than 0.

    Returns:
        The trainer, to be closed: use it in a `with` statement.

    Raises:
        TrainerSpecError: `spec` itself is wrong.
        TrainerBroke: it could not be started.
    """
    if not (time_limit > 0 and start_limit > 0):
        raise ValueError(f"a time limit is more than 0 seconds, not {min(time_limit, start_limit)}")
    form, _, rest = spec.partition(":")
    if form not in ("python", "worker", "command"):
        raise TrainerSpecError(
            f"{spec!a}: a trainer is python:MODULE:ATTRIBUTE, worker:COMMAND or command:TEMPLATE"
        )
    if form == "python":
        from conformance.trainers.in_process import PythonTrainer  # noqa: PLC0415 - only if asked

        return PythonTrainer(spec, rest, time_limit=time_limit, start_limit=start_limit)
    if os.name != "posix":
        raise TrainerSpecError(
            f"{spec!a}: worker: and command: need Linux, macOS or WSL; here, python: alone works"
        )
    if form == "worker":
        from conformance.trainers.worker import WorkerTrainer  # noqa: PLC0415

        return WorkerTrainer(spec, rest, time_limit=time_limit, start_limit=start_limit)
    from conformance.trainers.command import CommandTrainer  # noqa: PLC0415

    return CommandTrainer(spec, rest, time_limit=time_limit)


def open_object(
    found: object, *, time_limit: float = 60.0, start_limit: float = START_LIMIT_S
) -> Trainer:
    """Take an object of this process as the trainer.

    Args:
        found: an object with `train(scenario)`; or a class or another callable that makes one.
        time_limit: seconds for each session; more than 0.
        start_limit: seconds for building it; more than 0.

    Raises:
        TrainerSpecError: it is neither.
        TrainerBroke: it could not be built.
    """
    if not (time_limit > 0 and start_limit > 0):
        raise ValueError(f"a time limit is more than 0 seconds, not {min(time_limit, start_limit)}")
    from conformance.trainers.in_process import ObjectTrainer  # noqa: PLC0415 - only if asked

    return ObjectTrainer(found, time_limit=time_limit, start_limit=start_limit)
