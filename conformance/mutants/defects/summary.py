"""Trainers that break a rule on the logs, or on values that have to agree with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from conformance.fixtures.events import Scalar
from conformance.mutants.trainer import FRAMES, Trainer, half, single

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# --- values that the log contradicts --------------------------------------------------------


class StoresAnInitialWatermark(Trainer):
    """Stores 0 as the watermark until a reward has improved."""

    rule = "SUMMARY-002"
    epochs = 1

    def state(self) -> dict[str, object]:
        stored = 0.0 if self.watermark == -math.inf else self.watermark
        return {**super().state(), "last_mean_rewards": stored}


class StoresItsOwnReward(Trainer):
    """Stores the epoch's reward where the watermark belongs."""

    rule = "SUMMARY-002"
    epochs = 1
    also = frozenset({"BEST-008"})  # once resumed it looks like a watermark that was lost

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": self.reward}


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
    in_files = False  # a log that ends early looks like one whose process was closed too early
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
        return half(reward)


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
