"""Logs at intervals leave epochs out: what they hold is held, the rest is not blamed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import broken, trainings, unexplained

from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, builtin_profiles, load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options

SPARSE = [name for name in builtin_profiles() if load_profile(name).logs_at_intervals]
PROFILE = load_profile("rl_games-1.6")
REWARDS = (1.0, 5.0, 3.0, 2.0, 9.0, 4.0, 6.0, 8.0, 7.0, 7.5, 0.5, 0.25)


def thinned(log, *, epoch_seconds=1.0, wait=5.0, deferred=0.0):
    """The log as a writer leaves it that writes each tag once in `wait` seconds, or more."""
    last = {}
    kept = []
    for scalar in log.scalars:
        at = log.started + (scalar.wall_time - log.started) * epoch_seconds
        if at - log.started < deferred or at - last.get(scalar.tag, float("-inf")) < wait:
            continue
        last[scalar.tag] = at
        kept.append(replace(scalar, wall_time=at))
    return replace(log, scalars=tuple(kept))


def trained(rewards=REWARDS, save_freq=3):
    run = play(
        Settings("A", save_freq, len(rewards), save_best_after=0),
        [Session(tuple(rewards))],
        profile=PROFILE,
    )
    return run.with_logs(lambda log: thinned(log, epoch_seconds=2.5))


def judged(run, root, profile=PROFILE):
    found = audit(scan_run(run.write(root)), profile, Options(save_best_after=0)).findings
    return {finding.rule: finding for finding in found}


def verdicts(found, verdict):
    return {rule for rule, finding in found.items() if finding.verdict is verdict}


@pytest.mark.parametrize("name", SPARSE)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_sessions_that_are_logged_at_intervals_conform_and_are_explained(name, data):
    training = data.draw(trainings(load_profile(name), killed=False))
    seconds = data.draw(st.sampled_from([1.0, 2.5, 5.0, 7.0]))
    deferred = data.draw(st.sampled_from([0.0, 5.0]))
    logs = tuple(
        thinned(log, epoch_seconds=seconds, deferred=deferred) for log in training.run.logs
    )
    report = replace(training, run=replace(training.run, logs=logs)).judged()
    assert (broken(report), unexplained(report)) == (set(), [])


def test_a_whole_run_passes_but_for_what_the_log_leaves_out(tmp_path):
    found = judged(trained(), tmp_path)
    assert verdicts(found, Verdict.FAIL) == set()
    assert verdicts(found, Verdict.UNOBSERVABLE) == {"BEST-002", "BEST-006"}
    assert "at intervals" in found["SUMMARY-001"].message


def test_the_same_log_has_holes_in_a_dialect_that_logs_each_epoch(tmp_path):
    found = judged(trained(), tmp_path, replace(PROFILE, logs_at_intervals=False))
    assert verdicts(found, Verdict.FAIL) == {"SUMMARY-001"}


def test_holes_between_records_that_follow_each_other_closely_are_no_intervals(tmp_path):
    run = trained().with_logs(lambda log: thinned(log, epoch_seconds=0.5, wait=1.0))
    assert verdicts(judged(run, tmp_path), Verdict.FAIL) == {"SUMMARY-001"}


def test_a_logged_reward_that_the_best_missed_is_blamed(tmp_path):
    """Epoch 5 is logged with 9.0; the best holds epoch 2, which is not logged."""
    older = trained(REWARDS[:2]).best
    run = trained()
    assert run.best.epoch == 5
    left = run.holding(run.best, older.values)
    assert verdicts(judged(left, tmp_path), Verdict.FAIL) == {"BEST-006"}


def test_a_best_of_an_epoch_without_a_log_is_blamed_for_a_higher_reward_before_it(tmp_path):
    run = trained()
    values = trained((*REWARDS[:4], 1.0, 1.0, 1.0, 8.0)).best.values
    later = run.storing(run.holding(run.best, values).best, epoch=8)
    assert run.best.kind is Kind.BEST
    assert verdicts(judged(later, tmp_path), Verdict.FAIL) == {"BEST-004"}


def test_a_best_of_an_epoch_without_a_log_that_nothing_contradicts_is_not_judged(tmp_path):
    rewards = (*REWARDS[:3], 10.0, *REWARDS[4:])
    found = judged(trained(rewards), tmp_path)
    assert verdicts(found, Verdict.FAIL) == set()
    assert {"BEST-002", "BEST-006", "BEST-007"} <= verdicts(found, Verdict.UNOBSERVABLE)


def test_sessions_that_logged_no_first_epoch_may_all_have_saved_it(tmp_path):
    """Found by exploration: NAME-007 counted those alone that had logged one before."""
    sessions = [Session((2.0, 3.0), max_epochs=2), Session((1.0, 5.0, 4.0, 3.0))]
    run = play(Settings("A", 1, 4, save_best_after=0), sessions, profile=PROFILE)
    run = run.with_logs(lambda log: thinned(log, epoch_seconds=2.5, deferred=5.0))
    first = [path for path in run.checkpoints if "_ep_1_" in path]
    assert len(first) == 2
    assert "NAME-007" not in verdicts(judged(run, tmp_path), Verdict.FAIL)
