"""Drives a trainer through a chain of scenarios: watches what it writes, judges each session."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conformance.checks import audit
from conformance.convention.profile import Kind
from conformance.convention.rules import BY_ID, Level, Verdict
from conformance.convention.sessions import ExpectedSession, next_session
from conformance.evidence.journal import JournalError, writes
from conformance.evidence.runs import scan_run
from conformance.evidence.summaries import is_event_file_name, read_rewards
from conformance.run.driven import DrivenSession, Writes
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.trainers import TrainerBroke, UnsupportedScenario
from conformance.trainers.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conformance.checks.finding import Finding, RunReport
    from conformance.convention.profile import Profile
    from conformance.convention.scenario import Scenario
    from conformance.evidence.journal import Journal, Watcher
    from conformance.evidence.summaries import EventFile
    from conformance.trainers import Trainer
    from conformance.trainers.workspace import Workspace

Chain = tuple["Scenario", ...]

# Worst first: what a rule says of an attempt is the worst that it said of one of its sessions.
_WORST_FIRST = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.PASS,
    Verdict.UNOBSERVABLE,
    Verdict.NOT_APPLICABLE,
)
# One attempt in so many finds no folder prepared, so that the trainer makes its own.
_UNPREPARED_EVERY = 8
# A journal that came too late is worth another try, and a third.
_TRIES = 3
_DEEPEST = 4
_MOST_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one chain.

    Attributes:
        chain: the sessions that were asked for.
        reports: of each session that was played to its end, in order. Nothing is played behind a
            session that broke a MUST rule.
        broke: how the trainer broke, where it did.
        unsupported: why the trainer would not train a session of it.
        epochs: how many epochs the judged sessions had.
        saves: how many checkpoints they were due to write.
    """

    chain: Chain
    reports: tuple[RunReport, ...] = ()
    broke: TrainerBroke | None = None
    unsupported: str | None = None
    epochs: int = 0
    saves: int = 0

    @property
    def findings(self) -> dict[str, Finding]:
        """The worst finding of each rule, by the rule's id."""
        worst: dict[str, Finding] = {}
        for report in self.reports:
            for finding in report.findings:
                known = worst.get(finding.rule)
                if known is None or _rank(finding) < _rank(known):
                    worst[finding.rule] = finding
        return worst

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed and the trainer did not break."""
        return self.broke is None and not self.failing

    @property
    def failing(self) -> dict[str, Finding]:
        """The findings that failed, MUST and SHOULD."""
        return {
            rule: finding
            for rule, finding in self.findings.items()
            if finding.verdict is Verdict.FAIL
        }


@dataclass(slots=True)
class _Run:
    """The sessions of a run so far."""

    prepared: bool
    expected: tuple[ExpectedSession, ...] = ()
    driven: tuple[DrivenSession, ...] = ()


def _rank(finding: Finding) -> int:
    return _WORST_FIRST.index(finding.verdict)


class Driver:
    """Drives one trainer through chains, each in a folder of its own.

    Args:
        trainer: an open trainer.
        profile: the dialect that it is held against.
        workspace: where the runs go.
        watcher: keeps the journal; None where this system has none.
        unwatched: why there is no watcher.
        options: what the caller knows of every run: its name, a model.
        selected: ids of the rules to judge; None: all.
    """

    def __init__(
        self,
        trainer: Trainer,
        profile: Profile,
        workspace: Workspace,
        watcher: Watcher | None,
        *,
        unwatched: str = "",
        options: Options | None = None,
        selected: frozenset[str] | None = None,
    ) -> None:
        self.trainer = trainer
        self.profile = profile
        self._workspace = workspace
        self._watcher = watcher
        self._unwatched = unwatched
        self._options = options or Options()
        self.selected = selected
        self._attempts = 0
        # A folder that a trainer in this process makes is watched before it gets it back.
        self._in_process = FORMS[trainer.form].in_process
        self._may_prepare = not self._in_process
        self._late = False  # whether the last journal began after the first write
        self._eager = False  # whether the next one watches for new folders without a pause

    def drive(self, chain: Chain, *, keep: Callable[[Path], None] | None = None) -> Attempt:
        """Drive the trainer through a chain and judge it.

        The folders of a run are mostly prepared for the trainer, so that its first write is seen
        too. An attempt that fails so is repeated without, and only what fails then counts.

        Args:
            chain: the sessions; their `root` is replaced by a folder of our own.
            keep: given the folder of runs before it is cleared away.
        """
        self._attempts += 1
        prepared = self._may_prepare and self._attempts % _UNPREPARED_EVERY != 1
        if not prepared:
            return self._seen(chain, keep)
        attempt = self._once(chain, keep, prepared=True)
        if attempt.is_sound:
            return attempt
        bare = self._seen(chain, keep)
        if not bare.is_sound:
            return bare
        if self._once(chain, keep, prepared=True).is_sound:
            return attempt  # it fails now and then, whatever the folder
        self._may_prepare = False  # the trainer minds: a folder that is there is another run's
        return bare

    def _seen(self, chain: Chain, keep: Callable[[Path], None] | None) -> Attempt:
        """Play without prepared folders, again where the journal came too late.

        Again also where something was written elsewhere: only what comes back is the trainer's, and
        not that of another process in the same working directory.
        """
        self._eager = False
        for _ in range(_TRIES):
            self._late = False
            attempt = self._once(chain, keep, prepared=False)
            strayed = attempt.broke is not None and attempt.broke.code == "strays"
            if not self._late and not strayed:
                break
            self._eager |= self._late
        return attempt

    def _once(
        self, chain: Chain, keep: Callable[[Path], None] | None, *, prepared: bool
    ) -> Attempt:
        root = self._workspace.fresh()
        try:
            if prepared:
                for folder in (self.profile.checkpoints, self.profile.summaries):
                    (root / chain[0].experiment / folder).mkdir(parents=True)
            attempt = self._sessions(tuple(replace(s, root=root) for s in chain), prepared=prepared)
            strays = self._workspace.strays(root)
            if strays and attempt.broke is None:
                attempt = replace(attempt, broke=_strayed(strays))
            if keep is not None:
                keep(root)
        finally:
            self._workspace.clear(root)
        return replace(attempt, chain=chain)

    def _sessions(self, chain: Chain, *, prepared: bool) -> Attempt:
        whole = Attempt(chain)
        run = _Run(prepared=prepared)
        for scenario in chain:
            narrow = _still_telling(whole) if whole.reports else None
            if narrow is not None and not narrow:
                break
            attempt = self._next(run, scenario, narrow)
            whole = replace(
                attempt,
                chain=chain,
                reports=(*whole.reports, *attempt.reports),
                epochs=whole.epochs + attempt.epochs,
                saves=whole.saves + attempt.saves,
            )
            if not attempt.reports:
                # Behind a broken session there may be nothing to resume: that says nothing.
                return whole if narrow is None else replace(whole, unsupported=None)
        return whole

    @contextlib.contextmanager
    def run(self) -> Iterator[Callable[[Scenario], Attempt]]:
        """A run of its own that is played and judged session by session.

        Its folder is not prepared: there is no second try without. What the journal misses is
        unobservable.

        Yields:
            trains the next session, and returns what came of that one alone; the scenario's `root`
            is replaced.
        """
        root = self._workspace.fresh()
        run = _Run(prepared=False)

        def train(scenario: Scenario) -> Attempt:
            self._late = False
            found = self._next(run, replace(scenario, root=root))
            strays = self._workspace.strays(root)
            if strays and found.broke is None:
                found = replace(found, broke=_strayed(strays))
            return replace(found, chain=(scenario,))

        try:
            yield train
        finally:
            self._workspace.clear(root)

    def _next(self, run: _Run, scenario: Scenario, narrow: frozenset[str] | None = None) -> Attempt:
        """Play and judge the run's next session.

        Args:
            run: the sessions so far.
            scenario: what to train.
            narrow: the rules to judge behind a session that broke one; None: all. The session then
                starts from what the files at hand hold, not from what they should.
        """
        session = None
        if self.trainer.plays_rewards and narrow is None:
            session = next_session(self.profile, run.expected, scenario)
            run.expected = (*run.expected, session)
        try:
            driven = self._session(scenario, session, run.driven, prepared=run.prepared)
        except TrainerBroke as broke:
            return Attempt((scenario,), broke=broke)
        except UnsupportedScenario as error:
            return Attempt((scenario,), unsupported=str(error))
        run.driven = (*run.driven, driven)
        run.prepared = True  # by now the folders are there
        folder, _ = self._find(scenario)
        report = audit(
            scan_run(folder, follow=(self.profile.checkpoints, self.profile.summaries)),
            self.profile,
            self._known(scenario),
            driven=run.driven,
            selected=self.selected if narrow is None else narrow & (self.selected or narrow),
        )
        return Attempt(
            (scenario,),
            reports=(report,),
            epochs=len(driven.logged_rewards if session is None else session.rewards),
            saves=0 if session is None else len(session.saves),
        )

    def _known(self, scenario: Scenario) -> Options:
        return replace(
            self._options,
            save_freq=scenario.save_freq,
            max_epochs=scenario.max_epochs,
            save_best_after=scenario.save_best_after if self.profile.has_save_best_after else None,
        )

    def _session(
        self,
        scenario: Scenario,
        session: ExpectedSession | None,
        earlier: tuple[DrivenSession, ...],
        *,
        prepared: bool,
    ) -> DrivenSession:
        """Have one session played, and gather what could be seen of it."""
        start = self._start(scenario, session)
        before = _event_files(self._find(scenario)[0], self.profile)
        journal, unseen = self._watched(scenario, prepared=prepared)
        run, others = self._find(scenario)
        after = _event_files(run, self.profile)
        logs = tuple(
            read_rewards(path, tag=self.profile.reward_tag, epoch_tag=self.profile.epoch_tag)
            for path, stamp in after.items()
            if before.get(path) != stamp
        )
        return replace(
            start,
            logs=logs,
            lost_logs=tuple(_overwritten(earlier, logs, after)),
            writes=self._writes(journal, unseen, run),
            elsewhere=run.name != scenario.experiment,
            others=others,
        )

    def _start(self, scenario: Scenario, session: ExpectedSession | None) -> DrivenSession:
        """Return what the session starts from: by the oracle, or by the files at hand."""
        if session is None:
            return self._start_from_files(scenario)
        point = session.resumed_from
        keeps = point is not None and self.profile.resume_keeps_watermark
        return DrivenSession(
            rewards=session.rewards,
            first=session.first,
            last=session.last,
            save_freq=scenario.save_freq,
            resumed_from=None if point is None else scenario.resume,
            watermark=session.watermark if keeps else None,
        )

    def _start_from_files(self, scenario: Scenario) -> DrivenSession:
        """Return the same for a trainer whose rewards are its own."""
        fresh = DrivenSession(None, 1, scenario.max_epochs, scenario.save_freq)
        if scenario.resume is None:
            return fresh
        run = scan_run(self._find(scenario)[0])
        subject = Subject(run, self.profile, self._known(scenario))
        stored = [file for file in subject.files.readable if file.epoch is not None]
        if scenario.resume == "best":
            stored = [file for file in stored if file.name.kind is Kind.BEST]
        if not stored:
            raise UnsupportedScenario("no checkpoint to resume from was written")
        chosen = max(stored, key=lambda file: file.epoch or 0)
        first = (chosen.epoch or 0) + 1
        if first > scenario.max_epochs:
            raise UnsupportedScenario("the checkpoint to resume from leaves nothing to train")
        best = subject.best
        told = (chosen.watermark, chosen.name.reward, best.watermark if best else None)
        known = [value for value in told if value is not None and not math.isnan(value)]
        keeps = self.profile.resume_keeps_watermark and known
        return replace(
            fresh,
            rewards=_given(scenario, first) if self.trainer.plays_rewards else None,
            first=first,
            resumed_from=scenario.resume,
            watermark=max(known) if keeps else None,
        )

    def _watched(self, scenario: Scenario, *, prepared: bool) -> tuple[Journal | None, str]:
        if self._watcher is None:
            self.trainer.train(scenario)
            return None, self._unwatched
        try:
            recording = self._watcher.record(
                scenario.root, prepared=prepared or (self._in_process and not self._eager)
            )
        except JournalError as error:
            self.trainer.train(scenario)
            return None, str(error)
        try:
            self.trainer.train(scenario)
        finally:
            journal = recording.stop()
        return journal, ""

    def _writes(self, journal: Journal | None, unseen: str, run: Path) -> Writes:
        if journal is None:
            return Writes(None, unseen)
        folder = f"{run.name}/{self.profile.checkpoints}"
        names = writes(journal, folder)
        if journal.overflowed:
            return Writes(names, journal.problem or "the kernel's queue ran over", overflowed=True)
        if any(folder == late or folder.startswith(f"{late}/") for late in journal.late):
            self._late = True
            return Writes(names, "the journal began after the first write")
        return Writes(names, journal.problem)

    def _find(self, scenario: Scenario) -> tuple[Path, tuple[str, ...]]:
        """Return the run's folder, and what else of checkpoints stands beside it.

        Where there is no checkpoint in the folder that was asked for, and one other folder that
        holds some, that is the run's.
        """
        asked = scenario.root / scenario.experiment
        others = tuple(_with_checkpoints(scenario.root, asked.name, self.profile.suffix))
        if not others or _holds(asked, self.profile.suffix):
            runs = _twins(scenario.root, asked.name, self.profile)
            return asked, tuple(sorted({*others, *runs}))
        folders = [name for name in others if (scenario.root / name).is_dir()]
        if len(folders) != 1:
            return asked, others
        return scenario.root / folders[0], tuple(name for name in others if name != folders[0])


def _given(scenario: Scenario, first: int) -> dict[int, float]:
    """Return the known rewards of a scenario's epochs from `first` on."""
    return {
        epoch: reward
        for epoch, reward in enumerate(scenario.rewards[: scenario.max_epochs], start=1)
        if epoch >= first and reward is not None
    }


