"""Without what a rule is about, a scenario shows whether something more general is the cause."""

from __future__ import annotations

import math

import pytest
from driving import PROFILE, driver, session
from hypothesis import HealthCheck, given, settings

from conformance import mutants, strategies
from conformance.checks.finding import Finding
from conformance.convention.oracle import Settings, epochs
from conformance.convention.rewards import improves, same_reward
from conformance.convention.rules import BY_ID, Level, Verdict
from conformance.convention.sessions import played
from conformance.suite.causes import is_symptom, without
from conformance.suite.engine import Engine

NAN, INF = math.nan, math.inf
ALL = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def stepped(scenario):
    """The session's epochs from the beginning, as the oracle has them."""
    rewards = {
        epoch: reward
        for epoch, reward in enumerate(scenario.rewards[: scenario.max_epochs], start=1)
        if reward is not None
    }
    return tuple(epochs(PROFILE, Settings(scenario.experiment), rewards))


@ALL
@given(chain=strategies.chains(max_sessions=1))
def test_without_ties_there_is_no_tie_and_the_same_epochs_improve(chain):
    for changed in without("BEST-003", chain):
        assert len(changed) == len(chain)
        before, after = stepped(chain[0]), stepped(changed[0])
        assert [at.improved for at in after] == [at.improved for at in before]
        assert not any(
            same_reward(at.reward, at.before) and math.isfinite(at.reward)
            for at in after
            if not at.improved and abs(at.reward) < 1e30
        )


@ALL
@given(chain=strategies.chains(max_sessions=1))
def test_without_nan_there_is_no_nan(chain):
    for changed in without("BEST-005", chain):
        rewards = [at.reward for at in stepped(changed[0])]
        assert not any(map(math.isnan, rewards)) or all(
            math.isnan(at.reward) for at in stepped(chain[0])
        )
        assert played(PROFILE, changed)


def test_nan_is_replaced_by_what_does_not_improve_and_left_out():
    (lower,), (shorter,) = without("BEST-005", (session((1.0, NAN, 2.0)),))
    first, second, third = lower.rewards
    assert (first, third) == (1.0, 2.0)
    assert second < 1.0
    assert shorter.rewards == (1.0, 2.0)
    assert shorter.max_epochs == 2


def test_a_first_nan_is_replaced_by_a_number_below_all_others():
    (lower,), _ = without("BEST-005", (session((NAN, -7.0)),))
    assert improves(-7.0, lower.rewards[0])


def test_without_a_resume_the_last_session_starts_afresh():
    chain = (session((1.0, 2.0)), session((1.0, 2.0, 3.0), resume="best"))
    ((only,),) = without("BEST-008", chain)
    assert only.resume is None
    assert only.rewards == chain[-1].rewards


@pytest.mark.parametrize("rule", ["BEST-006", "NAME-005", "LOAD-001"])
def test_a_rule_that_is_nobody_s_special_case_is_not_explained_away(rule):
    assert not BY_ID[rule].more_general
    assert list(without(rule, (session((1.0, 1.0, NAN)),))) == []


FALL, FALL_BEHIND_NAN = (session((1.0, 0.0)),), (session((1.0, NAN, 0.0)),)
RESUMED = (session((1.0,)), session((1.0, 0.0), resume="last"))
STORED, NAMED = {"watermark": 0.0}, {"named": 0.0}


@pytest.mark.parametrize(
    ("rule", "evidence", "chain", "cause"),
    [
        ("BEST-004", {}, FALL_BEHIND_NAN, "BEST-005"),
        ("BEST-004", {}, RESUMED, "BEST-008"),
        ("BEST-003", {}, (session((-INF,)), session((0.0, 0.0), resume="last")), "BEST-002"),
        ("RESUME-001", {"trained": 0}, RESUMED, "SUMMARY-001"),
        ("SUMMARY-002", STORED, FALL, "BEST-007"),
        ("SUMMARY-002", STORED, RESUMED, "BEST-008"),
    ],
)
def test_a_symptom_is_not_told_beside_its_cause(rule, evidence, chain, cause):
    assert is_symptom(rule, found(rule, evidence), chain, {rule, cause})
    assert not is_symptom(rule, found(rule, evidence), chain, {rule, "LAYOUT-001"})


@pytest.mark.parametrize(
    ("rule", "evidence", "chain", "other"),
    [
        ("BEST-004", {}, FALL, "BEST-005"),
        ("BEST-004", {}, FALL, "BEST-008"),
        ("BEST-003", {}, (session((1.0, 1.0)),), "BEST-002"),
        ("BEST-003", {}, (session((1.0,)), session((0.0, 1.0), resume="last")), "BEST-002"),
        ("RESUME-001", {}, RESUMED, "SUMMARY-001"),
        ("SUMMARY-002", STORED, FALL, "BEST-008"),
        ("SUMMARY-002", NAMED, FALL, "BEST-007"),
    ],
)
def test_what_breaks_without_the_other_rule_s_matter_is_told_too(rule, evidence, chain, other):
    assert not is_symptom(rule, found(rule, evidence), chain, {rule, other})


def found(rule, evidence):
    return Finding(rule, Level.MUST, Verdict.FAIL, "", (), evidence, "")


@pytest.mark.parametrize(
    "defect",
    [
        mutants.RewritesOnTie,
        mutants.BestIsLatest,
        mutants.PoisonedByNan,
        mutants.NeedsAMargin,
        mutants.NeverSavesTheBest,
        mutants.LosesTheWatermarkOnResume,
        mutants.LooksOnlyAtPeriodicEpochs,
        mutants.NegatedComparison,
        mutants.TakesTheMaximumWithNan,
        mutants.StoresItsOwnReward,
        mutants.SkipsNanInTheLog,
    ],
    ids=lambda defect: defect.__name__,
)
def test_a_defect_is_blamed_on_its_own_rule(defect):
    with driver(f"python:conformance.mutants:{defect.__name__}") as one:
        result = Engine(one).run(max_examples=60, seed=0)
    blamed = {failure.rule for failure in result.failures}
    assert {defect.rule} <= blamed <= {defect.rule, *defect.also}
