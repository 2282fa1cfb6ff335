"""Trainers with one defect each: the class's name is the defect, the docstring what it does."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from conformance.fixtures.archive import (
    Array,
    Call,
    Global,
    Storage,
    array,
    floats,
    numpy_scalar,
    zip_checkpoint,
)
from conformance.fixtures.events import Scalar
from conformance.mutants.trainer import FRAMES, Trainer, single

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# --- which rewards count as better ----------------------------------------------------------


class RewritesOnTie(Trainer):
    """Compares with >= where > is due."""

    rule = "BEST-003"

    def improves(self, reward: float) -> bool:
        return reward >= self.watermark


class BestIsLatest(Trainer):
    """Overwrites the best in every epoch."""

    rule = "BEST-004"

    def improves(self, reward: float) -> bool:
        return True


class ComparesWithPrevious(Trainer):
    """Compares with the previous epoch's reward, not the highest so far."""

    rule = "BEST-004"
    epochs = 3
    examples = 100
    also = frozenset({"BEST-005", "BEST-008"})  # nothing exceeds a NaN; once resumed it looks reset
    previous = -math.inf

    def improves(self, reward: float) -> bool:
        better, self.previous = reward > self.previous, reward
        return better


class ComparesWithTheMean(Trainer):
    """Compares with the mean of the rewards so far."""

    rule = "BEST-004"
    epochs = 3
    examples = 200
    # A mean of NaN or inf is never exceeded; once resumed it looks reset.
    also = frozenset({"BEST-005", "BEST-006", "BEST-008"})
    total = 0.0
    count = 0

    def improves(self, reward: float) -> bool:
        mean = self.total / self.count if self.count else -math.inf
        self.total += reward
        self.count += 1
        return reward > mean


class ComparesMagnitudes(Trainer):
    """Compares absolute values."""

    rule = "BEST-004"
    examples = 100
    also = frozenset({"BEST-006"})  # from -5 to 1 is no improvement

    def improves(self, reward: float) -> bool:
        if self.watermark == -math.inf:
            return reward > self.watermark
        return abs(reward) > abs(self.watermark)


class LowerIsBetter(Trainer):
    """Keeps the lowest reward, as for a cost."""

    rule = "BEST-004"
    # The higher one is not saved; once resumed it looks reset.
    also = frozenset({"BEST-006", "BEST-008"})

    def improves(self, reward: float) -> bool:
        if self.watermark == -math.inf:
            return reward > self.watermark
        return reward < self.watermark


class NegatedComparison(Trainer):
    """Writes `not reward <= watermark`, which a NaN satisfies."""

    rule = "BEST-005"
    examples = 200

    def improves(self, reward: float) -> bool:
        return not reward <= self.watermark


class PoisonedByNan(Trainer):
    """Lets a NaN become the watermark, which nothing exceeds."""

    rule = "BEST-005"

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        if math.isnan(reward):
            self.watermark = reward


class TakesTheMaximumWithNan(Trainer):
    """Writes `watermark = max(reward, watermark)`, which keeps a NaN that comes first."""

    rule = "BEST-005"
    examples = 200

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        self.watermark = max(reward, self.watermark)


class TakesNanForZero(Trainer):
    """Cleans NaN rewards after they were logged."""

    rule = "BEST-005"
    examples = 200
    also = frozenset({"SUMMARY-002"})  # a NaN is named 0.0

    def save_due(self, reward: float) -> None:
        super().save_due(0.0 if math.isnan(reward) else reward)


class StopsAtNan(Trainer):
    """Saves nothing more once a reward was NaN."""

    rule = "BEST-005"
    also = frozenset({"CADENCE-002"})  # the periodic ones are missing too
    stopped = False

    def save_due(self, reward: float) -> None:
        self.stopped = self.stopped or math.isnan(reward)
        if not self.stopped:
            super().save_due(reward)


class NeedsAMargin(Trainer):
    """Wants an improvement of more than one."""

    rule = "BEST-006"

    def improves(self, reward: float) -> bool:
        return reward > self.watermark + 1.0


class NeedsAPercentage(Trainer):
    """Wants a tenth more, which below zero is a tenth less."""

    rule = "BEST-006"
    examples = 100
    also = frozenset({"BEST-004"})  # below zero

    def improves(self, reward: float) -> bool:
        return reward > self.watermark * 1.1


class ComparesRounded(Trainer):
    """Compares two decimals."""

    rule = "BEST-006"
    examples = 100

    def improves(self, reward: float) -> bool:
        return round(reward, 2) > round(self.watermark, 2)


class ComparesWholeNumbers(Trainer):
    """Compares integers."""

    rule = "BEST-006"
    examples = 100

    def improves(self, reward: float) -> bool:
        return _whole(reward) > _whole(self.watermark)


