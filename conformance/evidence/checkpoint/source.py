"""Bounded reading of one regular file: whole when small, in chunks when large, never mapped."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from conformance.evidence.checkpoint.errors import RefusalError, damaged
from conformance.evidence.checkpoint.values import FaultKind
from conformance.evidence.regular_files import NotRegularError, open_regular

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
        return open_regular(path)
    except NotRegularError as error:
        raise RefusalError(FaultKind.NOT_REGULAR, str(error)) from error
    except OSError as error:
        raise RefusalError(FaultKind.UNREADABLE, f"cannot be read: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return ascii(error.strerror or type(error).__name__)[1:-1]
