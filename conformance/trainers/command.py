"""`command:TEMPLATE`: a real training command, run once for each scenario."""

from __future__ import annotations

import contextlib
import shutil
import string
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.trainers.child import Child, require_program, split_command
from conformance.trainers.errors import TrainerBroke, TrainerSpecError, UnsupportedScenario
from conformance.trainers.trainer import Trainer

if TYPE_CHECKING:
    from conformance.convention.scenario import Scenario

PLACEHOLDERS = (
    "experiment",
    "root",
    "save_freq",
    "max_epochs",
    "save_best_after",
    "seed",
    "scenario",
    "resume",
)


class CommandTrainer(Trainer):
    """A command whose arguments tell it the scenario, as far as its template asks for it.

    The template is split into arguments first and filled afterwards: a name with spaces or quotes
    stays one argument. No shell reads it. It runs in the working directory, with our environment,
    and reads nothing from its standard input.

    Attributes:
        placeholders: those that its template asks for.
    """

    form = "command"

    def __init__(self, spec: str, template: str, *, time_limit: float) -> None:
        """Read the template; nothing runs yet.

        Args:
            spec: TRAINER as it was given.
            template: the command, with its placeholders.
            time_limit: seconds for one scenario.

        Raises:
            TrainerSpecError: no such program, an unknown placeholder, a brace that stands alone.
        """
        self.spec = self.title = spec
        self._limit = time_limit
        self._arguments = [_argument(spec, part) for part in split_command(spec, template)]
        asked = {name for argument in self._arguments for name in argument.placeholders}
        self.placeholders = frozenset(asked)
        whole = "scenario" in asked
        self.plays_rewards = whole
        self.capabilities = frozenset(
            name for name in ("resume", "save_best_after") if whole or name in asked
        )
        if not self._arguments[0].placeholders:
            require_program(spec, self._arguments[0].filled({}))
        self._printed = ""
        self._folder = Path(tempfile.mkdtemp(prefix="conformance-"))

    @property
    def printed(self) -> str:
        """The end of what it printed when it last ran."""
        return self._printed

    def _train(self, scenario: Scenario) -> None:
        path = self._folder / "scenario.json"
        path.write_text(scenario.to_json() + "\n", encoding="ascii")
        values = {
            "experiment": scenario.experiment,
            "root": str(scenario.root),
            "save_freq": str(scenario.save_freq),
            "max_epochs": str(scenario.max_epochs),
            "save_best_after": str(scenario.save_best_after),
            "seed": str(scenario.seed),
            "scenario": str(path),
            "resume": scenario.resume or "",
        }
        try:
            child = Child([part.filled(values) for part in self._arguments], talks=False)
        except ValueError as error:
            raise UnsupportedScenario(f"no command line can say it: {error}") from None
        except OSError as error:
            raise TrainerBroke(
                "not-started", f"the command cannot be started: {error.strerror}"
            ) from None
        try:
            hung = child.outlives(self._limit)
        finally:
            child.end()
        self._printed = child.printed
        if hung:
            raise TrainerBroke(
                "hung",
                f"the command did not end within {self._limit:g} s",
                output=child.printed,
                hint="if it only needs longer, raise the time limit",
            )
        if not child.succeeded:
            raise TrainerBroke("exited", f"the command ended {child.ending}", output=child.printed)

    def close(self) -> None:
        """Delete the scenario's file."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder)


@dataclass(frozen=True)
class _Argument:
    """One argument: texts as they are, and the placeholder that follows each, if one does."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.parts if name is not None)

    def filled(self, values: dict[str, str]) -> str:
        return "".join(text + (values[name] if name else "") for text, name in self.parts)


def _argument(spec: str, argument: str) -> _Argument:
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        parsed = list(string.Formatter().parse(argument))
    except ValueError:
        raise TrainerSpecError(
            f"{spec!a}: a brace stands alone in {argument!a}; write {{{{ or }}}} for one as it is"
        ) from None
    for _, name, form, conversion in parsed:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise TrainerSpecError(
                f"{spec!a}: {argument!a} holds a placeholder that is none of {known};"
                " write {{ or }} for a brace as it is"
            )
    return _Argument(tuple((text, name) for text, name, _, _ in parsed))