class ComparesHalfPrecision(Trainer):
    """Compares float16."""

    rule = "BEST-006"
    examples = 100

    def improves(self, reward: float) -> bool:
        return _half(reward) > _half(self.watermark)


class ComparesWithTolerance(Trainer):
    """Takes what is close for equal."""

    rule = "BEST-006"
    examples = 100

    def improves(self, reward: float) -> bool:
        return reward > self.watermark and not math.isclose(reward, self.watermark, rel_tol=1e-5)


class IgnoresNegatives(Trainer):
    """Starts from 0: negative rewards never improve."""

    rule = "BEST-001"
    epochs = 1

    def improves(self, reward: float) -> bool:
        return reward > max(self.watermark, 0.0)


class IgnoresBelow100500(Trainer):
    """Starts from -100500, as rl_games did: what is lower never improves."""

    rule = "BEST-001"
    epochs = 1
    examples = 100

    def improves(self, reward: float) -> bool:
        return reward > max(self.watermark, -100500.0)


class IgnoresBelowMinusBillion(Trainer):
    """Starts from -1e9, as rl_games does: what is lower never improves."""

    rule = "BEST-001"
    epochs = 1
    examples = 100

    def improves(self, reward: float) -> bool:
        return reward > max(self.watermark, -1e9)


class IgnoresInfinity(Trainer):
    """Takes an infinite reward for a mistake."""

    rule = "BEST-006"
    examples = 200

    def improves(self, reward: float) -> bool:
        return math.isfinite(reward) and super().improves(reward)


class StoresAnInitialWatermark(Trainer):
    """Stores 0 as the watermark until a reward has improved."""

    rule = "SUMMARY-002"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = 0.0 if self.watermark == -math.inf else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


# --- when the best is written ---------------------------------------------------------------


class NeverSavesTheBest(Trainer):
    """Moves the watermark and saves nothing."""

    rule = "BEST-001"
    epochs = 1

    def save_best(self, reward: float) -> None:
        pass


class MissesTheFirstBest(Trainer):
    """Takes the first reward for the start, and saves what improves on it."""

    rule = "BEST-001"
    epochs = 1
    started = False

    def save_best(self, reward: float) -> None:
        if self.started:
            super().save_best(reward)
        self.started = True


class WaitsForTheBest(Trainer):
    """Saves no best in the first two epochs, as `save_best_after` has it elsewhere."""

    rule = "BEST-006"
    in_files = False
    epochs = 3
    examples = 100

    def improves(self, reward: float) -> bool:
        return self.epoch > 2 and super().improves(reward)


class SavesABestBeforeTraining(Trainer):
    """Saves the initial weights as the best."""

    rule = "BEST-001"
    epochs = 1

    def begin(self) -> None:
        super().begin()
        if not self.scenario.resume:
            self.save_best(math.nan)


class SavesABestWithoutEpisodes(Trainer):
    """Saves a best in epochs in which no episode has finished."""

    rule = "BEST-001"
    epochs = 1
    examples = 100

    def play_epoch(self, reward: float | None) -> None:
        super().play_epoch(reward)
        if reward is None:
            self.save_best(-math.inf)


class StopsAfterTheFirst(Trainer):
    """Saves the first best and no other."""

    rule = "BEST-006"

    def improves(self, reward: float) -> bool:
        return self.watermark == -math.inf and reward > self.watermark


class LooksOnlyAtPeriodicEpochs(Trainer):
    """Does the best save inside the periodic branch."""

    rule = "BEST-006"

    def improves(self, reward: float) -> bool:
        return self.is_periodic() and super().improves(reward)


class DefersTheBest(Trainer):
    """Keeps the best in memory until the next periodic epoch, or the end."""

    rule = "BEST-006"
    in_files = False
    kept: bytes | None = None

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        if self.is_periodic():
            self.end()

    def save_best(self, reward: float) -> None:
        self.saving_best = True
        self.kept = self.encode(self.state())

    def end(self) -> None:
        if self.kept is not None:
            self.write(self.path(self.best_name()), self.kept)
        self.kept = None


class SavesTheBestAtTheEnd(Trainer):
    """Keeps the best in memory and writes it once, after the last epoch."""

    rule = "BEST-006"
    in_files = False
    kept: bytes | None = None

    def save_best(self, reward: float) -> None:
        self.saving_best = True
        self.kept = self.encode(self.state())

    def end(self) -> None:
        if self.kept is not None:
            self.write(self.path(self.best_name()), self.kept)


