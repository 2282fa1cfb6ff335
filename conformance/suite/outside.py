"""What single sessions do not show: inference by the experiment's name, and several ranks.

Both are judged from outside, by what happens to the files: RESUME-002 by which checkpoint is opened
for reading, RANK-001 by how often each one is written. The command may be of any language.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Finding,
    Outcome,
    RunReport,
    failed,
    passed,
    run_verdict,
    unobservable,
)
from conformance.convention.names import parse_name
from conformance.convention.oracle import epochs
from conformance.convention.profile import Kind
from conformance.convention.rules import BY_ID, RunVerdict, Verdict
from conformance.convention.scenario import Scenario
from conformance.evidence.checkpoint.errors import RefusalError
from conformance.evidence.checkpoint.source import Source
from conformance.evidence.journal import Action, JournalError, writes
from conformance.evidence.runs import NoRunError, find_runs, scan_run
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.suite.chains import ROOT
from conformance.trainers import TrainerBroke, TrainerSpecError, UnsupportedScenario
from conformance.trainers.command import CommandTrainer
from conformance.trainers.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.evidence.journal import Journal, Watcher
    from conformance.trainers import Trainer
    from conformance.trainers.workspace import Workspace

INFERENCE, RANKS = "RESUME-002", "RANK-001"

_EXPERIMENT = "Cartpole"
# The best is that of epoch 2, the latest that of epoch 3.
_PLAYED = (1.0, 3.0, 2.0)
# In every epoch a periodic checkpoint and the best: what is written once more stands out.
_RANKED = (1.0, 2.0, 3.0, 4.0)
# A command with rewards of its own needs some epochs until an episode has finished.
_EPOCHS_OF_ITS_OWN = 10
_PLAY_PLACEHOLDERS = frozenset({"experiment", "root"})
_CHANGES = frozenset(
    {Action.WRITTEN, Action.LINKED, Action.MOVED_IN, Action.MOVED_OUT, Action.DELETED}
)
# Of a trainer that did not come to an end, or never began: nothing that its files could be held to.
_NO_END = frozenset({"hung", "not-started"})


@dataclass(frozen=True, slots=True)
class Stage:
    """Where commands are played, and by what they are watched and judged.

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

    def played(self, rule: str, action: Callable[[Path], Outcome]) -> Finding:
        """What `action` finds in an empty folder for runs."""
        root = self.workspace.fresh()
        try:
            outcome = action(root)
        finally:
            self.workspace.clear(root)
        return outcome.of(BY_ID[rule])

    def scenario(self, root: Path, rewards: tuple[float, ...], *, given: bool) -> Scenario:
        """A session that saves in every epoch; `given`: whether its rewards are played."""
        if not given:
            rewards = (0.0,) * _EPOCHS_OF_ITS_OWN
        return Scenario(
            experiment=_EXPERIMENT,
            root=root,
            save_freq=1,
            max_epochs=len(rewards),
            rewards=rewards,
            save_best_after=1 if self.profile.has_save_best_after else 0,
        )

    def runs(self, root: Path) -> dict[str, tuple[Path, ...]]:
        """The folders in a folder for runs, with the runs in each; hidden ones left out."""
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
        """A run, ready to be asked for its files."""
        folders = (self.profile.checkpoints, self.profile.summaries)
        return Subject(scan_run(run, follow=folders), self.profile, self.options)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a rule beside the scenarios.

    Attributes:
        finding: of the rule.
        scenario: what was trained for it; its rewards are zeros where the command has its own.
        again: what the command line takes to judge the rule again.
    """

    finding: Finding
    scenario: Scenario
    again: tuple[str, ...]


def play_command(template: str, *, time_limit: float) -> CommandTrainer:
    """Read the template of a command that plays the policy of a run.

    Raises:
        TrainerSpecError: what `command:` refuses; or it does not ask for exactly the experiment's
            name and the folder for runs.
    """
    command = _command("--play", template, time_limit)
    if command.placeholders != _PLAY_PLACEHOLDERS:
        command.close()
        raise TrainerSpecError(
            f"--play {template!a}: it is given the experiment's name and the folder for runs, and"
            " nothing else: write {experiment} and {root}"
        )
    return command


def ranks_command(template: str, *, time_limit: float) -> CommandTrainer:
    """Read the template of a command that trains with several ranks.

    Raises:
        TrainerSpecError: what `command:` refuses; or it does not say where the run goes.
    """
    command = _command("--ranks", template, time_limit)
    if not (command.plays_rewards or command.placeholders >= _PLAY_PLACEHOLDERS):
        command.close()
        raise TrainerSpecError(
            f"--ranks {template!a}: it has to write one run into a folder of ours: write"
            " {experiment} and {root}, or {scenario}"
        )
    return command


def _command(option: str, template: str, time_limit: float) -> CommandTrainer:
    if os.name != "posix":
        raise TrainerSpecError(f"{option} needs Linux, macOS or WSL")
    return CommandTrainer(f"{option} {template}", template, time_limit=time_limit)


@dataclass(frozen=True, slots=True)
class Outside:
    """What is judged from outside, beside the scenarios; both commands may be absent."""

    play: CommandTrainer | None = None
    ranks: CommandTrainer | None = None

    def __bool__(self) -> bool:
        return self != Outside()

    @classmethod
    @contextmanager
    def opened(cls, play: str | None, ranks: str | None, *, time_limit: float) -> Iterator[Outside]:
        """Read both templates, before anything is played.

        Raises:
            TrainerSpecError: one of them is wrong.
        """
        with ExitStack() as stack:
            first = play_command(play, time_limit=time_limit) if play is not None else None
            if first is not None:
                stack.enter_context(first)
            second = ranks_command(ranks, time_limit=time_limit) if ranks is not None else None
            if second is not None:
                stack.enter_context(second)
            yield cls(first, second)

    def findings(
        self, trainer: Trainer, stage: Stage, selected: frozenset[str] | None
    ) -> tuple[Seen, ...]:
        """Play both, as far as they are there and their rules are selected."""
        seen = []
        if selected is None or INFERENCE in selected:
            finding = inference_finding(trainer, stage, self.play)
            if finding is not None:
                scenario = stage.scenario(ROOT, _PLAYED, given=trainer.plays_rewards)
                seen.append(Seen(finding, scenario, _again(finding, self.play)))
        if self.ranks is not None and (selected is None or RANKS in selected):
            finding = ranks_finding(self.ranks, stage)
            scenario = stage.scenario(ROOT, _RANKED, given=self.ranks.plays_rewards)
            seen.append(Seen(finding, scenario, _again(finding, self.ranks)))
        return tuple(seen)


def _again(finding: Finding, command: CommandTrainer | None) -> tuple[str, ...]:
    """What the command line takes to judge the rule again; a command's spec has its option."""
    given: tuple[str, ...] = ()
    if command is not None:
        option, _, template = command.spec.partition(" ")
        given = (option, template)
    return ("--select", finding.rule, "--max-examples", "1", *given)


