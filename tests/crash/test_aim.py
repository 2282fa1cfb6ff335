"""Which call strace is told to break, and how paths are told to be the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import Script

from conformance.crash.aim import Aim, aim, is_steady, renumbered


def test_of_one_path_is_better_than_of_all():
    calls = Script().opens(b"x").does("close", b"x").opens(b"a").does("close", b"a").calls
    assert aim(calls, 3, [b"/r/A/nn/a"]) == Aim(1, ("/r/A/nn/a",), 1)
    assert aim(calls, 3, []) == Aim(2)


def test_each_thread_counts_for_itself():
    script = Script(thread=1).opens(b"a").does("close", b"a")
    script.lines += Script(thread=2).opens(b"a").does("close", b"a").opens(b"a").lines
    assert aim(script.calls, 2, [b"/r/A/nn/a"]) is None  # thread 1 has opened it once already
    assert aim(script.calls, 4, [b"/r/A/nn/a"]) == Aim(2, ("/r/A/nn/a",), 3)
    assert aim(script.calls, 0, [b"/r/A/nn/a"]) == Aim(1, ("/r/A/nn/a",), 1)


def test_two_paths_tell_a_thread_from_one_that_did_as_much_on_one_of_them():
    """The main thread has listed the folder before; the saver's opens its file before it."""
    script = Script(thread=1).opens(b"x").opens(b"x").opens(b"", flags="O_RDONLY")
    script.lines += Script(thread=2).opens(b"a").opens(b"").lines
    assert aim(script.calls, 4, [b"/r/A/nn"]) is None
    assert aim(script.calls, 4, [b"/r/A/nn", b"/r/A/nn/a"]) == Aim(2, ("/r/A/nn", "/r/A/nn/a"), 3)
    assert aim(script.calls, 3, [b"/r/A/nn", b"/r/A/nn/a"]) == Aim(1, ("/r/A/nn/a",), 1)


def test_a_path_that_is_some_calls_second_one_is_not_counted_by():
    calls = Script().renames(b"a", b"bak").renames(b"t", b"a").calls
    assert aim(calls, 1, [b"/r/A/nn/t"]) == Aim(1, ("/r/A/nn/t",), 1)
    assert aim(calls, 0, [b"/r/A/nn/a"]) == Aim(1)


@pytest.mark.parametrize(
    ("path", "renamed"),
    [
        ("/7/.saving-7.tmp", "/7/.saving-12.tmp"),
        ("/r/a.77", "/r/a.77"),
        ("/r/a.7.7", "/r/a.12.12"),
        ("7", "12"),
    ],
)
def test_a_process_number_is_replaced_in_the_last_part_alone(path, renamed):
    assert renumbered(path, 7, 12) == renamed
    assert is_steady(path.encode(), renamed.encode(), 7, 12)


@given(st.text(alphabet="ab/.7", max_size=12), st.integers(1, 99))
def test_an_unknown_process_changes_nothing(path, number):
    assert renumbered(path, None, number) == renumbered(path, number, None) == path
    assert is_steady(path.encode(), path.encode(), None, None)
