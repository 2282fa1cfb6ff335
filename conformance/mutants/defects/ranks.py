"""Trainers that let a second rank write a run of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class MakesAFolderForEachRank(Trainer):
    """Lets a second rank make a run folder of its own."""

    rule = "RANK-001"
    in_files = False
    epochs = 1

    def begin(self) -> None:
        super().begin()
        twin = self.scenario.root / f"{self.scenario.experiment}_1"
        for folder in ("nn", "summaries"):
            (twin / folder).mkdir(parents=True, exist_ok=True)


class SavesOnEachRank(Trainer):
    """Lets a second rank save into a run folder of its own."""

    rule = "RANK-001"
    in_files = False
    epochs = 1

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        twin = self.scenario.root / f"{self.scenario.experiment}_1" / "nn"
        twin.mkdir(parents=True, exist_ok=True)
        (twin / path.name).write_bytes(data)
