"""A trainer timed from outside: how long its files take to appear, what its epochs pay for them."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from conformance.bench.watch import TimedSave, Watch, saves_of
from conformance.convention.scenario import Scenario
from conformance.trainers import Trainer, open_trainer

_EXPERIMENT = "Bench"


@dataclass(frozen=True)
class TrainingResult:
    """What was seen of real trainings; times in seconds.

    Attributes:
        trainer: its title.
        plays_rewards: whether the sessions that were to save nothing did so; else their best
            checkpoints are their own matter.
        epochs: of each session.
        saves: all files of all sessions that saved, in order.
        with_saves: of each such session, seconds for an epoch.
        without: likewise of the sessions that were to save nothing.
        unasked: files that those saved all the same.
    """

    trainer: str
    plays_rewards: bool
    epochs: int
    saves: tuple[TimedSave, ...]
    with_saves: tuple[float, ...]
    without: tuple[float, ...]
    unasked: int

    @property
    def timed(self) -> tuple[float, ...]:
        """The times from the first byte to the name, ascending, of saves seen while they went on.

        One that was over when the watching process was next given a processor has no time.
        """
        return tuple(sorted(save.seconds for save in self.saves if save.seconds > 0))

    @property
    def save_seconds(self) -> float:
        """The median of those times; NaN if there are none."""
        return statistics.median(self.timed) if self.timed else math.nan

    @property
    def cost_of_a_save(self) -> float:
        """What one save adds to a session, in seconds; NaN without saves."""
        if not self.saves:
            return math.nan
        more = statistics.median(self.with_saves) - statistics.median(self.without)
        return more * self.epochs * len(self.with_saves) / len(self.saves)


def bench_training(
    spec: str, *, folder: Path, epochs: int = 20, rounds: int = 3, time_limit: float = 600.0
) -> TrainingResult:
    """Play sessions that save in every epoch, a periodic checkpoint and the best, and some without.

    Both kinds take turns, so that a machine that gets busier meets both.

    Args:
        spec: the trainer.
        folder: where the runs are written for the time being; its disk is what is timed.
        epochs: of a session, at least 1.
        rounds: sessions of each kind, at least 1.
        time_limit: seconds for a session.

    Raises:
        TrainerSpecError: the spec is wrong.
        TrainerBroke: the trainer did not come to a good end.
        WatchError: the folder cannot be watched.
    """
    saves: list[TimedSave] = []
    unasked = 0
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with open_trainer(spec, time_limit=time_limit) as trainer:
        for turn in range(rounds + 1):  # the first one warms up
            for saving in (True, False):
                took, found = _session(trainer, folder, epochs, saving=saving)
                if turn == 0:
                    continue
                seconds[saving].append(took / epochs)
                if saving:
                    saves += found
                else:
                    unasked += len(found)
        return TrainingResult(
            trainer=trainer.title,
            plays_rewards=trainer.plays_rewards,
            epochs=epochs,
            saves=tuple(saves),
            with_saves=tuple(seconds[True]),
            without=tuple(seconds[False]),
            unasked=unasked,
        )


def _session(
    trainer: Trainer, folder: Path, epochs: int, *, saving: bool
) -> tuple[float, tuple[TimedSave, ...]]:
    """Play one session; return its seconds, and the files that appeared."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as root:
        nn = Path(root, _EXPERIMENT, "nn")
        nn.mkdir(parents=True)  # to be watched before the first save
        rewards = tuple(float(epoch) if saving else -math.inf for epoch in range(1, epochs + 1))
        scenario = Scenario(_EXPERIMENT, Path(root), 1 if saving else 0, epochs, rewards)
        with Watch(nn) as watch:
            began = time.perf_counter()
            trainer.train(scenario)
            took = time.perf_counter() - began
    return took, saves_of(watch.seen)
