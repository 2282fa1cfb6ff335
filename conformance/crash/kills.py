"""Kills at random instants: a session is trained again and again, and what each left is judged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import statistics
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.checks.finding import Finding, Outcome, RunReport, run_verdict
from conformance.convention.oracle import Settings, expected_saves
from conformance.convention.profile import Kind
from conformance.convention.rules import BY_ID, Verdict
from conformance.convention.scenario import Scenario
from conformance.crash.held import Left, kind_of, left_in
from conformance.crash.session import CrashError
from conformance.crash.stages import open_stage
from conformance.trainers import TrainerBroke
from conformance.trainers.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from conformance.convention.oracle import Save
    from conformance.convention.profile import Profile
    from conformance.crash.held import Held
    from conformance.crash.stages import Ending, Stage

    Progress = Callable[[int, int, int], None]

TIME_LIMIT_S = 60.0

_EXPERIMENT = "Crash"
# Bests in all epochs but one, and a periodic checkpoint in every other one.
_REWARDS = (1.0, 2.0, 0.5, 3.0)
_SAVE_FREQ = 2
_WARMING = 3
_MOST_SESSIONS = 20  # for each kill: those that end first are no kills
_MOST_EARLY = 3  # in a row: then an undisturbed session is timed anew
_POLL_S = 0.001
_MOST_TOLD = 20

# Of each other kind of checkpoint, the epochs.
_Others = frozenset[tuple[Kind, int | None]]


@dataclass(frozen=True, slots=True)
class Killed:
    """One session, and what it left.

    Attributes:
        instant: seconds from the session's start to the kill.
        ended: whether the session had ended before.
        within: whether the kill fell into a save: a temporary file is left, or a torn checkpoint.
        best: the best, for a person.
        others: how many whole checkpoints there are besides.
        rule: which rule it breaks; empty for none.
        why: in one sentence; empty where nothing is wrong.
        leftovers: how many names that are no checkpoint's are left.
        bytes: size of the best.
    """

    instant: float
    ended: bool
    within: bool
    best: str
    others: int
    rule: str = ""
    why: str = ""
    leftovers: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class KillsResult:
    """What came of it.

    Attributes:
        title: the trainer's name and version where it says them, else `spec`.
        spec: TRAINER.
        run: the findings.
        killed: the sessions that were killed, in order.
        ended: how many sessions had ended before they were to be killed.
        seconds: that all of it took.
        session: seconds of an undisturbed session, from its first folder to its end.
        pace: how each session was started.
        interrupted: whether somebody ended it before all kills were done.
    """

    title: str
    spec: str
    run: RunReport
    killed: tuple[Killed, ...]
    ended: int
    seconds: float
    session: float
    pace: str
    interrupted: bool = False


def run_kills(
    trainer: str,
    *,
    profile: Profile,
    kills: int,
    time_limit: float | None = None,
    save_freq: int | None = None,
    max_epochs: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> KillsResult:
    """Kill so many sessions, each at an instant drawn evenly, and judge what they left.

    An instant lies between the first sight of the folder of checkpoints and the session's end, as
    undisturbed sessions have shown them. The sessions write below the temporary folder (`TMPDIR`),
    not into memory, and what they leave is deleted at once.

    Args:
        trainer: TRAINER.
        profile: the dialect.
        kills: how many.
        time_limit: seconds for one session.
        save_freq: of the session; None: our own.
        max_epochs: of the session; None: our own.
        name: the name inside the files, where it is not the experiment's.
        progress: told of how many kills are done, of how many, and how many failed.

    Raises:
        TrainerSpecError: `trainer` names nothing that could be driven.
        TrainerBroke: it cannot be started, or cannot play the session undisturbed.
        CrashError: left alone, it does not leave what the session asks for.
    """
    limit = TIME_LIMIT_S if time_limit is None else time_limit
    with (
        Workspace(memory=Path(os.devnull)) as workspace,
        open_stage(trainer, time_limit=limit) as stage,
    ):
        test = _KillTest(
            stage, profile, name or _EXPERIMENT, _scenario(workspace.base, save_freq, max_epochs)
        )
        return test.result(trainer, kills, progress)


def _scenario(base: Path, save_freq: int | None, max_epochs: int | None) -> Scenario:
    epochs = max_epochs or len(_REWARDS)
    beyond = tuple(float(number) for number in range(len(_REWARDS), epochs))
    return Scenario(
        experiment=_EXPERIMENT,
        root=base / "runs",
        save_freq=_SAVE_FREQ if save_freq is None else save_freq,
        max_epochs=epochs,
        rewards=_REWARDS[:epochs] + beyond,
        save_best_after=0,
    )


@dataclass(frozen=True, slots=True)
class _State:
    """What the folder of checkpoints holds between two saves."""

    best: tuple[int, float] | None
    others: _Others


def _states(saves: Sequence[Save]) -> tuple[_State, ...]:
    found = [_State(None, frozenset())]
    for save in saves:
        last = found[-1]
        if save.kind is Kind.BEST:
            found.append(_State((save.epoch, save.watermark), last.others))
        else:
            found.append(_State(last.best, last.others | {(save.kind, save.epoch)}))
    return tuple(found)


@dataclass
class _KillTest:
    """One trainer, killed as often as asked."""

    stage: Stage
    profile: Profile
    name: str
    scenario: Scenario
    spans: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=7))
    states: tuple[_State, ...] | None = None

    @property
    def folder(self) -> Path:
        return self.scenario.root / _EXPERIMENT / self.profile.checkpoints

    def result(self, spec: str, kills: int, progress: Progress | None) -> KillsResult:
        began = time.monotonic()
        self.clear()
        self.stage.warm(self.scenario)
        for _ in range(_WARMING):
            left = self.undisturbed()
        self.states = self.expected(left)
        killed: list[Killed] = []
        ended: list[Killed] = []
        interrupted = False
        try:
            self.kill_all(kills, killed, ended, progress)
        except KeyboardInterrupt:
            interrupted = True
        self.clear()
        findings = _findings(killed, ended, self.profile.checkpoints)
        verdict = run_verdict(findings)
        report = RunReport(
            path=self.stage.title,
            verdict=verdict.in_part if interrupted else verdict,
            sessions=len(killed) + len(ended) + _WARMING,
            checkpoints=0 if self.states is None else len(self.states) - 1,
            findings=findings,
            notes=tuple(self.notes(killed, kills, interrupted=interrupted)),
            driven=True,
        )
        return KillsResult(
            title=self.stage.title,
            spec=spec,
            run=report,
            killed=tuple(killed),
            ended=len(ended),
            seconds=time.monotonic() - began,
            session=statistics.median(last - first for first, last in self.spans),
            pace=self.stage.pace,
            interrupted=interrupted,
        )

    def kill_all(
        self, kills: int, killed: list[Killed], ended: list[Killed], progress: Progress | None
    ) -> None:
        """Kill so many; of those that ended before, tell apart."""
        chance = random.Random()  # noqa: S311 - instants, no secrets
        early = 0
        while len(killed) < kills and len(killed) + len(ended) < _MOST_SESSIONS * kills:
            first, last = (statistics.median(ends) for ends in zip(*self.spans, strict=True))
            each = self.kill(chance.uniform(first, last))
            (ended if each.ended else killed).append(each)
            early = early + 1 if each.ended else 0
            if early == _MOST_EARLY:  # the machine is faster than it was
                early = 0
                self.undisturbed()
            if progress is not None:
                progress(len(killed), kills, sum(bool(one.why) for one in [*killed, *ended]))

    def notes(self, killed: Sequence[Killed], kills: int, *, interrupted: bool) -> Iterator[str]:
        if interrupted:
            yield "interrupted: this is what was found until then"
        elif len(killed) < kills:
            yield f"{kills} kills were asked for: most sessions ended before theirs"
        if self.states is None:
            yield "its rewards are its own: only that each checkpoint is whole was judged"
        most = max((each.leftovers for each in killed), default=0)
        if most:
            yield f"a kill leaves at most {most} temporary file(s)"

    # --- training ----------------------------------------------------------------------------

    def clear(self) -> None:
        shutil.rmtree(self.scenario.root, ignore_errors=True)
        self.scenario.root.mkdir()

    def left(self) -> Left:
        return left_in(self.folder, self.name, self.profile)

    def undisturbed(self) -> Left:
        """Train to the end, and see when the folder of checkpoints comes and the session ends."""
        self.clear()
        over = threading.Event()
        seen: list[float] = []

        def watch() -> None:
            while not over.wait(_POLL_S):
                if self.folder.exists():
                    seen.append(time.monotonic())
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        began = time.monotonic()
        watcher.start()
        try:
            ending = self.stage.train(self.scenario, None)
        finally:
            took = time.monotonic() - began
            over.set()
            watcher.join()
        if ending.how != "done":
            raise TrainerBroke(
                ending.how,
                f"left alone, it cannot play the session: {ending.message}",
                output=ending.output,
            )
        self.spans.append((seen[0] - began if seen else 0.0, took))
        return self.left()

    def kill(self, instant: float) -> Killed:
        self.clear()
        began = time.monotonic()
        ending = self.stage.train(self.scenario, None, kill_after=instant)
        if ending.how != "done" and time.monotonic() - began < instant:
            raise TrainerBroke(
                ending.how, f"not killed yet, it fails: {ending.message}", output=ending.output
            )
        return self.judged(instant, ending, self.left())

    # --- judging -----------------------------------------------------------------------------

    def expected(self, left: Left) -> tuple[_State, ...] | None:
        """Return what there is between two saves; None where the rewards are the trainer's own."""
        if left.best.state != "whole":
            raise CrashError(
                "left alone, it leaves no whole best checkpoint"
                f" ({left.best.told}): see conformance test"
            )
        if not self.stage.plays_rewards:
            return None
        scenario = self.scenario
        settings = Settings(self.name, scenario.save_freq, scenario.max_epochs, 0)
        rewards = {
            epoch: reward
            for epoch, reward in enumerate(scenario.rewards, 1)
            if reward is not None and epoch <= scenario.max_epochs
        }
        states = _states(expected_saves(self.profile, settings, rewards))
        if self.state(left) != states[-1]:
            raise CrashError(
                "left alone, it does not leave the checkpoints that are due: see conformance test"
            )
        return states

    def state(self, left: Left) -> _State:
        best = left.best
        stored = None
        if best.state == "whole":
            stored = (best.epoch or 0, best.watermark if best.watermark is not None else 0.0)
        return _State(stored, frozenset(self.epochs(left.others)))

    def epochs(self, others: Mapping[str, Held]) -> Iterator[tuple[Kind, int | None]]:
        for entry, held in others.items():
            kind = kind_of(self.profile, self.name, entry)
            if kind is not None and held.state == "whole":
                yield kind, held.epoch

    def judged(self, instant: float, ending: Ending, left: Left) -> Killed:
        ended = ending.how == "done"
        torn = [name for name, held in left.others.items() if held.state == "torn"]
        rule, why = self.wrong(left, torn, ended=ended)
        size = 0
        with contextlib.suppress(OSError):
            size = max((path.stat().st_size for path in self.folder.iterdir()), default=0)
        return Killed(
            instant=instant,
            ended=ended,
            within=not ended and bool(left.foreign or torn or left.best.state == "torn"),
            best=left.best.told if left.best.state != "absent" else "none yet",
            others=len(left.others) - len(torn),
            rule=rule,
            why=why,
            leftovers=len(left.foreign),
            bytes=size,
        )

    def wrong(self, left: Left, torn: Sequence[str], *, ended: bool) -> tuple[str, str]:
        """Return which rule is broken, and why; two empty texts for none."""
        if left.best.state == "torn":
            return "INTEGRITY-002", f"the best is {left.best.told}"
        if torn:
            return "INTEGRITY-001", f"{torn[0]} is {left.others[torn[0]].told}"
        if self.states is None:
            return "", ""
        state = self.state(left)
        allowed = self.states[-1:] if ended else self.states
        if state in allowed:
            return "", ""
        told = _told(state.others)
        if state.others not in {each.others for each in allowed}:
            return "INTEGRITY-001", f"another checkpoint is gone, or never was: there is {told}"
        what = left.best.told if state.best else "gone"
        return "INTEGRITY-002", f"the best is {what} with {told}: neither previous nor new"


