"""Shrinking returns a smaller chain that fails and can be played, within its budget."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from driving import PROFILE, session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance import strategies
from conformance.convention.sessions import played
from conformance.suite.shrink import identity, shrink, size

NAN, INF = math.nan, math.inf


def shrunken(chain, fails, most_attempts=2000):
    return shrink(tuple(chain), fails, profile=PROFILE, most_attempts=most_attempts)


def rewards_of(chain):
    return [reward for scenario in chain for reward in scenario.rewards[: scenario.max_epochs]]


# --- whatever fails -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(chain=strategies.chains(), salt=st.integers(0, 2**16), one_in=st.integers(1, 4))
def test_the_result_fails_can_be_played_and_is_no_larger(chain, salt, one_in):
    """Whatever the predicate: here one that fails for a random part of all chains."""
    asked = []

    def fails(candidate):
        asked.append(candidate)
        return hash((salt, identity(candidate))) % one_in == 0

    result = shrunken(chain, fails, most_attempts=150)
    assert len(asked) <= 150
    assert size(result) <= size(chain)
    assert identity(result) == identity(chain) or any(result is each for each in asked)
    assert identity(result) == identity(chain) or fails(result)
    assert all(each.first <= each.last for each in played(PROFILE, result))
    for candidate in asked:
        assert played(PROFILE, candidate)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(chain=strategies.chains())
def test_what_always_fails_shrinks_to_one_epoch(chain):
    (only,) = shrunken(chain, lambda _: True)
    assert identity((only,)) == identity(ZERO)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(chain=strategies.chains())
def test_what_never_fails_again_is_left_as_it_is(chain):
    assert shrunken(chain, lambda _: False, most_attempts=100) is chain


def test_no_chain_is_asked_for_twice():
    asked = []
    shrunken([session((3.0, NAN, 3.0, -0.0), 2)], lambda chain: asked.append(identity(chain)))
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("most_attempts", [0, 1, 5])
def test_the_budget_is_kept(most_attempts):
    asked = []
    shrunken([session((3.5, NAN, 3.5, -0.0), 2)], asked.append, most_attempts=most_attempts)
    assert len(asked) == most_attempts


def test_at_the_end_of_the_budget_the_smallest_so_far_is_returned():
    chain = (session((3.5, NAN, 3.5, -0.0, 2.0, 1.0, 4.5), 2),)
    least = (session((0.0,) * 4, 0),)
    result = shrunken(chain, lambda tried: tried[0].max_epochs >= 4, most_attempts=30)
    assert size(least) < size(result) < size(chain)


# --- the least that shows it ----------------------------------------------------------------


def has_tie(chain):
    """A reward equal to the highest before it."""
    for scenario in chain:
        best = None
        for reward in scenario.rewards[: scenario.max_epochs]:
            if reward is None or math.isnan(reward):
                continue
            if reward == best:
                return True
            best = reward if best is None else max(best, reward)
    return False


def falls(chain):
    rewards = [reward for reward in rewards_of(chain) if reward is not None]
    return any(after < before for before, after in pairwise(rewards))


def is_odd(reward):
    return reward is not None and math.isfinite(reward) and not reward.is_integer()


def is_above(limit):
    return lambda chain: any(r is not None and r > limit for r in rewards_of(chain))


REWARDS = (None, 1.5, 3.25, 3.25, 2.0, NAN, 7.5, INF, 1.0, 0.5)
LONG = (
    session(REWARDS[:8], 3, experiment="last_Aep1rew2.0"),
    session(REWARDS, 2, resume="last", experiment="last_Aep1rew2.0", seed=3),
)
ZERO = (session((0.0,), 0),)


@pytest.mark.parametrize(
    ("fails", "least"),
    [
        pytest.param(has_tie, [session((0.0, 0.0), 0)], id="a tie"),
        pytest.param(falls, [session((1.0, 0.0), 0)], id="a fall"),
        pytest.param(
            lambda chain: any(r is not None and math.isnan(r) for r in rewards_of(chain)),
            [session((NAN,), 0)],
            id="a NaN",
        ),
        pytest.param(
            lambda chain: any(r is None for r in rewards_of(chain)),
            [session((None,), 0)],
            id="no episode",
        ),
        pytest.param(lambda chain: INF in rewards_of(chain), [session((INF,), 0)], id="infinity"),
        pytest.param(is_above(6.0), [session((8.0,), 0)], id="a high reward"),
        pytest.param(
            lambda chain: any(is_odd(reward) for reward in rewards_of(chain)),
            [session((1.5,), 0)],
            id="a fraction",
        ),
        pytest.param(
            lambda chain: len(chain) > 1 and 7.5 in chain[1].rewards[1:],
            [session((0.0,), 0), session((0.0, 7.5), 0, resume="last")],
            id="a reward late in a resumed session",
        ),
        pytest.param(
            lambda chain: any(s.save_freq > 1 for s in chain), [session((0.0,), 2)], id="save_freq"
        ),
        pytest.param(
            lambda chain: any(s.max_epochs >= 5 for s in chain),
            [session((0.0,) * 5, 0)],
            id="epochs",
        ),
        pytest.param(
            lambda chain: chain[0].experiment != "A",
            [session((0.0,), 0, experiment="last_Aep1rew2.0")],
            id="the name",
        ),
        pytest.param(
            lambda chain: len(chain) > 1,
            [session((0.0,), 0), session((0.0, 0.0), 0, resume="last")],
            id="a resume",
        ),
    ],
)
def test_the_least_is_found(fails, least):
    assert fails(LONG)
    assert identity(shrunken(LONG, fails)) == identity(tuple(least))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(chain=strategies.chains().filter(has_tie))
def test_a_tie_is_two_epochs_from_wherever_it_comes(chain):
    assert identity(shrunken(chain, has_tie)) == identity((session((0.0, 0.0), 0),))


def test_plain_is_what_is_short_and_near_one():
    rewards = (0.0, 1.0, -1.0, 99.0, 0.5, 2.5, 1e20, 1.5e20, 12345.625, None, INF, NAN)
    sizes = [size((session((reward,)),)) for reward in rewards]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)


def test_zeros_of_both_signs_and_nan_are_told_apart():
    def texts(chain):
        return "-0.0" in map(repr, rewards_of(chain))

    assert identity(shrunken([session((1.0, -0.0, NAN))], texts)) == identity(
        (session((-0.0,), 0),)
    )
    assert identity((session((0.0,)),)) != identity((session((-0.0,)),))
    assert identity((session((NAN,)),)) == identity((session((NAN,)),))
    assert identity((session((NAN,)),)) != identity((session((None,)),))
    assert identity((session((1.0,)),)) != identity((session((1.0,), seed=1),))


def test_a_resumed_session_has_something_to_resume_from():
    """Where only a resume from the best shows it, the first session must write one."""
    chain = (
        session((NAN, 2.0, 1.0), 1),
        session((NAN, 2.0, 1.0, 3.0), 1, resume="best"),
    )
    result = shrunken(chain, lambda each: each[-1].resume == "best")
    assert identity(result) == identity((session((0.0,), 0), session((0.0, 0.0), 0, resume="best")))
