"""A training session: its files, its logs, resuming, and refusing before anything is written."""

import errno
import fcntl
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reference_trainer import async_saver
from reference_trainer import checkpoints as checkpoints_module
from reference_trainer import train as train_module
from reference_trainer.checkpoints import CheckpointError, RunFolder, load_checkpoint
from reference_trainer.config import Settings, SettingsError
from reference_trainer.ppo import ActorCritic, EpisodeStatistics, Ppo
from reference_trainer.summaries import SummaryLog
from reference_trainer.train import (
    EpochReport,
    MeanReward,
    RunWriter,
    TrainingError,
    play,
    train,
)

Make = Callable[..., Settings]
RL_GAMES_TAGS = {
    *(f"performance/{name}" for name in ("step_inference_rl_update_fps", "step_inference_fps")),
    *(f"performance/{name}" for name in ("step_fps", "rl_update_time", "step_inference_time")),
    "performance/step_time",
    *(f"losses/{name}" for name in ("a_loss", "c_loss", "entropy", "bounds_loss")),
    *(f"info/{name}" for name in ("last_lr", "lr_mul", "e_clip", "kl", "epochs")),
    *(f"rewards/{name}" for name in ("step", "iter", "time")),
    *(f"episode_lengths/{name}" for name in ("step", "iter", "time")),
}


def scripted(*rewards: float | None) -> MeanReward:
    def mean_reward(epoch: int, _statistics: EpisodeStatistics) -> float | None:
        return rewards[epoch - 1]

    return mean_reward


def folder_of(settings: Settings) -> RunFolder:
    return RunFolder(Path(settings.root), settings.experiment)


def checkpoints(settings: Settings) -> list[str]:
    return sorted(path.name for path in folder_of(settings).nn.iterdir())


