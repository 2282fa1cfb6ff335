"""Periodic checkpoints over several sessions, changed settings and logs that lag."""

from __future__ import annotations

import pytest
from played import Played

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary
from conformance.mutants import Trainer, defects
from conformance.run.settings import Options

_FILE = "nn/last_Aep{}rew{}.pth"


@pytest.fixture
def verdicts(tmp_path):
    """A function that returns what CADENCE-001, -002 and -003 say of a trainer's run."""

    def judge(trainer, options=None):
        found = audit(scan_run(trainer.write(tmp_path)), load_profile(), options)
        return tuple(
            finding.verdict.value for finding in found.findings if finding.rule.startswith("CADE")
        )[:3]

    return judge


def trained(save_freq, size, *, last=None):
    trainer = Played("A", save_freq, size)
    trainer.run([float(epoch) for epoch in range(1, size + 1)], last=last)
    return trainer


def without(trainer, *epochs):
    for epoch in epochs:
        del trainer.files[_FILE.format(epoch, float(epoch))]
    return trainer


PASS, FAIL, NONE, UNKNOWN = (
    verdict.value
    for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.NOT_APPLICABLE, Verdict.UNOBSERVABLE)
)


def test_each_setting_of_save_freq_is_judged_by_its_own_rules(verdicts):
    assert verdicts(trained(2, 4)) == (PASS, PASS, NONE)


def test_save_freq_0_leaves_nothing_to_the_other_rules(verdicts):
    assert verdicts(trained(0, 4)) == (NONE, NONE, PASS)


def test_a_save_freq_longer_than_the_run_makes_nothing_due(verdicts):
    assert verdicts(trained(9, 4)) == (NONE, NONE, NONE)


def test_periodic_files_under_save_freq_0_are_blamed_once(verdicts):
    assert verdicts(trained(1, 2), Options(save_freq=0)) == (NONE, NONE, FAIL)


def test_without_a_known_save_freq_nothing_is_judged(verdicts):
    trainer = trained(0, 4)
    del trainer.files["config.yaml"]
    assert verdicts(trainer) == (NONE, UNKNOWN, UNKNOWN)


def test_one_file_tells_no_save_freq(verdicts):
    trainer = trained(3, 4)
    del trainer.files["config.yaml"]
    assert verdicts(trainer) == (UNKNOWN, UNKNOWN, NONE)


def test_an_inferred_save_freq_is_held_against_the_files(verdicts):
    trainer = without(trained(2, 10), 4)
    del trainer.files["config.yaml"]
    assert verdicts(trainer) == (PASS, FAIL, NONE)


@pytest.mark.parametrize(("options", "second"), [(None, PASS), (Options(save_freq=4), FAIL)])
def test_an_earlier_session_may_have_run_with_another_save_freq(verdicts, options, second):
    """The config is of the latest start; what the caller says is of all."""
    trainer = trained(3, 16, last=9)
    trainer.save_freq = 4
    trainer.resume("last_Aep9rew9.0")
    trainer.run([float(epoch) for epoch in range(1, 17)])
    first = FAIL if options else PASS
    assert verdicts(trainer, options) == (first, second, NONE)


def test_an_earlier_session_is_held_against_its_own_save_freq(verdicts):
    trainer = trained(3, 16, last=9)
    trainer.save_freq = 4
    trainer.resume("last_Aep9rew9.0")
    trainer.run([float(epoch) for epoch in range(1, 17)])
    assert verdicts(without(trainer, 12)) == (PASS, FAIL, NONE)


def test_what_an_earlier_session_skipped_of_its_own_save_freq_is_missing(verdicts):
    trainer = trained(3, 16, last=9)
    trainer.save_freq = 4
    trainer.resume("last_Aep9rew9.0")
    trainer.run([float(epoch) for epoch in range(1, 17)])
    assert verdicts(without(trainer, 6)) == (PASS, FAIL, NONE)


def test_what_was_cleaned_for_a_fresh_session_is_not_missing(verdicts):
    trainer = trained(2, 4)
    trainer.files = {path: data for path, data in trainer.files.items() if "nn/" not in path}
    trainer.run([1.5, 2.5, 3.5, 4.5])
    assert verdicts(trainer) == (PASS, PASS, NONE)


def test_a_fresh_session_does_not_excuse_single_files(verdicts):
    trainer = without(trained(2, 4), 2)
    trainer.run([1.5, 2.5, 3.5, 4.5])
    assert verdicts(trainer) == (PASS, FAIL, NONE)


