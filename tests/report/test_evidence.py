"""What a finding's message says in numbers, its evidence holds for programs."""

from __future__ import annotations

import pytest
from told_numbers import untold

from conformance import mutants
from conformance.checks import Options, audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import Side, ordinary
from conformance.fixtures.cases import CASES
from conformance.mutants.matrix import drive

CHOSEN = (
    mutants.RewritesOnTie,
    mutants.PoisonedByNan,
    mutants.DefersTheBest,
    mutants.SavesStaleWeightsAsBest,
    mutants.CountsEpochsFromZero,
    mutants.SavesTheBestFirst,
    mutants.LogsEveryOther,
    mutants.RestartsAtOne,
    mutants.LosesTheWatermarkOnResume,
    mutants.MakesAFolderForEachRank,
)


def holds(finding):
    """Whether the evidence has what the message tells, and is not empty beside a number."""
    return finding.verdict is not Verdict.FAIL or not untold(finding)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.side is not Side.CONFORMING and case.model is None],
    ids=lambda case: case.id,
)
def test_the_evidence_of_a_run_that_breaks_a_rule_has_the_numbers(tmp_path, case):
    folder = scan_run(case.build().write(tmp_path))
    report = audit(folder, load_profile(case.profile), Options(**case.options))
    assert [f.message for f in report.findings if not holds(f)] == []


def found(defect):
    """The failures of a defect that is driven."""
    return [failure.finding for failure in drive(defect).failures]


@pytest.mark.parametrize("defect", CHOSEN, ids=lambda mutant: mutant.__name__)
def test_the_evidence_of_a_driven_trainer_has_the_numbers(defect):
    """That of each other defect is looked at where the kill matrix has it driven."""
    findings = found(defect)
    assert findings
    assert [f.message for f in findings if not holds(f)] == []


@pytest.mark.parametrize(
    ("message", "evidence", "left"),
    [
        ("epoch 3 has reward 4.5", {}, ["3", "4.5"]),
        ("epoch 3 has reward 4.5", {"epoch": 3}, ["4.5"]),
        ("epoch 3 has reward -4.5e-05", {"epoch": 3, "rewards": [-4.5e-05]}, []),
        ("2 files, 'last_Aep7rew9.0.pth' is one", {"files": ["a", "b"]}, []),
        ("the CRC-32 of record 7 is wrong (LOAD-001 judges)", {"why": "record 7"}, []),
    ],
)
def test_what_is_untold_is_seen(message, evidence, left, tmp_path):
    report = audit(scan_run(ordinary().write(tmp_path)), load_profile())
    (finding,) = (each for each in report.findings if each.rule == "LOAD-001")
    changed = type(finding)(
        finding.rule, finding.level, Verdict.FAIL, message, finding.paths, evidence, ""
    )
    assert untold(changed) == left
