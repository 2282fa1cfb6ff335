"""What judges from outside have at hand: an observer, and commands."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from driving import PROFILE

from conformance.evidence.journal import Watcher
from conformance.suite.observer import Observer
from conformance.trainers.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def observer():
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace())
        yield Observer(PROFILE, workspace, stack.enter_context(Watcher()))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that writes a Python program and returns the command that runs it."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def written(source, *arguments):
        path = tmp_path / "program.py"
        path.write_text(source, encoding="utf-8")
        return " ".join((shlex.quote(sys.executable), str(path), *arguments))

    return written
