"""The strategies' power: what defects hide in is drawn often, legal throughout, and shrinks."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from conformance import strategies
from conformance.checks.names import unsafe_part
from conformance.convention.names import format_name
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rewards import is_float32, reward_text, same_reward
from conformance.convention.sessions import played

# One worker draws the samples, for all tests here.
pytestmark = pytest.mark.xdist_group("strategies")

DEFAULT = load_profile()
OLDER = load_profile("rl_games-1.6")
PROFILES = (
    DEFAULT,
    OLDER,
    load_profile("rl_games-1.5"),
    replace(OLDER, name="ends-later", final_at="epoch > max_epochs", resume_keeps_watermark=True),
)
DRAWN = 1000


def sample(strategy, count=DRAWN):
    """What a test with this strategy sees, always the same."""
    found = []

    @seed(20)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found


@pytest.fixture(scope="module")
def drawn():
    return [played(DEFAULT, chain) for chain in sample(strategies.chains())]


# --- what is drawn, at least, in percent of the chains: of 100 draws 3 are missed once in 20 times


def before_and_at(session):
    """The watermark before each epoch of a session, and the epoch's reward."""
    best = session.watermark
    for reward in session.rewards.values():
        yield best, reward
        best = max(best, reward) if not math.isnan(reward) else best


def rewards_of(session):
    return list(session.rewards.values())


def between(session, fits):
    return any(fits(before, after) for before, after in pairwise(rewards_of(session)))


def is_next(lower, higher):
    if not (math.isfinite(lower) and math.isfinite(higher)):
        return False
    return lower < higher and is_float32_step(lower, higher)


def is_float32_step(lower, higher):
    middle = (lower + higher) / 2
    return not is_float32(middle) or middle in (lower, higher)


def runs(session, fits, length):
    longest = current = 1
    for before, after in pairwise(rewards_of(session)):
        current = current + 1 if fits(before, after) else 1
        longest = max(longest, current)
    return longest >= length


def ties_after_lower(session):
    seen_lower = False
    for best, reward in before_and_at(session):
        if seen_lower and reward == best:
            return True
        seen_lower = reward < best or (seen_lower and reward <= best)
    return False


def negative_zero(value):
    return value == 0 and math.copysign(1, value) < 0


def positive_zero(value):
    return value == 0 and math.copysign(1, value) > 0


REWARDS = {
    "a tie with the best": (
        20,
        lambda s: any(b == r and math.isfinite(r) for b, r in before_and_at(s)),
    ),
    "a tie after lower ones": (10, ties_after_lower),
    "one step above the best": (10, lambda s: any(is_next(b, r) for b, r in before_and_at(s))),
    "one step below the best": (10, lambda s: any(is_next(r, b) for b, r in before_and_at(s))),
    "NaN first": (5, lambda s: math.isnan(rewards_of(s)[0])),
    "NaN in the middle": (8, lambda s: any(map(math.isnan, rewards_of(s)[1:-1]))),
    "NaN last": (5, lambda s: math.isnan(rewards_of(s)[-1])),
    "all NaN": (1, lambda s: len(s.rewards) > 1 and all(map(math.isnan, rewards_of(s)))),
    "better than ever after NaN": (
        4,
        lambda s: any(
            math.isnan(rewards_of(s)[k]) and r > b
            for k, (b, r) in enumerate([*before_and_at(s)][1:])
        ),
    ),
    "inf": (3, lambda s: math.inf in rewards_of(s)),
    "-inf first": (5, lambda s: rewards_of(s)[0] == -math.inf),
    "-inf throughout": (1, lambda s: len(s.rewards) > 1 and set(rewards_of(s)) == {-math.inf}),
    "all negative": (10, lambda s: len(s.rewards) > 1 and max(rewards_of(s)) < 0),
    "below -100500": (10, lambda s: any(-math.inf < r < -100500 for r in rewards_of(s))),
    "below -1e9": (5, lambda s: any(-math.inf < r < -1e9 for r in rewards_of(s))),
    "all below -1e9": (3, lambda s: -math.inf < max(rewards_of(s)) < -1e9),
    "tiny": (5, lambda s: any(0 < abs(r) < 1e-29 for r in rewards_of(s))),
    "huge": (5, lambda s: any(1e38 < abs(r) < math.inf for r in rewards_of(s))),
    "denormal": (3, lambda s: any(0 < abs(r) < 1.1754943e-38 for r in rewards_of(s))),
    "-0.0 after 0.0": (2, lambda s: between(s, lambda a, b: positive_zero(a) and negative_zero(b))),
    "0.0 after -0.0": (2, lambda s: between(s, lambda a, b: negative_zero(a) and positive_zero(b))),
    "a long plateau": (5, lambda s: runs(s, lambda a, b: a == b, 4)),
    "four epochs rising": (6, lambda s: runs(s, lambda a, b: a < b, 4)),
    "four epochs falling": (3, lambda s: runs(s, lambda a, b: a > b, 4)),
    "better than before, not than ever": (
        10,
        lambda s: any(rewards_of(s)[k] < r < b for k, (b, r) in enumerate([*before_and_at(s)][1:])),
    ),
    "a text with an exponent": (10, lambda s: any("e" in reward_text(r) for r in rewards_of(s))),
    "a text of eight digits or more": (
        10,
        lambda s: any(sum(map(str.isdigit, reward_text(r))) >= 8 for r in rewards_of(s)),
    ),
}