def with_findings(run: RunReport, findings: Iterable[Finding]) -> RunReport:
    """A run's report with these findings in the place of its own; what failed there, stays."""
    found = {finding.rule: finding for finding in findings}
    merged = tuple(
        known if known.verdict is Verdict.FAIL else found.get(known.rule, known)
        for known in run.findings
    )
    verdict = run_verdict(merged)
    if run.verdict is RunVerdict.ERROR:
        verdict = verdict.with_an_error
    return replace(run, findings=merged, verdict=verdict)


# --- inference ------------------------------------------------------------------------------


def inference_finding(
    trainer: Trainer, stage: Stage, command: CommandTrainer | None = None
) -> Finding | None:
    """Have a run trained whose best is not its latest, have it played, and see what is opened.

    Args:
        trainer: trains the run, and plays it where there is no command for that.
        stage: where.
        command: from `play_command`.

    Returns:
        The finding of RESUME-002; None where nobody offers inference.
    """
    if command is None and not trainer.can_infer:
        return None
    offered = True

    def infer(asked: Scenario) -> None:
        nonlocal offered
        try:
            (trainer.infer if command is None else command.train)(asked)
        except UnsupportedScenario:
            offered = False

    finding = stage.played(INFERENCE, lambda root: _inference(trainer, stage, root, infer))
    return finding if offered else None