@pytest.mark.parametrize(
    ("missing", "second"), [((), PASS), ((4,), FAIL), ((6,), FAIL), ((10,), PASS)]
)
def test_files_behind_the_end_of_a_lagging_log_count(verdicts, missing, second):
    """Killed in epoch 10 of 20, with the log flushed up to epoch 5."""
    trainer = trained(2, 20, last=10)
    trainer.relog([(epoch, float(epoch)) for epoch in range(1, 6)])
    del trainer.files["nn/A.pth"]
    assert verdicts(without(trainer, *missing))[1] == second


@pytest.mark.parametrize(("logged", "second"), [(4, PASS), (5, FAIL)])
def test_a_kill_may_come_between_the_log_and_the_save(verdicts, logged, second):
    trainer = trained(2, 10, last=logged)
    assert verdicts(without(trainer, 4))[1] == second


def test_a_file_of_another_session_does_not_stand_for_a_missing_one(tmp_path):
    trainer = trained(2, 4)
    trainer.run([1.5, 2.5, 3.5, 4.5])
    del trainer.files[_FILE.format(4, 4.5)]
    found = audit(scan_run(trainer.write(tmp_path)), load_profile())
    finding = next(finding for finding in found.findings if finding.rule == "CADENCE-002")
    assert (finding.verdict, finding.evidence["epochs"]) == (Verdict.FAIL, [4])


@pytest.mark.parametrize(
    ("trainer", "missing", "expected"),
    [
        (defects.CountsEpochsFromZero, (), (FAIL, NONE, NONE)),
        (defects.SavesBeforeTheMultiple, (), (FAIL, NONE, NONE)),
        (defects.CountsEpochsFromZero, (3,), (FAIL, FAIL, NONE)),
        (Trainer, (), (PASS, PASS, NONE)),
        (Trainer, (4,), (PASS, FAIL, NONE)),
    ],
)
def test_saves_that_are_all_off_alike_are_blamed_once(verdicts, trainer, missing, expected):
    played = Played("A", 2, 6, trainer=trainer)
    played.run([float(epoch) for epoch in range(1, 7)])
    assert verdicts(without(played, *missing)) == expected


@pytest.mark.parametrize(("reached", "second"), [(1002, FAIL), (1003, PASS)])
def test_a_stored_epoch_far_behind_the_log_makes_nothing_due(verdicts, reached, second):
    """Its number alone must not make a list of any length."""

    class StoresOneEpoch(Trainer):
        def state(self):
            known = super().state()
            return {**known, "epoch": reached} if self.saving_best else known

    trainer = Played("A", 1, 9000, trainer=StoresOneEpoch)
    trainer.run([1.0, 2.0] + [0.0] * 8998, last=2)
    assert verdicts(trainer)[1] == second


def test_under_logs_of_several_sessions_that_stop_short_what_is_due_is_not_known(verdicts):
    trainer = trained(2, 8, last=4)
    trainer.resume("last_Aep4rew4.0")
    trainer.run([float(epoch) for epoch in range(1, 9)])
    assert verdicts(trainer) == (PASS, PASS, NONE)
    trainer.relog([(5, 5.0), (6, 6.0)])
    assert verdicts(trainer) == (PASS, UNKNOWN, NONE)


def test_nor_what_the_checkpoints_should_say(tmp_path):
    trainer = trained(2, 8, last=4)
    trainer.resume("last_Aep4rew4.0")
    trainer.run([float(epoch) for epoch in range(1, 9)])
    trainer.relog([(5, 5.0), (6, 6.0)])
    found = audit(scan_run(trainer.write(tmp_path)), load_profile()).findings
    (verdict,) = (finding.verdict for finding in found if finding.rule == "SUMMARY-002")
    assert verdict is Verdict.UNOBSERVABLE


def test_a_kill_before_the_only_save_leaves_nothing_to_judge(verdicts):
    assert verdicts(without(trained(4, 10, last=4), 4)) == (NONE, NONE, NONE)


def test_a_copy_of_the_best_does_not_stand_for_a_missing_periodic_file(tmp_path):
    """Somebody kept it beside: LAYOUT-001 speaks of the copy, CADENCE-002 of what is missing."""
    run = ordinary()  # epochs 2 and 4, the best of epoch 3
    best = run.storing(run.best, epoch=4).best
    gone = run.without(run.periodic(4)).with_other("kept/Cartpole.pth", best.data)
    found = audit(scan_run(gone.write(tmp_path)), load_profile()).findings
    failed = {finding.rule for finding in found if finding.verdict is Verdict.FAIL}
    assert failed == {"LAYOUT-001", "CADENCE-002"}