@pytest.mark.parametrize("feature", REWARDS)
def test_rewards_that_defects_hide_in_are_drawn(feature, drawn) -> None:
    percent, shows = REWARDS[feature]
    share = sum(any(shows(one) for one in chain if one.rewards) for chain in drawn) / len(drawn)
    assert share >= percent / 100


def resumed(chain, fits):
    return any(fits(one) for one in chain if one.resumed_from is not None)


def first_reward(session):
    return session.rewards[session.first]


def replays_otherwise(chain):
    return any(
        epoch in before.rewards and not same_reward(before.rewards[epoch], reward)
        for before, after in pairwise(chain)
        for epoch, reward in after.rewards.items()
    )


CHAINS = {
    "one session": (20, lambda c: len(c) == 1),
    "resumed once": (20, lambda c: len(c) == 2),
    "resumed twice": (10, lambda c: len(c) == 3),
    "best, then last": (2, lambda c: [one.scenario.resume for one in c[1:3]] == ["best", "last"]),
    "last, then best": (2, lambda c: [one.scenario.resume for one in c[1:3]] == ["last", "best"]),
    "from the best": (15, lambda c: resumed(c, lambda s: s.scenario.resume == "best")),
    "from the last": (15, lambda c: resumed(c, lambda s: s.scenario.resume == "last")),
    "from an epoch of two digits": (
        3,
        lambda c: resumed(
            c,
            lambda s: (
                s.scenario.resume == "last"
                and s.resumed_from.kind is Kind.PERIODIC
                and s.resumed_from.epoch >= 10
                and 1 <= c[0].scenario.save_freq <= 5
            ),
        ),
    ),
    "lower right after the resume": (
        10,
        lambda c: resumed(c, lambda s: -math.inf < first_reward(s) < s.watermark),
    ),
    "a tie right after the resume": (
        5,
        lambda c: resumed(c, lambda s: first_reward(s) == s.watermark),
    ),
    "better right after the resume": (
        5,
        lambda c: resumed(c, lambda s: first_reward(s) > s.watermark),
    ),
    "never better after the resume": (
        10,
        lambda c: resumed(c, lambda s: all(save.kind is Kind.PERIODIC for save in s.saves)),
    ),
    "epochs replayed with other rewards": (10, replays_otherwise),
    "ends before what was reached": (
        3,
        lambda c: any(after.last < before.last for before, after in pairwise(c)),
    ),
    "another save_freq": (10, lambda c: len({one.scenario.save_freq for one in c}) > 1),
    "save_freq 0": (5, lambda c: c[0].scenario.save_freq == 0),
    "save_freq 1": (20, lambda c: c[0].scenario.save_freq == 1),
    "save_freq 2": (10, lambda c: c[0].scenario.save_freq == 2),
    "save_freq 3": (5, lambda c: c[0].scenario.save_freq == 3),
    "save_freq 5": (3, lambda c: c[0].scenario.save_freq == 5),
    "save_freq beyond the end": (3, lambda c: c[0].scenario.save_freq > c[0].scenario.max_epochs),
    "no episode in the first epochs": (
        5,
        lambda c: c[0].scenario.rewards[0] is None and c[0].rewards,
    ),
    "no episode in the whole session": (2, lambda c: not c[0].rewards),
    "ten epochs or more": (10, lambda c: c[0].last >= 10),
    "five epochs or fewer": (35, lambda c: c[0].last <= 5),
    "more rewards than epochs": (
        5,
        lambda c: any(len(one.scenario.rewards) > one.scenario.max_epochs for one in c),
    ),
    "a hard name": (14, lambda c: c[0].scenario.experiment in strategies._HARD),
}


