"""Trainers that keep the convention in their own ways: a checker that blames one is wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from conformance.evidence.checkpoint import Tensor, read_checkpoint, read_item
from conformance.fixtures.archive import (
    Array,
    Storage,
    array,
    floats,
    legacy_checkpoint,
    parameter,
    zip_checkpoint,
)
from conformance.fixtures.events import Scalar, event_file
from conformance.mutants.crashes import SavesDurably
from conformance.mutants.trainer import FRAMES, TAG, Trainer, single

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# --- how files are written ------------------------------------------------------------------


class SavesInPlace(Trainer):
    """Opens the checkpoint itself, as `torch.save` does."""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)


class WritesInPieces(Trainer):
    """Writes the checkpoint itself, a few bytes at a time."""

    def write(self, path: Path, data: bytes) -> None:
        with path.open("wb", buffering=0) as stream:
            for start in range(0, len(data), 256):
                stream.write(data[start : start + 256])


class WritesElsewhere(Trainer):
    """Writes into another folder of the run and moves the file to its place."""

    def write(self, path: Path, data: bytes) -> None:
        folder = self.run / "incoming"
        folder.mkdir(exist_ok=True)
        temporary = folder / "checkpoint"
        temporary.write_bytes(data)
        temporary.replace(path)


class WritesBesideTheRuns(Trainer):
    """Writes beside the run's folder and moves the file to its place."""

    def write(self, path: Path, data: bytes) -> None:
        temporary = self.scenario.root / ".incoming"
        temporary.write_bytes(data)
        temporary.replace(path)


class WritesTwice(Trainer):
    """Writes each checkpoint twice in a row."""

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        super().write(path, data)


