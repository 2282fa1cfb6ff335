"""The engine of the driven suite: collects what fails, shrinks it, and counts what was exercised.

All rules are judged for every chain, so one pass over the examples finds all rules that break.
Each is then shrunk on its own: a failure is the same failure while its rule is.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Finding,
    RunReport,
    not_applicable,
    run_verdict,
    unobservable,
)
from conformance.convention.rules import BY_ID, RULES, Level, Verdict
from conformance.suite.causes import closely, is_symptom, without
from conformance.suite.probes import probes
from conformance.suite.shrink import identity, shrink, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conformance.convention.rules import Rule
    from conformance.suite.driver import Attempt, Chain, Driver
    from conformance.trainers import TrainerBroke

    Progress = Callable[[str, int, int, int], None]

# A trainer that breaks so often in a row, and never does not, is not worth more examples.
_BROKEN_FOR_GOOD = 10
_MOST_MEMORIES = 4096


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that breaks, with the smallest chain that shows it.

    Attributes:
        rule: its id.
        finding: what is found in the run that the chain leaves.
        chain: the sessions, shrunken.
        found_by: `reuse`, `probe`, `generate` or `replay`; `outside`, beside them.
        number: as which example it was found, counted from 1.
        steady: whether the chain failed in the same way when it was played again.
    """

    rule: str
    finding: Finding
    chain: Chain
    found_by: str
    number: int
    steady: bool = True

    @property
    def level(self) -> Level:
        """How binding the rule is."""
        return self.finding.level


def by_weight(failure: Failure) -> tuple[bool, str]:
    """Return the order in which failures are told: MUST rules first."""
    return failure.level is not Level.MUST, failure.rule


