"""Writes one file durably: at any instant the path holds the old content or the new, whole."""

import errno
import fcntl
import itertools
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_numbers = itertools.count()
_sync = getattr(os, "fdatasync", os.fsync)
_DIRECT = getattr(os, "O_DIRECT", 0)
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)  # what a file system says that has no direct writes


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: str, *, direct: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    if direct and _DIRECT:
        try:
            return os.open(path, flags | _DIRECT, 0o666)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    return os.open(path, flags, 0o666)


def _write(descriptor: int, content: memoryview, offset: int) -> int:
    """Write at `offset`; if that cannot be done directly, not directly."""
    try:
        return os.pwrite(descriptor, content, offset)
    except OSError as error:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if error.errno not in _REFUSED or not flags & _DIRECT:
            raise
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
        return os.pwrite(descriptor, content, offset)


def write_file(
    path: Path, content: memoryview, ends: Iterable[int] = (), *, direct: bool = False
) -> None:
    """Replace `path` by `content`, through a temporary file in the same folder.

    Args:
        path: the file.
        content: what it is to hold.
        ends: up to which byte the content is ready, rising; asked for more when that is written.
            What the last one leaves is ready too.
        direct: go past the page cache where the file system can: of a content whose address,
            length and `ends` are multiples of a page.

    Raises:
        OSError: a step failed, and names `path`; no temporary file is left, and the old file is
            untouched (but where only forcing the new name failed, the new file is in place).
        Exception: whatever `ends` raised; then, too, no temporary file is left.
    """
    name = os.fspath(path)
    folder = os.path.dirname(name) or "."  # noqa: PTH120  # a Path takes longer than the rename
    temporary = f"{folder}/.saving-{os.getpid()}-{next(_numbers)}.tmp"
    try:
        descriptor = _create(temporary, direct=direct)
        try:
            written = 0
            for end in itertools.chain(ends, (len(content),)):
                while written < end:
                    written += _write(descriptor, content[written:end], written)
            _sync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, name)  # noqa: PTH105
        sync_folder(folder)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, name) from error
        raise
