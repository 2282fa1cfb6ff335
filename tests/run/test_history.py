"""Sessions as event files show them: joined, ordered, and with what a kill leaves unlogged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from event_logs import log

from conformance.run.history import Start, build_history

_FRESH, _RESUMED = (Start.FRESH,), (Start.RESUMED,)
_EITHER = (Start.RESUMED, Start.FRESH)


def epochs(history):
    return [sorted(session.rewards) for session in history.sessions]


def starts(history):
    return [session.starts for session in history.sessions]


@pytest.mark.parametrize(
    ("second", "joined"),
    [
        ("events.out.tfevents.2.host.7.1", True),  # the next file of the same process
        ("events.out.tfevents.2.host.7.0", False),  # a container that was restarted counts anew
        ("events.out.tfevents.2.host.8.0", False),  # another process
        ("events.out.tfevents.2.node.7.0", False),  # on another machine
        ("events.out.tfevents.2.host", False),  # tensorboardX does not say which process
    ],
)
def test_files_that_go_on_are_one_session_if_one_process_wrote_them(second, joined):
    first = "events.out.tfevents.1.host" if second.count(".") == 4 else None
    one = log([1, 2]) if first is None else log([1, 2], name=first)
    history = build_history([one, log([3, 4], name=second, at=2.0)])
    assert epochs(history) == ([[1, 2, 3, 4]] if joined else [[1, 2], [3, 4]])
    assert history.sessions[0].files[0] == one.path.name


def test_where_a_resume_changes_what_is_right_one_process_may_have_played_two_sessions():
    files = [log([1, 2]), log([3, 4], name="events.out.tfevents.2.host.7.1", at=2.0)]
    history = build_history(files, joins=False)
    assert epochs(history) == [[1, 2], [3, 4]]
    assert starts(history)[1] == _RESUMED


def timed(*logged, name="events.out.tfevents.1.host.7.0"):
    """An event file of rewards with the seconds at which they were logged."""
    file = log([step for step, _ in logged], name=name, at=logged[0][1])
    rewards = tuple(
        replace(reward, wall_time=at) for reward, (_, at) in zip(file.rewards, logged, strict=True)
    )
    return replace(file, rewards=rewards)


_OTHER = "events.out.tfevents.1.host.8.0"


@pytest.mark.parametrize(
    ("second", "at_once"),
    [
        ([(1, 1.5), (2, 2.5), (3, 3.5)], True),
        ([(1, 2.5), (2, 3.5), (3, 4.5)], False),  # one of each: a last record came late
        ([(1, 1.5), (2, 4.5), (3, 5.5)], False),
        ([(1, 1.1), (2, 1.2), (3, 1.3)], False),  # all of it between two of the other's
        ([(4, 4.0), (5, 5.0), (6, 6.0)], False),
        ([(1, math.nan), (2, math.nan), (3, 2.5)], False),
    ],
)
def test_two_processes_at_once_are_told_by_two_rewards_of_each(second, at_once):
    first = timed((1, 1.0), (2, 2.0), (3, 3.0))
    found = build_history([first, replace(timed(*second, name=_OTHER), first_wall_time=1.0)])
    assert (found.concurrent is not None) == at_once


def test_a_hole_is_an_interval_where_the_dialect_has_them_and_the_times_are_apart():
    spaced = timed((1, 0.0), (2, 5.0), (5, 20.0))
    close = timed((1, 0.0), (2, 1.0), (5, 20.0))
    assert build_history([spaced]).problems
    assert build_history([close], at_intervals=True).problems
    history = build_history([spaced], at_intervals=True)
    assert not history.problems
    (session,) = history.sessions
    assert [epoch for epoch in range(8) if session.leaves_out(epoch)] == [3, 4]


def test_three_files_of_one_process_are_one_session():
    history = build_history(
        [log([n], name=f"events.out.tfevents.{n}.a.b.7.{n}", at=float(n)) for n in (1, 2, 3)]
    )
    assert epochs(history) == [[1, 2, 3]]
    assert len(history.sessions[0].files) == 3


@pytest.mark.parametrize("steps", [[2, 3], [4, 5]], ids=["overlap", "gap"])
def test_files_of_one_process_that_do_not_go_on_are_two_sessions(steps):
    later = log(steps, name="events.out.tfevents.2.host.7.1", at=2.0)
    assert len(build_history([log([1, 2]), later]).sessions) == 2


def test_sessions_are_ordered_by_their_first_records_and_not_by_name():
    late = log([1, 2], name="events.out.tfevents.1.host.1.0", at=9.0)
    early = log([1, 2, 3], name="events.out.tfevents.2.host.2.0", at=1.0)
    assert epochs(build_history([late, early])) == [[1, 2, 3], [1, 2]]


def test_of_files_of_one_instant_the_name_decides():
    names = [f"events.out.tfevents.1.host.{process}.0" for process in (1, 2)]
    files = [log([1], name=names[0]), log([1, 2], name=names[1])]
    assert epochs(build_history(files)) == epochs(build_history(files[::-1])) == [[1], [1, 2]]


def test_steps_that_fall_in_one_file_start_another_session():
    history = build_history([log([1, 2, 3, 1, 2])])
    assert (epochs(history), history.count, history.problems) == ([[1, 2, 3], [1, 2]], 2, ())


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([1, 2, 3], None),
        ([1, 2, 2, 3], None),  # the same reward twice
        ([(1, math.nan), (1, math.nan)], None),
        ([1, (1, 5.0), 2], "two rewards for epoch 1"),
        ([1, 3], "no reward between the epochs 1 and 3"),
        ([0, 1], "at step 0"),
        ([-1], "at step -1"),
        ([1, 2, 1, 3], "between the epochs 1 and 3"),
    ],
)
def test_a_log_that_is_no_reward_per_epoch_is_a_problem(steps, problem):
    history = build_history([log(steps)])
    assert history.usable == (problem is None)
    assert not problem or problem in " ".join(each.message for each in history.problems)


@pytest.mark.parametrize(
    ("earlier", "steps", "first_epoch", "expected"),
    [
        ([], [3, 4], None, _FRESH),  # nothing to resume from
        ([[1, 2]], [1, 2], None, _FRESH),
        ([[1, 2]], [3, 4], None, _RESUMED),  # goes on
        ([[1, 2]], [3, 4], 1, _FRESH),  # epoch 1 was logged, its reward not known yet
        ([[1, 2, 3, 4]], [3, 4], 3, _RESUMED),
        ([[3, 4]], [3, 4], None, _FRESH),  # nothing that early
        ([[3, 4]], [2, 3], None, _FRESH),
        ([[1, 2, 3, 4, 5]], [4, 5], None, _EITHER),
        ([[1, (2, 9.0), 3, 4]], [3, 4], None, _EITHER),  # behind the best, maybe by chance
        ([[1, (2, math.nan), (3, math.nan)]], [3, 4], None, _EITHER),
        ([[1, 2], [1, 2, 3]], [4, 5], None, _RESUMED),
        ([[1, 2, 3, 4], [1, 2]], [4, 5], None, _EITHER),  # not where the last one ended
        ([[]], [3, 4], None, _EITHER),  # behind what a session without a log may have saved
        ([[]], [1, 2], None, _FRESH),
        ([[], [3, 4]], [2, 3], None, _EITHER),
    ],
)
def test_how_a_session_may_have_started(earlier, steps, first_epoch, expected):
    names = [f"events.out.tfevents.1.host.{process}.0" for process in range(9)]
    files = [log(part, name=names[number], at=float(number)) for number, part in enumerate(earlier)]
    files.append(log(steps, name=names[-1], at=9.0, first_epoch=first_epoch))
    assert starts(build_history(files))[-1] == expected


def test_a_session_without_a_reward_counts():
    silent = log([], name="events.out.tfevents.2.host.8.0", at=0.5)
    history = build_history([log([1, 2]), silent])
    assert (history.count, history.silent, epochs(history)) == (2, 1, [[1, 2]])


@pytest.mark.parametrize(
    ("fields", "unreadable"),
    [
        ({"problem": "cut short", "records": 0, "torn": True}, False),
        ({"problem": "no record", "records": 0, "size": 0}, False),
        ({"problem": "garbage", "records": 0}, True),
        ({"problem": "garbage", "records": 3, "torn": True}, True),
        ({"problem": "refused", "records": 0, "size": 0, "unreadable": True}, True),
    ],
)
def test_only_what_no_kill_explains_is_a_problem(fields, unreadable):
    history = build_history([log([], first_wall_time=None, **fields)])
    assert bool(history.problems) == unreadable
