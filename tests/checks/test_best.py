"""Which epoch the best holds, where it must be told from little, and who is blamed for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from played import Played

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Level, Verdict
from conformance.evidence.runs import scan_run
from conformance.mutants import Trainer, defects


@pytest.fixture
def judge(tmp_path):
    """A function that returns the MUST rules that a run breaks, and those left open."""

    def judged(trainer):
        found = audit(scan_run(trainer.write(tmp_path / trainer.trainer.__name__)), load_profile())
        must = [finding for finding in found.findings if finding.level is Level.MUST]
        return (
            {f.rule for f in must if f.verdict in (Verdict.FAIL, Verdict.ERROR)},
            {f.rule for f in must if f.verdict is Verdict.UNOBSERVABLE},
        )

    return judged


def test_without_a_stored_epoch_the_weights_tell_it(judge):
    class StoresNoEpochAndRewritesAtTheEnd(defects.StoresNoEpoch):
        def end(self):
            self.save_best(self.reward)

    for kind, rules in (
        (defects.StoresNoEpoch, {"LOAD-008"}),
        (StoresNoEpochAndRewritesAtTheEnd, {"LOAD-008", "BEST-004"}),
    ):
        trainer = Played("A", 1, 3, trainer=kind)
        trainer.run([1.0, 3.0, 2.0])
        assert judge(trainer)[0] == rules


@pytest.mark.parametrize(("save_freq", "late"), [(0, False), (1, False), (1, True)])
def test_without_a_log_a_best_is_due_only_where_a_name_says_so(tmp_path, save_freq, late):
    """Nor then, where the dialect may save no best before some epoch."""
    profile = replace(load_profile(), has_save_best_after=late)
    trainer = Played("A", save_freq, 2)
    trainer.run([1.0, 2.0])
    trainer.relog([])
    trainer.files.pop("config.yaml")
    found = audit(scan_run(trainer.write(tmp_path)), profile).findings
    (verdict,) = (finding.verdict for finding in found if finding.rule == "BEST-001")
    assert verdict is (Verdict.PASS if save_freq and not late else Verdict.UNOBSERVABLE)


@pytest.mark.parametrize(("rewards", "open_"), [([1.0, 3.0, 2.0], False), ([3.0, 1.0, 3.0], True)])
def test_without_a_stored_epoch_a_watermark_that_was_logged_once_tells_it(judge, rewards, open_):
    trainer = Played("A", 0, 3, trainer=defects.StoresNoEpoch)
    trainer.run(rewards)
    broken, unknown = judge(trainer)
    assert broken == {"LOAD-008"}
    assert ("BEST-002" in unknown) == open_


@pytest.mark.parametrize(
    ("epoch", "broken", "unknown"),
    [(3, set(), False), (5, set(), True), (8, set(), True), (9, {"BEST-002"}, False)],
)
def test_an_epoch_behind_the_log_is_believed_up_to_the_end_of_training(
    judge, epoch, broken, unknown
):
    class StoresOneEpoch(Trainer):
        def state(self):
            return {**super().state(), "epoch": epoch}

    trainer = Played("A", 0, 8, trainer=StoresOneEpoch)
    trainer.run([1.0, 2.0, 3.0, 0.0] + [0.0] * 4, last=4)
    found, open_ = judge(trainer)
    assert (found, "BEST-002" in open_) == (broken, unknown)


@pytest.mark.parametrize(
    ("rewards", "rule"),
    [
        ([math.nan, math.nan, 5.0, 1.0], "BEST-005"),
        ([1.0, math.nan, 5.0, 1.0], "BEST-005"),
        ([5.0, math.nan, 1.0, 1.0], None),
    ],
)
def test_a_nan_is_blamed_where_an_improvement_follows_it(judge, rewards, rule):
    trainer = Played("A", 0, 4, trainer=defects.PoisonedByNan)
    trainer.run(rewards)
    assert judge(trainer)[0] == ({rule} if rule else set())


def test_a_resumed_session_that_saves_no_best_misses_its_improvements(judge):
    class SavesNoBestOnceResumed(Trainer):
        resumed = False

        def restore(self, path):
            super().restore(path)
            self.resumed = True

        def improves(self, reward):
            return super().improves(reward) and not self.resumed

    for kind, rules in ((Trainer, set()), (SavesNoBestOnceResumed, {"BEST-006"})):
        trainer = Played("A", 2, 4, trainer=kind)
        trainer.run([1.0, 9.0, 0.0, 0.0], last=2)
        trainer.resume("last_Aep2rew9.0")
        trainer.run([1.0, 9.0, 20.0, 3.0])
        assert judge(trainer)[0] == rules


def test_a_lower_reward_after_a_resume_is_no_lost_watermark_unless_that_explains_it(judge):
    """The held epoch is not what a watermark reset on resume would have left."""

    class IsLatestOnceResumed(Trainer):
        resumed = False

        def restore(self, path):
            super().restore(path)
            self.resumed = True

        def improves(self, reward):
            return self.resumed or super().improves(reward)

    trainer = Played("A", 2, 6, trainer=IsLatestOnceResumed)
    trainer.run([1.0, 9.0] + [0.0] * 4, last=2)
    trainer.resume("last_Aep2rew9.0")
    trainer.run([1.0, 9.0, 5.0, 4.0, 3.0, 2.0])
    assert judge(trainer)[0] == {"BEST-004"}


@pytest.mark.parametrize(
    ("rewards", "save_freq", "rule"),
    [
        ([1.0, 5.0, 3.0, 2.0], 4, "BEST-002"),  # the periodic epoch is also the last
        ([1.0, 5.0, 3.0, 2.0], 0, "BEST-004"),
        ([1.0, 5.0, 5.0], 0, "BEST-003"),
        ([5.0, math.nan], 0, "BEST-005"),
    ],
)
def test_a_best_rewritten_at_the_end(judge, rewards, save_freq, rule):
    class RewritesAtTheEnd(Trainer):
        def end(self):
            self.keep_watermark(max(self.watermark, self.reward))
            self.save_best(self.reward)

    trainer = Played("A", save_freq, len(rewards), trainer=RewritesAtTheEnd)
    trainer.run(rewards)
    assert judge(trainer)[0] == {rule}
