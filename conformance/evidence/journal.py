"""Records, from the kernel, what happens to the files in a folder tree while a trainer runs.

Linux' inotify tells of every writer in any language, also of another process, in one order over
all folders. It watches single folders, so one that appears while recording has to be watched as
well; what happened in it before that is not known, and the journal says so (`Journal.late`).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import pathlib
import select
import struct
import sys
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

if sys.platform == "linux":  # Windows has no such module; nothing here gets far enough to miss it
    from termios import FIONREAD

# inotify(7), <sys/inotify.h>
IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ISDIR = 0x40000000
_IN_ONLYDIR = 0x1000000
_IN_DONT_FOLLOW = 0x2000000
_IN_EXCL_UNLINK = 0x4000000

_HEADER = struct.Struct("=iIII")  # watch, mask, cookie, length of the name with its padding
# The kernel merges an event into an equal one before it. Opening and changing are asked for so
# that two rewrites of a file are never neighbours. A file that has lost its name, or never had
# one (O_TMPFILE), says nothing.
_MASK = (
    IN_CREATE
    | IN_OPEN
    | IN_MODIFY
    | IN_CLOSE_WRITE
    | IN_CLOSE_NOWRITE
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_DELETE
    | _IN_ONLYDIR
    | _IN_EXCL_UNLINK
)
_ABOUT_WATCHES = IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT | IN_MOVE_SELF
_ABOUT_CONTENTS = IN_OPEN | IN_MODIFY | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
_TICK = 0.05  # seconds between drains of the queue where no folder is waited for
# Creating a file by opening it is two events, written within a microsecond; another thread's
# events may come between them.
_INTERLEAVED = 4


class JournalError(Exception):
    """No recording can be had; the text says why and what to do."""


class Action(str, Enum):
    """What happened under a name."""

    WRITTEN = "written"  # made or changed, and closed
    # The name appeared without being opened: a hard or symbolic link. One that is opened for
    # writing right away looks to the kernel's listeners like a new file: WRITTEN alone.
    LINKED = "linked"
    MOVED_IN = "moved in"  # something was renamed to this name
    MOVED_OUT = "moved out"  # it was renamed to another
    DELETED = "deleted"
    READ = "read"  # opened, and closed unchanged


_NEW_CONTENT = frozenset({Action.WRITTEN, Action.LINKED, Action.MOVED_IN})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened under one name.

    Attributes:
        path: path from the watched folder, with `/`; bytes that are no UTF-8 as surrogates.
        action: what happened.
        source: for MOVED_IN, the path it was renamed from; None if that lies outside.
        folder: whether it was a folder (moved or deleted; nothing else is told of folders).
    """

    path: str
    action: Action
    source: str | None = None
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """What happened in a folder tree, in the kernel's order.

    Attributes:
        events: what happened, over all folders.
        problem: why something may be missing, in one line; None if nothing is known to be.
        overflowed: whether the kernel dropped events because its queue was full.
        late: folders that held files before they could be watched under this path; what
            happened in them before is not known. Sorted.
        unclosed: paths that were opened or changed and not closed since: held open, mapped into
            memory, or truncated by path. Sorted.
    """

    events: tuple[Event, ...]
    problem: str | None = None
    overflowed: bool = False
    late: tuple[str, ...] = ()
    unclosed: tuple[str, ...] = ()


def writes(journal: Journal, folder: str) -> tuple[str, ...]:
    """Return the names in a folder in the order in which each got new content.

    A name comes once for each time that it was written, linked or renamed to; a temporary file
    that is renamed comes under both names.

    Args:
        journal: a recording.
        folder: path from the watched folder; empty for the watched folder itself.
    """
    names = []
    for event in journal.events:
        if event.action in _NEW_CONTENT and not event.folder:
            parent, _, name = event.path.rpartition("/")
            if parent == folder:
                names.append(name)
    return tuple(names)


def unavailable() -> str | None:
    """Return why this system gives no journals, in one line; None where it does."""
    try:
        with Watcher():
            return None
    except JournalError as error:
        return str(error)


# --- the kernel's records -------------------------------------------------------------------


