"""Trainers that do not go on from the checkpoint that they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class IgnoresTheCheckpoint(Trainer):
    """Starts afresh where it should resume."""

    rule = "RESUME-001"
    in_files = False

    def resume(self, which: str) -> None:
        pass


class RestartsAtOne(Trainer):
    """Loads the weights and the watermark and counts epochs from 1."""

    rule = "RESUME-001"
    in_files = False

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.epoch = 0


class RepeatsTheStoredEpoch(Trainer):
    """Trains the stored epoch again."""

    rule = "RESUME-001"
    in_files = False

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.epoch -= 1


class SkipsAnEpoch(Trainer):
    """Counts the stored epoch twice when it resumes."""

    rule = "RESUME-001"
    in_files = False

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.epoch += 1


class ResumesTheGreatestName(Trainer):
    """Takes the last of the sorted names for the last epoch: 9 for 10."""

    rule = "RESUME-001"
    in_files = False
    epochs = 11
    examples = 200

    def last_path(self) -> Path | None:
        return max(self.periodic_paths(), default=super().last_path())


class ResumesTheOldest(Trainer):
    """Sorts the epochs the wrong way round."""

    rule = "RESUME-001"
    in_files = False
    epochs = 3

    def last_path(self) -> Path | None:
        return min(self.run.glob("nn/*.pth"), key=self.stored_epoch, default=None)


class ResumesTheBestAsLast(Trainer):
    """Resumes from the best whatever it is asked for."""

    rule = "RESUME-001"
    in_files = False
    epochs = 3
    examples = 100

    def last_path(self) -> Path | None:
        return self.best_path() or super().last_path()


class ResumesTheLastAsBest(Trainer):
    """Resumes from the last whatever it is asked for."""

    rule = "RESUME-001"
    in_files = False
    epochs = 3
    examples = 200

    def best_path(self) -> Path | None:
        return self.last_path()


class ResumesTheHighestReward(Trainer):
    """Takes the periodic checkpoint of the highest reward for the last."""

    rule = "RESUME-001"
    in_files = False
    epochs = 3
    examples = 100

    def last_path(self) -> Path | None:
        periodic = self.periodic_paths()
        return max(periodic, key=self.named_reward, default=super().last_path())