class SavesTheBestAnEpochLate(Trainer):
    """Writes the best, as it was, after the saves of the next epoch."""

    rule = "BEST-006"
    in_files = False
    examples = 100
    kept: bytes | None = None

    def play_epoch(self, reward: float | None) -> None:
        late, self.kept = self.kept, None
        super().play_epoch(reward)
        if late is not None:
            self.write(self.path(self.best_name()), late)

    def save_best(self, reward: float) -> None:
        self.saving_best = True
        self.kept = self.encode(self.state())

    def end(self) -> None:
        if self.kept is not None:
            self.write(self.path(self.best_name()), self.kept)


class KeepsTheBestInMemory(Trainer):
    """Base of those that write the best again, with the bytes that it holds already."""

    kept: bytes | None = None

    def save_best(self, reward: float) -> None:
        super().save_best(reward)
        self.kept = self.path(self.best_name()).read_bytes()

    def save_again(self) -> None:
        """Write the best as it is."""
        if self.kept is not None:
            self.write(self.path(self.best_name()), self.kept)


class RewritesTheSameOnTie(KeepsTheBestInMemory):
    """Writes the best again on a tie, with the state that it holds already."""

    rule = "BEST-003"
    in_files = False
    examples = 200

    def save_due(self, reward: float) -> None:
        tied = reward == self.watermark
        super().save_due(reward)
        if tied:
            self.save_again()


class RewritesTheSameOnLower(KeepsTheBestInMemory):
    """Writes the best again on a lower reward, with the state that it holds already."""

    rule = "BEST-004"
    in_files = False

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        if reward < self.watermark:
            self.save_again()


class RewritesTheSameOnNan(KeepsTheBestInMemory):
    """Writes the best again on a NaN, with the state that it holds already."""

    rule = "BEST-005"
    in_files = False
    examples = 300

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        if math.isnan(reward):
            self.save_again()


class RewritesAndRestores(KeepsTheBestInMemory):
    """Saves a lower reward as the best, sees the mistake and puts the old one back."""

    rule = "BEST-004"
    in_files = False

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        if reward < self.watermark and self.kept is not None:
            self.saving_best = True
            self.save(self.best_name())
            self.save_again()


class SavesTheBestAgainAtTheEnd(Trainer):
    """Saves the state after the last epoch as the best."""

    rule = "BEST-004"

    def end(self) -> None:
        self.save_best(self.reward)


# --- what the best holds --------------------------------------------------------------------


class SavesStaleWeightsAsBest(Trainer):
    """Keeps the weights of the epoch before as the best's."""

    rule = "BEST-002"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        if not self.saving_best:
            return super().model()
        self.epoch -= 1
        try:
            return super().model()
        finally:
            self.epoch += 1


class SavesTheFirstWeightsAsBest(Trainer):
    """Copies the best's weights once and never again."""

    rule = "BEST-002"
    examples = 100
    copied: OrderedDict[str, object] | None = None

    def model(self) -> OrderedDict[str, object]:
        if not self.saving_best:
            return super().model()
        if self.copied is None:
            self.copied = super().model()
        return self.copied


class SavesTheBestBeforeTheUpdate(Trainer):
    """Saves weights and epoch of before the update under the reward of after it."""

    rule = "BEST-002"
    epochs = 1

    def save_best(self, reward: float) -> None:
        self.epoch -= 1
        super().save_best(reward)
        self.epoch += 1


class StoresThePreviousEpochInTheBest(Trainer):
    """Stores the epoch before it is counted, in the best."""

    rule = "BEST-002"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch - self.saving_best}


class StoresOldWatermark(Trainer):
    """Saves the best before it moves the watermark."""

    rule = "BEST-007"
    epochs = 1

    def save_due(self, reward: float) -> None:
        if self.is_periodic():
            self.save_periodic(reward)
        if self.improves(reward):
            self.save_best(reward)
            self.keep_watermark(reward)


class TruncatesTheWatermark(Trainer):
    """Stores the best's watermark as a whole number."""

    rule = "BEST-007"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = _whole(self.watermark) if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class RoundsTheWatermark(Trainer):
    """Stores the best's watermark with two decimals."""

    rule = "BEST-007"
    epochs = 1
    examples = 100
    also = frozenset({"BEST-003"})  # once resumed, a tie improves on what was stored

    def state(self) -> dict[str, object]:
        stored = round(self.watermark, 2) if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class HalvesTheWatermark(Trainer):
    """Stores the best's watermark as float16 holds it."""

    rule = "BEST-007"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = _half(self.watermark) if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class StoresTheCost(Trainer):
    """Stores the best's watermark with its sign turned."""

    rule = "BEST-007"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = -self.watermark if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class StoresItsOwnReward(Trainer):
    """Stores the epoch's reward where the watermark belongs."""

    rule = "SUMMARY-002"
    epochs = 1
    also = frozenset({"BEST-008"})  # once resumed it looks like a watermark that was lost

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": self.reward}


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


