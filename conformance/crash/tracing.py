"""strace around a process: what it is told to record and to break, and whether it is there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.crash.aim import renumbered
from conformance.crash.calls import FOLLOWED, TRACED

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_LONGEST_TEXT = 64 * 1024 * 1024
_ATTACH_LIMIT_S = 10.0
_END_LIMIT_S = 5.0
_DETACH_LIMIT_S = 60.0  # who is killed before loses what it has not written of its log yet
_POLL_S = 0.001
_STOPPED = re.compile(r"^(\d+) +--- stopped by SIGSTOP ---$", re.MULTILINE)


class NoTracingError(RuntimeError):
    """Calls cannot be traced here; the message says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """What strace is told.

    Attributes:
        log: the file that it writes.
        inject: what it breaks: an argument of its `-e inject=`; empty for nothing.
        paths: it counts and logs only calls on these paths; none: all.
        recorded_by: the process whose number may stand in a path; None where none does.
        cut_at: files may not grow beyond so many bytes once the injected SIGSTOP has stopped the
            process; None where nothing is to be cut.
        whole: whether the log holds all data that is written.
    """

    log: Path
    inject: str = ""
    paths: tuple[str, ...] = ()
    cut_at: int | None = None
    whole: bool = False
    recorded_by: int | None = None

    def of(self, process: int) -> Tracing:
        """The same for another process."""
        if not self.paths or self.recorded_by is None:
            return self
        paths = tuple(renumbered(path, self.recorded_by, process) for path in self.paths)
        return replace(self, paths=paths, recorded_by=process)

    def arguments(self, *, starts: bool = False) -> list[str]:
        """The command line, without what it traces; `starts`: a command, from its start on."""
        known = _known_calls()
        traced = (TRACED | FOLLOWED if self.whole else TRACED) & known
        found = [
            strace(),
            *("-q", "-f", "-y", "-xx", "-o", str(self.log)),
            *("-s", str(_LONGEST_TEXT if self.whole else 4096)),
            *("-e", f"trace={','.join(sorted(traced))}"),
        ]
        if starts and "signal" not in self.inject:
            found.append("--seccomp-bpf")  # stops at nothing else; but loses injected signals
        for path in self.paths:
            found += ["-P", path]
        if self.inject:
            found += ["-e", f"inject={self.inject}"]
        return found


def strace() -> str:
    """Where strace is.

    Raises:
        NoTracingError: not here.
    """
    if sys.platform != "linux":
        raise NoTracingError(f"crashes are played with strace, on Linux only, not {sys.platform}")
    found = shutil.which("strace")
    if found is None:
        raise NoTracingError(
            "strace is not installed, and crashes are played with it: apt-get install strace"
        )
    return found


def check_tracing(folder: Path) -> None:
    """See that a process can be traced here.

    Raises:
        NoTracingError: strace is missing, or may not trace.
    """
    log = folder / "probe.log"
    command = [*Tracing(log).arguments(), "--", "/bin/true"]
    done = subprocess.run(  # noqa: S603 - strace itself, with our own arguments
        command, capture_output=True, check=False, timeout=30, stdin=subprocess.DEVNULL
    )
    with contextlib.suppress(OSError):
        log.unlink()
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoTracingError(
            f"strace may not trace here: {said[-1] if said else 'it does not say why'};"
            " in a container, allow ptrace (--cap-add SYS_PTRACE)"
        )


def _known_calls() -> frozenset[str]:
    """Those of our calls that this machine has: arm64 has no `open`, `rename` or `unlink`."""
    global _KNOWN  # noqa: PLW0603 - asked once
    if _KNOWN is None:
        names = TRACED | FOLLOWED
        _KNOWN = frozenset(name for name in names if name not in _ABSENT or _is_known(name))
    return _KNOWN


_KNOWN: frozenset[str] | None = None
_ABSENT = frozenset(
    {"open", "creat", "rename", "link", "symlink", "unlink", "mkdir", "rmdir", "renameat", "dup2"}
    | {"openat2", "io_uring_setup"}
)


def _is_known(name: str) -> bool:
    command = [strace(), "-o", os.devnull, "-e", f"trace={name}", "--", "/bin/true"]
    done = subprocess.run(  # noqa: S603 - strace itself, with our own arguments
        command, capture_output=True, check=False, timeout=30, stdin=subprocess.DEVNULL
    )
    return b"invalid system call" not in done.stderr


class Attached:
    """strace on processes that run already; inside `with`, it is attached to each of them.

    Args:
        tracing: what to do.
        processes: their numbers; new threads and children are followed.

    Raises:
        NoTracingError: it did not attach.
    """

    def __init__(self, tracing: Tracing, processes: list[int]) -> None:
        self._tracing = tracing
        self._processes = processes

    def __enter__(self) -> Self:
        command = self._tracing.arguments()
        for process in self._processes:
            command += ["-p", str(process)]
        self._strace = subprocess.Popen(  # noqa: S603 - strace itself, with our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + _ATTACH_LIMIT_S
        while not all(map(_is_traced, self._processes)):
            if self._strace.poll() is not None or time.monotonic() > deadline:
                said = self._end()
                raise NoTracingError(f"strace did not attach: {said or 'it does not say why'}")
            time.sleep(_POLL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def wait(self) -> None:
        """See it write its last line, where all that it traces is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._strace.wait(_END_LIMIT_S)

    def _end(self) -> str:
        """Let go of what is traced, which goes on; return the last line that strace said."""
        if self._strace.poll() is None:
            self._strace.send_signal(signal.SIGINT)
        try:
            _, said = self._strace.communicate(timeout=_DETACH_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._strace.kill()
            _, said = self._strace.communicate()
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _is_traced(process: int) -> bool:
    """Whether each thread of a process is traced."""
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            status = (thread / "status").read_bytes()
            if b"\nTracerPid:\t0\n" in status:
                return False
    except OSError:
        return False
    return True


class Cutter(threading.Thread):
    """Waits until the injected SIGSTOP has stopped a process, limits its files, lets it go on.

    From then on the kernel writes what fits below the limit, cuts the write that crosses it, and
    fails the next one: what a disk does that runs full in the middle of a file.

    Args:
        log: strace's.
        size: the limit, in bytes.

    Attributes:
        limited: the process whose files are limited; None until then.
    """

    def __init__(self, log: Path, size: int) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._size = size
        self._over = threading.Event()
        self._seen = 0
        self.limited: int | None = None

    def run(self) -> None:
        """Watch the log."""
        while not self._over.wait(0.002):
            try:
                if self._log.stat().st_size == self._seen:
                    continue
                data = self._log.read_bytes()
            except OSError:
                continue
            self._seen = len(data)
            match = _STOPPED.search(data.decode("utf-8", "replace"))
            if match is not None:
                self._limit(int(match[1]))
                return

    def _limit(self, thread: int) -> None:
        import resource  # noqa: PLC0415 - POSIX only

        with contextlib.suppress(OSError, ValueError):
            _, most = resource.prlimit(thread, resource.RLIMIT_FSIZE)
            resource.prlimit(thread, resource.RLIMIT_FSIZE, (self._size, most))
            self.limited = thread
        with contextlib.suppress(OSError):
            os.kill(thread, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self.join()
        if self.limited is None:
            return
        import resource  # noqa: PLC0415 - POSIX only

        with contextlib.suppress(OSError, ValueError):  # mostly it is gone
            _, most = resource.prlimit(self.limited, resource.RLIMIT_FSIZE)
            resource.prlimit(self.limited, resource.RLIMIT_FSIZE, (most, most))
