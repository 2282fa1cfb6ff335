"""What a log is held against: other logs, checkpoints, or the rewards that were played."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace

import pytest
from driving import failing, judged, session
from event_logs import read_log
from played import Played

from conformance import mutants
from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary
from conformance.fixtures.events import Scalar
from conformance.mutants.trainer import single

NAN = math.nan
REWARDS = (1.0, NAN, 2.0, 1.5)
JOURNAL = "P1 B P2 P3 B P4"


class LogsAnEpochWithoutAReward(mutants.Trainer):
    """Logs a reward before an episode has finished."""

    def play_epoch(self, reward):
        """Log and save what is due."""
        super().play_epoch(reward)
        if reward is None:
            self.log(0.5)


# --- a driven trainer: its log against what was played ----------------------------------------


def test_a_second_log_of_its_own_rewards_is_looked_at_too(tmp_path):
    good = read_log(tmp_path, {1: 1.0, 2: 2.0})
    for number, (second, broken) in enumerate((({1: 1.0, 3: 2.0}, True), ({2: 2.0}, False))):
        logs = (good, read_log(tmp_path, second, name="2", started=1.7e9 + 100))
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


@pytest.mark.parametrize(
    ("trainer", "rule", "message"),
    [
        (mutants.LogsNanAsZero, "SUMMARY-002", "reward 0.0 is logged for epoch 2"),
        (mutants.LogsTheHighest, "SUMMARY-002", "reward 1.0 is logged for epoch 2"),
        (mutants.SkipsNanInTheLog, "SUMMARY-001", "no reward between the epochs 1 and 3"),
        (mutants.LogsFromZero, "SUMMARY-001", "a reward at step 0"),
        (mutants.LogsTwoRewards, "SUMMARY-001", "two rewards for epoch 1"),
        (mutants.LogsNothing, "SUMMARY-001", "no event file logs rewards/iter"),
        (mutants.LosesTheLastEpoch, "SUMMARY-001", "no reward is logged for epoch 4"),
    ],
)
def test_a_log_that_is_not_what_was_played_is_told_by_one_rule(tmp_path, trainer, rule, message):
    findings = judged(tmp_path, [session(REWARDS)], JOURNAL, trainer=trainer)
    assert failing(findings) == {rule}
    assert message in findings[rule].message
    if rule == "SUMMARY-002":
        assert findings["SUMMARY-001"].verdict is Verdict.NOT_APPLICABLE


def test_an_epoch_without_a_reward_is_not_logged(tmp_path):
    chain, journal = [session((None, 1.0))], "P2 B"
    trainer = LogsAnEpochWithoutAReward
    broken = judged(tmp_path / "it", chain, journal, trainer=trainer)
    assert failing(broken) == {"SUMMARY-001"}
    assert broken["SUMMARY-001"].evidence["epoch"] == 1
    assert "it had none yet" in broken["SUMMARY-001"].message
    kept = judged(tmp_path / "not", chain, journal)
    assert failing(kept) == set()
    assert kept["SUMMARY-001"].verdict is Verdict.PASS


def test_a_session_without_any_reward_has_nothing_to_log(tmp_path):
    found = judged(tmp_path, [session((None, None))], "")
    assert failing(found) == set()
    assert found["SUMMARY-001"].verdict is Verdict.NOT_APPLICABLE


def test_the_log_of_an_earlier_session_that_is_lost_is_told(tmp_path):
    chain = [session((1.0,)), session((1.0, 2.0), resume="last")]
    found = judged(tmp_path, chain, "P2 B", lost_logs=("first", "second"))
    assert failing(found) == {"SUMMARY-001"}
    assert "'first'; and 1 more" in found["SUMMARY-001"].message


# --- a driven trainer whose rewards are its own ---------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "broken"),
    [
        (mutants.Trainer, set()),
        (mutants.LosesTheLastEpoch, {"SUMMARY-001"}),
        (mutants.LogsNothing, {"SUMMARY-001"}),
        (mutants.LogsTwoRewards, {"SUMMARY-001"}),
    ],
)
def test_a_log_of_rewards_of_its_own_is_held_against_the_epochs(tmp_path, trainer, broken):
    found = judged(tmp_path, [session((1.0, 2.0))], "P1 B P2 B", trainer=trainer, rewards=None)
    assert failing(found) == broken
    if not broken:
        assert found["SUMMARY-001"].verdict is Verdict.PASS
        assert found["SUMMARY-002"].verdict is Verdict.PASS


def test_a_gap_in_a_log_of_its_own_rewards_is_told_although_the_log_reaches_the_end(tmp_path):
    chain, journal = [session((1.0, NAN, 2.0))], "P1 B P2 P3 B"
    gap = judged(tmp_path, chain, journal, trainer=mutants.SkipsNanInTheLog, rewards=None)
    assert "SUMMARY-001" in failing(gap)
    assert "no reward between the epochs 1 and 3" in gap["SUMMARY-001"].message


def test_rewards_of_its_own_may_never_have_been_any(tmp_path):
    found = judged(tmp_path, [session((None, None))], "", rewards=None)
    assert failing(found) == set()
    assert found["SUMMARY-001"].verdict is Verdict.UNOBSERVABLE


@pytest.mark.parametrize("trainer", [mutants.LogsNothing, mutants.LogsTwoRewards])
def test_without_a_log_that_tells_its_own_rewards_what_rests_on_them_is_open(tmp_path, trainer):
    found = judged(tmp_path, [session((1.0, 2.0))], "P1 B P2 B", trainer=trainer, rewards=None)
    for rule in ("BEST-002", "BEST-006", "CADENCE-002", "CADENCE-004", "SUMMARY-002"):
        assert found[rule].verdict is Verdict.UNOBSERVABLE, rule
    assert found["CADENCE-001"].verdict is Verdict.PASS


# --- an audit of files ----------------------------------------------------------------------


@pytest.fixture
def judge(tmp_path):
    """A function that returns the findings on a run, by rule."""

    def of(trainer):
        found = audit(scan_run(trainer.write(tmp_path)), load_profile()).findings
        return {finding.rule: finding for finding in found}

    return of


def trained(rewards, save_freq=2, *, trainer=mutants.Trainer, name="A"):
    played = Played(name, save_freq, len(rewards), trainer=trainer)
    played.run(rewards)
    return played


def test_a_name_that_disagrees_with_the_log_is_told_with_its_like(judge):
    played = trained([1.0, 2.0, 3.0, 4.0])
    for epoch in (2, 4):
        data = played.files.pop(f"nn/last_Aep{epoch}rew{epoch}.0.pth")
        played.files[f"nn/last_Aep{epoch}rew{epoch}5.0.pth"] = data
    found = judge(played)
    assert failing(found) == {"SUMMARY-002"}
    assert found["SUMMARY-002"].paths == ("nn/last_Aep2rew25.0.pth", "nn/last_Aep4rew45.0.pth")
    assert "says reward 25.0, and the logs say 2.0" in found["SUMMARY-002"].message


@pytest.mark.parametrize("kept", [True, False])
def test_a_second_file_for_an_epoch_is_surplus_only_beside_one_that_agrees(judge, kept):
    played = trained([1.0, 2.0, 3.0, 4.0])
    name = "nn/last_Aep2rew2.0.pth"
    played.files["nn/last_Aep2rew25.0.pth"] = played.files[name]
    if not kept:
        played.files["nn/last_Aep2rew26.0.pth"] = played.files.pop(name)
    expected = {"NAME-007"} if kept else {"NAME-007", "SUMMARY-002"}
    assert failing(judge(played)) == expected


@pytest.mark.parametrize(
    ("stored", "broken"),
    [
        (3.0, set()),  # the watermark before epoch 4
        (4.0, set()),  # and after it
        (2.0, {"SUMMARY-002"}),
        (5.0, {"SUMMARY-002"}),
        (3.0000002384185791, {"SUMMARY-002"}),
    ],
)
def test_a_periodic_checkpoint_stores_the_watermark_before_or_after_its_epoch(
    judge, stored, broken
):
    class Stores(mutants.Trainer):
        def state(self):
            known = super().state()
            is_it = self.epoch == 4 and not self.saving_best
            return {**known, "last_mean_rewards": stored} if is_it else known

    assert failing(judge(trained([1.0, 2.0, 3.0, 4.0], trainer=Stores))) == broken


def test_a_wrong_watermark_beside_a_rounded_name_is_told_by_its_own_rule_too(judge):
    class RoundsAndStoresAnother(mutants.RoundsTheReward):
        def state(self):
            known = super().state()
            return known if self.saving_best else {**known, "last_mean_rewards": -7.0}

    found = judge(trained([1.0, single(66.52648)], trainer=RoundsAndStoresAnother))
    assert failing(found) == {"NAME-005", "SUMMARY-002"}


def test_a_log_of_nothing_is_no_fault_where_nothing_was_saved(judge):
    silent = judge(trained([None, None]))
    assert silent["SUMMARY-001"].verdict is Verdict.UNOBSERVABLE
    assert silent["SUMMARY-002"].verdict is Verdict.UNOBSERVABLE


def test_a_log_of_nothing_is_a_fault_where_something_was_saved(judge):
    found = judge(trained([1.0, 2.0], trainer=mutants.LogsNothing))
    assert failing(found) == {"SUMMARY-001"}


def test_without_an_event_file_the_log_is_another_rule_s_matter(judge):
    played = trained([1.0, 2.0])
    played.files = {path: data for path, data in played.files.items() if "tfevents" not in path}
    found = judge(played)
    assert found["SUMMARY-001"].verdict is Verdict.UNOBSERVABLE
    assert found["LAYOUT-002"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("tag", "verdict"), [("rewards/step", "fail"), ("losses/a", "unobservable")]
)
def test_rewards_under_another_axis_are_a_fault_although_nothing_was_saved(judge, tag, verdict):
    class Logs(mutants.Trainer):
        def add_scalars(self, scalars):
            super().add_scalars(
                Scalar(each.wall_time, logged, each.step, each.value)
                for each in scalars
                for logged in (tag, "info/epochs")
            )

    played = trained([1.0, 2.0], 0, trainer=Logs)
    del played.files["nn/A.pth"]
    assert judge(played)["SUMMARY-001"].verdict.value == verdict


def test_an_event_file_that_is_there_and_cannot_be_read_leaves_the_log_open(tmp_path):
    run = scan_run(trained([1.0, 2.0]).write(tmp_path))
    for log in run.path.glob("summaries/*"):
        log.unlink()  # between the listing and the reading
    found = {finding.rule: finding for finding in audit(run, load_profile()).findings}
    assert found["SUMMARY-001"].verdict is Verdict.UNOBSERVABLE
    assert "1 event file(s) cannot be read" in found["SUMMARY-001"].message


def test_a_log_under_another_tag_is_told_with_the_tags_that_are_there(judge):
    found = judge(trained([1.0, 2.0], trainer=mutants.LogsUnderAnotherTag))
    assert failing(found) == {"SUMMARY-001"}
    assert "Train/mean_reward" in found["SUMMARY-001"].message


# --- what mends a log -------------------------------------------------------------------------


def log_of(run, change):
    """The run with the bytes of its one log changed."""
    (log,) = run.logs
    return run.with_other(log.path, change(log.data))


def flipped(data):
    """The data with a bit of its middle changed."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def scalars(run, change):
    return run.with_logs(lambda log: replace(log, scalars=tuple(change(log.scalars))))


