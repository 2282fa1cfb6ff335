"""A training session: the loop of epochs, with its logs and its checkpoints; and playing one.

Everything that can be wrong with the settings is found before the first file is written.
"""

import fcntl
import io
import itertools
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

from reference_trainer.async_saver import Saver
from reference_trainer.config import Settings, SettingsError, run_config
from reference_trainer.ppo import EpisodeStatistics, Ppo, StateError, UpdateSummary
from reference_trainer.ranks import ALONE, Ranks
from reference_trainer.saver import (
    CheckpointError,
    CheckpointKeeper,
    RunFolder,
    find_checkpoint,
    resumed_watermark,
    write_durably,
)


class TrainingError(Exception):
    """Training cannot go on."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch brought."""

    epoch: int
    mean_reward: float | None
    watermark: float
    frames: int  # environment steps of this epoch
    seconds: float  # that it took, with its logs and saves
    written: tuple[Path, ...]  # with `async_save`: or soon to be


MeanReward = Callable[[int, EpisodeStatistics], float | None]


def measured_mean_reward(_epoch: int, statistics: EpisodeStatistics) -> float | None:
    """Return the mean return of the last finished episodes, or None if there is none yet."""
    return statistics.mean_reward


@dataclass(frozen=True)
class Timing:
    """Seconds that parts of one epoch took; `play` contains `step`."""

    step: float
    play: float
    update: float


