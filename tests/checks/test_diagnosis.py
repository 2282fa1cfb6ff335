"""The one rule that a best checkpoint shows broken, beside the near miss with another cause."""

from __future__ import annotations

import math

import pytest
from played import Played

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.mutants import Trainer, defects

NAN = math.nan
OTHERS = {f"BEST-00{number}" for number in range(2, 9)}


@pytest.fixture
def judge(tmp_path):
    """A function that returns the rules of the best by verdict, and all that are broken."""

    def judged(trainer, profile="isaacgymenvs"):
        root = tmp_path / trainer.trainer.__name__
        found = audit(scan_run(trainer.write(root)), load_profile(profile)).findings
        by_verdict = {verdict: set() for verdict in Verdict}
        for finding in found:
            if finding.rule.startswith("BEST-") or finding.verdict is Verdict.FAIL:
                by_verdict[finding.verdict].add(finding.rule)
        return by_verdict

    return judged


def trained(trainer, save_freq, rewards, **options):
    played = Played("A", save_freq, len(rewards), trainer=trainer)
    played.run(rewards, **options)
    return played


@pytest.mark.parametrize(
    ("rewards", "rule"),
    [
        ([NAN, 5.0], "BEST-005"),
        ([NAN, NAN, 5.0], "BEST-005"),
        ([5.0, NAN], "BEST-001"),
        ([5.0, NAN, 6.0], "BEST-001"),
        ([5.0], "BEST-001"),
    ],
)
def test_a_missing_best_is_blamed_on_a_nan_that_came_before_the_first_improvement(
    judge, rewards, rule
):
    found = judge(trained(defects.NeverSavesTheBest, 0, rewards))
    assert found[Verdict.FAIL] == {rule}
    assert found[Verdict.NOT_APPLICABLE] >= {"BEST-001", *OTHERS} - {rule}
    assert found[Verdict.PASS] == set()


def test_a_missing_best_of_several_sessions_is_blamed_on_no_nan(judge):
    played = trained(defects.NeverSavesTheBest, 0, [NAN, 5.0])
    played.run([NAN, 5.0])
    assert judge(played)[Verdict.FAIL] == {"BEST-001"}


class StoresEpochZero(Trainer):
    """Stores epoch 0."""

    def state(self):
        """Return what a checkpoint holds."""
        return {**super().state(), "epoch": 0}


@pytest.mark.parametrize("configured", [True, False])
def test_an_epoch_before_the_first_is_not_taken_for_one_behind_the_log(judge, configured):
    played = trained(StoresEpochZero, 0, [1.0, 3.0, 2.0])
    if not configured:
        del played.files["config.yaml"]
    assert "BEST-002" in judge(played)[Verdict.FAIL]


@pytest.mark.parametrize(("epoch", "broken"), [(2, {"BEST-002"}), (4, set())])
def test_an_epoch_in_which_no_episode_had_finished_is_none_that_the_best_can_hold(
    judge, epoch, broken
):
    class StoresOneEpoch(Trainer):
        def state(self):
            return {**super().state(), "epoch": epoch}

    found = judge(trained(StoresOneEpoch, 0, [None, None, 1.0, 2.0]))
    assert found[Verdict.FAIL] == broken


@pytest.mark.parametrize(
    ("rewards", "rule"), [([1.0, 5.0, 3.0], "BEST-004"), ([1.0, 5.0, 5.0], "BEST-003")]
)
def test_a_best_rewritten_under_a_watermark_of_no_epoch_is_blamed_by_its_reward(
    judge, rewards, rule
):
    class RewritesUnderAnother(Trainer):
        def end(self):
            self.keep_watermark(7.0)
            self.save_best(self.reward)

    assert judge(trained(RewritesUnderAnother, 0, rewards))[Verdict.FAIL] == {rule}


@pytest.mark.parametrize(("logged", "verdict"), [(2, Verdict.UNOBSERVABLE), (3, Verdict.FAIL)])
def test_a_best_without_an_improvement_is_no_fault_where_the_log_ends_before_it(
    judge, logged, verdict
):
    played = Played("A", 0, 9)
    played.run([1.0, 2.0, 3.0] + [0.0] * 6, last=3)
    played.relog([(epoch, NAN) for epoch in range(1, logged + 1)])
    found = judge(played)
    assert "BEST-001" in found[verdict]
    assert found[Verdict.PASS] == set()
    others = {Verdict.UNOBSERVABLE: OTHERS, Verdict.FAIL: set()}[verdict]
    assert others <= found[Verdict.UNOBSERVABLE]


