"""What each rule rests on: it passes on evidence alone, and says when it has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from played import Played

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import RULES, Needs, Verdict
from conformance.evidence.runs import scan_run
from conformance.run.settings import Options

_FIXTURES = Path(__file__).parents[2] / "fixtures"
_CASES = json.loads((_FIXTURES / "manifest.json").read_bytes())["cases"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in _CASES])
def test_no_check_fails_itself(case):
    report = audit(
        scan_run(_FIXTURES / case["path"]),
        load_profile(case["profile"]),
        Options(**case["options"]),
    )
    assert [f.message for f in report.findings if f.verdict is Verdict.ERROR] == []


def verdicts(trainer, root):
    report = audit(scan_run(trainer.write(root)), load_profile())
    by_verdict = {verdict: set() for verdict in Verdict}
    for finding in report.findings:
        by_verdict[finding.verdict].add(finding.rule)
    return by_verdict


_BEST = {f"BEST-00{number}" for number in range(1, 10)}
# They may judge the run's folder, whatever lies in it.
_OF_NAMES = {rule.id for rule in RULES if rule.needs == (Needs.NAMES,)}
_OF_FILES = {
    *("LAYOUT-001", "LAYOUT-004", "LAYOUT-005", "NAME-006", "INTEGRITY-001", "INTEGRITY-004"),
    *("LOAD-001", "LOAD-002", "LOAD-003", "LOAD-005", "LOAD-006", "LOAD-007", "LOAD-008"),
    *("LOAD-009", "SAFETY-001"),
}


def test_a_run_that_saved_nothing_gives_most_rules_nothing_to_judge(tmp_path):
    trainer = Played("A", 9, 2)
    trainer.run([float("nan"), float("nan")])
    found = verdicts(trainer, tmp_path)
    assert found[Verdict.PASS] - _OF_NAMES == {"BEST-001", "LAYOUT-003", "SUMMARY-001"}
    assert found[Verdict.PASS] >= {"LAYOUT-002", "NAME-008"}
    assert found[Verdict.FAIL] == found[Verdict.UNOBSERVABLE] == set()


def test_a_run_whose_rewards_are_unknown_leaves_most_rules_unobservable(tmp_path):
    trainer = Played("A", 2, 2)
    trainer.run([None, None])
    found = verdicts(trainer, tmp_path)
    assert found[Verdict.PASS] - _OF_NAMES == {"LAYOUT-003"}
    assert found[Verdict.PASS] >= {"LAYOUT-002", "NAME-008"}
    assert found[Verdict.UNOBSERVABLE] == {
        *("BEST-001", "CADENCE-002", "SUMMARY-001", "SUMMARY-002")
    }


def test_without_logs_the_files_alone_are_judged(tmp_path):
    trainer = Played("A", 1, 2)
    trainer.run([1.0, 2.0])
    trainer.files = {path: data for path, data in trainer.files.items() if "events" not in path}
    found = verdicts(trainer, tmp_path)
    assert found[Verdict.FAIL] == {"LAYOUT-002"}
    assert found[Verdict.UNOBSERVABLE] == {
        *(_BEST - {"BEST-001"}),
        *("CADENCE-002", "SUMMARY-001", "SUMMARY-002"),
    }
    assert _OF_FILES | {"BEST-001", "CADENCE-001"} <= found[Verdict.PASS]


def test_of_one_session_nothing_is_said_of_restarts(tmp_path):
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 3.0, 2.0, 3.0])
    found = verdicts(trainer, tmp_path)
    assert _BEST & found[Verdict.NOT_APPLICABLE] == {"BEST-005", "BEST-008", "BEST-009"}
    assert _OF_FILES | _BEST - found[Verdict.NOT_APPLICABLE] <= found[Verdict.PASS]
    assert found[Verdict.FAIL] == found[Verdict.UNOBSERVABLE] == set()


@pytest.mark.parametrize(
    ("rewards", "silent"),
    [
        ([1.0], {"BEST-003", "BEST-004", "BEST-005"}),
        ([1.0, 1.0], {"BEST-004", "BEST-005"}),
        ([1.0, 0.0], {"BEST-003", "BEST-005"}),
        ([1.0, float("nan")], {"BEST-003", "BEST-004"}),
    ],
)
def test_what_left_the_best_alone_is_what_is_reported(tmp_path, rewards, silent):
    trainer = Played("A", 0, len(rewards))
    trainer.run(rewards)
    assert verdicts(trainer, tmp_path)[Verdict.NOT_APPLICABLE] & _BEST == {
        *silent,
        *("BEST-008", "BEST-009"),
    }


def test_without_a_periodic_file_their_names_are_not_judged(tmp_path):
    trainer = Played("A", 0, 2)
    trainer.run([1.0, 2.0])
    found = verdicts(trainer, tmp_path)
    names = {f"NAME-00{number}" for number in range(2, 8)}
    assert names | {"SUMMARY-002", "LOAD-003"} <= found[Verdict.NOT_APPLICABLE]


def test_a_resumed_session_is_judged_by_its_own_rule(tmp_path):
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 5.0, 0.0, 0.0], last=2)
    trainer.resume("last_Aep2rew5.0")
    trainer.run([1.0, 5.0, 2.0, 3.0])
    found = verdicts(trainer, tmp_path)
    assert "BEST-008" in found[Verdict.PASS]
    assert "BEST-009" in found[Verdict.NOT_APPLICABLE]


@pytest.mark.parametrize(("later", "verdict"), [(6.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_a_fresh_session_is_judged_by_what_it_replaced(tmp_path, later, verdict):
    trainer = Played("A", 2, 2)
    trainer.run([1.0, 5.0])
    trainer.run([1.0, later])
    found = verdicts(trainer, tmp_path)
    assert "BEST-009" in found[verdict]
    assert "BEST-008" in found[Verdict.NOT_APPLICABLE]
