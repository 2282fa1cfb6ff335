"""Trainers that break a rule on what checkpoints hold."""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from typing import Any

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
from conformance.mutants.trainer import Trainer


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


class CompressesCheckpoints(Trainer):
    """Compresses the records of the archive."""

    rule = "LOAD-011"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return zip_checkpoint(state, deflated=True)
