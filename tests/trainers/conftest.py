"""Scenarios, and trainers written for one test."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

from conformance import Scenario
from conformance.trainers import TrainerBroke

_NUMBERS = itertools.count()


@pytest.fixture
def scenario(tmp_path):
    """A function that returns a scenario of one epoch, but for what it is told."""

    def made(**fields):
        given = {"experiment": "Cartpole", "root": tmp_path / "runs", "save_freq": 1}
        return Scenario(**{**given, "max_epochs": 1, "rewards": (1.0,), **fields})

    return made


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The test's own working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def module(here):
    """A function that writes a module into the working directory and returns its name."""
    names = []

    def written(source):
        names.append(f"trainer_of_a_test_{next(_NUMBERS)}")
        (here / f"{names[-1]}.py").write_text(source, encoding="utf-8")
        return names[-1]

    yield written
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def script(tmp_path):
    """A function that writes a Python program and returns the command that runs it."""

    def written(source):
        path = tmp_path / f"program {next(_NUMBERS)}.py"  # with a space: it has to be quoted
        path.write_text(source, encoding="utf-8")
        return f'"{sys.executable}" -S -E "{path}"'

    return written


@pytest.fixture
def attempt():
    """A function that has a trainer play a scenario and returns how it broke; None: it did not."""

    def broke(trainer, asked):
        try:
            trainer.train(asked)
        except TrainerBroke as error:
            assert "\n" not in str(error)  # noqa: PT017 - of every error that any test sees
            return error
        return None

    return broke


@pytest.fixture
def descriptors():
    """A function that returns the numbers of the open files."""
    return lambda: sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - their names are enough


@pytest.fixture
def gone():
    """A function that says whether a process is gone, or a zombie that nobody reaps."""

    def is_gone(process):
        try:
            status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
        except OSError:
            return True
        return status.rpartition(")")[2].split()[0] == "Z"

    return is_gone
