"""Trainers that break a rule on periodic checkpoints: in which epochs, and in which order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from conformance.mutants.trainer import FRAMES, Trainer

if TYPE_CHECKING:
    from pathlib import Path

# --- which epochs are periodic --------------------------------------------------------------


class SavesNothingPeriodic(Trainer):
    """Saves the best alone."""

    rule = "CADENCE-002"
    epochs = 1

    def is_periodic(self) -> bool:
        return False


class GuardsPeriodicSaves(Trainer):
    """Writes no periodic checkpoint where it writes a best."""

    rule = "CADENCE-002"
    epochs = 1

    def save_due(self, reward: float) -> None:
        if self.improves(reward):
            self.keep_watermark(reward)
            self.save_best(reward)
        elif self.is_periodic():
            self.save_periodic(reward)


class HasTheLegacyGuard(Trainer):
    """Writes a periodic checkpoint only below the watermark, as rl_games did up to 1.6.0."""

    rule = "CADENCE-002"
    epochs = 1

    def is_periodic(self) -> bool:
        return super().is_periodic() and self.reward <= self.watermark


class SavesPeriodicOnlyIfBetter(Trainer):
    """Writes a periodic checkpoint only at a new best."""

    rule = "CADENCE-002"
    epochs = 1

    def is_periodic(self) -> bool:
        return super().is_periodic() and self.reward > self.watermark


class SkipsPeriodicOnNan(Trainer):
    """Writes no periodic checkpoint under a reward of NaN."""

    rule = "CADENCE-002"
    epochs = 1
    examples = 100

    def is_periodic(self) -> bool:
        return super().is_periodic() and not math.isnan(self.reward)


class SkipsTheFirstPeriodic(Trainer):
    """Writes no periodic checkpoint at the first multiple."""

    rule = "CADENCE-002"
    epochs = 1

    def is_periodic(self) -> bool:
        return super().is_periodic() and self.epoch != self.scenario.save_freq


class SkipsTheLastPeriodic(Trainer):
    """Stops before the periodic save of the last epoch."""

    rule = "CADENCE-002"
    epochs = 1

    def is_periodic(self) -> bool:
        return super().is_periodic() and self.epoch < self.scenario.max_epochs


class KeepsTheNewestPeriodic(Trainer):
    """Deletes the periodic checkpoints before this one."""

    rule = "CADENCE-002"

    def save_periodic(self, reward: float) -> None:
        for path in self.periodic_paths():
            path.unlink()
        super().save_periodic(reward)


class KeepsTwoPeriodic(Trainer):
    """Deletes all periodic checkpoints of a session but the newest two."""

    rule = "CADENCE-002"
    epochs = 3
    saved: tuple[Path, ...] = ()

    def save_periodic(self, reward: float) -> None:
        super().save_periodic(reward)
        self.saved = (*self.saved, self.path(self.periodic_name(reward)))
        for path in self.saved[:-2]:
            path.unlink(missing_ok=True)


class CleansUpAtTheEnd(Trainer):
    """Deletes the periodic checkpoints when the training is done."""

    rule = "CADENCE-002"
    epochs = 1

    def end(self) -> None:
        for path in self.periodic_paths():
            path.unlink()


class CleansUpOnResume(Trainer):
    """Deletes the earlier session's periodic checkpoints when it resumes."""

    rule = "CADENCE-002"
    in_files = False

    def restore(self, path: Path) -> None:
        super().restore(path)
        for old in self.periodic_paths():
            old.unlink()


class CountsEpochsFromZero(Trainer):
    """Takes the modulo of an epoch counted from 0."""

    rule = "CADENCE-001"
    epochs = 1
    also = frozenset({"CADENCE-002"})  # the multiple itself is missing

    def is_periodic(self) -> bool:
        return self.scenario.save_freq > 0 and (self.epoch - 1) % self.scenario.save_freq == 0


class SavesBeforeTheMultiple(Trainer):
    """Takes the modulo of the next epoch."""

    rule = "CADENCE-001"
    epochs = 1
    also = frozenset({"CADENCE-002"})  # the multiple itself is missing

    def is_periodic(self) -> bool:
        return self.scenario.save_freq > 0 and (self.epoch + 1) % self.scenario.save_freq == 0


class SavesAtRemainderOne(Trainer):
    """Writes `epoch % save_freq == 1`, which a save_freq of 1 never satisfies."""

    rule = "CADENCE-001"
    epochs = 1
    also = frozenset({"CADENCE-002"})  # the multiple itself is missing

    def is_periodic(self) -> bool:
        return self.scenario.save_freq > 0 and self.epoch % self.scenario.save_freq == 1


class SavesTheFirstEpoch(Trainer):
    """Writes a periodic checkpoint in the first epoch too."""

    rule = "CADENCE-001"
    epochs = 1

    def is_periodic(self) -> bool:
        return super().is_periodic() or (self.epoch == 1 and self.scenario.save_freq > 0)