@pytest.mark.parametrize("feature", CHAINS)
def test_chains_that_defects_hide_in_are_drawn(feature, drawn) -> None:
    percent, shows = CHAINS[feature]
    assert sum(bool(shows(chain)) for chain in drawn) / len(drawn) >= percent / 100


@pytest.mark.as_locked
def test_the_median_fresh_session_has_about_five_epochs(drawn) -> None:
    lengths = sorted(chain[0].last for chain in drawn)
    assert 4 <= lengths[len(lengths) // 2] <= 6


# --- what is drawn is legal ----------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_each_chain_can_be_played_within_its_bounds(profile) -> None:
    @settings(max_examples=200, deadline=None)
    @given(strategies.chains(profile=profile, max_epochs=12, max_sessions=3))
    def check(chain):
        sessions = played(profile, chain)  # refuses what cannot be resumed
        assert 1 <= len(chain) <= 3
        assert chain[0].resume is None
        for scenario in chain:
            assert scenario.save_best_after == 0
            assert scenario.max_epochs <= 12
            assert all(reward is None or is_float32(reward) for reward in scenario.rewards)
        reached = sessions[0].last
        for one in sessions[1:]:
            assert one.scenario.resume in ("best", "last")
            assert one.first <= one.scenario.max_epochs
            assert set(one.rewards) >= set(range(one.first, one.scenario.max_epochs + 1))
            if one.scenario.resume == "last":
                assert one.last > reached
            reached = max(reached, one.last)

    check()


@settings(deadline=None)
@given(strategies.chains())
def test_a_resumed_session_knows_the_rewards_that_the_run_last_saw(chain) -> None:
    seen: dict[int, float] = {}
    for one in played(DEFAULT, chain):
        for epoch, reward in enumerate(one.scenario.rewards[: one.first - 1], start=1):
            assert (reward is None and epoch not in seen) or same_reward(reward, seen[epoch])
        seen.update(one.rewards)


@settings(deadline=None)
@given(strategies.chains(save_best_after=True, max_epochs=1, max_sessions=1))
def test_the_smallest_bounds_give_one_session_of_one_epoch(chain) -> None:
    (scenario,) = chain
    assert scenario.max_epochs == 1


@settings(deadline=None)
@given(strategies.scenarios(experiments=st.just("B"), root=Path("here"), max_epochs=3))
def test_a_scenario_is_one_fresh_session_of_the_given_run(scenario) -> None:
    assert (scenario.experiment, scenario.root, scenario.resume) == ("B", Path("here"), None)
    assert scenario.max_epochs <= 3


def test_save_best_after_is_drawn_where_it_is_asked_for() -> None:
    drawn = sample(strategies.chains(profile=OLDER, save_best_after=True), 200)
    assert {0, 1, 2, 3, 5} <= {chain[0].save_best_after for chain in drawn}
    assert all(len({scenario.save_best_after for scenario in chain}) == 1 for chain in drawn)


@settings(deadline=None)
@given(st.data(), st.integers(1, 20))
def test_rewards_of_a_length_are_that_many(data, length) -> None:
    drawn = data.draw(strategies.rewards(length))
    assert len(drawn) == length
    assert all(reward is None or is_float32(reward) for reward in drawn)


@settings(deadline=None)
@given(strategies.reward_trajectories(6, min_epochs=3, unfinished=False))
def test_a_trajectory_keeps_its_bounds(drawn) -> None:
    assert 3 <= len(drawn) <= 6
    assert None not in drawn


@settings(deadline=None)
@given(strategies.reward_trajectories(1, unfinished=False, start=-100500.0))
def test_a_first_reward_is_a_float32_whatever_the_session_starts_from(drawn) -> None:
    assert is_float32(drawn[0])


def test_a_first_reward_ties_with_what_the_session_starts_from() -> None:
    found = sample(strategies.reward_trajectories(1, unfinished=False, start=-7.0), 300)
    assert (-7.0,) in found


# --- names ---------------------------------------------------------------------------------------


def is_legal(name: str) -> bool:
    longest = format_name(DEFAULT, Kind.PERIODIC, name, epoch=14, reward=-1.1754943508222875e-38)
    return (
        0 < len(name.encode()) <= 200
        and len(longest.encode()) <= 255
        and unicodedata.is_normalized("NFC", name)
        and name not in (".", "..")
        and not {"/", "\0"} & set(name)
    )


@settings(max_examples=500, deadline=None)
@given(strategies.names())
def test_names_are_legal_and_safe(name) -> None:
    assert is_legal(name)
    assert unsafe_part(name) is None


@settings(max_examples=500, deadline=None)
@given(strategies.names(unsafe=True))
def test_unsafe_names_are_legal_all_the_same(name) -> None:
    assert is_legal(name)


def test_each_listed_name_is_on_its_side() -> None:
    for name in (*strategies._PLAIN, *strategies._HARD):
        assert is_legal(name), name
        assert unsafe_part(name) is None, name
    for name in strategies._UNSAFE:
        assert is_legal(name), name
        assert unsafe_part(name) is not None, name


def test_plain_names_are_plain() -> None:
    assert set(sample(strategies.names(hard=False), 100)) == set(strategies._PLAIN)


def test_unsafe_names_are_drawn_where_they_are_asked_for() -> None:
    drawn = sample(strategies.names(unsafe=True), 300)
    assert 0.1 < sum(unsafe_part(name) is not None for name in drawn) / len(drawn) < 0.9


@pytest.mark.parametrize(
    "fits",
    [
        lambda name: name.endswith("ep12"),
        lambda name: "rew3" in name,
        lambda name: name.startswith("last_"),
        lambda name: name.isdecimal(),
        lambda name: not name.isascii(),
        lambda name: len(name) == 100,
        lambda name: name in ("best", "nn"),
        lambda name: name == "Aep1rew2.0",
    ],
    ids=["ep12", "rew3", "last_", "digits", "unicode", "long", "folder", "prefix"],
)
def test_hard_names_are_drawn(fits, hard_names) -> None:
    assert any(fits(name) for name in hard_names)


@pytest.fixture(scope="module")
def hard_names():
    return sample(strategies.names(), 600)


# --- what fails shrinks to what can be read ------------------------------------------------------


def shortest(fits):
    chain = find(
        strategies.chains(),
        lambda drawn: fits(played(DEFAULT, drawn)),
        settings=settings(
            max_examples=3000,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return [
        (one.experiment, one.save_freq, one.resume, one.rewards[: one.max_epochs]) for one in chain
    ]


def test_anything_shrinks_to_one_epoch() -> None:
    assert shortest(lambda chain: True) == [("A", 0, None, (1.0,))]  # noqa: ARG005 - anything


def test_a_tie_shrinks_to_two_epochs() -> None:
    def ties(chain):
        return any(b == r and math.isfinite(r) for b, r in before_and_at(chain[0]))

    ((name, save_freq, _, drawn),) = shortest(ties)
    assert (name, save_freq, len(drawn)) == ("A", 0, 2)
    assert drawn[0] == drawn[1]


def test_an_improvement_after_nan_shrinks_to_two_epochs() -> None:
    def improves(chain):
        return between(chain[0], lambda before, after: math.isnan(before) and after > 0)

    ((name, save_freq, _, drawn),) = shortest(improves)
    assert (name, save_freq) == ("A", 0)
    assert repr(drawn) == "(nan, 1.0)"


def test_a_lower_reward_after_a_resume_shrinks_to_an_epoch_a_session() -> None:
    def lowers(chain):
        return resumed(chain, lambda one: first_reward(one) < one.watermark)

    first, second = shortest(lowers)
    assert first == ("A", 0, None, (1.0,))
    assert second[3][0] == 1.0
    assert second[3][1] < 1.0
    assert len(second[3]) == 2
