"""The disk that recorded calls are played on, held against real ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import Script, hexed, needs_strace

from conformance.crash.calls import read_log
from conformance.crash.disk import Disk
from conformance.crash.tracing import Tracing

TOP = b"/r"


def played(script):
    disk = Disk(TOP)
    changes = [change for call in script.calls for change in disk.replay(call)]
    return disk, changes


def at(disk, name):
    return disk.at(b"/r/A/nn/" + name)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=6))
def test_writes_follow_each_other(parts):
    script = Script().opens(b"a")
    for part in parts:
        script.writes(b"a", part)
    disk, changes = played(script)
    assert at(disk, b"a") == b"".join(parts)
    assert [change.kind for change in changes] == ["name"] + ["data"] * len(parts)
    assert disk.blind == []


def test_a_write_that_was_cut_short_counts_as_far_as_it_came():
    disk, _ = played(Script().opens(b"a").writes(b"a", b"abcdef", taken=2).writes(b"a", b"X"))
    assert at(disk, b"a") == b"abX"


def test_a_call_that_failed_changes_nothing():
    script = Script().opens(b"a").writes(b"a", b"abc")
    script.line(f'write(3<{hexed(b"/r/A/nn/a")}>, "{hexed(b"de")}", 2) = -1 ENOSPC (No space)')
    script.line(f'unlink("{hexed(b"/r/A/nn/a")}") = -1 EIO (Input/output error)')
    disk, _ = played(script)
    assert at(disk, b"a") == b"abc"


def test_positions_are_sought_and_given():
    script = Script().opens(b"a").writes(b"a", b"abcdef")
    script.does("lseek", b"a", rest=", 2, SEEK_SET", result="2")
    script.writes(b"a", b"X")
    script.line(f'pwrite64(3<{hexed(b"/r/A/nn/a")}>, "{hexed(b"Z")}", 1, 8) = 1')
    disk, _ = played(script)
    assert at(disk, b"a") == b"abXdef\0\0Z"


def test_appending_writes_at_the_end():
    script = Script().opens(b"a").writes(b"a", b"abc").does("close", b"a")
    script.opens(b"a", flags="O_WRONLY|O_APPEND").writes(b"a", b"d")
    disk, _ = played(script)
    assert at(disk, b"a") == b"abcd"


def test_names_come_go_and_move_with_their_content():
    script = Script().opens(b"t").writes(b"t", b"new").does("close", b"t").renames(b"t", b"a")
    script.opens(b"b").unlinks(b"b")
    disk, changes = played(script)
    assert (at(disk, b"a"), at(disk, b"t"), at(disk, b"b")) == (b"new", None, None)
    assert [change.kind for change in changes] == ["name", "data", "name", "name", "name"]


def test_opening_for_writing_empties_what_is_there():
    script = Script().opens(b"a").writes(b"a", b"abc").does("close", b"a").opens(b"a")
    disk, changes = played(script)
    assert at(disk, b"a") == b""
    assert changes[-1].kind == "size"


def test_files_and_folders_are_forced_to_the_disk_apart():
    script = Script().opens(b"a").does("fsync", b"a").opens(b"", 4, "O_RDONLY|O_DIRECTORY")
    script.does("fsync", b"", 4)
    _, changes = played(script)
    assert [change.kind for change in changes] == ["name", "synced", "folder"]


def test_elsewhere_is_nobodys_business():
    disk, changes = played(Script(b"/etc").opens(b"a").writes(b"a", b"abc"))
    assert (disk.names, changes) == ({}, [])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            f"mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{hexed(b'/r/a')}>, 0) = 0x7f",
            "mapping",
        ),
        ("io_uring_setup(8, {flags=0}) = 5", "io_uring"),
        (f"sendfile(3<{hexed(b'/r/A/nn/a')}>, 4<{hexed(b'/q')}>, NULL, 9) = 9", "kernel"),
        (f'rename("{hexed(b"/q")}", "{hexed(b"/r/A/nn/b")}") = 0', "elsewhere"),
    ],
)
def test_what_is_not_seen_is_told(line, why):
    disk, _ = played(Script().opens(b"a").line(line))
    assert why in " ".join(disk.blind)


def test_a_private_mapping_is_none_of_that():
    mapped = f"mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3<{hexed(b'/r/A/nn/a')}>, 0) = 0x7f"
    assert played(Script().opens(b"a").line(mapped))[0].blind == []


def test_it_ends_as_the_real_disk_does(tmp_path):
    needs_strace()
    code = """
import os, sys
os.chdir(sys.argv[1]); os.close(os.open(".", os.O_RDONLY))
with open("a", "wb") as stream:
    stream.write(b"x" * 100000); stream.seek(10); stream.write(b"y" * 5000); stream.truncate(60000)
fd = os.open("b", os.O_CREAT | os.O_RDWR)
os.pwritev(fd, [b"one", b"two"], 100); os.write(fd, b"head"); os.ftruncate(fd, 50)
other = os.dup(fd); os.write(other, b"more"); os.close(other); os.close(fd)
os.link("b", "c"); os.replace("a", "d"); os.mkdir("sub"); os.rename("c", "sub/c")
with open("d", "ab") as stream:
    stream.write(b"tail")
os.rename("sub", "moved"); open("gone", "w").close(); os.unlink("gone")
"""
    folder, log = tmp_path / "disk", tmp_path / "log"
    folder.mkdir()
    subprocess.run(
        [
            *Tracing(log, whole=True).arguments(starts=True),
            "--",
            sys.executable,
            "-c",
            code,
            folder,
        ],
        check=True,
    )
    disk = Disk(os.fsencode(folder))
    for call in read_log(log.read_text("ascii").splitlines()):
        disk.replay(call)
    real = {os.fsencode(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: disk.at(path) for path in disk.names} == real
    assert disk.blind == []
