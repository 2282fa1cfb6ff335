"""Trainers that save with torch and are crashed: `python:crashing:InPlace`, and a worker."""

from __future__ import annotations

import json
import sys

import torch
from torch_trainer import TorchTrainer, state_of

from conformance.convention.scenario import Scenario


class InPlace(TorchTrainer):
    """Has torch write straight to the checkpoint's own name."""

    def save(self, name):
        """Call `torch.save` with the path, as most do."""
        torch.save(state_of(self.epoch, self.watermark), str(self.path(name)))


def work() -> None:
    """Speak the worker protocol; an error is told, and the next session played."""
    trainer = InPlace()
    for line in sys.stdin:
        request = json.loads(line)
        if request["cmd"] == "stop":
            return
        answer = {"ok": True}
        if request["cmd"] == "start":
            about = {"name": "in place", "version": "1"}
            answer |= {"protocol": 1, "trainer": about, "capabilities": []}
        else:
            try:
                trainer.train(Scenario.from_mapping(request["scenario"]))
            except (OSError, RuntimeError) as error:
                answer = {"ok": False, "error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def play(path: str) -> None:
    """Play one scenario: a command."""
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - one line
        InPlace().train(Scenario.from_json(stream.read()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        play(sys.argv[1])
    else:
        work()
