"""The system calls that strace saw, in order: a log of `strace -f -y -xx` as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What puts data into a file, at the descriptor's own position or at one that is given.
WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
COPIES = frozenset({"sendfile", "copy_file_range", "splice"})
SYNCS = frozenset({"fsync", "fdatasync", "sync_file_range", "msync"})
NAMES = frozenset(
    {
        *("open", "openat", "openat2", "creat", "truncate"),
        *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
        *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    }
)
SIZES = frozenset({"ftruncate", "fallocate"})
# What can be made to fail, and at whose entry the process can be killed.
TRACED = WRITES | COPIES | SYNCS | NAMES | SIZES | {"close"}
# Only told of, so that the file's position and descriptor are known.
FOLLOWED = frozenset({"lseek", "dup", "dup2", "dup3", "fcntl", "mmap", "io_uring_setup"})

_HERE = -100  # AT_FDCWD
_HEX = r"(?:\\x[0-9a-f]{2})*"
_LINE = re.compile(r"(\d+) +(.*)")
_STARTED = re.compile(r"([a-z_][a-z0-9_]*)\((.*)")
_RESUMED = re.compile(r"<\.\.\. ([a-z_][a-z0-9_]*) resumed>(.*)")
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"(.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<([^>]*)>(?:\(deleted\))?)?(?: (.*))?")
_STRING = re.compile(rf'"({_HEX})"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)<([^>]*)>(\(deleted\))?")
_VECTOR = re.compile(rf'\{{iov_base="({_HEX})"(\.\.\.)?, iov_len=(\d+)\}}')
_ERROR = re.compile(r"(E[A-Z0-9]+|\?)")


class TraceError(ValueError):
    """A log that is none of strace's, or that lacks what is needed; the message is one line."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        thread: who made it; a number of the kernel's.
        name: of the call.
        arguments: as strace printed them, apart at commas outside brackets.
        texts: the arguments that are texts: paths as they were given.
        files: the descriptors among its arguments, and the path that each stood for, in order;
            `AT_FDCWD` is -100. A path that was deleted is not one any more: empty.
        result: what it returned; None where it did not return.
        error: the name of its error; empty where there was none.
        opened: the path behind a descriptor that it returned.
        injected: whether strace made it fail.
        working: the folder that its thread was last seen to work in; empty where none was.
    """

    thread: int
    name: str
    arguments: tuple[str, ...]
    texts: tuple[bytes, ...] = ()
    files: tuple[tuple[int, bytes], ...] = ()
    result: int | None = None
    error: str = ""
    opened: bytes | None = None
    injected: bool = False
    working: bytes = b""

    @property
    def flags(self) -> frozenset[str]:
        """The names in whichever argument is a set of flags."""
        words = (word for argument in self.arguments for word in argument.split("|"))
        return frozenset(word for word in words if word.isupper())

    @property
    def data(self) -> bytes | None:
        """What it was to write; None where the log does not hold it whole."""
        if self.name not in WRITES:
            return None
        if self.name in ("write", "pwrite64"):
            match = _STRING.fullmatch(self.arguments[1]) if len(self.arguments) > 1 else None
            if match is None or match[2]:
                return None
            data = unescape(match[1])
            return data if len(data) == self.number(2) else None
        parts = []
        for match in _VECTOR.finditer(self.arguments[1] if len(self.arguments) > 1 else ""):
            parts.append(unescape(match[1]))
            if match[2] or len(parts[-1]) != int(match[3]):
                return None
        return b"".join(parts)

    def number(self, position: int) -> int | None:
        """The argument at this position, where it is a number."""
        try:
            return int(self.arguments[position], 0)
        except (IndexError, ValueError):
            return None

    @property
    def folders(self) -> tuple[bytes, ...]:
        """For each text, the folder that it is taken from where it is no absolute path."""
        found = []
        folder = self.working
        for argument in self.arguments:
            match = _DESCRIPTOR.fullmatch(argument)
            if match is not None:
                folder = unescape(match[2])
            elif _STRING.fullmatch(argument):
                found.append(folder)
        return tuple(found)

    @property
    def paths(self) -> tuple[bytes, ...]:
        """What it touches, as absolute paths where the log tells: texts resolved, then files."""
        if self.texts:  # a descriptor beside a text is the folder that it is taken from
            skipped = 1 if self.name in ("symlink", "symlinkat") else 0  # a link's own text
            named = zip(self.texts[skipped:], self.folders[skipped:], strict=True)
            return tuple(
                text if text.startswith(b"/") or not folder else folder + b"/" + text
                for text, folder in named
            )
        return tuple(path for number, path in self.files if number >= 0 and path[:1] == b"/")


def unescape(text: str) -> bytes:
    r"""The bytes of strace's `-xx`; of anything else, the text itself.

    >>> unescape("\\x61\\xc3")
    b'a\xc3'
    """
    if not text.startswith("\\x"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text.replace("\\x", ""))
    except ValueError:
        return text.encode("utf-8", "surrogateescape")


def read_log(lines: Iterable[str]) -> Iterator[Call]:
    """The calls of a log, in the order in which they ended; those that never ended come last.

    Lines that tell of signals and exits are passed over.

    Raises:
        TraceError: a line is none of strace's.
    """
    started: dict[int, str] = {}
    working: dict[int, bytes] = {}
    for line in lines:
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip("\n"))
        if match is None:
            raise TraceError(f"no line of strace's: {line[:80]!a}")
        thread = int(match[1])
        whole = _joined(thread, match[2], started)
        call = None if whole is None else _call(thread, whole)
        if call is not None:
            working[thread] = dict(call.files).get(_HERE, working.get(thread, b""))
            yield replace(call, working=working[thread])
    for thread, rest in started.items():
        call = _call(thread, f"{rest}) = ?")
        if call is not None:
            yield replace(call, working=working.get(thread, b""))


def _joined(thread: int, text: str, started: dict[int, str]) -> str | None:
    """A call in one piece; None for a signal, an exit, or a call that has only begun."""
    if text.startswith(("+++", "---", "????")):
        return None
    if text.endswith(_UNFINISHED):
        started[thread] = text.removesuffix(_UNFINISHED)
        return None
    resumed = _RESUMED.fullmatch(text)
    if resumed is None:
        return text
    before = started.pop(thread, None)  # None: begun before we came
    # What strace prints at a call's end stands behind what it printed at its begin.
    return None if before is None else before + resumed[2]


def _call(thread: int, text: str) -> Call | None:
    match = _STARTED.fullmatch(text)
    if match is None:
        return None  # strace's own remark
    name, rest = match[1], match[2]
    ended = _RESULT.fullmatch(rest)
    if ended is None:
        return None
    arguments = tuple(_split(ended[1]))
    value, behind = ended[2], ended[4] or ""
    error = _ERROR.match(behind)
    failed = value == "-1" and error is not None
    call = Call(
        thread=thread,
        name=name,
        arguments=arguments,
        result=None if value == "?" else int(value, 0),
        error=error[1] if failed and error is not None else "",
        opened=unescape(ended[3]) if ended[3] else None,
        injected="(INJECTED" in behind,
    )
    texts, files = [], []
    for position, argument in enumerate(arguments):
        found = _DESCRIPTOR.fullmatch(argument)
        if found is not None:
            number = _HERE if found[1] == "AT_FDCWD" else int(found[1])
            files.append((number, b"" if found[3] else unescape(found[2])))
        elif name in NAMES and (string := _STRING.fullmatch(argument)):
            if string[2]:
                raise TraceError(f"argument {position} of {name} is cut short")
            texts.append(unescape(string[1]))
    return replace(call, texts=tuple(texts), files=tuple(files))


def _split(text: str) -> Iterator[str]:
    """Apart at the commas outside brackets; texts are hexadecimal and hold none."""
    depth, begin = 0, 0
    for at, char in enumerate(text):
        if char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
        elif char == "," and depth == 0:
            yield text[begin:at].strip()
            begin = at + 1
    if text[begin:].strip():
        yield text[begin:].strip()
