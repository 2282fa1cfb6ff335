"""A process of the trainer's, in a group of its own, that can neither block us nor outlive us."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from typing import IO, TYPE_CHECKING

from conformance.trainers.errors import TAIL_BYTES, TrainerSpecError, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK = 64 * 1024
# Of what it says and nobody takes; a reader that takes lines has long given up by then.
_KEPT = 2 * 1024 * 1024
# Seconds between SIGTERM and SIGKILL: enough to let go of a GPU, or for torchrun to end its ranks.
_GRACE_S = 2.0
# Where the kernel does not tell us of a process's end, we look so often.
_POLL_S = 0.02
# No selector takes an infinite wait as a number.
_LONGEST_WAIT_S = 3600.0


def split_command(spec: str, command: str) -> list[str]:
    """The arguments of a command as a shell would split them; no shell ever runs it.

    Raises:
        TrainerSpecError: it is empty, has an open quote or a NUL.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise TrainerSpecError(f"{spec!a}: {error}") from None
    if not arguments or not arguments[0]:
        raise TrainerSpecError(f"{spec!a} names no program")
    if "\0" in command:
        raise TrainerSpecError(f"{spec!a}: no argument can hold a NUL")
    return arguments


def require_program(spec: str, program: str) -> None:
    """Refuse a program that is not there.

    Raises:
        TrainerSpecError: neither a path nor a name on PATH that can be executed.
    """
    if shutil.which(program) is None:
        hint = "; no shell reads this: write `env NAME=VALUE ...`" if "=" in program else ""
        raise TrainerSpecError(f"{spec!a}: no program {program!a} can be executed here{hint}")


class Child:
    """A running process. All that it prints is read as it comes, and only the end of it kept.

    Nothing here waits but `advance`, `end` and the short moment of its death.

    Args:
        arguments: the command, its program first.
        talks: whether its standard input and output are a conversation; else it reads nothing, and
            its standard output is more of its standard error.

    Raises:
        OSError: it cannot be started.
        ValueError: an argument holds a NUL.

    Attributes:
        ended: whether it is dead, with all that was left of its group.
        deaf: whether nothing more will come from its standard output.
        received: what it said on its standard output and nobody took yet.
    """

    def __init__(self, arguments: Sequence[str], *, talks: bool) -> None:
        # A session of its own: its group can be killed whole, and Ctrl-C is ours to handle.
        self._process = subprocess.Popen(  # noqa: S603 - running the user's command is the purpose
            arguments,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if talks else subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        self.ended = False
        self.deaf = False
        self.received = bytearray()
        self._printed = b""
        self._unsent = b""
        self._selector = selectors.DefaultSelector()
        self._pidfd = _pidfd(self._process.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, self._bury)
        if talks:
            self._watch(self._process.stdout, self._hear)
            self._watch(self._process.stderr, self._overhear)
            os.set_blocking(self._pipe(self._process.stdin).fileno(), False)
        else:
            self._watch(self._process.stdout, self._overhear)

    @property
    def process(self) -> int:
        """Its number, which is also that of its group and its session."""
        return self._process.pid

    @property
    def printed(self) -> str:
        """The end of what it printed for people since it was last sent something."""
        return tail(self._printed)

    @property
    def ending(self) -> str:
        """How it ended, as the end of a sentence; only where it has."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"with exit code {code}"
        try:
            return f"by {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself, with exit code 0."""
        return self._process.returncode == 0

    def send(self, message: bytes) -> None:
        """Have `advance` write this to its standard input; what it printed before is forgotten."""
        self._printed = b""
        stdin = self._pipe(self._process.stdin)
        if not self._unsent and not stdin.closed:
            self._selector.register(stdin, selectors.EVENT_WRITE, self._speak)
        self._unsent += message

    def advance(self, seconds: float) -> None:
        """Read, write, and note its end: what can be done now, or at the latest so much later."""
        if self.ended:
            return
        longest = _LONGEST_WAIT_S if self._pidfd is not None else _POLL_S
        ready = [key.data for key, _ in self._selector.select(max(0.0, min(seconds, longest)))]
        for handle in sorted(ready, key=self._bury.__eq__):  # its end comes last
            handle()
        if self._pidfd is None:
            self._look()

    def outlives(self, seconds: float) -> bool:
        """Whether it is still running after so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            self.advance(left)
        return not self.ended

    def end(self) -> None:
        """See it dead, with its whole group: asked politely first. May be called again."""
        if not self.ended:
            self._signal(signal.SIGTERM)
            if self.outlives(_GRACE_S):
                self._bury()

    # --- what happens to it ------------------------------------------------------------------

    def _look(self) -> None:
        if self._process.poll() is not None:
            self._bury()

    def _hear(self) -> None:
        data = _read(self._process.stdout)
        if data:
            self.received += data[: max(0, _KEPT - len(self.received))]
        elif data is not None:
            self._selector.unregister(self._pipe(self._process.stdout))
            self.deaf = True

    def _overhear(self) -> None:
        pipe = self._process.stderr or self._process.stdout
        data = _read(pipe)
        if data:
            self._printed = (self._printed + data)[-TAIL_BYTES:]
        elif data is not None:
            self._selector.unregister(self._pipe(pipe))

    def _speak(self) -> None:
        stdin = self._pipe(self._process.stdin)
        try:
            self._unsent = self._unsent[os.write(stdin.fileno(), self._unsent[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more: its end, or its silence, tells the rest
            self._unsent = b""
        if not self._unsent:
            self._selector.unregister(stdin)

    def _bury(self) -> None:
        """Kill what is left of its group, and take what it said last."""
        self._signal(signal.SIGKILL)  # before it is reaped: until then its number is nobody else's
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: leave it there
            self._process.wait(_GRACE_S)
        self._await_group()
        # No more than pipes can hold: what left the group may go on writing for ever.
        for _ in range(32):
            ready = [
                key.data
                for key, events in self._selector.select(0)
                if key.data in (self._hear, self._overhear) and events & selectors.EVENT_READ
            ]
            if not ready:
                break
            for handle in ready:
                handle()
        self.ended = self.deaf = True
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _await_group(self) -> None:
        """Give the others of its group the moment that a killed process needs to be gone."""
        deadline = time.monotonic() + 0.5  # a zombie that nobody reaps stays in the group
        while time.monotonic() < deadline:
            try:
                os.killpg(self._process.pid, 0)
            except OSError:
                return
            time.sleep(0.001)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):  # nobody left, or nobody whom we may signal
            os.killpg(self._process.pid, number)

    def _watch(self, pipe: IO[bytes] | None, handle: Callable[[], None]) -> None:
        descriptor = self._pipe(pipe)
        os.set_blocking(descriptor.fileno(), False)
        self._selector.register(descriptor, selectors.EVENT_READ, handle)

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise ValueError("this child does not talk")
        return pipe


def _read(pipe: IO[bytes] | None) -> bytes | None:
    """What is there; empty at the end; None where there is nothing now."""
    if pipe is None:
        return b""
    try:
        return os.read(pipe.fileno(), _CHUNK)
    except BlockingIOError:
        return None


def _pidfd(process: int) -> int | None:
    """A descriptor that tells of the process's end; None where the system has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(process)
    except OSError:  # an old kernel, or a sandbox
        return None
