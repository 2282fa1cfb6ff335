"""The checkpoints of a run: written durably, read with care, named and due by the convention.

`runs/<experiment>/nn/<experiment>.pth` is the best checkpoint so far,
`last_<experiment>ep<N>rew<R>.pth` the periodic one of epoch N with mean reward R.
"""

import io
import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reference_trainer.config import TrainerError

FLOAT32 = r"-?(?:\d+\.\d+(?:e[+-]\d+)?|\d+e[+-]\d+|inf)|nan"  # what `str` prints for np.float32
TEMPORARY = re.compile(r"\.saving-\d+(?:-\d+)?\.tmp")
CONTENT = {"model": dict, "optimizer": dict, "epoch": int, "frame": int, "last_mean_rewards": float}

State = Mapping[str, Any]


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, or not one of this trainer's."""

    exit_code = 2


def save_checkpoint(path: Path, state: State) -> None:
    """Write a copy of `state` to `path`, safe when this returns; raise OSError if that fails."""
    archive = io.BytesIO()  # in memory first: a Python file is then the only thing that can fail
    torch.save(portable(state), archive)
    write_durably(path, archive.getvalue())


def portable(state: Any) -> Any:  # noqa: ANN401  # a state nests whatever optimizers put in it
    """Return a deep copy that any machine loads: tensors on the CPU, no views, plain containers."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True).contiguous()
    if isinstance(state, Mapping):
        return {key: portable(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(portable(value) for value in state)
    return state


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` such that at any instant it is whole, the old or the new.

    Raises:
        OSError: a step failed, and names `path`; no temporary file is left, and the old file is
            untouched (but where only forcing the new name failed, the new file is in place).
    """
    temporary = path.with_name(f".saving-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the content is on the disk before it has the name
        temporary.replace(path)
        sync_folder(path.parent)  # and so is the name
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, with its tensors on the CPU; no code in it is run.

    Raises:
        CheckpointError: the file is missing, damaged (torch does not look at the archive's
            check sums; this does), needs more than plain `weights_only=True`, or lacks a key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} needs more than plain tensors and numbers") from error
    except Exception as error:  # damaged bytes can raise anything
        raise CheckpointError(f"{path} is torn, or no checkpoint at all") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: the check sum of {damaged} is wrong")
    foreign = f"{path} is not this trainer's:"
    for key, kind in CONTENT.items():
        if not isinstance(state, dict) or not isinstance(state.get(key), kind):
            raise CheckpointError(f"{foreign} it has no {kind.__name__} {key!r}")
    if state["epoch"] < 1 or state["frame"] < 0:
        raise CheckpointError(f"{foreign} its epoch is below 1 or its frame below 0")
    return dict(state)


