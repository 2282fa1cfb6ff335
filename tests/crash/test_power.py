"""Power cuts, replayed on calls written by hand: what may be left, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import Script

from conformance.convention.profile import load_profile
from conformance.crash.points import record
from conformance.crash.power import explain, half_kills, power_cuts

BEST = b"/r/A/nn/A.pth"
OLD, NEW = b"the old best", b"the new best, longer"
PROFILE = load_profile()


def saves(script):
    return record(script.calls, top=b"/r", run=b"/r/A", name="A", profile=PROFILE).saves


def second(script):
    """The second save, the first one having left the old best."""
    return saves(script)[1]


def old_best():
    return Script().opens(b"A.pth").writes(b"A.pth", OLD).does("close", b"A.pth")


def renamed(*, file, folder):
    """A save by rename; `file` and `folder`: which of the two are forced to the disk."""
    script = old_best().opens(b"t").writes(b"t", NEW)
    if file:
        script.does("fsync", b"t")
    script.does("close", b"t").renames(b"t", b"A.pth")
    if folder:
        script.opens(b"", 4, "O_RDONLY").does("fsync", b"", 4).does("close", b"", 4)
    return second(script)


def left(save):
    return {state.content for state in power_cuts(save, BEST)}


def test_rename_without_fsync_may_leave_an_empty_file():
    save = renamed(file=False, folder=True)
    assert {b"", OLD, NEW, bytes(len(NEW)), NEW[: len(NEW) // 2]} <= left(save)
    empty = next(state for state in power_cuts(save, BEST) if state.content == b"")
    assert save.steps[empty.after - 1].call.name == "rename"
    assert explain(save, BEST, "A.pth") == ([], ["no fsync of the file before rename"])


def test_fsync_before_rename_leaves_the_old_or_the_new():
    assert left(renamed(file=True, folder=True)) == {OLD, NEW}
    assert explain(renamed(file=True, folder=True), BEST, "A.pth") == ([], [])


def test_without_fsync_of_the_folder_the_old_one_may_come_back():
    save = renamed(file=True, folder=False)
    last = {state.content for state in power_cuts(save, BEST) if state.after <= len(save.steps)}
    assert last == {OLD, NEW}
    kills, cuts = explain(save, BEST, "A.pth")
    assert kills == []
    assert "(allowed)" in cuts[0]


def test_writing_in_place_may_leave_anything():
    script = old_best().opens(b"A.pth").writes(b"A.pth", NEW).does("fsync", b"A.pth")
    save = second(script.does("close", b"A.pth"))
    assert {OLD, b"", NEW, NEW[: len(NEW) // 2]} <= left(save)
    kills, cuts = explain(save, BEST, "A.pth")
    assert kills == ["A.pth is emptied, then written in place"]
    assert cuts == []


def test_a_name_that_is_removed_first_may_be_gone():
    script = old_best().opens(b"t").writes(b"t", NEW).does("fsync", b"t").does("close", b"t")
    save = second(script.unlinks(b"A.pth").renames(b"t", b"A.pth"))
    assert left(save) == {OLD, NEW, None}
    kills, _ = explain(save, BEST, "A.pth")
    assert kills == ["A.pth is removed before the new one has its name"]


def test_what_a_save_found_is_on_the_disk():
    script = Script().opens(b"t").writes(b"t", OLD).does("close", b"t").renames(b"t", b"A.pth")
    script.opens(b"u").writes(b"u", NEW).does("fsync", b"u").does("close", b"u")
    save = second(script.renames(b"u", b"A.pth"))
    assert left(save) == {OLD, NEW}


@given(st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=5), st.booleans())
def test_synced_data_are_never_lost(parts, folder):
    script = old_best().opens(b"t")
    for part in parts:
        script.writes(b"t", part)
    script.does("fsync", b"t").does("close", b"t").renames(b"t", b"A.pth")
    if folder:
        script.opens(b"", 4, "O_RDONLY").does("fsync", b"", 4)
    assert left(second(script)) == {OLD, b"".join(parts)}


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=20, max_size=40))
def test_the_states_are_bounded_and_each_comes_once(parts):
    script = old_best().opens(b"t")
    for part in parts:
        script.writes(b"t", part)
    save = second(script.does("close", b"t").renames(b"t", b"A.pth"))
    found = [state.content for state in power_cuts(save, BEST)]
    assert len(found) == len(set(found))
    assert len(found) < 60


def test_a_kill_within_a_write_is_seen_where_it_is_in_place():
    over = old_best().opens(b"A.pth", flags="O_WRONLY").writes(b"A.pth", NEW)
    (state,) = half_kills(second(over.does("close", b"A.pth")), BEST)
    assert state.content == NEW[: len(NEW) // 2] + OLD[len(NEW) // 2 :]
    assert list(half_kills(renamed(file=False, folder=False), BEST)) == []


@pytest.mark.parametrize("flags", ["O_WRONLY|O_CREAT|O_TRUNC|O_SYNC", "O_RDWR|O_CREAT|O_DSYNC"])
def test_synchronous_writes_need_no_fsync(flags):
    script = old_best().opens(b"t", flags=flags).writes(b"t", NEW).does("close", b"t")
    assert left(second(script.renames(b"t", b"A.pth"))) == {OLD, NEW}
