"""The audit's power: what keeps the convention is never blamed, each defect is, by its own rule."""

from __future__ import annotations

import math
import os
import pickle
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from played import Played

from conformance.checks import RunReport, audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Level, Verdict
from conformance.evidence.runs import scan_run
from conformance.mutants import Trainer, defects
from conformance.mutants.trainer import single

_SPECIAL = [
    0.0,
    -0.0,
    1.0,
    1.0000001192092896,
    -5.0,
    1e-38,
    66.52648,
    math.nan,
    math.inf,
    -math.inf,
]
_REWARDS = st.one_of(
    st.sampled_from(_SPECIAL),
    st.integers(-3, 3).map(float),
    st.floats(width=32),
)
_NAMES = st.sampled_from(["Cartpole", "Aep12", "x.y", "last_Aep9rew9.0", "ep", "Änt_3", "rew3"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    numbers = count()
    root = tmp_path_factory.mktemp("runs")
    return lambda: root / str(next(numbers))


def report(trainer: Played, root) -> RunReport:
    return audit(scan_run(trainer.write(root)), load_profile())


def broken(found: RunReport) -> set[str]:
    return {
        finding.rule
        for finding in found.findings
        if finding.level is Level.MUST and finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    }


@st.composite
def _known_rewards(draw, size):
    """Rewards of each epoch; None while no episode has finished."""
    silent = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    known = draw(st.lists(_REWARDS.map(single), min_size=size, max_size=size))
    return [None if index < silent else reward for index, reward in enumerate(known)]


@st.composite
def _runs(draw):
    """A trainer that has played one session, or two of which the second was resumed."""
    epochs = draw(st.integers(1, 10))
    trainer = Played(draw(_NAMES), draw(st.sampled_from([0, 1, 2, 3, 5])), epochs)
    rewards = draw(_known_rewards(epochs))
    if epochs < 3 or draw(st.booleans()):
        trainer.run(rewards)
        return trainer
    trainer.run(rewards, last=draw(st.integers(1, epochs - 1)))
    if trainer.kept:
        start = draw(st.sampled_from(sorted(trainer.kept)))
        again = trainer.kept[start]
        later = draw(
            st.lists(_REWARDS.map(single), min_size=epochs - again, max_size=epochs - again)
        )
        trainer.resume(start)
        trainer.run([*rewards[:again], *later])
    return trainer


@given(trainer=_runs())
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_keeps_the_convention_is_never_blamed(folder, trainer):
    assert broken(report(trainer, folder())) == set()


@pytest.mark.slow
@given(trainer=_runs())
@settings(deadline=None, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
def test_what_keeps_the_convention_is_never_blamed_in_many_runs(folder, trainer):
    assert broken(report(trainer, folder())) == set()


_RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
_NAN = math.nan

# Each defect with the shortest rewards that show it, and the MUST rules that it breaks.
_SHOWN = [
    (defects.RewritesOnTie, 0, [5.0, 5.0], {"BEST-003"}),
    (defects.ComparesWithPrevious, 0, [5.0, 3.0, 4.0], {"BEST-004"}),
    (defects.BestIsLatest, 0, [5.0, 3.0], {"BEST-004"}),
    (defects.BestIsLatest, 0, [5.0, 5.0], {"BEST-003"}),
    (defects.BestIsLatest, 0, [5.0, _NAN], {"BEST-005"}),
    (defects.BestIsLatest, 0, [_NAN], {"BEST-001"}),
    (defects.NegatedComparison, 0, [5.0, _NAN], {"BEST-005"}),
    (defects.PoisonedByNan, 0, [1.0, _NAN, 5.0], {"BEST-005"}),
    (defects.PoisonedByNan, 0, [_NAN, 5.0], {"BEST-005"}),
    (defects.LooksOnlyAtPeriodicEpochs, 2, [1.0, 2.0, 3.0], {"BEST-006"}),
    (defects.LooksOnlyAtPeriodicEpochs, 2, [3.0, 2.0], {"BEST-006"}),
    (defects.LooksOnlyAtPeriodicEpochs, 5, [1.0, 2.0], {"BEST-001"}),
    (defects.StopsAfterTheFirst, 0, [1.0, 2.0], {"BEST-006"}),
    (defects.NeedsAMargin, 0, [1.0, 1.5], {"BEST-006"}),
    (defects.IgnoresNegatives, 0, [-1.0], {"BEST-001"}),
    (defects.StoresOldWatermark, 0, [1.0, 2.0], {"BEST-007"}),
    (defects.StoresItsOwnReward, 2, [2.0, 1.0], {"SUMMARY-002"}),
    (defects.GuardsPeriodicSaves, 2, [1.0, 2.0], {"CADENCE-002"}),
    (defects.CountsEpochsFromZero, 2, [1.0, 2.0], {"CADENCE-001"}),
    (defects.PadsTheEpoch, 2, [1.0, 2.0], {"NAME-004"}),
    (defects.FormatsTheReward, 2, [1.0, 2.5], {"NAME-005"}),
    (defects.RoundsTheReward, 2, [1.0, single(66.52648)], {"NAME-005"}),
    (defects.NamesThePreviousReward, 2, [1.0, 2.0], {"SUMMARY-002"}),
    (defects.StoresThePreviousEpoch, 2, [1.0, 2.0], {"NAME-006"}),
    (defects.StoresThePreviousEpoch, 0, [1.0, 2.0], {"BEST-002"}),
    (defects.ForgetsTheOptimizer, 0, [1.0], {"LOAD-008"}),
    (defects.SavesStaleWeightsAsBest, 1, [1.0, 2.0], {"BEST-002"}),
    (defects.SavesStaleWeightsAsBest, 2, [1.0, 2.0, 3.0, 1.0], {"BEST-002"}),
    (defects.CallsItBest, 2, [1.0, 2.0], {"NAME-001"}),
    (defects.LogsFromZero, 2, [1.0, 2.0], {"SUMMARY-001"}),
    (defects.LogsFromZero, 2, [None, None, 1.0, 2.0, 3.0, 2.0], {"SUMMARY-001"}),
    (defects.LogsEveryOther, 2, [1.0, 2.0, 3.0], {"SUMMARY-001"}),
    (defects.LogsShapedRewards, 2, [1.0, 2.0, 3.0], {"SUMMARY-002"}),
]


@pytest.mark.parametrize(
    ("defect", "save_freq", "rewards", "rules"),
    _SHOWN,
    ids=[f"{defect.__name__}-{index}" for index, (defect, *_) in enumerate(_SHOWN)],
)
def test_a_defect_is_blamed_by_its_own_rule_alone(tmp_path, defect, save_freq, rewards, rules):
    conforming = Played("A", save_freq, len(rewards))
    conforming.run(rewards)
    assert broken(report(conforming, tmp_path / "right")) == set()

    trainer = Played("A", save_freq, len(rewards), trainer=defect)
    trainer.run(rewards)
    assert broken(report(trainer, tmp_path / "wrong")) == rules


def test_a_best_replaced_by_a_worse_one_on_resume_is_blamed(tmp_path):
    for kind, rules in ((Trainer, set()), (defects.LosesTheWatermarkOnResume, {"BEST-008"})):
        trainer = Played("A", 5, 10, trainer=kind)
        trainer.run([1.0, 2.0, 9.0, 4.0, 5.0] * 2, last=5)
        trainer.resume("last_Aep5rew5.0")
        trainer.run([*[0.0] * 5, 6.0, 7.0, 6.0, 5.0, 4.0])
        assert broken(report(trainer, tmp_path / kind.__name__)) == rules


def test_a_watermark_lost_on_resume_shows_in_periodic_checkpoints(tmp_path):
    """The last best is right again, and hides the wrong one before it."""
    trainer = Played("A", 2, 5, trainer=defects.LosesTheWatermarkOnResume)
    trainer.run([9.0, 1.0, 0.0, 0.0, 0.0], last=2)
    trainer.resume("last_Aep2rew1.0")
    trainer.run([0.0, 0.0, 3.0, 4.0, 10.0])
    assert broken(report(trainer, tmp_path)) == {"BEST-008"}


def test_a_fresh_session_may_replace_the_best_with_a_warning(tmp_path):
    trainer = Played("A", 2, 4)
    trainer.run([9.0, 1.0, 1.0, 1.0])
    trainer.run([1.0, 2.0, 3.0, 4.0])
    found = report(trainer, tmp_path)
    assert broken(found) == set()
    warned = {f.rule for f in found.findings if f.verdict is Verdict.FAIL}
    assert warned == {"BEST-009"}


def test_rewards_within_one_float32_step_are_neither_tie_nor_miss(tmp_path):
    """A trainer that compares float64 sees an improvement where the log shows a tie."""

    class ComparesDoubles(Trainer):
        def play_epoch(self, reward):
            self.log(reward)
            self.save_due(reward)

    low, high = 0.1, 0.1 + 1e-12
    assert single(low) == single(high)
    trainer = Played("A", 0, 2, trainer=ComparesDoubles)
    trainer.run([low, high])
    assert broken(report(trainer, tmp_path)) == set()


def test_a_settled_run_passes_on_evidence(tmp_path):
    trainer = Played("A", 2, 6)
    trainer.run([1.0, 5.0, 5.0, 3.0, _NAN, 2.0])
    passed = {f.rule for f in report(trainer, tmp_path).findings if f.verdict is Verdict.PASS}
    assert {f"BEST-00{number}" for number in range(1, 8)} <= passed


def test_rules_without_anything_to_look_at_do_not_pass(tmp_path):
    trainer = Played("A", 0, 1)
    trainer.run([1.0])
    vacuous = {
        f.rule for f in report(trainer, tmp_path).findings if f.verdict is Verdict.NOT_APPLICABLE
    }
    assert {"BEST-003", "BEST-004", "BEST-005", "BEST-008", "CADENCE-001", "NAME-004"} <= vacuous


@pytest.mark.parametrize("content", [b"", b"\x18\x00\x00"], ids=["empty", "torn"])
def test_an_event_file_of_a_session_killed_at_its_start_is_no_failure(tmp_path, content):
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 2.0, 3.0, 4.0])
    trainer.files["summaries/events.out.tfevents.1700009999.host.1.0"] = content
    assert broken(report(trainer, tmp_path)) == set()


def test_an_event_file_of_garbage_takes_the_logs_away_from_the_other_rules(tmp_path):
    trainer = Played("A", 2, 4, trainer=defects.RewritesOnTie)
    trainer.run([1.0, 2.0, 2.0, 1.0])
    trainer.files["summaries/events.out.tfevents.1700009999.host.1.0"] = b"garbage" * 30
    assert broken(report(trainer, tmp_path)) == {"SUMMARY-001"}


def test_a_kill_between_the_log_and_the_save_proves_nothing(tmp_path):
    """The last logged epoch improved and was due, and neither file was written any more."""
    trainer = Played("A", 2, 10)
    trainer.run([1.0, 2.0, 3.0, 9.0] + [0.0] * 6, last=3)
    trainer.relog([(1, 1.0), (2, 2.0), (3, 3.0), (4, 9.0)])
    assert broken(report(trainer, tmp_path)) == set()


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (b"hello", {"LOAD-001"}),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", {"LOAD-001"}),
        (pickle.dumps({"model": {}}), {"LOAD-001"}),
        (b"\x00" * 4096, {"INTEGRITY-001"}),
        (b"PK", {"INTEGRITY-001"}),
        (b"", {"LAYOUT-004"}),
    ],
    ids=["text", "lfs-pointer", "plain-pickle", "zeros", "two-bytes", "empty"],
)
def test_a_best_that_is_no_checkpoint_is_blamed_once(tmp_path, content, rules):
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 2.0, 3.0, 4.0])
    trainer.files["nn/A.pth"] = content
    assert broken(report(trainer, tmp_path)) == rules


def test_an_event_file_that_the_system_refuses_is_not_the_trainers_fault(tmp_path, monkeypatch):
    trainer = Played("A", 2, 4)
    trainer.run([1.0, 2.0, 3.0, 4.0])
    opened = os.open

    def refuse(path, *rest):
        if "tfevents" in str(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    run = trainer.write(tmp_path)
    monkeypatch.setattr(os, "open", refuse)
    found = audit(scan_run(run), load_profile())
    assert broken(found) == set()
    assert found.verdict == "incomplete"
    assert any("Permission denied" in note for note in found.notes)
