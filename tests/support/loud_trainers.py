"""Trainers that print where they should not, or break: `python:loud_trainers:X`, and a worker.

As a program, it is the worker of the mutant that its argument names; a second argument is the code
that it exits with.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys

from conformance import mutants
from conformance.trainers import UnsupportedScenario, serve

RUBBISH = "RUBBISH"

if __name__ != "__main__":
    sys.stdout.write(f"{RUBBISH} at import\n")


class PrintsEverywhere(mutants.RewritesOnTie):
    """Prints by Python, by a child, straight to the descriptor, and once more at the end."""

    def train(self, scenario):
        """Print, and train."""
        sys.stdout.write(f"{RUBBISH}\n")
        os.write(1, RUBBISH.encode() + b"\n")
        subprocess.run(["echo", RUBBISH], check=True)  # noqa: S607 - wherever it is
        atexit.register(print, RUBBISH, "at exit")
        super().train(scenario)


class Breaks(mutants.Trainer):
    """Says why, and breaks."""

    def train(self, scenario):
        """Break."""
        sys.stdout.write("loading\x1b[2J the simulator\n")
        raise RuntimeError(f"no GPU for {scenario.experiment}")


class BreaksOnTie(mutants.RewritesOnTie):
    """Breaks where the second reward is a tie; a tie rewrites its best besides."""

    def play_epoch(self, reward):
        """Break there."""
        if self.epoch == 2 and reward == self.watermark:
            raise RuntimeError("division by zero")
        super().play_epoch(reward)


class CannotBeBuilt:
    """Is not there."""

    def __init__(self):
        """Break."""
        raise OSError("no licence")


class PlaysNothing(mutants.Trainer):
    """Offers nothing at all."""

    def train(self, scenario):
        """Refuse."""
        raise UnsupportedScenario(f"not {scenario.experiment}")


class Mended(mutants.RewritesOnTie):
    """Rewrites its best on a tie until it is mended."""

    is_mended = False

    def improves(self, reward):
        """Decide."""
        return reward > self.watermark if self.is_mended else super().improves(reward)


class LeavesOddThings(mutants.RewritesOnTie):
    """Leaves a link, a pipe, deep folders and a large file in its run."""

    def end(self):
        """Leave them."""
        super().end()
        (self.run / "link").symlink_to("/etc/passwd")
        if not (self.run / "pipe").exists():
            os.mkfifo(self.run / "pipe")
        deep = self.run.joinpath(*["deep"] * 40)
        deep.mkdir(parents=True, exist_ok=True)
        (deep / "bottom").write_text("x")
        with (self.run / "core").open("wb") as core:
            core.truncate(2**30)  # sparse


if __name__ == "__main__":
    serve(getattr(mutants, sys.argv[1]))
    sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