# --- the best's name ------------------------------------------------------------------------


class CallsItBest(Trainer):
    """Names the best checkpoint best.pth."""

    rule = "NAME-001"
    epochs = 1

    def best_name(self) -> str:
        return "best"


class CallsItModelBest(Trainer):
    """Names the best checkpoint <name>_best.pth."""

    rule = "NAME-001"
    epochs = 1

    def best_name(self) -> str:
        return f"{self.name}_best"


class SwapsTheCase(Trainer):
    """Names the best checkpoint in the other case."""

    rule = "NAME-001"
    epochs = 1

    def best_name(self) -> str:
        return self.name.swapcase()


class SavesTheBestAsPt(Trainer):
    """Gives the best checkpoint the suffix .pt."""

    rule = "NAME-001"
    epochs = 1

    def path(self, name: str) -> Path:
        path = super().path(name)
        return path.with_suffix(".pt") if name == self.best_name() else path


# --- periodic names -------------------------------------------------------------------------


class SavesPeriodicAsPt(Trainer):
    """Gives periodic checkpoints the suffix .pt."""

    rule = "NAME-002"
    epochs = 1
    also = frozenset({"RESUME-001"})  # it looks for .pth when it resumes

    def path(self, name: str) -> Path:
        path = super().path(name)
        return path if name == self.best_name() else path.with_suffix(".pt")


class WritesEqualsSigns(Trainer):
    """Names periodic checkpoints as rl_games 1.0 did."""

    rule = "NAME-002"
    epochs = 1
    also = frozenset({"NAME-008"})  # for the equals signs

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep={self.epoch}rew={self.text(reward)}"


class WritesUnderscores(Trainer):
    """Names periodic checkpoints as rl_games does from 1.1.1 on."""

    rule = "NAME-002"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}_ep_{self.epoch}_rew_{self.text(reward)}"


class DropsThePrefix(Trainer):
    """Leaves `last_` out of periodic names."""

    rule = "NAME-002"
    epochs = 1
    also = frozenset({"NAME-003"})  # the run's name may itself begin with last_

    def periodic_name(self, reward: float) -> str:
        return super().periodic_name(reward).removeprefix("last_")


class DropsTheReward(Trainer):
    """Leaves the reward out of periodic names."""

    rule = "NAME-002"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch}"


class NamesATimestamp(Trainer):
    """Names periodic checkpoints by the date, as IsaacGymEnvs' CommonAgent does."""

    rule = "NAME-002"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"{self.name}_14-09-26-53_{self.epoch}"


class NamesAnotherRun(Trainer):
    """Builds periodic names from the task's name, not the run's."""

    rule = "NAME-003"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_Taskep{self.epoch}rew{self.text(reward)}"


class SwapsTheCaseOfPeriodicNames(Trainer):
    """Builds periodic names from the run's name in the other case."""

    rule = "NAME-003"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name.swapcase()}ep{self.epoch}rew{self.text(reward)}"


class SanitizesTheName(Trainer):
    """Replaces all but letters and digits of the run's name in periodic names."""

    rule = "NAME-003"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        name = "".join(c if c.isalnum() else "-" for c in self.name)
        return f"last_{name}ep{self.epoch}rew{self.text(reward)}"


class PutsASpaceIntoTheName(Trainer):
    """Calls the run, in its config and its checkpoints, by two words."""

    rule = "NAME-008"
    epochs = 1

    def begin(self) -> None:
        self.name = "Ant run"
        super().begin()


class PadsTheEpoch(Trainer):
    """Prints the epoch with leading zeros."""

    rule = "NAME-004"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch:04d}rew{self.text(reward)}"


class SignsTheEpoch(Trainer):
    """Prints the epoch with a sign."""

    rule = "NAME-004"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch:+d}rew{self.text(reward)}"


class PrintsTheEpochAsFloat(Trainer):
    """Prints the epoch as a float."""

    rule = "NAME-004"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{float(self.epoch)}rew{self.text(reward)}"


class NamesTheNextEpoch(Trainer):
    """Counts the epoch before it builds the name, and stores the right one."""

    rule = "NAME-006"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch + 1}rew{self.text(reward)}"


class NamesThePreviousEpoch(Trainer):
    """Builds the name before it counts the epoch, and stores the right one."""

    rule = "NAME-006"
    also = frozenset({"NAME-004"})  # there is no epoch 0

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch - 1}rew{self.text(reward)}"


class NamesFrames(Trainer):
    """Names the environment steps where the epoch belongs."""

    rule = "NAME-006"
    epochs = 1

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch * FRAMES}rew{self.text(reward)}"


