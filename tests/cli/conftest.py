"""Runs to audit, and the command: in this process, and as a process of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import conformance
from conformance.cli import main
from conformance.convention.oracle import Settings
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


@dataclass(frozen=True)
class Result:
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Return the command, run in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(int(code), *capsys.readouterr())

    return run


def _like_any_user() -> None:
    """Take away root's right to read and write whatever it likes."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture(scope="session")
def process() -> Callable[..., Result]:
    """Return the command, run by an interpreter of its own that obeys file permissions."""
    package = str(Path(conformance.__file__).parents[1])

    def run(
        *arguments: object,
        prepare: Callable[[], None] | None = None,
        python: tuple[str, ...] = ("-m", "conformance"),
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> Result:
        def before() -> None:
            _like_any_user()
            if prepare is not None:
                prepare()

        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        done = subprocess.run(
            [sys.executable, *python, *map(str, arguments)],
            check=False,
            timeout=300,
            stdin=subprocess.DEVNULL,
            preexec_fn=before,
            env={**os.environ, "PYTHONPATH": package, **(environment or {})},
            **given,
        )
        return Result(done.returncode, *(_decoded(text) for text in (done.stdout, done.stderr)))

    return run


def _decoded(text: bytes | None) -> str:
    return "" if text is None else text.decode("utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty root of runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


CONFORMING = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])


@pytest.fixture
def conforming(root: Path) -> Path:
    """Return a run that conforms: best of epoch 4, periodic checkpoints of epochs 2 and 4."""
    return CONFORMING.write(root)


@pytest.fixture
def failing(root: Path) -> Path:
    """Return a run whose best checkpoint is gone: BEST-001 fails."""
    run = play(Settings("Failing", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    return run.without(run.best).write(root)


@pytest.fixture
def incomplete(root: Path) -> Path:
    """Return a run that nothing tells the save_freq of: CADENCE-001 and -002 are unobservable."""
    run = play(Settings("Incomplete", 4, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    return run.unconfigured().write(root)
