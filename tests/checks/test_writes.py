"""What the order of writes shows of a driven session, also of writes that a later one hid."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from driving import failing, judged, session

from conformance import mutants
from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.evidence.summaries import read_event_file
from conformance.fixtures.play import Session, play
from conformance.run.driven import DrivenSession, Writes
from conformance.run.settings import Options

NAN, INF = math.nan, math.inf
BEST = {f"BEST-00{number}" for number in range(1, 10)}


def blamed(root, rewards, journal, save_freq=1):
    return failing(judged(root, [session(rewards, save_freq)], journal))


# --- the order within an epoch, and of the epochs -------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "save_freq", "journal"),
    [
        ((1.0, 2.0), 1, "P1 B P2 B"),
        ((1.0, 2.0), 1, "P1 P1 B B P2 P2 B B"),  # each file written twice
        ((1.0, 2.0, 3.0), 2, "B P2 B B"),
        ((None, 2.0), 1, "P2 B"),
        ((1.0, 2.0, 3.0, 4.0), 4, "B B B P4 B"),
    ],
)
def test_the_periodic_checkpoint_comes_before_the_best(tmp_path, rewards, save_freq, journal):
    findings = judged(tmp_path, [session(rewards, save_freq)], journal)
    assert failing(findings) == set()
    assert findings["CADENCE-005"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("rewards", "save_freq", "journal"),
    [
        ((1.0, 2.0), 1, "B P1 B P2"),
        ((1.0,), 1, "B P1"),
        ((2.0, 1.0), 1, "B P1 P2"),
        ((None, 2.0), 2, "B P2"),
    ],
)
def test_a_best_before_the_periodic_checkpoint_is_blamed_once(
    tmp_path, rewards, save_freq, journal
):
    findings = judged(tmp_path, [session(rewards, save_freq)], journal)
    assert failing(findings) == {"CADENCE-005"}
    assert set(findings["CADENCE-005"].evidence["epochs"]) <= set(range(1, len(rewards) + 1))


@pytest.mark.parametrize(
    ("rewards", "save_freq"), [((2.0, 1.0), 2), ((1.0, 2.0), 0), ((INF, 1.0), 2)]
)
def test_where_no_epoch_makes_both_due_there_is_no_order_to_keep(tmp_path, rewards, save_freq):
    journal = {2: "B P2", 0: "B B"}[save_freq]
    findings = judged(tmp_path, [session(rewards, save_freq)], journal)
    assert failing(findings) == set()
    assert findings["CADENCE-005"].verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize("journal", ["P2 P1 B B", "P1 B P3 P2 B B", "P3 P2 P1 B"])
def test_periodic_checkpoints_in_another_order_are_blamed_once(tmp_path, journal):
    findings = judged(tmp_path, [session((1.0, 2.0, 3.0))], journal)
    assert failing(findings) == {"CADENCE-004"}
    earlier, later = findings["CADENCE-004"].evidence["epochs"]
    assert earlier > later


def test_epochs_are_ordered_as_numbers(tmp_path):
    rewards = (1.0, *(0.0,) * 10)
    journal = " ".join(("P1 B", *(f"P{epoch}" for epoch in range(2, 12))))
    findings = judged(tmp_path, [session(rewards)], journal)
    assert failing(findings) == set()
    assert findings["CADENCE-004"].verdict is Verdict.PASS
    assert findings["CADENCE-004"].evidence["written"] == 11


def test_one_periodic_checkpoint_has_no_order(tmp_path):
    findings = judged(tmp_path, [session((1.0, 2.0), 2)], "B P2 B")
    assert findings["CADENCE-004"].verdict is Verdict.NOT_APPLICABLE
    assert findings["CADENCE-005"].verdict is Verdict.PASS


def test_other_files_in_the_folder_are_no_writes_of_the_run(tmp_path):
    names = ("A.pth.tmp", "last_Aep1rew1.0.pth", ".saving", "A.pth", "Bep1.pth", "notes.txt")
    findings = judged(tmp_path, [session((1.0,))], Writes(names))
    assert failing(findings) == set()
    assert findings["CADENCE-005"].verdict is Verdict.PASS


# --- rewrites that a later one hides --------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "rewards", "journal", "near_miss"),
    [
        ("BEST-003", (1.0, 1.0, 2.0), "P1 B P2 B P3 B", "P1 B P2 P3 B"),
        ("BEST-003", (0.0, -0.0, 2.0), "P1 B P2 B P3 B", "P1 B P2 P3 B"),
        ("BEST-003", (INF, INF, 2.0), "P1 B P2 B P3", "P1 B P2 P3"),
        ("BEST-004", (2.0, 1.0, 3.0), "P1 B P2 B P3 B", "P1 B P2 P3 B"),
        ("BEST-004", (2.0, -INF, 3.0), "P1 B P2 B P3 B", "P1 B P2 P3 B"),
        ("BEST-005", (1.0, NAN, 2.0), "P1 B P2 B P3 B", "P1 B P2 P3 B"),
        ("BEST-005", (NAN, 2.0), "P1 B P2 B", "P1 P2 B"),
    ],
)
def test_a_rewrite_that_a_later_one_hides_is_blamed(tmp_path, rule, rewards, journal, near_miss):
    assert blamed(tmp_path / "it", rewards, journal) == {rule}
    assert blamed(tmp_path / "not", rewards, near_miss) == set()


def test_without_periodic_checkpoints_in_between_the_count_alone_blames_nothing(tmp_path):
    # Three writes for two improvements: a tie rewritten, or a file written twice.
    assert blamed(tmp_path, (1.0, 1.0, 2.0), "B B B", 0) == set()


def test_a_rewrite_in_a_slot_of_two_kinds_of_epochs_blames_neither(tmp_path):
    rewards = (1.0, 2.0, 3.0, 3.0, 2.0, 4.0)  # between epochs 4 and 6: a tie and a lower reward
    journal = "B P2 B B P4 B P6 B"
    assert BEST.isdisjoint(blamed(tmp_path / "two", rewards, journal, 2))
    one_kind = (1.0, 2.0, 3.0, 3.0, 3.0, 4.0)
    assert blamed(tmp_path / "one", one_kind, journal, 2) == {"BEST-003"}


def test_two_writes_where_either_epoch_may_have_been_meant_blame_nothing(tmp_path):
    """The best of epoch 2 before its periodic checkpoint, or missed after one written twice."""
    assert blamed(tmp_path, (1.0, 2.0, 3.0), "B B P2 B", 2) == set()


def test_writing_the_best_twice_where_it_improved_is_no_rewrite(tmp_path):
    assert blamed(tmp_path, (1.0, 0.5, 2.0), "P1 B B P2 P3 B B B") == set()


# --- improvements that were missed ----------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "rewards", "save_freq", "journal"),
    [
        ("BEST-006", (1.0, 2.0, 3.0), 1, "P1 B P2 P3 B"),
        ("BEST-006", (1.0, 2.0, 0.5, 3.0), 1, "P1 B P2 P3 B P4 B"),  # an epoch late
        ("BEST-006", (1.0, 2.0, 3.0, 4.0), 2, "B P2 B P4 B"),
        ("BEST-006", (1.0, 0.5, 2.0), 1, "P1 B P2 P3"),
        ("BEST-006", (NAN, 1.0, 0.5, 2.0), 1, "P1 P2 B P3 P4"),  # the NaN stopped no save
        ("BEST-005", (1.0, NAN, 2.0, 3.0), 1, "P1 B P2 P3 P4 B"),
        ("BEST-005", (1.0, 2.0, 0.5, NAN, 3.0), 1, "P1 B P2 B P3 P4 P5"),
        ("BEST-005", (NAN, 1.0, 2.0), 1, "P1 P2 P3 B"),
        # Two improvements in one slot: the NaN came before the first, or between them.
        ("BEST-005", (1.0, NAN, 2.0, 3.0, 0.5, 4.0), 3, "B P3 P6 B"),
        ("BEST-006", (1.0, 0.5, 2.0, NAN, 3.0, 4.0), 3, "B P3 P6 B"),
        ("BEST-006", (1.0, 2.0), 1, "P1 P2"),  # nor was it ever
        ("BEST-001", (-5.0, 2.0), 1, "P1 P2 B"),  # as if it had started from 0
        ("BEST-001", (1.0, 2.0, 3.0), 1, "P1 P2 P3 B"),
        ("BEST-001", (1.0, 0.5, 2.0, 3.0), 1, "P1 P2 P3 P4 B"),
        ("BEST-001", (1.0, 2.0, 3.0, 0.5), 1, "P1 P2 P3 B P4"),
    ],
)
def test_an_improvement_that_was_not_saved_at_once_is_blamed_on_its_cause(
    tmp_path, rule, rewards, save_freq, journal
):
    assert blamed(tmp_path, rewards, journal, save_freq) == {rule}


@pytest.mark.parametrize(
    ("rewards", "save_freq", "journal"),
    [
        ((1.0, 2.0, 3.0), 1, "P1 B P2 B P3 B"),
        ((1.0, NAN, 2.0, 3.0), 1, "P1 B P2 P3 B P4 B"),
        ((-5.0, 2.0), 1, "P1 B P2 B"),
        ((1.0, 2.0, 3.0), 0, "B B B"),
    ],
)
def test_improvements_that_were_each_saved_pass(tmp_path, rewards, save_freq, journal):
    findings = judged(tmp_path, [session(rewards, save_freq)], journal)
    assert failing(findings) == set()
    assert findings["BEST-006"].verdict is Verdict.PASS


# --- sessions that are resumed --------------------------------------------------------------


def test_a_resumed_session_that_rewrites_the_best_from_a_lower_watermark_is_blamed(tmp_path):
    chain = [session((1.0, 9.0)), session((1.0, 9.0, 3.0, 10.0), resume="last")]
    assert failing(judged(tmp_path / "lost", chain, "P3 B P4 B")) == {"BEST-008"}
    assert failing(judged(tmp_path / "kept", chain, "P3 P4 B")) == set()


def test_a_resumed_session_that_misses_an_improvement_has_no_higher_initial_watermark(tmp_path):
    chain = [session((1.0, 9.0)), session((1.0, 9.0, 10.0, 11.0), resume="last")]
    assert failing(judged(tmp_path / "late", chain, "P3 P4 B")) == {"BEST-006"}
    assert failing(judged(tmp_path / "kept", chain, "P3 B P4 B")) == set()


def test_a_resumed_session_that_rewrites_the_best_for_a_tie_alone_is_blamed_for_that(tmp_path):
    chain = [session((1.0, 9.0)), session((1.0, 9.0, 9.0, 3.0), resume="last")]
    assert failing(judged(tmp_path / "tie", chain, "P3 B P4")) == {"BEST-003"}
    assert failing(judged(tmp_path / "kept", chain, "P3 P4")) == set()


def test_a_tie_with_the_watermark_of_an_earlier_session_is_not_blamed_on_the_resume(tmp_path):
    """It may be one that is rewritten on principle, which a fresh session shows."""
    chain = [session((1.0, 9.0)), session((1.0, 9.0, 9.0, 10.0), resume="last")]
    assert "BEST-008" not in failing(judged(tmp_path, chain, "P3 B P4 B"))


def test_only_the_last_session_is_judged_by_its_journal(tmp_path):
    """The one before had a journal and a report of its own."""
    chain = [session((1.0, 2.0)), session((1.0, 2.0, 3.0), resume="best")]
    assert failing(judged(tmp_path, chain, "P3 B")) == set()


# --- what another rule says -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("played", "journal", "trainer", "told"),
    [
        (((1.0, 2.0, 3.0), 1), "P2 P1 B B", mutants.Trainer, "CADENCE-004"),
        (((2.0, 1.0, 3.0), 1), "P1 B P2 B P3 B", mutants.Trainer, "BEST-004"),
        (((1.0, 2.0, 0.5), 2), "B P2 B P3", mutants.SavesTheLastEpoch, "CADENCE-001"),
        (((1.0, 2.0), 1), "P1 B", mutants.Trainer, None),  # what was written twice is not seen
        (((1.0, 2.0), 1), "P1 B P2 B", mutants.SavesInASubfolder, "LAYOUT-001"),
    ],
)
def test_the_order_within_an_epoch_is_left_to_the_rule_that_is_broken(
    tmp_path, played, journal, trainer, told
):
    findings = judged(tmp_path, [session(*played)], journal, trainer=trainer)
    assert failing(findings) == ({told} if told else set())
    assert findings["CADENCE-005"].verdict is Verdict.NOT_APPLICABLE


def test_two_periodic_writes_have_an_order_and_one_has_none(tmp_path):
    chain = [session((1.0, 2.0, 0.5), 1)]
    two = judged(tmp_path / "two", chain, "P1 B P2 B")["CADENCE-004"]
    assert (two.verdict, two.evidence["written"]) == (Verdict.PASS, 2)
    one = judged(tmp_path / "one", chain, "P1 B B")["CADENCE-004"]
    assert one.verdict is Verdict.NOT_APPLICABLE


# --- what is not known ----------------------------------------------------------------------


@pytest.mark.parametrize("trainer", [mutants.Trainer, mutants.SavesTheBestFirst])
def test_without_a_journal_the_order_is_unobservable(tmp_path, trainer):
    journal = Writes(None, "this system keeps no journal")
    findings = judged(tmp_path, [session((1.0, 2.0))], journal, trainer=trainer)
    for rule in ("CADENCE-004", "CADENCE-005"):
        assert findings[rule].verdict is Verdict.UNOBSERVABLE
        assert "this system keeps no journal" in findings[rule].message
    assert findings["BEST-002"].verdict is Verdict.PASS  # the files still speak


def test_a_journal_with_gaps_is_not_believed(tmp_path):
    """What it does show looks like a deviation, and is none."""
    journal = Writes(("A.pth",), "the journal began after the first write")
    findings = judged(tmp_path, [session((1.0, 2.0))], journal)
    assert failing(findings) == set()
    assert findings["CADENCE-004"].verdict is Verdict.UNOBSERVABLE


def test_an_overflow_is_the_harness_s_own_failure(tmp_path):
    journal = Writes(("A.pth",), "the kernel's queue ran over", overflowed=True)
    findings = judged(tmp_path, [session((1.0, 2.0))], journal)
    assert failing(findings) == set()
    for rule in ("CADENCE-004", "CADENCE-005"):
        assert findings[rule].verdict is Verdict.ERROR
        assert "the kernel's queue ran over" in findings[rule].message


def test_periodic_writes_that_are_not_due_are_told_by_their_own_rule_alone(tmp_path):
    findings = judged(
        tmp_path, [session((1.0, 2.0, 0.5), 2)], "B P2 B P3", trainer=mutants.SavesTheLastEpoch
    )
    assert failing(findings) == {"CADENCE-001"}


def test_a_best_of_another_name_is_told_by_its_name_alone(tmp_path):
    journal = Writes(("last_Aep1rew1.0.pth", "best.pth", "last_Aep2rew2.0.pth", "best.pth"))
    findings = judged(tmp_path, [session((1.0, 2.0))], journal, trainer=mutants.CallsItBest)
    assert failing(findings) == {"NAME-001"}


def test_no_epoch_with_a_reward_makes_nothing_due(tmp_path):
    findings = judged(tmp_path, [session((None, None))], "")
    assert failing(findings) == set()


def test_a_best_of_an_epoch_without_an_episode_is_blamed(tmp_path):
    rewards = (None, 2.0)
    assert blamed(tmp_path, rewards, "B P2 B") == {"BEST-001"}


# --- dialects -------------------------------------------------------------------------------

# What a version of rl_games 1.6 writes that starts from one of these.
FROM = {-1e9: "B B B", -100500.0: "B"}


def driven_dialect(root, dialect, initial, journal, rewards=(-125000.0, -110000.0, 5.0)):
    """The findings on a driven session of a dialect, one version of which starts from `initial`."""
    profile = load_profile(dialect)
    run = play(
        Settings("A", 0, len(rewards), save_best_after=0),
        [Session(rewards)],
        profile=replace(profile, initial_watermarks=(initial,)),
    )
    folder = run.write(root)
    names = ["A.pth" for _ in journal.split()]
    driven = DrivenSession(
        rewards=dict(enumerate(rewards, start=1)),
        first=1,
        last=len(rewards),
        save_freq=0,
        logs=tuple(map(read_event_file, folder.glob("summaries/*"))),
        writes=Writes((*names, *(file.name for file in folder.glob("nn/last_*")))),
    )
    known = Options(None, 0, len(rewards), 0)
    report = audit(scan_run(folder), profile, known, driven=(driven,))
    return {finding.rule: finding for finding in report.findings}


@pytest.mark.parametrize("initial", FROM)
def test_versions_of_a_dialect_start_from_different_watermarks(tmp_path, initial):
    findings = driven_dialect(tmp_path, "rl_games-1.6", initial, FROM[initial])
    assert failing(findings) == set()
    assert findings["BEST-006"].verdict is Verdict.PASS


def test_writes_that_no_version_of_a_dialect_explains_are_blamed(tmp_path):
    findings = driven_dialect(tmp_path, "rl_games-1.6", -1e9, "")
    assert failing(findings) == {"BEST-006"}


@pytest.mark.parametrize("dialect", ["rl_games-1.5", "rl_games-1.6.0"])
def test_under_the_guard_no_epoch_makes_both_due_even_without_a_best(tmp_path, dialect):
    findings = driven_dialect(tmp_path, dialect, -100500.0, "", rewards=(-125000.0,))
    assert findings["CADENCE-005"].verdict is Verdict.NOT_APPLICABLE
    assert "guard" in findings["CADENCE-005"].message