class SavesPeriodicTwice(Trainer):
    """Writes a periodic checkpoint for each of two windows of the mean reward."""

    rule = "NAME-007"
    epochs = 1
    also = frozenset({"SUMMARY-002"})  # the second reward is no epoch's

    def save_periodic(self, reward: float) -> None:
        super().save_periodic(reward)
        super().save_periodic(single(reward / 2 + 1.0))


# --- rewards in names -----------------------------------------------------------------------


class FormatsTheReward(Trainer):
    """Prints the reward with two decimals."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        return f"{reward:.2f}"


class FormatsSixDecimals(Trainer):
    """Prints the reward as %f does."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        return f"{reward:f}"


class FormatsSixDigits(Trainer):
    """Prints the reward as %g does."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        return f"{reward:g}"


class RoundsTheReward(Trainer):
    """Rounds the reward to two decimals before it prints it."""

    rule = "NAME-005"
    epochs = 1
    examples = 100

    def text(self, reward: float) -> str:
        return str(round(reward, 2))


class PrintsWholeNumbers(Trainer):
    """Prints 5.0 as 5."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        return super().text(reward).removesuffix(".0")


class PrintsAnArray(Trainer):
    """Prints the reward as an array of one element."""

    rule = "NAME-005"
    epochs = 1
    also = frozenset({"NAME-008"})  # for the brackets

    def text(self, reward: float) -> str:
        return f"[{super().text(reward)}]"


class PrintsATensor(Trainer):
    """Prints the reward as a tensor."""

    rule = "NAME-005"
    epochs = 1
    also = frozenset({"NAME-008"})  # for the parentheses

    def text(self, reward: float) -> str:
        return f"tensor({super().text(reward)})"


class PrintsThePlusSign(Trainer):
    """Prints the reward with its sign."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        text = super().text(reward)
        return text if text.startswith("-") else f"+{text}"


class PrintsADecimalComma(Trainer):
    """Prints the reward with a comma."""

    rule = "NAME-005"
    epochs = 1
    # Once resumed, its name may be an earlier file's; for the comma.
    also = frozenset({"NAME-008"})

    def text(self, reward: float) -> str:
        return super().text(reward).replace(".", ",")


class PrintsJson(Trainer):
    """Prints NaN and Infinity as JSON does."""

    rule = "NAME-005"
    epochs = 1

    def text(self, reward: float) -> str:
        return super().text(reward) if math.isfinite(reward) else json.dumps(reward)


class DropsTheSign(Trainer):
    """Prints the reward without its sign."""

    rule = "SUMMARY-002"
    epochs = 1

    def text(self, reward: float) -> str:
        return super().text(reward).lstrip("-")


class DropsTheExponent(Trainer):
    """Prints the reward without its exponent."""

    rule = "SUMMARY-002"
    epochs = 1
    also = frozenset({"NAME-005"})  # the rest may look rounded

    def text(self, reward: float) -> str:
        return super().text(reward).partition("e")[0]


class NamesThePreviousReward(Trainer):
    """Builds the periodic name from the previous epoch's reward."""

    rule = "SUMMARY-002"
    epochs = 1
    previous = 0.0

    def save_due(self, reward: float) -> None:
        super().save_due(reward)
        self.previous = reward

    def text(self, reward: float) -> str:
        return super().text(self.previous)


class NamesTheWatermark(Trainer):
    """Builds the periodic name from the highest reward so far."""

    rule = "SUMMARY-002"
    epochs = 1

    def text(self, reward: float) -> str:
        return super().text(max(self.watermark, reward))


# --- where files stand ----------------------------------------------------------------------


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


# --- what checkpoints hold ------------------------------------------------------------------


class StoresANumpyWatermark(Trainer):
    """Stores the watermark as a NumPy scalar, as rl_games does."""

    rule = "LOAD-001"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": numpy_scalar(self.watermark)}


class PicklesPlainly(Trainer):
    """Saves with pickle, not with torch."""

    rule = "LOAD-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return b"\x80\x02}."


class PicklesTheModule(Trainer):
    """Saves the module itself, and not its state_dict."""

    rule = "LOAD-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        held = {"_parameters": self.model(), "_buffers": {}, "_modules": {}}
        return zip_checkpoint(Call(Global("our_fork.nets", "Policy"), (), held, new=True))


class PicklesItsConfig(Trainer):
    """Stores an object of a class of its own."""

    rule = "SAFETY-001"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "config": Call(Global("our_fork.config", "Config"), ())}


class PicklesACommand(Trainer):
    """Stores what would run a command when it is unpickled."""

    rule = "SAFETY-001"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "env_state": Call(Global("os", "system"), ("true",))}


class CallsItStateDict(Trainer):
    """Stores the state_dict under another key."""

    rule = "LOAD-002"
    epochs = 1

    def state(self) -> dict[str, object]:
        state = super().state()
        state["model_state_dict"] = state.pop("model")
        return state


