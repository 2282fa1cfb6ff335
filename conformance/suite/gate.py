"""For a project's own tests: a trainer is checked as a whole, or by one test for each rule."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.suite.errors import ConformanceWarning
from conformance.suite.trial import Ruling, Trial

if TYPE_CHECKING:
    import pytest
    from typing_extensions import Unpack

    from conformance.convention.rules import Rule
    from conformance.suite.session import SuiteResult
    from conformance.suite.trial import TrialOptions


def check_trainer(
    trainer: object,
    *,
    strict: bool = False,
    **options: Unpack[TrialOptions],
) -> SuiteResult:
    """Drive a trainer through scenarios, and fail where its checkpoints break the convention.

    A SHOULD rule that is broken is a `ConformanceWarning`.

    Args:
        trainer: TRAINER as on the command line (`python:my_fork:Trainer`); or an object with
            `train(scenario)`; or a class or another callable that makes one.
        strict: a MUST rule that is unobservable, or was never exercised, fails too.
        **options: each may be left out.
            profile: the dialect that it is held against: a name, a `.toml` file or a `Profile`.
            max_examples: how many scenarios to play; None: what is usual for its form.
            seed: of the generated scenarios; None: a random one, which the text of a failure tells.
            time_limit: seconds for each session; None: 60.
            select: ids of the rules to judge, or prefixes such as `BEST`; None: all.
            ignore: the same for rules not to judge.
            name: the name that the checkpoints carry, where it is not the experiment's.
            model: for LOAD-004: a `torch.nn.Module`, or a callable that makes one.
            expected_failures: why a rule is known to fail, by its id. One that passes fails.
            replay: play the scenario of this file alone.
            database: folder of earlier failures, which are played first; None: none.
            save_failures: folder for what fails, to be replayed; None: none.

    Returns:
        What was found.

    Raises:
        ConformanceError: a MUST rule is broken, with its shortest scenario; or a rule that was
            expected to fail is kept.
        TrainerBrokeError: the trainer itself broke; it is a `ConformanceError`.
        HarnessError: the harness itself failed.
        TrainerSpecError: `trainer` is none.
        SuiteError: Hypothesis is not installed.
        ValueError: an option makes no sense.
        TypeError: there is no such option.
    """
    trial = Trial(trainer, **options)
    for warned in trial.verify(strict=strict):
        warnings.warn(warned.text, ConformanceWarning, stacklevel=2)
    return trial.result


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One rule of a trainer on trial.

    Attributes:
        rule: the rule.
    """

    rule: Rule
    _trial: Trial
    _strict: bool

    def check(self) -> None:
        """Fail if the trainer breaks the rule; skip where the rule has nothing to say of it.

        The first of them drives the trainer.

        Raises:
            ConformanceError: as `check_trainer` does, for this rule.
        """
        import pytest  # noqa: PLC0415 - whoever calls it runs under pytest

        found = self._trial.check(self.rule, strict=self._strict)
        if found.ruling is Ruling.WARNED:
            warnings.warn(found.text, ConformanceWarning, stacklevel=2)
        elif found.ruling is Ruling.EXPECTED:
            pytest.xfail(found.reason)
        elif found.ruling is not Ruling.KEPT:
            pytest.skip(found.text)

    def __repr__(self) -> str:
        return self.rule.id


def parametrize_with_rules(
    trainer: object,
    *,
    strict: bool = False,
    **options: Unpack[TrialOptions],
) -> pytest.MarkDecorator:
    """Make one test for each rule of a test function that takes `rule`.

        @conformance.parametrize_with_rules(MyTrainer, expected_failures={"BEST-008": "rl_games"})
        def test_conforms(rule):
            rule.check()

    The trainer is driven once, by the first test that runs; in each process of pytest-xdist, so
    keep them together there by `--dist loadscope`. A rule that is expected to
    fail is an `xfail`, and strict. One that is not applicable or unobservable is skipped, with the
    reason; under `strict` an unobservable MUST rule fails. Where the trainer itself broke, each
    rule that it is not known to break fails with that.

    Arguments and what is raised are those of `check_trainer`.
    """
    import pytest  # noqa: PLC0415 - the other functions do without

    trial = Trial(trainer, **options)
    return pytest.mark.parametrize(
        "rule",
        [pytest.param(RuleTest(rule, trial, strict), id=rule.id) for rule in trial.rules],
    )