def _inference(
    trainer: Trainer, stage: Stage, root: Path, infer: Callable[[Scenario], None]
) -> Outcome:
    if stage.watcher is None:
        return unobservable(stage.unwatched or "no journal was kept")
    try:
        trainer.train(stage.scenario(root, _PLAYED, given=trainer.plays_rewards))
    except (TrainerBroke, UnsupportedScenario) as error:
        return unobservable(f"there was no run to play: {error}")
    runs = sorted({run for found in stage.runs(root).values() for run in found})
    if len(runs) != 1:
        return unobservable(f"there was no run to play: training left {len(runs)} run folders")
    subject = stage.subject(runs[0])
    best = subject.best
    if best is None or best.misplaced or best.name.kind is not Kind.BEST:
        return unobservable("the run that was to be played has no best checkpoint in its place")
    checkpoints = _Checkpoints.of(subject, root)
    # Nothing but its name and its place tells of the run.
    asked = Scenario(runs[0].name, root, save_freq=0, max_epochs=1, rewards=(0.0,))
    broke = None
    try:
        recording = stage.watcher.record(root, prepared=True)
    except JournalError as error:
        return unobservable(str(error))
    try:
        infer(asked)
    except TrainerBroke as error:
        broke = error
    finally:
        journal = recording.stop()
    return _judged(
        checkpoints.opened(journal), journal, broke, best.entry.path.relative_to(root).as_posix()
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a process did with the checkpoints of a run, in order: by path from the root."""

    read: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Checkpoints:
    """The checkpoints of a run before it is played.

    Attributes:
        names: the path of each from the root, by the path that the kernel knows it by: its own, or
            that of a link's target.
        contents: what each held.
        root: the folder for runs.
        suffix: of the profile's checkpoints.
    """

    names: dict[str, str]
    contents: dict[str, tuple[int, int] | None]
    root: Path
    suffix: str

    @classmethod
    def of(cls, subject: Subject, root: Path) -> _Checkpoints:
        """Take note of them; of several links to one file, of the best."""
        real_root = os.path.realpath(root)
        names: dict[str, str] = {}
        # The best comes last, and so overrides.
        for file in sorted(subject.files.checkpoints, key=lambda file: file is subject.best):
            name = file.entry.path.relative_to(root).as_posix()
            names[os.path.relpath(os.path.realpath(file.entry.path), real_root)] = name
            names.setdefault(name, name)
        contents = {name: _fingerprint(root / name) for name in names.values()}
        return cls(names, contents, root, subject.profile.suffix)

    def opened(self, journal: Journal) -> _Opened:
        """Sort the journal's events into reading and changing."""
        read: list[str] = []
        changed: list[str] = []
        for event in journal.events:
            name = self.names.get(event.path, event.path)
            if not (event.folder or name.endswith(self.suffix)):
                continue
            if event.action is Action.READ:
                read.append(name)
            elif event.action in _CHANGES:
                changed.append(name)
        # What is held open in this process is not closed when `play` returns.
        held = (self.names.get(path, path) for path in journal.unclosed)
        read += (name for name in held if name in self.contents and self._is_unchanged(name))
        return _Opened(tuple(read), tuple(changed))

    def _is_unchanged(self, name: str) -> bool:
        before = self.contents.get(name)
        return before is not None and _fingerprint(self.root / name) == before


def _judged(opened: _Opened, journal: Journal, broke: TrainerBroke | None, best: str) -> Outcome:
    """RESUME-002: what inference opened, held against the best checkpoint's path."""
    evidence = {"read": list(opened.read), "best": best}
    if broke is not None and broke.code in _NO_END:
        return unobservable(f"inference came to no end: {broke.message}", **evidence)
    if broke is not None:
        return failed(
            f"given only the experiment's name, inference failed: {_told(broke)}",
            output=broke.output,
            **evidence,
        )
    if journal.overflowed:
        return Outcome(Verdict.ERROR, f"the harness failed: {journal.problem}")
    if opened.changed:
        return failed(
            f"inference changed the run: {opened.changed[0]!a} was written, moved or deleted",
            changed=list(opened.changed),
            **evidence,
        )
    if journal.problem is not None:
        return unobservable(journal.problem)
    if not opened.read:
        return failed(f"inference opened no checkpoint; {best!a} was to be loaded", **evidence)
    last = opened.read[-1]
    if best not in opened.read:
        return failed(f"inference loaded {last!a}, and never opened the best, {best!a}", **evidence)
    if last != best:
        return failed(f"inference opened the best, {best!a}, and then loaded {last!a}", **evidence)
    others = set(opened.read) - {best}
    also = f"; it looked into {len(others)} other(s) before" if others else ""
    return passed(f"inference loaded the best checkpoint, {best!a}{also}", **evidence)


def _fingerprint(path: Path) -> tuple[int, int] | None:
    """Size and CRC-32 of a file; None where it cannot be read."""
    try:
        with closing(Source(path)) as source:
            return source.size, source.crc32(0, source.size)
    except RefusalError:
        return None


def _told(broke: TrainerBroke) -> str:
    """How a command ended, with the last line that it said."""
    said = [line for line in broke.output.splitlines() if line.strip()]
    return f"{broke.message}; it said: {one_line(said[-1], 200)}" if said else broke.message


# --- several ranks --------------------------------------------------------------------------


def ranks_finding(command: CommandTrainer, stage: Stage) -> Finding:
    """Have a run trained by several ranks, and count run folders and the writes of each checkpoint.

    Temporary files do not count: a rename is the write. A process that writes a checkpoint twice by
    itself looks the same as two that write it once.

    Args:
        command: from `ranks_command`.
        stage: where.
    """
    bare = stage.played(RANKS, lambda root: _ranks(command, stage, root))
    if not bare.evidence.get("late"):
        return bare
    # A file stood in a folder before that could be watched. Some trainers mind a folder that is
    # there already: only what such a run shows of writes counts.
    finding = stage.played(RANKS, lambda root: _ranks(command, stage, root, prepared=True))
    return finding if "written" in finding.evidence else bare


def _ranks(command: CommandTrainer, stage: Stage, root: Path, *, prepared: bool = False) -> Outcome:
    if stage.watcher is None:
        return unobservable(stage.unwatched or "no journal was kept")
    broke = None
    if prepared:
        for folder in (stage.profile.checkpoints, stage.profile.summaries):
            (root / _EXPERIMENT / folder).mkdir(parents=True)
    try:
        recording = stage.watcher.record(root, prepared=prepared)
    except JournalError as error:
        return unobservable(str(error))
    try:
        command.train(stage.scenario(root, _RANKED, given=command.plays_rewards))
    except TrainerBroke as error:
        broke = error
    except UnsupportedScenario as error:
        return unobservable(str(error))
    finally:
        journal = recording.stop()
    if broke is not None and broke.code in _NO_END:
        return unobservable(f"the ranks came to no end: {_told(broke)}")
    return _left(stage, root, journal, broke)


def _left(stage: Stage, root: Path, journal: Journal, broke: TrainerBroke | None) -> Outcome:
    """RANK-001 of what the ranks left: how many folders, and what was written in the one."""
    found = stage.runs(root)
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
        ended = "" if broke is None else f": {_told(broke)}"
        return unobservable(f"no run appeared in the folder that the ranks were given{ended}")
    if broke is None and not stage.subject(runs[0]).files.checkpoints:
        return unobservable("the ranks wrote no checkpoint; let them train longer")
    return _counted(_written(stage, runs[0], journal, root), journal, broke)


def _is_twin(folder: Path) -> bool:
    """Whether a folder without a run in it was made for one: by its name, or left empty."""
    return folder.name.startswith(_EXPERIMENT) or not any(folder.iterdir())


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
        """How often, by name, each was written that was written more often than can be due.

        A periodic one is due once; the best, once in an epoch: between two periodic ones no more
        often than epochs lie between them.
        """
        counts = {name: self.names.count(name) for name in self.epochs}
        found = {name: count for name, count in counts.items() if count > 1}
        if any(count > epochs_between for count, epochs_between in self._slots()):
            found[self.best] = self.names.count(self.best)
        return found

    def is_certain(self) -> bool:
        """Whether the best was surely written no more often than due."""
        count = self.names.count(self.best)
        slots = self._slots()
        return (
            count < 2
            or (self.improved is not None and count <= self.improved)
            or (len(slots) > 1 and all(most < 2 for _, most in slots))
        )

    def _slots(self) -> list[tuple[int, int]]:
        """How often the best was written before, between and after periodic ones, and at most."""
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


def _written(stage: Stage, run: Path, journal: Journal, root: Path) -> _Written:
    subject = stage.subject(run)
    folder = f"{run.relative_to(root).as_posix()}/{stage.profile.checkpoints}"
    names = tuple(name for name in writes(journal, folder) if name.endswith(stage.profile.suffix))
    parsed = {name: parse_name(stage.profile, subject.given.name, name) for name in names}
    numbered = {
        name: parsed[name].epoch or 0
        for name in names
        if parsed[name].kind in (Kind.PERIODIC, Kind.FINAL)
    }
    best = next((name for name in names if parsed[name].kind is Kind.BEST), "")
    sessions = subject.history.sessions
    improved = None
    if len(sessions) == 1 and not subject.history.problems:
        timeline = epochs(stage.profile, subject.settings, sessions[0].rewards)
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
        return failed(f"training with several ranks failed: {_told(broke)}", output=broke.output)
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
