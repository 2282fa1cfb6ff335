"""The checkpoints: which are due, their names, their safety on the disk, finding them."""

import errno
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyfakefs.fake_filesystem import FakeFilesystem

from reference_trainer.checkpoints import (
    CheckpointError,
    CheckpointKeeper,
    RunFolder,
    load_checkpoint,
    portable,
    save_checkpoint,
    write_durably,
)

INF, NAN = math.inf, math.nan


def state(value: float = 1.0) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), value)}, "optimizer": {}, "frame": 7}


def fail(text: str) -> None:
    pytest.fail(f"an unexpected warning: {text}")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs", "Ant")
    folder.path.mkdir(parents=True)
    folder.create()
    return folder


def names(folder: RunFolder) -> list[str]:
    return sorted(file.name for file in folder.nn.iterdir())


def play(
    folder: RunFolder, save_freq: int, rewards: Iterable[float | None], watermark: float = -INF
) -> list[str]:
    """Let a keeper see the rewards of epochs 1, 2, ...; return the names in order of writing."""
    keeper = CheckpointKeeper(folder, save_freq, watermark)
    written: list[str] = []
    for epoch, reward in enumerate(rewards, 1):
        paths = keeper.after_epoch(epoch, reward, lambda epoch=epoch: state(epoch))
        written += [path.name for path in paths]
    return written


# --- which checkpoints are due ---


@pytest.mark.parametrize(
    ("save_freq", "rewards", "expected"),
    [
        (0, [1.0, 2.0], ["best", "best"]),
        (1, [1.0], ["ep1rew1.0", "best"]),
        (2, [1.0, 0.5, 0.7, 2.0], ["best", "ep2rew0.5", "ep4rew2.0", "best"]),
        (0, [1.0, 1.0], ["best"]),
        (0, [485.3, 485.29998779296875], ["best"]),
        (0, [1.0, 1.0 + 1e-9], ["best"]),
        (0, [1.0, float(np.nextafter(np.float32(1), np.float32(2)))], ["best", "best"]),
        (0, [NAN, 1.0, NAN, 0.5, 2.0], ["best", "best"]),
        (1, [NAN], ["ep1rewnan"]),
        (1, [-INF, -5.0], ["ep1rew-inf", "ep2rew-5.0", "best"]),
        (1, [INF, INF], ["ep1rewinf", "best", "ep2rewinf"]),
        (1, [1e39, INF], ["ep1rewinf", "best", "ep2rewinf"]),
        (1, [None, None, -3.0], ["ep3rew-3.0", "best"]),
        (3, [None, None, None], []),
        (0, [0.0, -0.0], ["best"]),
    ],
)
def test_what_is_due(
    folder: RunFolder, save_freq: int, rewards: list[float | None], expected: list[str]
) -> None:
    written = [
        name.removeprefix("last_Ant").removesuffix(".pth")
        for name in play(folder, save_freq, rewards)
    ]
    assert [{"Ant": "best"}.get(name, name) for name in written] == expected


def test_a_periodic_checkpoint_at_a_new_best_stores_the_watermark_before_it(
    folder: RunFolder,
) -> None:
    play(folder, 2, [1.0, 4.0])
    assert load_checkpoint(folder.nn / "last_Antep2rew4.0.pth")["last_mean_rewards"] == 1.0
    best = load_checkpoint(folder.best)
    assert (best["last_mean_rewards"], best["epoch"]) == (4.0, 2)
    assert best["model"]["w"].tolist() == [2.0, 2.0, 2.0]


def test_an_old_watermark_is_kept(folder: RunFolder) -> None:
    assert play(folder, 0, [1.0, 9.5, 10.5], watermark=10.0) == ["Ant.pth"]
    assert load_checkpoint(folder.best)["epoch"] == 3


def test_the_state_is_asked_for_only_if_something_is_due(folder: RunFolder) -> None:
    keeper = CheckpointKeeper(folder, 0, watermark=5.0)
    assert keeper.after_epoch(1, 4.0, lambda: pytest.fail("asked")) == []