def tree(root: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def logged(event_file: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(event_file), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_a_session_leaves_the_convention_s_files(small: Make) -> None:
    settings = small()
    reports: list[EpochReport] = []
    last = train(settings, on_epoch=reports.append, mean_reward=scripted(1.0, 0.5, 2.0, 2.0))
    folder = folder_of(settings)
    assert checkpoints(settings) == [
        "Small.pth",
        "last_Smallep2rew0.5.pth",
        "last_Smallep4rew2.0.pth",
    ]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert last == reports[-1]
    assert [len(report.written) for report in reports] == [1, 1, 1, 1]
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "nn", "summaries"]
    config = yaml.safe_load(folder.config.read_text())
    assert (config["name"], config["save_freq"], config["max_epochs"]) == ("Small", 2, 4)
    best = torch.load(folder.best, weights_only=True)
    assert (best["epoch"], best["frame"], best["last_mean_rewards"]) == (3, 3 * 256, 2.0)
    ActorCritic().load_state_dict(best["model"], strict=True)


def test_without_finished_episodes_nothing_is_saved_or_logged(small: Make) -> None:
    settings = small(save_freq=1)
    train(settings, mean_reward=scripted(None, None, None, None))
    assert checkpoints(settings) == []
    (event_file,) = folder_of(settings).summaries.iterdir()
    assert "rewards/iter" not in logged(event_file)


def test_the_log_has_rl_games_tags_and_steps(small: Make) -> None:
    settings = small(num_envs=512)
    train(settings)
    (event_file,) = folder_of(settings).summaries.iterdir()
    assert event_file.name.startswith("events.out.tfevents.")
    scalars = logged(event_file)
    assert set(scalars) == RL_GAMES_TAGS
    frames = [0, 8192, 2 * 8192, 3 * 8192]
    assert [step for step, _ in scalars["rewards/iter"]] == [1, 2, 3, 4]
    assert [step for step, _ in scalars["episode_lengths/iter"]] == [1, 2, 3, 4]
    for tag in ("rewards/step", "losses/a_loss", "info/kl", "performance/step_fps"):
        assert [step for step, _ in scalars[tag]] == frames
    assert [value for _, value in scalars["info/epochs"]] == [1, 2, 3, 4]
    assert all(step <= 60 for step, _ in scalars["rewards/time"])
    rewards = [value for _, value in scalars["rewards/iter"]]
    assert rewards == [value for _, value in scalars["rewards/step"]]
    best = load_checkpoint(folder_of(settings).best)
    assert best["last_mean_rewards"] == max(rewards)


def test_nan_is_logged_but_does_not_poison(small: Make) -> None:
    settings = small(save_freq=0)
    train(settings, mean_reward=scripted(1.0, math.nan, 0.5, 3.0))
    assert load_checkpoint(folder_of(settings).best)["epoch"] == 4
    (event_file,) = folder_of(settings).summaries.iterdir()
    assert math.isnan(logged(event_file)["rewards/iter"][1][1])


def test_sessions_that_start_within_one_second_have_a_log_each(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    train(small(), mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    train(small(checkpoint="last", max_iterations=5), mean_reward=scripted(*[1.0] * 5))
    first, second = sorted(
        (logged(path)["rewards/iter"] for path in folder_of(small()).summaries.iterdir()), key=len
    )
    assert [step for step, _ in second + first] == [1, 2, 3, 4, 5]


def test_a_log_that_cannot_be_written_stops_the_session_before_its_saves(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(save_freq=1)
    flush = SummaryLog.flush

    def fill_up(report: EpochReport) -> None:
        if report.epoch == 2:
            monkeypatch.setattr(SummaryLog, "flush", onto_a_full_disk)

    def onto_a_full_disk(log: SummaryLog) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
            patch.setattr(log, "_file", full)
            flush(log)

    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        train(settings, on_epoch=fill_up, mean_reward=scripted(1.0, 2.0, 3.0, 4.0))
    assert load_checkpoint(folder_of(settings).best)["epoch"] == 2
    assert not [name for name in checkpoints(settings) if "ep3" in name]


def test_the_log_is_on_the_disk_before_the_checkpoint(small: Make) -> None:
    """A killed process: what is there when a save fails is what a kill would leave."""
    settings = small(save_freq=0, max_iterations=3)
    seen: list[int] = []

    def look(_report: EpochReport) -> None:
        (event_file,) = folder_of(settings).summaries.iterdir()
        seen.append(len(logged(event_file)["rewards/iter"]))

    train(settings, on_epoch=look, mean_reward=scripted(1.0, 2.0, 3.0))
    assert seen == [1, 2, 3]


def test_last_goes_on_counting_and_keeps_the_watermark(small: Make) -> None:
    rewards = scripted(5.0, 9.0, 7.0, 1.0, 8.0, 9.5, 2.0)
    train(small(save_freq=3), mean_reward=rewards)
    resumed = small(save_freq=3, max_iterations=7, checkpoint="last")
    reports: list[EpochReport] = []
    train(resumed, on_epoch=reports.append, mean_reward=rewards)
    assert [report.epoch for report in reports] == [4, 5, 6, 7]
    assert [report.watermark for report in reports] == [9.0, 9.0, 9.5, 9.5]
    best = load_checkpoint(folder_of(resumed).best)
    assert (best["epoch"], best["frame"]) == (6, 6 * 256)
    assert len(list(folder_of(resumed).summaries.iterdir())) == 2
    assert yaml.safe_load(folder_of(resumed).config.read_text())["max_epochs"] == 7


def test_best_goes_on_after_its_own_epoch(small: Make) -> None:
    train(small(), mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    reports: list[EpochReport] = []
    resumed = small(checkpoint="best", max_iterations=3)
    train(resumed, on_epoch=reports.append, mean_reward=scripted(0.0, 4.0, 5.0))
    assert [report.epoch for report in reports] == [2, 3]
    assert load_checkpoint(folder_of(resumed).best)["epoch"] == 1


@pytest.mark.parametrize("async_save", [True, False])
def test_a_best_that_a_killed_session_did_not_get_to_is_caught_up_on(
    small: Make, monkeypatch: pytest.MonkeyPatch, async_save: bool
) -> None:
    """Killed in epoch 2 after the periodic save and before the best; then it never gets as good."""
    rewards = scripted(1.0, 9.0, 2.0, 3.0)
    replace = os.replace

    def kill(temporary: str, path: str) -> None:
        if Path(path).name == "Small.pth" and Path(path).exists():
            raise KeyboardInterrupt
        replace(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            train(small(async_save=async_save), mean_reward=rewards)
    assert checkpoints(small()) == ["Small.pth", "last_Smallep2rew9.0.pth"]
    assert load_checkpoint(folder_of(small()).best)["epoch"] == 1

    train(small(checkpoint="last", async_save=async_save), mean_reward=rewards)
    best = load_checkpoint(folder_of(small()).best)
    assert (best["epoch"], best["last_mean_rewards"]) == (2, 9.0)


def test_resuming_restores_weights_learning_rate_and_episodes(small: Make) -> None:
    settings = small(num_envs=64, max_iterations=6, save_freq=6)
    train(settings)
    saved = load_checkpoint(next(folder_of(settings).nn.glob("last_*")))
    seen: dict[str, Any] = {}

    def first_epoch(epoch: int, statistics: EpisodeStatistics) -> float | None:
        seen[str(epoch)] = list(statistics.returns)
        return statistics.mean_reward

    train(small(num_envs=64, max_iterations=7, checkpoint="last"), mean_reward=first_epoch)
    old = saved["episodes"]["returns"].tolist()
    assert len(old) == 100
    new = seen["7"]
    assert any(new[:keep] == old[-keep:] for keep in range(1, 101)), "the window goes on"


def test_another_run_s_checkpoint_starts_a_run_with_a_best_of_its_own(
    small: Make,
) -> None:
    source = small(experiment="Source")
    train(source, mean_reward=scripted(5.0, 90.0, 1.0, 1.0))
    tuned = small(
        experiment="Tuned", max_iterations=4, checkpoint=str(folder_of(source).best), save_freq=0
    )
    reports: list[EpochReport] = []
    train(tuned, on_epoch=reports.append, mean_reward=scripted(0.0, 0.0, 3.0, 2.0))
    assert [report.epoch for report in reports] == [3, 4]
    assert load_checkpoint(folder_of(tuned).best)["last_mean_rewards"] == 3.0


def test_a_fresh_start_does_not_touch_an_old_run(small: Make) -> None:
    settings = small()
    train(settings, mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    before = tree(settings.root)
    with pytest.raises(SettingsError, match=r"checkpoint=last.*overwrite=True.*another experiment"):
        train(settings)
    assert tree(settings.root) == before


def test_starting_over_on_request(small: Make) -> None:
    train(small(), mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    again = small(overwrite=True, save_freq=3)
    train(again, mean_reward=scripted(0.5, 0.1, 0.1, 0.1))
    assert checkpoints(again) == ["Small.pth", "last_Smallep3rew0.1.pth"]
    assert load_checkpoint(folder_of(again).best)["last_mean_rewards"] == 0.5
    assert len(list(folder_of(again).summaries.iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"checkpoint": "best", "experiment": "New"}, CheckpointError, "cannot be read"),
        ({"checkpoint": "last", "experiment": "New"}, CheckpointError, "no checkpoint"),
        ({"checkpoint": "nowhere.pth"}, CheckpointError, "nowhere.pth cannot be read"),
        ({"checkpoint": "last"}, SettingsError, "is of epoch 4 already"),
        (
            {"checkpoint": "last", "max_iterations": 9, "overwrite": True},
            SettingsError,
            "overwrite",
        ),
        ({"checkpoint": "best", "max_iterations": 9, "units": [8]}, CheckpointError, "shape"),
        ({"experiment": "New", "device": "cuda:99"}, SettingsError, "device=cuda:99"),
        (
            {"experiment": "New", "num_envs": 2**31, "horizon_length": 2**20},
            SettingsError,
            "num_envs",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    small: Make, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    old = small()
    train(old, mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    before = tree(old.root)
    with pytest.raises(error, match=message) as caught:
        train(small(**changes))
    assert "\n" not in str(caught.value)
    assert tree(old.root) == before
    assert not (Path(old.root) / "New").exists()


def test_a_torn_best_stops_a_resumption(small: Make) -> None:
    settings = small()
    train(settings, mean_reward=scripted(5.0, 1.0, 1.0, 1.0))
    folder_of(settings).best.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"Small\.pth is torn"):
        train(small(checkpoint=str(folder_of(settings).periodic(4, 1.0)), max_iterations=9))


def test_two_sessions_never_share_a_run(small: Make) -> None:
    settings = small()
    folder_of(settings).path.mkdir(parents=True)
    descriptor = os.open(folder_of(settings).path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another session is training"):
            train(settings)
    finally:
        os.close(descriptor)
    assert tree(settings.root) == {}
    train(settings, mean_reward=scripted(1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize("async_save", [True, False])
def test_a_full_disk_keeps_the_previous_best(
    small: Make, monkeypatch: pytest.MonkeyPatch, async_save: bool
) -> None:
    saver, name = (checkpoints_module, "write_durably")
    if async_save:
        saver, name = (async_saver.saver, "write_file")
    write, paths = getattr(saver, name), []

    def fill_up(path: Path, *arguments: Any, **options: Any) -> None:
        paths.append(path)
        if len(paths) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *arguments, **options)

    monkeypatch.setattr(saver, name, fill_up)
    settings = small(save_freq=0, async_save=async_save)
    with pytest.raises(OSError, match="No space left on device"):
        train(settings, mean_reward=scripted(1.0, 2.0, 3.0, 4.0))
    assert checkpoints(settings) == ["Small.pth"]
    assert load_checkpoint(folder_of(settings).best)["epoch"] == 2


def test_the_number_of_threads_is_set(small: Make) -> None:
    train(small(num_threads=2, max_iterations=1))
    assert torch.get_num_threads() == 2


def test_weights_that_are_no_longer_finite_are_never_saved(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small()
    update = Ppo.update

    def break_down(ppo: Ppo) -> dict[str, float]:
        losses = update(ppo)
        if ppo.frame == 3 * ppo.frames_per_epoch:
            with torch.no_grad():
                ppo.model.mu.bias.fill_(math.inf)
        return losses

    monkeypatch.setattr(Ppo, "update", break_down)
    with pytest.raises(TrainingError, match="epoch 3"):
        train(settings, mean_reward=scripted(1.0, 2.0, 3.0, 4.0))
    assert load_checkpoint(folder_of(settings).best)["epoch"] == 2


def test_a_stop_ends_after_the_epoch_in_progress(small: Make) -> None:
    settings = small(save_freq=1)
    seen: list[int] = []
    last = train(
        settings,
        on_epoch=lambda report: seen.append(report.epoch),
        stop=lambda: len(seen) == 2,
        mean_reward=scripted(1.0, 2.0, 3.0, 4.0),
    )
    assert last is not None
    assert last.epoch == 2
    assert checkpoints(settings) == [
        "Small.pth",
        "last_Smallep1rew1.0.pth",
        "last_Smallep2rew2.0.pth",
    ]
    assert train(small(checkpoint="last"), stop=lambda: True) is None


def test_the_same_seed_gives_the_same_rewards(small: Make) -> None:
    histories = []
    for experiment in ("A", "B"):
        history: list[float | None] = []
        train(
            small(experiment=experiment, num_envs=128, mini_epochs=8),
            on_epoch=lambda report, history=history: history.append(report.mean_reward),
        )
        histories.append(history)
    assert histories[0] == histories[1]
    assert None not in histories[0]


def test_playing_takes_the_best_by_default_and_writes_nothing(small: Make) -> None:
    settings = small(max_iterations=2)
    train(settings, mean_reward=scripted(1.0, 0.0))
    before = tree(settings.root)
    path, mean = play(small(test=True), pytest.fail)
    assert path == folder_of(settings).best
    assert play(small(test=True), pytest.fail)[1] == mean
    assert -2.0 <= mean <= 500.0
    path, _ = play(small(test=True, checkpoint="last"), pytest.fail)
    assert path.name == "last_Smallep2rew0.0.pth"
    assert tree(settings.root) == before


def test_playing_a_missing_or_misfit_checkpoint_is_refused(small: Make) -> None:
    with pytest.raises(CheckpointError, match=r"Small\.pth cannot be read"):
        play(small(), pytest.fail)
    train(small(), mean_reward=scripted(1.0, 0.0, 0.0, 0.0))
    with pytest.raises(CheckpointError, match=r"Small\.pth does not fit these settings"):
        play(small(units=[8, 8]), pytest.fail)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_it_learns_to_balance_within_100_epochs(tmp_path: Path, seed: int) -> None:
    """Seed 42 is the README's: its commands are run by the test of the README."""
    settings = Settings(root=str(tmp_path), seed=seed, device="cpu")
    last = train(settings)
    assert last is not None
    assert last.mean_reward is not None
    assert last.mean_reward > 480
    _, mean = play(settings, pytest.fail)
    assert mean > 480


# --- saves behind the training ---


@pytest.mark.parametrize("async_save", [True, False])
def test_the_files_are_the_same_behind_the_training_and_before_it_goes_on(
    small: Make, async_save: bool
) -> None:
    rewards = scripted(1.0, 3.0, 2.0, 4.0)
    settings = small(async_save=async_save)
    assert train(settings, mean_reward=rewards) is not None
    assert checkpoints(settings) == [
        "Small.pth",
        "last_Smallep2rew3.0.pth",
        "last_Smallep4rew4.0.pth",
    ]
    best = load_checkpoint(folder_of(settings).best)
    assert (best["epoch"], best["last_mean_rewards"]) == (4, 4.0)
    assert type(best["last_mean_rewards"]) is float
    periodic = load_checkpoint(folder_of(settings).nn / "last_Smallep4rew4.0.pth")
    assert periodic["last_mean_rewards"] == 3.0
    for key, weights in best["model"].items():
        assert torch.equal(weights, periodic["model"][key])


def test_without_async_save_the_plain_durable_save_runs(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "Saver", lambda: pytest.fail("the guest is not asked"))
    settings = small(async_save=False, save_freq=0)
    safe: list[int] = []
    train(
        settings,
        mean_reward=scripted(1.0, 2.0, 3.0, 4.0),
        on_epoch=lambda _: safe.append(load_checkpoint(folder_of(settings).best)["epoch"]),
    )
    assert safe == [1, 2, 3, 4], "each save is safe before training goes on"


def test_a_checkpoint_holds_the_weights_of_its_epoch_and_not_of_the_next(small: Make) -> None:
    """The copy may be made while the next epoch is played, never while it learns."""
    rewards = scripted(*map(float, range(1, 9)))
    saved = []
    for async_save in (True, False):
        settings = small(async_save=async_save, save_freq=1, max_iterations=8, overwrite=True)
        train(settings, mean_reward=rewards)
        files = sorted(folder_of(settings).nn.iterdir())
        saved.append([load_checkpoint(path)["model"] for path in files])
    for behind, before in zip(*saved, strict=True):
        assert behind.keys() == before.keys()
        assert all(torch.equal(behind[key], before[key]) for key in behind)


@pytest.mark.parametrize(("failing", "epochs"), [("last_Smallep2rew2.0.pth", 2), ("Small.pth", 1)])
def test_a_save_that_fails_in_the_last_epoch_is_known_at_the_end(
    small: Make, monkeypatch: pytest.MonkeyPatch, failing: str, epochs: int
) -> None:
    """The periodic checkpoint of the epoch, or its best: nothing is written behind it."""
    write = async_saver.saver.write_file

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == failing:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *arguments, **options)

    monkeypatch.setattr(async_saver.saver, "write_file", full)
    seen: list[int] = []
    settings = small(max_iterations=epochs, save_freq=2)
    with pytest.raises(OSError, match="No space left on device") as caught:
        train(
            settings,
            mean_reward=scripted(1.0, 2.0, 3.0, 4.0),
            on_epoch=lambda report: seen.append(report.epoch),
        )
    assert Path(caught.value.filename).name == failing
    assert checkpoints(settings) == (["Small.pth"] if failing != "Small.pth" else [])


def test_training_ends_with_the_epoch_in_which_a_failure_is_known(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(async_saver.saver, "write_file", full)
    seen: list[int] = []
    writers: list[RunWriter] = []
    opened = RunWriter.open

    def noted(writer: RunWriter) -> None:
        opened(writer)
        writers.append(writer)

    def mean_reward(epoch: int, _statistics: EpisodeStatistics) -> float:
        saver = writers[0].saver
        if epoch > 1 and saver is not None:  # nothing is due, and by now the first save has failed
            saver._pipeline.wait()
        return 9.0

    monkeypatch.setattr(RunWriter, "open", noted)
    with pytest.raises(OSError, match="No space left on device"):
        train(
            small(max_iterations=50, save_freq=0),
            mean_reward=mean_reward,
            on_epoch=lambda report: seen.append(report.epoch),
        )
    assert seen == [1]
