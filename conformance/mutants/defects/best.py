"""Trainers that break a rule on the best checkpoint: when it is written, and what it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from conformance.mutants.trainer import Trainer, half

if TYPE_CHECKING:
    from collections import OrderedDict
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
        return half(reward) > half(self.watermark)


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
        stored = half(self.watermark) if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class StoresTheCost(Trainer):
    """Stores the best's watermark with its sign turned."""

    rule = "BEST-007"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = -self.watermark if self.saving_best else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


# --- after a resume -------------------------------------------------------------------------


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


def _whole(value: float) -> float:
    return float(int(value)) if math.isfinite(value) else value
