"""Makes a worker of a Python trainer: `serve(trainer)` speaks the worker protocol, version 1."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from conformance.convention.scenario import Scenario, ScenarioError
from conformance.trainers.errors import TrainerSpecError, one_line
from conformance.trainers.trainer import ASSUMED_CAPABILITIES

PROTOCOL = 1


def serve(trainer: object) -> None:
    """Be a worker: train what standard input asks for, until it says `stop` or ends.

    From this call on, standard output is for answers alone: what the trainer prints, also from C++
    or in child processes, goes to standard error. Its standard input is empty. Neither is given
    back, for what is printed after `stop` would be one answer too many.

    Whatever `train` raises is answered, with its traceback on standard error, and the worker goes
    on to the next request.

    Args:
        trainer: an object with `train(scenario)`, and perhaps a `name`, a `version` and
            `capabilities`; or a class or another callable that makes one without arguments. The
            callable is called once standard output is safe, and again after a session that broke.

    Raises:
        TrainerSpecError: it is neither, or its capabilities are no collection of names.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    served = Served(trainer)
    with suppress(BrokenPipeError), requests, answers:  # who does not listen has gone
        for line in requests:
            request = _decoded(line)
            if request.get("cmd") == "stop":
                return
            answers.write(json.dumps(served.answer(request)).encode("ascii") + b"\n")
            answers.flush()


class Served:
    """A trainer that answers requests, one after the other."""

    def __init__(self, trainer: object) -> None:
        """Make the trainer, if it is not made yet: as for `serve`."""
        self._given = trainer
        self._trainer = self._made()

    def _made(self) -> Any:  # noqa: ANN401 - an object that is only known to have `train`
        found: Any = self._given
        if callable(found) and (isinstance(found, type) or not _has_train(found)):
            found = found()
        if not _has_train(found):
            raise TrainerSpecError(f"a {type(found).__name__} has no train(scenario)")
        return found

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request other than `stop`."""
        command = request.get("cmd")
        if command == "start":
            return self._introduction(request.get("protocol"))
        if command != "train":
            return _no(f"unknown cmd {command!a}: start, train and stop are known")
        try:
            scenario = _scenario(request.get("scenario"))
        except ScenarioError as error:
            return _no(f"ScenarioError: {error}")
        try:
            self._trainer.train(scenario)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a trainer may raise anything
            traceback.print_exc()
            self._trainer = self._made()
            return _no(f"{type(error).__name__}: {error}")
        return {"ok": True}

    def _introduction(self, protocol: object) -> dict[str, Any]:
        if protocol != PROTOCOL:
            return _no(f"this worker speaks protocol {PROTOCOL} alone")
        trainer = self._trainer
        offered = getattr(trainer, "capabilities", ASSUMED_CAPABILITIES)
        if isinstance(offered, (str, bytes)) or not isinstance(offered, Iterable):
            raise TrainerSpecError(f"capabilities are a collection of names, not {offered!a}")
        name = str(getattr(trainer, "name", "") or type(trainer).__name__)
        return {
            "ok": True,
            "protocol": PROTOCOL,
            "trainer": {"name": name, "version": str(getattr(trainer, "version", ""))},
            "capabilities": sorted(map(str, offered)),
        }


def _has_train(thing: object) -> bool:
    return callable(getattr(thing, "train", None))


def _decoded(line: bytes) -> Mapping[str, Any]:
    """Return the request on a line; what is none has no `cmd`."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, Mapping) else {}


def _scenario(document: object) -> Scenario:
    if not isinstance(document, Mapping):
        raise ScenarioError("a scenario is a JSON object")
    return Scenario.from_mapping(document)


def _no(reason: str) -> dict[str, Any]:
    return {"ok": False, "error": one_line(reason)}
