"""`run_suite(trainer, *, profile, ...) -> SuiteResult`: drives one trainer, from start to stop.

The command line, the pytest plugin and the public functions all call it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.checks.finding import RunReport, unobservable
from conformance.convention.rules import RULES, RunVerdict, Verdict
from conformance.convention.scenario import ScenarioError
from conformance.convention.sessions import played
from conformance.evidence.journal import JournalError, Watcher
from conformance.run.settings import Options
from conformance.suite.chains import chain_document
from conformance.suite.driver import Driver
from conformance.suite.engine import Breakage, Counts, Engine, Failure, Result, by_weight
from conformance.suite.examples import Examples
from conformance.suite.observer import Observer
from conformance.suite.outside import Outside, OutsideFinding, with_findings
from conformance.suite.saving import Saved, save_breakages, save_failure
from conformance.trainers import TrainerBroke, open_object, open_trainer
from conformance.trainers.forms import FORMS
from conformance.trainers.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conformance.convention.profile import Profile
    from conformance.suite.driver import Attempt, Chain
    from conformance.trainers import Trainer

    Progress = Callable[[str, int, int, int], None]

DATABASE = Path(".conformance/examples")
FAILURES = Path(".conformance/failures")
# A command starts a process for each session; its users wait for seconds where others wait for
# milliseconds.
TIME_LIMIT_S = 60.0
_SEEDS = 2**32


class SuiteError(Exception):
    """The suite cannot be run as asked: one line that says what to do."""


class InterruptedSuite(KeyboardInterrupt):
    """The user pressed Ctrl-C, and this is what was found until then.

    Attributes:
        result: of what was played.
    """

    def __init__(self, result: SuiteResult) -> None:
        super().__init__()
        self.result = result


@dataclass(frozen=True, slots=True)
class Fixed:
    """Settings that are the same in all scenarios; None: as the scenario has it.

    Attributes:
        save_freq: epochs between periodic checkpoints.
        max_epochs: no run is trained for longer; a session that would begin later is left out.
        save_best_after: the first epoch that may save a best, for profiles that have it.
    """

    save_freq: int | None = None
    max_epochs: int | None = None
    save_best_after: int | None = None

    def __bool__(self) -> bool:
        return self != Fixed()

    def applied(self, chain: Chain, profile: Profile) -> Chain:
        """Return the chain with these settings, as far as its sessions can then be played."""
        sessions: Chain = ()
        for scenario in chain:
            changed = scenario
            if self.save_freq is not None:
                changed = replace(changed, save_freq=self.save_freq)
            if self.save_best_after is not None:
                changed = replace(changed, save_best_after=self.save_best_after)
            if self.max_epochs is not None and changed.max_epochs > self.max_epochs:
                changed = replace(
                    changed,
                    max_epochs=self.max_epochs,
                    rewards=changed.rewards[: self.max_epochs],
                )
            try:
                last = played(profile, (*sessions, changed))[-1]
            except ScenarioError:
                break  # what it was to be resumed from is not written any more
            if last.first > last.last:
                break
            sessions = (*sessions, changed)
        return sessions or chain[:1]


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What came of driving one trainer.

    Attributes:
        title: the trainer's name and version where it says them, else `spec`.
        spec: TRAINER as it was given; of an object, what would name it.
        form: `python`, `worker` or `command`.
        profile: the dialect's name.
        result: findings, failures, breakages, counts.
        max_examples: how many scenarios were asked for; None for a replay.
        seed: repeats the same scenarios; None for a replay.
        saved: where each failure was saved, by its rule's id.
        again: what the command line takes to judge a rule again, where no scenario file does.
        notes: what went otherwise than one would wish beside the judging, a line each.
    """

    title: str
    spec: str
    form: str
    profile: str
    result: Result
    max_examples: int | None
    seed: int | None
    saved: Mapping[str, Saved] = field(default_factory=dict)
    again: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def run(self) -> RunReport:
        """One finding for each rule, over all scenarios, and the verdict."""
        return self.result.run

    @property
    def failures(self) -> tuple[dict[str, Any], ...]:
        """The failures as the JSON report holds them."""
        return tuple(
            {
                "rule": failure.rule,
                "level": failure.level.value,
                "message": failure.finding.message,
                "scenario": chain_document(failure.chain),
                "replay": str(saved.replay) if saved is not None else "",
            }
            for failure, saved in (
                (failure, self.saved.get(failure.rule)) for failure in self.result.failures
            )
        )


