"""The probes: each can be played, and together they exercise every rule that is gated."""

from __future__ import annotations

import pytest
from driving import PROFILE, driver

from conformance.convention.profile import load_profile
from conformance.convention.rules import RULES
from conformance.convention.sessions import played
from conformance.suite.engine import Engine
from conformance.suite.probes import probes
from conformance.suite.shrink import identity

PROFILES = ("isaacgymenvs", "rl_games-1.5", "rl_games-1.6")


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("resume", [False, True])
def test_each_probe_can_be_played(name, resume):
    for chain in probes(load_profile(name), resume=resume):
        assert all(session.first <= session.last for session in played(load_profile(name), chain))


def test_no_probe_is_another():
    chains = probes(PROFILE, resume=True)
    assert len({identity(chain) for chain in chains}) == len(chains)


def test_only_a_trainer_that_can_resume_is_asked_to():
    fresh, all_of_them = probes(PROFILE, resume=False), probes(PROFILE, resume=True)
    assert {len(chain) for chain in fresh} == {1}
    assert all_of_them[: len(fresh)] == fresh
    assert max(map(len, all_of_them)) > 2
    resumes = {scenario.resume for chain in all_of_them for scenario in chain}
    assert resumes == {None, "best", "last"}


@pytest.mark.parametrize("name", PROFILES)
def test_save_best_after_is_given_where_the_profile_has_it(name):
    profile = load_profile(name)
    given = {s.save_best_after for chain in probes(profile, resume=True) for s in chain}
    assert given == ({1} if profile.has_save_best_after else {0})


def test_together_they_exercise_every_gated_rule():
    chains = probes(PROFILE, resume=True)
    with driver("python:conformance.mutants:Trainer") as one:
        result = Engine(one).run(max_examples=len(chains), seed=0)
    gated = {rule.id for rule in RULES if rule.gated(PROFILE)}
    assert len(gated) > 25
    assert {rule for rule in gated if not result.evaluations[rule]} == set()
    assert result.counts.scenarios == {"probe": len(chains)}
    assert result.run.verdict == "conforms"


def test_without_a_resume_what_only_that_shows_is_not_exercised():
    with driver("python:odd_trainers:SaysThatItCannotResume") as one:
        result = Engine(one).run(max_examples=len(probes(PROFILE, resume=False)), seed=0)
    gated = {rule.id for rule in RULES if rule.gated(PROFILE)}
    assert {rule for rule in gated if not result.evaluations[rule]} == {"BEST-008", "RESUME-001"}
