"""Notes when files appear in one folder, in a process of its own, so that no trainer delays it.

A time is taken when that process reads what the kernel tells (inotify): some 20 to 100 us after it
happened where a processor is free for it, later on a busy machine. It is the machine's monotonic
clock, the same in all processes.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x40, 0x80, 0x100
_MASK = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
_HEADER = struct.Struct("=iIII")  # watch, mask, cookie, length of the name with its padding


class WatchError(Exception):
    """The folder cannot be watched; the text says why."""


class Seen(NamedTuple):
    """One thing that the kernel told: when (s), what, and of which name."""

    at: float
    mask: int
    cookie: int
    name: str


@dataclass(frozen=True)
class TimedSave:
    """One file that appeared.

    Attributes:
        name: the one it has in the end.
        began: when its first byte (or its creation) was seen, in seconds.
        named: when it had its content under its name: renamed to it, or closed under it.
    """

    name: str
    began: float
    named: float

    @property
    def seconds(self) -> float:
        """How long it took; 0.0 if the kernel's notes of its beginning and end were read as one."""
        return self.named - self.began


def saves_of(seen: Iterable[Seen]) -> tuple[TimedSave, ...]:
    """Return the files that got new content, in the order in which they had it."""
    began: dict[str, float] = {}
    moved: dict[int, float] = {}
    found: list[TimedSave] = []
    closed: dict[str, TimedSave] = {}
    for at, mask, cookie, name in seen:
        if mask & (IN_CREATE | IN_MODIFY):
            began.setdefault(name, at)
        elif mask & IN_CLOSE_WRITE and name in began:
            closed[name] = TimedSave(name, began.pop(name), at)
            found.append(closed[name])
        elif mask & IN_MOVED_FROM:
            # Written under another name: that was no save of its own.
            before = closed.pop(name, None)
            if before is not None:
                found.remove(before)
            moved[cookie] = before.began if before is not None else began.pop(name, at)
        elif mask & IN_MOVED_TO:
            found.append(TimedSave(name, moved.pop(cookie, at), at))
    return tuple(found)


class Watch:
    """Watches a folder while the block runs; then `seen` holds what was told.

    Args:
        folder: an existing folder; what happens in folders below is not noted.

    Raises:
        WatchError: this is not Linux, or the kernel gives no watch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: tuple[Seen, ...] = ()

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            raise WatchError("saves are timed through inotify, which only Linux has")
        self._process = subprocess.Popen(  # noqa: S603 - this module, by this Python
            [sys.executable, "-c", _CHILD, os.fspath(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if self._process.stdout is None or self._process.stdout.readline() != b"watching\n":
            self._process.communicate()
            raise WatchError(f"{self._folder} cannot be watched")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        output, _ = self._process.communicate()  # its end of input ends it
        self.seen = tuple(Seen(*entry) for entry in json.loads(output or b"[]"))


_CHILD = "from conformance.bench.watch import attend; import sys; attend(sys.argv[1])"


def attend(folder: str) -> None:
    """Be the process that watches: until the standard input ends, then tell all as JSON."""
    libc = ctypes.CDLL(None, use_errno=True)
    kernel = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if kernel < 0 or libc.inotify_add_watch(kernel, os.fsencode(folder), _MASK) < 0:
        return
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    seen: list[Seen] = []
    end = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([kernel, end], [], [])
        at = time.monotonic()
        if kernel in ready:
            seen += _parsed(os.read(kernel, 1 << 16), at)
        elif end in ready:  # only once the kernel has no more to tell
            break
    sys.stdout.write(json.dumps(seen))
    sys.stdout.flush()


def _parsed(data: bytes, at: float) -> list[Seen]:
    seen, offset = [], 0
    while offset < len(data):
        _, mask, cookie, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length].rstrip(b"\0")
        offset += length
        seen.append(Seen(at, mask, cookie, name.decode("utf-8", "backslashreplace")))
    return seen
