"""How fast scenarios are played and judged, beside the bare cost of the same saves.

One round is one scenario (one session): the operations per second are scenarios per second.
"""

from __future__ import annotations

import io
import itertools
import shlex
import statistics
import sys

import hypothesis
import pytest
import torch
import torch_trainer
from driving import PROFILE, driver

from conformance.convention.sessions import played
from conformance.strategies import chains

SCENARIOS = 300


@pytest.fixture(scope="module")
def scenarios():
    """Fresh sessions as the suite generates them, a median of 5 epochs and about as many saves."""
    found = []

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=SCENARIOS,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(chains(max_sessions=1))
    def collect(chain):
        found.append(chain)

    collect()
    assert statistics.median(chain[0].max_epochs for chain in found) >= 5
    return found


@pytest.mark.benchmark(group="one scenario of a small trainer")
@pytest.mark.parametrize("form", ["python", "worker"])
def test_scenarios_played_and_judged(benchmark, scenarios, form):
    worker = f"worker:{shlex.join([sys.executable, torch_trainer.__file__])}"
    spec = "python:torch_trainer:TorchTrainer" if form == "python" else worker
    with driver(spec) as one:
        for chain in scenarios[:10]:
            one.drive(chain)
        turn = itertools.cycle(scenarios)

        def drive():
            return one.drive(next(turn))

        last = benchmark.pedantic(drive, rounds=SCENARIOS)
    assert last.broke is None
    assert last.failing == {}


@pytest.mark.benchmark(group="one scenario of a small trainer")
def test_the_same_saves_alone(benchmark, scenarios):
    saves = [played(PROFILE, chain)[0].saves for chain in scenarios]
    turn = itertools.cycle(saves)

    def save_all():
        for save in next(turn):
            torch.save(torch_trainer.state_of(save.epoch, save.watermark), io.BytesIO())
        return True

    assert benchmark.pedantic(save_all, rounds=SCENARIOS)