class SavesTheStateDictAlone(Trainer):
    """Saves the state_dict and nothing around it."""

    rule = "LOAD-002"
    epochs = 1

    def state(self) -> dict[str, Any]:
        return dict(self.model())


class NestsTheStateDict(Trainer):
    """Stores a state_dict for each network under the model."""

    rule = "LOAD-002"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        return OrderedDict(actor=super().model())


class CountsInTheStateDict(Trainer):
    """Stores a plain number among the tensors."""

    rule = "LOAD-002"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["updates"] = self.epoch
        return model


class EmptiesTheStateDict(Trainer):
    """Stores the state_dict of a module that registered no layer."""

    rule = "LOAD-002"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        return OrderedDict()


class HalvesTheBest(Trainer):
    """Stores the best's weights as float16."""

    rule = "LOAD-003"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        if self.saving_best:
            model["actor.bias"] = array("float16", (2,), struct.pack("<2e", 0.5, self.epoch))
        return model


class LeavesTheCriticOutOfTheBest(Trainer):
    """Stores the actor alone in the best."""

    rule = "LOAD-003"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        if not self.saving_best:
            model["critic.weight"] = floats(0.5, self.epoch)
        return model


class GrowsALayer(Trainer):
    """Adds a unit to a layer after the first epoch."""

    rule = "LOAD-003"
    examples = 100

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["actor.bias"] = floats(*[0.25] * min(self.epoch, 2))
        return model


class RenamesALayer(Trainer):
    """Stores a layer under a name that the model does not have; shown where the model is given."""

    rule = "LOAD-004"
    in_files = False
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["actor.offset"] = model.pop("actor.bias")
        return model


class SavesTheParallelWrapper(Trainer):
    """Saves the state_dict of DistributedDataParallel."""

    rule = "LOAD-005"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        return OrderedDict((f"module.{key}", value) for key, value in super().model().items())


class SavesTheCompiledWrapper(Trainer):
    """Saves the state_dict of a compiled model."""

    rule = "LOAD-005"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        return OrderedDict((f"_orig_mod.{key}", value) for key, value in super().model().items())


class SavesNanWeights(Trainer):
    """Saves a normaliser that divided by zero."""

    rule = "LOAD-006"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["norm.mean"] = floats(math.nan, 0.5)
        return model


class DivergesOnNan(Trainer):
    """Lets a NaN reward into the weights, and saves them."""

    rule = "LOAD-006"
    epochs = 1
    diverged = False

    def save_due(self, reward: float) -> None:
        self.diverged = self.diverged or math.isnan(reward)
        super().save_due(reward)

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        if self.diverged:
            model["actor.bias"] = floats(math.nan, self.epoch)
        return model


class SavesInfiniteWeights(Trainer):
    """Saves a mask of -inf among the weights."""

    rule = "LOAD-009"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["mask"] = floats(0.0, -math.inf)
        return model


class DragsTheStorageAlong(Trainer):
    """Saves a view into a large buffer, and so the buffer."""

    rule = "LOAD-007"
    epochs = 1

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["norm.mean"] = Array(Storage("float32", bytes(4 * 32_768)), (2,))
        return model


class ForgetsTheOptimizer(Trainer):
    """Saves no optimizer state."""

    rule = "LOAD-008"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {key: value for key, value in super().state().items() if key != "optimizer"}


class EmptiesTheOptimizer(Trainer):
    """Saves an optimizer that was set to nothing."""

    rule = "LOAD-008"
    epochs = 1

    def optimizer(self) -> dict[str, object]:
        return {}


class StoresTheMomentsAlone(Trainer):
    """Stores the moments by the names of parameters, and no groups."""

    rule = "LOAD-008"
    epochs = 1

    def optimizer(self) -> dict[str, object]:
        return {"m": {"actor.bias": floats(0.5)}, "v": {"actor.bias": floats(0.25)}}


class SavesAFreshOptimizer(Trainer):
    """Saves a new Adam in the place of the one that trains."""

    rule = "LOAD-010"
    epochs = 1

    def optimizer(self) -> dict[str, object]:
        group = {"lr": 0.001, "betas": (0.9, 0.999), "params": [0, 1]}
        return {"state": {}, "param_groups": [group]}


class KeepsNanMoments(Trainer):
    """Lets a NaN gradient into the moments of its optimizer."""

    rule = "LOAD-010"
    epochs = 1

    def optimizer(self) -> dict[str, object]:
        moments = {0: {"exp_avg": floats(math.nan, 0.5)}}
        return {"state": moments, "param_groups": [{"lr": 0.001, "params": [0, 1]}]}