def _told(others: _Others) -> str:
    if not others:
        return "no other checkpoint"
    return ", ".join(sorted(f"{kind.value} epoch {epoch}" for kind, epoch in others))


def _findings(
    killed: Sequence[Killed], ended: Sequence[Killed], folder: str
) -> tuple[Finding, ...]:
    return tuple(
        _finding(rule, kept, killed, ended, folder)
        for rule, kept in (
            ("INTEGRITY-001", "leave every other checkpoint that was saved, whole"),
            ("INTEGRITY-002", "leave the previous or the new best, and its order to the others"),
        )
    )


def _finding(
    rule: str, kept: str, killed: Sequence[Killed], ended: Sequence[Killed], folder: str
) -> Finding:
    failed = [each for each in (*killed, *ended) if each.rule == rule]
    within = sum(each.within for each in killed)
    verdict = Verdict.FAIL if failed else Verdict.PASS
    if failed:
        message = (
            f"{len(failed)} of {len(killed)} kills at random instants are not survived, first"
            f" after {failed[0].instant:.3f} s: {failed[0].why}"
        )
    elif within:
        message = f"all {len(killed)} kills, {within} of them in a save, {kept}"
    else:
        verdict = Verdict.UNOBSERVABLE
        message = f"none of {len(killed)} kills fell into a save"
    rows = Counter(each.why for each in failed)
    evidence = {
        "kills": len(killed),
        "in a save": within,
        "rows": [{"why": why, "kills": n} for why, n in rows.most_common(_MOST_TOLD)],
    }
    outcome = Outcome(verdict, message, (folder,) if failed else (), evidence)
    return outcome.of(BY_ID[rule])
