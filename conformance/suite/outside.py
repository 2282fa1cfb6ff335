"""What single sessions do not show, judged from outside: the policy that is played, and ranks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conformance.checks.finding import run_verdict
from conformance.convention.rules import RunVerdict, Verdict
from conformance.suite.chains import ROOT
from conformance.suite.policy import (
    INFERENCE,
    INFERENCE_REWARDS,
    inference_finding,
    play_command,
)
from conformance.suite.ranks import RANKS, RANKS_REWARDS, ranks_command, ranks_finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.checks.finding import Finding, RunReport
    from conformance.convention.scenario import Scenario
    from conformance.suite.observer import Observer
    from conformance.trainers import Trainer
    from conformance.trainers.command import CommandTrainer


@dataclass(frozen=True, slots=True)
class OutsideFinding:
    """What was seen of a rule beside the scenarios.

    Attributes:
        finding: of the rule.
        scenario: what was trained for it; its rewards are zeros where the command has its own.
        again: what the command line takes to judge the rule again.
    """

    finding: Finding
    scenario: Scenario
    again: tuple[str, ...]


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
        """Read both templates, before anything is trained.

        Raises:
            TrainerSpecError: one of them is wrong.
        """
        with ExitStack() as stack:
            yield cls(
                None
                if play is None
                else stack.enter_context(play_command(play, time_limit=time_limit)),
                None
                if ranks is None
                else stack.enter_context(ranks_command(ranks, time_limit=time_limit)),
            )

    def findings(
        self, trainer: Trainer, observer: Observer, selected: frozenset[str] | None
    ) -> tuple[OutsideFinding, ...]:
        """Judge both rules, as far as they are selected and somebody offers what they judge."""
        seen = []
        if selected is None or INFERENCE in selected:
            finding = inference_finding(trainer, observer, self.play)
            if finding is not None:
                given = trainer.plays_rewards
                scenario = observer.scenario(ROOT, INFERENCE_REWARDS, given=given)
                seen.append(OutsideFinding(finding, scenario, _again(finding, self.play)))
        if self.ranks is not None and (selected is None or RANKS in selected):
            finding = ranks_finding(self.ranks, observer)
            given = self.ranks.plays_rewards
            scenario = observer.scenario(ROOT, RANKS_REWARDS, given=given)
            seen.append(OutsideFinding(finding, scenario, _again(finding, self.ranks)))
        return tuple(seen)


def _again(finding: Finding, command: CommandTrainer | None) -> tuple[str, ...]:
    """Return what the command line takes to judge the rule again: a spec begins with its option."""
    given: tuple[str, ...] = ()
    if command is not None:
        option, _, template = command.spec.partition(" ")
        given = (option, template)
    return ("--select", finding.rule, "--max-examples", "1", *given)


def with_findings(run: RunReport, findings: Iterable[Finding]) -> RunReport:
    """Put these findings in the place of a report's own, but of what failed there."""
    found = {finding.rule: finding for finding in findings}
    merged = tuple(
        known if known.verdict is Verdict.FAIL else found.get(known.rule, known)
        for known in run.findings
    )
    verdict = run_verdict(merged)
    if run.verdict is RunVerdict.ERROR:
        verdict = verdict.with_an_error
    return replace(run, findings=merged, verdict=verdict)