def rewards(change):
    """A change of the steps and values that rewards/iter is logged with."""

    def changed(logged):
        for scalar in logged:
            yield from change(scalar) if scalar.tag == "rewards/iter" else (scalar,)

    return changed


def twice(scalar):
    return (scalar, replace(scalar, value=scalar.value + 1))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2345\n"
WRONG_LOGS = {
    "bit": (lambda run: log_of(run, flipped), "damaged: record ", "Restore"),
    "length": (lambda run: log_of(run, lambda d: b"\1" + d[1:]), "damaged: record 1", "Restore"),
    "joined": (lambda run: log_of(run, lambda d: d[:-9] + d), "damaged: record ", "Two writers"),
    "lfs": (lambda run: log_of(run, lambda _: POINTER), "Git LFS pointer", "git lfs pull"),
    "page": (lambda run: log_of(run, lambda _: b"<html></html>"), "an HTML page", "Download"),
    "text": (lambda run: log_of(run, lambda _: b"404: Not Found\n"), "a text that", "Fetch"),
    "gzip": (
        lambda run: log_of(run, lambda d: gzip.compress(d, mtime=0)), "a gzip file", "Decompress",
    ),
    "noise": (
        lambda run: log_of(run, lambda _: bytes(range(255, 1, -1))), "not an event file", "back",
    ),
    "from zero": (
        lambda run: scalars(run, rewards(lambda s: (replace(s, step=s.step - 1),))),
        "at step 0", "counted from 1",
    ),
    "by frame": (
        lambda run: scalars(run, rewards(lambda s: (replace(s, step=s.step * 512),))),
        "between the epochs 512 and 1024", "not the frame",
    ),
    "twice": (lambda run: scalars(run, rewards(twice)), "two rewards for epoch 1", "a tag of its"),
    "elsewhere": (
        lambda run: scalars(run, rewards(lambda s: (replace(s, tag="mean_reward"),))),
        "no event file logs rewards/iter", "add_scalar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG_LOGS)
def test_each_wrong_log_has_a_fix_of_its_own(tmp_path, which):
    change, what, remedy = WRONG_LOGS[which]
    found = audit(scan_run(change(ordinary()).write(tmp_path)), load_profile())
    (told,) = (each for each in found.findings if each.verdict is Verdict.FAIL)
    assert told.rule == "SUMMARY-001"
    assert what in told.message
    assert remedy in told.fix
    assert ("add_scalar" in told.fix) == (which == "elsewhere")


def test_a_log_that_is_cut_anywhere_is_no_damage(tmp_path):
    """A kill leaves it, and nothing is to be restored."""
    for cut in (1, 4, 12, 20):
        run = log_of(ordinary(), lambda data, cut=cut: data[:-cut])
        found = audit(scan_run(run.write(tmp_path / str(cut))), load_profile()).findings
        assert "SUMMARY-001" not in {f.rule for f in found if "damaged" in f.message}
