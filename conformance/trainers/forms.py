"""The forms in which TRAINER can be given: the commands, the plugin and the pages read all here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.trainers.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a trainer may take.

    Attributes:
        session: seconds for each session.
        start: seconds for its start: an import, a worker's first answer.
    """

    session: float
    start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of TRAINER.

    Attributes:
        name: what stands before the colon.
        takes: what stands behind it, for a reader.
        is_what: what it is, in lines for `--help`.
        opens: returns the trainer of a spec and of what stands behind its colon.
        posix: whether it needs Linux, macOS or WSL.
        in_process: whether it plays in this process.
        max_examples: how many scenarios are played where nobody says how many.
        max_points: how many faults `crash` plays where nobody says how many.
    """

    name: str
    takes: str
    is_what: tuple[str, ...]
    opens: Callable[[str, str, Limits], Trainer]
    posix: bool = True
    in_process: bool = False
    max_examples: int = 200
    max_points: int = 200

    @property
    def spelling(self) -> str:
        """How TRAINER is written in this form."""
        return f"{self.name}:{self.takes}"


def _python(spec: str, rest: str, limits: Limits) -> Trainer:
    from conformance.trainers.in_process import PythonTrainer  # noqa: PLC0415 - only if asked

    return PythonTrainer(spec, rest, time_limit=limits.session, start_limit=limits.start)


def _worker(spec: str, rest: str, limits: Limits) -> Trainer:
    from conformance.trainers.worker import WorkerTrainer  # noqa: PLC0415 - only if asked

    return WorkerTrainer(spec, rest, time_limit=limits.session, start_limit=limits.start)


def _command(spec: str, rest: str, limits: Limits) -> Trainer:
    from conformance.trainers.command import CommandTrainer  # noqa: PLC0415 - only if asked

    return CommandTrainer(spec, rest, time_limit=limits.session)


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            name="python",
            takes="MODULE:ATTRIBUTE",
            is_what=("an object with train(scenario), or what makes one, in this process",),
            opens=_python,
            posix=False,
            in_process=True,
            max_points=400,
        ),
        Form(
            name="worker",
            takes="COMMAND",
            is_what=("a process in any language that speaks the worker protocol",),
            opens=_worker,
        ),
        Form(
            name="command",
            takes="TEMPLATE",
            is_what=(
                "a training command, run once for each session; {experiment} {root}",
                "{save_freq} {max_epochs} {save_best_after} {seed} {resume} {scenario}",
                "are filled in",
            ),
            opens=_command,
            max_examples=20,
            max_points=40,
        ),
    )
}


def spellings() -> str:
    """Return how TRAINER may be written, in one phrase."""
    *others, last = (form.spelling for form in FORMS.values())
    return f"{', '.join(others)} or {last}"


def usage() -> str:
    """Return what TRAINER may be, a few lines for `--help`."""
    width = max(len(form.spelling) for form in FORMS.values()) + 3
    return "".join(
        f"  {form.spelling if not number else '':{width}}{line}\n"
        for form in FORMS.values()
        for number, line in enumerate(form.is_what)
    )


def defaults(get: Callable[[Form], int]) -> str:
    """Return how many there are by default: `200; 20 for command:`."""
    numbers = {name: get(form) for name, form in FORMS.items()}
    first = next(iter(numbers.values()))
    return "; ".join(
        [str(first), *(f"{most} for {name}:" for name, most in numbers.items() if most != first)]
    )
