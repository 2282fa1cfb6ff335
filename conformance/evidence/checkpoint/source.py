"""Bounded reading of one regular file: whole when small, in chunks when large, never mapped."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from typing import TYPE_CHECKING

from conformance.evidence.checkpoint.errors import RefusalError, damaged
from conformance.evidence.checkpoint.values import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

WHOLE = 4 << 20
"""Files up to this many bytes are read at once."""
CHUNK = 1 << 20


class Source:
    """An open regular file. Short reads mean that the file ends there.

    `data` holds all of a small file, `identity` tells whether a path still leads to the same bytes.

    Raises:
        RefusalError: at construction, for whatever is no readable regular file.
    """

    __slots__ = ("_file", "_view", "data", "identity", "size")

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        try:
            status = os.fstat(self._file.fileno())
            _check_regular(status)
            self.size: int = status.st_size
            self.identity = _identity(status)
            self.data: bytes | None = None
            if self.size <= WHOLE:
                self.data = self._pull(0, self.size)
                self._view = memoryview(self.data)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Closes the file; `contextlib.closing` does it at the end of a block."""
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Returns at most `length` bytes at `offset`, fewer where the file ends."""
        if offset >= self.size:
            return b""
        if self.data is not None:
            return self.data[offset : offset + length]
        return self._pull(offset, min(length, self.size - offset))

    def chunks(self, offset: int, length: int) -> Iterator[bytes | memoryview]:
        """Yields the bytes from `offset` on, a chunk at a time; stops where the file ends."""
        if self.data is not None:
            yield self._view[offset : offset + length]
            return
        while length > 0:
            chunk = self.read(offset, min(length, CHUNK))
            if not chunk:
                return
            yield chunk
            offset += len(chunk)
            length -= len(chunk)

    def crc32(self, offset: int, length: int) -> int:
        """Returns the CRC-32 of a range of the file."""
        if self.data is not None:
            return zlib.crc32(self._view[offset : offset + length])
        value = 0
        for chunk in self.chunks(offset, length):
            value = zlib.crc32(chunk, value)
        return value

    def _pull(self, offset: int, length: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(length)
            while len(data) < length:
                more = self._file.read(length - len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise RefusalError(FaultKind.UNREADABLE, f"cannot be read: {_reason(error)}") from error
        if len(data) < length:
            raise damaged(
                f"the file shrank while it was read, to less than {offset + length} bytes"
            )
        return data


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _open(path: Path) -> FileIO:
    try:
        _check_regular(os.stat(path))  # noqa: PTH116 - cheaper than Path.stat; every file pays
        return open(path, "rb", buffering=0, opener=_opener)
    except ValueError as error:
        message = "no file can have this name (it holds a NUL)"
        raise RefusalError(FaultKind.UNREADABLE, message) from error
    except OSError as error:
        raise _failure(path, error) from error


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusalError(FaultKind.NOT_REGULAR, f"not a regular file but {_kind(status)}")


def _opener(path: str, flags: int) -> int:
    # A FIFO that took the file's place since the stat must not make the open wait for a writer.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _failure(path: Path, error: OSError) -> RefusalError:
    if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
        return RefusalError(FaultKind.NOT_REGULAR, f"cannot be opened: {_reason(error)}")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:
            is_link = False
        if is_link:
            return RefusalError(FaultKind.NOT_REGULAR, "a symbolic link to nothing")
    return RefusalError(FaultKind.UNREADABLE, f"cannot be read: {_reason(error)}")


def _reason(error: OSError) -> str:
    return ascii(error.strerror or type(error).__name__)[1:-1]


def _kind(status: os.stat_result) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((name for test, name in kinds if test(status.st_mode)), "something else")