@pytest.mark.parametrize(("gap", "verdict"), [(True, Verdict.UNOBSERVABLE), (False, Verdict.FAIL)])
def test_a_best_without_an_improvement_may_stand_where_a_killed_session_s_log_lags(
    judge, gap, verdict
):
    """The best is of epoch 3; the first log ends at 2 or at 3, the second begins at 4."""
    played = Played("A", 3, 6)
    played.run([NAN, NAN, 5.0, NAN, NAN, NAN], last=3)
    played.relog([(epoch, NAN) for epoch in range(1, 3 if gap else 4)])
    played.resume("last_Aep3rew5.0")
    played.run([NAN, NAN, 5.0, NAN, NAN, NAN])
    assert "BEST-001" in judge(played)[verdict]


class SavesNoBestOnceResumed(Trainer):
    """Leaves the best alone after a resume."""

    resumed = False

    def restore(self, path):
        """Go on from a checkpoint."""
        super().restore(path)
        self.resumed = True

    def improves(self, reward):
        """Whether the reward is better than any before."""
        return super().improves(reward) and not self.resumed


@pytest.mark.parametrize(
    ("later", "rule"),
    [
        ([NAN, 20.0], "BEST-005"),
        ([0.0, 20.0], "BEST-006"),
        ([20.0, NAN], "BEST-006"),
        ([20.0, 30.0], "BEST-006"),
        ([NAN, 3.0], None),
    ],
)
def test_an_improvement_that_a_later_session_misses_is_blamed_on_the_nan_before_it(
    judge, later, rule
):
    rewards = [1.0, 9.0, *later]
    played = Played("A", 2, 4, trainer=SavesNoBestOnceResumed)
    played.run(rewards, last=2)
    played.resume("last_Aep2rew9.0")
    played.run(rewards)
    assert judge(played)[Verdict.FAIL] == ({rule} if rule else set())


@pytest.mark.parametrize(
    ("defect", "later", "rule"),
    [
        (defects.LosesTheWatermarkOnResume, [3.0, 1.0, 0.0], "BEST-008"),
        (defects.TakesTheLastRewardOnResume, [3.0, 1.0, 0.0], "BEST-008"),
        (defects.LosesTheWatermarkOnResume, [9.0, 1.0, 0.0], "BEST-003"),
        (Trainer, [3.0, 1.0, 0.0], None),
    ],
)
def test_a_best_replaced_by_a_resumed_session_is_blamed_on_the_watermark_that_it_lost(
    judge, defect, later, rule
):
    rewards = [1.0, 9.0, 2.0]
    played = Played("A", 3, 6, trainer=defect)
    played.run([*rewards, *later], last=3)
    played.resume("last_Aep3rew2.0")
    played.run([*rewards, *later])
    found = judge(played)
    assert found[Verdict.FAIL] == ({rule} if rule else set())
    if rule:
        assert found[Verdict.NOT_APPLICABLE] >= OTHERS - {rule}
    else:
        assert "BEST-008" in found[Verdict.PASS]


@pytest.mark.parametrize("rewards", [[1.0, 3.0, 2.0, 4.0], [5.0, 3.0, 2.0, 9.0]])
def test_an_epoch_and_a_watermark_of_two_epochs_are_blamed_as_one(judge, rewards):
    found = judge(trained(defects.StoresThePreviousEpochInTheBest, 2, rewards))
    assert found[Verdict.FAIL] == {"BEST-002"}
    assert judge(trained(Trainer, 2, rewards))[Verdict.FAIL] == set()


@pytest.mark.parametrize(
    ("shift", "epoch", "rules"),
    [(1, 2, {"NAME-006"}), (1, 4, {"NAME-006", "BEST-004"}), (-1, 2, {"NAME-006"})],
)
def test_stored_epochs_that_are_off_alike_are_put_right_before_the_best_is_judged(
    judge, shift, epoch, rules
):
    """Each checkpoint stores an epoch beside its own; only the one rewritten last is wrong."""

    class StoresAnotherEpoch(Trainer):
        def state(self):
            return {**super().state(), "epoch": self.epoch + shift}

        def end(self):
            if epoch == 4:
                self.save_best(self.reward)

    found = judge(trained(StoresAnotherEpoch, 1, [1.0, 9.0, 3.0, 2.0]))
    assert found[Verdict.FAIL] == rules


def test_where_the_dialect_has_no_best_none_of_its_rules_judges(judge):
    found = judge(trained(Trainer, 0, [1.0, 2.0]), "amp")
    assert found[Verdict.NOT_APPLICABLE] == {*OTHERS, "BEST-001", "BEST-009"}
