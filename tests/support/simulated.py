"""A trainer in a dozen lines, written from the source text and not from the oracle.

Each defect is one overridden method. Its files are real archives and real event files; only the
training is left out.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.fixtures.archive import array, zip_checkpoint
from conformance.fixtures.events import Scalar, event_file

if TYPE_CHECKING:
    from pathlib import Path

STARTED = 1_700_000_000.0


def single(value: float) -> float:
    """The nearest float32."""
    return value if not math.isfinite(value) else struct.unpack("<f", struct.pack("<f", value))[0]


@dataclass
class Trainer:
    """Keeps the convention; the state that a process holds between two epochs."""

    name: str
    save_freq: int
    max_epochs: int
    files: dict[str, bytes] = field(default_factory=dict)
    watermark: float = -math.inf
    epoch: int = 0
    reward: float = math.nan
    saving_best: bool = False
    log: list[tuple[int, float]] = field(default_factory=list)
    logs: int = 0
    kept: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    # --- what the source text says ----------------------------------------------------------

    def run(self, rewards: list[float | None], *, last: int | None = None) -> None:
        """Train one session up to epoch `last`; `rewards` are over all sessions."""
        self.log = []
        while self.epoch < (last or self.max_epochs):
            self.epoch += 1
            reward = rewards[self.epoch - 1]
            if reward is not None:
                self.write_log(reward)
                self.finish_epoch(reward)
        self.end()
        self.flush()

    def finish_epoch(self, reward: float) -> None:
        if self.save_freq and self.is_periodic():
            self.save(self.periodic_name(reward))
        if self.improves(reward):
            self.keep_watermark(reward)
            self.save(self.name)

    def resume(self, path: str) -> None:
        """Start another process from the checkpoint."""
        stored_epoch, stored, own = self.kept[path]
        best = self.kept.get(self.name, (0, -math.inf, -math.inf))
        self.epoch = stored_epoch
        self.watermark = max(v for v in (-math.inf, stored, own, best[1]) if not math.isnan(v))

    def start_afresh(self) -> None:
        """Start another process in the same folder, from scratch."""
        self.epoch, self.watermark = 0, -math.inf

    # --- what defects override --------------------------------------------------------------

    def is_periodic(self) -> bool:
        return self.epoch % self.save_freq == 0

    def improves(self, reward: float) -> bool:
        return reward > self.watermark

    def keep_watermark(self, reward: float) -> None:
        self.watermark = reward

    def periodic_name(self, reward: float) -> str:
        return f"last_{self.name}ep{self.epoch}rew{self.text(reward)}"

    def text(self, reward: float) -> str:
        return str(reward)

    def end(self) -> None:
        """Called after the last epoch."""

    def write_log(self, reward: float) -> None:
        self.reward = reward
        self.log.append((self.epoch, reward))

    def model(self) -> OrderedDict[str, object]:
        values = [single(math.sin(self.epoch * 7 + i) * (1 + self.logs)) for i in range(4)]
        return OrderedDict(
            (("actor.weight", array("float32", (2, 2), struct.pack("<4f", *values))),)
        )

    def state(self) -> dict[str, object]:
        return {
            "model": self.model(),
            "epoch": self.epoch,
            "frame": self.epoch * 16,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.001, "params": [0]}]},
            "last_mean_rewards": self.watermark,
        }

    # --- the disk ---------------------------------------------------------------------------

    def path(self, stem: str) -> str:
        return f"nn/{stem}.pth"

    def save(self, stem: str) -> None:
        self.kept[stem] = (self.epoch, self.watermark, self.reward)
        self.saving_best = stem == self.name
        self.files[self.path(stem)] = zip_checkpoint(self.state())

    def flush(self) -> None:
        self.logs += 1
        started = STARTED + 1000 * self.logs
        scalars = tuple(
            Scalar(started + epoch, "rewards/iter", epoch, single(reward))
            for epoch, reward in self.log
        )
        name = f"summaries/events.out.tfevents.{int(started)}.host.{100 + self.logs}.0"
        self.files[name] = event_file(scalars, started=started)
        self.files["config.yaml"] = (
            f"name: {self.name}\nsave_freq: {self.save_freq}\nmax_epochs: {self.max_epochs}\n"
        ).encode()

    def write(self, root: Path) -> Path:
        run = root / self.name
        for path, data in self.files.items():
            target = run / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (run / "nn").mkdir(exist_ok=True, parents=True)
        return run
