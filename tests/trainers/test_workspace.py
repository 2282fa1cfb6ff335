"""The folders that trainers play in: private, on memory, gone afterwards; and what lies outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance.trainers import workspace
from conformance.trainers.workspace import Workspace


@pytest.fixture
def space(here):
    """A workspace, in a working directory of the test's own."""
    del here
    with Workspace() as opened:
        yield opened


def save(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_each_root_is_new_empty_and_private(space):
    roots = [space.fresh() for _ in range(3)]
    assert len({*roots}) == 3
    for root in roots:
        assert root.name == "runs"
        assert root.is_absolute()
        assert list(root.parent.iterdir()) == [root]
        assert list(root.iterdir()) == []
    assert space.base.stat().st_mode & 0o077 == 0


def test_cleared_roots_are_gone_and_never_come_again(space):
    first = space.fresh()
    save(first / "Cartpole/nn/Cartpole.pth")
    save(first.parent / "scenario.json")
    space.clear(first)
    assert list(space.base.iterdir()) == []
    assert space.fresh() != first


def test_nothing_is_left_behind_also_after_an_error(here):
    def broken():
        with Workspace() as opened:
            save(opened.fresh() / "Cartpole/nn/Cartpole.pth")
            bases.append(opened.base)
            raise RuntimeError("of a test")

    bases = []
    with pytest.raises(RuntimeError, match="of a test"):
        broken()
    assert not bases[0].exists()
    assert list(here.iterdir()) == []


def test_links_are_deleted_and_not_followed(space, tmp_path):
    save(tmp_path / "outside" / "kept.pth")
    root = space.fresh()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    space.clear(root)
    assert (tmp_path / "outside" / "kept.pth").exists()
    assert not root.exists()


LOCKED = """\
import os
from conformance.trainers.workspace import Workspace

os.chdir("/")
if os.geteuid() == 0:  # root is locked out of nothing
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with Workspace() as space:
    roots = [space.fresh(), space.fresh()]
    for root in roots:
        (root / "a/b").mkdir(parents=True)
        (root / "a/b/x.pth").write_text("x")
        for path in (root / "a/b", root / "a", root, root.parent):
            path.chmod(0)
    space.clear(roots[0])
    assert not roots[0].parent.exists()
    assert roots[1].parent.exists()
assert not space.base.exists()
"""


def test_folders_that_a_trainer_locked_are_deleted():
    done = subprocess.run(
        [sys.executable, "-c", LOCKED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# --- where it stands ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mounts", "free", "used"),
    [
        ("tmpfs {} tmpfs rw 0 0\n", 256, True),
        ("shm {} tmpfs rw 0 0\n", 1000, True),
        ("tmpfs {} tmpfs rw 0 0\n", 255, False),
        ("/dev/sda {} ext4 rw 0 0\n", 1000, False),
        ("tmpfs {} tmpfs rw 0 0\n/dev/sda {} ext4 rw 0 0\n", 1000, False),
        ("tmpfs {}/inside tmpfs rw 0 0\n\n", 1000, False),
        ("", 1000, False),
    ],
    ids=["just enough", "named shm", "too full", "a disk", "a disk over it", "elsewhere", "none"],
)
def test_it_stands_on_memory_where_there_is_enough(
    here, tmp_path, monkeypatch, *, mounts, free, used
):
    memory = tmp_path / "memory"
    memory.mkdir()
    real = os.statvfs(here)
    fields = [*real[:4], free * 2**20 // real.f_frsize, *real[5:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    read = Path.read_bytes
    table = mounts.replace("{}", str(memory)).encode()
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: table if path.name == "mounts" else read(path)
    )
    with Workspace(memory=memory) as opened:
        assert opened.base.is_relative_to(memory) is used
        assert opened.fresh().is_dir()


def test_it_stands_elsewhere_where_there_is_no_memory_disk(here):
    with Workspace(memory=here / "none") as opened:
        assert opened.fresh().is_dir()
    assert list(here.iterdir()) == []


# --- strays ---------------------------------------------------------------------------------


def test_a_run_in_its_root_is_no_stray(space):
    root = space.fresh()
    save(root / "Cartpole/nn/Cartpole.pth")
    save(root / "Cartpole/summaries/events.out.tfevents.1.x")
    save(root.parent / "scenario.json")
    assert space.strays(root) == ()


@pytest.mark.parametrize("name", ["nn/Cartpole.pth", "notes.txt", "Cartpole"])
def test_anything_beside_the_root_is_a_stray(space, name):
    root = space.fresh()
    save(root.parent / name)
    assert space.strays(root) == (str(root.parent / name.partition("/")[0]),)


def test_anything_beside_the_workspaces_folders_is_a_stray(space):
    root, other = space.fresh(), space.fresh()
    save(other / "Cartpole/nn/Cartpole.pth")
    assert space.strays(root) == ()
    save(root / "../../nn/Cartpole.pth")
    assert space.strays(root) == (str(space.base / "nn"),)


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        ("Cartpole.pth", "Cartpole.pth"),
        ("nn/Cartpole.pth", "nn"),
        ("outputs/day/time/Cartpole.pth", "outputs"),
        ("events.out.tfevents.1.x", "events.out.tfevents.1.x"),
        ("summaries/events.out.tfevents.1.x", "summaries"),
        ("runs/Cartpole/nn/Cartpole.pth", "runs/Cartpole"),
        ("runs/Cartpole.pth", "runs/Cartpole.pth"),
        (" odd\nname/x.pth", " odd\nname"),
        ("__pycache__/trainer.cpython-311.pyc", None),
        ("train.log", None),
        ("wandb/run-1/logs/debug.log", None),
        ("x.pth.txt", None),
        ("my.events.out.tfevents.1", None),
        ("conformance-of-another/1/runs/x.pth", None),
        ("too/deep/to/be/seen.pth", None),
    ],
)
def test_checkpoints_in_the_working_directory_are_strays_and_other_files_are_not(
    space, here, name, stray
):
    root = space.fresh()
    save(here / name)
    assert space.strays(root) == (() if stray is None else (str(here / stray),))


