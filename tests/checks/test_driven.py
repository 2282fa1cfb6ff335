"""A driven session is judged by what was played: rewards, epochs, and where its files went."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from driving import failing, judged, session

from conformance import mutants
from conformance.checks import DrivenSession
from conformance.checks.driven import played_history, same_rewards
from conformance.convention.rules import Verdict
from conformance.evidence.summaries import read_event_file
from conformance.fixtures.events import Scalar, event_file
from conformance.mutants.trainer import TAG

NAN = math.nan
RESUMED = [session((1.0, 2.0)), session((1.0, 2.0, 1.5, 3.0), resume="last")]


def log(folder, rewards, *, name="1", started=1.7e9):
    """An event file of these rewards, read."""
    path = folder / f"events.out.tfevents.{int(started)}.host.{name}.0"
    scalars = (Scalar(started + epoch, TAG, epoch, reward) for epoch, reward in rewards.items())
    path.write_bytes(event_file(tuple(scalars), started=started))
    return read_event_file(path)


# --- the rewards that a session is judged by ------------------------------------------------


def test_the_rewards_are_those_that_were_played_whatever_the_log_says(tmp_path):
    given = {1: 1.0, 2: 2.0}
    driven = DrivenSession(given, 1, 2, 1, logs=(log(tmp_path, {1: 1.0, 2: 7.0}),))
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == given


def test_the_rewards_are_rounded_to_float32_as_the_log_holds_them():
    driven = DrivenSession({1: 0.1, 2: 1e300}, 1, 2, 1)
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == {1: 0.10000000149011612, 2: math.inf}


def test_rewards_of_its_own_are_those_that_it_logged(tmp_path):
    driven = DrivenSession(None, 1, 2, 1, logs=(log(tmp_path, {1: 4.0, 2: 5.0}),))
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == {1: 4.0, 2: 5.0}


def test_a_session_without_rewards_is_no_session_to_judge():
    history = played_history([DrivenSession({}, 1, 2, 1), DrivenSession({1: 1.0}, 1, 1, 1)], ())
    assert [judged_by.rewards for judged_by in history.sessions] == [{1: 1.0}]


def test_a_log_of_its_own_rewards_that_is_wrong_is_a_problem_of_the_history(tmp_path):
    gap = DrivenSession(None, 1, 3, 1, logs=(log(tmp_path, {1: 4.0, 3: 5.0}),))
    (problem,) = played_history([gap], ()).problems
    assert "no reward between the epochs 1 and 3" in problem.message
    (problem,) = played_history([DrivenSession(None, 1, 3, 1)], ()).problems
    assert problem.message == "no reward is logged"
    whole = DrivenSession(None, 1, 2, 1, logs=(log(tmp_path, {1: 4.0, 2: 5.0}),))
    assert played_history([whole], ()).problems == ()
    # Of a session whose rewards were given, the log is SUMMARY-001's matter alone.
    given = replace(gap, rewards={1: 4.0, 2: 4.0, 3: 5.0})
    assert played_history([given], ()).problems == ()


def test_a_second_log_of_its_own_rewards_is_looked_at_too(tmp_path):
    good = log(tmp_path, {1: 1.0, 2: 2.0})
    for number, (second, broken) in enumerate((({1: 1.0, 3: 2.0}, True), ({2: 2.0}, False))):
        logs = (good, log(tmp_path, second, name="2", started=1.7e9 + 100))
        root = tmp_path / str(number)
        found = judged(root, [session((1.0, 2.0))], "P1 B P2 B", rewards=None, logs=logs)
        assert ("SUMMARY-001" in failing(found)) == broken


@pytest.mark.parametrize("trainer", [mutants.LogsShapedRewards, mutants.LogsTheCost])
def test_a_log_of_other_rewards_is_the_log_s_fault(tmp_path, trainer):
    """Names and contents keep to what was played."""
    findings = judged(tmp_path, [session((1.0, 3.0, 2.0))], "P1 B P2 B P3", trainer=trainer)
    assert failing(findings) == {"SUMMARY-002"}


@pytest.mark.parametrize("trainer", [mutants.LosesTheLastEpoch, mutants.LogsEveryOther])
def test_an_epoch_that_is_not_logged_is_the_log_s_fault(tmp_path, trainer):
    findings = judged(tmp_path, [session((1.0, 3.0, 2.0))], "P1 B P2 B P3", trainer=trainer)
    assert failing(findings) == {"SUMMARY-001"}


def test_a_log_of_what_was_played_passes(tmp_path):
    findings = judged(tmp_path, [session((1.0, 3.0, NAN))], "P1 B P2 B P3")
    assert failing(findings) == set()
    assert findings["SUMMARY-001"].verdict is Verdict.PASS
    assert findings["SUMMARY-002"].verdict is Verdict.PASS


class Halves(mutants.Trainer):
    """Plays half of the reward that it was given, and tells that everywhere."""

    def play_epoch(self, reward):
        """Train on another reward."""
        super().play_epoch(None if reward is None else reward / 2)


def test_a_trainer_that_plays_other_rewards_is_told_so_and_not_blamed_for_what_it_saves(tmp_path):
    findings = judged(tmp_path, [session((1.0, 3.0, 2.0))], "P1 B P2 B P3", trainer=Halves)
    assert failing(findings) == {"SUMMARY-001"}


def test_the_best_alone_tells_of_other_rewards(tmp_path):
    findings = judged(tmp_path, [session((1.0, 3.0, 2.0), 0)], "B B", trainer=Halves)
    assert failing(findings) == {"SUMMARY-001"}


def test_periodic_names_alone_tell_of_other_rewards(tmp_path):
    class HalvesWithoutABest(Halves, mutants.NeverSavesTheBest):
        pass

    findings = judged(tmp_path, [session((1.0, 3.0))], "P1 P2", trainer=HalvesWithoutABest)
    assert failing(findings) == {"SUMMARY-001", "BEST-001"}


def told(epoch, reward, *, flaws=()):
    """A periodic checkpoint of that name, whose watermark is half of the reward."""
    name = SimpleNamespace(epoch=epoch, reward=reward, flaws=flaws)
    return SimpleNamespace(name=name, epoch=epoch, watermark=reward / 2)


def best(epoch, reward):
    """The best checkpoint, of that epoch and reward."""
    name = SimpleNamespace(epoch=None, reward=None, flaws=())
    return SimpleNamespace(name=name, epoch=epoch, watermark=reward)


GIVEN = {1: 1.0, 2: 3.0, 3: 2.0}
HALVES = {1: 0.5, 2: 1.5, 3: 1.0}
EARLY = {1: 0.5, 2: 1.5}


@pytest.mark.parametrize(
    ("logged", "files", "by_the_log"),
    [
        (HALVES, [told(2, 1.5)], True),
        (HALVES, [best(2, 1.5)], True),
        (HALVES, [told(2, 3.0)], False),
        (HALVES, [best(2, 3.0)], False),
        (HALVES, [told(1, 0.5), told(2, 3.0)], False),
        (HALVES, [], False),
        (HALVES, [told(2, 3.0, flaws=("a misprint",))], False),
        (HALVES, [told(2, 1.5, flaws=("a misprint",))], False),
        # It ended before its time.
        (EARLY, [], True),
        (EARLY, [told(2, 3.0)], False),
        (EARLY, [told(7, 3.0)], True),
        ({1: 1.0, 2: 1.5}, [told(1, 1.0)], True),
        # It was not a log of this session.
        ({2: 1.5}, [], False),
        ({1: 0.5, 2: 1.5, 3: 1.0, 4: 2.0}, [told(2, 1.5)], False),
    ],
)
def test_other_rewards_were_played_where_log_and_files_agree_in_them(
    tmp_path, logged, files, by_the_log
):
    driven = DrivenSession(GIVEN, 1, 3, 1, logs=(log(tmp_path, logged),))
    (judged_by,) = played_history([driven], files).sessions
    assert judged_by.rewards == (logged if by_the_log else GIVEN)


def test_rewards_are_the_same_if_each_is():
    assert same_rewards({1: NAN, 2: 0.1}, {1: NAN, 2: 0.10000000149011612})
    assert not same_rewards({1: 1.0}, {1: 1.0, 2: 1.0})
    assert not same_rewards({1: 1.0}, {1: 2.0})


# --- resuming -------------------------------------------------------------------------------


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
