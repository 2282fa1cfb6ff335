"""The smallest trainer that keeps the convention: written from its source text alone.

It takes nothing from the oracle, so that each holds the other to account. Its checkpoints are
archives that torch reads and its logs are event files that TensorBoard reads; only the training is
left out. Each mutant overrides one of its methods.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from conformance.evidence.checkpoint import read_checkpoint
from conformance.fixtures.archive import floats, zip_checkpoint
from conformance.fixtures.events import Scalar, event_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conformance.convention.scenario import Scenario

TAG = "rewards/iter"
FRAMES = 16  # environment steps in an epoch
_NUMBERS = itertools.count(1)


def single(value: float) -> float:
    """Return the nearest float32; beyond its range, infinity."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def half(value: float) -> float:
    """Return the nearest float16; beyond its range, infinity."""
    try:
        rounded: float = struct.unpack("<e", struct.pack("<e", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


class Trainer:
    """Keeps the convention.

    Its state is what a process holds between two epochs; `train` starts it anew.

    Attributes:
        rule: the one rule that a mutant breaks; empty where it breaks none.
        examples: within how many generated runs it is caught.
        epochs: how long its shrunken counterexample may be, over all sessions.
        also: rules besides `rule` that its runs may break; its docstring says why.
        warns: the SHOULD rules that a conforming oddity breaks.
        in_files: whether files alone show the defect: not where it takes the order of writes, the
            played rewards, a model or the folder around the run.
        scenario: the session that is played.
        name: the run's name.
        run: the run's folder.
        session: its number in the folder, from 0, by the event files found there.
        epoch: the last epoch trained; 0 before the first.
        reward: the mean reward after it.
        watermark: the highest mean reward so far.
        saving_best: whether the state at hand goes to the best checkpoint.
    """

    rule: ClassVar[str] = ""
    examples: ClassVar[int] = 50
    epochs: ClassVar[int] = 2
    also: ClassVar[frozenset[str]] = frozenset()
    warns: ClassVar[frozenset[str]] = frozenset()
    in_files: ClassVar[bool] = True

    scenario: Scenario
    name: str
    run: Path
    events: Path
    session: int = 0
    epoch: int = 0
    reward: float = math.nan
    watermark: float = -math.inf
    saving_best: bool = False

    # --- what the source text says ----------------------------------------------------------

    def train(self, scenario: Scenario) -> None:
        """Play one session, as a process of its own: only the run's files tell of earlier ones."""
        vars(self).clear()
        self.scenario = scenario
        self.name = scenario.experiment
        self.run = scenario.root / scenario.experiment
        self.begin()
        if scenario.resume:
            self.resume(scenario.resume)
        while self.goes_on():
            self.epoch += 1
            self.play_epoch(scenario.rewards[self.epoch - 1])
        self.end()

    def play_epoch(self, reward: float | None) -> None:
        """Log and save what is due; nothing before the first episode has finished."""
        if reward is None:
            return
        self.reward = single(reward)
        self.log(self.reward)
        self.save_due(self.reward)

    def save_due(self, reward: float) -> None:
        """Save the periodic checkpoint, then the best."""
        if self.is_periodic():
            self.save_periodic(reward)
        if self.improves(reward):
            self.keep_watermark(reward)
            self.save_best(reward)

    # --- decisions --------------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Tell whether another epoch is to be trained."""
        return self.epoch < self.scenario.max_epochs

    def is_periodic(self) -> bool:
        """Tell whether the epoch is one of those that `save_freq` asks for."""
        return self.scenario.save_freq > 0 and self.epoch % self.scenario.save_freq == 0

    def improves(self, reward: float) -> bool:
        """Tell whether the reward is better than any before."""
        return reward > self.watermark

    def keep_watermark(self, reward: float) -> None:
        """Take the reward of a new best for the watermark."""
        self.watermark = reward

    # --- checkpoints ------------------------------------------------------------------------

    def save_periodic(self, reward: float) -> None:
        """Save the periodic checkpoint of the epoch."""
        self.saving_best = False
        self.save(self.periodic_name(reward))

    def save_best(self, reward: float) -> None:  # noqa: ARG002 - for mutants that look at it
        """Save the best checkpoint."""
        self.saving_best = True
        self.save(self.best_name())

    def save(self, name: str) -> None:
        """Write the state to the checkpoint of that name, without its suffix."""
        self.write(self.path(name), self.encode(self.state()))

    def best_name(self) -> str:
        """Return the best checkpoint's name."""
        return self.name

    def periodic_name(self, reward: float) -> str:
        """Return the name of the epoch's periodic checkpoint."""
        return f"last_{self.name}ep{self.epoch}rew{self.text(reward)}"

    def text(self, reward: float) -> str:
        """Return the shortest text that reads back as the same float32."""
        texts = (float(f"{reward:.{digits}g}") for digits in range(1, 10))
        return str(next((value for value in texts if single(value) == reward), reward))

    def path(self, name: str) -> Path:
        """Return where a checkpoint of that name stands."""
        return self.run / "nn" / f"{name}.pth"

    def state(self) -> dict[str, object]:
        """Return what a checkpoint holds."""
        return {
            "model": self.model(),
            "epoch": self.epoch,
            "frame": self.epoch * FRAMES,
            "optimizer": self.optimizer(),
            "last_mean_rewards": self.watermark,
        }

    def model(self) -> OrderedDict[str, object]:
        """Return the state_dict of a linear layer; no other epoch or session has these values."""
        seed = self.scenario.seed % (1 << 20)
        return OrderedDict(
            (
                ("actor.weight", floats(self.epoch, self.session, seed, 0.5, shape=(2, 2))),
                ("actor.bias", floats(self.epoch / 4, -0.25)),
            )
        )

    def optimizer(self) -> dict[str, object]:
        """Return the optimizer's state_dict."""
        return {"state": {}, "param_groups": [{"lr": 0.001, "params": [0, 1]}]}

    def encode(self, state: object) -> bytes:
        """Return the checkpoint's bytes, as `torch.save` writes them."""
        return zip_checkpoint(state)

    def write(self, path: Path, data: bytes) -> None:
        """Write a checkpoint, whole or not at all."""
        temporary = path.with_name(f".saving-{os.getpid()}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)

    # --- resuming ---------------------------------------------------------------------------

    def resume(self, which: str) -> None:
        """Go on from a checkpoint; without one, start afresh."""
        path = self.best_path() if which == "best" else self.last_path()
        if path is not None:
            self.restore(path)

    def best_path(self) -> Path | None:
        """Return the best checkpoint's path; None where there is none."""
        path = self.path(self.best_name())
        return path if path.exists() else None

    def last_path(self) -> Path | None:
        """Return the checkpoint of the highest epoch, of equals the newest."""
        found = self.run.glob("nn/*.pth")
        return max(
            found, key=lambda path: (self.stored_epoch(path), path.stat().st_mtime_ns), default=None
        )

    def periodic_paths(self) -> list[Path]:
        """Return the periodic checkpoints in order; a best may begin with `last_` too."""
        prefix = f"last_{self.name}ep"
        return [path for path in sorted(self.run.glob("nn/*.pth")) if path.name.startswith(prefix)]

    def restore(self, path: Path) -> None:
        """Take epoch and watermark from the checkpoint; the best may know a higher watermark."""
        self.epoch = self.stored_epoch(path)
        best = self.best_path()
        known = (
            self.stored_watermark(path),
            self.named_reward(path),
            -math.inf if best is None else self.stored_watermark(best),
        )
        self.watermark = max(value for value in (-math.inf, *known) if not math.isnan(value))

    def stored_epoch(self, path: Path) -> int:
        """Return the epoch that a checkpoint stores; 0 for none."""
        value = _stored(path).get("epoch")
        return value if isinstance(value, int) else 0

    def stored_watermark(self, path: Path) -> float:
        """Return the watermark that a checkpoint stores; -inf for none."""
        value = _stored(path).get("last_mean_rewards")
        return value if isinstance(value, (int, float)) else -math.inf

    def named_reward(self, path: Path) -> float:
        """Return the reward in a periodic checkpoint's name; -inf in any other."""
        numbers = path.stem.removeprefix(f"last_{self.name}ep")
        if numbers == path.stem:
            return -math.inf
        with suppress(ValueError):
            return float(numbers.partition("rew")[2])
        return -math.inf

    # --- the run's other files --------------------------------------------------------------

    def begin(self) -> None:
        """Make the folders, the config and the session's event file."""
        summaries = self.run / "summaries"
        (self.run / "nn").mkdir(parents=True, exist_ok=True)
        summaries.mkdir(exist_ok=True)
        self.session = len(os.listdir(summaries))  # noqa: PTH208 - 20 times as fast
        self.write_config()
        self.events = summaries / self.event_file_name()
        self.write_events(event_file((), started=time.time()))

    def write_config(self) -> None:
        """Write the settings that the session runs with."""
        settings = {
            "name": self.name,
            "save_freq": self.scenario.save_freq,
            "max_epochs": self.scenario.max_epochs,
        }
        lines = (
            f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()
        )
        (self.run / "config.yaml").write_bytes("".join(lines).encode())

    def event_file_name(self) -> str:
        """Return a name that no other session has: time, host, process, number."""
        process = f"{os.getpid()}{next(_NUMBERS):06d}"
        return f"events.out.tfevents.{int(time.time())}.host.{process}.0"

    def log(self, reward: float) -> None:
        """Log the mean reward of the epoch."""
        self.add_scalars([Scalar(time.time(), TAG, self.epoch, reward)])

    def add_scalars(self, scalars: Iterable[Scalar]) -> None:
        """Append scalars to the event file."""
        self.write_events(event_file(tuple(scalars), started=0.0)[_HEADER:])

    def write_events(self, data: bytes) -> None:
        """Append to the event file."""
        with self.events.open("ab", buffering=0) as stream:
            stream.write(data)

    def end(self) -> None:
        """Do what is left after the last epoch: nothing."""


_HEADER = len(event_file((), started=0.0))


def _stored(path: Path) -> dict[str, object]:
    """Return the top level of a checkpoint; empty where it cannot be read."""
    root = read_checkpoint(path, verify=False).root
    return root if isinstance(root, dict) else {}
