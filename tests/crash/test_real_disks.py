"""The reference trainer on disks that run full, go read-only or go away, and stopped in a save.

First as the adapter's process, which plays the scenario's rewards; then as its own command line,
`python -m reference_trainer`, which saves behind the training by default, also 100 MB.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from traced import needs_strace

from conformance.convention.profile import load_profile
from conformance.convention.scenario import Scenario
from conformance.crash.calls import read_log
from conformance.crash.held import left_in
from conformance.crash.tracing import Tracing
from reference_trainer.adapter import ReferenceTrainer
from reference_trainer.overrides import from_command_line
from reference_trainer.train import train as train_here

pytestmark = pytest.mark.slow
PROFILE = load_profile()
ADAPTER = "reference_trainer.adapter"
MOUNT, UMOUNT = (shutil.which(name) or name for name in ("mount", "umount"))


@pytest.fixture
def scenario(tmp_path):
    """A first best, and a second one in the third epoch."""
    root = tmp_path / "runs"
    root.mkdir()
    return Scenario("A", root, 0, 3, (1.0, 0.5, 2.0))


@contextlib.contextmanager
def small_disk(folder, size):
    """A tmpfs of so many bytes on a folder; without the right to mount, there is none to test."""
    done = subprocess.run(
        [MOUNT, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs root; the file-size limit is tested all the same")
    try:
        yield
    finally:
        subprocess.run([UMOUNT, folder], check=True)


def play(scenario, *, limit=None):
    """Play a session in a process of its own; its exit code and what it said."""
    file = scenario.root.parent / "scenario.json"
    file.write_text(scenario.to_json())

    def before():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", ADAPTER, file],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
    )
    return done.returncode, done.stderr


def left(scenario):
    return left_in(scenario.root / "A/nn", "A", PROFILE)


def assert_it_says_so_and_keeps_the_best(scenario, played, error, epoch=1):
    code, said = played
    assert code == 1
    assert error in said
    assert "Traceback" not in said
    assert (left(scenario).best.state, left(scenario).best.epoch) == ("whole", epoch)
    assert left(scenario).foreign == ()


def test_a_file_size_limit_is_told_of_and_the_best_survives(scenario):
    ReferenceTrainer().train(replace(scenario, max_epochs=1, rewards=(1.0,)))
    size = (scenario.root / "A/nn/A.pth").stat().st_size
    resumed = replace(scenario, resume="best")
    played = play(resumed, limit=size // 2)
    assert_it_says_so_and_keeps_the_best(scenario, played, "File too large")


def test_a_disk_that_runs_full_is_told_of_and_the_best_survives(scenario):
    ReferenceTrainer().train(replace(scenario, max_epochs=1, rewards=(1.0,)))
    size = (scenario.root / "A/nn/A.pth").stat().st_size
    shutil.rmtree(scenario.root / "A")
    # Room for one checkpoint, half of another one, and the config and the log around them.
    with small_disk(scenario.root, size * 3 // 2 + 3 * 4096):
        played = play(scenario)
        assert_it_says_so_and_keeps_the_best(scenario, played, "No space left")


def test_a_disk_that_goes_read_only_is_told_of_and_the_best_survives(scenario):
    with small_disk(scenario.root, 16 * 1024 * 1024):
        ReferenceTrainer().train(replace(scenario, max_epochs=1, rewards=(1.0,)))
        subprocess.run([MOUNT, "-o", "remount,ro", scenario.root], check=True)
        played = play(replace(scenario, resume="best"))
        assert_it_says_so_and_keeps_the_best(scenario, played, "Read-only file system")


def stopped_at_a_save(scenario, inject):
    """The process under strace, which has stopped it behind a save, and who was stopped."""
    log = scenario.root.parent / "log"
    file = scenario.root.parent / "scenario.json"
    file.write_text(scenario.to_json())
    arguments = Tracing(log, inject, (str(scenario.root / "A/nn"),)).arguments(starts=True)
    process = subprocess.Popen(
        [*arguments, "--", sys.executable, "-m", ADAPTER, file],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines() if log.exists() else ():
            if line.endswith("--- stopped by SIGSTOP ---"):
                return process, int(line.split()[0])
        time.sleep(0.01)
    process.kill()
    raise AssertionError("it never came to a save")


def test_a_run_that_is_deleted_meanwhile_is_told_of(scenario):
    needs_strace()
    process, stopped = stopped_at_a_save(scenario, "fsync:signal=SIGSTOP:when=1")
    shutil.rmtree(scenario.root / "A")
    os.kill(stopped, signal.SIGCONT)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "No such file" in said
    assert "Traceback" not in said


def fsyncs(log):
    return [call for call in read_log(log.read_text("ascii").splitlines()) if call.name == "fsync"]


def test_sigterm_in_a_save_lets_it_end_and_exits_cleanly(tmp_path):
    needs_strace()
    nn = tmp_path / "runs/A/nn"
    log = tmp_path / "log"
    inject = "fsync:signal=SIGTERM:when=1"
    arguments = Tracing(log, inject, (str(nn),)).arguments(starts=True)
    command = ["-m", "reference_trainer", f"root={tmp_path / 'runs'}", "experiment=A"]
    settings = ["num_envs=8", "horizon_length=16", "max_iterations=100000", "device=cpu"]
    done = subprocess.run(
        [*arguments, "--", sys.executable, *command, "save_freq=5", *settings],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert fsyncs(log), "no folder was forced to the disk: nothing was saved"
    assert (done.returncode, done.stderr.count("\n")) == (143, 1)
    assert "stopped by SIGTERM after epoch" in done.stderr
    found = left_in(nn, "A", PROFILE)
    whole = [held for held in (found.best, *found.others.values()) if held.state == "whole"]
    assert whole
    assert not any(held.state == "torn" for held in (found.best, *found.others.values()))
    assert found.foreign == ()


# --- the command line itself ------------------------------------------------------------------

SMALL = ("num_envs=8", "horizon_length=64", "mini_epochs=1", "device=cpu", "save_freq=1")
LARGE = (*SMALL, "units=[2860,2860]")  # 100 MB
sizes = pytest.mark.parametrize("settings", [SMALL, LARGE], ids=["small", "100 MB"])


def command(root, settings, *more):
    return [
        *(sys.executable, "-m", "reference_trainer", f"root={root}", "experiment=A"),
        *(*settings, *more),
    ]


def begin(root, settings):
    """Train for an epoch in this process."""
    given = (f"root={root}", "experiment=A", *settings, "max_iterations=1")
    train_here(from_command_line(given))


def train(root, settings, *more, before=None):
    """Train in a process of its own; its exit code and what it said."""
    done = subprocess.run(
        command(root, settings, *more),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
        cwd=Path(__file__).parents[2],
    )
    return done.returncode, done.stderr


@contextlib.contextmanager
def training(root, settings, *, around=()):
    """A training that has no end, once its first checkpoint is safe."""
    process = subprocess.Popen(
        [*around, *command(root, settings, "max_iterations=100000")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        for _ in process.stdout:  # a line for each epoch; the saves come a little later
            if (root / "A/nn/A.pth").exists():
                break
        assert process.poll() is None, process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process):
    """Its exit code and what it said, once it has ended."""
    said = process.communicate(timeout=300)[1]
    return process.returncode, said


def assert_it_says_so_in_a_line(played, error):
    code, said = played
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith("reference_trainer: stopped: ")
    assert error in said


def assert_all_is_whole(root):
    found = left_in(root / "A/nn", "A", PROFILE)
    assert found.best.state == "whole"
    assert {held.state for held in found.others.values()} <= {"whole"}
    assert found.foreign == ()
    return found


@sizes
def test_a_training_under_a_file_size_limit_says_so_and_keeps_what_it_has(tmp_path, settings):
    begin(tmp_path, settings)
    before = assert_all_is_whole(tmp_path)
    limit = (tmp_path / "A/nn/A.pth").stat().st_size // 2

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    played = train(tmp_path, settings, "max_iterations=9", "checkpoint=last", before=limited)
    assert_it_says_so_in_a_line(played, "File too large")
    assert assert_all_is_whole(tmp_path) == before


@sizes
def test_a_training_that_fills_its_disk_says_so_and_keeps_what_it_has(tmp_path, settings):
    probe, disk = tmp_path / "probe", tmp_path / "disk"
    disk.mkdir()
    begin(probe, settings)
    size = (probe / "A/nn/A.pth").stat().st_size
    with small_disk(disk, size * 7 // 2 + 20 * 4096):
        played = train(disk, settings, "max_iterations=100000")
        assert_it_says_so_in_a_line(played, "No space left on device")
        found = assert_all_is_whole(disk)
        assert found.others, "periodic checkpoints that did fit"


def test_a_training_whose_folder_becomes_read_only_says_so_and_keeps_what_it_has(tmp_path):
    around = ()
    if os.geteuid() == 0:  # whom permissions do not stop, unless this is taken away
        around = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    nn = tmp_path / "A/nn"
    with training(tmp_path, SMALL, around=around) as process:
        nn.chmod(0o555)
        try:
            played = ended(process)
            assert_it_says_so_in_a_line(played, "Permission denied")
            found = left_in(nn, "A", PROFILE)
        finally:
            nn.chmod(0o755)
    assert found.best.state == "whole"
    assert {held.state for held in found.others.values()} <= {"whole"}


@sizes
def test_a_training_whose_run_is_deleted_meanwhile_says_so(tmp_path, settings):
    with training(tmp_path, settings) as process:
        (tmp_path / "A").rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        assert_it_says_so_in_a_line(ended(process), "No such file or directory")
    assert not (tmp_path / "A").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_100_mb_save_lets_it_end_and_exits_cleanly(tmp_path, number):
    nn = tmp_path / "A/nn"
    with training(tmp_path, LARGE) as process:
        saving = None
        while saving is None:
            assert process.poll() is None, process.stderr.read()
            for path in nn.glob(".saving-*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    saving = path if path.stat().st_size else saving
        process.send_signal(number)
        code, said = ended(process)
    assert (code, said.count("\n")) == (128 + number, 1)
    assert f"stopped by {number.name} after epoch " in said
    last = int(said.split()[-1])
    found = assert_all_is_whole(tmp_path)
    assert max(held.epoch for held in found.others.values()) == last