class SavesTheLastEpoch(Trainer):
    """Writes a periodic checkpoint in the last epoch too."""

    rule = "CADENCE-001"
    epochs = 1

    def is_periodic(self) -> bool:
        last = self.epoch == self.scenario.max_epochs and self.scenario.save_freq > 0
        return super().is_periodic() or last


class SavesEveryImprovement(Trainer):
    """Writes a periodic checkpoint at each new best too."""

    rule = "CADENCE-001"
    epochs = 1

    def is_periodic(self) -> bool:
        better = self.scenario.save_freq > 0 and self.improves(self.reward)
        return super().is_periodic() or better


class CountsFrames(Trainer):
    """Takes the modulo of the environment steps."""

    rule = "CADENCE-001"
    epochs = 1

    def is_periodic(self) -> bool:
        return self.scenario.save_freq > 0 and self.epoch * FRAMES % self.scenario.save_freq == 0


class CountsEpisodes(Trainer):
    """Takes the modulo of the epochs with a reward, not of all."""

    rule = "CADENCE-001"
    epochs = 3
    examples = 500
    also = frozenset({"CADENCE-002"})  # the multiple itself is missing
    known = 0

    def is_periodic(self) -> bool:
        self.known = self.epoch - self.scenario.rewards[: self.epoch].count(None)
        return self.scenario.save_freq > 0 and self.known % self.scenario.save_freq == 0


class CountsFromTheResume(Trainer):
    """Takes the modulo of the epochs since the process started."""

    rule = "CADENCE-001"
    epochs = 3
    examples = 200
    also = frozenset({"CADENCE-002"})  # the multiple itself is missing
    started = 0

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.started = self.epoch

    def is_periodic(self) -> bool:
        since = self.epoch - self.started
        return self.scenario.save_freq > 0 and since % self.scenario.save_freq == 0


class TakesZeroForOne(Trainer):
    """Guards the modulo against 0 with 1."""

    rule = "CADENCE-003"
    epochs = 1

    def is_periodic(self) -> bool:
        return self.epoch % max(self.scenario.save_freq, 1) == 0


class SavesTheLastEpochWithoutCadence(Trainer):
    """Writes one periodic checkpoint in the last epoch if save_freq is 0."""

    rule = "CADENCE-003"
    epochs = 1

    def is_periodic(self) -> bool:
        if self.scenario.save_freq:
            return super().is_periodic()
        return self.epoch == self.scenario.max_epochs


class SavesWithoutEpisodes(Trainer):
    """Writes periodic checkpoints under -inf before an episode has finished, as SAC does."""

    rule = "CADENCE-001"
    in_files = False
    epochs = 1
    examples = 200

    def play_epoch(self, reward: float | None) -> None:
        super().play_epoch(reward)
        if reward is None and self.is_periodic():
            self.save_periodic(-math.inf)


# --- in which order -------------------------------------------------------------------------


class SavesTheBestFirst(Trainer):
    """Writes the best before the periodic checkpoint."""

    rule = "CADENCE-005"
    in_files = False
    epochs = 1
    examples = 100

    def save_due(self, reward: float) -> None:
        if self.improves(reward):
            self.keep_watermark(reward)
            self.save_best(reward)
        if self.is_periodic():
            self.save_periodic(reward)


class HoldsPeriodicBack(Trainer):
    """Base of those that write periodic checkpoints, as they were, later."""

    held: tuple[tuple[Path, bytes], ...] = ()

    def save_periodic(self, reward: float) -> None:
        self.saving_best = False
        now = self.path(self.periodic_name(reward)), self.encode(self.state())
        self.held = (*self.held, now)

    def release(self) -> None:
        """Write what was held back, in its order."""
        for path, data in self.held:
            self.write(path, data)
        self.held = ()


class WritesPeriodicAnEpochLate(HoldsPeriodicBack):
    """Writes each periodic checkpoint after the next epoch, behind the best of its own."""

    rule = "CADENCE-005"
    in_files = False
    epochs = 1
    examples = 100

    def play_epoch(self, reward: float | None) -> None:
        self.release()
        super().play_epoch(reward)

    def end(self) -> None:
        self.release()


class WritesPeriodicAtTheEnd(HoldsPeriodicBack):
    """Writes all periodic checkpoints after the last epoch."""

    rule = "CADENCE-005"
    in_files = False
    epochs = 1
    examples = 100

    def end(self) -> None:
        self.release()


class WritesPeriodicInReverse(HoldsPeriodicBack):
    """Writes all periodic checkpoints after the last epoch, the newest first."""

    rule = "CADENCE-004"
    in_files = False
    also = frozenset({"CADENCE-005"})  # behind the best

    def end(self) -> None:
        self.held = self.held[::-1]
        self.release()


class SwapsPeriodicPairs(HoldsPeriodicBack):
    """Writes periodic checkpoints two at a time, the newer first."""

    rule = "CADENCE-004"
    in_files = False
    also = frozenset({"CADENCE-005"})  # behind the best

    def save_periodic(self, reward: float) -> None:
        super().save_periodic(reward)
        if len(self.held) == 2:
            self.end()

    def end(self) -> None:
        self.held = self.held[::-1]
        self.release()
