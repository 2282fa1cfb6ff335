"""Where a trainer trains under strace: in forks of one process, as a worker, as a command."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.crash.tracing import Attached, Cutter, NoTracingError, Tracing
from conformance.trainers import TrainerBroke, TrainerSpecError, UnsupportedScenario, open_trainer
from conformance.trainers.opening import START_LIMIT_S, form_of
from conformance.trainers.worker import WorkerTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from conformance.convention.scenario import Scenario

# Beyond the session's own limit: strace's start, the fork, the end of the process.
_GRACE_S = 20.0
_CLOSE_LIMIT_S = 2.0
# What repeats the same calls in the same order: no hash seed, no bytecode written once, no pool of
# threads, which a fork would lose.
STEADY = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended.

    Attributes:
        how: `done`, `failed` (the trainer said so itself), `died`, `hung`, `unsupported`.
        message: what it said or how it died, in one line; may be empty.
        output: the end of what it printed.
        process: the number of the process that trained; None where it is not known.
    """

    how: str
    message: str = ""
    output: str = ""
    process: int | None = None


class Stage(ABC):
    """Trains one scenario as often as it takes; a context manager.

    Attributes:
        title: the trainer's name and version where it says them, else its spec.
        capabilities: what it offers beyond a fresh session.
        plays_rewards: whether its mean rewards are the scenario's.
        pace: how each point is reached, in one sentence.
    """

    title: str
    capabilities: frozenset[str]
    plays_rewards: bool = True
    pace: str

    @abstractmethod
    def train(
        self, scenario: Scenario, tracing: Tracing | None, *, kill_after: float | None = None
    ) -> Ending:
        """Train a session from its start, traced.

        Args:
            scenario: the session.
            tracing: what to trace; None: nothing.
            kill_after: seconds until it is killed, if it has not ended; None: it is not.

        Raises:
            NoTracingError: it could not be traced.
            TrainerBroke: it could not be started again.
        """

    @abstractmethod
    def close(self) -> None:
        """End all that runs; may be called again."""

    def warm(self, scenario: Scenario) -> None:
        """Train once, untraced, so that later sessions find all loaded; no matter how it ends."""
        with contextlib.suppress(TrainerBroke, UnsupportedScenario, OSError):
            self.train(scenario, None)

    def cool(self) -> None:  # noqa: B027 - most are not warmed for good
        """Undo `warm`, where it may be the reason for a failure."""

    def start_anew(self) -> bool:
        """Train each session in a process of its own from now on; False: that changes nothing."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_stage(spec: str, *, time_limit: float) -> Stage:
    """Start a trainer that is to be traced.

    Args:
        spec: TRAINER.
        time_limit: seconds for each session.

    Raises:
        TrainerSpecError: `spec` is wrong.
        TrainerBroke: it could not be started.
    """
    stages: Mapping[str, Callable[[str, float], Stage]] = {
        "python": ForkedStage,
        "worker": WorkerStage,
        "command": CommandStage,
    }
    form = form_of(spec).name
    if form not in stages:
        raise TrainerSpecError(f"{spec!a}: nothing traces a trainer of the form {form}:")
    return stages[form](spec, time_limit)


class ForkedStage(Stage):
    """`python:`: a process of ours that imports the trainer once and forks for each session."""

    pace = "a fork of one process that has the trainer loaded, for each point"

    def __init__(self, spec: str, time_limit: float) -> None:
        self._spec = spec
        self._limit = time_limit
        self._server: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        self._server = subprocess.Popen(  # noqa: S603 - this interpreter, with our own module
            [sys.executable, "-m", "conformance.crash.forks", self._spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            # It finds the modules that this process finds.
            env={**os.environ, **STEADY, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        first = self._read(START_LIMIT_S)
        problem = first.get("problem")
        if problem is not None:
            self.close()
            if problem["code"] == "spec":
                raise TrainerSpecError(problem["message"])
            raise TrainerBroke(problem["code"], problem["message"], output=problem["output"])
        self.title = first["title"]
        self.capabilities = frozenset(first["capabilities"])

    def warm(self, scenario: Scenario) -> None:
        """Train in the process that forks."""
        with contextlib.suppress(TrainerBroke):
            self._ask({"scenario": json.loads(scenario.to_json()), "here": True}, self._limit)

    def cool(self) -> None:
        """Start the process anew."""
        self.close()
        self._start()

    def train(
        self, scenario: Scenario, tracing: Tracing | None, *, kill_after: float | None = None
    ) -> Ending:
        """Have a fork train it."""
        if self._server is None:
            self._start()
        request: dict[str, Any] = {
            "scenario": json.loads(scenario.to_json()),
            "seconds": self._limit,
            "kill_after": kill_after,
        }
        if tracing is not None:
            request |= {
                "log": str(tracing.log),
                "inject": tracing.inject,
                "paths": tracing.paths,
                "cut_at": tracing.cut_at,
                "whole": tracing.whole,
                "recorded_by": tracing.recorded_by,
            }
        answer = self._ask(request, self._limit + _GRACE_S)
        if answer["ended"] == "untraced":
            raise NoTracingError(answer["message"])
        return Ending(answer["ended"], answer["message"], answer["output"], answer.get("process"))

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        server = self._server
        if server is None or server.stdin is None:
            raise TrainerBroke("died", "the process that forks is gone")
        try:
            server.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            server.stdin.flush()
        except OSError:
            pass  # its end is noticed below
        return self._read(seconds)

    def _read(self, seconds: float) -> dict[str, Any]:
        server = self._server
        if server is None or server.stdout is None:
            raise TrainerBroke("died", "the process that forks is gone")
        with selectors.DefaultSelector() as selector:
            selector.register(server.stdout, selectors.EVENT_READ)
            line = server.stdout.readline() if selector.select(seconds) else b""
        if not line:
            died = server.poll() is not None
            output = self._output()
            self.close()
            message = "the process that imports the trainer died" if died else "it hung"
            raise TrainerBroke("died" if died else "hung", message, output=output)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _output(self) -> str:
        self._said.seek(0)
        return self._said.read()[-8192:].decode("utf-8", "replace")

    def close(self) -> None:
        """End the process; it ends when nobody asks any more."""
        server, self._server = self._server, None
        if server is None:
            return
        for pipe in (server.stdin, server.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(_CLOSE_LIMIT_S)
                break
        self._said.close()


class WorkerStage(Stage):
    """`worker:`: attached to for each session; started anew only where it died."""

    pace = "the worker is attached to; it is started anew for each kill alone"

    def __init__(self, spec: str, time_limit: float) -> None:
        with _steady():
            trainer = open_trainer(spec, time_limit=time_limit)
        if not isinstance(trainer, WorkerTrainer):
            trainer.close()
            raise TrainerSpecError(f"{spec!a} is no worker")
        self._trainer = trainer
        self.title = trainer.title
        self.capabilities = trainer.capabilities
        self._anew = False

    def start_anew(self) -> bool:
        """Stop the worker after each session."""
        self._anew = True
        self.pace = "the worker is started anew for each point: its calls depend on those before"
        return True

    def train(
        self, scenario: Scenario, tracing: Tracing | None, *, kill_after: float | None = None
    ) -> Ending:
        """Ask the worker, with strace attached to all of its session's processes."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_steady())
            if self._anew:
                self._trainer.close()
            try:
                process = self._trainer.process()
            except OSError as error:
                raise TrainerBroke("not-started", f"the worker: {error.strerror}") from None
            if tracing is not None:
                stack.enter_context(Attached(tracing.of(process), _session(process)))
                if tracing.cut_at is not None:
                    stack.enter_context(Cutter(tracing.log, tracing.cut_at))
            if kill_after is not None:
                stack.enter_context(_killed_after(kill_after, process))
            return replace(_trained(self._trainer, scenario), process=process)

    def close(self) -> None:
        """Stop the worker."""
        self._trainer.close()