def test_a_failed_best_is_tried_again(folder: RunFolder) -> None:
    def refuse(path: Path, _state: Mapping[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "full", str(path))

    keeper = CheckpointKeeper(folder, 0, save=refuse)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            keeper.after_epoch(1, 4.0, state)
    assert keeper.watermark == -INF


# --- names ---


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (485.3, "485.3"),
        (485.29998779296875, "485.3"),
        (-1.2e-05, "-1.2e-05"),
        (5.0, "5.0"),
        (INF, "inf"),
        (-INF, "-inf"),
        (NAN, "nan"),
        (1e-45, "1e-45"),
        (1 / 3, "0.33333334"),
        (-0.0, "-0.0"),
    ],
)
def test_names_hold_the_shortest_text_of_the_float32(
    folder: RunFolder, reward: float, text: str
) -> None:
    path = folder.periodic(7, reward)
    assert path.name == f"last_Antep7rew{text}.pth"
    read = folder.reward_in_name(path)
    assert read is not None
    assert np.array_equal(np.float32(read), np.float32(reward), equal_nan=True)


@pytest.mark.parametrize(
    "name",
    [
        "last_Antep07rew1.0.pth",
        "last_Antep0rew1.0.pth",
        "last_Ant_ep_7_rew_1.0.pth",
        "last_Antep7rew[1.0].pth",
        "last_AntMazeep7rew1.0.pth",
        "last_Antep7rew1.pth",
        "last_Antep7rew1.0.pth.bak",
        "last_Antep\u0661rew1.0.pth",
        "Ant.pth",
    ],
)
def test_other_names_are_not_periodic_checkpoints_of_the_run(folder: RunFolder, name: str) -> None:
    assert folder.reward_in_name(folder.nn / name) is None


def test_a_name_that_looks_like_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    tricky = RunFolder(tmp_path, "a.bep3rew1")
    assert tricky.reward_in_name(tricky.periodic(4, 2.5)) == 2.5
    assert tricky.reward_in_name(tricky.nn / "last_axbep3rew1ep4rew2.5.pth") is None


# --- content ---


def test_checkpoints_load_with_weights_only_and_hold_no_wasted_bytes(folder: RunFolder) -> None:
    storage = torch.zeros(1_000_000)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    saved = {
        "model": {
            **model.state_dict(),
            "view": storage[:10],
            "column": storage.view(1000, 1000)[:, 0],
        },
        "optimizer": optimizer.state_dict(),
        "frame": 1,
    }
    CheckpointKeeper(folder, 0).after_epoch(1, 485.3, lambda: saved)
    loaded = torch.load(folder.best, map_location="cpu", weights_only=True)
    assert folder.best.stat().st_size < 64 * 1024
    assert type(loaded["model"]) is dict
    assert type(loaded["last_mean_rewards"]) is float
    assert loaded["last_mean_rewards"] == float(np.float32(485.3))
    for key, tensor in saved["model"].items():
        assert torch.equal(loaded["model"][key], tensor)
        assert loaded["model"][key].is_contiguous()
    optimizer.load_state_dict(loaded["optimizer"])


def test_a_snapshot_does_not_follow_later_training() -> None:
    live = {"model": {"w": torch.zeros(2)}, "list": [torch.zeros(1)], "pair": (1, 2.0)}
    snapshot = portable(live)
    live["model"]["w"].fill_(9.0)  # type: ignore[call-overload]
    assert snapshot["model"]["w"].tolist() == [0.0, 0.0]
    assert snapshot["pair"] == (1, 2.0)


