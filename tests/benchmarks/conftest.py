"""A run of many checkpoints as torch writes them, for the benchmarks."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from conformance.convention.scenario import Scenario
from conformance.mutants import Trainer


@pytest.fixture(scope="session")
def thousand(tmp_path_factory):
    """A conforming run of 1,000 checkpoints of about 64 KB."""
    run = tmp_path_factory.mktemp("runs") / "Thousand"
    folder = run / "nn"
    folder.mkdir(parents=True)
    model = torch.nn.Sequential(
        torch.nn.Linear(32, 64), torch.nn.ELU(), torch.nn.Linear(64, 32), torch.nn.Linear(32, 8)
    )
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 32)).sum().backward()
    optimizer.step()
    watermark = -math.inf
    with SummaryWriter(str(run / "summaries")) as writer:
        for epoch in range(1, 1000):
            reward = 0.5 * epoch
            writer.add_scalar("rewards/iter", reward, epoch)
            state = {
                "model": model.state_dict(),
                "epoch": epoch,
                "frame": 16 * epoch,
                "optimizer": optimizer.state_dict(),
                "last_mean_rewards": watermark,
            }
            with (folder / f"last_Thousandep{epoch}rew{reward}.pth").open("wb") as stream:
                torch.save(state, stream)
            watermark = reward
    torch.save({**state, "last_mean_rewards": watermark}, folder / "Thousand.pth")
    (run / "config.yaml").write_text("name: Thousand\nsave_freq: 1\nmax_epochs: 999\n")
    return run


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A run such as a short training leaves: a best and a few periodic checkpoints."""
    root = tmp_path_factory.mktemp("runs")
    Trainer().train(Scenario("Small", root, 2, 6, (1.0, 3.0, 2.0, 5.0, 4.0, 6.0)))
    return root / "Small"
