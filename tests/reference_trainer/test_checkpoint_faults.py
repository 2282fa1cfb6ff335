"""The checkpoints on a fake disk that is full, read-only, forbidden, or changes under its hands."""

import errno
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_disk import EscapedWriteError, FakeDisk, guarded
from pyfakefs.fake_filesystem import FakeFilesystem

from reference_trainer.checkpoints import (
    CheckpointError,
    CheckpointKeeper,
    RunFolder,
    load_checkpoint,
    save_checkpoint,
    write_durably,
)

pytest_plugins = ["fake_disk"]


def state(value: float = 1.0) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), value)}, "optimizer": {}, "frame": 7}


@pytest.fixture
def run(fake_disk: FakeDisk) -> RunFolder:
    """Return a run on the fake disk whose best is of epoch 1, with reward 1."""
    folder = RunFolder(fake_disk.folder / "runs", "Ant")
    folder.path.mkdir(parents=True)
    folder.create()
    CheckpointKeeper(folder, 0).after_epoch(1, 1.0, state)
    return folder


def names(folder: RunFolder) -> list[str]:
    return sorted(file.name for file in folder.nn.iterdir())


def is_untouched(folder: RunFolder) -> bool:
    """Tell whether the best is the one of epoch 1, whole, and no temporary file is left."""
    best = load_checkpoint(folder.best)
    return best["epoch"] == 1 and best["model"]["w"].tolist() == [1.0] * 3


# --- saving ---


@pytest.mark.parametrize("free", [0, 1, 700])
def test_a_full_disk_keeps_the_best(fake_disk: FakeDisk, run: RunFolder, free: int) -> None:
    fake_disk.leave(free)
    keeper = CheckpointKeeper(run, 0, watermark=1.0)
    with pytest.raises(OSError, match="No space left") as caught:
        keeper.after_epoch(2, 2.0, lambda: state(2.0))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(run.best))
    assert is_untouched(run)
    assert names(run) == ["Ant.pth"]
    assert keeper.watermark == 1.0

    fake_disk.leave(1_000_000)
    assert keeper.after_epoch(3, 2.0, lambda: state(2.0)) == [run.best]
    assert load_checkpoint(run.best)["epoch"] == 3


def test_a_disk_that_fills_up_with_the_periodic_checkpoint_keeps_the_best(
    fake_disk: FakeDisk, run: RunFolder
) -> None:
    fake_disk.leave(run.best.stat().st_size + 100)
    with pytest.raises(OSError, match="No space left") as caught:
        CheckpointKeeper(run, 2, watermark=1.0).after_epoch(2, 2.0, lambda: state(2.0))
    assert caught.value.filename == str(run.best)
    assert names(run) == ["Ant.pth", "last_Antep2rew2.0.pth"]
    assert is_untouched(run)
    path, saved = run.find("last", pytest.fail)
    assert saved["epoch"] == 2
    assert run.watermark(path, saved) == (2.0, True), "the next session catches up on it"


def test_a_read_only_folder_keeps_the_best(fake_disk: FakeDisk, run: RunFolder) -> None:
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run.nn, 0o555)
    with pytest.raises(PermissionError) as caught:
        CheckpointKeeper(run, 0, watermark=1.0).after_epoch(2, 2.0, lambda: state(2.0))
    assert caught.value.filename == str(run.best)
    assert is_untouched(run)
    assert names(run) == ["Ant.pth"]


def test_a_folder_that_has_gone_is_named(fake_disk: FakeDisk, run: RunFolder) -> None:
    fake_disk.fs.remove_object(str(run.nn))
    with pytest.raises(FileNotFoundError) as caught:
        CheckpointKeeper(run, 0).after_epoch(2, 2.0, state)
    assert caught.value.filename == str(run.best)


def test_a_config_that_does_not_fit_keeps_the_old_one(fake_disk: FakeDisk, run: RunFolder) -> None:
    write_durably(run.config, b"old")
    fake_disk.leave(2)
    with pytest.raises(OSError, match="No space left"):
        write_durably(run.config, b"newer")
    assert run.config.read_bytes() == b"old"
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "nn", "summaries"]


