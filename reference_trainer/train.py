"""A training session: the loop of epochs, with its logs and its checkpoints; and playing one."""

import fcntl
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from reference_trainer.async_saver import Saver
from reference_trainer.checkpoints import (
    CheckpointError,
    CheckpointKeeper,
    RunFolder,
    save_checkpoint,
    write_durably,
)
from reference_trainer.config import Settings, SettingsError, TrainerError, run_config
from reference_trainer.ppo import EpisodeStatistics, Ppo, StateError
from reference_trainer.ranks import ALONE, Ranks
from reference_trainer.summaries import SummaryLog

MeanReward = Callable[[int, EpisodeStatistics], float | None]


class TrainingError(TrainerError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Start:
    """Where a session begins: after how many epochs of the run, and from which checkpoint."""

    epochs: int = 0
    watermark: float = -math.inf
    owes_best: bool = False  # the best checkpoint of that watermark was never written
    path: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    same_run: bool = False


@dataclass(frozen=True)
class EpochReport:
    """What one epoch brought."""

    epoch: int
    mean_reward: float | None
    watermark: float
    frames: int  # environment steps of this epoch, over all ranks
    seconds: float  # that it took, with its logs and saves
    written: tuple[Path, ...]  # with `async_save`: or soon to be


def train(
    settings: Settings,
    *,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda _text: None,
    mean_reward: MeanReward = lambda _epoch, statistics: statistics.mean_reward,
    ranks: Ranks = ALONE,
) -> EpochReport | None:
    """Train up to epoch `max_iterations` of the run, logging and saving along the way.

    Args:
        settings: what to train, where, and from which checkpoint.
        on_epoch: called after each epoch; without `async_save`, once its checkpoints are safe.
        stop: asked before each epoch whether to end early; one rank that says so is enough.
        warn: told of oddities that do not stop the session.
        mean_reward: what an epoch's mean reward is: by default that of the last episodes.
        ranks: the processes that train together, joined; only the first one finds and writes files.

    Returns:
        The report of the last epoch; None if `stop` came before the first.

    Raises:
        TrainerError: a SettingsError or a CheckpointError before anything was written; a
            TrainingError, if another session has the run or the weights are no longer finite; or
            what another rank met with.
        OSError: a file could not be written, known an epoch later at the soonest with `async_save`;
            the checkpoints before it are whole.
    """
    folder = RunFolder(settings.root, settings.experiment)
    start = ranks.first(lambda: find_start(folder, settings, warn))
    ppo, statistics = ranks.each(lambda: make_agent(settings, start, ranks))
    report, frames = None, ppo.frames_per_epoch

    def state() -> dict[str, Any]:
        return {**ppo.state(), "episodes": statistics.state()}

    with closing(RunWriter(folder, settings, start)) as writer:
        ranks.first(writer.open)
        for epoch in range(start.epochs + 1, settings.max_iterations + 1):
            if ranks.any(stop()):
                break
            began, frame = time.perf_counter(), ppo.frame
            step_time = ppo.collect()
            statistics.add(*ppo.played())
            play_time = time.perf_counter() - began
            writer.before_update()
            losses = ppo.update()
            update_time = time.perf_counter() - began - play_time
            if not ppo.is_finite():
                raise TrainingError(f"the weights are no longer finite in epoch {epoch}")

            scalars = {
                **losses,
                "info/lr_mul": 1.0,
                "info/e_clip": settings.e_clip,
                "info/epochs": epoch,
                "performance/step_inference_rl_update_fps": frames / (play_time + update_time),
                "performance/step_inference_fps": frames / play_time,
                "performance/step_fps": frames / step_time,
                "performance/rl_update_time": update_time,
                "performance/step_inference_time": play_time,
                "performance/step_time": step_time,
            }
            reward = mean_reward(epoch, statistics)
            means = {"rewards": reward, "episode_lengths": statistics.mean_length}
            watermark, written = ranks.first(
                partial(writer.record, epoch, frame, scalars, means, state)
            )
            seconds = time.perf_counter() - began
            report = EpochReport(epoch, reward, watermark, frames, seconds, tuple(written))
            on_epoch(report)
        ranks.first(writer.wait)
    return report


def find_start(folder: RunFolder, settings: Settings, warn: Callable[[str], None]) -> Start:
    """Return where the session begins, or refuse to; nothing is touched."""
    start = Start()
    if settings.checkpoint:
        path, state = folder.find(settings.checkpoint, warn)
        watermark, owes_best = folder.watermark(path, state)
        start = Start(state["epoch"], watermark, owes_best, path, state, folder.holds(path))
    if start.same_run and settings.overwrite:
        raise SettingsError("overwrite=True would remove the checkpoint to go on from")
    if not start.same_run and not settings.overwrite and folder.checkpoints():
        raise SettingsError(
            f"{folder.nn} holds checkpoints of an earlier session: go on with checkpoint=last, "
            "start over with overwrite=True, or choose another experiment"
        )
    if start.epochs >= settings.max_iterations:
        raise SettingsError(
            f"{start.path} is of epoch {start.epochs} already: "
            f"to train on, raise max_iterations={settings.max_iterations}"
        )
    return start


def device_of(settings: Settings, ranks: Ranks) -> torch.device:
    """Return the device that the settings name: of several ranks, each has a GPU of its own."""
    name, gpus = settings.device, torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if gpus >= ranks.local_size else "cpu"
    if ranks.local_size > 1 and name != "cpu":
        if name != "cuda" or gpus < ranks.local_size:
            raise SettingsError(
                f"device={name} is not possible: {ranks.local_size} ranks here need as many GPUs, "
                f"and there are {gpus}; device=cuda gives each rank one, device=cpu needs none"
            )
        name = f"cuda:{ranks.local_rank}"
    return torch.device(name)


def make_agent(
    settings: Settings, start: Start, ranks: Ranks = ALONE
) -> tuple[Ppo, EpisodeStatistics]:
    """Return the agent that goes on from `start`, and the episodes that it remembers.

    Raises:
        SettingsError: the device cannot be had, or cannot hold so many environments.
        CheckpointError: the checkpoint is of another network.
    """
    torch.set_num_threads(settings.num_threads)
    try:
        device = device_of(settings, ranks)
        torch.zeros(1, device=device)
        ppo = Ppo(settings, device, ranks)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"num_envs={settings.num_envs} on device={settings.device} is not possible: {reason}"
        ) from error
    statistics = EpisodeStatistics(settings.num_envs * ranks.size)
    try:
        if start.path is not None:
            ppo.load(start.state)
        if start.same_run:
            statistics.load(start.state.get("episodes", {}))
    except StateError as error:
        raise CheckpointError(f"{start.path} does not fit these settings: {error}") from error
    return ppo, statistics


