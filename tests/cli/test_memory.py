"""What `check` holds in memory does not grow with the number of runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from conformance.convention.oracle import Settings
from conformance.fixtures.play import Session, play

pytestmark = pytest.mark.slow

FEW, MANY = 50, 200
A_RUN = 16  # KiB that each further run may take; its checkpoints, read, take some 250


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two roots, of few and of many runs, each of 20 periodic checkpoints."""
    folder = tmp_path_factory.mktemp("roots")
    kinds = []
    for number in range(3):  # neighbours differ
        rewards = tuple(float((epoch + number) % (5 + number)) for epoch in range(20))
        kinds.append(play(Settings("A", 1, 20), [Session(rewards)]).write(folder / f"kind{number}"))
    for count in (FEW, MANY):
        for number in range(count):
            run = folder / str(count) / f"run{number:03d}"
            shutil.copytree(kinds[number % len(kinds)], run, copy_function=os.link)
    return folder


# A process's own peak: what `wait4` tells of a child begins with its parent's.
TELLS = """
import sys
from conformance.cli import main
assert main(sys.argv[1:]) == 0
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print("peak", peak.split()[1])
"""


def peak(root, *options):
    """Return the most memory in KiB that an audit of the root took at a time."""
    command = [sys.executable, "-c", TELLS, "check", str(root), "--name", "A", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.rpartition("peak")[2])


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's peak in /proc")
@pytest.mark.parametrize("options", [(), ("--profile", "auto")], ids=["default", "auto"])
def test_a_root_of_many_runs_takes_no_more_memory_than_one_of_few(roots, options):
    more = peak(roots / str(MANY), *options) - peak(roots / str(FEW), *options)
    assert more < A_RUN * (MANY - FEW)