def _still_telling(attempt: Attempt) -> frozenset[str] | None:
    """Return the rules worth judging in the next session; None: all, as no MUST rule is broken.

    What broke in an earlier session would show again in its files. Whether the trainer resumes is
    another question, and whether it keeps the watermark, where the best was as it should be.
    """
    broken = {rule for rule, found in attempt.failing.items() if found.level is Level.MUST}
    return frozenset.intersection(*(BY_ID[rule].leaves for rule in broken)) if broken else None


def _overwritten(
    earlier: tuple[DrivenSession, ...],
    logs: tuple[EventFile, ...],
    present: dict[Path, tuple[int, int]],
) -> Iterator[str]:
    """Yield the event files of earlier sessions that are gone, or hold something else now.

    A name made of the second in which the session began is no fault of the trainer: sessions do
    not follow each other within a second elsewhere.
    """
    read = {log.path: log for log in logs}
    for session in earlier:
        for log in session.logs:
            now = read.get(log.path)
            kept = (
                log.path in present
                if now is None
                else now.rewards[: len(log.rewards)] == log.rewards
            )
            if not kept and not _is_of_this_minute(log.path.name):
                yield log.path.name


def _is_of_this_minute(name: str) -> bool:
    return any(abs(int(part) - time.time()) < 60 for part in name.split(".") if part.isdecimal())


