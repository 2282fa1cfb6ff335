"""What recorded calls did to the files: a disk to replay them on, and what it had to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.crash.calls import COPIES, WRITES

if TYPE_CHECKING:
    from conformance.crash.calls import Call

_OPENS = frozenset({"open", "openat", "openat2", "creat"})
_FSYNCS = frozenset({"fsync", "fdatasync"})
_NAMING = frozenset(
    {"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"}
    | {"unlink", "unlinkat"}
)
_SYNCHRONOUS = frozenset({"O_SYNC", "O_DSYNC"})
_ALLOCATES_ONLY = "FALLOC_FL_KEEP_SIZE"
_PUNCHES = ("FALLOC_FL_PUNCH_HOLE", "FALLOC_FL_ZERO_RANGE", "FALLOC_FL_COLLAPSE_RANGE")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a call did to a disk.

    Attributes:
        kind: `data` (bytes at an offset), `size` (cut or grown to one), `synced` (all of a file's
            changes so far are forced to the disk), `name` (a path stands for a file from now on;
            for None: for nothing), `folder` (all names in it are forced to the disk).
        inode: the file, for `data`, `size`, `synced` and `name`.
        offset: of the data, or the size.
        data: the bytes.
        names: for `name`, each path and what it stands for; a rename changes two at once. For
            `folder`, its path alone.
    """

    kind: str
    inode: int = -1
    offset: int = 0
    data: bytes = b""
    names: tuple[tuple[bytes, int | None], ...] = ()


@dataclass(slots=True)
class _Open:
    inode: int
    position: int
    appends: bool
    synchronous: bool