class Record(NamedTuple):
    """One event as the kernel queued it (`struct inotify_event`)."""

    watch: int
    mask: int
    cookie: int
    name: bytes


def parse_records(data: bytes) -> list[Record]:
    """Take apart what a read from an inotify instance returned.

    Raises:
        ValueError: the bytes end inside a record.
    """
    records = []
    offset = 0
    while offset < len(data):
        start = offset + _HEADER.size
        if start > len(data):
            raise ValueError(f"inotify: {len(data) - offset} bytes left, a record takes more")
        watch, mask, cookie, length = _HEADER.unpack_from(data, offset)
        offset = start + length
        if offset > len(data):
            raise ValueError(f"inotify: a name of {length} bytes is announced, fewer follow")
        records.append(Record(watch, mask, cookie, data[start:offset].rstrip(b"\0")))
    return records


@dataclass(slots=True)
class _Opening:
    """How often a name is open, and what is not yet decided about it.

    `link` is the place among the events where the name appeared, if it was opened at once: it is
    a link after all should it be closed without having been open for writing. `moved`: the file
    was open when it was renamed to this name and has not changed since, so that closing it brings
    nothing new. `changed`: it changed and was not closed by a writer since.
    """

    count: int = 0
    link: int | None = None
    moved: bool = False
    changed: bool = False


@dataclass(slots=True)
class _Newcomer:
    """A folder that appeared while recording: the files found in it, and those seen to come."""

    listed: set[str]
    seen: set[str] = field(default_factory=set)


class Appeared(NamedTuple):
    """A folder that has to be watched now; `moved`: with all that is in it."""

    prefix: str
    moved: bool