def run_suite(
    trainer: str | object,
    *,
    profile: Profile,
    options: Options | None = None,
    fixed: Fixed | None = None,
    selected: frozenset[str] | None = None,
    max_examples: int | None = None,
    seed: int | None = None,
    time_limit: float | None = None,
    replay: Chain | None = None,
    play: str | None = None,
    ranks: str | None = None,
    database: Path | None = DATABASE,
    save_failures: Path | None = FAILURES,
    progress: Progress | None = None,
) -> SuiteResult:
    """Drive a trainer through scenarios, and judge what it writes.

    Args:
        trainer: TRAINER as on the command line; or an object with `train(scenario)`, or a class or
            another callable that makes one.
        profile: the dialect that it is held against.
        options: what the caller knows of every run: its name, a model.
        fixed: settings that are the same in all scenarios.
        selected: ids of the rules to judge; None: all.
        max_examples: how many scenarios to play; None: what is usual for its form.
        seed: of the generated scenarios; None: a random one.
        time_limit: seconds for each session; None: 60.
        replay: play this chain alone, and neither read nor write the database.
        play: template of a command that plays a run by the experiment's name, for RESUME-002.
        ranks: template of a command that trains with several ranks, for RANK-001.
        database: where the failures of earlier times are; None: nowhere.
        save_failures: where failures are written to; None: nowhere.
        progress: told the phase, how many are done, of how many, and how many rules have failed.

    Raises:
        TrainerSpecError: `trainer` names nothing that could be driven, or a template is wrong.
        SuiteError: Hypothesis is not installed.
        ValueError: a number is out of its range.
        InterruptedSuite: the user interrupted it; what was found until then is with it.
    """
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"max_examples is at least 1, not {max_examples}")
    if replay is None and importlib.util.find_spec("hypothesis") is None:
        raise SuiteError(
            "scenarios are generated by Hypothesis, which is not installed:"
            " pip install 'checkpoint-conformance[suite]'"
        )
    limit = TIME_LIMIT_S if time_limit is None else time_limit
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    try:
        opened = (
            open_trainer(trainer, time_limit=limit)
            if isinstance(trainer, str)
            else open_object(trainer, time_limit=limit)
        )
    except TrainerBroke as broke:
        spec = trainer if isinstance(trainer, str) else _name(trainer)
        return _unstarted(broke, spec, profile, selected, save_failures)
    with (
        opened,
        Outside.opened(play, ranks, time_limit=limit) as outside,
        Workspace() as workspace,
        _watcher() as (watcher, unwatched),
    ):
        driver = _Driver(
            opened,
            profile,
            workspace,
            watcher,
            unwatched=unwatched,
            options=options,
            selected=selected,
        )
        driver.fixed = fixed or Fixed()
        drive = _Drive(opened, profile, driver, progress)
        if unwatched:
            drive.notes.append(f"writes are not watched: {unwatched}")
        if replay is not None:
            result = drive.engine.replay(replay)
        else:
            if max_examples is None:
                max_examples = FORMS[opened.form].max_examples
            result = drive.generated(max_examples, seed, database)
        result = drive.settled(result)
        result = replace(result, run=replace(result.run, driven=True))
        observer = Observer(profile, workspace, watcher, unwatched, options or Options())
        asked = replay is None or bool(outside)
        result = drive.ended(
            result,
            save_failures,
            lambda: outside.findings(opened, observer, selected) if asked else (),
        )
        found = SuiteResult(
            title=opened.title,
            spec=opened.spec,
            form=opened.form,
            profile=profile.name,
            result=result,
            max_examples=None if replay is not None else max_examples,
            seed=None if replay is not None else seed,
            saved=drive.saved,
            again={each.finding.rule: each.again for each in drive.seen},
            notes=tuple(drive.notes),
        )
    if result.interrupted:
        raise InterruptedSuite(found)
    return found


class _Driver(Driver):
    """Plays each chain with the settings that are fixed."""

    fixed = Fixed()

    def drive(self, chain: Chain, *, keep: Callable[[Path], None] | None = None) -> Attempt:
        if self.fixed:
            chain = self.fixed.applied(chain, self.profile)
        return super().drive(chain, keep=keep)


