"""Trainers that break a rule on the names of checkpoints."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from conformance.mutants.trainer import FRAMES, Trainer, single

if TYPE_CHECKING:
    from pathlib import Path

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


# --- the epoch that is stored ---------------------------------------------------------------


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
