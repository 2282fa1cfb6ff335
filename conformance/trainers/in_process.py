"""`python:module:attr`: a trainer that is an object in this process."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from conformance.trainers import alarm
from conformance.trainers.alarm import TimeLimit
from conformance.trainers.capture import Capture
from conformance.trainers.errors import (
    TAIL_BYTES,
    TrainerBroke,
    TrainerSpecError,
    UnsupportedScenario,
    one_line,
)
from conformance.trainers.trainer import ASSUMED_CAPABILITIES, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.convention.scenario import Scenario

_T = TypeVar("_T")
_OUR_FRAMES = frozenset({__file__, alarm.__file__, importlib.__file__})


class _Trains(Protocol):
    """What `attr` is, or makes."""

    def train(self, scenario: Scenario, /) -> None: ...


class PythonTrainer(Trainer):
    """An object with `train(scenario)`; found, made and called with its output captured.

    The working directory stands on `sys.path` while it is open, as under `python -m`, and is gone
    back to after each call.
    """

    form = "python"

    def __init__(self, spec: str, target: str, *, time_limit: float, start_limit: float) -> None:
        """Import and build it.

        Args:
            spec: TRAINER as it was given.
            target: `module:attr`.
            time_limit: seconds for one scenario.
            start_limit: seconds for the import, and for building the object.

        Raises:
            TrainerSpecError: there is no such module or attribute, or it has no `train`.
            TrainerBroke: it raised, or hung.
        """
        module, separator, path = target.partition(":")
        if not separator or not path or "" in module.split("."):
            raise TrainerSpecError(f"{spec!a} is not of the form python:MODULE:ATTRIBUTE")
        self._open(spec, lambda: self._find(module, path), time_limit, start_limit)

    def _open(
        self, spec: str, find: Callable[[], object], time_limit: float, start_limit: float
    ) -> None:
        self.spec = spec
        self._limits = time_limit, start_limit
        self._make: Callable[[], object] | None = None
        self._wrapped: _Trains | None = None
        self._import_path = _working_directory()
        if self._import_path is not None:
            sys.path.insert(0, self._import_path)
        self._capture = Capture()
        try:
            found = self._call(find, "importing it", start_limit)
            if isinstance(found, type) or not _has_train(found):
                self._make = cast("Callable[[], object]", found)
            else:
                self._wrapped = cast("_Trains", found)
            self._call(self._describe, "building it", start_limit)
        except BaseException:
            self.close()
            raise

    def _find(self, module: str, path: str) -> object:
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and f"{module}.".startswith(f"{error.name}."):
                raise TrainerSpecError(
                    f"{self.spec!a}: there is no module {error.name!a}, neither in the working"
                    " directory nor installed"
                ) from None
            raise  # something that the module imports itself
        try:
            found = attrgetter(path)(found)
        except AttributeError as error:
            raise TrainerSpecError(one_line(f"{self.spec!a}: {error}")) from None
        return self._drivable(found)

    def _drivable(self, found: object) -> object:
        if not _has_train(found) and not callable(found):
            raise TrainerSpecError(
                f"{self.spec!a} is neither an object with train(scenario) nor makes one when called"
            )
        return found

    def _built(self) -> _Trains:
        """The object that trains; a new one where the last one broke."""
        if self._wrapped is not None:
            return self._wrapped
        if self._make is None:
            raise ValueError(f"{self.title} is closed")
        wrapped = self._make()
        if not _has_train(wrapped):
            raise TrainerSpecError(
                f"{self.spec!a} makes a {type(wrapped).__name__}, which has no train(scenario)"
            )
        self._wrapped = cast("_Trains", wrapped)
        return self._wrapped

    def _describe(self) -> None:
        wrapped = self._built()
        name, version = getattr(wrapped, "name", None), getattr(wrapped, "version", None)
        self.title = one_line(name) if isinstance(name, str) and name else self.spec
        if self.title != self.spec and isinstance(version, str):
            self.title = one_line(f"{name} {version}")
        offered = getattr(wrapped, "capabilities", ASSUMED_CAPABILITIES)
        if isinstance(offered, (str, bytes)) or not isinstance(offered, Iterable):
            raise TrainerSpecError(f"{self.spec!a}: its capabilities are no collection of names")
        self.capabilities = frozenset(map(str, offered))
        self.can_infer = callable(getattr(wrapped, "play", None))

    def _train(self, scenario: Scenario) -> None:
        # Only what goes beyond the first plain session may be left out: the rest, everybody trains.
        optional = scenario.resume is not None or scenario.save_best_after > 0
        lacks = NotImplementedError if optional else ()
        self._ask(lambda: self._built().train(scenario), "train()", lacks)

    @property
    def printed(self) -> str:
        """The end of what it printed when it was last called."""
        return self._capture.tail()

    @property
    def wrapped(self) -> object:
        """The object itself, for what goes beyond training."""
        return self._built()

    def infer(self, scenario: Scenario) -> None:
        """Call the object's own `play(scenario)`, where it has one."""
        if not self.can_infer:
            super().infer(scenario)
        self._ask(
            lambda: attrgetter("play")(self._built())(scenario), "play()", NotImplementedError
        )

    def _ask(
        self, action: Callable[[], object], doing: str, lacks: type[Exception] | tuple[()]
    ) -> None:
        """Have the object do something; where it breaks, the next one is new."""
        try:
            self._call(self._built, "building it", self._limits[1])
            self._call(action, doing, self._limits[0], passing=lacks)
        except TrainerBroke:
            if self._make is not None:  # it may be in any state
                self._wrapped = None
            raise
        except NotImplementedError as error:
            raise UnsupportedScenario(one_line(f"{self.title}: {error}")) from None

    def _call(
        self,
        action: Callable[[], _T],
        doing: str,
        seconds: float,
        *,
        passing: type[Exception] | tuple[()] = (),
    ) -> _T:
        """Call into the trainer's code, and come back with our process as it was.

        Args:
            action: calls it.
            doing: what it does, as the subject of a sentence.
            seconds: its time limit.
            passing: the exceptions that are the caller's matter, with our own.

        Raises:
            TrainerBroke: it raised anything else, or did not end in time.
        """
        folder = _working_directory()
        limit = TimeLimit(seconds)
        try:
            with self._capture:
                try:
                    with limit:
                        result = action()
                finally:
                    limit.disarm()
        except (KeyboardInterrupt, TrainerSpecError, UnsupportedScenario):
            raise  # the first is the user's
        except passing:
            raise
        except BaseException as error:  # noqa: BLE001 - a trainer may raise anything
            broke = self._broke(error, doing, limit)
        else:
            if not limit.expired:
                return result
            broke = self._hung([], doing, seconds)
        finally:
            if folder is not None and folder != _working_directory():
                with contextlib.suppress(OSError):  # it was deleted meanwhile
                    os.chdir(folder)
        # Raised out here so that it does not hold the trainer's frames, and all their tensors.
        raise broke

    def _broke(self, error: BaseException, doing: str, limit: TimeLimit) -> TrainerBroke:
        frames = _frames(error)
        if limit.expired:
            return self._hung(frames, doing, limit.seconds)
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - its __str__ is the trainer's as well
            text = ""
        report = traceback.TracebackException.from_exception(error)
        report.stack = traceback.StackSummary.from_list(frames)
        return TrainerBroke(
            "raised",
            f"{doing} raised {type(error).__name__}{': ' if text else ''}{text}",
            output=self._output("".join(report.format())),
        )

    def _hung(
        self, frames: list[traceback.FrameSummary], doing: str, seconds: float
    ) -> TrainerBroke:
        stack = "".join(traceback.StackSummary.from_list(frames).format())
        return TrainerBroke(
            "hung",
            f"{doing} did not end within {seconds:g} s",
            output=self._output(f"It was here:\n{stack}" if stack else ""),
            hint="a new object is built for the next scenario"
            if self._make is not None
            else "the object may be in any state, and what follows with it:"
            " name a class or a function that makes one",
        )

    def _output(self, trace: str) -> str:
        printed = self._capture.tail()
        whole = f"{printed}\n{trace}" if printed else trace
        return whole[-TAIL_BYTES:].strip("\n")

    def close(self) -> None:
        """Forget the object; `sys.path` is as it was before."""
        self._wrapped = self._make = None
        self._capture.close()
        if self._import_path in sys.path:
            sys.path.remove(self._import_path)
        self._import_path = None


class ObjectTrainer(PythonTrainer):
    """The same for an object that is at hand, or for what makes one; nothing is imported."""

    def __init__(self, found: object, *, time_limit: float, start_limit: float) -> None:
        """Build it.

        Args:
            found: an object with `train(scenario)`, a class or another callable that makes one.
            time_limit: seconds for one scenario.
            start_limit: seconds for building the object.

        Raises:
            TrainerSpecError: it is neither.
            TrainerBroke: it raised, or hung.
        """
        self._open(_spec_of(found), lambda: self._drivable(found), time_limit, start_limit)


def _spec_of(found: object) -> str:
    """Return the spec that would name it, if it can be imported; one line either way."""
    named = found if hasattr(found, "__qualname__") else type(found)
    name = getattr(named, "__qualname__", type(found).__name__)
    return one_line(f"python:{getattr(named, '__module__', '')}:{name}")


def _has_train(thing: object) -> bool:
    return callable(getattr(thing, "train", None))


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return where it was raised, from the trainer's own code on."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in _OUR_FRAMES and not frame.filename.startswith("<frozen importlib")
    ]


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is all that is compared
    except OSError:
        return None  # somebody deleted it
