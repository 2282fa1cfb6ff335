"""Trainers that break, mind their folder, or write where they should not: `python:odd_trainers:X`.

Each is the conforming trainer but for what its docstring says.
"""

from __future__ import annotations

import math
import shutil

from conformance.mutants.trainer import Trainer


class RaisesAtNanInEpochThree(Trainer):
    """Raises where the third reward is NaN."""

    def play_epoch(self, reward):
        """Raise there."""
        if self.epoch == 3 and reward is not None and math.isnan(reward):
            raise FloatingPointError("the loss is NaN")
        super().play_epoch(reward)


class RaisesAtNanAndRewritesOnTie(RaisesAtNanInEpochThree):
    """The same, and a tie rewrites its best."""

    def improves(self, reward):
        """Take a tie for an improvement."""
        return reward >= self.watermark


class AlwaysRaises(Trainer):
    """Never gets anywhere, and counts how often it was asked."""

    asked = 0

    def train(self, scenario):  # noqa: ARG002 - it does not get so far
        """Raise."""
        type(self).asked += 1
        raise RuntimeError("no simulator found")


class CannotResume(Trainer):
    """Says so when it is asked."""

    def train(self, scenario):
        """Refuse a resumed session."""
        if scenario.resume is not None:
            raise NotImplementedError("it starts afresh, always")
        super().train(scenario)


class SaysThatItCannotResume(Trainer):
    """Says so beforehand."""

    capabilities = ("save_best_after",)


class RefusesAFolderThatIsThere(Trainer):
    """Takes a folder for another run's, unless it is to resume that."""

    def train(self, scenario):
        """Refuse the folder."""
        if scenario.resume is None and (scenario.root / scenario.experiment).exists():
            raise FileExistsError(f"{scenario.experiment} is there already")
        super().train(scenario)


class TakesAnotherNameIfTheFolderIsThere(Trainer):
    """Goes to `NAME_1` where a fresh session finds `NAME`."""

    def begin(self):
        """Look for the folder."""
        if self.scenario.resume is None and self.run.exists():
            self.run = self.run.with_name(f"{self.name}_1")
        super().begin()


class StampsItsFolder(Trainer):
    """Calls its run's folder by the name and a time."""

    def begin(self):
        """Go there."""
        self.run = self.run.with_name(f"{self.name}_2024-01-01")
        super().begin()


class RewritesTheFirstTie(Trainer):
    """Rewrites its best on the first tie that it ever meets, and on no other."""

    ties = 0

    def improves(self, reward):
        """Take the first tie for an improvement."""
        if reward == self.watermark:
            type(self).ties += 1
            return type(self).ties == 1
        return super().improves(reward)


class WritesBesideItsRoot(Trainer):
    """Leaves a file beside the root."""

    def end(self):
        """Leave it."""
        (self.scenario.root.parent / "last_run.txt").write_text(self.name)


class MovesARunIntoPlace(Trainer):
    """Writes its run under another name and moves it into place."""

    def begin(self):
        """Begin in a hidden folder."""
        super().begin()
        self.place = self.run
        self.run = self.run.with_name(".building")
        shutil.move(self.place, self.run)
        self.events = self.run / "summaries" / self.events.name

    def end(self):
        """Move it into place."""
        self.run.rename(self.place)


class PlaysNothing(Trainer):
    """Comes to its end at once, without a trace."""

    def train(self, scenario):
        """Do nothing."""


class SharesWhatItIs(Trainer):
    """Counts the sessions that it was asked to play, whoever asked."""

    sessions = 0

    def train(self, scenario):
        """Count."""
        type(self).sessions += 1
        super().train(scenario)