class RetriesItsWrites(Trainer):
    """Gives a first try up half-way, removes it and tries again."""

    def write(self, path: Path, data: bytes) -> None:
        failed = path.with_name(".try-1.tmp")
        failed.write_bytes(data[: len(data) // 2])
        failed.unlink()
        super().write(path, data)


class RemovesTheOldFirst(Trainer):
    """Removes the old best before it writes the new one."""

    def write(self, path: Path, data: bytes) -> None:
        path.unlink(missing_ok=True)
        super().write(path, data)


class SyncsToTheDisk(SavesDurably):
    """Waits until file and folder are on the disk."""


class WritesInAThread(Trainer):
    """Hands what it saves to a thread that writes it in order."""

    writer: ThreadPoolExecutor
    pending: tuple[Future[None], ...] = ()

    def begin(self) -> None:
        super().begin()
        self.writer = ThreadPoolExecutor(1)

    def write(self, path: Path, data: bytes) -> None:
        self.pending = (*self.pending, self.writer.submit(super().write, path, data))

    def end(self) -> None:
        self.writer.shutdown()
        for future in self.pending:
            future.result()


class LinksFromTheTemporaryFile(Trainer):
    """Gives the finished file a second name and removes the first."""

    def write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(".finished.tmp")
        temporary.write_bytes(data)
        path.unlink(missing_ok=True)
        path.hardlink_to(temporary)
        temporary.unlink()


class LinksTheBestToThePeriodicFile(Trainer):
    """Saves an epoch's state once, under both names."""

    def save_due(self, reward: float) -> None:
        better = self.improves(reward)
        if better:
            self.keep_watermark(reward)
        if self.is_periodic():
            self.save_periodic(reward)
        if better and self.is_periodic():
            temporary = self.run / "nn" / ".link.tmp"
            temporary.hardlink_to(self.path(self.periodic_name(reward)))
            temporary.replace(self.path(self.best_name()))
        elif better:
            self.save_best(reward)


class TouchesTheBest(Trainer):
    """Sets the best's times after each epoch."""

    def play_epoch(self, reward: float | None) -> None:
        super().play_epoch(reward)
        path = self.best_path()
        if path is not None:
            os.utime(path)


class ChangesPermissions(Trainer):
    """Makes each checkpoint readable for its owner alone."""

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        path.chmod(0o600)


class ReadsItsCheckpoints(Trainer):
    """Reads everything that it has saved after each epoch."""

    def play_epoch(self, reward: float | None) -> None:
        super().play_epoch(reward)
        for path in self.run.glob("nn/*.pth"):
            path.read_bytes()


# --- what archives hold ---------------------------------------------------------------------


class WritesTheLegacyFormat(Trainer):
    """Saves without an archive, as torch did before 1.6."""

    def encode(self, state: object) -> bytes:
        return legacy_checkpoint(state)


class NamesItsArchives(Trainer):
    """Calls the archive's inner folder by the checkpoint, as `torch.save` does for a path."""

    def save(self, name: str) -> None:
        self.write(self.path(name), zip_checkpoint(self.state(), folder=name))


class StoresMore(Trainer):
    """Stores more than a resume needs."""

    def state(self) -> dict[str, object]:
        return {
            **super().state(),
            "env_state": None,
            "scaler": {},
            "running_mean_std": OrderedDict(mean=floats(0.5, -0.5), count=floats(16.0, shape=())),
            "rng": array("uint8", (8,), bytes(range(8))),
            "config": {"name": self.name, "tags": ["a", "b"], "lr": 1e-3, "debug": False},
            "best_epochs": (1, self.epoch),
        }


class SortsItsKeys(Trainer):
    """Stores its keys in alphabetical order."""

    def state(self) -> dict[str, object]:
        return dict(sorted(super().state().items()))


class SavesAnOrderedDict(Trainer):
    """Stores an OrderedDict at the top and a plain dict as the state_dict."""

    def state(self) -> dict[str, object]:
        state = super().state()
        return OrderedDict({**state, "model": dict(self.model())})


class StoresTheWatermarkAsATensor(Trainer):
    """Stores the watermark as a tensor without dimensions."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "last_mean_rewards": floats(self.watermark, shape=())}

    def stored_watermark(self, path: Path) -> float:
        return float(_number(path, "last_mean_rewards"))


class StoresTheWatermarkAsADouble(Trainer):
    """Stores the watermark as a float64 tensor of one element."""

    def state(self) -> dict[str, object]:
        watermark = array("float64", (1,), struct.pack("<d", self.watermark))
        return {**super().state(), "last_mean_rewards": watermark}

    def stored_watermark(self, path: Path) -> float:
        return float(_number(path, "last_mean_rewards"))


class StoresTheEpochAsATensor(Trainer):
    """Stores the epoch as a tensor without dimensions."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "epoch": array("int64", (), struct.pack("<q", self.epoch))}

    def stored_epoch(self, path: Path) -> int:
        return int(_number(path, "epoch"))


class StoresTheNewWatermark(Trainer):
    """Moves the watermark before it saves the periodic checkpoint of a new best."""

    def save_due(self, reward: float) -> None:
        better = self.improves(reward)
        if better:
            self.keep_watermark(reward)
        if self.is_periodic():
            self.save_periodic(reward)
        if better:
            self.save_best(reward)


class SavesParameters(Trainer):
    """Saves parameters, not their data, as `state_dict(keep_vars=True)` gives them."""

    def model(self) -> OrderedDict[str, object]:
        return OrderedDict(
            (key, parameter(value) if isinstance(value, Array) else value)
            for key, value in super().model().items()
        )


class SavesMoments(Trainer):
    """Saves the optimizer's moments."""

    def optimizer(self) -> dict[str, object]:
        moments: dict[object, object] = {
            "step": floats(self.epoch, shape=()),
            "exp_avg": floats(*[0.125] * 4, shape=(2, 2)),
            "exp_avg_sq": floats(*[0.0625] * 4, shape=(2, 2)),
        }
        return {**super().optimizer(), "state": {0: moments}}


class SavesInfiniteMoments(Trainer):
    """Saves an optimizer whose moments are infinite; the rules speak of the model, and of NaN."""

    def optimizer(self) -> dict[str, object]:
        return {**super().optimizer(), "state": {0: {"exp_avg": floats(-math.inf, math.inf)}}}


class TiesItsWeights(Trainer):
    """Uses one tensor in two layers."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["critic.weight"] = model["actor.weight"]
        return model


class SavesTransposedWeights(Trainer):
    """Saves a transposed layer and the rows of another as views of one storage."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        storage = Storage("float32", struct.pack("<4f", self.epoch, -0.5, 0.25, 2.0))
        model["critic.weight"] = Array(storage, (2, 2), (1, 2))
        model["critic.row"] = Array(storage, (2,), (1,), offset=2)
        return model


class SavesEmptyTensors(Trainer):
    """Saves a buffer without elements."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["memory"] = array("float32", (0, 4), b"")
        return model


class SavesHalfPrecision(Trainer):
    """Saves bfloat16 and float16 weights."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["critic.weight"] = array("bfloat16", (2,), struct.pack("<2H", 0x3F80, 0xBF80))
        model["critic.bias"] = array("float16", (2,), struct.pack("<2e", self.epoch, -0.5))
        return model


class SavesDoubles(Trainer):
    """Saves float64 weights."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["norm.mean"] = array("float64", (2,), struct.pack("<2d", self.epoch / 3, -0.5))
        return model


class SavesCounters(Trainer):
    """Saves integer and boolean buffers; the largest integers look like NaN."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["norm.count"] = array("int64", (), struct.pack("<q", self.epoch))
        model["norm.limit"] = array("int32", (1,), struct.pack("<i", 0x7FC00000))
        model["mask"] = array("bool", (2,), b"\x01\x00")
        return model


class SavesAMegabyte(Trainer):
    """Saves a large layer."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["large.weight"] = array("float32", (512, 512), bytes(512 * 512 * 4))
        return model


class NamesItsLayersOddly(Trainer):
    """Has a layer that is called module, and others whose names only sound like a wrapper's."""

    def model(self) -> OrderedDict[str, object]:
        model = super().model()
        model["actor.module.weight"] = floats(self.epoch)
        model["modules"] = floats(0.5)
        model[""] = floats(0.25)
        return model


# --- names ----------------------------------------------------------------------------------


class PrintsDoubles(Trainer):
    """Prints all digits of the float64: 485.29998779296875."""

    def text(self, reward: float) -> str:
        return str(reward)


class PrintsAsNumpy23(Trainer):
    """Prints large rewards as NumPy does from 2.3 on: 1.234567e+06."""

    def text(self, reward: float) -> str:
        if not math.isfinite(reward) or abs(reward) < 1e6:
            return super().text(reward)
        texts = (f"{reward:.{digits}e}" for digits in range(9))
        return next(text for text in texts if single(float(text)) == reward)


class CallsItselfOtherwise(Trainer):
    """Names its checkpoints by the task, and says so in its config."""

    def begin(self) -> None:
        self.name = "Task"
        super().begin()


# --- the run's other files ------------------------------------------------------------------


class KeepsNoConfig(Trainer):
    """Writes no config file."""

    def write_config(self) -> None:
        pass


class KeepsIsaacGymsConfig(Trainer):
    """Writes the config as IsaacGymEnvs nests it."""

    def write_config(self) -> None:
        (self.run / "config.yaml").write_text(
            f"task_name: Task\nseed: {self.scenario.seed}\ntrain:\n  params:\n    config:\n"
            f"      name: {json.dumps(self.name, ensure_ascii=False)}\n"
            f"      save_frequency: {self.scenario.save_freq}\n      save_best_after: 0\n"
            f"      max_epochs: {self.scenario.max_epochs}\n      score_to_win: 20000\n",
            encoding="utf-8",
        )


class KeepsMoreInItsConfig(Trainer):
    """Writes comments and settings of its own into the config."""

    def write_config(self) -> None:
        super().write_config()
        with (self.run / "config.yaml").open("a", encoding="utf-8") as stream:
            stream.write("# our own\nlr: 1e-3\nlayers: [64, 32]\nenv:\n  name: Task\n")


class KeepsNotes(Trainer):
    """Keeps videos, patches and the overrides beside its checkpoints' folder."""

    def end(self) -> None:
        for path in ("videos/1.mp4", ".hydra/config.yaml", "git.diff", "nn.txt"):
            file = self.run / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{self.epoch}\n")
        (self.run / "empty").mkdir(exist_ok=True)


class BacksTheBestUp(Trainer):
    """Copies each best into a folder of its own, under a name that is no checkpoint's."""

    def save_best(self, reward: float) -> None:
        super().save_best(reward)
        folder = self.run / "backup"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.path(self.best_name()), folder / f"{self.epoch}.bak")


class LocksItsRun(Trainer):
    """Keeps a lock while it trains."""

    def begin(self) -> None:
        super().begin()
        (self.run / ".lock").write_text(f"{os.getpid()}\n")

    def end(self) -> None:
        (self.run / ".lock").unlink()


# --- logs -----------------------------------------------------------------------------------


class RotatesItsLog(Trainer):
    """Begins another event file after each second epoch."""

    parts = 0

    def log(self, reward: float) -> None:
        super().log(reward)
        if self.epoch % 2 == 0:
            self.parts += 1
            first, _, _ = self.events.name.rpartition(".")
            self.events = self.events.with_name(f"{first}.{self.parts}")
            self.write_events(event_file((), started=time.time()))


class LogsMore(Trainer):
    """Logs losses, episode lengths and the reward over steps and time."""

    def play_epoch(self, reward: float | None) -> None:
        now, frame = time.time(), self.epoch * FRAMES
        self.add_scalars([Scalar(now, "info/epochs", frame, float(self.epoch))])
        super().play_epoch(reward)

    def log(self, reward: float) -> None:
        now, frame = time.time(), self.epoch * FRAMES
        self.add_scalars(
            [
                Scalar(now, "losses/a_loss", frame, math.nan),
                Scalar(now, "rewards/step", frame, reward),
                Scalar(now, TAG, self.epoch, reward),
                Scalar(now, "rewards/time", self.epoch // 2, reward),
                Scalar(now, "episode_lengths/iter", self.epoch, 500.0),
                Scalar(now, "shaped_rewards/iter", self.epoch, reward / 100.0),
                Scalar(now, f"{TAG}/0", self.epoch, -1.0),
            ]
        )


class LogsTwice(Trainer):
    """Logs each reward twice."""

    def log(self, reward: float) -> None:
        super().log(reward)
        super().log(reward)


class LogsAfterSaving(Trainer):
    """Logs the reward when the epoch's checkpoints are written."""

    def play_epoch(self, reward: float | None) -> None:
        if reward is not None:
            self.reward = single(reward)
            self.save_due(self.reward)
            self.log(self.reward)


class FlushesItsLogAtTheEnd(Trainer):
    """Keeps what it logs in memory until the training is done."""

    unflushed: tuple[Scalar, ...] = ()

    def add_scalars(self, scalars: Iterable[Scalar]) -> None:
        self.unflushed = (*self.unflushed, *scalars)

    def end(self) -> None:
        super().add_scalars(self.unflushed)


class HasAHostWithDots(Trainer):
    """Runs on a host whose name is a full one."""

    def event_file_name(self) -> str:
        return super().event_file_name().replace(".host.", ".node-3.cluster.example.org.")


class LogsAsTensorboardX(Trainer):
    """Ends the event file's name with the host, without process and number."""

    def event_file_name(self) -> str:
        return f"events.out.tfevents.{time.time_ns()}.host"


def _number(path: Path, key: str) -> float:
    """Return a number that a checkpoint stores as a tensor of one element."""
    contents = read_checkpoint(path)
    stored = contents.root[key] if isinstance(contents.root, dict) else None
    if not isinstance(stored, Tensor):
        raise TypeError(f"{path.name} stores no tensor as {key}")
    value = read_item(contents, stored)
    return math.nan if value is None else value.real


ODDITIES: tuple[type[Trainer], ...] = tuple(
    value
    for value in tuple(vars().values())
    if isinstance(value, type) and issubclass(value, Trainer) and value.__module__ == __name__
)