def test_what_was_there_before_is_no_stray(space, here):
    for name in ("nn/Cartpole.pth", "runs/Ant/nn/Ant.pth", "x.pth"):
        save(here / name)
    root = space.fresh()
    assert space.strays(root) == ()
    save(here / "runs/Cartpole/nn/Cartpole.pth")
    assert space.strays(root) == (str(here / "runs/Cartpole"),)


def test_what_strayed_once_counts_again_only_when_it_is_written_again(space, here):
    """So that a failure shows in each scenario that shows it, and shrinks."""
    counts = []
    for text in ("first", None, "later", None):
        root = space.fresh()
        if text is not None:
            save(here / "nn/Cartpole.pth", text)
        counts.append(len(space.strays(root)))
        space.clear(root)
    assert counts == [1, 0, 1, 0]


def test_a_working_directory_that_the_trainer_left_is_still_looked_at(space, here, monkeypatch):
    root = space.fresh()
    save(here / "nn/Cartpole.pth")
    monkeypatch.chdir("/")
    assert space.strays(root) == (str(here / "nn"),)


def test_a_great_new_folder_is_looked_into_a_little(space, here, monkeypatch):
    root = space.fresh()
    for number in range(20):
        for inner in range(50):
            save(here / f"data/{number}/{inner}")
    seen = []
    look = workspace._is_written
    monkeypatch.setattr(workspace, "_is_written", lambda name: seen.append(name) or look(name))
    assert space.strays(root) == ()
    assert 0 < len(seen) <= 201


def test_looking_costs_little(space, here):
    """Below 200 us beside a working directory of the usual size; three times that is a fault."""
    for number in range(30):
        save(here / f"file{number}")
    costs = []
    for _ in range(30):
        root = space.fresh()
        start = time.perf_counter()
        assert space.strays(root) == ()
        costs.append(time.perf_counter() - start)
        space.clear(root)
    assert min(costs) < 600e-6
