"""Without what a rule is about, a scenario shows whether something more general is the cause."""

from __future__ import annotations

import math

import pytest
from driving import PROFILE, player, session
from hypothesis import HealthCheck, given, settings

from conformance import mutants, strategies
from conformance.convention.oracle import Settings, epochs
from conformance.convention.rewards import improves, same_reward
from conformance.convention.sessions import played
from conformance.suite.causes import MORE_GENERAL, without
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
    assert rule not in MORE_GENERAL
    assert list(without(rule, (session((1.0, 1.0, NAN)),))) == []


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
    ],
    ids=lambda defect: defect.__name__,
)
def test_a_defect_is_blamed_on_its_own_rule(defect):
    with player(f"python:conformance.mutants:{defect.__name__}") as one:
        result = Engine(one).run(max_examples=60, seed=0)
    blamed = {failure.rule for failure in result.failures}
    assert {defect.rule} <= blamed <= {defect.rule, *defect.also}
