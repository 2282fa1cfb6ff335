"""The rewards that a driven session is judged by."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from event_logs import read_log

from conformance.run.driven import DrivenSession, played_history, same_rewards

NAN = math.nan


def test_the_rewards_are_those_that_were_played_whatever_the_log_says(tmp_path):
    given = {1: 1.0, 2: 2.0}
    driven = DrivenSession(given, 1, 2, 1, logs=(read_log(tmp_path, {1: 1.0, 2: 7.0}),))
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == given


def test_the_rewards_are_rounded_to_float32_as_the_log_holds_them():
    driven = DrivenSession({1: 0.1, 2: 1e300}, 1, 2, 1)
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == {1: 0.10000000149011612, 2: math.inf}


def test_rewards_of_its_own_are_those_that_it_logged(tmp_path):
    driven = DrivenSession(None, 1, 2, 1, logs=(read_log(tmp_path, {1: 4.0, 2: 5.0}),))
    (judged_by,) = played_history([driven], ()).sessions
    assert judged_by.rewards == {1: 4.0, 2: 5.0}


def test_a_session_without_rewards_is_no_session_to_judge():
    history = played_history([DrivenSession({}, 1, 2, 1), DrivenSession({1: 1.0}, 1, 1, 1)], ())
    assert [judged_by.rewards for judged_by in history.sessions] == [{1: 1.0}]


def test_a_log_of_its_own_rewards_that_is_wrong_is_a_problem_of_the_history(tmp_path):
    gap = DrivenSession(None, 1, 3, 1, logs=(read_log(tmp_path, {1: 4.0, 3: 5.0}),))
    (problem,) = played_history([gap], ()).problems
    assert "no reward between the epochs 1 and 3" in problem.message
    (problem,) = played_history([DrivenSession(None, 1, 3, 1)], ()).problems
    assert problem.message == "no reward is logged"
    whole = DrivenSession(None, 1, 2, 1, logs=(read_log(tmp_path, {1: 4.0, 2: 5.0}),))
    assert played_history([whole], ()).problems == ()
    # Of a session whose rewards were given, the log is SUMMARY-001's matter alone.
    given = replace(gap, rewards={1: 4.0, 2: 4.0, 3: 5.0})
    assert played_history([given], ()).problems == ()


def told(epoch, reward, *, flaws=()):
    """A periodic checkpoint of that name, whose watermark is half of the reward."""
    name = SimpleNamespace(epoch=epoch, reward=reward, flaws=flaws)
    return SimpleNamespace(name=name, epoch=epoch, watermark=reward / 2)


def best(epoch, reward):
    """The best checkpoint, of that epoch and reward."""
    name = SimpleNamespace(epoch=None, reward=None, flaws=())
    return SimpleNamespace(name=name, epoch=epoch, watermark=reward)


GIVEN = {1: 1.0, 2: 3.0, 3: 2.0}
HALVES = {1: 0.5, 2: 1.5, 3: 1.0}
EARLY = {1: 0.5, 2: 1.5}


@pytest.mark.parametrize(
    ("logged", "files", "by_the_log"),
    [
        (HALVES, [told(2, 1.5)], True),
        (HALVES, [best(2, 1.5)], True),
        (HALVES, [told(2, 3.0)], False),
        (HALVES, [best(2, 3.0)], False),
        (HALVES, [told(1, 0.5), told(2, 3.0)], False),
        (HALVES, [], False),
        (HALVES, [told(2, 3.0, flaws=("a misprint",))], False),
        (HALVES, [told(2, 1.5, flaws=("a misprint",))], False),
        # It ended before its time.
        (EARLY, [], True),
        (EARLY, [told(2, 3.0)], False),
        (EARLY, [told(7, 3.0)], True),
        ({1: 1.0, 2: 1.5}, [told(1, 1.0)], True),
        # It was not a log of this session.
        ({2: 1.5}, [], False),
        ({1: 0.5, 2: 1.5, 3: 1.0, 4: 2.0}, [told(2, 1.5)], False),
    ],
)
def test_other_rewards_were_played_where_log_and_files_agree_in_them(
    tmp_path, logged, files, by_the_log
):
    driven = DrivenSession(GIVEN, 1, 3, 1, logs=(read_log(tmp_path, logged),))
    (judged_by,) = played_history([driven], files).sessions
    assert judged_by.rewards == (logged if by_the_log else GIVEN)


def test_rewards_are_the_same_if_each_is():
    assert same_rewards({1: NAN, 2: 0.1}, {1: NAN, 2: 0.10000000149011612})
    assert not same_rewards({1: 1.0}, {1: 1.0, 2: 1.0})
    assert not same_rewards({1: 1.0}, {1: 2.0})