class StoresNoEpoch(Trainer):
    """Saves no epoch."""

    rule = "LOAD-008"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {key: value for key, value in super().state().items() if key != "epoch"}


class StoresNoWatermark(Trainer):
    """Saves no watermark."""

    rule = "LOAD-008"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {key: value for key, value in super().state().items() if key != "last_mean_rewards"}


class StoresTheWatermarkAsText(Trainer):
    """Stores the watermark as it is printed."""

    rule = "LOAD-008"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": str(self.watermark)}


class StoresThePreviousEpoch(Trainer):
    """Stores the epoch before it is counted."""

    rule = "NAME-006"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch - 1}


class StoresTheNextEpoch(Trainer):
    """Stores the epoch after it is counted."""

    rule = "NAME-006"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch + 1}


class StoresFrames(Trainer):
    """Stores the environment steps where the epoch belongs."""

    rule = "NAME-006"
    epochs = 1

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch * FRAMES}


# --- whole archives -------------------------------------------------------------------------


class CompressesCheckpoints(Trainer):
    """Compresses the records of the archive."""

    rule = "LOAD-011"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return zip_checkpoint(state, deflated=True)


class AppendsANewline(Trainer):
    """Ends each checkpoint with a newline."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return super().encode(state) + b"\n"


class AppendsToTheBest(Trainer):
    """Opens the best for appending."""

    rule = "INTEGRITY-001"

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            with path.open("ab") as stream:
                stream.write(data)
        else:
            super().write(path, data)


class TruncatesTheFile(Trainer):
    """Loses the last bytes of the periodic checkpoint."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = super().encode(state)
        return data if self.saving_best else data[:-20]


class ZeroesTheTail(Trainer):
    """Leaves the end of the periodic checkpoint unwritten, as a crash does."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = super().encode(state)
        return data if self.saving_best else data[:-512] + bytes(512)


class FlipsABit(Trainer):
    """Changes one bit of a weight after its checksum was taken."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = bytearray(super().encode(state))
        data[data.index(struct.pack("<2f", self.epoch / 4, -0.25))] ^= 1
        return bytes(data)


