"""The journal of writes: each write is counted, in order, whoever wrote; gaps are told."""

from __future__ import annotations

import ctypes
import errno
import functools
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.evidence import journal as module
from conformance.evidence.journal import (
    Action,
    Chronicle,
    Event,
    Journal,
    JournalError,
    Record,
    Watcher,
    parse_records,
    unavailable,
    writes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRITTEN, LINKED, MOVED_IN = Action.WRITTEN, Action.LINKED, Action.MOVED_IN
MOVED_OUT, DELETED, READ = Action.MOVED_OUT, Action.DELETED, Action.READ


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    """Return one watcher for all tests here, as the suite has one for all scenarios."""
    with Watcher() as one:
        yield one


@pytest.fixture(autouse=True)
def _own_mkdir() -> Iterator[None]:
    """No test leaves a recording's `os.mkdir` to the next: it would hide what the thread misses."""
    before = os.mkdir
    assert isinstance(before, types.BuiltinFunctionType)
    yield
    assert os.mkdir is before


@pytest.fixture
def nn(tmp_path: Path) -> Iterator[Path]:
    """Return a run's empty folder of checkpoints, on a memory-backed disk where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    place = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as run:
        folder = Path(run) / "nn"
        folder.mkdir()
        yield folder


@pytest.fixture
def played(watcher: Watcher, nn: Path) -> Callable[[Callable[[Path], None]], Journal]:
    """Return what records a trainer that is given `nn`."""

    def play(train: Callable[[Path], None]) -> Journal:
        with watcher.record(nn.parent, prepared=True) as recording:
            train(nn)
            return recording.stop()

    return play


def _told(journal: Journal) -> list[tuple[str, Action]]:
    return [(event.path, event.action) for event in journal.events]


def _is_whole(journal: Journal) -> bool:
    return journal.problem is None and not journal.overflowed and not journal.late


# --- each way to save is counted exactly ----------------------------------------------------


def _in_place(best: Path) -> None:
    best.write_bytes(b"x")


def _descriptor(best: Path) -> None:
    file = os.open(best, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, b"x")
    os.close(file)


def _torch_by_path(best: Path) -> None:
    torch.save({"epoch": 1}, best)


def _torch_by_file(best: Path) -> None:
    with best.open("wb") as file:
        torch.save({"epoch": 1}, file)


def _shell(best: Path) -> None:
    subprocess.run(["/bin/sh", "-c", 'printf x > "$0"', str(best)], check=True)


def _renamed(best: Path) -> None:
    temporary = best.with_suffix(".tmp")
    temporary.write_bytes(b"x")
    temporary.replace(best)


def _renamed_while_open(best: Path) -> None:
    temporary = best.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(b"x")
        file.flush()
        temporary.replace(best)


def _linked_and_renamed(best: Path) -> None:
    periodic, link = best.with_name("last.pth"), best.with_suffix(".link")
    periodic.write_bytes(b"x")
    os.link(periodic, link)
    link.replace(best)
    periodic.unlink()  # a link renamed to a name of the same file does nothing


def _unlinked_and_linked(best: Path) -> None:
    periodic = best.with_name("last.pth")
    periodic.write_bytes(b"x")
    best.unlink(missing_ok=True)
    os.link(periodic, best)


def _unlinked_and_linked_symbolically(best: Path) -> None:
    best.unlink(missing_ok=True)
    best.symlink_to("last.pth")


SAVERS = [
    _in_place,
    _descriptor,
    _torch_by_path,
    _torch_by_file,
    _shell,
    _renamed,
    _renamed_while_open,
    _linked_and_renamed,
    _unlinked_and_linked,
    _unlinked_and_linked_symbolically,
]


@pytest.mark.parametrize("times", [1, 2, 200])
@pytest.mark.parametrize("save", SAVERS)
def test_successive_saves_are_counted(
    played: Callable[[Callable[[Path], None]], Journal], save: Callable[[Path], None], times: int
) -> None:
    if save is _shell:
        times = min(times, 20)  # a process each

    def train(nn: Path) -> None:
        for _ in range(times):
            save(nn / "A.pth")

    journal = played(train)
    assert writes(journal, "nn").count("A.pth") == times
    assert _is_whole(journal)
    assert journal.unclosed == ()


def test_two_hundred_rewrites_by_one_other_process_are_counted(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    script = 'i=0; while [ $i -lt 200 ]; do printf x > "$0"; i=$((i+1)); done'

    def train(nn: Path) -> None:
        subprocess.run(["/bin/sh", "-c", script, str(nn / "A.pth")], check=True)

    assert writes(played(train), "nn") == ("A.pth",) * 200


def test_two_flushes_of_one_open_file_are_one_write(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        with (nn / "A.pth").open("wb") as file:
            for _ in range(2):
                file.write(b"x")
                file.flush()

    assert _told(played(train)) == [("nn/A.pth", WRITTEN)]


# --- what is told of each name --------------------------------------------------------------


def test_each_action_is_told_in_order(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        (nn / "a").write_bytes(b"x")
        (nn / "a").read_bytes()
        os.link(nn / "a", nn / "b")
        (nn / "s").symlink_to("a")
        (nn / "a").rename(nn.parent / "c")
        (nn / "b").unlink()

    journal = played(train)
    assert journal.events == (
        Event("nn/a", WRITTEN),
        Event("nn/a", READ),
        Event("nn/b", LINKED),
        Event("nn/s", LINKED),
        Event("nn/a", MOVED_OUT),
        Event("c", MOVED_IN, source="nn/a"),
        Event("nn/b", DELETED),
    )
    assert writes(journal, "nn") == ("a", "b", "s")
    assert writes(journal, "") == ("c",)


def test_an_empty_file_is_written(played: Callable[[Callable[[Path], None]], Journal]) -> None:
    assert _told(played(lambda nn: (nn / "a").touch())) == [("nn/a", WRITTEN)]


def test_a_temporary_file_comes_under_both_names(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    assert writes(played(lambda nn: _renamed(nn / "A.pth")), "nn") == ("A.tmp", "A.pth")


def test_a_file_that_is_renamed_open_and_closed_brings_nothing_new(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    journal = played(lambda nn: _renamed_while_open(nn / "A.pth"))
    assert _told(journal) == [("nn/A.tmp", MOVED_OUT), ("nn/A.pth", MOVED_IN)]


def test_a_file_that_is_renamed_open_and_written_then_is_new(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        with (nn / "t").open("wb") as file:
            (nn / "t").replace(nn / "A.pth")
            file.write(b"x")

    told = [("nn/t", MOVED_OUT), ("nn/A.pth", MOVED_IN), ("nn/A.pth", WRITTEN)]
    assert _told(played(train)) == told


def test_a_file_from_outside_has_no_source(watcher: Watcher, nn: Path) -> None:
    (nn.parent / "t").write_bytes(b"x")
    with watcher.record(nn, prepared=True) as recording:
        (nn.parent / "t").replace(nn / "A.pth")
    assert recording.stop().events == (Event("A.pth", MOVED_IN),)


def test_a_file_without_a_name_is_told_when_it_gets_one(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def train(nn: Path) -> None:
        file = os.open(nn, os.O_TMPFILE | os.O_RDWR)
        os.write(file, b"x")
        source, follow = f"/proc/self/fd/{file}".encode(), 0x400
        assert libc.linkat(-100, source, -100, os.fsencode(nn / "A.pth"), follow) == 0
        os.close(file)

    assert _told(played(train)) == [("nn/A.pth", LINKED)]


def test_a_link_that_is_read_is_still_a_link(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        (nn / "a").write_bytes(b"x")
        os.link(nn / "a", nn / "b")
        (nn / "b").read_bytes()

    assert _told(played(train))[1:] == [("nn/b", LINKED), ("nn/b", READ)]


def test_a_new_file_that_is_read_while_it_is_written_is_no_link(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        with (nn / "a").open("wb", buffering=0) as file:
            (nn / "a").read_bytes()
            file.write(b"x")
            (nn / "a").read_bytes()

    assert _told(played(train)) == [("nn/a", READ), ("nn/a", READ), ("nn/a", WRITTEN)]


def test_a_file_that_is_removed_while_it_is_written_is_only_deleted(
    played: Callable[[Callable[[Path], None]], Journal],
) -> None:
    def train(nn: Path) -> None:
        with (nn / "a").open("wb") as file:
            (nn / "a").unlink()
            file.write(b"x")

    assert _told(played(train)) == [("nn/a", DELETED)]


def test_what_is_not_closed_is_named(
    played: Callable[[Callable[[Path], None]], Journal], nn: Path
) -> None:
    (nn / "b").write_bytes(b"xx")
    with (nn / "a").open("wb") as file:  # opened before: its change tells of it

        def train(nn: Path) -> None:
            file.write(b"x")
            file.flush()
            os.truncate(nn / "b", 1)
            (nn / "c").write_bytes(b"x")

        journal = played(train)
    assert journal.unclosed == ("nn/a", "nn/b")
    assert _told(journal) == [("nn/c", WRITTEN)]


def test_a_new_file_that_stays_open_is_no_link(watcher: Watcher, nn: Path) -> None:
    with watcher.record(nn, prepared=True) as recording, (nn / "a").open("wb"):
        journal = recording.stop()
    assert journal.events == ()
    assert journal.unclosed == ("a",)


@pytest.mark.parametrize(
    "name", [b"new\nline.pth", b"\xff\xfe.pth", b"x" * 255, b" ", "é".encode()]
)
def test_any_name_is_told(played: Callable[[Callable[[Path], None]], Journal], name: bytes) -> None:
    def train(nn: Path) -> None:
        for _ in range(2):
            with open(os.path.join(os.fsencode(nn), name), "wb"):  # noqa: PTH118, PTH123 - bytes
                pass

    assert writes(played(train), "nn") == (os.fsdecode(name),) * 2


# --- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", [True, False])
def test_folders_that_this_process_makes_are_never_late(
    watcher: Watcher, tmp_path: Path, *, prepared: bool
) -> None:
    for number in range(50):
        root = tmp_path / str(number)
        root.mkdir()
        with watcher.record(root, prepared=prepared) as recording:
            os.makedirs(root / "A/nn/deep")  # noqa: PTH103 - the call that trainers use
            torch.save({"epoch": 1}, root / "A/nn/A.pth")
            (root / "A/nn/deep/er").mkdir()
            (root / "A/nn/deep/er/x").touch()
            journal = recording.stop()
        assert _told(journal) == [("A/nn/A.pth", WRITTEN), ("A/nn/deep/er/x", WRITTEN)]
        assert _is_whole(journal)


@pytest.mark.parametrize("prepared", [True, False])
def test_a_folder_of_another_process_is_told_whole_or_late(
    watcher: Watcher, tmp_path: Path, *, prepared: bool
) -> None:
    script = 'mkdir -p "$0/A/nn" && printf x > "$0/A/nn/a" && printf x > "$0/A/nn/a"'
    for number in range(30):
        root = tmp_path / str(number)
        root.mkdir()
        with watcher.record(root, prepared=prepared) as recording:
            subprocess.run(["/bin/sh", "-c", script, str(root)], check=True)
            journal = recording.stop()
        assert journal.late in ((), ("A/nn",))
        assert journal.problem is None
        if not journal.late:
            assert writes(journal, "A/nn") == ("a", "a")


def test_a_folder_that_held_a_file_before_it_was_watched_is_late(
    watcher: Watcher, tmp_path: Path
) -> None:
    mkdir = os.mkdir  # makes folders as a C++ trainer does
    with watcher.record(tmp_path, prepared=True) as recording, watcher._lock:
        for name in ("full", "empty", "full/deep", "gone"):
            mkdir(tmp_path / name)
        (tmp_path / "full/deep/x").touch()
        (tmp_path / "gone/x").touch()
        (tmp_path / "gone/x").unlink()
        (tmp_path / "gone").rmdir()
        journal = recording.stop()
    assert journal.late == ("full/deep",)
    assert journal.problem is None
    assert Event("gone", DELETED, folder=True) in journal.events


def test_what_comes_between_a_folders_watch_and_its_listing_is_not_late(
    watcher: Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, listing = os.mkdir, module.Recording._list

    def list_late(self: module.Recording, prefix: str) -> tuple[list[str], list[str]]:
        if prefix == "a/":
            mkdir(tmp_path / "a/deep")
            (tmp_path / "a/x").touch()
        return listing(self, prefix)

    monkeypatch.setattr(module.Recording, "_list", list_late)
    with watcher.record(tmp_path, prepared=True) as recording:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/deep/y").touch()
        journal = recording.stop()
    assert _told(journal) == [("a/x", WRITTEN), ("a/deep/y", WRITTEN)]
    assert _is_whole(journal)
    (tmp_path / "a/x").unlink()
    (tmp_path / "a/deep/y").unlink()
    (tmp_path / "a/deep").rmdir()
    (tmp_path / "a").rmdir()
    # Neither the thread nor os.mkdir comes in: the folder is found when stopping.
    with watcher.record(tmp_path, prepared=True) as recording, watcher._lock:
        mkdir(tmp_path / "a")
        journal = recording.stop()
    assert _told(journal) == [("a/x", WRITTEN)]
    assert _is_whole(journal)


@pytest.mark.parametrize("prepared", [True, False])
def test_the_threads_look_makes_later_writes_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, prepared: bool
) -> None:
    """The thread alone, with the process's own `os.mkdir` out of the way."""
    seen = threading.Event()
    real = Chronicle.found

    def found(self: Chronicle, watch: int, files: list[str]) -> None:
        real(self, watch, files)
        seen.set()

    monkeypatch.setattr(Chronicle, "found", found)
    mkdir = os.mkdir
    with Watcher() as watcher, watcher.record(tmp_path, prepared=prepared) as recording:
        mkdir(tmp_path / "nn")
        assert seen.wait(30)
        (tmp_path / "nn/x").touch()
        journal = recording.stop()
    assert writes(journal, "nn") == ("x",)
    assert _is_whole(journal)


def test_a_folder_renamed_empty_keeps_being_watched(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "a/deep").mkdir(parents=True)
    with watcher.record(tmp_path, prepared=True) as recording:
        (tmp_path / "a/x").touch()
        (tmp_path / "a/x").unlink()
        (tmp_path / "a").rename(tmp_path / "b")
        watcher.look()
        (tmp_path / "b/x").touch()
        (tmp_path / "b/deep/y").touch()
        journal = recording.stop()
    assert journal.events[2:] == (
        Event("a", MOVED_OUT, folder=True),
        Event("b", MOVED_IN, source="a", folder=True),
        Event("b/x", WRITTEN),
        Event("b/deep/y", WRITTEN),
    )
    assert _is_whole(journal)


def test_a_folder_renamed_with_its_files_is_late_under_its_new_name(
    watcher: Watcher, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    with watcher.record(tmp_path, prepared=True) as recording:
        (tmp_path / "a/x").touch()
        (tmp_path / "a").rename(tmp_path / "b")
        journal = recording.stop()
    assert journal.late == ("b",)
    assert writes(journal, "a") == ("x",)


def test_a_folder_renamed_around_an_open_file_does_not_make_it_a_link(
    watcher: Watcher, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    with watcher.record(tmp_path, prepared=True) as recording:
        with (tmp_path / "a/x").open("wb"):
            (tmp_path / "a").rename(tmp_path / "b")
        journal = recording.stop()
    assert [told for told in _told(journal) if told[0].endswith("x")] == [("b/x", WRITTEN)]
    assert journal.late == ("b",)
    assert journal.unclosed == ()


def test_a_folder_moved_away_is_heard_of_no_more(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    with watcher.record(tmp_path / "root", prepared=True) as recording:
        (tmp_path / "root/a").rename(tmp_path / "a")
        watcher.look()
        (tmp_path / "a/x").touch()
        journal = recording.stop()
    assert journal.events == (Event("a", MOVED_OUT, folder=True),)
    descriptors = Path(f"/proc/self/fdinfo/{watcher._kernel.fd}").read_text()
    assert "inotify wd" not in descriptors  # nothing is watched any longer
    with watcher.record(tmp_path, prepared=True) as recording:
        (tmp_path / "a/y").touch()
    assert writes(recording.stop(), "a") == ("y",)


def test_a_run_that_is_cleared_and_made_anew_is_told(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "A/nn").mkdir(parents=True)
    (tmp_path / "A/nn/old").touch()
    with watcher.record(tmp_path, prepared=True) as recording:
        (tmp_path / "A/nn/old").unlink()
        (tmp_path / "A/nn").rmdir()
        (tmp_path / "A").rmdir()
        (tmp_path / "A/nn").mkdir(parents=True)
        (tmp_path / "A/nn/new").touch()
        journal = recording.stop()
    assert writes(journal, "A/nn") == ("new",)
    assert _is_whole(journal)


def test_the_watched_folders_own_end_is_a_problem(watcher: Watcher, tmp_path: Path) -> None:
    for name, end in (("removed", lambda path: path.rmdir()), ("moved", lambda p: p.rename("m"))):
        root = tmp_path / name
        root.mkdir()
        with watcher.record(root, prepared=True) as recording:
            if name == "moved":
                root.rename(tmp_path / "elsewhere")
            else:
                end(root)
        assert "the watched folder itself was removed or renamed" in str(recording.stop().problem)


@pytest.mark.parametrize("before", [True, False])
def test_a_link_to_a_folder_elsewhere_is_a_problem_and_one_inside_is_not(
    watcher: Watcher, tmp_path: Path, *, before: bool
) -> None:
    root = tmp_path / "runs"
    (root / "A").mkdir(parents=True)
    for target, problem in ((root / "A", False), (tmp_path, True)):
        link = root / "latest"
        if before:
            link.symlink_to(target)
        with watcher.record(root, prepared=True) as recording:
            if not before:
                link.symlink_to(target)
        link.unlink()
        text = recording.stop().problem
        assert (text is not None and "'latest' is a link to a folder elsewhere" in text) is problem


def test_a_link_that_took_a_new_folders_place_is_not_followed(
    watcher: Watcher, tmp_path: Path
) -> None:
    mkdir = os.mkdir
    for name in ("root", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere/x").touch()
    with watcher.record(tmp_path / "root", prepared=True) as recording, watcher._lock:
        mkdir(tmp_path / "root/a")
        (tmp_path / "root/a").rmdir()
        (tmp_path / "root/a").symlink_to(tmp_path / "elsewhere")
        journal = recording.stop()
    assert journal.late == ()
    assert journal.problem is not None


def test_order_holds_over_folders(watcher: Watcher, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    order = [f"{'ab'[number % 2]}/{number}" for number in range(100)]
    with watcher.record(tmp_path) as recording:
        for path in order:
            (tmp_path / path).touch()
    assert [event.path for event in recording.stop().events] == order


# --- a watcher's life -----------------------------------------------------------------------


def test_a_recording_holds_what_happened_between_its_ends(watcher: Watcher, nn: Path) -> None:
    (nn / "before").touch()
    with watcher.record(nn) as first:
        (nn / "first").touch()
        journal = first.stop()
    (nn / "between").touch()
    with watcher.record(nn) as second:
        (nn / "second").touch()
    (nn / "after").touch()
    assert _told(journal) == [("first", WRITTEN)]
    assert first.stop() is journal
    assert _told(second.stop()) == [("second", WRITTEN)]


def test_many_threads_are_heard(watcher: Watcher, nn: Path) -> None:
    def write(name: str) -> None:
        for _ in range(100):
            _renamed(nn / name)

    threads = [threading.Thread(target=write, args=(f"{number}.pth",)) for number in range(4)]
    with watcher.record(nn) as recording:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal = recording.stop()
    names = writes(journal, "")
    assert [names.count(f"{number}.pth") for number in range(4)] == [100] * 4
    assert _is_whole(journal)


def test_one_recording_at_a_time(watcher: Watcher, nn: Path) -> None:
    with watcher.record(nn), pytest.raises(JournalError, match="a recording is in progress"):
        watcher.record(nn)
    with Watcher() as other, watcher.record(nn) as one, other.record(nn) as two:
        (nn / "sub").mkdir()
        (nn / "sub/x").touch()
        assert one.stop() == two.stop() == Journal((Event("sub/x", WRITTEN),))


def test_a_folder_that_is_not_there_cannot_be_watched(watcher: Watcher, nn: Path) -> None:
    with pytest.raises(JournalError, match=r"a watch on '.*missing': No such file"):
        watcher.record(nn / "missing")
    (nn / "file").touch()
    with pytest.raises(JournalError, match=r"a watch on '.*file': Not a directory"):
        watcher.record(nn / "file")
    with watcher.record(nn):
        pass


def test_a_closed_watcher_says_so_and_has_stopped_its_recording(nn: Path) -> None:
    mkdir = os.mkdir
    watcher = Watcher()
    recording = watcher.record(nn)
    assert os.mkdir is not mkdir
    (nn / "x").touch()
    watcher.close()
    watcher.close()
    assert os.mkdir is mkdir
    assert writes(recording.stop(), "") == ("x",)
    with pytest.raises(JournalError, match="closed"):
        watcher.record(nn)


def test_nothing_is_left_open_or_inherited(nn: Path) -> None:
    def descriptors() -> list[str]:
        return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only

    before = descriptors(), threading.active_count()
    with Watcher() as watcher, watcher.record(nn):
        own = (watcher._kernel.fd, watcher._wake_fd, watcher._epoll.fileno())
        assert not any(map(os.get_inheritable, own))
    assert (descriptors(), threading.active_count()) == before


def test_a_replaced_mkdir_stays_replaced(
    watcher: Watcher, nn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "mkdir", os.mkdir)  # this is what comes back in the end
    with watcher.record(nn):
        watching = os.mkdir

        def other(path: str, mode: int = 0o777) -> None:
            watching(path, mode)

        monkeypatch.setattr(os, "mkdir", other)
    assert os.mkdir is other
    with watcher.record(nn) as recording:
        (nn / "sub").mkdir()
        (nn / "sub/x").touch()
    assert os.mkdir is other
    assert _is_whole(recording.stop())


def _in_child(recording: module.Recording, watcher: Watcher, folder: Path) -> None:
    (folder / "child").mkdir()
    assert recording.stop().problem == "the journal belongs to the process that forked this one"
    watcher.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_takes_nothing_away(watcher: Watcher, nn: Path) -> None:
    with watcher.record(nn, prepared=True) as recording:
        (nn / "a").touch()
        child = multiprocessing.get_context("fork").Process(
            target=_in_child, args=(recording, watcher, nn)
        )
        child.start()
        child.join()
        (nn / "b").touch()
    assert child.exitcode == 0
    assert writes(recording.stop(), "") == ("a", "b")


# --- where no journal can be had ------------------------------------------------------------


def test_journals_can_be_had_here() -> None:
    assert unavailable() is None


def test_another_platform_gives_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    text = unavailable()
    assert text is not None
    assert "no journal of writes on darwin" in text
    with pytest.raises(JournalError):
        Watcher()


class _Refusing:
    """A C library whose inotify functions fail."""

    def __init__(self, number: int, failing: str) -> None:
        self._number = number
        self._failing = failing
        self._libc = ctypes.CDLL(None)

    def __getattr__(self, name: str) -> object:
        if name != self._failing:
            return getattr(self._libc, name)

        def refuse(*_arguments: object) -> int:
            ctypes.set_errno(self._number)
            return -1

        return refuse


@pytest.mark.parametrize(
    ("number", "mend"),
    [(errno.EMFILE, "raise fs.inotify.max_user_instances"), (errno.ENOSYS, "without inotify")],
)
def test_a_refused_instance_is_explained(
    monkeypatch: pytest.MonkeyPatch, number: int, mend: str
) -> None:
    monkeypatch.setattr(module, "_libc", functools.partial(_Refusing, number, "inotify_init1"))
    assert mend in str(unavailable())


def test_a_refused_watch_is_explained(nn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = functools.partial(_Refusing, errno.ENOSPC, "inotify_add_watch")
    monkeypatch.setattr(module, "_libc", refusing)
    with Watcher() as watcher:
        with pytest.raises(JournalError, match=r"raise fs\.inotify\.max_user_watches"):
            watcher.record(nn)
        assert watcher._recording is None


def test_a_new_folder_that_cannot_be_watched_is_a_problem(
    nn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watcher() as watcher, watcher.record(nn, prepared=True) as recording:
        libc = _Refusing(errno.ENOSPC, "inotify_add_watch")
        monkeypatch.setattr(watcher._kernel, "_libc", libc)
        (nn / "sub").mkdir()
        journal = recording.stop()
    assert journal.problem is not None
    assert "the folder 'sub/' cannot be watched: No space left" in journal.problem
    assert "raise fs.inotify.max_user_watches" in journal.problem


# --- the queue ------------------------------------------------------------------------------


def _queue_length() -> int:
    with open("/proc/sys/fs/inotify/max_queued_events") as file:  # noqa: PTH123
        return int(file.read())


def _rewrite(path: Path, events: int) -> None:
    """Make at least so many events that the kernel cannot merge."""
    for _ in range(events // 2):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(opened, b"x")
        os.close(opened)


def test_a_queue_that_overflows_is_told(nn: Path) -> None:
    with Watcher() as watcher, watcher.record(nn, prepared=True) as recording:
        with watcher._lock:  # the thread is held off
            _rewrite(nn / "x", _queue_length() + 100)
        journal = recording.stop()
        assert journal.overflowed
        assert journal.problem is not None
        assert "raise fs.inotify.max_queued_events" in journal.problem
        with watcher.record(nn, prepared=True) as later:
            (nn / "x").write_bytes(b"x")
        assert later.stop() == Journal((Event("x", WRITTEN),))


def test_a_queue_that_is_drained_does_not_overflow(nn: Path) -> None:
    third = _queue_length() // 3
    with Watcher() as watcher, watcher.record(nn, prepared=True) as recording:
        for _ in range(8):
            _rewrite(nn / "x", third)
            watcher.look()
        journal = recording.stop()
    assert _is_whole(journal)
    assert len(writes(journal, "")) == 8 * (third // 2)


def test_the_thread_drains_the_queue_of_a_prepared_recording(
    nn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained = threading.Event()
    real = Chronicle.digest

    def digest(self: Chronicle, records: list[Record]) -> list[module.Appeared]:
        if records:
            drained.set()
        return real(self, records)

    monkeypatch.setattr(Chronicle, "digest", digest)
    with Watcher() as watcher:
        for _ in range(2):  # the thread falls asleep between recordings, and is woken
            with watcher.record(nn, prepared=True) as recording:
                drained.clear()
                (nn / "x").write_bytes(b"x")
                assert drained.wait(30)
            assert writes(recording.stop(), "") == ("x",)


# --- records, without a kernel --------------------------------------------------------------

NAMES = st.binary(max_size=255).filter(lambda name: b"\0" not in name)
RECORDS = st.builds(
    Record,
    st.integers(-1, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    NAMES,
)


def _encode(record: Record) -> bytes:
    """Lay a record out as the kernel does: the name is padded with NUL to whole headers."""
    name = record.name
    if name:
        name += b"\0" * (16 - len(name) % 16)
    return struct.pack("=iIII", record.watch, record.mask, record.cookie, len(name)) + name


@settings(deadline=None)
@given(st.lists(RECORDS))
def test_records_are_read_as_they_were_written(records: list[Record]) -> None:
    assert parse_records(b"".join(map(_encode, records))) == records


@settings(deadline=None)
@given(st.lists(RECORDS, min_size=1), st.data())
def test_records_that_are_cut_are_refused(records: list[Record], data: st.DataObject) -> None:
    *whole, last = map(_encode, records)
    cut = data.draw(st.integers(1, len(last) - 1))
    with pytest.raises(ValueError, match="inotify"):
        parse_records(b"".join(whole) + last[:cut])


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        records = parse_records(data)
    except ValueError:
        return
    assert 16 * len(records) + sum(len(record.name) for record in records) <= len(data)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Record,
            st.integers(-1, 4),
            st.lists(st.sampled_from([1 << bit for bit in range(16)]), max_size=3).map(sum)
            | st.sampled_from([0x40000040, 0x40000080, 0x40000100, 0x40000200]),
            st.integers(0, 2),
            st.sampled_from([b"", b"a", b"b", b"\xff"]),
        )
    )
)
def test_no_sequence_of_records_breaks_the_chronicle(records: list[Record]) -> None:
    chronicle = Chronicle(1, {1: "", 2: "a/", 3: "a/b/"})
    chronicle.found(3, ["a"])
    chronicle.digest(records)
    journal = chronicle.journal()
    created = sum(bool(record.mask & module.IN_CREATE) for record in records)
    assert sum(event.action is LINKED for event in journal.events) <= created
    assert journal.overflowed == any(record.mask & module.IN_Q_OVERFLOW for record in records)


def _digest(*records: Record, listed: tuple[str, ...] = ()) -> Journal:
    """What a new folder `nn` tells, in which those names were found."""
    chronicle = Chronicle(1, {1: "", 2: "nn/"})
    chronicle.found(2, listed)
    chronicle.digest(records)
    return chronicle.journal()


def test_a_listed_file_is_explained_by_its_creation_alone() -> None:
    created = Record(2, module.IN_CREATE, 0, b"x")
    opened = Record(2, module.IN_OPEN, 0, b"x")
    closed = Record(2, module.IN_CLOSE_WRITE, 0, b"x")
    moved = Record(2, module.IN_MOVED_TO, 7, b"x")
    deleted = Record(2, module.IN_DELETE, 0, b"x")
    assert _digest(created, opened, closed, listed=("x",)).late == ()
    assert _digest(moved).late == ()
    assert _digest(listed=("x",)).late == ("nn",)
    assert _digest(closed, listed=("x",)).late == ("nn",)
    assert _digest(moved, listed=("x",)).late == ("nn",)  # it may have replaced an older one
    assert _digest(deleted, created, opened, closed, listed=("x",)).late == ("nn",)
    assert _digest(deleted).late == ("nn",)
    ended = Record(2, module.IN_IGNORED, 0, b"")
    assert _digest(ended, listed=("x",)).late == ("nn",)
    assert _digest(ended).late == ()


def test_creation_and_opening_may_be_torn_apart_a_little() -> None:
    """Another thread's events come between the two of one call; a link's opening comes later."""
    created = Record(2, module.IN_CREATE, 0, b"x")
    other = [Record(2, module.IN_MODIFY, 0, b"y"), Record(2, module.IN_CLOSE_WRITE, 0, b"y")]
    opened = Record(2, module.IN_OPEN, 0, b"x")
    changed = Record(2, module.IN_MODIFY, 0, b"x")
    closed = Record(2, module.IN_CLOSE_WRITE, 0, b"x")
    near = _digest(Record(2, module.IN_CREATE, 0, b"y"), created, *other, opened, closed)
    assert writes(near, "nn").count("x") == 1
    far = _digest(created, *other * 3, opened, changed, closed)
    assert writes(far, "nn").count("x") == 2


def test_a_reader_of_an_empty_new_file_does_not_make_it_a_link() -> None:
    created = Record(2, module.IN_CREATE, 0, b"x")
    opened = Record(2, module.IN_OPEN, 0, b"x")
    read = Record(2, module.IN_CLOSE_NOWRITE, 0, b"x")
    closed = Record(2, module.IN_CLOSE_WRITE, 0, b"x")
    other = Record(2, module.IN_MODIFY, 0, b"y")
    journal = _digest(created, opened, other, opened, read, closed)
    assert _told(journal) == [("nn/x", READ), ("nn/x", WRITTEN)]
    assert _told(_digest(created, opened, read)) == [("nn/x", LINKED), ("nn/x", READ)]


def test_a_file_opened_for_writing_and_left_as_it_was_is_not_written(
    watcher: Watcher, nn: Path
) -> None:
    (nn / "x").write_bytes(b"weights")
    with watcher.record(nn, prepared=True) as recording:
        with (nn / "x").open("r+b") as file:
            file.read()
        unchanged = recording.stop()
    assert _told(unchanged) == [("x", READ)]
    with watcher.record(nn, prepared=True) as recording:
        with (nn / "x").open("r+b") as file:
            file.write(b"other")
        changed = recording.stop()
    assert _told(changed) == [("x", WRITTEN)]


def test_records_of_unknown_watches_are_left_out() -> None:
    assert _digest(Record(9, module.IN_CLOSE_WRITE, 0, b"x")) == Journal(())


def test_a_folder_in_use_while_it_is_renamed_is_a_problem() -> None:
    out = Record(1, module.IN_MOVED_FROM | module.IN_ISDIR, 5, b"nn")
    back = Record(1, module.IN_MOVED_TO | module.IN_ISDIR, 5, b"mm")
    used = Record(2, module.IN_CLOSE_WRITE, 0, b"x")
    assert _digest(out, used, back).problem == "a folder was in use while it was renamed"
    seen = Record(2, module.IN_MOVED_TO, 6, b"x")
    assert _digest(out, back, seen).problem is None
    assert _digest(out, back, seen).events[-1].path == "mm/x"


def test_an_unmounted_folder_is_a_problem() -> None:
    assert "unmounted" in str(_digest(Record(2, module.IN_UNMOUNT, 0, b"")).problem)
    assert _digest(Record(9, module.IN_UNMOUNT, 0, b"")).problem is None