class _Drive:
    """One trainer's way through the suite, and what there is to note beside it."""

    def __init__(
        self, trainer: Trainer, profile: Profile, driver: _Driver, progress: Progress | None
    ) -> None:
        self._trainer = trainer
        self._profile = profile
        self._driver = driver
        self.engine = Engine(driver) if progress is None else Engine(driver, progress=progress)
        self.notes: list[str] = []
        self.saved: dict[str, Saved] = {}
        self.seen: tuple[OutsideFinding, ...] = ()

    def generated(self, max_examples: int, seed: int, database: Path | None) -> Result:
        """Play earlier failures, probes and generated scenarios; keep the database."""
        examples = None
        if database is not None:
            with self._noting(f"earlier failures in {str(database)!a} are not played"):
                examples = Examples.load(database, self._trainer.spec, self._profile)
        chains = tuple(examples.chains.values()) if examples is not None else ()
        result = self.engine.run(max_examples=max_examples, seed=seed, reuse=chains)
        if examples is not None:
            with self._noting(f"failures cannot be kept in {str(database)!a}"):
                examples.update(_failing(result), _fixed(result, examples, self._driver.selected))
        return result

    def settled(self, result: Result) -> Result:
        """The result with the chains as they were played: with the fixed settings."""
        fixed = self._driver.fixed
        if not fixed:
            return result
        return replace(
            result,
            failures=tuple(
                replace(failure, chain=fixed.applied(failure.chain, self._profile))
                for failure in result.failures
            ),
            breakages=tuple(
                replace(breakage, chain=fixed.applied(breakage.chain, self._profile))
                for breakage in result.breakages
            ),
        )

    def ended(
        self, result: Result, folder: Path | None, beside: Callable[[], tuple[OutsideFinding, ...]]
    ) -> Result:
        """Keep what failed, look at what scenarios do not show, and stop the trainer.

        Args:
            result: of the scenarios.
            folder: for failures.
            beside: what is seen beside the scenarios.
        """
        try:
            self._save(result, folder)
            if not result.interrupted:
                if result.counts.total:
                    self.seen = beside()
                    result = _with_seen(result, self.seen)
                result = self._stopped(result)
        except KeyboardInterrupt:
            result = replace(result, interrupted=True)
        if folder is not None:
            with self._noting(f"failures cannot be written to {str(folder)!a}"):
                save_breakages(folder, result.breakages)
        return result

    def _save(self, result: Result, folder: Path | None) -> None:
        """Write the failures; in haste, without the runs that they leave."""
        if folder is None:
            return
        driver = None if result.interrupted else self._driver
        with self._noting(f"failures cannot be written to {str(folder)!a}"):
            for failure in result.failures:
                kept = self.saved[failure.rule] = save_failure(folder, failure, driver)
                self.notes.extend(f"{str(kept.tree)!a}: {line}" for line in kept.missing)

    def _stopped(self, result: Result) -> Result:
        """Return the result with how the trainer ended, where that was not well."""
        try:
            self._trainer.stop()
        except TrainerBroke as broke:
            return replace(
                result,
                run=replace(result.run, verdict=result.run.verdict.with_an_error),
                breakages=(*result.breakages, Breakage(broke, (), 1)),
            )
        return result

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """What the disk refuses is told, and nothing more: the findings are what was asked for."""
        try:
            yield
        except OSError as error:
            self.notes.append(f"{what}: {error.strerror or error}")


@contextlib.contextmanager
def _watcher() -> Iterator[tuple[Watcher | None, str]]:
    """A watcher of writes, or why there is none."""
    try:
        watcher = Watcher()
    except JournalError as error:
        yield None, str(error)
        return
    with watcher:
        yield watcher, ""


def _with_seen(result: Result, seen: tuple[OutsideFinding, ...]) -> Result:
    """Return the result with what was seen beside the scenarios."""
    found = tuple(each.finding for each in seen)
    judged = Counter(each.rule for each in found if each.verdict in (Verdict.PASS, Verdict.FAIL))
    evaluations = {rule: times + judged[rule] for rule, times in result.evaluations.items()}
    known = {failure.rule for failure in result.failures}
    failures = (
        Failure(each.finding.rule, each.finding, (each.scenario,), "outside", 0)
        for each in seen
        if each.finding.verdict is Verdict.FAIL and each.finding.rule not in known
    )
    return replace(
        result,
        run=with_findings(result.run, found),
        evaluations=evaluations,
        failures=tuple(sorted((*result.failures, *failures), key=by_weight)),
    )


def _failing(result: Result) -> dict[str, Chain]:
    failing = {failure.rule: failure.chain for failure in result.failures}
    failing.update({f"broke-{each.broke.code}": each.chain for each in result.breakages})
    return failing


def _fixed(result: Result, examples: Examples, selected: frozenset[str] | None) -> frozenset[str]:
    """Return the entries that were played and judged, and do not fail any more."""
    if not result.counts.total:
        return frozenset()
    judged = (
        name
        for name in examples.chains
        if selected is None or name in selected or name.startswith("broke-")
    )
    # While the trainer breaks, what its rules would say is not known; nor where not all was played.
    if result.breakages or result.interrupted:
        return frozenset()
    return frozenset(judged) - set(_failing(result))


def _name(trainer: object) -> str:
    return str(getattr(trainer, "__qualname__", type(trainer).__qualname__))


def _unstarted(
    broke: TrainerBroke,
    spec: str,
    profile: Profile,
    selected: frozenset[str] | None,
    folder: Path | None,
) -> SuiteResult:
    """Return what there is to say of a trainer that could not be started."""
    why = f"the trainer broke: {broke.message}"
    findings = tuple(
        unobservable(why).of(rule) for rule in RULES if selected is None or rule.id in selected
    )
    breakages = (Breakage(broke, (), 1),)
    notes: tuple[str, ...] = ()
    if folder is not None:
        try:
            save_breakages(folder, breakages)
        except OSError as error:
            notes = (f"failures cannot be written to {str(folder)!a}: {error.strerror}",)
    return SuiteResult(
        title=spec,
        spec=spec,
        form=spec.partition(":")[0],
        profile=profile.name,
        result=Result(
            run=RunReport(spec, RunVerdict.ERROR, 0, 0, findings, driven=True),
            failures=(),
            breakages=breakages,
            counts=Counts({}, 0, 0, 0, 0, 0, 0.0),
            evaluations=dict.fromkeys((rule.id for rule in RULES), 0),
            seed=0,
        ),
        max_examples=None,
        seed=None,
        notes=notes,
    )
