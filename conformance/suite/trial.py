"""One trainer on trial in a test suite: driven once, and asked for rule by rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypedDict

from conformance.convention import rules
from conformance.convention.profile import DEFAULT_PROFILE, Profile, load_profile
from conformance.convention.rules import BY_ID, RULES, Level, Rule, Verdict
from conformance.report import Driven, Report
from conformance.report.driven import shrunken, told
from conformance.report.printable import printable
from conformance.run.settings import Options, model_builder
from conformance.suite.chains import chain_document, read_chain
from conformance.suite.errors import ConformanceError, HarnessError, TrainerBrokeError
from conformance.suite.session import DATABASE, FAILURES, run_suite
from conformance.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from conformance.checks import Finding
    from conformance.report.driven import Shrunken
    from conformance.suite.engine import Breakage
    from conformance.suite.session import SuiteResult

_MOST_OUTPUT_LINES = 40
_NONE: Mapping[str, str] = MappingProxyType({})


class Ruling(str, Enum):
    """What a trial comes to for one rule."""

    KEPT = "kept"
    BROKEN = "broken"  # a MUST
    WARNED = "warned"  # a SHOULD
    EXPECTED = "expected to fail, and did"
    UNEXPECTED = "expected to fail, and passed"
    UNSEEN = "unobservable"
    NOT_APPLICABLE = "not applicable"
    UNTOLD = "the trainer broke before it could be told"
    ERROR = "the harness failed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The ruling on a rule, and all that there is to say of it, over several lines."""

    rule: Rule
    ruling: Ruling
    text: str
    reason: str = ""


class TrialOptions(TypedDict, total=False):
    """How a trainer is tried: what `check_trainer` takes besides, and tells the defaults of.

    Attributes:
        profile: the dialect: a name, a `.toml` file or a `Profile`.
        max_examples: scenarios to play.
        seed: of the generated ones; None: a random one.
        time_limit: seconds for each session.
        select: ids or prefixes of the rules to judge; None: all.
        ignore: ids or prefixes of the rules not to judge.
        name: the name that the checkpoints carry, where it is not the experiment's.
        model: a `torch.nn.Module` that the checkpoints must fit, or a callable that makes one.
        expected_failures: the reason for each rule that is known to fail, by its id.
        replay: file of a scenario to play alone.
        database: folder for earlier failures; None: none is kept.
        save_failures: folder for failures; None: they are not kept.
    """

    profile: str | Profile
    max_examples: int | None
    seed: int | None
    time_limit: float | None
    select: Iterable[str] | None
    ignore: Iterable[str]
    name: str | None
    model: object
    expected_failures: Mapping[str, str]
    replay: str | PathLike[str] | None
    database: str | PathLike[str] | None
    save_failures: str | PathLike[str] | None


