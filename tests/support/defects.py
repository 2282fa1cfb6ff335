"""Trainers with one defect each: the class's name is the defect, the docstring what it does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulated import Trainer

if TYPE_CHECKING:
    from collections import OrderedDict


class RewritesOnTie(Trainer):
    """Compares with >= where > is due."""

    def improves(self, reward: float) -> bool:
        return reward >= self.watermark


class ComparesWithPrevious(Trainer):
    """Compares with the previous epoch's reward, not the highest so far."""

    previous = -math.inf

    def improves(self, reward: float) -> bool:
        better, self.previous = reward > self.previous, reward
        return better


class BestIsLatest(Trainer):
    """Overwrites the best in every epoch."""

    def improves(self, reward: float) -> bool:
        return True


class NegatedComparison(Trainer):
    """Writes `not reward <= watermark`, which a NaN satisfies."""

    def improves(self, reward: float) -> bool:
        return not reward <= self.watermark


class PoisonedByNan(Trainer):
    """Lets a NaN become the watermark, which nothing exceeds."""

    def finish_epoch(self, reward: float) -> None:
        super().finish_epoch(reward)
        if math.isnan(reward):
            self.watermark = reward


class LooksOnlyAtPeriodicEpochs(Trainer):
    """Does the best save inside the periodic branch."""

    def finish_epoch(self, reward: float) -> None:
        if self.save_freq and self.is_periodic():
            super().finish_epoch(reward)


class StopsAfterTheFirst(Trainer):
    """Saves the first best and no other."""

    def improves(self, reward: float) -> bool:
        return self.watermark == -math.inf and reward > self.watermark


class NeedsAMargin(Trainer):
    """Wants an improvement of more than one."""

    def improves(self, reward: float) -> bool:
        return reward > self.watermark + 1.0


class StartsAtZero(Trainer):
    """Starts the watermark at 0: negative rewards never improve."""

    def improves(self, reward: float) -> bool:
        return reward > max(self.watermark, 0.0)


class StoresOldWatermark(Trainer):
    """Saves the best before it moves the watermark."""

    def finish_epoch(self, reward: float) -> None:
        if self.save_freq and self.is_periodic():
            self.save(self.periodic_name(reward))
        if self.improves(reward):
            self.save(self.name)
            self.keep_watermark(reward)


class StoresItsOwnReward(Trainer):
    """Stores the epoch's reward where the watermark belongs."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": self.reward}


class GuardsPeriodicSaves(Trainer):
    """Writes no periodic checkpoint at a new best, as rl_games did up to 1.6.0."""

    def finish_epoch(self, reward: float) -> None:
        if self.improves(reward):
            self.keep_watermark(reward)
            self.save(self.name)
        elif self.save_freq and self.is_periodic():
            self.save(self.periodic_name(reward))


class CountsEpochsFromZero(Trainer):
    """Takes the modulo of an epoch counted from 0."""

    def is_periodic(self) -> bool:
        return (self.epoch - 1) % self.save_freq == 0


class PadsTheEpoch(Trainer):
    """Prints the epoch with leading zeros."""

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch:04d}rew{reward}"


class FormatsTheReward(Trainer):
    """Prints the reward with two decimals."""

    def text(self, reward: float) -> str:
        return f"{reward:.2f}"


class RoundsTheReward(Trainer):
    """Rounds the reward to one decimal before it prints it."""

    def text(self, reward: float) -> str:
        return str(round(reward, 1)) if math.isfinite(reward) else str(reward)


class NamesThePreviousReward(Trainer):
    """Builds the periodic name from the previous epoch's reward."""

    previous = 0.0

    def finish_epoch(self, reward: float) -> None:
        super().finish_epoch(reward)
        self.previous = reward

    def text(self, reward: float) -> str:
        return str(self.previous)


class StoresThePreviousEpoch(Trainer):
    """Stores the epoch before it is counted."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch - 1}


class ForgetsTheOptimizer(Trainer):
    """Saves no optimizer state."""

    def state(self) -> dict[str, object]:
        return {key: value for key, value in super().state().items() if key != "optimizer"}


class LosesTheWatermarkOnResume(Trainer):
    """Starts the watermark anew when it resumes."""

    def resume(self, path: str) -> None:
        super().resume(path)
        self.watermark = -math.inf


class SavesStaleWeightsAsBest(Trainer):
    """Keeps the weights of the epoch before as the best's."""

    def model(self) -> OrderedDict[str, object]:
        if not self.saving_best:
            return super().model()
        self.epoch -= 1
        try:
            return super().model()
        finally:
            self.epoch += 1


class CallsItBest(Trainer):
    """Names the best checkpoint best.pth."""

    def path(self, stem: str) -> str:
        return super().path("best" if stem == self.name else stem)


class LogsFromZero(Trainer):
    """Logs the reward under epoch - 1."""

    def write_log(self, reward: float) -> None:
        self.reward = reward
        self.log.append((self.epoch - 1, reward))


class LogsEveryOther(Trainer):
    """Logs the reward of odd epochs alone."""

    def write_log(self, reward: float) -> None:
        self.reward = reward
        if self.epoch % 2:
            self.log.append((self.epoch, reward))


class LogsShapedRewards(Trainer):
    """Logs the scaled reward and names the true one."""

    def write_log(self, reward: float) -> None:
        self.reward = reward
        self.log.append((self.epoch, reward * 0.1 + 7.0))


class NamesTheNextEpoch(Trainer):
    """Counts the epoch before it builds the name, and stores the right one."""

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch + 1}rew{reward}"


class StoresFrames(Trainer):
    """Stores the frame where the epoch belongs."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch * 16}


class StoresTheNextEpoch(Trainer):
    """Stores the epoch after it is counted."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": self.epoch + 1}


class TruncatesTheWatermark(Trainer):
    """Stores the watermark as a whole number."""

    def state(self) -> dict[str, object]:
        known = math.isfinite(self.watermark)
        return {
            **super().state(),
            "last_mean_rewards": int(self.watermark) if known else self.watermark,
        }


class LogsTheCost(Trainer):
    """Logs the reward with its sign turned."""

    def write_log(self, reward: float) -> None:
        self.reward = reward
        self.log.append((self.epoch, -reward))


class TakesNanForZero(Trainer):
    """Cleans NaN rewards after they were logged."""

    def finish_epoch(self, reward: float) -> None:
        super().finish_epoch(0.0 if math.isnan(reward) else reward)


class CountsFromTheResume(Trainer):
    """Takes the modulo of the epochs since the process started."""

    started = 0

    def resume(self, path: str) -> None:
        super().resume(path)
        self.started = self.epoch

    def is_periodic(self) -> bool:
        return (self.epoch - self.started) % self.save_freq == 0


class LogsFromTheResume(Trainer):
    """Counts the steps of the log from 1 in each process."""

    started = 0

    def resume(self, path: str) -> None:
        super().resume(path)
        self.started = self.epoch

    def write_log(self, reward: float) -> None:
        self.reward = reward
        self.log.append((self.epoch - self.started, reward))


class StoresNoEpoch(Trainer):
    """Saves no epoch."""

    def state(self) -> dict[str, object]:
        return {key: value for key, value in super().state().items() if key != "epoch"}


class StoresNoEpochAndRewritesAtTheEnd(StoresNoEpoch):
    """Saves no epoch, and saves the last one as the best."""

    def end(self) -> None:
        self.save(self.name)
