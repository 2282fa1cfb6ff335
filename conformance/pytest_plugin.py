"""The pytest plugin: `pytest --trainer TRAINER` drives a trainer and makes one test of each rule.

Without `--trainer` it does nothing, and imports nothing of the suite.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from conformance.convention import DEFAULT_PROFILE
from conformance.trainers.forms import defaults, spellings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from conformance.convention.rules import Rule
    from conformance.suite.trial import Trial

_NAME = "conformance"
_EXPECTED = "conformance_expected_failures"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup(_NAME, "conformance of a trainer's checkpoints")
    group.addoption(
        "--trainer",
        metavar="TRAINER",
        help=f"drive {spellings()} through generated scenarios, one test for each rule",
    )
    group.addoption(
        "--conformance-profile",
        metavar="NAME|FILE",
        default=DEFAULT_PROFILE,
        help="the dialect that the trainer is held against (default: %(default)s)",
    )
    group.addoption(
        "--conformance-max-examples",
        metavar="N",
        type=_at_least_one,
        help=f"how many scenarios to play (default: {defaults(lambda form: form.max_examples)})",
    )
    group.addoption(
        "--conformance-seed",
        metavar="N",
        type=int,
        help="of the generated scenarios (default: a random one, which is told)",
    )
    group.addoption(
        "--conformance-time-limit",
        metavar="SECONDS",
        type=_seconds,
        help="how long a session may take (default: 60)",
    )
    group.addoption(
        "--conformance-name",
        metavar="NAME",
        help="the name inside the files, where it is not the experiment's",
    )
    group.addoption(
        "--conformance-model",
        metavar="MODULE:ATTR",
        help="a torch module, or what builds one, for LOAD-004",
    )
    group.addoption(
        "--conformance-select",
        metavar="RULE,...",
        action="append",
        help="judge these rules or groups alone",
    )
    group.addoption(
        "--conformance-ignore",
        metavar="RULE,...",
        action="append",
        default=[],
        help="leave these rules or groups out",
    )
    group.addoption(
        "--conformance-strict",
        action="store_true",
        help="fail where a MUST rule is unobservable or was never exercised",
    )
    parser.addini(
        _EXPECTED,
        "rules that the trainer is known to break, a line each: BEST-008: the reason",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what makes no sense before anything is collected."""
    if config.option.trainer is not None:
        _selected(config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - xdist's
    """Keep the rules on one worker of pytest-xdist: each worker would drive the trainer anew.

    The marker `xdist_group` would do so too, but not with each pair of versions of the two.
    """
    if config.option.trainer is None or config.option.dist not in ("load", "loadgroup"):
        return None
    from xdist.scheduler import LoadGroupScheduling  # noqa: PLC0415 - it called us

    class RulesTogether(LoadGroupScheduling):  # type: ignore[misc]  # has no types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(f"{_NAME}::"):
                return _NAME
            scope: str = super()._split_scope(nodeid)
            return scope

    return RulesTogether(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the rules before what else there is to collect, also where that is nothing."""
    report = yield
    config = collector.config
    if (
        isinstance(collector, pytest.Session)
        and config.option.trainer is not None
        and report.result is not None
    ):
        rules = RuleCollector.from_parent(collector, name=_NAME, nodeid=_NAME, path=config.rootpath)
        report.result.insert(0, rules)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - no public type
    """Say how much was played."""
    told = {
        text: None
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == _NAME
    }
    if told:
        terminalreporter.ensure_newline()
        terminalreporter.section(_NAME)
        for text in told:
            terminalreporter.write_line(text)


class RuleCollector(pytest.Collector):
    """The rules that a trainer is held against."""

    def collect(self) -> list[pytest.Item]:
        """Return an item for each rule that is judged; nothing is driven yet."""
        from conformance.convention.rules import RULES  # noqa: PLC0415 - only with --trainer

        trial, selected = _Once(self.config), _selected(self.config)
        return [
            RuleItem.from_parent(self, name=rule.id, rule=rule, trial=trial)
            for rule in RULES
            if rule.id in selected
        ]


class RuleItem(pytest.Item):
    """One rule. The first of them drives the trainer."""

    funcargs: ClassVar[dict[str, object]] = {}  # pytest-benchmark 5.0.0 looks for its own there

    def __init__(self, *, rule: Rule, trial: _Once, **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        self.rule = rule
        self.trial = trial

    def setup(self) -> None:
        """Drive the trainer, if none before did; where it broke, the first one says so."""
        self.user_properties.append((_NAME, self.trial.driven_for(self).summary))

    def runtest(self) -> None:
        """Look at how the rule stands; our own frames say nothing to the trainer's author."""
        from conformance.suite.errors import (  # noqa: PLC0415 - only where a test runs
            ConformanceError,
            ConformanceWarning,
            HarnessError,
        )
        from conformance.suite.trial import Ruling  # noqa: PLC0415 - see above

        trial, strict = self.trial.driven_for(self), self.config.option.conformance_strict
        found, against = None, ""
        try:
            found = trial.check(self.rule, strict=strict)
        except (ConformanceError, HarnessError) as error:
            against = str(error)
        if found is None:
            pytest.fail(against, pytrace=False)
        if found.ruling is Ruling.WARNED:
            warnings.warn(found.text, ConformanceWarning, stacklevel=1)
        elif found.ruling is Ruling.EXPECTED:
            pytest.xfail(found.reason)
        elif found.ruling is not Ruling.KEPT:
            pytest.skip(found.text)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands: in no file."""
        return self.path, None, self.nodeid


class _Once:
    """The trial of a pytest process; who told that the trainer broke tells it again."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._trial: Trial | None = None
        self._teller: str | None = None

    def driven_for(self, item: RuleItem) -> Trial:
        """The trial, driven. Where that cannot be, the first test fails, and the others skip."""
        from conformance.suite.errors import TrainerBrokeError  # noqa: PLC0415 - a test runs
        from conformance.suite.session import SuiteError  # noqa: PLC0415 - see above
        from conformance.suite.trial import Ruling  # noqa: PLC0415 - see above

        against = ""
        try:
            if self._trial is None:
                self._trial = self._made()
            if self._trial.judgement(item.rule).ruling is Ruling.UNTOLD:
                self._trial.check(item.rule, strict=False)
        except (TrainerBrokeError, SuiteError, ValueError, TypeError) as error:
            against = str(error)
        if not against and self._trial is not None:
            return self._trial
        # Out here, so that pytest does not show where in the harness it was said.
        if self._teller not in (None, item.nodeid):
            pytest.skip(f"not judged: see {self._teller}")
        self._teller = item.nodeid
        pytest.fail(against, pytrace=False)

    def _made(self) -> Trial:
        from conformance.suite.trial import Trial  # noqa: PLC0415 - see above

        options = self._config.option
        return Trial(
            options.trainer,
            profile=options.conformance_profile,
            max_examples=options.conformance_max_examples,
            seed=options.conformance_seed,
            time_limit=options.conformance_time_limit,
            select=sorted(_selected(self._config)),
            name=options.conformance_name,
            model=_model(options.conformance_model),
            expected_failures=_expected(self._config.getini(_EXPECTED)),
        )


def _selected(config: pytest.Config) -> frozenset[str]:
    """The ids of the rules that are judged.

    Raises:
        pytest.UsageError: there is no such rule, or none is left.
    """
    from conformance.convention import rules  # noqa: PLC0415 - only with --trainer

    wanted, unwanted = config.option.conformance_select, config.option.conformance_ignore
    try:
        chosen = frozenset(rules.BY_ID) if wanted is None else rules.select(_parts(wanted))
        chosen -= rules.select(_parts(unwanted))
    except rules.UnknownRuleError as error:
        raise pytest.UsageError(str(error)) from None
    if not chosen:
        raise pytest.UsageError(
            "--conformance-select and --conformance-ignore leave no rule to judge"
        )
    return chosen


def _parts(given: list[str]) -> tuple[str, ...]:
    return tuple(part for each in given for part in each.split(",") if part.strip())


def _model(spec: str | None) -> object:
    """What `--conformance-model module:attr` names."""
    if spec is None:
        return None
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise ValueError(f"--conformance-model {spec!a}: give it as module:attribute")
    folder = str(Path.cwd())  # as TRAINER is looked for there too
    sys.path.insert(0, folder)
    try:
        return attrgetter(attribute)(importlib.import_module(module))
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        raise ValueError(f"--conformance-model {spec!a}: {error}") from None
    finally:
        sys.path.remove(folder)


def _expected(lines: list[str]) -> Mapping[str, str]:
    return dict(_pairs(lines))


def _pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        rule, _, reason = line.partition(":")
        yield rule.strip(), reason.strip()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
