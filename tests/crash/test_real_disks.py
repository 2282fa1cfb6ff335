"""The reference trainer on disks that run full, go read-only or go away, and stopped in a save."""

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


def play(scenario, *, limit=None, around=()):
    """Play a session in a process of its own; its exit code and what it said."""
    file = scenario.root.parent / "scenario.json"
    file.write_text(scenario.to_json())

    def before():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [*around, sys.executable, "-m", ADAPTER, file],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
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
    first = replace(scenario, max_epochs=1, rewards=(1.0,))
    assert play(first) == (0, "")
    size = (scenario.root / "A/nn/A.pth").stat().st_size
    resumed = replace(scenario, resume="best")
    played = play(resumed, limit=size // 2)
    assert_it_says_so_and_keeps_the_best(scenario, played, "File too large")


def test_a_disk_that_runs_full_is_told_of_and_the_best_survives(scenario):
    first = replace(scenario, max_epochs=1, rewards=(1.0,))
    assert play(first) == (0, "")
    size = (scenario.root / "A/nn/A.pth").stat().st_size
    shutil.rmtree(scenario.root / "A")
    # Room for one checkpoint, half of another one, and the config and the log around them.
    with small_disk(scenario.root, size * 3 // 2 + 3 * 4096):
        played = play(scenario)
        assert_it_says_so_and_keeps_the_best(scenario, played, "No space left")


def test_a_disk_that_goes_read_only_is_told_of_and_the_best_survives(scenario):
    with small_disk(scenario.root, 16 * 1024 * 1024):
        assert play(replace(scenario, max_epochs=1, rewards=(1.0,))) == (0, "")
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
    said = process.communicate(timeout=100)[1]
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
        timeout=120,
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
