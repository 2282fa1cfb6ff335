"""A process that imports a trainer once, and trains each scenario in a fork of itself, traced.

    python -m conformance.crash.forks python:MODULE:ATTR

Reads one JSON object a line, answers with one: it is the other end of `stages.ForkedStage`. Of a
fork, nothing comes back but its answer, its end and the log of its calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from conformance.convention.scenario import Scenario
from conformance.crash.tracing import Attached, Cutter, NoTracingError, Tracing
from conformance.trainers import TrainerBroke, TrainerSpecError, UnsupportedScenario, open_trainer

if TYPE_CHECKING:
    from conformance.trainers import Trainer

_GRACE_S = 5.0


def main(spec: str) -> int:
    """Serve until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "r", encoding="ascii")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    signal.signal(signal.SIGTERM, _end)  # nobody waits for the fork any more: it goes along
    try:
        trainer = open_trainer(spec)
    except (TrainerSpecError, TrainerBroke) as error:
        _say(answers, {"problem": _described(error)})
        return 0
    with trainer:
        _say(
            answers,
            {"title": trainer.title, "capabilities": sorted(trainer.capabilities)},
        )
        for line in requests:
            _say(answers, _answer(trainer, json.loads(line)))
    return 0


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _say(answers: Any, answer: dict[str, Any]) -> None:  # noqa: ANN401 - a text stream
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, TrainerBroke):
        return {"code": error.code, "message": error.message, "output": error.output}
    return {"code": "spec", "message": str(error), "output": ""}


def _answer(trainer: Trainer, request: dict[str, Any]) -> dict[str, Any]:
    scenario = Scenario.from_mapping(request["scenario"])
    if request.get("here"):
        return _train(trainer, scenario)  # to warm up: forks find everything imported
    tracing = None
    if request.get("log"):
        tracing = Tracing(
            Path(request["log"]),
            request["inject"],
            tuple(request["paths"]),
            request["cut_at"],
            request["whole"],
            request["recorded_by"],
        )
    seconds = request.get("kill_after") or request["seconds"]
    return _forked(trainer, scenario, tracing, float(seconds))


def _train(trainer: Trainer, scenario: Scenario) -> dict[str, Any]:
    try:
        trainer.train(scenario)
    except TrainerBroke as broke:
        return {"ended": "failed", **_described(broke)}
    except UnsupportedScenario as error:
        return {"ended": "unsupported", "message": str(error), "output": ""}
    return {"ended": "done", "message": "", "output": trainer.printed}


def _forked(
    trainer: Trainer, scenario: Scenario, tracing: Tracing | None, seconds: float
) -> dict[str, Any]:
    """Have a fork train the scenario, and tell how it ended."""
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os.close(told_read)
        _be_the_child(trainer, scenario, go_read, told_write)
    os.close(go_read)
    os.close(told_write)
    alive = contextlib.ExitStack()
    alive.callback(_kill, child)
    try:
        with contextlib.ExitStack() as stack, alive:
            if tracing is not None:
                attached = stack.enter_context(Attached(tracing.of(child), [child]))
                stack.callback(attached.wait)
                if tracing.cut_at is not None:
                    stack.enter_context(Cutter(tracing.log, tracing.cut_at))
            os.write(go_write, b"g")
            ended = _ended(child, told_read, time.monotonic() + seconds)
            return {**ended, "process": child}
    except NoTracingError as error:
        return {"ended": "untraced", "message": str(error), "output": ""}
    finally:
        os.close(go_write)
        os.close(told_read)


def _be_the_child(trainer: Trainer, scenario: Scenario, go: int, told: int) -> NoReturn:
    """Train, tell, and end without the end of the interpreter that the parent still needs."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        if os.read(go, 1):
            answer = _train(trainer, scenario)
            os.write(told, json.dumps(answer).encode("ascii"))
            code = 0
    finally:
        os._exit(code)


def _ended(child: int, told: int, deadline: float) -> dict[str, Any]:
    data, hung = b"", False
    while True:
        ready, _, _ = select.select([told], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(told, 65536) if ready else b""
        if not part:
            hung = not ready
            break
        data += part
    status = None if hung else _end_of(child, max(deadline, time.monotonic() + _GRACE_S))
    if status is None:
        return {"ended": "hung", "message": "it did not end in time", "output": ""}
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError:
        return {"ended": "died", "message": status, "output": ""}
    return answer


def _end_of(child: int, deadline: float) -> str | None:
    """How a child ended, which is left for `_kill` to reap; None where it does not end."""
    while True:
        found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            if found.si_code == os.CLD_EXITED:
                return f"exit code {found.si_status}"
            return signal.Signals(found.si_status).name
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)


def _kill(child: int) -> None:
    """See the child dead and reaped, with what it started; once."""
    for kill in (os.killpg, os.kill):  # before it has a group of its own, there is none
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
