"""A worker's side of the protocol, around a trainer of the tests."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from conformance.convention.scenario import Scenario

if TYPE_CHECKING:
    from conformance.mutants import Trainer


def work(trainer: Trainer) -> None:
    """Speak the worker protocol."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["cmd"] == "stop":
            return
        answer = {"ok": True}
        if request["cmd"] == "start":
            about = {"name": type(trainer).__name__, "version": "1"}
            answer |= {"protocol": 1, "trainer": about, "capabilities": ["resume"]}
        else:
            trainer.train(Scenario.from_mapping(request["scenario"]))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
