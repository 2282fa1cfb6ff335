"""Keeps failures on disk: the scenario to replay, and the run as the trainer left it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.atomic import write_atomically
from conformance.evidence.regular_files import NotRegularError, open_regular
from conformance.suite.chains import chain_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.suite.driver import Driver
    from conformance.suite.engine import Breakage, Failure

_MOST_BYTES = 64 * 1024 * 1024
_MOST_ENTRIES = 10_000
_DEEPEST = 32
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a failure was saved.

    Attributes:
        replay: the file that `--replay` reads.
        tree: the folder that stands for the scenario's root, as the trainer left it; None where
            it was not played once more.
        files: what is in it, from there.
        missing: what is not, a line each.
    """

    replay: Path
    tree: Path | None
    files: tuple[str, ...]
    missing: tuple[str, ...]


def save_failure(folder: Path, failure: Failure, driver: Driver | None) -> Saved:
    """Write `RULE.json` and, played once more, the tree `RULE/`; each is whole or not there.

    Args:
        folder: where to; made if it is not there.
        failure: what to save.
        driver: repeats the failure's chain; None: there is no time for it, and no tree then.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, target = folder / f"{failure.rule}.json", folder / failure.rule
    write_atomically(file, chain_to_json(failure.chain))
    room = Path(tempfile.mkdtemp(prefix=".conformance-", dir=folder))
    copies: list[_Copy] = []

    def keep(root: Path) -> None:
        copy = _Copy(room / str(len(copies)))
        copies.append(copy)
        copy.folder(root, copy.top, 0)

    try:
        # What lies there is of another chain.
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.exists():
            target.rename(room / "old")
        if driver is None:
            return Saved(file, None, (), ())
        driver.drive(failure.chain, keep=keep)
        # An attempt that failed may have been repeated; the last one counts.
        copies[-1].top.rename(target)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Saved(file, target, tuple(copies[-1].files), tuple(copies[-1].missing))


def save_breakages(folder: Path, breakages: Iterable[Breakage]) -> None:
    """Write `broke-CODE.json` and `broke-CODE.txt`, what the trainer printed, for each.

    Raises:
        OSError: the folder cannot be written.
    """
    for breakage in breakages:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"broke-{breakage.broke.code}"
        if breakage.chain:
            write_atomically(folder / f"{name}.json", chain_to_json(breakage.chain))
        told = (breakage.broke.message, breakage.broke.hint, "", breakage.broke.output)
        write_atomically(folder / f"{name}.txt", "\n".join(told).rstrip("\n") + "\n")


@dataclass(slots=True)
class _Copy:
    """A bounded copy of a tree that a trainer left: links as links, special files not opened."""

    top: Path
    bytes_left: int = _MOST_BYTES
    entries_left: int = _MOST_ENTRIES
    files: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def folder(self, source: Path, target: Path, depth: int) -> None:
        target.mkdir()
        try:
            with os.scandir(source) as found:
                # One more than there may be, so that the excess is noticed.
                entries = list(itertools.islice(found, self.entries_left + 1))
        except OSError as error:
            self.missing.append(f"a folder could not be read: {source.name!a}: {error.strerror}")
            return
        entries.sort(key=lambda entry: entry.name)
        for entry in entries:
            self.entries_left -= 1
            if self.entries_left < 0:
                self._stopped(f"it has more than {_MOST_ENTRIES} entries")
                return
            try:
                self._entry(entry, target / entry.name, depth)
            except (OSError, NotRegularError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                self.missing.append(f"not copied: {entry.name!a}: {why}")

    def _entry(self, entry: os.DirEntry[str], target: Path, depth: int) -> None:
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
            self.files.append(str(target.relative_to(self.top)))
        elif entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                self.folder(Path(entry.path), target, depth + 1)
            else:
                self._stopped(f"it is deeper than {_DEEPEST} folders")
        elif entry.is_file(follow_symlinks=False):
            self._file(Path(entry.path), target)
        else:
            self.missing.append(f"not copied: {entry.name!a} is no regular file")

    def _file(self, source: Path, target: Path) -> None:
        with open_regular(source) as stream:
            left = os.fstat(stream.fileno()).st_size
            if left > self.bytes_left:
                self._stopped(f"its files hold more than {_MOST_BYTES // 1024**2} MiB")
                return
            self.bytes_left -= left
            try:
                with target.open("xb") as copy:
                    while left and (chunk := stream.read(min(left, _CHUNK))):
                        copy.write(chunk)
                        left -= len(chunk)
            except OSError:
                target.unlink(missing_ok=True)  # half a checkpoint would look like the trainer's
                raise
        self.files.append(str(target.relative_to(self.top)))

    def _stopped(self, why: str) -> None:
        line = f"the copy is not whole: {why}"
        if line not in self.missing:
            self.missing.append(line)
