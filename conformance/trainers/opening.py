"""TRAINER, as a user writes it, to the trainer that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from conformance.trainers.errors import TrainerSpecError
from conformance.trainers.forms import FORMS, Form, Limits, spellings

if TYPE_CHECKING:
    from conformance.trainers.trainer import Trainer

# To start is not to play: an import of a large framework alone may take half a minute.
START_LIMIT_S = 120.0


def open_trainer(
    spec: str, *, time_limit: float = 60.0, start_limit: float = START_LIMIT_S
) -> Trainer:
    """Find and start a trainer.

    Args:
        spec: TRAINER, in one of the forms of `FORMS`.
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
    form = form_of(spec)
    if form.posix and os.name != "posix":
        works = ", ".join(f"{each.name}:" for each in FORMS.values() if not each.posix)
        raise TrainerSpecError(
            f"{spec!a}: {form.name}: needs Linux, macOS or WSL; here, {works} alone works"
        )
    return form.opens(spec, spec.partition(":")[2], Limits(time_limit, start_limit))


def form_of(spec: str) -> Form:
    """The form in which a trainer is given.

    Raises:
        TrainerSpecError: it is none.
    """
    form = FORMS.get(spec.partition(":")[0])
    if form is None or ":" not in spec:
        raise TrainerSpecError(f"{spec!a}: a trainer is {spellings()}")
    return form


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
