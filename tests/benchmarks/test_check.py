"""How fast an audit is, beside what a `torch.load` loop costs on the same files."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run


@pytest.mark.benchmark(group="1,000 checkpoints of 64 KB, in one process")
def test_audit_of_a_thousand_checkpoints(benchmark, thousand):
    report = benchmark.pedantic(lambda: audit(scan_run(thousand), load_profile()), rounds=3)
    assert report.verdict == "conforms"
    assert report.checkpoints == 1000


@pytest.mark.benchmark(group="1,000 checkpoints of 64 KB, in one process")
def test_torch_load_of_a_thousand_checkpoints(benchmark, thousand):
    files = sorted((thousand / "nn").iterdir())

    def load_all():
        for file in files:
            torch.load(file, map_location="cpu", weights_only=True)
        return len(files)

    assert benchmark.pedantic(load_all, rounds=3) == 1000


@pytest.mark.benchmark(group="whole processes")
@pytest.mark.parametrize("arguments", [("rules",), ("check", "RUN")], ids=["rules", "check"])
def test_whole_command(benchmark, small, arguments):
    command = [sys.executable, "-m", "conformance", *arguments]
    command = [str(small) if part == "RUN" else part for part in command]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, capture_output=True, check=True), rounds=5, warmup_rounds=1
    )
    assert done.stdout


@pytest.mark.benchmark(group="whole processes")
def test_import_of_torch_alone(benchmark):
    command = [sys.executable, "-c", "import torch; print(torch.__version__)"]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, capture_output=True, check=True), rounds=3, warmup_rounds=1
    )
    assert done.stdout
