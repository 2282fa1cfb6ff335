"""What a power cut may leave of a save: its changes, as a journaling file system keeps them.

In the spirit of ALICE (Pillai et al., OSDI 2014). Names come to the disk in the order in which they
were changed, those before an fsync of their folder for certain. Data come when they like, those
before an fsync of their file for certain: until then each write may be missing, there, half there,
or there as zeros. All that a save found when it began is taken to have come to the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.crash.disk import Change
    from conformance.crash.points import Save

_BLOCK = 4096
# Of a file's unsynced changes, so many are looked at one by one.
_MOST_PENDING = 12


@dataclass(frozen=True, slots=True)
class State:
    """What may stand under a name.

    Attributes:
        content: its bytes; None for no file.
        after: how many of the save's calls had been made.
        why: what came to the disk and what did not, for a person.
    """

    content: bytes | None
    after: int
    why: str


def power_cuts(save: Save, path: bytes) -> Iterator[State]:
    """What may stand under `path` after a power cut during a save or right behind it.

    Each content comes once, with the earliest call behind which it can be.
    """
    seen: set[bytes | None] = set()
    for after in range(len(save.steps) + 1):
        changes = [change for step in save.steps[:after] for change in step.changes]
        for content, why in _states(save, changes, path):
            if content not in seen:
                seen.add(content)
                yield State(content, after, why)


def half_kills(save: Save, path: bytes) -> Iterator[State]:
    """What stands under `path` where a kill falls into the middle of a write."""
    names = dict(save.start.names)
    contents = {inode: bytes(data) for inode, data in save.start.contents.items()}
    for number, step in enumerate(save.steps):
        for change in step.changes:
            inode = change.inode
            if change.kind == "data" and names.get(path) == inode and len(change.data) > 1:
                yield State(
                    _applied(contents[inode], change, len(change.data) // 2), number, "half written"
                )
            if change.kind in ("data", "size"):
                contents[inode] = _applied(contents.get(inode, b""), change)
            elif change.kind == "name":
                _rename(names, change)
                contents.setdefault(inode, b"")


def _states(
    save: Save, changes: Sequence[Change], path: bytes
) -> Iterator[tuple[bytes | None, str]]:
    naming = [number for number, change in enumerate(changes) if change.kind == "name"]
    certain = 0
    for number, change in enumerate(changes):
        if change.kind == "folder":
            folder = change.names[0][0]
            for turn, at in enumerate(naming):
                inside = any(name.rpartition(b"/")[0] == folder for name, _ in changes[at].names)
                if at < number and inside:
                    certain = max(certain, turn + 1)
    names = dict(save.start.names)
    for turn in range(len(naming) + 1):
        if turn:
            _rename(names, changes[naming[turn - 1]])
        if turn < certain:
            continue
        inode = names.get(path)
        if inode is None:
            yield None, "the name is gone"
            continue
        lost = "" if turn == len(naming) else "the new name did not come to the disk; "
        for content, why in _contents(save, changes, inode):
            yield content, f"{lost}{why}"


def _contents(save: Save, changes: Sequence[Change], inode: int) -> Iterator[tuple[bytes, str]]:
    """What a file may hold."""
    content = bytes(save.start.contents.get(inode, b""))
    pending: list[Change] = []
    for change in changes:
        if change.inode != inode:
            continue
        if change.kind in ("data", "size"):
            pending.append(change)
        elif change.kind == "synced":
            content, pending = _all(content, pending), []
    if not pending:
        yield content, "all is on the disk"
        return
    full = _all(content, pending)
    yield content, "no unsynced data came to the disk"
    yield full, "all data came to the disk"
    yield from ((part, "the data came to the disk in part") for part in _parts(content, pending))
    holes = [change for change in pending[:_MOST_PENDING] if change.kind == "data"]
    for zeroed in (*(_zeroed(content, pending, hole) for hole in holes), bytes(len(full))):
        yield zeroed, "the file has its size but not its data"


def _parts(content: bytes, pending: Sequence[Change]) -> Iterator[bytes]:
    """The content with the first of the changes, and half of the next one."""
    for number, change in enumerate(pending[:_MOST_PENDING], start=1):
        if change.kind == "data":
            half = len(change.data) // 2
            if half > _BLOCK:
                half -= half % _BLOCK
            yield _applied(content, change, half)
        content = _applied(content, change)
        if number < len(pending):
            yield content


def _all(content: bytes, changes: Iterable[Change]) -> bytes:
    for change in changes:
        content = _applied(content, change)
    return content


def _applied(content: bytes, change: Change, length: int | None = None) -> bytes:
    """The content with a change, of its data only the first bytes where a length is given."""
    if change.kind == "size":
        return content[: change.offset].ljust(change.offset, b"\0")
    data = change.data if length is None else change.data[:length]
    head = content[: change.offset].ljust(change.offset, b"\0")
    return head + data + content[change.offset + len(data) :]


def _zeroed(content: bytes, pending: Sequence[Change], lost: Change) -> bytes:
    """All changes applied, with zeros for the data of one of them."""
    for change in pending:
        if change is lost:
            size = change.offset + len(change.data)
            content = content.ljust(size, b"\0")
            content = content[: change.offset] + bytes(len(change.data)) + content[size:]
        else:
            content = _applied(content, change)
    return content


def _rename(names: dict[bytes, int], change: Change) -> None:
    for name, inode in change.names:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


# --- what is wrong with the calls ---------------------------------------------------------------


def explain(save: Save, path: bytes, shown: str) -> tuple[list[str], list[str]]:
    """How a save can lose what stands under a name, read off its calls alone.

    Args:
        save: the save.
        path: the name.
        shown: how it is told.

    Returns:
        What a kill may lose, and what a power cut may lose; a sentence each.
    """
    reading = _Reading(path, dict(save.start.names))
    for step in save.steps:
        for change in step.changes:
            reading.take(change)
    kills, cuts = [], []
    if reading.emptied or reading.written:
        how = "emptied, then written in place" if reading.emptied else "written in place"
        kills.append(f"{shown} is {how}")
    if reading.removed:
        kills.append(f"{shown} is removed before the new one has its name")
    if reading.too_early:
        cuts.append("no fsync of the file before rename")
    if reading.folder_lags and not kills:
        cuts.append(
            "no fsync of the folder after rename: the new one may be lost, the old one stays"
            " (allowed)"
        )
    if kills and reading.unsynced and not cuts:
        cuts.append("no fsync of the file")
    return kills, cuts


@dataclass(slots=True)
class _Reading:
    """What a save's changes tell of how one name comes to its content."""

    path: bytes
    names: dict[bytes, int]
    unsynced: set[int] = field(default_factory=set)
    emptied: bool = False
    written: bool = False
    removed: bool = False
    too_early: bool = False
    folder_lags: bool = False

    def take(self, change: Change) -> None:
        """Take the next change into account."""
        if change.kind in ("data", "size"):
            self.unsynced.add(change.inode)
            if self.names.get(self.path) == change.inode:
                self.written = True
                self.emptied = self.emptied or (change.kind == "size" and change.offset == 0)
        elif change.kind == "synced":
            self.unsynced.discard(change.inode)
        elif change.kind == "folder":
            done = change.names[0][0] == self.path.rpartition(b"/")[0]
            self.folder_lags = self.folder_lags and not done
        else:
            self._named(dict(change.names))
            _rename(self.names, change)

    def _named(self, given: Mapping[bytes, int | None]) -> None:
        if self.path not in given:
            return
        new, old = given[self.path], self.names.get(self.path)
        self.folder_lags = True
        self.removed = self.removed or (new is None and old is not None)
        self.too_early = self.too_early or new in self.unsynced
