"""Opens regular files and nothing else: no FIFO is waited for, no device is touched."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV)
_NOTHING = (errno.ENOENT, errno.ENOTDIR)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class NotRegularError(Exception):
    """What stands there is no regular file; the text says what it is."""


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading, unbuffered; symbolic links are followed.

    Raises:
        NotRegularError: a folder, FIFO, socket, device, or a link that loops or leads nowhere.
        OSError: it cannot be opened.
    """
    try:
        _check(os.stat(path))  # noqa: PTH116 - cheaper than Path.stat; every file pays
        # What takes the file's place now must not make the open wait.
        file = open(path, "rb", buffering=0, opener=_opener)  # noqa: SIM115
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name holds a NUL") from error
    except OSError as error:
        if error.errno in _NO_FILE or (error.errno in _NOTHING and os.path.islink(path)):  # noqa: PTH114
            raise NotRegularError(f"not a regular file: {error.strerror}") from error
        raise
    try:
        _check(os.fstat(file.fileno()))
    except NotRegularError:
        file.close()
        raise
    return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise NotRegularError(f"not a regular file but {kind}")
