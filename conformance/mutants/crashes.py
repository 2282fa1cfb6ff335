"""Trainers whose saves do not survive, and one whose saves survive anything: for `crash`.

Left alone each keeps the convention. The class's name is the defect, the docstring what it does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class WritesInPlace(Trainer):
    """Opens the checkpoint itself for writing, as `torch.save` with a path does."""

    rule = "INTEGRITY-002"
    also = frozenset({"INTEGRITY-001", "INTEGRITY-003"})  # a periodic one, and a full disk

    def write(self, path: Path, data: bytes) -> None:
        """Write to the final name, the old bytes gone."""
        path.write_bytes(data)


class OverwritesInPlace(Trainer):
    """Writes over the old bytes and cuts off what is left of them: torn within one write alone."""

    rule = "INTEGRITY-002"
    also = frozenset({"INTEGRITY-001", "INTEGRITY-003"})  # a periodic one, and a full disk

    def write(self, path: Path, data: bytes) -> None:
        """Write to the final name, over the old bytes."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            done = 0
            while done < len(data):
                done += stream.write(data[done:])
            stream.truncate()


class RemovesBeforeRename(Trainer):
    """Deletes the old checkpoint to make room for the new one's name."""

    rule = "INTEGRITY-002"
    also = frozenset({"INTEGRITY-003"})  # the rename may fail as well

    def write(self, path: Path, data: bytes) -> None:
        """Delete, then rename."""
        temporary = path.with_name(f".saving-{os.getpid()}.tmp")
        temporary.write_bytes(data)
        path.unlink(missing_ok=True)
        temporary.replace(path)


class MovesTheOldAside(Trainer):
    """Renames the old checkpoint to a backup first."""

    rule = "INTEGRITY-002"
    also = frozenset({"INTEGRITY-003"})  # the second rename may fail

    def write(self, path: Path, data: bytes) -> None:
        """Rename twice."""
        temporary = path.with_name(f".saving-{os.getpid()}.tmp")
        temporary.write_bytes(data)
        backup = path.with_name(f".{path.name}.bak")
        with suppress(FileNotFoundError):
            path.replace(backup)
        temporary.replace(path)
        backup.unlink(missing_ok=True)


class IgnoresFullDisk(Trainer):
    """Takes a save that fails for none that matters."""

    rule = "INTEGRITY-003"

    def write(self, path: Path, data: bytes) -> None:
        """Say nothing."""
        with suppress(OSError):
            super().write(path, data)


class RenamesWhatCame(Trainer):
    """Renames the temporary file whether or not all of it was written."""

    rule = "INTEGRITY-003"
    also = frozenset({"INTEGRITY-001"})  # a periodic one

    def write(self, path: Path, data: bytes) -> None:
        """Look at neither the error nor the length."""
        temporary = path.with_name(f".saving-{os.getpid()}.tmp")
        with suppress(OSError), temporary.open("wb", buffering=0) as stream:
            stream.write(data)
        temporary.replace(path)


class FallsBackInPlace(Trainer):
    """Writes in place where the temporary file cannot be written."""

    rule = "INTEGRITY-003"
    also = frozenset({"INTEGRITY-001"})  # a periodic one

    def write(self, path: Path, data: bytes) -> None:
        """Try once more, the worse way."""
        try:
            super().write(path, data)
        except OSError:
            path.write_bytes(data)


class SavesDurably(Trainer):
    """Forces the file to the disk before its name and the folder after, and cleans up behind it."""

    def write(self, path: Path, data: bytes) -> None:
        """Write as the rules' remedy says."""
        temporary = path.with_name(f".saving-{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


CRASHES: tuple[type[Trainer], ...] = (
    WritesInPlace,
    OverwritesInPlace,
    RemovesBeforeRename,
    MovesTheOldAside,
    IgnoresFullDisk,
    RenamesWhatCame,
    FallsBackInPlace,
)
