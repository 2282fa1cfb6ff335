"""`worker:COMMAND`: a trainer in another process, in any language, started once and asked often."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from conformance.trainers.child import Child, require_program, split_command
from conformance.trainers.errors import TrainerBroke, TrainerSpecError, one_line
from conformance.trainers.serving import PROTOCOL
from conformance.trainers.trainer import Trainer

if TYPE_CHECKING:
    from conformance.convention.scenario import Scenario

# An answer is a line of a few hundred bytes.
LONGEST_ANSWER = 1024 * 1024
# Seconds that it may take to exit once it is told to stop.
STOP_LIMIT_S = 5.0

_START = json.dumps({"cmd": "start", "protocol": PROTOCOL}).encode() + b"\n"
_STOP = json.dumps({"cmd": "stop"}).encode() + b"\n"
_ONLY_ANSWERS = "its standard output is for answers alone; what it prints goes to standard error"


class WorkerTrainer(Trainer):
    """Speaks the worker protocol, version 1; the worker is killed, and started anew, if it breaks.

    It runs in the working directory, with our environment. No shell reads the command.
    """

    form = "worker"

    def __init__(self, spec: str, command: str, *, time_limit: float, start_limit: float) -> None:
        """Start it, and hear who it is.

        Args:
            spec: TRAINER as it was given.
            command: what to run.
            time_limit: seconds for one scenario.
            start_limit: seconds until it has said who it is.

        Raises:
            TrainerSpecError: there is no such program.
            TrainerBroke: it did not start as the protocol says.
        """
        self.spec = self.title = spec
        self.capabilities = frozenset()
        self._limits = time_limit, start_limit
        self._arguments = split_command(spec, command)
        self._child: Child | None = None
        self._asking = False
        require_program(spec, self._arguments[0])
        try:
            self._started()
        except OSError as error:
            raise TrainerSpecError(f"{spec!a} cannot be started: {error.strerror}") from None

    def _started(self) -> Child:
        """The running worker; a new one where the last one broke."""
        if self._asking:  # an interrupt came between a question and its answer
            self._kill()
        if self._child is not None:
            return self._child
        self._child = child = Child(self._arguments, talks=True)
        try:
            answer = self._ask(child, _START, "start", self._limits[1])
            self._describe(child, answer)
        except BaseException:
            self._kill()
            raise
        return child

    def _describe(self, child: Child, answer: dict[str, Any]) -> None:
        if answer["ok"] is False:
            raise self._broke(child, "refused", f"the worker refused to start: {_reason(answer)}")
        protocol, trainer = answer.get("protocol"), answer.get("trainer")
        if type(protocol) is not int or protocol != PROTOCOL:
            raise self._broke(
                child,
                "rubbish",
                f"the worker speaks protocol {protocol!a:.40}, not {PROTOCOL}",
                hint=f'it must answer "protocol": {PROTOCOL}',
            )
        name, version = (
            (trainer.get("name"), trainer.get("version")) if isinstance(trainer, dict) else (0, 0)
        )
        if not (isinstance(name, str) and name and isinstance(version, str)):
            raise self._broke(
                child,
                "rubbish",
                "the worker did not say who it is",
                hint='its first answer holds "trainer": {"name": "...", "version": "..."}',
            )
        offered = answer.get("capabilities")
        if not isinstance(offered, list) or not all(isinstance(each, str) for each in offered):
            raise self._broke(
                child,
                "rubbish",
                "the worker did not say what it can do",
                hint='its first answer holds "capabilities": ["resume", ...], or [] for none',
            )
        self.title = one_line(f"{name} {version}".strip())
        self.capabilities = frozenset(offered)

    @property
    def printed(self) -> str:
        """The end of what it printed for people since it was last asked."""
        return "" if self._child is None else self._child.printed

    def process(self) -> int:
        """Return the number of the worker's process and session; start it if need be.

        Raises:
            TrainerBroke: it did not start again as the protocol says.
            OSError: it cannot be started again.
        """
        return self._started().process

    def _train(self, scenario: Scenario) -> None:
        try:
            child = self._started()
        except OSError as error:
            raise TrainerBroke(
                "not-started", f"the worker cannot be started again: {error.strerror}"
            ) from None
        request = f'{{"cmd": "train", "scenario": {scenario.to_json()}}}\n'
        answer = self._ask(child, request.encode("ascii"), "train", self._limits[0])
        if answer["ok"] is False:
            # In step, and it says so itself: no reason to start another one.
            raise TrainerBroke(
                "refused", f"the worker refused: {_reason(answer)}", output=child.printed
            )

    def _ask(self, child: Child, request: bytes, what: str, seconds: float) -> dict[str, Any]:
        """Send a request and return its answer, an object with a true or false `ok`."""
        self._asking = True
        line, rest = self._answer(child, request, what, seconds)
        try:
            answer = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
            raise self._broke(
                child, "rubbish", f"the worker answered {what} with {_shown(line)}", _ONLY_ANSWERS
            )
        if rest:
            message = f"the worker answered {what} with more than one line: {_shown(rest)}"
            raise self._broke(child, "rubbish", message, _ONLY_ANSWERS)
        self._asking = False
        return answer

    def _answer(
        self, child: Child, request: bytes, what: str, seconds: float
    ) -> tuple[bytes, bytes]:
        """Return the line that comes back, and what came with it already."""
        self._check_idle(child)
        child.send(request)
        deadline = time.monotonic() + seconds
        while b"\n" not in child.received and not child.deaf:
            left = deadline - time.monotonic()
            if left <= 0:
                half = f" (half a line: {_shown(child.received)})" if child.received else ""
                raise self._broke(
                    child,
                    "hung",
                    f"the worker did not answer {what} within {seconds:g} s{half}",
                    "flush each answer; if it only needs longer, raise the time limit",
                )
            if len(child.received) > LONGEST_ANSWER:
                break
            child.advance(left)
        line, newline, rest = child.received.partition(b"\n")
        if len(line) > LONGEST_ANSWER:
            message = f"the worker answered {what} with a line of more than {LONGEST_ANSWER} bytes"
            raise self._broke(child, "rubbish", f"{message}: {_shown(line)}", _ONLY_ANSWERS)
        if not newline:
            raise self._died(child, f"without answering {what}")
        child.received.clear()
        return bytes(line), bytes(rest)

    def _check_idle(self, child: Child) -> None:
        """See that it waits for a request: alive, and silent since its last answer."""
        child.advance(0)
        if child.received:
            message = f"the worker said {_shown(child.received)} without being asked"
            raise self._broke(child, "rubbish", message, _ONLY_ANSWERS)
        if child.deaf:
            raise self._died(child, "between two requests")

    def _died(self, child: Child, when: str) -> TrainerBroke:
        """Return what to say of a worker whose standard output has ended."""
        if child.outlives(1.0):
            return self._broke(
                child, "died", f"the worker closed its standard output {when}", "keep it open"
            )
        hint = "it must read on until it is told to stop" if child.succeeded else ""
        return self._broke(child, "died", f"the worker died {when}, {child.ending}", hint)

    def _broke(self, child: Child, code: str, message: str, hint: str = "") -> TrainerBroke:
        """Return the error to raise, once the worker is out of the way."""
        self._kill()
        return TrainerBroke(code, message, output=child.printed, hint=hint)

    def _kill(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child, self._asking = None, False

    def stop(self) -> None:
        """Tell it to stop, and see it exit with code 0; nothing to do where none runs.

        Raises:
            TrainerBroke: it had gone before, said something, failed, or did not exit.
        """
        child = self._child
        if child is None:
            return
        self._check_idle(child)
        child.send(_STOP)
        if child.outlives(STOP_LIMIT_S):
            message = f"the worker did not exit within {STOP_LIMIT_S:g} s of stop"
            raise self._broke(child, "hung", message, 'exit with code 0 on {"cmd": "stop"}')
        if child.received:
            message = f"the worker answered stop with {_shown(child.received)}"
            raise self._broke(child, "rubbish", message, "stop has no answer")
        if not child.succeeded:
            message = f"the worker ended {child.ending} when told to stop"
            raise self._broke(child, "exited", message, "it must exit with code 0")
        self._child = None

    def close(self) -> None:
        """Tell it to stop if it waits for us, else kill it; either way it is gone afterwards."""
        try:
            if not self._asking:
                self.stop()
        except TrainerBroke:
            pass  # who wants to know calls `stop`
        finally:
            self._kill()


def _reason(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    return one_line(error) if isinstance(error, str) and error else "it does not say why"


def _shown(said: bytes | bytearray) -> str:
    r"""Return the first of what it said, fit for a line.

    >>> _shown(b"Epoch 1\x1b[0m\n")
    "'Epoch 1\\x1b[0m'"
    """
    text = bytes(said[:200]).decode("utf-8", errors="backslashreplace").rstrip("\r\n")
    return ascii(text) + ("..." if len(said) > 200 else "")