class SummaryLog:
    """Writes one session's event file, with the tags and steps of rl_games.

    `rewards/iter` and `episode_lengths/iter` count epochs, `*/time` seconds of the session, and
    everything else the frames that were played before the epoch. Unlike TensorBoard's own writer
    it has no thread: a failure comes up here and now, as an OSError.

    Args:
        folder: the run's `summaries`.
    """

    _sessions = itertools.count()  # of this process: two of them may start within one second

    def __init__(self, folder: Path) -> None:
        began = f"{int(time.time()):010d}.{socket.gethostname()}"
        name = f"events.out.tfevents.{began}.{os.getpid()}.{next(self._sessions)}"
        self._file = (folder / name).open("xb", buffering=0)
        self._records = io.BytesIO()  # not in the file yet
        self._writer = RecordWriter(self._records)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())

    def _add(self, tag: str, value: float, step: int) -> None:
        entry = Summary.Value(tag=tag, simple_value=value)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[entry])))

    def add_update(self, epoch: int, frame: int, summary: UpdateSummary, e_clip: float) -> None:
        """Log the losses and the schedule of `epoch`."""
        self._add("losses/a_loss", summary.a_loss, frame)
        self._add("losses/c_loss", summary.c_loss, frame)
        self._add("losses/bounds_loss", summary.bounds_loss, frame)
        self._add("losses/entropy", summary.entropy, frame)
        self._add("info/last_lr", summary.learning_rate, frame)
        self._add("info/lr_mul", 1.0, frame)
        self._add("info/e_clip", e_clip, frame)
        self._add("info/kl", summary.kl, frame)
        self._add("info/epochs", epoch, frame)

    def add_timing(self, frame: int, frames: int, timing: Timing) -> None:
        """Log the speed of an epoch of `frames` environment steps."""
        total = timing.play + timing.update
        self._add("performance/step_inference_rl_update_fps", frames / total, frame)
        self._add("performance/step_inference_fps", frames / timing.play, frame)
        self._add("performance/step_fps", frames / timing.step, frame)
        self._add("performance/rl_update_time", timing.update, frame)
        self._add("performance/step_inference_time", timing.play, frame)
        self._add("performance/step_time", timing.step, frame)

    def add_mean(self, group: str, value: float, epoch: int, frame: int, seconds: float) -> None:
        """Log a mean over episodes by frame, epoch and second; `group` is what it is a mean of."""
        self._add(f"{group}/step", value, frame)
        self._add(f"{group}/iter", value, epoch)
        self._add(f"{group}/time", value, int(seconds))

    def flush(self) -> None:
        """Hand everything logged so far to the operating system; raise OSError if it refuses."""
        records = self._records.getvalue()
        try:
            while records:
                records = records[self._file.write(records) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error
        self._records.seek(0)
        self._records.truncate()

    def close(self) -> None:
        """End the event file."""
        self._file.close()


@contextmanager
def sole_session(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder, so that two sessions never write into it at once.

    Raises:
        TrainingError: another session holds it.
    """
    descriptor = os.open(folder.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another session is training in {folder.path}") from error
        yield
    finally:
        os.close(descriptor)


def device_of(settings: Settings, ranks: Ranks) -> torch.device:
    """Return the device that the settings name; of several ranks each has a GPU of its own.

    Raises:
        SettingsError: there are more ranks here than GPUs.
    """
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


def make_ppo(settings: Settings, ranks: Ranks = ALONE) -> Ppo:
    """Return a fresh agent on the device that the settings name.

    Raises:
        SettingsError: the device cannot be had, or cannot hold so many environments.
    """
    try:
        device = device_of(settings, ranks)
        torch.zeros(1, device=device)
        return Ppo(settings, settings.num_envs, device, settings.seed, ranks)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"num_envs={settings.num_envs} on device={settings.device} is not possible: {reason}"
        ) from error


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Say that `path` is of another network, as a CheckpointError, where a StateError comes up."""
    try:
        yield
    except StateError as error:
        raise CheckpointError(f"{path} does not fit these settings: {error}") from error


def play(settings: Settings, warn: Callable[[str], None]) -> tuple[Path, float]:
    """Play the checkpoint, by default the run's best, for one episode in every environment.

    Nothing is written and nothing explored.

    Returns:
        The checkpoint and the mean return.

    Raises:
        SettingsError: the settings cannot be met.
        CheckpointError: the checkpoint is missing, damaged or of another shape.
    """
    folder = RunFolder(Path(settings.root), settings.experiment)
    path, state = find_checkpoint(folder, settings.checkpoint or "best", warn)
    ppo = make_ppo(settings)
    with fitting(path):
        ppo.load(state)
    return path, float(ppo.play().double().mean())


@dataclass(frozen=True)
class Start:
    """Where a session begins: after how many epochs of the run, and from which checkpoint."""

    epochs: int = 0
    watermark: float = -math.inf
    owes_best: bool = False  # the best checkpoint of that watermark was never written
    path: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    same_run: bool = False


def find_start(folder: RunFolder, settings: Settings, warn: Callable[[str], None]) -> Start:
    """Return where the session begins, without touching anything.

    Raises:
        SettingsError: the run holds checkpoints that this session might overwrite, or is complete.
        CheckpointError: the checkpoint is missing or damaged.
    """
    start = Start()
    if settings.checkpoint:
        path, state = find_checkpoint(folder, settings.checkpoint, warn)
        watermark, owes_best = resumed_watermark(folder, path, state)
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


@dataclass(frozen=True)
class Played:
    """What one epoch was, before anything of it is on the disk."""

    epoch: int
    mean_reward: float | None
    mean_length: float | None
    frame: int  # before the epoch
    frames: int  # environment steps of the epoch, over all ranks
    began: float  # by `time.perf_counter`
    timing: Timing
    summary: UpdateSummary


class Recorder:
    """Writes what a session leaves in its run: config, event file, checkpoints, in due order.

    Under ranks the first one alone opens its recorder and writes.

    Args:
        folder: the run.
        settings: the session's.
        start: where the session begins.
    """

    keeper: CheckpointKeeper
    log: SummaryLog
    saver: Saver | None = None

    def __init__(self, folder: RunFolder, settings: Settings, start: Start) -> None:
        self._folder = folder
        self._settings = settings
        self._start = start
        self._began = time.perf_counter()
        self._opened = ExitStack()

    def open(self) -> None:
        """Take hold of the run's folder and make it ready.

        Raises:
            TrainingError: another session has the run.
            OSError: a file could not be written.
        """
        folder, settings, start = self._folder, self._settings, self._start
        folder.path.mkdir(parents=True, exist_ok=True)
        self._opened.enter_context(sole_session(folder))
        folder.create()
        if settings.overwrite:
            folder.clear()
        write_durably(folder.config, run_config(settings).encode())
        saver = self.saver = self._opened.enter_context(Saver(background=settings.async_save))

        def save(path: Path, state: Mapping[str, Any]) -> None:
            saver.save(path, state, overlap=True)  # `play_epoch` waits before it learns

        self.keeper = CheckpointKeeper(folder, settings.save_freq, start.watermark, save)
        if start.owes_best:
            self.keeper.catch_up(start.state)
        self.log = SummaryLog(folder.summaries)
        self._opened.callback(self.log.close)

    def record(self, played: Played, state: Callable[[], dict[str, Any]]) -> EpochReport:
        """Log an epoch, then save what is due; `state` returns what a checkpoint holds.

        Raises:
            OSError: a file could not be written, now or of an earlier epoch.
        """
        log, epoch, frame = self.log, played.epoch, played.frame
        seconds = time.perf_counter() - self._began
        log.add_update(epoch, frame, played.summary, self._settings.e_clip)
        log.add_timing(frame, played.frames, played.timing)
        if played.mean_reward is not None:
            log.add_mean("rewards", played.mean_reward, epoch, frame, seconds)
        if played.mean_length is not None:
            log.add_mean("episode_lengths", played.mean_length, epoch, frame, seconds)
        # The log never lags behind the checkpoints, also when the process is killed now.
        log.flush()

        if self.saver is not None:
            self.saver.check()
        written = self.keeper.after_epoch(epoch, played.mean_reward, state)
        return EpochReport(
            epoch=epoch,
            mean_reward=played.mean_reward,
            watermark=self.keeper.watermark,
            frames=played.frames,
            seconds=time.perf_counter() - played.began,
            written=tuple(written),
        )

    def before_update(self) -> None:
        """Wait until what is being saved has been copied: the weights may change from now on."""
        if self.saver is not None:
            self.saver.before_update()

    def finish(self) -> None:
        """Wait until all checkpoints are safe; raise OSError if one could not be written."""
        if self.saver is not None:
            self.saver.wait()

    def close(self) -> None:
        """Let go of the run, if it was opened, once all checkpoints are safe.

        Raises:
            OSError: one could not be written.
        """
        self._opened.close()


@dataclass(frozen=True)
class Session:
    """The parts of a session, put together by `train`."""

    ppo: Ppo
    statistics: EpisodeStatistics
    recorder: Recorder
    mean_reward: MeanReward

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides its epoch and its watermark."""
        return {**self.ppo.state(), "episodes": self.statistics.state()}

    def play_epoch(self, epoch: int) -> EpochReport:
        """Collect, learn, log and save, in this order; the saves may go on behind the next epoch.

        Raises:
            TrainingError: the weights are no longer finite; nothing of this epoch was saved.
            OSError: a file could not be written.
        """
        ppo, statistics = self.ppo, self.statistics
        frame = ppo.frame
        began = time.perf_counter()
        step_seconds = ppo.collect()
        statistics.add(*ppo.played())
        collected = time.perf_counter()
        self.recorder.before_update()
        summary = ppo.update()
        updated = time.perf_counter()
        if not ppo.is_finite():
            raise TrainingError(f"the weights are no longer finite in epoch {epoch}")

        played = Played(
            epoch=epoch,
            mean_reward=self.mean_reward(epoch, statistics),
            mean_length=statistics.mean_length,
            frame=frame,
            frames=ppo.frames_per_epoch,
            began=began,
            timing=Timing(step_seconds, collected - began, updated - collected),
            summary=summary,
        )
        return ppo.ranks.first(lambda: self.recorder.record(played, self.state))


def train(
    settings: Settings,
    *,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda _text: None,
    mean_reward: MeanReward = measured_mean_reward,
    ranks: Ranks = ALONE,
) -> EpochReport | None:
    """Train up to epoch `max_iterations` of the run, logging and saving along the way.

    Args:
        settings: what to train, where, and from which checkpoint.
        on_epoch: called after each epoch; without `async_save`, once its checkpoints are safe.
        stop: asked before each epoch whether to end early; one rank that says so is enough.
        warn: told of oddities that do not stop the session.
        mean_reward: what an epoch's mean reward is; measured by default.
        ranks: the processes that train together, joined; the first one finds the checkpoint for
            all and is the only one that writes.

    Returns:
        The report of the last epoch; None if `stop` came before the first.

    Raises:
        SettingsError: the settings cannot be met; nothing was written.
        CheckpointError: the checkpoint cannot be used; nothing was written.
        TrainingError: another session has the run, or the weights are no longer finite.
        OSError: a file could not be written, known an epoch later at the soonest with `async_save`;
            the checkpoints before it are whole.
        FailedElsewhereError: one of these came up on another rank.
        LostRankError: another rank has gone.
    """
    folder = RunFolder(Path(settings.root), settings.experiment)
    start = ranks.first(lambda: find_start(folder, settings, warn))

    def make() -> tuple[Ppo, EpisodeStatistics]:
        ppo = make_ppo(settings, ranks)
        statistics = EpisodeStatistics(settings.num_envs * ranks.size)
        if start.path is not None:
            with fitting(start.path):
                ppo.load(start.state)
                if start.same_run:
                    statistics.load(start.state.get("episodes", {}))
        return ppo, statistics

    ppo, statistics = ranks.each(make)
    with closing(Recorder(folder, settings, start)) as recorder:
        ranks.first(recorder.open)
        session = Session(ppo, statistics, recorder, mean_reward)
        report = None
        for epoch in range(start.epochs + 1, settings.max_iterations + 1):
            if ranks.any(stop()):
                break
            report = session.play_epoch(epoch)
            on_epoch(report)
        ranks.first(recorder.finish)
    return report
