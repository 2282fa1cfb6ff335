"""A report: the findings on all runs, counted, with one verdict; the formats write it out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.convention.brief import Brief
from conformance.convention.rules import RunVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.checks.finding import RunReport


@dataclass(frozen=True, slots=True, repr=False)
class Driven(Brief):
    """How a trainer was driven.

    Attributes:
        trainer: TRAINER, as the command line takes it.
        options: what else the command line takes to judge it in the same way.
        seed: repeats the same scenarios; None where none were generated.
        summary: how much was played, in one sentence.
        evaluations: how often each rule passed or failed, by its id; empty for a replay.
        unsteady: the rules whose scenario broke them at times, and passed at others.
        again: what else it takes to judge a rule again that no scenario file shows, by its id.
        left: the files that the scenario of a rule left, and the folder that they are kept in.
    """

    trainer: str
    options: tuple[str, ...] = ()
    seed: int | None = None
    summary: str = ""
    evaluations: Mapping[str, int] = field(default_factory=dict)
    unsteady: frozenset[str] = frozenset()
    again: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Report(Brief):
    """What `conformance check` and `conformance test` have to say.

    Attributes:
        version: the harness's version.
        profile: the name of the profile held against; the names of all, where they differ.
        runs: one report for each run.
        failures: for `test`: the shrunken scenarios that break a rule.
        driven: for `test`: how the trainer was driven.
        chosen: how the profile was chosen, where nobody named one.
    """

    version: str
    profile: str
    runs: tuple[RunReport, ...]
    failures: tuple[dict[str, Any], ...] = ()
    driven: Driven | None = None
    chosen: str = ""

    @property
    def held_against(self) -> str:
        """The profile for people: its name, and how it was chosen."""
        return f"{self.profile} ({self.chosen})" if self.chosen else self.profile

    @property
    def verdict(self) -> RunVerdict:
        """The worst verdict of all runs."""
        found = {run.verdict for run in self.runs}
        return next((each for each in RunVerdict if each in found), RunVerdict.CONFORMS)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each verdict."""
        return count(self.runs)


def count(runs: Iterable[RunReport]) -> dict[str, int]:
    """The findings of the runs by verdict, in the report's order, zeros included."""
    found = Counter(finding.verdict for run in runs for finding in run.findings)
    return {verdict.value: found[verdict] for verdict in Verdict}
