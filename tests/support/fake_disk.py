"""A fake disk for tests of what reads and writes files, and a guard that nothing leaves it.

`pyfakefs` replaces Python's file functions. Code in C or C++ does not ask it: `torch.save(obj,
path)` writes to the real disk, unseen. Here each test has a folder that exists twice, fake and
real; the real one is also the working and the temporary folder, and has to stay empty. Torch's own
writer is refused before it opens a file.

A test module that says `pytest_plugins = ["fake_disk"]` has the fixtures. It may import the names
as well, earlier than pytest does: hence PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyfakefs.fake_filesystem_unittest import Pause
from pyfakefs.helpers import reset_ids, set_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyfakefs.fake_filesystem import FakeFilesystem

NOBODY = 65534


class EscapedWriteError(AssertionError):
    """Something was written, or was about to be, to the real disk."""


@dataclass(frozen=True)
class FakeDisk:
    """A fake file system whose faults can be asked for.

    Attributes:
        fs: pyfakefs' own.
        folder: an empty folder; its real namesake stays empty.
    """

    fs: FakeFilesystem
    folder: Path

    def leave(self, free: int) -> None:
        """Leave `free` bytes of the disk: a write that needs more fails with ENOSPC."""
        folder = str(self.folder)  # on /tmp, which may be a disk of its own
        self.fs.set_disk_usage(2**40, folder)  # nothing counts as used on a disk without limits
        self.fs.set_disk_usage(self.fs.get_disk_usage(folder).used + free, folder)

    def become_nobody(self) -> None:
        """Give up being root, whom no permission stops."""
        set_uid(NOBODY)


def only_file_objects(native: Callable[..., Any]) -> Callable[..., Any]:
    """Return torch's archive writer, refusing paths."""

    def make(target: object, *arguments: object, **options: object) -> object:
        if isinstance(target, (str, bytes, os.PathLike)):
            raise EscapedWriteError(
                f"torch's writer would open {target!s} on the real disk: save to a file object"
            )
        return native(target, *arguments, **options)

    return make


@contextmanager
def guarded(fs: FakeFilesystem, folder: Path) -> Iterator[None]:
    """Raise EscapedWriteError if something is written natively while the block runs.

    Args:
        fs: the fake file system in use.
        folder: where native writes would end; really there, and empty.
    """
    with pytest.MonkeyPatch.context() as patch:
        if (torch := sys.modules.get("torch")) is not None:
            native = torch._C.PyTorchFileWriter
            patch.setattr(torch._C, "PyTorchFileWriter", only_file_objects(native))
        yield
    with Pause(fs):
        escaped = sorted(str(path) for path in folder.rglob("*"))
    if escaped:
        raise EscapedWriteError(f"written on the real disk: {', '.join(escaped)}")


@pytest.fixture
def real_folder(tmp_path: Path) -> Iterator[Path]:
    """A real, empty folder, to which relative paths and temporary files would go."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:  # a test may undo its own at any time
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture
def fake_disk(real_folder: Path, fs: FakeFilesystem) -> Iterator[FakeDisk]:
    """A fake disk; the test fails if anything was written to the real one."""
    folder = Path(str(real_folder))  # a path of the fake disk
    fs.makedirs(folder, exist_ok=True)
    try:
        with guarded(fs, real_folder):
            yield FakeDisk(fs, folder)
    finally:
        reset_ids()
