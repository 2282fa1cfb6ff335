"""A small trainer that saves with torch: `python:torch_trainer:TorchTrainer`, and a worker."""

from __future__ import annotations

import io

import torch

from conformance.mutants import Trainer
from conformance.trainers import serve


def state_of(epoch: int, watermark: float) -> dict[str, object]:
    """What such a trainer saves: some 5 KB."""
    layer = torch.full((32, 32), float(epoch))
    return {
        "model": {"actor.weight": layer, "actor.bias": layer[0].clone()},
        "epoch": epoch,
        "frame": epoch * 16,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.001, "params": [0, 1]}]},
        "last_mean_rewards": watermark,
    }


class TorchTrainer(Trainer):
    """Keeps the convention, and has torch write its checkpoints."""

    def state(self) -> dict[str, object]:
        """Return the whole state; the benchmarks save the same by hand."""
        return state_of(self.epoch, self.watermark)

    def encode(self, state: object) -> bytes:
        """Return what torch makes of it."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()


if __name__ == "__main__":
    serve(TorchTrainer)
