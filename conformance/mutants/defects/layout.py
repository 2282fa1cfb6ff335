"""Trainers that break a rule on where files stand in a run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class SavesInTheRunFolder(Trainer):
    """Writes checkpoints beside nn/."""

    rule = "LAYOUT-001"
    epochs = 1

    def path(self, name: str) -> Path:
        return self.run / f"{name}.pth"


class SavesInASubfolder(Trainer):
    """Writes checkpoints into a folder of nn/."""

    rule = "LAYOUT-001"
    epochs = 1

    def path(self, name: str) -> Path:
        folder = self.run / "nn" / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.pth"


class NestsTheRun(Trainer):
    """Adds the experiment's name to a path that has it already."""

    rule = "LAYOUT-001"
    epochs = 1

    def path(self, name: str) -> Path:
        folder = self.run / self.scenario.experiment / "nn"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.pth"


class CopiesTheBestBeside(Trainer):
    """Copies the best into the run's folder for uploading."""

    rule = "LAYOUT-001"
    epochs = 1

    def save_best(self, reward: float) -> None:
        super().save_best(reward)
        shutil.copyfile(self.path(self.best_name()), self.run / "best.pth")


class WritesNoLog(Trainer):
    """Makes summaries/ and logs nowhere."""

    rule = "LAYOUT-002"
    epochs = 1

    def write_events(self, data: bytes) -> None:
        pass


class LogsIntoTheRunFolder(Trainer):
    """Writes the event file beside summaries/."""

    rule = "LAYOUT-002"
    epochs = 1

    def begin(self) -> None:
        super().begin()
        self.events = self.events.rename(self.run / self.events.name)


class LogsIntoASubfolder(Trainer):
    """Writes the event file into a folder of summaries/."""

    rule = "LAYOUT-002"
    epochs = 1

    def begin(self) -> None:
        super().begin()
        folder = self.events.parent / "train"
        folder.mkdir(exist_ok=True)
        self.events = self.events.rename(folder / self.events.name)


class LeavesTemporaryFiles(Trainer):
    """Copies a checkpoint into place and leaves the temporary file."""

    rule = "LAYOUT-003"
    epochs = 1

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        path.with_name(f"{path.name}.tmp").write_bytes(data)


class NotesTheEpochBeside(Trainer):
    """Keeps its own notes in nn/."""

    rule = "LAYOUT-003"
    epochs = 1

    def play_epoch(self, reward: float | None) -> None:
        super().play_epoch(reward)
        (self.run / "nn" / "state.json").write_text(f'{{"epoch": {self.epoch}}}\n')


class WritesEmptyFiles(Trainer):
    """Reserves the periodic checkpoint's name and writes nothing."""

    rule = "LAYOUT-004"
    epochs = 1

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data if self.saving_best else b"")


class SavesAFolder(Trainer):
    """Writes the periodic checkpoint as a folder of shards."""

    rule = "LAYOUT-004"
    epochs = 1

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            super().write(path, data)
            return
        path.mkdir(exist_ok=True)
        (path / "shard-0").write_bytes(data)


class LinksOutOfTheRun(Trainer):
    """Writes the best beside the run and links to it."""

    rule = "LAYOUT-004"
    epochs = 1
    also = frozenset({"LAYOUT-005"})  # it is a symbolic link

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            store = self.scenario.root / f"{self.scenario.experiment}-best"
            store.write_bytes(data)
            path.unlink(missing_ok=True)
            path.symlink_to(store)
        else:
            super().write(path, data)


class LinksToNowhere(Trainer):
    """Links to a best that a cleanup has removed."""

    rule = "LAYOUT-004"
    epochs = 1
    also = frozenset({"LAYOUT-005"})  # it is a symbolic link

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            path.unlink(missing_ok=True)
            path.symlink_to("removed")
        else:
            super().write(path, data)


class LinksTheBest(Trainer):
    """Writes the best elsewhere in the run and links to it."""

    rule = "LAYOUT-005"
    epochs = 1

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            (self.run / "best").write_bytes(data)
            path.unlink(missing_ok=True)
            path.symlink_to("../best")
        else:
            super().write(path, data)