@dataclass(slots=True)
class Chronicle:
    """Turns records into events; knows which watch stands for which folder, asks no kernel.

    A folder is known by its prefix, the beginning of the paths in it: empty for the watched
    folder itself, else ending in `/`.
    """

    root: int
    folders: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _overflowed: bool = False
    _late: set[str] = field(default_factory=set)
    _events: list[Event | None] = field(default_factory=list)
    _created: dict[str, tuple[int, int]] = field(default_factory=dict)
    _opened: dict[str, _Opening] = field(default_factory=dict)
    _sources: dict[int, tuple[str, _Opening | None]] = field(default_factory=dict)
    _carried: dict[int, dict[int, str]] = field(default_factory=dict)
    _newcomers: dict[int, _Newcomer] = field(default_factory=dict)
    _count: int = 0

    def found(self, watch: int, files: Iterable[str]) -> None:
        """Take note of the files listed in a folder that appeared, after it was watched.

        Each has to be explained by a record of its creation, or the folder is late.
        """
        self._newcomers[watch] = _Newcomer(set(files))

    def digest(self, records: Iterable[Record]) -> list[Appeared]:
        """Go on with some records; return the folders that have to be watched now."""
        appeared: list[Appeared] = []
        for record in records:
            self._count += 1
            watch, mask, cookie, name = record
            prefix = self.folders.get(watch)
            if mask & _ABOUT_WATCHES or prefix is None:
                self._about_a_watch(watch, mask)
            elif mask & IN_ISDIR:
                path = prefix + os.fsdecode(name)
                if self._about_a_folder(mask, cookie, path):
                    appeared.append(Appeared(f"{path}/", bool(mask & IN_MOVED_TO)))
            elif name:
                text = os.fsdecode(name)
                if watch in self._newcomers:
                    self._explain(watch, mask, text)
                if mask & _ABOUT_CONTENTS:
                    self._about_a_content(mask, prefix + text)
                else:
                    self._about_a_name(mask, cookie, prefix + text)
        return appeared

    def events(self) -> tuple[Event, ...]:
        """Return what happened, so far."""
        events = self._events.copy()
        for opening in self._opened.values():
            if opening.count and opening.link is not None:  # opened as it appeared, and still open
                events[opening.link] = None
        return tuple(event for event in events if event is not None)

    def journal(self) -> Journal:
        """Return what was recorded."""
        late = {self.folders[watch] for watch, new in self._newcomers.items() if new.listed}
        return Journal(
            self.events(),
            "; ".join(dict.fromkeys(self.problems)) or None,
            self._overflowed,
            tuple(sorted(prefix.rstrip("/") for prefix in late | self._late)),
            tuple(sorted(path for path, it in self._opened.items() if it.count or it.changed)),
        )

    def watches(self) -> list[int]:
        """Return the watches that stand, also those of folders that were moved out."""
        return [*self.folders, *(watch for below in self._carried.values() for watch in below)]

    def _about_a_watch(self, watch: int, mask: int) -> None:
        if mask & IN_Q_OVERFLOW:
            self._overflowed = True
            self.problems.append(
                "the kernel's queue of events overflowed and events were lost; raise"
                " fs.inotify.max_queued_events"
            )
        elif watch == self.root and mask & (IN_IGNORED | IN_MOVE_SELF):
            self.problems.append("the watched folder itself was removed or renamed")
        elif mask & IN_UNMOUNT and watch in self.folders:
            self.problems.append(f"{self.folders[watch]!a} was unmounted")
        elif not mask & IN_IGNORED and any(watch in below for below in self._carried.values()):
            self.problems.append("a folder was in use while it was renamed")
        if mask & IN_IGNORED and watch in self.folders:
            self._dismiss(watch)

    def _about_a_folder(self, mask: int, cookie: int, path: str) -> bool:
        """Take note of what happened to a folder; return whether it has to be watched now."""
        prefix = f"{path}/"
        if mask & IN_MOVED_FROM:
            self._events.append(Event(path, Action.MOVED_OUT, folder=True))
            self._sources[cookie] = (path, None)
            below = {watch: at for watch, at in self.folders.items() if at.startswith(prefix)}
            self._carried[cookie] = {w: at[len(prefix) :] for w, at in below.items()}
            for watch in below:
                self._dismiss(watch)
            self._forget(prefix)
        elif mask & IN_MOVED_TO:
            source, _ = self._sources.pop(cookie, (None, None))
            self._events.append(Event(path, Action.MOVED_IN, source, folder=True))
            for watch, suffix in self._carried.pop(cookie, {}).items():
                self.folders[watch] = prefix + suffix
        elif mask & IN_DELETE:
            self._events.append(Event(path, Action.DELETED, folder=True))
            self._forget(prefix)
        return bool(mask & (IN_CREATE | IN_MOVED_TO))

    def _dismiss(self, watch: int) -> None:
        """A watch ends, or its folder goes: files that nothing has explained stay unexplained."""
        prefix = self.folders.pop(watch)
        new = self._newcomers.pop(watch, None)
        if new is not None and new.listed:
            self._late.add(prefix)

    def _forget(self, prefix: str) -> None:
        """No file is open any more under a folder that went away."""
        for path in [path for path in self._opened if path.startswith(prefix)]:
            self._settle(self._opened.pop(path))

    def _settle(self, opening: _Opening | None) -> None:
        """A name goes: if it is open still, and appeared by that, it was no link."""
        if opening is not None and opening.count:
            self._disown(opening)

    def _disown(self, opening: _Opening) -> None:
        """The name appeared because it was opened for writing: it was no link."""
        if opening.link is not None:
            self._events[opening.link] = None
            opening.link = None

    def _explain(self, watch: int, mask: int, name: str) -> None:
        """Hold a record against what stood in a new folder when it was listed."""
        new = self._newcomers[watch]
        if mask & IN_CREATE:
            new.listed.discard(name)
        elif name in new.listed or not (name in new.seen or mask & IN_MOVED_TO):
            # It stood there before the watch: nothing else precedes its creation.
            self._late.add(self.folders[watch])
            new.listed.discard(name)
        new.seen.add(name)

    def _about_a_content(self, mask: int, path: str) -> None:
        """Take note that a file was opened, changed or closed."""
        opening = self._opened.setdefault(path, _Opening())
        if mask & IN_MODIFY:
            opening.changed = True
            opening.moved = False
            self._disown(opening)
        elif mask & IN_OPEN:
            if not opening.count:
                place, count = self._created.pop(path, (None, 0))
                opening.link = place if self._count - count <= 1 + _INTERLEAVED else None
            opening.count += 1
        else:
            self._closed(path, opening, writing=bool(mask & IN_CLOSE_WRITE))

    def _about_a_name(self, mask: int, cookie: int, path: str) -> None:
        """Take note that a file's name came or went."""
        if mask & IN_CREATE:
            self._created[path] = (len(self._events), self._count)
            self._events.append(Event(path, Action.LINKED))
            return
        opening = self._opened.pop(path, None)
        self._settle(opening)
        if mask & IN_DELETE:
            self._events.append(Event(path, Action.DELETED))
        elif mask & IN_MOVED_FROM:
            self._sources[cookie] = (path, opening)
            self._events.append(Event(path, Action.MOVED_OUT))
        elif mask & IN_MOVED_TO:
            source, moved = self._sources.pop(cookie, (None, None))
            if moved is not None and moved.count:
                self._opened[path] = _Opening(moved.count, moved=True)
            self._events.append(Event(path, Action.MOVED_IN, source))

    def _closed(self, path: str, opening: _Opening, *, writing: bool) -> None:
        seen = opening.count > 0
        opening.count = max(0, opening.count - 1)  # equal openings in a row are one to the kernel
        new = opening.changed or opening.moved or opening.link is not None
        if not writing or (seen and not new):
            self._events.append(Event(path, Action.READ))
            return
        self._disown(opening)
        if not opening.moved:
            self._events.append(Event(path, Action.WRITTEN))
        opening.changed = False