def test_a_run_that_may_not_be_made_is_named(fake_disk: FakeDisk) -> None:
    fake_disk.fs.chmod(fake_disk.folder, 0o555)
    fake_disk.become_nobody()
    with pytest.raises(PermissionError):
        RunFolder(fake_disk.folder / "runs", "Ant").create()
    assert list(fake_disk.folder.iterdir()) == []


# --- finding ---


def save_periodic(run: RunFolder, *epochs: int) -> None:
    for epoch in epochs:
        CheckpointKeeper(run, 1, math.inf).after_epoch(epoch, 0.5, state)


def test_a_forbidden_checkpoint_is_passed_over_with_a_word(
    fake_disk: FakeDisk, run: RunFolder
) -> None:
    save_periodic(run, 4, 5)
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run.periodic(5, 0.5), 0)
    said: list[str] = []
    path, _ = run.find("last", said.append)
    assert path == run.periodic(4, 0.5)
    (line,) = said
    assert line.startswith("passed over: ")
    assert "last_Antep5rew0.5.pth cannot be read: Permission denied" in line


def test_a_forbidden_best_is_an_error(fake_disk: FakeDisk, run: RunFolder) -> None:
    save_periodic(run, 4)
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run.best, 0)
    with pytest.raises(CheckpointError, match=r"Ant\.pth cannot be read: Permission denied"):
        run.find("best", pytest.fail)
    path, saved = run.find("last", lambda _text: None)
    with pytest.raises(CheckpointError, match=r"Ant\.pth cannot be read: Permission denied"):
        run.watermark(path, saved)


def vanishing(fs: FakeFilesystem, path: Path, before: Callable[..., Any]) -> Callable[..., Any]:
    """Return `before`, which another program forestalls by removing `path`."""

    def forestalled(asked: Path, *arguments: Any, **options: Any) -> Any:
        if asked == path and fs.exists(path):
            fs.remove_object(str(path))
        return before(asked, *arguments, **options)

    return forestalled


@pytest.mark.parametrize("step", ["read_bytes", "stat"])
def test_a_checkpoint_that_vanishes_after_listing_is_passed_over(
    fake_disk: FakeDisk, run: RunFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    save_periodic(run, 4, 5)
    gone = run.periodic(5, 0.5)
    owner = type(gone)
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, vanishing(fake_disk.fs, gone, getattr(owner, step)))
        path, _ = run.find("last", said.append)
    assert path == run.periodic(4, 0.5)
    (line,) = said
    assert "last_Antep5rew0.5.pth" in line
    assert "No such file" in line
    assert names(run) == ["Ant.pth", "last_Antep4rew0.5.pth"]


# --- the guard ---


def test_the_guard_catches_torch_s_own_writer(fake_disk: FakeDisk) -> None:
    """`torch.save(obj, path)` would pass by the fake disk."""
    with pytest.raises(EscapedWriteError, match=r"a\.pth on the real disk"):
        torch.save({}, fake_disk.folder / "a.pth")
    with (fake_disk.folder / "b.pth").open("wb") as file:
        torch.save({}, file)
    save_checkpoint(fake_disk.folder / "c.pth", state())
    assert sorted(path.name for path in fake_disk.folder.iterdir()) == ["b.pth", "c.pth"]


@pytest.mark.parametrize("relative", [True, False])
def test_the_guard_catches_any_other_native_write(
    real_folder: Path, fs: FakeFilesystem, relative: bool
) -> None:
    """SQLite, say, which writes in C."""
    path = "escaped.db" if relative else str(real_folder / "escaped.db")

    def escape() -> None:
        with guarded(fs, real_folder):
            connection = sqlite3.connect(path)
            connection.execute("CREATE TABLE t (x)")
            connection.close()

    with pytest.raises(EscapedWriteError, match=r"written on the real disk: .*escaped\.db"):
        escape()
    assert not fs.exists(path)


def test_the_guard_lets_pass_what_stays_on_the_fake_disk(
    real_folder: Path, fs: FakeFilesystem
) -> None:
    fs.makedirs(real_folder)
    with guarded(fs, real_folder):
        (Path(str(real_folder)) / "kept").write_text("here")
    assert fs.exists(real_folder / "kept")