def _strayed(strays: tuple[str, ...]) -> TrainerBroke:
    more = f", and {len(strays) - 1} more" if len(strays) > 1 else ""
    return TrainerBroke(
        "strays",
        f"it wrote outside the folder that it was given: {strays[0]!a}{more}",
        hint="write below the scenario's root only",
    )


def _event_files(run: Path, profile: Profile) -> dict[Path, tuple[int, int]]:
    """Return the event files of a run, with what changes when one is written to."""
    try:
        with os.scandir(run / profile.summaries) as entries:
            found = {
                run / profile.summaries / entry.name: entry.stat()
                for entry in entries
                if is_event_file_name(entry.name) and entry.is_file()
            }
    except OSError:
        return {}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def _with_checkpoints(root: Path, run: str, suffix: str) -> Iterator[str]:
    """Yield what stands in the folder of runs beside the run, and is or holds a checkpoint."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.name != run)
    for name in names:
        if name.endswith(suffix) or _holds(root / name, suffix):
            yield name


def _twins(root: Path, run: str, profile: Profile) -> Iterator[str]:
    """Yield the folders beside the run that are made like one, empty ones too."""
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.name != run and entry.is_dir()]
    for name in folders:
        made = (profile.checkpoints, profile.summaries)
        if name.startswith(run) or any((root / name / part).is_dir() for part in made):
            yield name


def _holds(folder: Path, suffix: str) -> bool:
    """Tell whether a checkpoint stands somewhere in a folder, as far as one wants to look."""
    waiting, seen = [(str(folder), 0)], 0
    while waiting and seen < _MOST_ENTRIES:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    seen += 1
                    if entry.name.endswith(suffix):
                        return True
                    if depth < _DEEPEST and entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except OSError:
            continue
    return False
