"""RANK-001: how many run folders several ranks make, and how often each checkpoint is written.

Judged from outside, by what happens to the files; the command may be of any language.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, passed, unobservable
from conformance.convention.names import parse_name
from conformance.convention.oracle import epochs
from conformance.convention.profile import Kind
from conformance.convention.rules import Verdict
from conformance.evidence.journal import JournalError, writes
from conformance.suite.observer import EXPERIMENT, NO_END, PLACEHOLDERS, how_it_broke, read_command
from conformance.trainers import TrainerBroke, TrainerSpecError, UnsupportedScenario

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.checks.finding import Finding
    from conformance.evidence.journal import Journal
    from conformance.suite.observer import Observer
    from conformance.trainers.command import CommandTrainer

RANKS = "RANK-001"

# In every epoch a periodic checkpoint and the best: what is written once more stands out.
RANKS_REWARDS = (1.0, 2.0, 3.0, 4.0)


def ranks_command(template: str, *, time_limit: float) -> CommandTrainer:
    """Read the template of a command that trains with several ranks.

    Raises:
        TrainerSpecError: what `command:` refuses; or it does not say where the run goes.
    """
    command = read_command("--ranks", template, time_limit)
    if not (command.plays_rewards or command.placeholders >= PLACEHOLDERS):
        command.close()
        raise TrainerSpecError(
            f"--ranks {template!a}: it has to write one run into a folder of ours: write"
            " {experiment} and {root}, or {scenario}"
        )
    return command


def ranks_finding(command: CommandTrainer, observer: Observer) -> Finding:
    """Have a run trained by several ranks, and count run folders and the writes of each checkpoint.

    Temporary files do not count: a rename is the write. A process that writes a checkpoint twice by
    itself looks the same as two that write it once.

    Args:
        command: from `ranks_command`.
        observer: where, and watched by what.
    """
    bare = observer.judged(RANKS, lambda root: _ranks(command, observer, root))
    if not bare.evidence.get("late"):
        return bare
    # A file stood in a folder before that could be watched. Some trainers mind a folder that is
    # there already: only what such a run shows of writes counts.
    finding = observer.judged(RANKS, lambda root: _ranks(command, observer, root, prepared=True))
    return finding if "written" in finding.evidence else bare


def _ranks(
    command: CommandTrainer, observer: Observer, root: Path, *, prepared: bool = False
) -> Outcome:
    if observer.watcher is None:
        return unobservable(observer.unwatched or "no journal was kept")
    broke = None
    if prepared:
        for folder in (observer.profile.checkpoints, observer.profile.summaries):
            (root / EXPERIMENT / folder).mkdir(parents=True)
    try:
        recording = observer.watcher.record(root, prepared=prepared)
    except JournalError as error:
        return unobservable(str(error))
    try:
        command.train(observer.scenario(root, RANKS_REWARDS, given=command.plays_rewards))
    except TrainerBroke as error:
        broke = error
    except UnsupportedScenario as error:
        return unobservable(str(error))
    finally:
        journal = recording.stop()
    if broke is not None and broke.code in NO_END:
        return unobservable(f"the ranks came to no end: {how_it_broke(broke)}")
    return _left(observer, root, journal, broke)


def _left(observer: Observer, root: Path, journal: Journal, broke: TrainerBroke | None) -> Outcome:
    """RANK-001 of what the ranks left: how many folders, and what was written in the one."""
    found = observer.runs(root)
    runs = sorted({run for each in found.values() for run in each})
    folders = sorted(
        {run.relative_to(root).as_posix() for run in runs}
        | {name for name, each in found.items() if not each and _is_twin(root / name)}
    )
    if len(folders) > 1:
        return failed(
            f"{len(folders)} folders appeared for one run: {', '.join(map(ascii, folders[:3]))}"
            f"{', ...' if len(folders) > 3 else ''}",
            folders=folders,
        )
    if not runs:
        ended = "" if broke is None else f": {how_it_broke(broke)}"
        return unobservable(f"no run appeared in the folder that the ranks were given{ended}")
    if broke is None and not observer.subject(runs[0]).files.checkpoints:
        return unobservable("the ranks wrote no checkpoint; let them train longer")
    return _counted(_written(observer, runs[0], journal, root), journal, broke)


def _is_twin(folder: Path) -> bool:
    """Tell whether a folder without a run in it was made for one: by its name, or left empty."""
    return folder.name.startswith(EXPERIMENT) or not any(folder.iterdir())


@dataclass(frozen=True, slots=True)
class _Written:
    """How often each checkpoint of a run was written.

    Attributes:
        folder: of the checkpoints, by path from the root.
        names: of the checkpoints as they were written, in order.
        epochs: the epoch of each periodic one, by name.
        best: the name of the best.
        last: the last epoch that is known of.
        improved: how many epochs improved, as far as one log of one session tells; None: unknown.
    """

    folder: str
    names: tuple[str, ...]
    epochs: dict[str, int]
    best: str
    last: int
    improved: int | None

    def twice(self) -> dict[str, int]:
        """Return, by name, how often each file was written that was written more often than due.

        A periodic one is due once; the best, once in an epoch: between two periodic ones no more
        often than epochs lie between them.
        """
        counts = {name: self.names.count(name) for name in self.epochs}
        found = {name: count for name, count in counts.items() if count > 1}
        if any(count > epochs_between for count, epochs_between in self._slots()):
            found[self.best] = self.names.count(self.best)
        return found

    def is_certain(self) -> bool:
        """Tell whether the best was surely written no more often than due."""
        count = self.names.count(self.best)
        slots = self._slots()
        return (
            count < 2
            or (self.improved is not None and count <= self.improved)
            or (len(slots) > 1 and all(most < 2 for _, most in slots))
        )

    def _slots(self) -> list[tuple[int, int]]:
        """Return how often the best was written around periodic ones, and how often it may be."""
        tokens = [name for name in self.names if name in self.epochs or name == self.best]
        places = [place for place, name in enumerate(tokens) if name in self.epochs]
        passed_by = [0, *(self.epochs[tokens[place]] for place in places)]
        # The last epoch's own best comes after its periodic one, or before it in some trainers.
        bounds = [*passed_by, max(self.last, *passed_by) + 1]
        cuts = [-1, *places, len(tokens)]
        return [
            (high - low - 1, max(1, last - first))
            for (low, high), (first, last) in zip(pairwise(cuts), pairwise(bounds), strict=True)
        ]


def _written(observer: Observer, run: Path, journal: Journal, root: Path) -> _Written:
    subject = observer.subject(run)
    folder = f"{run.relative_to(root).as_posix()}/{observer.profile.checkpoints}"
    names = tuple(
        name for name in writes(journal, folder) if name.endswith(observer.profile.suffix)
    )
    parsed = {name: parse_name(observer.profile, subject.given.name, name) for name in names}
    numbered = {
        name: parsed[name].epoch or 0
        for name in names
        if parsed[name].kind in (Kind.PERIODIC, Kind.FINAL)
    }
    best = next((name for name in names if parsed[name].kind is Kind.BEST), "")
    sessions = subject.history.sessions
    improved = None
    if len(sessions) == 1 and not subject.history.problems:
        timeline = epochs(observer.profile, subject.settings, sessions[0].rewards)
        improved = sum(at.improved for at in timeline)
    last = max([*numbered.values(), subject.history.last_epoch or 0])
    wanted = {*numbered, best}
    return _Written(
        folder,
        tuple(name for name in names if name in wanted),
        numbered,
        best,
        last,
        improved,
    )


def _counted(written: _Written, journal: Journal, broke: TrainerBroke | None) -> Outcome:
    """RANK-001 of one run folder: how often each checkpoint in it was written."""
    twice = written.twice()
    if twice:
        name, count = next(iter(twice.items()))
        more = f"; and {len(twice) - 1} more" if len(twice) > 1 else ""
        return failed(
            f"{name!a} was written {count} times, more often than one rank would{more}",
            sorted(twice),
            written=twice,
        )
    if broke is not None:
        return failed(
            f"training with several ranks failed: {how_it_broke(broke)}", output=broke.output
        )
    if journal.overflowed:
        return Outcome(Verdict.ERROR, f"the harness failed: {journal.problem}")
    late = [at for at in journal.late if f"{written.folder}/".startswith(f"{at}/" if at else "")]
    if late:
        return unobservable("the journal began after the first write", late=late)
    if journal.problem is not None:
        return unobservable(journal.problem)
    open_still = [path for path in journal.unclosed if path.rpartition("/")[2] in written.names]
    if open_still:
        return unobservable(
            f"{open_still[0]!a} may have been open in two processes at once: the journal tells of"
            " one end of writing for several beginnings"
        )
    if not written.names:
        return unobservable("the ranks wrote no checkpoint that the profile knows")
    if not written.is_certain():
        return unobservable(
            f"whether each write of {written.best!a} was due cannot be told; let the command save"
            " every epoch: {save_freq}"
        )
    return passed(
        f"one run folder appeared; {len(set(written.names))} checkpoints, none written more often"
        " than due",
        written=len(written.names),
    )
