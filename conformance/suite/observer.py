"""Has commands run in folders of their own, and reads what they leave: for policy and ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.convention.rules import BY_ID
from conformance.convention.scenario import Scenario
from conformance.evidence.runs import NoRunError, find_runs, scan_run
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.trainers import TrainerSpecError
from conformance.trainers.command import CommandTrainer
from conformance.trainers.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.checks.finding import Finding, Outcome
    from conformance.convention.profile import Profile
    from conformance.evidence.journal import Watcher
    from conformance.trainers import TrainerBroke
    from conformance.trainers.workspace import Workspace

EXPERIMENT = "Cartpole"
PLACEHOLDERS = frozenset({"experiment", "root"})
# Of a trainer that did not come to an end, or never began: nothing that its files could be held to.
NO_END = frozenset({"hung", "not-started"})
# A command with rewards of its own needs some epochs until an episode has finished.
_EPOCHS_OF_ITS_OWN = 10


@dataclass(frozen=True, slots=True)
class Observer:
    """Runs commands in folders of their own, watches them and reads what they leave.

    Attributes:
        profile: the dialect.
        workspace: where the runs go.
        watcher: keeps the journal; None where this system has none.
        unwatched: why there is no watcher.
        options: what the caller knows of every run.
    """

    profile: Profile
    workspace: Workspace
    watcher: Watcher | None
    unwatched: str = ""
    options: Options = field(default_factory=Options)

    def judged(self, rule: str, action: Callable[[Path], Outcome]) -> Finding:
        """Return the finding of `rule`: what `action` makes of an empty folder for runs."""
        root = self.workspace.fresh()
        try:
            outcome = action(root)
        finally:
            self.workspace.clear(root)
        return outcome.of(BY_ID[rule])

    def scenario(self, root: Path, rewards: tuple[float, ...], *, given: bool) -> Scenario:
        """Return a session that saves in every epoch.

        Args:
            root: the folder for runs.
            rewards: the mean rewards of its epochs.
            given: whether the trainer takes them; else it is trained for ten epochs of its own.
        """
        if not given:
            rewards = (0.0,) * _EPOCHS_OF_ITS_OWN
        return Scenario(
            experiment=EXPERIMENT,
            root=root,
            save_freq=1,
            max_epochs=len(rewards),
            rewards=rewards,
            save_best_after=1 if self.profile.has_save_best_after else 0,
        )

    def runs(self, root: Path) -> dict[str, tuple[Path, ...]]:
        """Return the folders in a folder for runs with the runs in each, without hidden ones."""
        markers = {"checkpoints": self.profile.checkpoints, "summaries": self.profile.summaries}
        found: dict[str, tuple[Path, ...]] = {}
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        for name in names:
            if not name.startswith("."):
                try:
                    found[name] = find_runs(root / name, **markers)
                except NoRunError:
                    found[name] = ()
        return found

    def subject(self, run: Path) -> Subject:
        """Return a run, ready to be asked for its files."""
        folders = (self.profile.checkpoints, self.profile.summaries)
        return Subject(scan_run(run, follow=folders), self.profile, self.options)


def read_command(option: str, template: str, time_limit: float) -> CommandTrainer:
    """Read the template of a command that an option gives.

    Raises:
        TrainerSpecError: what `command:` refuses; or the system cannot run one.
    """
    if os.name != "posix":
        raise TrainerSpecError(f"{option} needs Linux, macOS or WSL")
    return CommandTrainer(f"{option} {template}", template, time_limit=time_limit)


def how_it_broke(broke: TrainerBroke) -> str:
    """Return how a command ended, with the last line that it said."""
    said = [line for line in broke.output.splitlines() if line.strip()]
    return f"{broke.message}; it said: {one_line(said[-1], 200)}" if said else broke.message