def play(settings: Settings, warn: Callable[[str], None]) -> tuple[Path, float]:
    """Play a checkpoint, by default the best, in every environment; write and explore nothing.

    Returns:
        The checkpoint, and the mean return of one episode in each environment.
    """
    folder = RunFolder(settings.root, settings.experiment)
    path, state = folder.find(settings.checkpoint or "best", warn)
    ppo, _ = make_agent(settings, Start(path=path, state=state))
    return path, float(ppo.play().double().mean())


class RunWriter:
    """Writes what a session leaves in its run: config, event file, checkpoints, in due order.

    Under ranks the first one alone opens its writer, and nothing comes of the others'.
    """

    log: SummaryLog
    keeper: CheckpointKeeper
    saver: Saver | None = None

    def __init__(self, folder: RunFolder, settings: Settings, start: Start) -> None:
        self._run = folder, settings, start
        self._began = time.perf_counter()
        self._held = ExitStack()

    def open(self) -> None:
        """Take hold of the run's folder, or raise TrainingError if a session has it; prepare it."""
        folder, settings, start = self._run
        folder.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.path, os.O_RDONLY)
        self._held.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another session is training in {folder.path}") from error
        folder.create()
        if settings.overwrite:
            folder.clear()
        write_durably(folder.config, run_config(settings).encode())
        save: Callable[..., None] = save_checkpoint
        if settings.async_save:  # `before_update` waits until the weights may change
            self.saver = self._held.enter_context(Saver())
            save = partial(self.saver.save, overlap=True)
        self.keeper = CheckpointKeeper(folder, settings.save_freq, start.watermark, save)
        if start.owes_best:
            self.keeper.catch_up(start.state)
        self.log = self._held.enter_context(closing(SummaryLog(folder.summaries)))

    def record(
        self,
        epoch: int,
        frame: int,
        scalars: Mapping[str, float],
        means: Mapping[str, float | None],
        state: Callable[[], Mapping[str, Any]],
    ) -> tuple[float, list[Path]]:
        """Log an epoch, then save what is due; return the watermark and the files.

        Args:
            epoch: counted over all sessions.
            frame: how many were played before it.
            scalars: logged by frame.
            means: over episodes, logged by frame, epoch and second; `rewards` decides what is due.
            state: returns what a checkpoint holds besides its epoch and its watermark.
        """
        self.log.add(scalars, frame)
        seconds = int(time.perf_counter() - self._began)
        for group, mean in means.items():
            if mean is not None:
                for axis, step in (("step", frame), ("iter", epoch), ("time", seconds)):
                    self.log.add({f"{group}/{axis}": mean}, step)
        self.log.flush()  # it never lags behind the checkpoints, also when the process is killed
        if self.saver is not None:
            self.saver.check()
        written = self.keeper.after_epoch(epoch, means["rewards"], state)
        return self.keeper.watermark, written

    def before_update(self) -> None:
        """Wait until what is being saved has been copied: the weights may change from now on."""
        if self.saver is not None:
            self.saver.before_update()

    def wait(self) -> None:
        """Wait until all checkpoints are safe; raise OSError if one could not be written."""
        if self.saver is not None:
            self.saver.wait()

    def close(self) -> None:
        """Let go of the run once all checkpoints are safe; raise OSError if one is not."""
        self._held.close()
