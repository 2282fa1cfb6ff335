"""`run_crash(trainer, *, profile, ...) -> CrashResult`: every fault at every call of a save."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.checks.finding import RunReport, run_verdict
from conformance.convention.scenario import Scenario
from conformance.crash.calls import read_log
from conformance.crash.disk import Disk
from conformance.crash.findings import HALF_KILL, POWER_CUT, Tried, crash_findings
from conformance.crash.held import ABSENT, Held, Left, hold_bytes, left_in
from conformance.crash.points import (
    KILL,
    Naming,
    Point,
    Recording,
    choose,
    fell_on,
    points,
    record,
)
from conformance.crash.power import explain, half_kills, power_cuts
from conformance.crash.stages import open_stage
from conformance.crash.tracing import Tracing, check_tracing
from conformance.trainers import TrainerBroke
from conformance.trainers.forms import FORMS
from conformance.trainers.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.crash.calls import Call
    from conformance.crash.stages import Ending, Stage

    Progress = Callable[[int, int, int], None]

TIME_LIMIT_S = 60.0

_EXPERIMENT = "Crash"
# A first best, a periodic checkpoint that is none, and a second best: the save that matters.
_REWARDS = (1.0, 0.5, 2.0)
_SAVE_FREQ = 2
_MENTIONS = re.compile(
    r"errno|error|exception|fail|cannot|could not|unable|warn|disk|quota|no space|too large"
    r"|interrupted|not saved|retry",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[0-9]+")


class CrashError(Exception):
    """The crashes cannot be played as asked; one line."""


@dataclass(frozen=True, slots=True)
class CrashResult:
    """What came of it.

    Attributes:
        title: the trainer's name and version where it says them, else `spec`.
        spec: TRAINER.
        run: the findings.
        tried: each point that was played, then each state that was replayed.
        found: how many points there are.
        seconds: that playing them took.
        pace: how each point was reached.
        explanations: what is wrong with the calls: what a kill may lose, then what a power cut
            may; the shortest first.
        states: how many states of the disk a power cut was found to leave.
        interrupted: whether somebody ended it before all points were played.
    """

    title: str
    spec: str
    run: RunReport
    tried: tuple[Tried, ...]
    found: int
    seconds: float
    pace: str
    explanations: tuple[str, ...]
    states: int
    interrupted: bool = False

    @property
    def played(self) -> tuple[Tried, ...]:
        """The points that were really played."""
        return tuple(tried for tried in self.tried if not tried.replayed)


def run_crash(
    trainer: str,
    *,
    profile: Profile,
    max_points: int | None = None,
    time_limit: float | None = None,
    save_freq: int | None = None,
    max_epochs: int | None = None,
    name: str | None = None,
    durable: bool = False,
    progress: Progress | None = None,
) -> CrashResult:
    """Record a session, then break it at each call of its saves, and judge what is left.

    Args:
        trainer: TRAINER.
        profile: the dialect.
        max_points: how many points to play at most; None: by the trainer's form.
        time_limit: seconds for one session.
        save_freq: of the session; None: our own.
        max_epochs: of the session; None: our own.
        name: the name inside the files, where it is not the experiment's.
        durable: whether what a power cut may lose breaks INTEGRITY-002 too.
        progress: told of how many points are done, of how many, and how many failed.

    Raises:
        TrainerSpecError: `trainer` names nothing that could be driven.
        TrainerBroke: it cannot be started, or cannot play the session undisturbed.
        NoTracingError: there is no strace, or it may not trace.
        CrashError: the session shows nothing to break.
    """
    limit = TIME_LIMIT_S if time_limit is None else time_limit
    with Workspace() as workspace:
        check_tracing(workspace.base)
        with open_stage(trainer, time_limit=limit) as stage:
            test = _CrashTest(stage, profile, workspace.base, name or _EXPERIMENT, durable)
            test.settings(save_freq, max_epochs)
            test.record()
            form = trainer.partition(":")[0]
            # A worker that numbers its temporary files goes on counting from session to session.
            if points(test.recording, test.again)[1] and stage.start_anew():
                form = "command"  # as slow
                test.notes.clear()
                test.record()
            most = max_points or FORMS[form].max_points
            return test.result(trainer, most, progress)


@dataclass
class _CrashTest:
    """One trainer, recorded and then broken at each point."""

    stage: Stage
    profile: Profile
    base: Path
    name: str
    durable: bool
    notes: list[str] = field(default_factory=list)

    # --- recording ---------------------------------------------------------------------------

    def settings(self, save_freq: int | None, max_epochs: int | None) -> None:
        epochs = max_epochs or len(_REWARDS)
        rewards = _REWARDS[:epochs] + tuple(
            float(number) for number in range(len(_REWARDS), epochs)
        )
        self.scenario = Scenario(
            experiment=_EXPERIMENT,
            root=self.base / "runs",
            save_freq=_SAVE_FREQ if save_freq is None else save_freq,
            max_epochs=epochs,
            rewards=rewards,
            save_best_after=0,
        )
        self.run = self.scenario.root / _EXPERIMENT
        self.folder = self.run / self.profile.checkpoints
        self.log = self.base / "calls.log"
        self.scratch = self.base / "replayed.pth"

    def record(self) -> None:
        """Train twice undisturbed: what differs is no point to compare by."""
        self._clear()
        self.stage.warm(self.scenario)
        try:
            self.baseline, self.recording, self.left = self._recorded()
        except TrainerBroke:
            self.stage.cool()  # it may not survive a fork once it has played
            self.baseline, self.recording, self.left = self._recorded()
        _, self.again, left = self._recorded()
        if not self.recording.saves:
            raise CrashError(
                f"it wrote no checkpoint into {self.profile.checkpoints}/ that strace saw:"
                " there is nothing to break"
            )
        if self.left.best.state != "whole":
            raise CrashError(
                "left alone, it leaves no whole best checkpoint"
                f" ({self.left.best.told}): see conformance test"
            )
        # Equal weights in both sessions, or nothing but the epoch to tell bests apart by.
        self.exact = self.left.shows(left)
        steps = [step.key for step in self.recording.steps]
        if steps != [step.key for step in self.again.steps]:
            self.notes.append("two sessions made different calls: some points may not be reached")
        self.best = os.fsencode(self.folder) + b"/" + os.fsencode(self._best_name())
        self.blind = tuple(self.recording.end.blind) or self._unexplained()
        self.story = tuple(self._story())

    def _recorded(self) -> tuple[Ending, Recording, Left]:
        self._clear()
        ending = self.stage.train(self.scenario, Tracing(self.log, whole=True))
        if ending.how != "done":
            raise TrainerBroke(
                ending.how,
                f"left alone, it cannot play the session: {ending.message}",
                output=ending.output,
            )
        return ending, self._record(ending.process), left_in(self.folder, self.name, self.profile)

    def _record(self, process: int | None) -> Recording:
        return record(
            self._calls(),
            top=os.fsencode(self.scenario.root),
            run=os.fsencode(self.run),
            name=self.name,
            profile=self.profile,
            process=process,
        )

    def _calls(self) -> list[Call]:
        try:
            with self.log.open(encoding="ascii", errors="surrogateescape") as lines:
                return list(read_log(lines))
        except OSError:
            return []

    def _clear(self) -> None:
        shutil.rmtree(self.scenario.root, ignore_errors=True)
        self.scenario.root.mkdir()
        with contextlib.suppress(OSError):
            self.log.unlink()

    def _naming(self, folders: Iterable[bytes] = ()) -> Naming:
        return Naming(os.fsencode(self.run), self.name, self.profile, folders)

    def _best_name(self) -> str:
        naming = self._naming()
        names = [os.fsencode(entry) for entry in os.listdir(self.folder)]  # noqa: PTH208 - names
        return next(
            os.fsdecode(name)
            for name in names
            if naming.kind(naming.folder + b"/" + name) == "best"
        )

    def _unexplained(self) -> tuple[str, ...]:
        """Tell whether the calls explain what lies there; else nothing can be replayed."""
        for name in (self._best_name(), *self.left.others):
            path = self.folder / name
            replayed = self.again.end.at(os.fsencode(path))
            if replayed is None or replayed != path.read_bytes():
                return (f"the recorded calls do not explain what stands in {name}",)
        return ()

    def _story(self) -> Iterator[Held]:
        """Yield what stands under the best's name before each step, and after the last one."""
        disk = Disk(os.fsencode(self.scenario.root))
        known: tuple[bytes | None, Held] = None, ABSENT
        steps = {step.index for step in self.recording.steps}
        for index, call in enumerate(self.recording.calls):
            if index in steps:
                known = self._known(disk, known)
                yield known[1]
            disk.replay(call)
        yield self._known(disk, known)[1]

    def _known(self, disk: Disk, known: tuple[bytes | None, Held]) -> tuple[bytes | None, Held]:
        content = disk.at(self.best)
        if content == known[0]:
            return known
        return content, hold_bytes(content, self.profile, self.scratch)

    # --- playing -----------------------------------------------------------------------------

    def result(self, spec: str, most: int, progress: Progress | None) -> CrashResult:
        found, missed = points(self.recording, self.again)
        if missed:
            self.notes.append(
                f"{len(missed)} call(s) are no points: another thread makes as many of them first"
                f" ({missed[0].shown} of save {missed[0].save + 1}, for one)"
            )
        favourite = max(
            (save.steps[0].save for save in self.recording.saves if save.best), default=0
        )
        chosen = choose(found, most, favourite)
        numbers = {step: number for number, step in enumerate(self.recording.steps)}
        tried: list[Tried] = []
        interrupted = False
        began = time.monotonic()
        try:
            for point in chosen:
                tried.append(self._try(point, numbers[point.step]))
                if progress is not None:
                    progress(len(tried), len(chosen), sum(each.verdict == "fail" for each in tried))
        except KeyboardInterrupt:
            interrupted = True
            self.notes.append("interrupted: this is what was found until then")
        seconds = time.monotonic() - began
        replayed, states = self._replayed()
        by_kill, by_cut = self._explanations()
        self._note(tried, replayed, states)
        run = os.fsencode(self.run) + b"/"
        findings = crash_findings(
            [*tried, *replayed],
            best=os.fsdecode(self.best[len(run) :]),
            folder=self.profile.checkpoints,
            causes=[*by_kill, *(by_cut if self.durable else ())],
            durable=self.durable,
        )
        verdict = run_verdict(findings)
        report = RunReport(
            path=self.stage.title,
            verdict=verdict.in_part if interrupted else verdict,
            sessions=len(tried) + 2,
            checkpoints=len(self.recording.saves),
            findings=findings,
            notes=tuple(self.notes),
            driven=True,
        )
        return CrashResult(
            title=self.stage.title,
            spec=spec,
            run=report,
            tried=(*tried, *replayed),
            found=len(found),
            seconds=seconds,
            pace=self.stage.pace,
            explanations=(*by_kill, *by_cut),
            states=states,
            interrupted=interrupted,
        )

    def _try(self, point: Point, number: int) -> Tried:
        """Play one point; again where it was not reached."""
        for _ in range(2):
            self._clear()
            tracing = Tracing(
                self.log,
                point.inject,
                point.aim.paths,
                point.cut_at,
                recorded_by=self.recording.process,
            )
            ending = self.stage.train(self.scenario, tracing)
            if self._reached(point):
                return self._judged(point, number, ending)
        return Tried(
            point.step.shown,
            point.fault,
            "",
            "not reached",
            "the calls came otherwise than recorded",
            point.step.save + 1,
        )

    def _reached(self, point: Point) -> bool:
        """Tell whether the fault fell on the call that it was meant for."""
        folders = {
            other.path.rpartition(b"/")[0]
            for other in self.recording.steps
            if other.path != os.fsencode(self.folder)
        }
        return fell_on(self._calls(), point, self._naming(folders))

    # --- judging -----------------------------------------------------------------------------

    def _before(self, number: int) -> Held:
        """Return the newest whole best before a step."""
        wholes = [held for held in self.story[: number + 1] if held.state == "whole"]
        return wholes[-1] if wholes else ABSENT

    def _later(self, number: int) -> list[Held]:
        """Return the whole bests that come behind it, in order, each once."""
        found: list[Held] = []
        known = self._before(number)
        for held in self.story[number + 1 :]:
            if held.state == "whole" and held not in (known, *found):
                found.append(held)
        return found

    def _same(self, first: Held, second: Held) -> bool:
        if self.exact or "absent" in (first.state, second.state):
            return first == second
        return first.state == second.state and first.epoch == second.epoch

    def _judged(self, point: Point, number: int, ending: Ending) -> Tried:
        left = left_in(self.folder, self.name, self.profile)
        previous, later = self._before(number), self._later(number)
        killed = point.fault == KILL
        allowed = [previous, *(later[:1] if killed else later)]
        survives = any(self._same(left.best, held) for held in allowed) or (
            bool(self.blind) and left.best.state == "whole"
        )
        begin = sum(len(save.steps) for save in self.recording.saves[: point.step.save])
        told = self._told(left.best, self._before(begin), self._later(begin))
        why = ""
        if not survives:
            why = self._why(left.best, previous)
        elif not killed:
            says = ending.how in ("failed", "died") or self._mentions(ending.output)
            if ending.how == "hung":
                why = "it did not end"
            elif not says and not self._recovered(left):
                why = "a checkpoint is missing, and nothing says so"
        return Tried(
            point.step.shown,
            point.fault,
            told,
            "fail" if why else "pass",
            why,
            point.step.save + 1,
            tuple(name for name in left.foreign if name not in self.left.foreign),
            tuple(self._torn(left, point.step.save)),
        )

    def _why(self, best: Held, previous: Held) -> str:
        if best.state == "torn":
            return f"the best is torn: {best.why.removeprefix('torn: ')}"
        if best.state == "absent":
            return "the best is gone"
        if previous.state == "absent":
            return f"the best is none that it ever saved: {best.told}"
        return f"the best is neither the previous nor the new one: {best.told}"

    def _told(self, best: Held, previous: Held, later: Sequence[Held]) -> str:
        if best.state == "absent":
            return "nothing" if previous.state != "absent" else "nothing yet"
        if best.state == "torn":
            return "torn"
        if self._same(best, previous):
            return f"the previous best ({best.told})"
        if any(self._same(best, held) for held in later):
            return f"the new best ({best.told})"
        return best.told

    def _recovered(self, left: Left) -> bool:
        """Tell whether all is there in the end, as if nothing had happened."""
        if self.exact:
            return left.shows(self.left)
        return self._same(left.best, self.left.best) and {
            name: held.epoch for name, held in left.others.items()
        } == {name: held.epoch for name, held in self.left.others.items()}

    def _mentions(self, output: str) -> bool:
        """Tell whether it printed a line about it that it does not print when it is left alone."""
        usual = {_NUMBERS.sub("0", line.strip()) for line in self.baseline.output.splitlines()}
        return any(
            _MENTIONS.search(line) and _NUMBERS.sub("0", line.strip()) not in usual
            for line in output.splitlines()
        )

    def _torn(self, left: Left, save: int) -> Iterator[str]:
        for name, held in left.others.items():
            if held.state == "torn":
                yield name
        earlier = {
            target.rpartition("/")[2]
            for done in self.recording.saves[:save]
            for target in done.targets
        }
        for name in sorted(earlier & set(self.left.others)):
            if name not in left.others:
                yield name

    # --- replaying ---------------------------------------------------------------------------

    def _replayed(self) -> tuple[list[Tried], int]:
        """Return what kills in the middle of a write, and power cuts, may leave; nothing runs."""
        if self.blind:
            return [], 0
        tried: list[Tried] = []
        states = 0
        position = 0
        for save in self.recording.saves:
            previous, later = self._before(position), self._later(position)
            allowed = [previous, *later[:1]]
            kinds = ((HALF_KILL, half_kills), (POWER_CUT, power_cuts))
            for fault, possible in kinds:
                for state in possible(save, self.best):
                    states += fault == POWER_CUT
                    held = hold_bytes(state.content, self.profile, self.scratch)
                    fine = held in allowed
                    step = save.steps[min(state.after, len(save.steps) - 1)]
                    before = f"before {step.shown}"
                    if state.after == len(save.steps):
                        before = f"behind {step.shown}"
                    counts = fault == HALF_KILL or self.durable
                    verdict = "pass" if fine else "fail" if counts else "lost"
                    why = "" if fine else f"{self._why(held, previous)} ({state.why})"
                    tried.append(
                        Tried(
                            step.shown if fault == HALF_KILL else before,
                            fault,
                            self._told(held, previous, later),
                            verdict,
                            why,
                            step.save + 1,
                            replayed=True,
                        )
                    )
            position += len(save.steps)
        return tried, states

    def _explanations(self) -> tuple[list[str], list[str]]:
        """Return what kills and power cuts may lose by the calls alone, the shortest first."""
        naming = self._naming()
        kills: set[str] = set()
        cuts: set[str] = set()
        for save in self.recording.saves:
            if save.best:
                by_kill, by_cut = explain(save, self.best, naming.of(self.best))
                kills.update(by_kill)
                cuts.update(by_cut)
        # That it writes in place says less than that it empties the old one for it.
        emptied = any("is emptied" in text for text in kills)
        told = [text for text in kills if not (emptied and "is written" in text)]
        if told:  # then the old one does not stay
            cuts = {text for text in cuts if "(allowed)" not in text}
        return sorted(told, key=len), sorted(cuts, key=len)

    def _note(self, tried: Sequence[Tried], replayed: Sequence[Tried], states: int) -> None:
        missed = sum(each.verdict == "not reached" for each in tried)
        if missed:
            self.notes.append(
                f"{missed} point(s) not repeatable: the calls came otherwise than recorded;"
                " they count as neither passed nor failed"
            )
        if not self.exact:
            self.notes.append(
                "two sessions wrote different weights: bests are told apart by their epoch alone"
            )
        if self.blind:
            self.notes.append(f"no power cut was replayed: {'; '.join(self.blind)}")
            return
        lost = [each for each in replayed if each.fault == POWER_CUT and each.verdict != "pass"]
        if lost:
            self.notes.append(
                f"a power cut may lose the best: {len(lost)} of {states} states of the disk,"
                f" first {lost[0].call}: {lost[0].why}"
            )
        else:
            self.notes.append(f"a power cut loses nothing: {states} states of the disk audited")
