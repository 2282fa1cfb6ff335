"""Which calls are points, which faults belong to them, how they are counted and chosen."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import Script, hexed

from conformance.convention.profile import load_profile
from conformance.crash.points import (
    CUT,
    FAULTS,
    KILL,
    Naming,
    choose,
    fell_on,
    points,
    record,
    turn_of_hit,
)

PROFILE = load_profile()


def recorded(script, process=7):
    return record(script.calls, top=b"/r", run=b"/r/A", name="A", profile=PROFILE, process=process)


def all_points(script):
    """The points of a session that is the same each time."""
    found, missed = points(recorded(script), recorded(script))
    assert missed == []
    return found


def save(script, name, data=b"0123456789", temporary=b".saving-7.tmp"):
    script.opens(temporary).writes(temporary, data).does("fsync", temporary)
    script.does("close", temporary)
    return script.renames(temporary, name)


def test_saves_are_told_apart_and_named():
    script = save(save(save(Script(), b"A.pth"), b"last_Aep2rew0.5.pth"), b"A.pth")
    found = recorded(script).saves
    assert [(each.targets, each.best) for each in found] == [
        (("nn/A.pth",), True),
        (("nn/last_Aep2rew0.5.pth",), False),
        (("nn/A.pth",), True),
    ]
    assert [step.shown for step in found[2].steps] == [
        "openat a temporary file",
        "write a temporary file",
        "fsync a temporary file",
        "close a temporary file",
        "rename a temporary file -> nn/A.pth",
    ]
    assert [step.turn for step in found[2].steps] == [3, 3, 3, 3, 2]


def test_what_follows_the_rename_belongs_to_the_save():
    script = save(Script(), b"A.pth").opens(b"", 4, "O_RDONLY").does("fsync", b"", 4)
    (only,) = recorded(save(script, b"A.pth")).saves[:1]
    assert [step.call.name for step in only.steps][-2:] == ["openat", "fsync"]


def test_a_save_in_place_ends_with_its_close():
    script = Script()
    for _ in range(2):
        script.opens(b"A.pth").writes(b"A.pth", b"abc").does("close", b"A.pth")
    assert [len(each.steps) for each in recorded(script).saves] == [3, 3]


def test_other_files_of_the_run_are_no_points():
    script = Script()
    events = Script(b"/r/A/summaries").opens(b"events").writes(b"events", b"x")
    script.lines += events.lines
    script.opens(b"", 4, "O_RDONLY").does("close", b"", 4)  # it looks into the folder first
    found = recorded(save(script, b"A.pth"))
    assert {step.path.rpartition(b"/")[2] for step in found.steps} == {b".saving-7.tmp"}


def test_a_file_that_waits_elsewhere_for_its_name_is_the_saves():
    waiting = Script(b"/r/A/tmp").opens(b"w").writes(b"w", b"abc").does("close", b"w")
    script = Script()
    script.lines += waiting.lines
    old, new = hexed(b"/r/A/tmp/w"), hexed(b"/r/A/nn/A.pth")
    script.line(f'rename("{old}", "{new}") = 0')
    assert [step.call.name for step in recorded(script).steps] == [
        "openat",
        "write",
        "close",
        "rename",
    ]


def test_each_call_has_its_faults():
    found = all_points(save(Script(), b"A.pth"))
    by_call = {}
    for point in found:
        by_call.setdefault(point.step.call.name, set()).add(point.fault)
    errors = {"ENOSPC", "EIO", "EDQUOT"}
    assert by_call == {
        "openat": {KILL, "EINTR", *errors},
        "write": {KILL, CUT, "EINTR", *errors},
        "fsync": {KILL, "EINTR", *errors},
        "close": {KILL, "EINTR", *errors},
        "rename": {KILL, *errors},
    }


def kill_at(found, name):
    return next(p for p in found if (p.fault, p.step.call.name) == (KILL, name))


def test_calls_on_the_path_alone_are_counted_in_their_thread():
    script = Script(thread=7)
    script.lines += Script(b"/q", thread=9).opens(b"x").writes(b"x", b"abc").lines
    script.lines += Script(b"/q", thread=7).opens(b"x").writes(b"x", b"abc").lines
    kill = kill_at(all_points(save(script, b"A.pth")), "write")
    assert kill.inject == "write:signal=SIGKILL:when=1"
    assert (kill.aim.paths, kill.aim.turn) == (("/r/A/nn/.saving-7.tmp",), 1)


def test_a_temporary_name_that_changes_with_the_process_alone_is_counted_by():
    first = recorded(save(Script(), b"A.pth", temporary=b".saving-7.tmp"), process=7)
    again = recorded(save(Script(), b"A.pth", temporary=b".saving-12.tmp"), process=12)
    found, _ = points(first, again)
    assert kill_at(found, "write").aim.paths == ("/r/A/nn/.saving-7.tmp",)


def test_a_temporary_name_that_changes_at_random_is_not():
    first = recorded(save(Script(), b"A.pth", temporary=b".tmpqx3"))
    again = recorded(save(Script(), b"A.pth", temporary=b".tmpz_8"))
    assert [step.key for step in first.steps] == [step.key for step in again.steps]
    found, _ = points(first, again)
    assert {point.aim.paths for point in found} == {()}


def test_what_another_thread_does_as_often_before_cannot_be_aimed_at():
    script = Script(thread=7)
    other = Script(b"/q", thread=9)
    for turn in range(3):
        other.opens(b"x").writes(b"x", b"abc").does("close", b"x")
        del turn
    script.lines += other.lines
    save(script, b"A.pth", temporary=b".tmpqx3")
    unlike = save(Script(), b"A.pth", temporary=b".tmpz_8")
    found, missed = points(recorded(script), recorded(unlike))
    assert {step.call.name for step in missed} == {"openat", "write", "close"}
    assert {point.step.call.name for point in found} == {"fsync", "rename"}


@pytest.mark.parametrize(("size", "cut"), [(10, 5), (9000, 4096), (100_000, 49_152)])
def test_a_write_is_cut_in_its_middle(size, cut):
    found = all_points(save(Script(), b"A.pth", bytes(size)))
    (only,) = [point for point in found if point.fault == CUT]
    assert only.cut_at == cut
    assert only.inject == "openat:signal=SIGSTOP:when=1"


def test_a_write_of_one_byte_cannot_be_cut():
    found = all_points(save(Script(), b"A.pth", b"x"))
    assert CUT not in {point.fault for point in found}


@given(st.integers(1, 120))
def test_a_choice_is_spread_over_calls_and_faults(most):
    script = save(save(save(Script(), b"A.pth"), b"last_Aep2rew0.5.pth"), b"A.pth")
    found = all_points(script)
    kept = choose(found, most, 2)
    assert len(kept) == min(most, len(found))
    assert len({id(point) for point in kept}) == len(kept)
    assert [found.index(point) for point in kept] == sorted(found.index(point) for point in kept)
    if most >= len(FAULTS):
        assert {point.fault for point in kept} == set(FAULTS)
    if most <= 12:
        assert Counter(point.step.save for point in kept)[2] >= most / 2


def test_the_call_that_a_fault_fell_on_is_found_again():
    script = save(save(Script(), b"A.pth"), b"A.pth")
    step = next(s for s in recorded(script).steps if s.key[0] == "fsync" and s.turn == 2)
    broken = save(Script(), b"A.pth", temporary=b".saving-99.tmp")
    broken.opens(b".saving-99.tmp").writes(b".saving-99.tmp", b"0123456789")
    broken.does("fsync", b".saving-99.tmp", result="?")

    def turn(script_):
        naming = Naming(b"/r/A", "A", PROFILE)
        return turn_of_hit(script_.calls, step, lambda call: call.result is None, naming)

    assert turn(broken) == 2
    assert turn(save(Script(), b"A.pth")) == 0


def test_what_is_killed_along_with_a_call_is_none_of_its_hits():
    """Of a thread that dies with it, strace may tell the killed one's call once more."""
    script = save(Script(thread=9), b"A.pth")
    kill = kill_at(all_points(script), "fsync")
    broken = Script(thread=9).opens(b".saving-7.tmp").writes(b".saving-7.tmp", b"0123456789")
    path = hexed(b"/r/A/nn/.saving-7.tmp")
    broken.line(f"fsync(3<{path}> <unfinished ...>")
    broken.lines.append(f"7 fsync(3<{path}> <unfinished ...>\n")
    broken.line("<... fsync resumed>) = ?").line("+++ killed by SIGKILL +++")
    assert fell_on(broken.calls, kill, Naming(b"/r/A", "A", PROFILE))
    assert not fell_on(script.calls, kill, Naming(b"/r/A", "A", PROFILE))