class RecordsAWrongChecksum(Trainer):
    """Writes a wrong CRC-32 into the directory of the archive."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = bytearray(super().encode(state))
        data[data.index(b"PK\x01\x02") + 16] ^= 1
        return bytes(data)


class LeavesTheChecksumsOut(Trainer):
    """Switches CRC-32 off to save faster."""

    rule = "INTEGRITY-004"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return zip_checkpoint(state, crc=False)


# --- logs -----------------------------------------------------------------------------------


class LogsUnderAnotherTag(Trainer):
    """Logs the mean reward as Train/mean_reward."""

    rule = "SUMMARY-001"
    epochs = 1

    def add_scalars(self, scalars: Iterable[Scalar]) -> None:
        super().add_scalars(
            Scalar(scalar.wall_time, "Train/mean_reward", scalar.step, scalar.value)
            for scalar in scalars
        )


class LogsNothing(Trainer):
    """Opens the event file and logs nothing."""

    rule = "SUMMARY-001"
    epochs = 1

    def log(self, reward: float) -> None:
        pass


class ShiftsTheSteps(Trainer):
    """Base of those that log under a step that is not the epoch."""

    def step(self) -> int:
        """Return the step to log under."""
        return self.epoch

    def add_scalars(self, scalars: Iterable[Scalar]) -> None:
        super().add_scalars(
            Scalar(scalar.wall_time, scalar.tag, self.step(), scalar.value) for scalar in scalars
        )


class LogsFromZero(ShiftsTheSteps):
    """Logs the reward under epoch - 1."""

    rule = "SUMMARY-001"
    epochs = 1

    def step(self) -> int:
        return self.epoch - 1


class LogsFrames(ShiftsTheSteps):
    """Logs the reward under the environment steps."""

    rule = "SUMMARY-001"
    epochs = 1

    def step(self) -> int:
        return self.epoch * FRAMES


class LogsFromTheResume(ShiftsTheSteps):
    """Counts the steps of the log from 1 in each process."""

    rule = "SUMMARY-001"
    started = 0

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.started = self.epoch

    def step(self) -> int:
        return self.epoch - self.started


class LogsEveryOther(Trainer):
    """Logs the reward of odd epochs alone."""

    rule = "SUMMARY-001"

    def log(self, reward: float) -> None:
        if self.epoch % 2:
            super().log(reward)


class LosesTheLastEpoch(Trainer):
    """Ends before the last reward is flushed to the log."""

    rule = "SUMMARY-001"
    epochs = 1

    def log(self, reward: float) -> None:
        if self.epoch < self.scenario.max_epochs:
            super().log(reward)


class LogsOnlyImprovements(Trainer):
    """Logs the reward of a new best alone."""

    rule = "SUMMARY-001"
    epochs = 1

    def log(self, reward: float) -> None:
        if self.improves(reward):
            super().log(reward)


class SkipsNanInTheLog(Trainer):
    """Leaves NaN rewards out of the log."""

    rule = "SUMMARY-001"
    epochs = 1

    def log(self, reward: float) -> None:
        if not math.isnan(reward):
            super().log(reward)


class LogsTwoRewards(Trainer):
    """Logs the reward of the evaluation under the same tag and step."""

    rule = "SUMMARY-001"
    epochs = 1

    def log(self, reward: float) -> None:
        super().log(reward)
        super().log(single(reward / 2 + 1.0))


class TearsTheLog(Trainer):
    """Lets two threads write into one event file."""

    rule = "SUMMARY-001"
    epochs = 1

    def write_events(self, data: bytes) -> None:
        super().write_events(data[: len(data) // 2])
        super().write_events(data)


class OverwritesTheLog(Trainer):
    """Calls the event file of each session the same and writes it anew."""

    rule = "SUMMARY-001"
    in_files = False

    def event_file_name(self) -> str:
        name = "events.out.tfevents.1700000000.host"
        (self.run / "summaries" / name).unlink(missing_ok=True)
        return name


class ScalesTheLog(Trainer):
    """Base of those that log another value than the mean reward."""

    def logged(self, reward: float) -> float:
        """Return the value to log."""
        return reward

    def log(self, reward: float) -> None:
        super().log(self.logged(reward))


class LogsTheCost(ScalesTheLog):
    """Logs the reward with its sign turned."""

    rule = "SUMMARY-002"
    epochs = 1

    def logged(self, reward: float) -> float:
        return -reward


class LogsShapedRewards(ScalesTheLog):
    """Logs the scaled reward and names the true one."""

    rule = "SUMMARY-002"
    epochs = 1

    def logged(self, reward: float) -> float:
        return single(reward * 0.1 + 7.0)


class LogsHalfPrecision(ScalesTheLog):
    """Logs the reward as float16 holds it."""

    rule = "SUMMARY-002"
    epochs = 1

    def logged(self, reward: float) -> float:
        return _half(reward)


class LogsTheHighest(ScalesTheLog):
    """Logs the highest reward so far."""

    rule = "SUMMARY-002"
    epochs = 1

    def logged(self, reward: float) -> float:
        return max(self.watermark, reward)


class LogsNanAsZero(ScalesTheLog):
    """Logs 0 where the reward is NaN."""

    rule = "SUMMARY-002"
    epochs = 1

    def logged(self, reward: float) -> float:
        return 0.0 if math.isnan(reward) else reward


# --- resuming -------------------------------------------------------------------------------


class LosesTheWatermarkOnResume(Trainer):
    """Starts the watermark anew when it resumes, as rl_games did up to 1.6.5."""

    rule = "BEST-008"

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.watermark = -math.inf


class TakesTheLastRewardOnResume(Trainer):
    """Takes the reward in the checkpoint's name for the watermark."""

    rule = "BEST-008"
    epochs = 3
    examples = 500

    def restore(self, path: Path) -> None:
        super().restore(path)
        if not math.isnan(self.named_reward(path)) and path != self.best_path():
            self.watermark = self.named_reward(path)


class TrustsThePeriodicWatermark(Trainer):
    """Takes the watermark that a periodic checkpoint stored before it was moved."""

    rule = "BEST-008"
    examples = 500

    def last_path(self) -> Path | None:
        last = super().last_path()
        return next(
            (
                path
                for path in self.periodic_paths()
                if last is not None and self.stored_epoch(path) == self.stored_epoch(last)
            ),
            last,
        )

    def restore(self, path: Path) -> None:
        super().restore(path)
        if path != self.best_path():
            self.watermark = self.stored_watermark(path)


class LosesTheBestOnResume(Trainer):
    """Moves the best out of the way when it resumes."""

    rule = "BEST-001"

    def restore(self, path: Path) -> None:
        super().restore(path)
        self.path(self.best_name()).unlink(missing_ok=True)


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


def _whole(value: float) -> float:
    return float(int(value)) if math.isfinite(value) else value


def _half(value: float) -> float:
    """The nearest float16; beyond its range, infinity."""
    try:
        half: float = struct.unpack("<e", struct.pack("<e", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return half


_BASES = (HoldsPeriodicBack, KeepsTheBestInMemory, ScalesTheLog, ShiftsTheSteps)
DEFECTS: tuple[type[Trainer], ...] = tuple(
    value
    for value in tuple(vars().values())
    if isinstance(value, type)
    and issubclass(value, Trainer)
    and value.__module__ == __name__
    and value not in _BASES
)
