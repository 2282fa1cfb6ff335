"""The folders that trainers play in: private, one for each chain of sessions, on memory if any."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

_PREFIX = "conformance-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - only where it is a memory-backed disk, and a private folder
_LEAST_FREE = 256 * 1024 * 1024
# What the harness itself puts beside `runs`.
_OURS = frozenset({"runs", "scenario.json"})
# How far a new folder is looked into for checkpoints.
_DEPTH = 3
_ENTRIES = 200

# What lies in each of the watched folders.
_Names = tuple[frozenset[str], ...]
# Of each checkpoint: its path, its inode, its size and the time of its last write.
_Signature = tuple[tuple[str, int, int, int], ...]


class Workspace:
    """A private folder that is gone when it is left, also by an exception.

    Args:
        memory: a memory-backed disk; used where it is one, is writable and has 256 MiB free.

    Attributes:
        base: the folder.
    """

    def __init__(self, *, memory: Path = _MEMORY) -> None:
        self._memory = memory

    def __enter__(self) -> Self:
        self.base = _private_folder(self._memory)
        self._numbers = itertools.count(1)
        self._watched = _Watched(Path(os.path.abspath(".")))  # noqa: PTH100 - no links resolved
        self._before: dict[Path, _Names] = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _delete(self.base)

    def fresh(self) -> Path:
        """Return a new empty `BASE/NUMBER/runs`: the root for one chain of sessions."""
        path = self.base / str(next(self._numbers)) / "runs"
        path.mkdir(parents=True)
        self._before[path] = self._watched.names()
        return path

    def clear(self, path: Path) -> None:
        """Delete what `fresh` returned, with all that was left in it and beside it."""
        self._before.pop(path, None)
        _delete(path.parent)

    def strays(self, path: Path) -> tuple[str, ...]:
        """What a trainer left outside its root since `fresh` returned it.

        Looks at three places: beside the root, where anything counts; beside the workspace's other
        folders; and in the working directory and its `runs/`, where a new name counts if it is, or
        holds, a `*.pth` or `events.out.tfevents.*`. What counted once counts again for a later
        chain that writes it again. Nothing else is looked at, and nothing is deleted.

        Returns:
            Their paths; empty where there are none.
        """
        beside = (name for name in _names(str(path.parent)) if name not in _OURS)
        above = (name for name in _names(str(self.base)) if not name.isdecimal())
        left = [str(path.parent / name) for name in sorted(beside)]
        left += [str(self.base / name) for name in sorted(above)]
        return (*left, *self._watched.written_since(self._before[path]))


class _Watched:
    """The places where a trainer that ignores its root writes: the working directory's."""

    def __init__(self, folder: Path) -> None:
        self._runs = str(folder / "runs")
        self._folders = (str(folder), self._runs)
        self._known: dict[str, _Signature] = {}

    def names(self) -> _Names:
        """What lies in each of them now."""
        return tuple(frozenset(_names(folder)) for folder in self._folders)

    def written_since(self, before: _Names) -> list[str]:
        """The new paths that are or hold checkpoints, and those known ones that changed."""
        new = {
            f"{folder}{os.sep}{name}"
            for folder, old, names in zip(self._folders, before, self.names(), strict=True)
            for name in names - old
            if not name.startswith(_PREFIX)  # the workspace of another of us
        }
        new.discard(self._runs)  # what is in it is listed one by one
        found = []
        for path in sorted(new.union(self._known)):
            signature = tuple(_checkpoints(path))
            if signature and signature != self._known.get(path):
                self._known[path] = signature
                found.append(path)
        return found


def _private_folder(memory: Path) -> Path:
    if _is_memory(memory):
        try:
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory))
        except OSError:
            pass  # not for us after all
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


def _is_memory(folder: Path) -> bool:
    """Whether the folder is a mounted memory-backed disk with enough room that we may write to."""
    try:
        mounts = Path("/proc/self/mounts").read_bytes().splitlines()
        kinds = [fields[2] for fields in map(bytes.split, mounts) if fields[1] == bytes(folder)]
        room = os.statvfs(folder)
    except (OSError, IndexError):
        return False
    return (
        kinds[-1:] == [b"tmpfs"]
        and room.f_bavail * room.f_frsize >= _LEAST_FREE
        and os.access(folder, os.W_OK | os.X_OK)
    )


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - hot: once and again for each scenario
    except OSError:
        return []


def _checkpoints(path: str) -> Iterator[tuple[str, int, int, int]]:
    """What a trainer writes, at or below a path, as far as a short walk sees it."""
    if _is_written(os.path.basename(path)):  # noqa: PTH119 - hot
        yield from _signature(path)
    queue = deque([(path, _DEPTH)])
    seen = 0
    while queue and seen < _ENTRIES:
        folder, depth = queue.popleft()
        try:
            with os.scandir(folder) as entries:
                for entry in itertools.islice(entries, _ENTRIES - seen):
                    seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        if depth > 1:
                            queue.append((entry.path, depth - 1))
                    elif _is_written(entry.name):
                        yield from _signature(entry.path)
        except OSError:
            continue  # no folder, or not ours to list


def _is_written(name: str) -> bool:
    return name.endswith(".pth") or name.startswith("events.out.tfevents.")


def _signature(path: str) -> Iterator[tuple[str, int, int, int]]:
    try:
        status = os.lstat(path)
    except OSError:
        return  # it went meanwhile
    yield path, status.st_ino, status.st_size, status.st_mtime_ns


def _delete(folder: Path) -> None:
    """Delete a folder whatever a trainer did to its permissions; what is busy stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    with contextlib.suppress(OSError):  # what we may not unlock, stays
        folder.chmod(stat.S_IRWXU)
        for parent, names, _ in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                if not path.is_symlink():  # it leads anywhere
                    path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
