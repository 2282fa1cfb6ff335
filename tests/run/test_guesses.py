"""What is inferred where nobody said it: a save_freq, and a log that is a step off."""

from pathlib import Path

import pytest

from conformance.evidence.summaries import EventFile, Reward
from conformance.run.guesses import infer_save_freq, step_shift
from conformance.run.history import build_history


@pytest.mark.parametrize(
    ("epochs", "last", "expected"),
    [
        (set(), 9, None),
        ({10}, 19, None),  # one epoch may be any save_freq's
        ({2, 4}, 5, 2),
        ({2, 4}, None, 2),
        ({10, 20, 30}, 35, 10),
        ({10, 20, 30, 35}, 35, 10),  # the last epoch was saved too
        ({30, 40, 50}, 55, 10),  # no episode had finished before
        ({50, 100}, 100, 50),
        ({10, 20, 30, 50, 60}, 65, 10),  # one is missing
        ({10, 20, 40}, 40, 10),  # of two readings the one that blames no file
        ({4, 8, 10}, 10, 4),  # of two that explain it alike, the longer
        ({3, 5}, 5, 3),  # epoch 5 was saved since it was the last
        ({6, 9}, 9, 3),
        ({4, 6}, 8, 2),  # one that is missing at the end
        ({4, 5}, 5, 1),
        ({2, 6}, 8, 6),  # one that is too many explains more than two that are missing
    ],
)
def test_the_save_freq_that_leaves_the_fewest_epochs_unexplained(epochs, last, expected):
    assert infer_save_freq(epochs, last) == expected


def history(*sessions):
    files = [
        EventFile(
            path=Path(f"events.out.tfevents.1.host.{number}.0"),
            size=1,
            records=1,
            first_wall_time=float(number),
            last_wall_time=float(number),
            rewards=tuple(Reward(step, reward, 0.0) for step, reward in rewards.items()),
            tags=frozenset(),
            first_epoch=None,
            torn=False,
            problem=None,
        )
        for number, rewards in enumerate(sessions)
    ]
    return build_history(files)


_LOG = {2: 1.0, 3: 2.0, 4: 3.0}


@pytest.mark.parametrize(
    ("told", "shift"),
    [
        (((1, 1.0), (2, 2.0)), 1),
        (((3, 1.0), (4, 2.0)), -1),
        (((2, 1.0), (3, 2.0)), 0),
        (((1, 1.0), (3, 2.0)), 0),  # only one is off
        (((1, 1.0), (4, 2.0)), 0),  # off in different ways
        (((4, 1.0),), 0),  # two steps off are no mistake in counting
        (((9, 1.0),), 0),
        ((), 0),
    ],
)
def test_a_log_is_shifted_where_all_that_is_told_says_so_alike(told, shift):
    assert step_shift(history(_LOG), told) == shift
    assert step_shift(history(_LOG, _LOG), told) == 0


def test_rewards_that_do_not_move_show_no_shift():
    assert step_shift(history({1: 1.0, 2: 1.0, 3: 1.0}), ((2, 1.0),)) == 0
