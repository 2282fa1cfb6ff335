"""A resumed session goes on where its checkpoint ended; one process writes one run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from driving import failing, judged, session

from conformance import mutants
from conformance.convention.rules import Verdict

NAN = math.nan
RESUMED = [session((1.0, 2.0)), session((1.0, 2.0, 1.5, 3.0), resume="last")]


@pytest.mark.parametrize("resume", ["best", "last"])
def test_a_resumed_session_that_goes_on_passes(tmp_path, resume):
    chain = [RESUMED[0], replace(RESUMED[1], resume=resume)]
    findings = judged(tmp_path, chain, "P3 P4 B")
    assert failing(findings) == set()
    assert findings["RESUME-001"].verdict is Verdict.PASS
    assert findings["BEST-008"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("trainer", "journal"),
    [
        (mutants.IgnoresTheCheckpoint, "P1 B P2 B P3 P4 B"),
        (mutants.RestartsAtOne, "P1 P2 P3 P4 B"),
        (mutants.RepeatsTheStoredEpoch, "P2 P3 P4 B"),
    ],
)
def test_a_resumed_session_of_other_epochs_is_told_by_one_rule(tmp_path, trainer, journal):
    """Whatever else it leaves is then no longer judged."""
    findings = judged(tmp_path, RESUMED, journal, trainer=trainer)
    assert failing(findings) == {"RESUME-001"}
    others = {finding.verdict for rule, finding in findings.items() if rule != "RESUME-001"}
    assert others == {Verdict.NOT_APPLICABLE}


class SkipsAnEpochWhenResumed(mutants.Trainer):
    """Goes on one epoch late, and trains one more at the end."""

    def resume(self, which):
        """Leave one out."""
        super().resume(which)
        self.epoch += 1

    def goes_on(self):
        """Make up for it."""
        late = bool(self.scenario.resume)
        return self.epoch < self.scenario.max_epochs + late

    def play_epoch(self, reward):
        """Train."""
        super().play_epoch(reward)


def test_a_resumed_session_that_is_late_from_its_beginning_to_its_end_is_told(tmp_path):
    """Its log alone might be off by a step; the checkpoints say that it was the training."""
    chain = [RESUMED[0], replace(RESUMED[1], rewards=(1.0, 2.0, 1.5, 3.0, 4.0))]
    findings = judged(tmp_path, chain, "P4 B P5 B", trainer=SkipsAnEpochWhenResumed, last=4)
    assert failing(findings) == {"RESUME-001"}
    assert "it began with epoch 4; epoch 3 was next" in findings["RESUME-001"].message


class DoesNothingWhenResumed(mutants.Trainer):
    """Comes to its end at once where a checkpoint is there already."""

    def goes_on(self):
        """End a resumed session before its first epoch."""
        return super().goes_on() and self.scenario.resume is None


def test_a_resumed_session_that_trains_nothing_is_told(tmp_path):
    findings = judged(tmp_path / "it", RESUMED, "", trainer=DoesNothingWhenResumed)
    assert failing(findings) == {"RESUME-001"}
    assert "trained no epoch" in findings["RESUME-001"].message
    one_more = [session((1.0, 2.0)), session((1.0, 2.0, 3.0), resume="last")]
    skips = judged(tmp_path / "skips", one_more, "", trainer=mutants.SkipsAnEpoch)
    assert failing(skips) == {"RESUME-001"}


def test_without_a_log_the_epochs_that_it_saved_tell(tmp_path):
    kept = judged(tmp_path / "kept", RESUMED, "P3 P4 B", trainer=mutants.LogsNothing)
    assert kept["RESUME-001"].verdict is Verdict.PASS
    broken = judged(tmp_path / "broken", RESUMED, "P1 P2 P3 P4 B", trainer=_SilentlyRestarts)
    assert failing(broken) == {"RESUME-001"}


class _SilentlyRestarts(mutants.LogsNothing, mutants.RestartsAtOne):
    pass


@pytest.mark.parametrize(
    ("trainer", "journal", "verdict", "broken"),
    [
        (mutants.SkipsAnEpoch, "P4 B", Verdict.FAIL, {"RESUME-001"}),
        (mutants.LogsFromTheResume, "P3 P4 B", Verdict.PASS, {"SUMMARY-001"}),
        (mutants.LogsFromTheResume, "", Verdict.UNOBSERVABLE, {"SUMMARY-001"}),
        (mutants.NamesTheNextEpoch, "P4 P5 B", Verdict.NOT_APPLICABLE, {"NAME-006"}),
        (mutants.Trainer, "", Verdict.PASS, set()),
    ],
)
def test_log_and_checkpoints_together_tell_where_it_went_on(
    tmp_path, trainer, journal, verdict, broken
):
    findings = judged(tmp_path, RESUMED, journal, trainer=trainer)
    assert findings["RESUME-001"].verdict is verdict
    assert broken <= failing(findings)


def test_a_fresh_session_resumes_nothing(tmp_path):
    findings = judged(tmp_path, [session((1.0,))], "P1 B")
    assert findings["RESUME-001"].verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    "trainer", [mutants.LosesTheWatermarkOnResume, mutants.TakesTheLastRewardOnResume]
)
def test_a_resumed_session_that_forgets_the_watermark_is_blamed(tmp_path, trainer):
    chain = [session((1.0, 9.0, 3.0)), session((1.0, 9.0, 3.0, 4.0), resume="last")]
    assert failing(judged(tmp_path / "lost", chain, "P4 B", trainer=trainer)) == {"BEST-008"}
    assert failing(judged(tmp_path / "kept", chain, "P4")) == set()


def test_a_watermark_from_before_the_first_reward_is_lost_too(tmp_path):
    """One of the lower watermarks explains it; from another, the best were left alone."""
    chain = [session((1.0, 9.0, 3.0)), session((1.0, 9.0, 3.0, 2.0), resume="last")]
    trainer = mutants.LosesTheWatermarkOnResume
    assert failing(judged(tmp_path / "lost", chain, "P4 B", trainer=trainer)) == {"BEST-008"}
    assert failing(judged(tmp_path / "kept", chain, "P4")) == set()


def test_a_fresh_session_in_an_old_folder_that_does_worse_is_warned_of_alone(tmp_path):
    chain = [session((9.0, 1.0)), session((2.0, 1.5))]
    findings = judged(tmp_path, chain, "P1 B P2")
    assert failing(findings) == {"BEST-009"}
    assert failing(judged(tmp_path / "better", [chain[1], chain[0]], "P1 B P2")) == set()


# --- where its files went -------------------------------------------------------------------


def test_several_folders_of_one_run_are_told(tmp_path):
    findings = judged(tmp_path, [session((1.0,))], "P1 B", others=("A_rank1",))
    assert failing(findings) == {"RANK-001"}
    assert findings["RANK-001"].evidence["folders"] == ["A_rank1"]


def test_a_run_in_one_folder_says_nothing_of_ranks(tmp_path):
    findings = judged(tmp_path, [session((1.0,))], "P1 B")
    assert findings["RANK-001"].verdict is Verdict.NOT_APPLICABLE


def test_a_run_in_another_folder_than_it_was_asked_for_is_told(tmp_path):
    findings = judged(tmp_path, [session((1.0,))], "P1 B", elsewhere=True)
    assert failing(findings) == {"LAYOUT-001"}
