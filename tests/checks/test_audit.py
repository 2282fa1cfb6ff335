"""What the audit makes of a check that fails itself, and of folders it could not list."""

from __future__ import annotations

from dataclasses import replace

import pytest
from played import Played

from conformance import checks
from conformance.checks import audit, judge
from conformance.convention.profile import load_profile
from conformance.convention.rules import RULES, Needs, Verdict
from conformance.evidence.runs import scan_run
from conformance.run.settings import Options
from conformance.run.subject import Subject


@pytest.fixture
def folder(tmp_path):
    """A run that conforms, as it was scanned."""
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 3.0, 2.0, 3.0])
    return scan_run(trainer.write(tmp_path))


def verdicts(folder, **options):
    found = audit(folder, load_profile(), **options)
    return {finding.rule: finding.verdict for finding in found.findings}


@pytest.mark.parametrize(
    ("error", "verdict", "of_the_run"),
    [
        (FileNotFoundError("gone"), Verdict.UNOBSERVABLE, "incomplete"),
        (PermissionError("closed"), Verdict.UNOBSERVABLE, "incomplete"),
        (KeyError("epoch"), Verdict.ERROR, "error"),
        (RecursionError("deep"), Verdict.ERROR, "error"),
    ],
)
def test_a_check_that_fails_itself_blames_nobody(folder, monkeypatch, error, verdict, of_the_run):
    def fails(_subject):
        raise error

    monkeypatch.setitem(checks.CHECKS, "LOAD-001", fails)
    report = audit(folder, load_profile())
    (finding,) = (finding for finding in report.findings if finding.rule == "LOAD-001")
    assert (finding.verdict, finding.fix, report.verdict) == (verdict, "", of_the_run)
    assert str(error) in finding.message
    others = {finding.verdict for finding in report.findings if finding.rule != "LOAD-001"}
    assert others == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    if verdict is Verdict.ERROR:
        assert f"{type(error).__name__}: " in finding.message
        assert "fails, line " in finding.message


def needing(*kinds):
    return {rule.id for rule in RULES if not rule.driven and not {*kinds}.isdisjoint(rule.needs)}


@pytest.mark.parametrize(
    ("unlisted", "open_"),
    [
        ("nn", needing(Needs.NAMES, Needs.CONTENTS) | {"LAYOUT-001"}),
        ("summaries", needing(Needs.EVENTS) | {"LAYOUT-001", "LAYOUT-002"}),
        ("videos", {"LAYOUT-001"}),
        ("", {rule.id for rule in RULES if not rule.driven}),
    ],
)
def test_a_folder_that_cannot_be_listed_leaves_open_what_needs_it_alone(folder, unlisted, open_):
    assert set(verdicts(folder).values()) == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    found = verdicts(replace(folder, unlisted=(unlisted,)))
    assert {rule for rule, verdict in found.items() if verdict is Verdict.UNOBSERVABLE} == open_


def test_what_only_a_driven_trainer_shows_is_not_applicable_to_files(folder):
    found = verdicts(folder)
    driven = {rule.id for rule in RULES if rule.driven}
    assert driven == {
        *("CADENCE-004", "CADENCE-005", "INTEGRITY-002", "INTEGRITY-003"),
        *("RESUME-001", "RESUME-002", "RANK-001"),
    }
    assert {found[rule] for rule in driven} == {Verdict.NOT_APPLICABLE}


def test_the_rules_that_were_asked_for_are_the_ones_that_are_judged(folder):
    assert set(verdicts(folder)) == {rule.id for rule in RULES}
    asked = frozenset({"BEST-003", "LOAD-001"})
    assert set(verdicts(folder, selected=asked)) == asked


def test_who_watches_is_told_of_each_checkpoint_that_is_read(folder):
    told = []
    subject = Subject(folder, load_profile(), Options())
    report = judge(subject, watch=lambda number, size: told.append((number, size)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (report.checkpoints, report.sessions, report.path) == (3, 1, str(folder.path))