class Trial:
    """A trainer, driven when it is first asked for, and not again.

    Args:
        trainer: TRAINER, an object with `train(scenario)`, or a callable that makes one.
        profile: this and all others are those of `TrialOptions`.

    Raises:
        ValueError: one of them makes no sense.
    """

    def __init__(
        self,
        trainer: object,
        *,
        profile: str | Profile = DEFAULT_PROFILE,
        max_examples: int | None = None,
        seed: int | None = None,
        time_limit: float | None = None,
        select: Iterable[str] | None = None,
        ignore: Iterable[str] = (),
        name: str | None = None,
        model: object = None,
        expected_failures: Mapping[str, str] = _NONE,
        replay: str | PathLike[str] | None = None,
        database: str | PathLike[str] | None = DATABASE,
        save_failures: str | PathLike[str] | None = FAILURES,
    ) -> None:
        self.profile = profile if isinstance(profile, Profile) else load_profile(profile)
        self._selected = rules.chosen(select, ignore)
        self.expected = _expected(expected_failures, self._selected)
        self._replay = None if replay is None else read_chain(Path(replay), self.profile)
        self._trainer = trainer
        self._options = Options(name=name, model=model_builder(model))
        self._numbers = (max_examples, seed, time_limit)
        self._folders = tuple(
            None if folder is None else Path(folder) for folder in (database, save_failures)
        )
        self._refused: BaseException | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are judged."""
        return tuple(rule for rule in RULES if rule.id in self._selected)

    @property
    def result(self) -> SuiteResult:
        """What the driven suite found; what it raised is raised each time.

        Raises:
            TrainerSpecError: the trainer is none.
            SuiteError: Hypothesis is not installed.
        """
        if self._refused is not None:
            raise self._refused
        try:
            return self._result
        except Exception as error:
            self._refused = error
            raise

    @cached_property
    def _result(self) -> SuiteResult:
        max_examples, seed, time_limit = self._numbers
        database, save_failures = self._folders
        return run_suite(
            self._trainer,
            profile=self.profile,
            options=self._options,
            selected=self._selected,
            max_examples=max_examples,
            seed=seed,
            time_limit=time_limit,
            replay=self._replay,
            database=database,
            save_failures=save_failures,
        )

    # --- rule by rule -----------------------------------------------------------------------

    def judgement(self, rule: Rule) -> Judgement:
        """Return the ruling on a rule."""
        finding = self._findings[rule.id]
        reason = self.expected.get(rule.id, "")
        return Judgement(rule, self._ruling(finding, reason), self._text(finding), reason)

    def _ruling(self, finding: Finding, reason: str) -> Ruling:
        if finding.verdict is Verdict.FAIL:
            if reason:
                return Ruling.EXPECTED
            return Ruling.BROKEN if finding.level is Level.MUST else Ruling.WARNED
        if finding.verdict is Verdict.ERROR:
            return Ruling.ERROR
        if self.result.result.breakages:
            return Ruling.UNTOLD
        if finding.verdict is Verdict.PASS:
            return Ruling.UNEXPECTED if reason else Ruling.KEPT
        if finding.verdict is Verdict.UNOBSERVABLE:
            return Ruling.UNSEEN
        return Ruling.NOT_APPLICABLE

    @cached_property
    def _findings(self) -> Mapping[str, Finding]:
        return {finding.rule: finding for finding in self.result.run.findings}

    @cached_property
    def _shrunken(self) -> Mapping[str, Shrunken]:
        result = self.result
        options: list[str] = []
        if self.profile.name != DEFAULT_PROFILE:
            options += ["--profile", self.profile.name]
        if self._options.name is not None:
            options += ["--name", self._options.name]
        driven = Driven(
            trainer=result.spec if _is_importable(result.spec) else "",
            options=tuple(options),
            unsteady=frozenset(each.rule for each in result.result.failures if not each.steady),
            again=result.again,
        )
        return shrunken(Report(__version__, result.profile, (result.run,), result.failures, driven))

    def _text(self, finding: Finding) -> str:
        lines = [f"{finding.rule}: {finding.message}"]
        if finding.verdict is Verdict.FAIL:
            scenario = self._shrunken.get(finding.rule)
            lines += scenario.about if scenario is not None else ()
            lines += finding.paths[:5]
            lines.append(f"fix: {finding.fix}")
            if scenario is not None and scenario.command:
                lines.append(f"replay: {scenario.command}")
            elif scenario is not None and scenario.file:
                lines.append(f"replay: check_trainer(..., replay={scenario.file!r})")
        return "\n  ".join(map(printable, lines))

    # --- as a whole -------------------------------------------------------------------------

    @property
    def summary(self) -> str:
        """How much was played, in one line."""
        counts = self.result.result.counts
        seed = "" if self.result.seed is None else f", seed {self.result.seed}"
        return (
            f"{printable(self.result.title)}, profile {self.result.profile}{seed}:"
            f" {counts.total} scenarios, {counts.sessions} sessions, {counts.epochs} epochs"
            f" in {counts.seconds:.1f} s"
        )

    def verify(self, *, strict: bool) -> tuple[Judgement, ...]:
        """Return the warnings of a trainer that passes.

        Raises:
            ConformanceError: a MUST rule is broken, one that was expected to fail passed, or the
                trainer itself broke; under `strict` also where a MUST rule is unobservable.
            HarnessError: the harness itself failed.
        """
        judged = tuple(map(self.judgement, self.rules))
        refused = {Ruling.BROKEN, Ruling.UNEXPECTED}
        if strict:
            refused.add(Ruling.UNSEEN)
        against = [
            each
            for each in judged
            if each.ruling in refused
            and (each.ruling is not Ruling.UNSEEN or each.rule.level is Level.MUST)
        ]
        warned = tuple(each for each in judged if each.ruling is Ruling.WARNED)
        breakages = self.result.result.breakages
        if against or breakages:
            lines = [self.summary, *map(told_against, against), *map(_broke, breakages)]
            lines += [f"warning: {each.text}" for each in warned]
            kind = ConformanceError if against else TrainerBrokeError
            raise kind("\n".join(lines), result=self.result)
        failed = [each.text for each in judged if each.ruling is Ruling.ERROR]
        if failed:
            raise HarnessError("\n".join((self.summary, *failed)))
        return warned

    def check(self, rule: Rule, *, strict: bool) -> Judgement:
        """Return the ruling on one rule, where that is nothing to fail for.

        Raises:
            ConformanceError: as `verify` does, for this rule alone.
            HarnessError: the harness itself failed.
        """
        found = self.judgement(rule)
        unseen = found.ruling is Ruling.UNSEEN and found.rule.level is Level.MUST
        if found.ruling in (Ruling.BROKEN, Ruling.UNEXPECTED) or (strict and unseen):
            text = f"{told_against(found)}\n({self.summary})"
            raise ConformanceError(text, result=self.result)
        if found.ruling is Ruling.UNTOLD:
            text = "\n".join(map(_broke, self.result.result.breakages))
            raise TrainerBrokeError(text, result=self.result)
        if found.ruling is Ruling.ERROR:
            raise HarnessError(found.text)
        return found


def told_against(found: Judgement) -> str:
    """Return what a judgement has against the trainer."""
    if found.ruling is Ruling.UNEXPECTED:
        return (
            f"{found.rule.id}: it was expected to fail ({printable(found.reason)}) and was kept:"
            " take it out of the expected failures"
        )
    return found.text


def _broke(breakage: Breakage) -> str:
    broke = breakage.broke
    lines = [f"the trainer broke: {broke.message} ({broke.code})"]
    if broke.hint:
        lines.append(f"hint: {broke.hint}")
    if breakage.chain:
        lines += told(chain_document(breakage.chain))
    lines += [f"| {line}" for line in broke.output.splitlines()[-_MOST_OUTPUT_LINES:]]
    return "\n  ".join(map(printable, lines))


def _expected(given: Mapping[str, object], selected: frozenset[str]) -> dict[str, str]:
    """Return the reasons by rule, each one looked at."""
    reasons: dict[str, str] = {}
    for rule, reason in given.items():
        if rule not in BY_ID:
            raise ValueError(f"expected_failures: there is no rule {rule!a}")
        if rule not in selected:
            raise ValueError(f"expected_failures: {rule} is not among the rules to judge")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"expected_failures: {rule} needs a reason, not {reason!a}")
        reasons[rule] = reason
    return reasons


def _is_importable(spec: str) -> bool:
    """Tell whether the command line could find the trainer by its spec."""
    return "<locals>" not in spec and not spec.startswith("python:__main__:")