class CommandStage(Stage):
    """`command:`: started anew under strace for each session."""

    pace = "the command is started anew for each point"

    def __init__(self, spec: str, time_limit: float) -> None:
        self._spec = spec
        self._limit = time_limit
        with open_trainer(spec, time_limit=time_limit) as trainer:
            self.title = trainer.title
            self.capabilities = trainer.capabilities
            self.plays_rewards = trainer.plays_rewards

    def train(
        self, scenario: Scenario, tracing: Tracing | None, *, kill_after: float | None = None
    ) -> Ending:
        """Run the command under strace."""
        template = self._spec.removeprefix("command:")
        if kill_after is not None:
            template = f"timeout -s KILL {kill_after:.6f} {template}"
        if tracing is not None:
            wrapped = (
                shlex.join(tracing.arguments(starts=True)).replace("{", "{{").replace("}", "}}")
            )
            template = f"{wrapped} -- {template}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(_steady())
            trainer = stack.enter_context(
                open_trainer(f"command:{template}", time_limit=self._limit)
            )
            if tracing is not None and tracing.cut_at is not None:
                stack.enter_context(Cutter(tracing.log, tracing.cut_at))
            return _trained(trainer, scenario)

    def close(self) -> None:
        """Nothing runs between two sessions."""


def _trained(trainer: Any, scenario: Scenario) -> Ending:  # noqa: ANN401 - any of the trainers
    try:
        trainer.train(scenario)
    except TrainerBroke as broke:
        how = {"hung": "hung", "died": "died", "not-started": "died"}.get(broke.code, "failed")
        return Ending(how, broke.message, broke.output)
    except UnsupportedScenario as error:
        return Ending("unsupported", str(error))
    return Ending("done", "", trainer.printed)


@contextlib.contextmanager
def _killed_after(seconds: float, leader: int) -> Iterator[None]:
    """Kill a session's processes after so many seconds, unless it is left before."""

    def kill() -> None:
        for process in _session(leader):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _session(leader: int) -> list[int]:
    """Return the processes of a session, its leader first: a worker may be a shell's child."""
    found = [leader]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == leader:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == leader and fields[0] != b"Z":
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def _steady() -> Any:  # noqa: ANN401 - what contextmanager makes of it
    """With the environment in which the same calls come in the same order."""
    before = {name: os.environ.get(name) for name in STEADY}
    os.environ.update(STEADY)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