# --- the kernel -----------------------------------------------------------------------------


class _Inotify:
    """An inotify instance. Every call is short: nothing here waits for an event."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise JournalError(
                f"no journal of writes on {sys.platform}: it needs Linux' inotify; rules that"
                " read it are unobservable here"
            )
        self._libc = _libc()
        self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise JournalError(_refusal("an inotify instance", ctypes.get_errno()))

    def add(self, path: str, mask: int) -> int:
        """Watch a folder; return the watch's number, the old one if it is watched already.

        Raises:
            OSError: it cannot be watched.
        """
        watch: int = self._libc.inotify_add_watch(self.fd, os.fsencode(path), mask)
        if watch < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return watch

    def remove(self, watch: int) -> None:
        """Let go of a folder; one that is gone already does no harm."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> bytes:
        """Return what is queued now; no more, so that a restless writer cannot hold it up."""
        size = ctypes.c_int()
        if self._libc.ioctl(self.fd, FIONREAD, ctypes.byref(size)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify: {os.strerror(number)}")
        return os.read(self.fd, size.value) if size.value else b""


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    """The C library.

    Raises:
        JournalError: it has no inotify.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        libc.inotify_init1.argtypes = (ctypes.c_int,)
        libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
        libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
    except AttributeError as error:
        raise JournalError(
            "no journal of writes: this system's C library has no inotify"
        ) from error
    return libc


_MENDS = {
    errno.EMFILE: "raise fs.inotify.max_user_instances or the limit on open files",
    errno.ENFILE: "the system has no open files left",
    errno.ENOSPC: "raise fs.inotify.max_user_watches",
    errno.ENOSYS: "this kernel was built without inotify",
}


def _refusal(what: str, number: int) -> str:
    mend = _MENDS.get(number)
    return f"no journal of writes: {what}: {os.strerror(number)}" + (f"; {mend}" if mend else "")


@final
class Recording:
    """One recording, from `Watcher.record`. A context manager that stops it at the end."""

    def __init__(
        self, kernel: _Inotify, root: str, end: Callable[[Recording], Journal], *, prepared: bool
    ) -> None:
        self.prepared = prepared
        self._kernel = kernel
        self._root = root
        self._end = end
        self._journal: Journal | None = None
        try:
            self._chronicle = Chronicle(kernel.add(root, _MASK | IN_MOVE_SELF))
        except OSError as error:
            raise JournalError(_refusal(f"a watch on {root!a}", error.errno or 0)) from error
        self._chronicle.folders[self._chronicle.root] = ""
        self._watch(self._list("")[1], old=True)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> Journal:
        """Stop, and return what happened between the start and this call.

        Whole without any waiting: the kernel queues an event within the writer's own system call,
        so that what a writer did before it returned, exited or answered is in the queue. May be
        called again, and returns the same.
        """
        if self._journal is None:
            self._journal = self._end(self)
        return self._journal

    # What follows is the watcher's, which keeps others out meanwhile.

    def drain(self) -> bool:
        """Take in what is queued; return whether a folder appeared and is watched now."""
        appeared = self._chronicle.digest(parse_records(self._kernel.read()))
        for folder in appeared:
            self._watch([folder.prefix], moved=folder.moved)
        return bool(appeared)

    def finish(self) -> Journal:
        """Take in the rest, let go of the folders, return the journal."""
        if self.drain():
            self.drain()  # what explains the files that were found in folders that appeared
        for watch in self._chronicle.watches():
            self._kernel.remove(watch)
        self._kernel.read()  # what the removals say
        for event in self._chronicle.events():
            if event.action is Action.LINKED:
                self._follow(event.path)
        return self._chronicle.journal()

    def _watch(self, prefixes: list[str], *, old: bool = False, moved: bool = False) -> None:
        """Watch folders and all below.

        Args:
            prefixes: the folders'.
            old: they stood there before the recording: what is in them needs no explanation.
            moved: what is in them came with them, also if they are watched already.
        """
        waiting = prefixes.copy()
        while waiting:
            prefix = waiting.pop()
            try:
                # A closing slash would follow a link that has taken the folder's place.
                path = f"{self._root}/{prefix}".rstrip("/")
                watch = self._kernel.add(path, _MASK | _IN_DONT_FOLLOW)
            except OSError as error:
                self._complain(prefix, "watched", error)
                continue
            known = watch in self._chronicle.folders
            self._chronicle.folders[watch] = prefix
            if known and not moved:
                continue
            files, below = self._list(prefix)
            if not old:
                self._chronicle.found(watch, files)
            waiting += below

    def _list(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the names of the files in a folder, and the prefixes of the folders."""
        files, folders = [], []
        try:
            with os.scandir(f"{self._root}/{prefix}") as listing:
                for item in listing:
                    if item.is_dir(follow_symlinks=False):
                        folders.append(f"{prefix}{item.name}/")
                    else:
                        files.append(item.name)
                        if item.is_symlink():
                            self._follow(prefix + item.name)
        except OSError as error:
            self._complain(prefix, "listed", error)
        return files, folders

    def _complain(self, prefix: str, verb: str, error: OSError) -> None:
        """Note that a folder is out of sight, unless it is gone: then there is nothing to see."""
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        mend = _MENDS.get(error.errno or 0)
        self._chronicle.problems.append(
            f"the folder {prefix!a} cannot be {verb}: {error.strerror}"
            + (f"; {mend}" if mend else "")
        )

    def _follow(self, path: str) -> None:
        """Note that a link leads to a folder out of sight."""
        link = f"{self._root}/{path}"
        if os.path.islink(link) and os.path.isdir(link):  # noqa: PTH112, PTH114 - hot path
            inside = os.path.realpath(self._root).rstrip("/") + "/"
            if not f"{os.path.realpath(link)}/".startswith(inside):
                self._chronicle.problems.append(
                    f"{path!a} is a link to a folder elsewhere: what is written through it is"
                    " not seen"
                )


@final
class Watcher:
    """An inotify instance, for any number of recordings one after the other. A context manager.

    Closing an instance may take long, starting a recording does not: keep one watcher. A forked
    child leaves its parent's alone, whatever it calls. While something is recorded, `os.mkdir`
    has each folder that is made in this process watched before it returns.

    Raises:
        JournalError: this system has no inotify, or gives no instance of it.
    """

    def __init__(self) -> None:
        self._kernel = _Inotify()
        try:
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._epoll = select.epoll()
        except OSError as error:
            os.close(self._kernel.fd)
            raise JournalError(_refusal("a file descriptor", error.errno or 0)) from error
        self._process = os.getpid()
        self._lock = threading.RLock()  # a finalizer that makes a folder must not wait for itself
        self._recording: Recording | None = None
        self._closing = False
        self._asleep = False
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._epoll.register(self._kernel.fd, 0)
        self._thread = threading.Thread(target=self._attend, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the instance back, after stopping what is in progress. May be called again."""
        if self._closing:
            return
        if self._recording is not None:
            self._recording.stop()
        self._closing = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake_fd)
        os.close(self._kernel.fd)

    def record(self, root: Path, *, prepared: bool = False) -> Recording:
        """Start to record what happens in a folder, and in all folders below.

        Args:
            root: the folder; it exists. A link to one is followed.
            prepared: no folder that matters will appear, unless by `os.mkdir` in this process.
                Others that do are watched too, but not at once, and are late if they hold files
                by then. If False, a thread waits for them, and is quick, not always quick enough.

        Raises:
            JournalError: a recording is in progress, the watcher is closed, or the folder cannot
                be watched.
        """
        with self._lock:
            if self._closing:
                raise JournalError("the watcher is closed; open another")
            if self._recording is not None:
                raise JournalError("a recording is in progress; stop it, or open another watcher")
            # resolve() would cost more, and the kernel follows the link anyway
            path = os.path.abspath(root)  # noqa: PTH100
            self._recording = recording = Recording(
                self._kernel, path, self._stop, prepared=prepared
            )
            if not prepared:
                self._epoll.modify(self._kernel.fd, select.EPOLLIN)
            elif self._asleep:
                os.eventfd_write(self._wake_fd, 1)
            _MKDIR.tell(self)
        return recording

    def look(self) -> None:
        """Watch the folders that have appeared by now, without waiting for the thread."""
        if os.getpid() != self._process:  # a fork's copy of the lock may be held for ever
            return
        with self._lock:
            if self._recording is not None:
                self._recording.drain()

    def _stop(self, recording: Recording) -> Journal:
        if os.getpid() != self._process:
            return Journal((), "the journal belongs to the process that forked this one")
        with self._lock:
            _MKDIR.tell_no_more(self)
            if not recording.prepared:
                self._epoll.modify(self._kernel.fd, 0)
            try:
                return recording.finish()
            finally:
                self._recording = None

    def _attend(self) -> None:
        """The thread: watches folders that appear, and keeps the queue from overflowing."""
        while not self._closing:
            with self._lock:
                self._asleep = self._recording is None or not self._recording.prepared
                timeout = None if self._asleep else _TICK
            for fd, _ in self._epoll.poll(timeout) or ((self._kernel.fd, 0),):
                if fd == self._wake_fd:
                    os.eventfd_read(self._wake_fd)
                else:
                    self.look()


# --- folders made in this process -----------------------------------------------------------


class _Mkdir:
    """`os.mkdir` while something is recorded: it has the new folder watched before it returns.

    A trainer in this process opens its first file some 20 us after it made the folder. No thread
    and no other process comes in between reliably, so the call itself does what is to be done;
    `os.makedirs` and `Path.mkdir` go through it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: list[Watcher] = []
        # Python 3.10's Path keeps a reference of its own.
        accessor = getattr(pathlib, "_normal_accessor", None)
        self._places: tuple[Any, ...] = (os,) if accessor is None else (os, accessor)
        self._replaced: list[tuple[Any, Callable[..., None], Callable[..., None]]] = []

    def tell(self, watcher: Watcher) -> None:
        """From now on, have a watcher look when a folder was made."""
        with self._lock:
            self._watchers.append(watcher)
            if len(self._watchers) == 1:
                for place in self._places:
                    original, own = place.mkdir, self._telling(place.mkdir)
                    self._replaced.append((place, original, own))
                    place.mkdir = own

    def tell_no_more(self, watcher: Watcher) -> None:
        """Leave a watcher alone."""
        with self._lock:
            self._watchers.remove(watcher)
            if not self._watchers:
                for place, original, own in self._replaced:
                    if place.mkdir is own:  # else someone else has replaced it since
                        place.mkdir = original
                self._replaced.clear()

    def _telling(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def mkdir(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
            original(*arguments, **options)
            for told in tuple(self._watchers):
                told.look()

        return mkdir


_MKDIR = _Mkdir()
