"""Logs of strace: each line to the call that it tells of, whatever the names in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import Script, hexed, needs_strace

from conformance.crash.calls import TraceError, read_log, unescape
from conformance.crash.tracing import Tracing

# Whatever a file system takes for a name.
NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")
)


def only(*lines):
    (call,) = read_log(lines)
    return call


@given(NAMES)
def test_any_name_is_read_back(name):
    script = Script().opens(name, 5).does("close", name, 5)
    opened, closed = script.calls
    assert opened.paths == (b"/r/A/nn/" + name,)
    assert opened.opened == b"/r/A/nn/" + name
    assert opened.result == 5
    assert closed.files == ((5, b"/r/A/nn/" + name),)
    assert closed.paths == opened.paths


@given(st.binary(max_size=200))
def test_any_data_is_read_back(data):
    (call,) = Script().writes(b"a", data).calls
    assert call.data == data
    assert unescape(hexed(data)) == data


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_vectors_are_joined(parts):
    vector = ", ".join(f'{{iov_base="{hexed(part)}", iov_len={len(part)}}}' for part in parts)
    total = sum(map(len, parts))
    call = only(f"1 writev(3<{hexed(b'/a')}>, [{vector}], {len(parts)}) = {total}")
    assert call.data == b"".join(parts)
    assert call.paths == (b"/a",)


def test_data_that_was_cut_is_not_taken_for_all():
    assert only(f'1 write(3<{hexed(b"/a")}>, "{hexed(b"ab")}"..., 9) = 9').data is None
    assert only(f'1 write(3<{hexed(b"/a")}>, "{hexed(b"ab")}", 9) = 9').data is None


def test_a_name_that_was_cut_is_an_error():
    with pytest.raises(TraceError, match="cut short"):
        only(f'1 unlink("{hexed(b"/a")}"...) = 0')


def test_errors_injected_or_not_are_told():
    call = only(f"1 fsync(3<{hexed(b'/a')}>) = -1 EIO (Input/output error) (INJECTED)")
    assert (call.error, call.injected, call.result) == ("EIO", True, -1)
    call = only(f'1 unlink("{hexed(b"/a")}") = -1 ENOENT (No such file or directory)')
    assert (call.error, call.injected) == ("ENOENT", False)


def test_a_call_that_a_kill_fell_on_has_no_result():
    call = only(f"12  fsync(3<{hexed(b'/a')}>) = ?", "12  +++ killed by SIGKILL +++")
    assert (call.name, call.result, call.error) == ("fsync", None, "")


def test_calls_of_several_threads_are_told_apart():
    calls = list(
        read_log(
            [
                f"1 fsync(3<{hexed(b'/a')}> <unfinished ...>",
                f"2 close(4<{hexed(b'/b')}>) = 0",
                "1 --- SIGCHLD {si_signo=SIGCHLD} ---",
                "1 <... fsync resumed>) = 0",
                f"2 fdatasync(5<{hexed(b'/c')}> <unfinished ...>",
                "2 +++ killed by SIGKILL +++",
            ]
        )
    )
    assert [(call.thread, call.name, call.result) for call in calls] == [
        (2, "close", 0),
        (1, "fsync", 0),
        (2, "fdatasync", None),
    ]


def test_what_began_before_we_came_is_passed_over():
    assert list(read_log(["1 <... write resumed>) = 4", ""])) == []


def test_names_are_taken_from_the_folder_given():
    here, there = hexed(b"/r"), hexed(b"/q")
    call = only(f'1 renameat(3<{here}>, "{hexed(b"a")}", 4<{there}>, "{hexed(b"/b")}") = 0')
    assert call.paths == (b"/r/a", b"/b")
    call = only(f'1 symlink("{hexed(b"x")}", "{hexed(b"/r/link")}") = 0')
    assert call.paths == (b"/r/link",)


def test_names_without_a_folder_are_taken_from_the_working_one():
    opened = f'1 openat(AT_FDCWD<{hexed(b"/r")}>, "{hexed(b"a")}", O_RDONLY) = 3<{hexed(b"/r/a")}>'
    renamed = f'1 rename("{hexed(b"a")}", "{hexed(b"nn/b")}") = 0'
    assert [call.paths for call in read_log([opened, renamed])] == [
        (b"/r/a",),
        (b"/r/a", b"/r/nn/b"),
    ]
    assert only(renamed).paths == (b"a", b"nn/b")


def test_a_file_that_was_deleted_has_no_path():
    assert only(f"1 fsync(3<{hexed(b'/a')}>(deleted)) = 0").paths == ()


@pytest.mark.parametrize("line", ["no line at all", "x close(3) = 0", "-1 close(3) = 0"])
def test_what_strace_did_not_write_is_refused(line):
    with pytest.raises(TraceError, match="no line of strace's"):
        list(read_log([line]))


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\n"), max_size=60))
def test_no_line_makes_the_reader_fail_otherwise(text):
    with contextlib.suppress(TraceError):
        list(read_log([f"3 {text}"]))


def test_a_real_log_is_read(tmp_path):
    needs_strace()
    name = os.fsencode(tmp_path) + b'/a "<\xe9\n>, \\x41"'
    code = (
        "import os, sys\n"
        "path = os.fsencode(sys.argv[1])\n"
        "fd = os.open(path, os.O_CREAT | os.O_WRONLY)\n"
        "os.write(fd, bytes(range(256))); os.fsync(fd); os.close(fd)\n"
        "os.rename(path, path + b'2')\n"
    )
    log = tmp_path / "log"
    tracing = Tracing(log, whole=True)
    subprocess.run(
        [*tracing.arguments(starts=True), "--", sys.executable, "-c", code, os.fsdecode(name)],
        check=True,
    )
    calls = [
        call
        for call in read_log(log.read_text("ascii").splitlines())
        if name in call.paths and call.name != "lseek"
    ]
    assert [call.name for call in calls] == ["openat", "write", "fsync", "close", calls[-1].name]
    assert calls[1].data == bytes(range(256))
    assert calls[-1].paths == (name, name + b"2")
