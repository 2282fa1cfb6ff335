"""What is found from outside, in the report of the scenarios."""

from __future__ import annotations

from dataclasses import replace

from conformance.checks.finding import Finding, RunReport
from conformance.convention.rules import Level, RunVerdict, Verdict
from conformance.suite.outside import with_findings


def _finding(rule, verdict):
    return Finding(rule, Level.MUST, verdict, rule, (), {}, "")


def test_findings_take_the_place_of_those_that_saw_nothing():
    report = RunReport(
        "t",
        "conforms",
        1,
        1,
        (_finding("RESUME-002", Verdict.NOT_APPLICABLE), _finding("RANK-001", Verdict.PASS)),
    )
    failing = _finding("RESUME-002", Verdict.FAIL)
    merged = with_findings(report, [failing])
    assert merged.verdict == "fail"
    assert merged.findings == (failing, report.findings[1])
    unseen = with_findings(report, [_finding("RANK-001", Verdict.UNOBSERVABLE)])
    assert unseen.verdict == "incomplete"
    # What the single sessions showed broken is not mended by the ranks.
    assert with_findings(merged, [_finding("RESUME-002", Verdict.PASS)]) == merged
    # A trainer that broke has not conformed; a rule that was not selected is not added.
    broken = replace(report, verdict=RunVerdict.ERROR)
    assert with_findings(broken, [_finding("RESUME-002", Verdict.PASS)]).verdict == "error"
    assert with_findings(broken, [failing]).verdict == "fail"
    assert with_findings(replace(report, findings=()), [failing]).findings == ()
