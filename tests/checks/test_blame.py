"""One defect is blamed on one rule, also where it shows in the files of several."""

from __future__ import annotations

import math

import pytest
from played import Played

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Level, Verdict
from conformance.evidence.runs import scan_run
from conformance.mutants import Trainer, defects


@pytest.fixture
def broken(tmp_path):
    """A function that returns the MUST rules that a trainer's run breaks."""

    def judge(trainer):
        found = audit(scan_run(trainer.write(tmp_path / trainer.trainer.__name__)), load_profile())
        return {
            finding.rule
            for finding in found.findings
            if finding.level is Level.MUST and finding.verdict in (Verdict.FAIL, Verdict.ERROR)
        }

    return judge


@pytest.mark.parametrize(
    ("defect", "save_freq", "rewards", "rule"),
    [
        (defects.NamesTheNextEpoch, 1, [1.0, 2.0, 9.0, 3.0], "NAME-006"),
        (defects.NamesTheNextEpoch, 2, [1.0, 2.0, 9.0, 3.0], "NAME-006"),
        (defects.StoresTheNextEpoch, 2, [1.0, 2.0, 9.0, 3.0], "NAME-006"),
        (defects.StoresFrames, 2, [1.0, 2.0, 9.0, 3.0], "NAME-006"),
        (defects.StoresFrames, 4, [1.0, 2.0, 9.0, 3.0], "NAME-006"),
        (defects.TruncatesTheWatermark, 2, [1.5, 2.5, 9.5, 3.5], "BEST-007"),
        (defects.LogsTheCost, 2, [1.0, 9.0, 3.0, 5.0], "SUMMARY-002"),
        (defects.TakesNanForZero, 4, [-5.0, math.nan, -3.0, -4.0], "BEST-005"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_value_that_is_off_everywhere_is_blamed_once(broken, defect, save_freq, rewards, rule):
    for kind, rules in ((Trainer, set()), (defect, {rule})):
        trainer = Played("A", save_freq, len(rewards), trainer=kind)
        trainer.run(rewards)
        assert broken(trainer) == rules


def test_epochs_named_off_do_not_hide_a_best_that_is_wrong(broken):
    class RewritesAtTheEnd(defects.NamesTheNextEpoch):
        def end(self):
            self.save_best(self.reward)

    trainer = Played("A", 1, 4, trainer=RewritesAtTheEnd)
    trainer.run([1.0, 9.0, 3.0, 2.0])
    found = broken(trainer)
    assert "NAME-006" in found
    assert any(rule.startswith("BEST-") for rule in found)


@pytest.mark.parametrize(
    ("defect", "rules"),
    [
        (Trainer, set()),
        (defects.CountsFromTheResume, {"CADENCE-001"}),
        (defects.LogsFromTheResume, set()),  # the log ends early, as a killed session's does
    ],
)
def test_a_count_that_starts_anew_on_resume_is_blamed_once(broken, defect, rules):
    trainer = Played("A", 2, 8, trainer=defect)
    trainer.run([1.0, 2.0, 9.0, 1.0, *[0.0] * 4], last=4)
    trainer.resume("A")
    trainer.run([1.0, 2.0, 9.0, 1.5, 2.0, 3.0, 4.0, 5.0])
    assert broken(trainer) == rules
