"""What strategies draw is read in one screen, so that an example that fails is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis.vendor.pretty import pretty
from killed import Kill, Planned, chains
from reports import reports
from trainings import trainings, unlike, whole

from conformance import strategies
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.fixtures.play import Session, play

LAYOUT = load_profile("rl_games-1.6+isaaclab")


@pytest.mark.parametrize(
    ("strategy", "most"),
    [
        *((getattr(strategies, name)(), 2000) for name in strategies.__all__ if name != "rewards"),
        (strategies.rewards(20), 2000),
        (chains(late=True), 2000),
        (trainings(LAYOUT, killed=True), 2000),
        (whole(LAYOUT), 2000),
        (unlike(), 2000),
        (reports(), 4000),  # of hostile texts, a dozen findings
    ],
)
def test_what_is_drawn_fits_into_one_screen(strategy, most):
    @given(strategy)
    def check(drawn):
        for text in (pretty(drawn), repr(drawn)):
            assert len(text) <= most
            assert text.count("\n") < 40

    check()


def test_a_profile_is_its_name_and_what_is_not_as_in_the_one_of_that_name():
    assert repr(LAYOUT) == pretty(LAYOUT) == "<Profile rl_games-1.6+isaaclab>"
    changed = replace(LAYOUT, legacy_guard=True, final_at="never")
    assert repr(changed) == "<Profile rl_games-1.6+isaaclab, other legacy_guard, other final_at>"
    assert repr(replace(changed, name="mine")) == "<Profile mine>"


def test_a_value_is_the_call_that_makes_it_without_what_has_its_default():
    for value, text in [
        (Settings("A", 0), "Settings(name='A', save_freq=0)"),
        (Session((None, math.nan), first=2), "Session(rewards=(None, nan), first=2)"),
        (Planned((1.0,), None, Kill(save=0)),
         "Planned(rewards=(1.0,), resume=None, kill=Kill(save=0))"),
    ]:  # fmt: skip
        assert repr(value) == pretty(value) == text


def test_a_run_is_its_checkpoints_by_session_and_its_rewards():
    run = play(Settings("A", 2), [Session((1.0, 0.5, 2.0)), Session((None, 0.0))])
    assert pretty(run) == (
        "<Run 'A' {'name': 'A', 'save_freq': 2}: periodic 2 of session 0, best 2 of session 1,"
        " periodic 2 of session 1; logs [<9 scalars, rewards/iter 1:1.0 2:0.5 3:2.0>,"
        " <4 scalars, rewards/iter 2:0.0>]>"
    )
    assert pretty(run.best) == "<best 'nn/A.pth', session 1, epoch 2>"
