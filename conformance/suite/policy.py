"""RESUME-002: which checkpoint is played by who knows nothing but the experiment's name.

Judged from outside, by which checkpoint is opened for reading; the command may be of any language.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, passed, unobservable
from conformance.convention.profile import Kind
from conformance.convention.rules import Verdict
from conformance.convention.scenario import Scenario
from conformance.evidence.checkpoint.errors import RefusalError
from conformance.evidence.checkpoint.source import Source
from conformance.evidence.journal import Action, JournalError
from conformance.suite.observer import NO_END, PLACEHOLDERS, how_it_broke, read_command
from conformance.trainers import TrainerBroke, TrainerSpecError, UnsupportedScenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.checks.finding import Finding
    from conformance.evidence.journal import Journal
    from conformance.run.subject import Subject
    from conformance.suite.observer import Observer
    from conformance.trainers import Trainer
    from conformance.trainers.command import CommandTrainer

INFERENCE = "RESUME-002"

# The best is that of epoch 2, the latest that of epoch 3.
INFERENCE_REWARDS = (1.0, 3.0, 2.0)
_CHANGES = frozenset(
    {Action.WRITTEN, Action.LINKED, Action.MOVED_IN, Action.MOVED_OUT, Action.DELETED}
)


def play_command(template: str, *, time_limit: float) -> CommandTrainer:
    """Read the template of a command that plays the policy of a run.

    Raises:
        TrainerSpecError: what `command:` refuses; or it does not ask for exactly the experiment's
            name and the folder for runs.
    """
    command = read_command("--play", template, time_limit)
    if command.placeholders != PLACEHOLDERS:
        command.close()
        raise TrainerSpecError(
            f"--play {template!a}: it is given the experiment's name and the folder for runs, and"
            " nothing else: write {experiment} and {root}"
        )
    return command


def inference_finding(
    trainer: Trainer, observer: Observer, command: CommandTrainer | None = None
) -> Finding | None:
    """Have a run trained whose best is not its latest, have it played, and see what is opened.

    Args:
        trainer: trains the run, and plays it where there is no command for that.
        observer: where, and watched by what.
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

    finding = observer.judged(INFERENCE, lambda root: _inference(trainer, observer, root, infer))
    return finding if offered else None


def _inference(
    trainer: Trainer, observer: Observer, root: Path, infer: Callable[[Scenario], None]
) -> Outcome:
    if observer.watcher is None:
        return unobservable(observer.unwatched or "no journal was kept")
    try:
        trainer.train(observer.scenario(root, INFERENCE_REWARDS, given=trainer.plays_rewards))
    except (TrainerBroke, UnsupportedScenario) as error:
        return unobservable(f"there was no run to play: {error}")
    runs = sorted({run for found in observer.runs(root).values() for run in found})
    if len(runs) != 1:
        return unobservable(f"there was no run to play: training left {len(runs)} run folders")
    subject = observer.subject(runs[0])
    best = subject.best
    if best is None or best.misplaced or best.name.kind is not Kind.BEST:
        return unobservable("the run that was to be played has no best checkpoint in its place")
    checkpoints = _Checkpoints.of(subject, root)
    # Nothing but its name and its place tells of the run.
    asked = Scenario(runs[0].name, root, save_freq=0, max_epochs=1, rewards=(0.0,))
    broke = None
    try:
        recording = observer.watcher.record(root, prepared=True)
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
    if broke is not None and broke.code in NO_END:
        return unobservable(f"inference came to no end: {broke.message}", **evidence)
    if broke is not None:
        return failed(
            f"given only the experiment's name, inference failed: {how_it_broke(broke)}",
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
    """Return size and CRC-32 of a file; None where it cannot be read."""
    try:
        with closing(Source(path)) as source:
            return source.size, source.crc32(0, source.size)
    except RefusalError:
        return None