class RunFolder:
    """Where a run keeps its files, and which of them it goes on from."""

    def __init__(self, root: Path | str, experiment: str) -> None:
        self.experiment = experiment
        self.path = Path(root) / experiment
        self.nn = self.path / "nn"  # the checkpoints
        self.summaries = self.path / "summaries"  # the event files
        self.config = self.path / "config.yaml"
        self.best = self.nn / f"{experiment}.pth"

    def periodic(self, epoch: int, reward: float) -> Path:
        """Return the periodic checkpoint of `epoch` (at least 1) with mean reward `reward`."""
        return self.nn / f"last_{self.experiment}ep{epoch}rew{as_float32(reward)!s}.pth"

    def reward_in_name(self, path: Path) -> float | None:
        """Return the mean reward that a periodic checkpoint's name states; None for another."""
        name = re.escape(self.experiment)
        match = re.fullmatch(rf"last_{name}ep[1-9]\d*rew({FLOAT32})\.pth", path.name, re.ASCII)
        return float(as_float32(float(match[1]))) if match else None

    def checkpoints(self) -> list[Path]:
        """Return the run's checkpoints, judged by their names, the best first if there is one."""
        files = sorted(self.nn.iterdir()) if self.nn.is_dir() else []
        best = [file for file in files if file.name == self.best.name]
        return best + [file for file in files if self.reward_in_name(file) is not None]

    def holds(self, path: Path) -> bool:
        """Tell whether `path` lies in this run's folder of checkpoints."""
        return self.nn.resolve() in (path.parent.resolve(), path.resolve().parent)

    def create(self) -> None:
        """Make the run's folders, durably, and clear away what a killed session left half-saved."""
        self.nn.mkdir(parents=True, exist_ok=True)
        self.summaries.mkdir(exist_ok=True)
        for folder in (self.path, self.path.parent):
            sync_folder(folder)
        for file in (*self.path.iterdir(), *self.nn.iterdir()):
            if TEMPORARY.fullmatch(file.name):
                file.unlink()

    def clear(self) -> None:
        """Remove the checkpoints and event files of earlier sessions, and nothing else."""
        for file in [*self.checkpoints(), *self.summaries.glob("events.out.tfevents.*")]:
            file.unlink()

    def find(self, wanted: str, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
        """Return the checkpoint that `wanted` names and its content.

        Args:
            wanted: `best`, a path, or `last`: the highest stored epoch, of equals the newest.
            warn: told of each checkpoint that `last` passes over because it cannot be read.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        if wanted != "last":
            path = self.best if wanted == "best" else Path(wanted)
            return path, load_checkpoint(path)
        found, newest = None, (0, 0)
        for path in self.checkpoints():
            try:
                state = load_checkpoint(path)
                age = (state["epoch"], path.stat().st_mtime_ns)
            except (CheckpointError, OSError) as error:
                warn(f"passed over: {error}")
                continue
            if age > newest:
                found, newest = (path, state), age
        if found is None:
            raise CheckpointError(f"{self.nn} holds no checkpoint to go on from")
        return found

    def watermark(self, path: Path, state: State) -> tuple[float, bool]:
        """Return the best mean reward before a session resumed from `path`, and if a best is owed.

        A checkpoint of another run brings no watermark along: its best is not this run's. A
        periodic checkpoint written at a new best still stores the old watermark; if the run's best
        is older, the session was killed between the two saves, and owes that best.

        Raises:
            CheckpointError: the run's best is damaged.
        """
        if not self.holds(path):
            return -math.inf, False
        saved = [state["last_mean_rewards"]]
        if os.path.lexists(self.best):
            saved.append(load_checkpoint(self.best)["last_mean_rewards"])
        watermark = max((reward for reward in saved if not math.isnan(reward)), default=-math.inf)
        own = self.reward_in_name(path)
        if own is not None and own > watermark:
            return own, True
        return float(as_float32(watermark)), False


def as_float32(reward: float) -> np.float32:
    """Return `reward` in the precision in which rewards are compared and written."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in an event file
        rounded: np.float32 = np.float32(reward)
    return rounded


@dataclass
class CheckpointKeeper:
    """Decides after each epoch which checkpoints are due, and has them written in their order.

    Rewards are compared as float32, and only a strict improvement rewrites the best checkpoint:
    a tie does not, and neither does NaN.

    Attributes:
        folder: the run; its `nn` folder is there.
        save_freq: epochs between periodic checkpoints; 0 for none.
        watermark: the best mean reward so far, of earlier sessions too.
        save: writes one checkpoint, after those before it; it may return before it is safe.
    """

    folder: RunFolder
    save_freq: int
    watermark: float = -math.inf
    save: Callable[[Path, State], None] = save_checkpoint

    def catch_up(self, state: State) -> None:
        """Write the best that is owed, of the `state` of its periodic checkpoint."""
        self.save(self.folder.best, {**state, "last_mean_rewards": self.watermark})

    def after_epoch(
        self, epoch: int, mean_reward: float | None, state: Callable[[], State]
    ) -> list[Path]:
        """Save what is due after `epoch`, of all sessions; return the files, first to last.

        Args:
            epoch: counted from 1.
            mean_reward: None while no episode has finished, which writes nothing.
            state: returns what to save; asked only if something is due.

        Raises:
            OSError: a write failed, of these or of earlier ones; what was there before still is.
        """
        reward = math.nan if mean_reward is None else float(as_float32(mean_reward))
        due = []
        if mean_reward is not None and self.save_freq > 0 and epoch % self.save_freq == 0:
            due.append((self.folder.periodic(epoch, reward), self.watermark))
        if reward > self.watermark:
            due.append((self.folder.best, reward))
        content = {**state(), "epoch": epoch} if due else {}
        for path, watermark in due:
            self.save(path, {**content, "last_mean_rewards": watermark})
            self.watermark = watermark
        return [path for path, _ in due]