# --- safety ---


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_other(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    save_checkpoint(folder.best, {**state(1.0), "epoch": 1, "last_mean_rewards": 1.0})
    before = folder.best.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "write":
        monkeypatch.setattr(Path, "open", full)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        CheckpointKeeper(folder, 0).after_epoch(2, 2.0, state)
    monkeypatch.undo()
    assert caught.value.filename == str(folder.best)
    assert names(folder) == ["Ant.pth"]
    assert folder.best.read_bytes() == before


def test_the_order_is_write_sync_rename_sync(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def kept_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        steps.append(("fsync", "temporary" if name.endswith(".tmp") else name))
        assert name == "nn" or os.fstat(descriptor).st_size == 5, "flushed before it is synced"
        fsync(descriptor)

    def kept_replace(path: Path, target: Path) -> Path:
        steps.append(("replace", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", kept_fsync)
    monkeypatch.setattr(Path, "replace", kept_replace)
    write_durably(folder.nn / "x", b"hello")
    assert steps == [("fsync", "temporary"), ("replace", "x"), ("fsync", "nn")]
    assert (folder.nn / "x").read_bytes() == b"hello"


def test_an_interrupt_while_writing_leaves_no_temporary_file(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_durably(folder.best, b"new")
    assert names(folder) == []


def test_what_a_killed_session_left_is_cleared_away_and_nothing_else(folder: RunFolder) -> None:
    for name in (
        ".saving-123.tmp",
        ".saving-4-5.tmp",
        "notes.tmp",
        ".saving-x.tmp",
        "last_Antep1rew1.0.pth",
    ):
        (folder.nn / name).touch()
    folder.create()
    assert names(folder) == [".saving-x.tmp", "last_Antep1rew1.0.pth", "notes.tmp"]


def test_starting_over_removes_only_the_run_s_own_files(folder: RunFolder) -> None:
    play(folder, 1, [1.0, 2.0])
    kept = [folder.nn / "last_AntMazeep1rew1.0.pth", folder.nn / "x.txt", folder.path / "Ant.pth"]
    for path in [*kept, folder.summaries / "events.out.tfevents.1.host"]:
        path.touch()
    folder.clear()
    assert names(folder) == ["last_AntMazeep1rew1.0.pth", "x.txt"]
    assert list(folder.summaries.iterdir()) == []
    assert all(path.exists() for path in kept)


def test_the_saver_stays_inside_a_fake_file_system(fs: FakeFilesystem) -> None:
    folder = RunFolder(Path("/fake/runs"), "Ant")
    folder.path.mkdir(parents=True)
    folder.create()
    play(folder, 2, [1.0, 3.0])
    assert names(folder) == ["Ant.pth", "last_Antep2rew3.0.pth"]
    assert folder.find("last", fail)[1]["epoch"] == 2
    assert fs.exists("/fake/runs/Ant/nn/Ant.pth")


# --- finding and loading ---


def write(path: Path, epoch: int, watermark: float, mtime: int = 1) -> None:
    save_checkpoint(path, {**state(), "epoch": epoch, "last_mean_rewards": watermark})
    os.utime(path, ns=(mtime, mtime))


def test_best_is_found_by_the_experiment_s_name(folder: RunFolder) -> None:
    write(folder.best, 5, 2.0)
    path, loaded = folder.find("best", fail)
    assert (path, loaded["epoch"]) == (folder.best, 5)


def test_last_is_the_highest_stored_epoch_not_the_highest_name(folder: RunFolder) -> None:
    write(folder.best, 990, 9.0)
    write(folder.periodic(950, 1.0), 950, 9.0)
    write(folder.periodic(1000, 1.0), 1000, 9.0)
    write(folder.nn / "last_Otherep2000rew1.0.pth", 2000, 9.0)
    assert folder.find("last", fail)[0] == folder.periodic(1000, 1.0)
    write(folder.best, 1001, 10.0)
    assert folder.find("last", fail)[0] == folder.best


def test_of_equal_epochs_last_is_the_newest(folder: RunFolder) -> None:
    older, newer = folder.periodic(10, 1.0), folder.periodic(10, 2.0)
    write(newer, 10, 1.0, mtime=2_000)
    write(older, 10, 1.0, mtime=1_000)
    assert folder.find("last", fail)[0] == newer
    os.utime(older, ns=(3_000, 3_000))
    assert folder.find("last", fail)[0] == older


def test_last_passes_over_a_torn_checkpoint_and_says_so(folder: RunFolder) -> None:
    write(folder.periodic(10, 1.0), 10, 1.0)
    torn = folder.periodic(20, 1.0)
    torn.write_bytes(folder.periodic(10, 1.0).read_bytes()[:-100])
    warnings: list[str] = []
    assert folder.find("last", warnings.append)[0] == folder.periodic(10, 1.0)
    assert warnings == [f"passed over: {torn} is torn, or no checkpoint at all"]


def test_without_checkpoints_there_is_no_last(folder: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to go on from"):
        folder.find("last", fail)


@pytest.mark.parametrize(
    ("stored", "in_name", "best", "expected"),
    [
        (5.0, 1.0, 5.0, (5.0, False)),
        (5.0, 7.0, 7.0, (7.0, False)),
        (5.0, 1.0, 8.0, (8.0, False)),
        (5.0, 7.0, 5.0, (7.0, True)),
        (-INF, 7.0, None, (7.0, True)),
        (5.0, 1.0, None, (5.0, False)),
        (1.0, 485.3, float(np.float32(485.3)), (float(np.float32(485.3)), False)),
        (-INF, NAN, None, (-INF, False)),
        (-INF, -INF, None, (-INF, False)),
        (NAN, 3.0, 3.0, (3.0, False)),
    ],
)
def test_a_resumed_watermark_is_the_highest_known(
    folder: RunFolder,
    stored: float,
    in_name: float,
    best: float | None,
    expected: tuple[float, bool],
) -> None:
    path = folder.periodic(10, in_name)
    write(path, 10, stored)
    if best is not None:
        write(folder.best, 9, best)
    assert folder.watermark(path, load_checkpoint(path)) == expected


def test_a_checkpoint_of_another_run_brings_no_watermark(folder: RunFolder, tmp_path: Path) -> None:
    write(folder.best, 5, 2.0)
    other = RunFolder(tmp_path / "runs", "Bee")
    assert other.watermark(folder.best, load_checkpoint(folder.best)) == (-INF, False)


def test_a_link_to_a_checkpoint_of_the_run_is_of_the_run(folder: RunFolder, tmp_path: Path) -> None:
    write(folder.periodic(1, 2.0), 1, 2.0)
    (tmp_path / "link.pth").symlink_to(folder.periodic(1, 2.0))
    assert folder.holds(tmp_path / "link.pth")
    assert not folder.holds(tmp_path / "elsewhere.pth")


def test_replacing_a_linked_best_leaves_what_it_linked_to(folder: RunFolder) -> None:
    write(folder.periodic(1, 2.0), 1, 2.0)
    folder.best.symlink_to(folder.periodic(1, 2.0).name)
    CheckpointKeeper(folder, 0).after_epoch(2, 3.0, state)
    assert not folder.best.is_symlink()
    assert load_checkpoint(folder.periodic(1, 2.0))["epoch"] == 1


class Hostile:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/should-never-exist",)


def flipped(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        record = next(item for item in archive.infolist() if item.filename.endswith("/data/0"))
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(3).numpy().tobytes(), record.header_offset)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b""), "is torn"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is torn"),
        (lambda path: path.write_bytes(b"hello"), "is torn"),
        (flipped, "is damaged: the check sum of archive/data/0 is wrong"),
        (lambda path: torch.save([1], path), "has no dict 'model'"),
        (lambda path: torch.save({"model": {}}, path), "has no dict 'optimizer'"),
        (lambda path: write(path, 0, 1.0), "its epoch is below 1 or its frame below 0"),
        (lambda path: torch.save({"model": Hostile()}, path), "more than plain tensors"),
        (lambda path: torch.save({"m": np.float32(1)}, path), "more than plain tensors"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(
    folder: RunFolder, damage: Callable[[Path], object], message: str
) -> None:
    write(folder.best, 5, 2.0)
    load_checkpoint(folder.best)
    damage(folder.best)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder.best)
    assert "\n" not in str(caught.value)