@dataclass(frozen=True, slots=True)
class Breakage:
    """A way in which the trainer itself broke, with the smallest chain that shows it."""

    broke: TrainerBroke
    chain: Chain
    times: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What was done.

    Attributes:
        scenarios: chains that were played and judged, by phase.
        sessions: that were judged.
        epochs: of those sessions.
        saves: checkpoints that they were due to write.
        unsupported: chains that the trainer would not train.
        shrinking: attempts that shrinking took.
        seconds: in all.
    """

    scenarios: Mapping[str, int]
    sessions: int
    epochs: int
    saves: int
    unsupported: int
    shrinking: int
    seconds: float

    @property
    def total(self) -> int:
        """Chains that were played and judged, in all phases but shrinking."""
        return sum(self.scenarios.values())


@dataclass(frozen=True, slots=True)
class Result:
    """What the driven suite found.

    Attributes:
        run: one finding for each rule, over all chains.
        failures: each rule that broke, MUST rules first.
        breakages: how the trainer itself broke.
        counts: what was done.
        evaluations: how often each rule passed or failed.
        seed: that repeats the generated examples.
        interrupted: whether the user ended it before its time: it is what was found until then.
    """

    run: RunReport
    failures: tuple[Failure, ...]
    breakages: tuple[Breakage, ...]
    counts: Counts
    evaluations: Mapping[str, int]
    seed: int
    interrupted: bool = False


@dataclass(slots=True)
class _Found:
    """The smallest chain so far that shows something; phase and number are those of the first."""

    chain: Chain
    phase: str
    number: int
    attempt: Attempt


@dataclass(slots=True)
class Engine:
    """Plays chains, remembers what they showed, and makes the result of it.

    Args:
        driver: drives the trainer.
        most_shrinking: attempts that shrinking one failure may take.
        progress: told the phase, how many are done, of how many, and how many rules have failed.
    """

    driver: Driver
    most_shrinking: int = 300
    progress: Progress = lambda _phase, _done, _of, _failing: None
    _attempts: dict[object, Attempt] = field(default_factory=dict)
    _verdicts: defaultdict[str, Counter[Verdict]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    _last: dict[tuple[str, Verdict], Finding] = field(default_factory=dict)
    _failing: dict[str, _Found] = field(default_factory=dict)
    _broken: dict[str, _Found] = field(default_factory=dict)
    _breaks: Counter[str] = field(default_factory=Counter)
    _phases: Counter[str] = field(default_factory=Counter)
    _sums: Counter[str] = field(default_factory=Counter)
    _started: float = field(default_factory=time.perf_counter)
    _interrupted: bool = False

    # --- collecting -------------------------------------------------------------------------

    def run(
        self,
        *,
        max_examples: int,
        seed: int,
        reuse: Iterable[Chain] = (),
        probing: bool = True,
    ) -> Result:
        """Play the chains of earlier failures, the probes, and generated ones; then shrink.

        Args:
            max_examples: how many chains to play in all, those of earlier failures aside.
            seed: of the generated ones.
            reuse: chains that failed before.
            probing: whether to play the probes; without them generation shows what it can alone.
        """
        with self._until_interrupted():
            for chain in reuse:
                self._consider("reuse", chain, 0)
            can_resume = "resume" in self.driver.trainer.capabilities
            if probing:
                for chain in probes(self.driver.profile, resume=can_resume)[:max_examples]:
                    if self._is_hopeless():
                        break
                    self._consider("probe", chain, max_examples)
            left = max_examples - self._phases["probe"]
            if left > 0 and not self._is_hopeless():
                self._generate(left, seed, resume=can_resume, of=max_examples)
        return self._result(seed)

    def replay(self, chain: Chain) -> Result:
        """Play one chain alone."""
        with self._until_interrupted():
            self._consider("replay", chain, 1)
        return self._result(0, shrinking=False)

    @contextlib.contextmanager
    def _until_interrupted(self) -> Iterator[None]:
        """Whoever presses Ctrl-C gets what was found until then; nothing is played any more."""
        try:
            yield
        except KeyboardInterrupt:
            self._interrupted = True

    def _generate(self, count: int, seed: int, *, resume: bool, of: int) -> None:
        import hypothesis  # noqa: PLC0415 - a replay does without

        from conformance.strategies import chains  # noqa: PLC0415 - see above

        profile = self.driver.profile

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate,),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(
            chains(
                profile=profile,
                max_sessions=3 if resume else 1,
                save_best_after=profile.has_save_best_after,
            )
        )
        def collect(chain: Chain) -> None:
            if not self._is_hopeless():
                self._consider("generate", chain, of)

        collect()

    def _is_hopeless(self) -> bool:
        return not self._phases.total() and self._breaks.total() >= _BROKEN_FOR_GOOD

    def _consider(self, phase: str, chain: Chain, of: int) -> None:
        attempt = self._attempt(chain)
        if attempt.unsupported is not None:
            self._sums["unsupported"] += 1
        if attempt.reports:
            self._phases[phase] += 1
            self._sums["sessions"] += len(attempt.reports)
            self._sums["epochs"] += attempt.epochs
            self._sums["saves"] += attempt.saves
        number = self._phases.total() + self._breaks.total()
        if attempt.broke is not None:
            self._breaks[attempt.broke.code] += 1
            _keep_smaller(self._broken, attempt.broke.code, _Found(chain, phase, number, attempt))
        for rule, finding in attempt.findings.items():
            self._verdicts[rule][finding.verdict] += 1
            self._last[rule, finding.verdict] = finding
            if finding.verdict is Verdict.FAIL:
                _keep_smaller(self._failing, rule, _Found(chain, phase, number, attempt))
        self.progress(phase, self._phases.total(), of, len(self._failing))

    def _attempt(self, chain: Chain) -> Attempt:
        key = identity(chain)
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self.driver.drive(chain)
            if len(self._attempts) < _MOST_MEMORIES:
                self._attempts[key] = attempt
        return attempt

    # --- shrinking --------------------------------------------------------------------------

    def _shrunken(self, found: _Found, fails: Callable[[Attempt], bool], what: str) -> _Found:
        """Return the smallest chain that still fails, as far as there was time, and its attempt."""
        smallest = found

        def still(chain: Chain) -> bool:
            nonlocal smallest
            self._sums["shrinking"] += 1
            self.progress(f"shrink {what}", self._sums["shrinking"], 0, len(self._failing))
            attempt = self._attempt(chain)
            if fails(attempt):
                smallest = replace(found, chain=chain, attempt=attempt)
                return True
            return False

        if not self._interrupted:
            with self._until_interrupted():
                shrink(
                    found.chain,
                    still,
                    profile=self.driver.profile,
                    most_attempts=self.most_shrinking,
                )
        return smallest

    def _failures(self, *, shrinking: bool) -> Iterator[Failure]:
        """Yield the failures, each rule that only shows another one's cause left out."""
        settled: dict[str, Failure] = {}
        # Those that may be explained away first: what explains them may be new.
        waiting = sorted(self._failing, key=lambda rule: (not BY_ID[rule].more_general, rule))
        while waiting:
            rule = waiting.pop(0)
            failure = self._failure(rule, self._failing[rule], shrinking=shrinking)
            general: dict[str, _Found] = {}
            if shrinking and not self._interrupted:
                with self._until_interrupted():
                    general = self._more_general(failure)
            for other, found in general.items():
                if other not in self._failing:
                    self._failing[other] = found
                    waiting.append(other)
            if not general:
                settled[rule] = failure
        # What is not shrunken tells no cause from its symptoms.
        telling = shrinking and not self._interrupted
        for rule, failure in settled.items():
            if not telling or not is_symptom(rule, failure.finding, failure.chain, settled):
                yield failure

    def _more_general(self, failure: Failure) -> dict[str, _Found]:
        """Return the more general rules that break without what the failure's rule is about."""
        found: dict[str, _Found] = {}
        for chain in closely(failure.rule, failure.chain):
            failing = self._failing_in(failure, chain)
            if failing and failure.rule not in failing:
                found.update(
                    (rule, other) for rule, other in failing.items() if BY_ID[rule].of_writes
                )
        general = BY_ID[failure.rule].more_general
        for chain in without(failure.rule, failure.chain):
            failing = self._failing_in(failure, chain)
            found.update((rule, other) for rule, other in failing.items() if rule in general)
        return found

    def _failing_in(self, failure: Failure, chain: Chain) -> dict[str, _Found]:
        """Return what another chain than the failure's breaks, found as the failure was."""
        if identity(chain) == identity(failure.chain):
            return {}
        self._sums["shrinking"] += 1
        attempt = self._attempt(chain)
        found = _Found(chain, failure.found_by, failure.number, attempt)
        return dict.fromkeys(attempt.failing, found)

    def _failure(self, rule: str, found: _Found, *, shrinking: bool) -> Failure:
        if shrinking:
            found = self._shrunken(found, lambda attempt: rule in attempt.failing, rule)
        again = found.attempt
        if not self._interrupted:
            with self._until_interrupted():
                again = self.driver.drive(found.chain)
        return Failure(
            rule=rule,
            finding=again.failing.get(rule) or found.attempt.failing[rule],
            chain=found.chain,
            found_by=found.phase,
            number=found.number,
            steady=rule in again.failing,
        )

    def _breakage(self, code: str, found: _Found, *, shrinking: bool) -> Breakage:
        if shrinking:
            found = self._shrunken(
                found,
                lambda attempt: attempt.broke is not None and attempt.broke.code == code,
                code,
            )
        if found.attempt.broke is None:
            raise AssertionError("a breakage without one")
        return Breakage(found.attempt.broke, found.chain, self._breaks[code])

    # --- the result -------------------------------------------------------------------------

    def _result(self, seed: int, *, shrinking: bool = True) -> Result:
        # One breakage explains its like: those of a trainer that never comes to an end are one.
        breakages = tuple(
            self._breakage(code, found, shrinking=shrinking and bool(self._phases.total()))
            for code, found in self._broken.items()
        )
        failures = sorted(self._failures(shrinking=shrinking), key=by_weight)
        counts = Counts(
            scenarios=dict(self._phases),
            sessions=self._sums["sessions"],
            epochs=self._sums["epochs"],
            saves=self._sums["saves"],
            unsupported=self._sums["unsupported"],
            shrinking=self._sums["shrinking"],
            seconds=time.perf_counter() - self._started,
        )
        return Result(
            run=self._run(failures, breakages, counts, gated=shrinking),
            failures=tuple(failures),
            breakages=breakages,
            counts=counts,
            evaluations={rule.id: self._evaluations(rule.id) for rule in RULES},
            seed=seed,
            interrupted=self._interrupted,
        )

    def _evaluations(self, rule: str) -> int:
        verdicts = self._verdicts[rule]
        return verdicts[Verdict.PASS] + verdicts[Verdict.FAIL]

    def _run(
        self,
        failures: list[Failure],
        breakages: tuple[Breakage, ...],
        counts: Counts,
        *,
        gated: bool,
    ) -> RunReport:
        """Return one finding for each rule over all attempts."""
        failed = {failure.rule: failure.finding for failure in failures}
        explained = set(self._failing) - set(failed)
        selected = self.driver.selected
        findings = tuple(
            failed.get(rule.id)
            or (_explained(rule) if rule.id in explained else None)
            or self._finding(rule.id, counts, breakages, gated=gated)
            for rule in RULES
            if selected is None or rule.id in selected
        )
        verdict = run_verdict(findings)
        if breakages:
            verdict = verdict.with_an_error
        return RunReport(
            path=self.driver.trainer.title,
            verdict=verdict,
            sessions=counts.sessions,
            checkpoints=counts.saves,
            findings=findings,
        )

    def _finding(
        self, rule: str, counts: Counts, breakages: tuple[Breakage, ...], *, gated: bool
    ) -> Finding:
        """Return what the attempts without a failure of the rule say of it."""
        for verdict in (Verdict.ERROR, Verdict.PASS):
            if self._verdicts[rule][verdict]:
                times = self._verdicts[rule][verdict]
                last = self._last[rule, verdict]
                if verdict is Verdict.ERROR:
                    return last
                return replace(
                    last,
                    message=f"kept in {times} of {counts.total} scenarios; lastly: {last.message}",
                    paths=(),
                    evidence={"passed": times, "scenarios": counts.total},
                )
        for verdict in (Verdict.UNOBSERVABLE, Verdict.NOT_APPLICABLE):
            if self._verdicts[rule][verdict]:
                last = self._last[rule, verdict]
                if (
                    gated
                    and verdict is Verdict.NOT_APPLICABLE
                    and BY_ID[rule].gated(self.driver.profile)
                ):
                    return replace(
                        last,
                        verdict=Verdict.UNOBSERVABLE,
                        message=f"never exercised in {counts.total} scenarios: {last.message}",
                    )
                return last
        why = "no scenario was played"
        if breakages:
            why = f"the trainer broke: {breakages[0].broke.message}"
        return unobservable(why).of(BY_ID[rule])


def _explained(rule: Rule) -> Finding:
    message = "it broke only where another rule, which is reported, breaks as well"
    return not_applicable(message).of(rule)


def _keep_smaller(kept: dict[str, _Found], key: str, found: _Found) -> None:
    known = kept.get(key)
    if known is None:
        kept[key] = found
    elif size(found.chain) < size(known.chain):
        kept[key] = _Found(found.chain, known.phase, known.number, found.attempt)
