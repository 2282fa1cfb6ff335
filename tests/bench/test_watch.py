"""Timing files from outside: what counts as a save, when it began and when it had its name."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conformance.bench.watch import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    Seen,
    TimedSave,
    Watch,
    WatchError,
    saves_of,
)


def told(*events: tuple[int, str]) -> list[Seen]:
    """What the kernel tells, a second apart; moves belong together."""
    return [Seen(float(at), mask, 7, name) for at, (mask, name) in enumerate(events)]


def test_a_save_in_place_ends_when_the_file_is_closed():
    seen = told((IN_CREATE, "a"), (IN_MODIFY, "a"), (IN_CLOSE_WRITE, "a"))
    assert saves_of(seen) == (TimedSave("a", 0.0, 2.0),)
    assert saves_of(seen)[0].seconds == 2.0


def test_a_save_through_a_temporary_file_ends_with_its_name():
    seen = told(
        (IN_CREATE, "t"),
        (IN_MODIFY, "t"),
        (IN_CLOSE_WRITE, "t"),
        (IN_MOVED_FROM, "t"),
        (IN_MOVED_TO, "a"),
    )
    assert saves_of(seen) == (TimedSave("a", 0.0, 4.0),)


def test_a_file_that_is_renamed_while_it_is_open_began_with_its_first_byte():
    seen = told((IN_CREATE, "t"), (IN_MODIFY, "t"), (IN_MOVED_FROM, "t"), (IN_MOVED_TO, "a"))
    assert saves_of(seen) == (TimedSave("a", 0.0, 3.0),)


def test_a_file_that_only_goes_away_is_no_save():
    assert saves_of(told((IN_CREATE, "t"), (IN_MOVED_FROM, "t"))) == ()


def test_two_rewrites_are_two_saves():
    seen = told(*[(mask, "a") for mask in (IN_MODIFY, IN_CLOSE_WRITE, IN_MODIFY, IN_CLOSE_WRITE)])
    assert [(save.began, save.named) for save in saves_of(seen)] == [(0.0, 1.0), (2.0, 3.0)]


def test_another_process_sees_files_appear(tmp_path):
    with Watch(tmp_path) as watch:
        for number in range(3):
            temporary = tmp_path / f"\udcff{number}.tmp"
            temporary.write_bytes(b"content")
            temporary.replace(tmp_path / f"{number}.pth")
        (tmp_path / "last.pth").write_bytes(b"x")
    found = saves_of(watch.seen)
    assert [save.name for save in found] == ["0.pth", "1.pth", "2.pth", "last.pth"]
    assert all(save.seconds >= 0 for save in found)
    assert [save.named for save in found] == sorted(save.named for save in found)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WatchError, match="none cannot be watched"), Watch(tmp_path / "none"):
        pytest.fail("watched")


def test_watching_leaves_nothing_behind(tmp_path):
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with Watch(tmp_path):
        pass
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files