@dataclass(slots=True)
class Disk:
    """The files below a folder, as calls leave them.

    Attributes:
        top: the folder; what is elsewhere is nobody's business here.
        names: the path of each file, and its number.
        contents: of each file, by its number.
        blind: why the contents may be others than these; empty where nothing was missed.
    """

    top: bytes
    names: dict[bytes, int] = field(default_factory=dict)
    contents: dict[int, bytearray] = field(default_factory=dict)
    blind: list[str] = field(default_factory=list)
    _open: dict[int, _Open] = field(default_factory=dict)
    _next: int = 0

    def below(self, path: bytes) -> bool:
        """Whether a path is the folder or stands in it."""
        return path == self.top or path.startswith(self.top + b"/")

    def at(self, path: bytes) -> bytes | None:
        """What stands under a path; None for no file."""
        inode = self.names.get(path)
        return None if inode is None else bytes(self.contents[inode])

    def replay(self, call: Call) -> list[Change]:
        """Do what a call did, and tell it; nothing for one that failed or never returned."""
        if call.error or call.result is None:
            return []
        if call.name in ("dup", "dup2", "dup3") or (
            call.name == "fcntl" and len(call.arguments) > 1 and "F_DUPFD" in call.arguments[1]
        ):
            self._duplicate(call)
            return []
        paths = [path for path in call.paths if self.below(path)]
        if call.name == "io_uring_setup":
            self._miss("it writes by io_uring, which strace does not see")
        if not paths:
            if call.name == "close" and call.files:
                self._open.pop(call.files[0][0], None)
            return []
        changes = self._changes(call, paths)
        for change in changes:
            self.apply(change)
        return changes

    def apply(self, change: Change) -> None:
        """Do a change."""
        if change.kind == "data":
            content = self.contents[change.inode]
            if len(content) < change.offset:
                content.extend(bytes(change.offset - len(content)))
            content[change.offset : change.offset + len(change.data)] = change.data
        elif change.kind == "size":
            content = self.contents[change.inode]
            del content[change.offset :]
            content.extend(bytes(change.offset - len(content)))
        elif change.kind == "name":
            for path, inode in change.names:
                if inode is None:
                    self.names.pop(path, None)
                else:
                    self.contents.setdefault(inode, bytearray())
                    self.names[path] = inode

    def position(self, call: Call) -> tuple[int, int] | None:
        """Where a call is about to write, from and to; None for what writes nowhere known."""
        if call.name not in WRITES:
            return None
        place = self._place(call)
        size = call.number(2) if call.name in ("write", "pwrite64") else len(call.data or b"")
        return None if place is None or not size else (place, place + size)

    # --- each call -----------------------------------------------------------------------------

    def _changes(self, call: Call, paths: list[bytes]) -> list[Change]:
        name = call.name
        if name in _OPENS:
            return self._opened(call, paths[0])
        if name in WRITES or name in COPIES:
            return self._written(call, paths)
        if name in _FSYNCS:
            inode = self._inode(call)
            if inode is not None:
                return [Change("synced", inode)]
            return [Change("folder", names=((paths[0], None),))]
        if name in ("truncate", "ftruncate", "fallocate"):
            return self._sized(call, paths[0])
        if name in _NAMING:
            return self._named(call, paths)
        self._noted(call)
        return []

    def _named(self, call: Call, paths: list[bytes]) -> list[Change]:
        """A name that comes, goes or moves."""
        if call.name.startswith("rename"):
            return self._renamed(call)
        if call.name.startswith("link"):
            source, target = call.paths
            inode = self.names.get(source)
            if inode is None:
                return self._foreign(target)
            return [Change("name", names=((target, inode),))]
        if call.name.startswith("symlink"):
            self._miss("it makes symbolic links")
            return []
        gone = [path for path in paths if path in self.names]
        return [Change("name", names=((path, None),)) for path in gone]

    def _noted(self, call: Call) -> None:
        """What changes no file, and yet matters to later calls."""
        if call.name == "lseek":
            self._sought(call)
        elif call.name == "close" and call.files:
            self._open.pop(call.files[0][0], None)
        elif call.name == "mmap" and {"MAP_SHARED", "PROT_WRITE"} <= call.flags:
            self._miss("it writes through a mapping, which strace does not see")

    def _opened(self, call: Call, path: bytes) -> list[Change]:
        flags = call.flags
        writes = bool(flags & {"O_WRONLY", "O_RDWR"}) or call.name == "creat"
        if "O_DIRECTORY" in flags or "O_PATH" in flags or "O_TMPFILE" in flags:
            if "O_TMPFILE" in flags:
                self._miss("it writes to a file without a name")
            return []
        path = call.opened if call.opened and self.below(call.opened) else path
        inode = self.names.get(path)
        changes = []
        if inode is None:
            if not writes and "O_CREAT" not in flags:
                return []  # a folder, mostly
            inode, self._next = self._next, self._next + 1
            changes.append(Change("name", inode, names=((path, inode),)))
            self.contents[inode] = bytearray()
        elif writes and ("O_TRUNC" in flags or call.name == "creat"):
            changes.append(Change("size", inode, 0))
        if call.result is not None:
            self._open[call.result] = _Open(
                inode, 0, "O_APPEND" in flags, bool(flags & _SYNCHRONOUS)
            )
        return changes

    def _written(self, call: Call, paths: list[bytes]) -> list[Change]:
        inode = self._inode(call)
        if inode is None or not call.result:
            return []
        data, place = call.data, self._place(call)
        if data is None or place is None:
            what = "in the kernel" if call.name in COPIES else "more than is recorded"
            self._miss(f"it writes {paths[0]!a} {what}")
            return []
        data = data[: call.result]
        opened = self._open.get(call.files[0][0])
        if opened is not None and call.name in ("write", "writev"):
            opened.position = place + len(data)
        changes = [Change("data", inode, place, data)]
        if opened is not None and opened.synchronous:
            changes.append(Change("synced", inode))
        return changes

    def _place(self, call: Call) -> int | None:
        """The offset that a call writes to."""
        if call.name in ("pwrite64", "pwritev", "pwritev2"):
            place = call.number(3)
            return None if place is None or place < 0 else place
        opened = self._open.get(call.files[0][0]) if call.files else None
        if opened is None:
            return None
        if opened.appends:
            return len(self.contents[opened.inode])
        return opened.position

    def _renamed(self, call: Call) -> list[Change]:
        source, target = call.paths
        inode = self.names.get(source)
        if inode is None:
            moved = [path for path in self.names if path.startswith(source + b"/")]
            if not moved:
                return self._foreign(target)
            changed: list[tuple[bytes, int | None]] = []
            for path in moved:
                changed += [(path, None), (target + path[len(source) :], self.names[path])]
            return [Change("name", names=tuple(changed))]
        if "RENAME_EXCHANGE" in call.flags:
            other = self.names.get(target)
            return [Change("name", names=((source, other), (target, inode)))]
        if not self.below(target):
            return [Change("name", names=((source, None),))]
        return [Change("name", names=((source, None), (target, inode)))]

    def _sized(self, call: Call, path: bytes) -> list[Change]:
        inode = self.names.get(path) if call.name == "truncate" else self._inode(call)
        if inode is None:
            return []
        if call.name != "fallocate":
            size = call.number(1)
            return [] if size is None else [Change("size", inode, size)]
        mode = call.arguments[1] if len(call.arguments) > 1 else ""
        if any(word in mode for word in _PUNCHES):
            self._miss(f"it punches holes into {path!a}")
        begin, length = call.number(2), call.number(3)
        if _ALLOCATES_ONLY in mode or begin is None or length is None:
            return []
        size = max(len(self.contents[inode]), begin + length)
        return [Change("size", inode, size)]

    def _sought(self, call: Call) -> None:
        opened = self._open.get(call.files[0][0]) if call.files else None
        if opened is not None and call.result is not None:
            opened.position = call.result

    def _duplicate(self, call: Call) -> None:
        opened = self._open.get(call.files[0][0]) if call.files else None
        if opened is not None and call.result is not None:
            self._open[call.result] = opened

    def _inode(self, call: Call) -> int | None:
        if not call.files:
            return None
        number, path = call.files[0]
        opened = self._open.get(number)
        if opened is not None and self.names.get(path, opened.inode) == opened.inode:
            return opened.inode
        return self.names.get(path)

    def _foreign(self, target: bytes) -> list[Change]:
        """A file that comes from elsewhere, or was there before the recording."""
        if not self.below(target):
            return []
        self._miss(f"what becomes {target!a} was written elsewhere")
        return []

    def _miss(self, why: str) -> None:
        if why not in self.blind:
            self.blind.append(why)
