"""Keeps failures on disk: the scenario to replay, and the run as the trainer left it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.suite.chains import chain_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.suite.engine import Breakage, Failure
    from conformance.suite.play import Player

_MOST_BYTES = 64 * 1024 * 1024
_MOST_ENTRIES = 10_000
_DEEPEST = 32
_CHUNK = 1024 * 1024


def save_failure(folder: Path, failure: Failure, player: Player) -> tuple[Path, tuple[str, ...]]:
    """Write `RULE.json` and, played once more, the tree `RULE/`; each is whole or not there.

    Args:
        folder: where to; made if it is not there.
        failure: what to keep.
        player: plays the failure's chain.

    Returns:
        The replay file, and what is missing from the tree, a line each.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{failure.rule}.json"
    write_whole(file, chain_to_json(failure.chain))
    notes: list[str] = []
    room = Path(tempfile.mkdtemp(prefix=f".{failure.rule}-", dir=folder))
    tree = room / "tree"

    def keep(root: Path) -> None:
        # A play may be repeated; the last one counts.
        _delete(tree)
        copy = _Copy()
        copy.folder(root, tree, 0)
        notes[:] = [f"{folder / failure.rule}: {what}" for what in copy.missing]

    try:
        player.play(failure.chain, keep=keep)
        target = folder / failure.rule
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.exists():
            target.rename(room / "old")
        if tree.exists():
            tree.rename(target)
    finally:
        _delete(room)
    return file, tuple(notes)


def save_breakages(folder: Path, breakages: Iterable[Breakage]) -> None:
    """Write `broke-CODE.json` and `broke-CODE.txt`, what the trainer printed, for each.

    Raises:
        OSError: the folder cannot be written.
    """
    for breakage in breakages:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"broke-{breakage.broke.code}"
        if breakage.chain:
            write_whole(folder / f"{name}.json", chain_to_json(breakage.chain))
        told = (breakage.broke.message, breakage.broke.hint, "", breakage.broke.output)
        write_whole(folder / f"{name}.txt", "\n".join(told).rstrip("\n") + "\n")


def write_whole(file: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


@dataclass(slots=True)
class _Copy:
    """A bounded copy of a tree that a trainer left: links as links, special files not opened."""

    bytes_left: int = _MOST_BYTES
    entries_left: int = _MOST_ENTRIES
    missing: list[str] = field(default_factory=list)

    def folder(self, source: Path, target: Path, depth: int) -> None:
        target.mkdir()
        try:
            entries = sorted(os.scandir(source), key=lambda entry: entry.name)
        except OSError as error:
            self.missing.append(f"a folder could not be read: {source.name!a}: {error.strerror}")
            return
        for entry in entries:
            self.entries_left -= 1
            if self.entries_left < 0:
                self._stopped(f"it has more than {_MOST_ENTRIES} entries")
                return
            try:
                self._entry(entry, target / entry.name, depth)
            except OSError as error:
                self.missing.append(f"not copied: {entry.name!a}: {error.strerror}")

    def _entry(self, entry: os.DirEntry[str], target: Path, depth: int) -> None:
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                self.folder(Path(entry.path), target, depth + 1)
            else:
                self._stopped(f"it is deeper than {_DEEPEST} folders")
        elif entry.is_file(follow_symlinks=False):
            self._file(entry.path, target)
        else:
            self.missing.append(f"not copied: {entry.name!a} is no regular file")

    def _file(self, source: str, target: Path) -> None:
        # Opened without following or waiting: it may be another file by now.
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                self.missing.append(f"not copied: {target.name!a} is no regular file")
                return
            if status.st_size > self.bytes_left:
                self._stopped(f"its files hold more than {_MOST_BYTES // 1024**2} MiB")
                return
            self.bytes_left -= status.st_size
            left = status.st_size
            with target.open("xb") as copy:
                while left and (chunk := stream.read(min(left, _CHUNK))):
                    copy.write(chunk)
                    left -= len(chunk)

    def _stopped(self, why: str) -> None:
        line = f"the copy is not whole: {why}"
        if line not in self.missing:
            self.missing.append(line)


def _delete(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
