"""Finding runs and listing what stands in them, whatever links and names a folder holds."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.evidence.runs import EntryKind, NoRunError, find_runs, scan_run

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = "events.out.tfevents.1700000000.host"


def _run(folder: Path) -> Path:
    """A run with a checkpoint and an event file."""
    for part, name in (("nn", "A.pth"), ("summaries", EVENTS)):
        (folder / part).mkdir(parents=True)
        (folder / part / name).write_bytes(b"x")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty root of runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def unlistable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return what makes a folder refuse to be listed; the superuser may list any."""
    hidden: set[str] = set()
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if str(path) in hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda path: hidden.add(str(path))


# --- what a path means ----------------------------------------------------------------------


def test_a_run_is_found_by_its_own_path(root: Path) -> None:
    assert find_runs(_run(root / "A")) == (root / "A",)


@pytest.mark.parametrize("part", ["nn", "summaries"])
def test_one_of_the_two_folders_makes_a_run(root: Path, part: str) -> None:
    (root / "A" / part).mkdir(parents=True)
    assert find_runs(root / "A") == (root / "A",)
    assert find_runs(root) == (root / "A",)


@pytest.mark.parametrize("part", ["nn", "summaries"])
def test_a_folder_of_a_run_stands_for_the_run(root: Path, part: str) -> None:
    assert find_runs(_run(root / "A") / part) == (root / "A",)


def test_a_run_called_nn_is_a_run(root: Path) -> None:
    assert find_runs(_run(root / "nn")) == (root / "nn",)
    assert find_runs(root) == (root / "nn",)  # what only holds folders is no part of a run


def test_a_root_stands_for_all_its_runs_in_order(root: Path) -> None:
    runs = [_run(root / name) for name in ("B", "A", "a", "A b")]
    assert find_runs(root) == tuple(sorted(runs))


def test_roots_may_be_nested(root: Path) -> None:
    runs = [
        _run(root / "Ant" / "2024-01-01_00-00-00"),
        _run(root / "Ant" / "x" / "y"),
        _run(root / "B"),
    ]
    assert find_runs(root) == tuple(sorted(runs))


@pytest.mark.parametrize("suffix", ["/", "//", "/.", "/nn/", "/nn/..", "/../A"])
def test_a_path_may_be_spelled_in_many_ways(root: Path, suffix: str) -> None:
    _run(root / "A")
    assert find_runs(Path(f"{root}/A{suffix}")) == (root / "A",)


def test_relative_paths_become_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(root / "A")
    for folder, path in ((root, "A"), (root, "."), (root / "A", "."), (root / "A" / "nn", ".")):
        monkeypatch.chdir(folder)
        assert find_runs(Path(path)) == (root / "A",)
    monkeypatch.chdir(root / "A" / "nn")
    assert find_runs(Path("..")) == (root / "A",)
    assert scan_run(Path("..")).experiment == "A"


def test_other_folder_names_come_from_the_profile(root: Path) -> None:
    (root / "A" / "ckpt").mkdir(parents=True)
    assert find_runs(root, checkpoints="ckpt", summaries="tb") == (root / "A",)
    assert find_runs(root / "A" / "ckpt", checkpoints="ckpt", summaries="tb") == (root / "A",)
    with pytest.raises(NoRunError):
        find_runs(root)


@pytest.mark.parametrize("stray", ["model.pth", "model.pt", "model.ckpt", EVENTS, "config.yaml"])
def test_a_folder_of_strays_is_a_run_with_a_broken_layout(root: Path, stray: str) -> None:
    _run(root / "A")
    (root / "stray" / "deep").mkdir(parents=True)
    (root / "stray" / "deep" / stray).touch()
    assert find_runs(root) == (root / "A", root / "stray" / "deep")
    assert find_runs(root / "stray") == find_runs(root / "stray" / "deep")
    assert find_runs(root / "stray" / "deep") == (root / "stray" / "deep",)


def test_folders_of_other_things_are_no_runs(root: Path) -> None:
    _run(root / "A")
    (root / "videos").mkdir()
    (root / "videos" / "play.mp4").touch()
    (root / "empty" / "emptier").mkdir(parents=True)
    (root / "notes.txt").touch()
    assert find_runs(root) == (root / "A",)


# --- paths that lead to nothing -------------------------------------------------------------


def test_a_missing_path_is_an_error(root: Path) -> None:
    with pytest.raises(NoRunError, match=r"gone': No such file or directory; give a run folder"):
        find_runs(root / "gone")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("A.pth", "a checkpoint by itself; give the run's folder"),
        (EVENTS, "an event file; give the run's folder"),
        ("runs.tar.gz", "an archive; unpack it"),
        ("notes.txt", "not a folder; give the run's folder that holds nn/$"),
    ],
)
def test_a_file_is_no_folder(root: Path, name: str, said: str) -> None:
    (root / name).touch()
    with pytest.raises(NoRunError, match=said):
        find_runs(root / name)


def test_an_empty_folder_holds_no_run(root: Path) -> None:
    with pytest.raises(NoRunError, match="no run found; looked for folders that hold nn/"):
        find_runs(root)


def test_an_error_quotes_a_hostile_path(root: Path) -> None:
    with pytest.raises(NoRunError) as caught:
        find_runs(root / "x\x1b[31m\n\udcff")
    assert str(caught.value).isprintable()


def test_a_folder_that_cannot_be_listed_is_an_error(
    root: Path, unlistable: Callable[[Path], None]
) -> None:
    unlistable(root)
    with pytest.raises(NoRunError, match="cannot be listed: Permission denied"):
        find_runs(root)


def test_a_run_that_cannot_be_listed_is_not_passed_over(
    root: Path, unlistable: Callable[[Path], None]
) -> None:
    _run(root / "A")
    _run(root / "B")
    unlistable(root / "A")
    assert find_runs(root) == (root / "A", root / "B")


# --- links ----------------------------------------------------------------------------------


def test_a_link_to_a_run_elsewhere_is_a_run(root: Path, tmp_path: Path) -> None:
    elsewhere = _run(tmp_path / "disk" / "A")
    (root / "linked").symlink_to(elsewhere)
    assert find_runs(root) == (root / "linked",)
    assert find_runs(root / "linked") == (root / "linked",)
    assert scan_run(root / "linked").experiment == "linked"


def test_a_link_to_a_neighbour_is_not_a_second_run(root: Path) -> None:
    _run(root / "A")
    (root / "latest").symlink_to("A")
    (root / "absolute").symlink_to(root / "A")
    assert find_runs(root) == (root / "A",)


def test_a_link_to_a_root_elsewhere_leads_to_its_runs(root: Path, tmp_path: Path) -> None:
    _run(tmp_path / "disk" / "A")
    (root / "more").symlink_to(tmp_path / "disk")
    assert find_runs(root) == (root / "more" / "A",)


@pytest.mark.parametrize("target", ["loop", ".", "..", "/", "gone", "loop/loop", "../runs/loop"])
def test_a_link_in_a_circle_hides_no_run(root: Path, target: str) -> None:
    _run(root / "A")
    (root / "loop").symlink_to(target)
    (root / "A" / "loop").symlink_to(target)
    assert find_runs(root) == (root / "A",)
    assert find_runs(root / "A") == (root / "A",)


def test_a_link_in_a_circle_is_no_folder(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(NoRunError, match="Too many levels of symbolic links"):
        find_runs(root / "loop")


@pytest.mark.parametrize("part", ["nn", "summaries"])
def test_a_folder_of_the_run_may_be_a_link(root: Path, tmp_path: Path, part: str) -> None:
    (root / "A").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "A.pth").write_bytes(b"x")
    (root / "A" / part).symlink_to(tmp_path / "disk")
    assert find_runs(root) == (root / "A",)
    assert [entry.relative for entry in scan_run(root / "A").entries] == [part, f"{part}/A.pth"]


@pytest.mark.parametrize("target", ["nn", ".", "..", "nn/nn"])
def test_nn_as_a_link_in_a_circle_ends(root: Path, target: str) -> None:
    _run(root / "A")
    (root / "A" / "nn" / "A.pth").unlink()
    (root / "A" / "nn").rmdir()
    (root / "A" / "nn").symlink_to(target)
    entries = scan_run(root / "A").entries
    assert 3 <= len(entries) <= 8
    assert entries[0].relative == "nn"
    assert entries[0].is_link


# --- what stands in a run -------------------------------------------------------------------


def _by_name(run: Path) -> dict[str, tuple[EntryKind, bool, bool, int]]:
    return {
        entry.relative: (entry.kind, entry.is_link, entry.inside, entry.size)
        for entry in scan_run(run).entries
    }


def test_a_run_is_listed_whole_and_sorted(root: Path) -> None:
    run = _run(root / "A")
    (run / "config.yaml").write_text("name: A\n")
    (run / "nn" / "old").mkdir()
    (run / "nn" / "old" / "B.pth").write_bytes(b"four")
    folder = scan_run(run)
    assert (folder.path, folder.experiment, folder.problems) == (run, "A", ())
    listed = [entry.relative for entry in folder.entries]
    assert listed == sorted(
        [
            "config.yaml",
            "nn",
            "nn/A.pth",
            "nn/old",
            "nn/old/B.pth",
            "summaries",
            f"summaries/{EVENTS}",
        ]
    )
    deep = folder.entries[listed.index("nn/old/B.pth")]
    assert (deep.name, deep.folder, deep.size, deep.kind) == ("B.pth", "nn/old", 4, EntryKind.FILE)
    assert deep.path == run / "nn" / "old" / "B.pth"
    assert [entry.name for entry in folder.at("nn")] == ["A.pth", "old"]
    assert [entry.name for entry in folder.at("")] == ["config.yaml", "nn", "summaries"]
    assert folder.at("gone") == ()


def test_a_missing_run_is_empty(root: Path) -> None:
    folder = scan_run(root / "gone")
    assert (folder.entries, folder.experiment, folder.problems) == ((), "gone", ())


def test_links_say_where_they_lead(root: Path, tmp_path: Path) -> None:
    run = _run(root / "A")
    (tmp_path / "outside.pth").write_bytes(b"outside")
    (root / "A-sibling.pth").write_bytes(b"sibling")
    for name, target in {
        "in": "A.pth",
        "in-absolute": run / "nn" / "A.pth",
        "through-another": "in",
        "out": tmp_path / "outside.pth",
        "sibling": "../../A-sibling.pth",
        "to-out": "out",
        "broken": "gone",
        "loop": "loop",
        "folder": "../summaries",
        "whole-run": "..",
    }.items():
        (run / "nn" / name).symlink_to(target)
    found = _by_name(run)
    file, folder = EntryKind.FILE, EntryKind.FOLDER
    assert found["nn/A.pth"] == (file, False, True, 1)
    assert found["nn/in"] == found["nn/in-absolute"] == (file, True, True, 1)
    assert found["nn/through-another"] == (file, True, True, 1)
    assert found["nn/out"] == found["nn/to-out"] == (file, True, False, 7)
    assert found["nn/sibling"] == (file, True, False, 7)
    assert found["nn/broken"] == found["nn/loop"] == (EntryKind.BROKEN_LINK, True, True, 0)
    assert found["nn/folder"] == (folder, True, True, 0)
    assert found["nn/whole-run"] == (folder, True, False, 0)
    assert not any(name.startswith(("nn/folder/", "nn/whole-run/")) for name in found)


def test_a_link_inside_a_linked_run_stays_inside(root: Path, tmp_path: Path) -> None:
    real = _run(tmp_path / "disk" / "A")
    (real / "nn" / "link.pth").symlink_to("A.pth")
    (root / "A").symlink_to(real)
    assert _by_name(root / "A")["nn/link.pth"] == (EntryKind.FILE, True, True, 1)


def test_special_files_are_listed_and_not_opened(root: Path) -> None:
    run = _run(root / "A")
    os.mkfifo(run / "nn" / "pipe.pth")
    with socket.socket(socket.AF_UNIX) as server:
        # A socket's path is short; from inside the folder it always fits.
        folder = os.open(run / "nn", os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{folder}/socket.pth")
        finally:
            os.close(folder)
        found = _by_name(run)
    assert found["nn/pipe.pth"] == found["nn/socket.pth"] == (EntryKind.OTHER, False, True, 0)


@pytest.mark.parametrize("hidden", ["", "nn", "summaries", "videos"])
def test_a_folder_that_cannot_be_listed_is_told(
    root: Path, unlistable: Callable[[Path], None], hidden: str
) -> None:
    run = _run(root / "A")
    (run / "videos").mkdir()
    unlistable(run / hidden)
    folder = scan_run(run)
    assert folder.unlisted == (hidden,)
    assert folder.problems == (f"{hidden or '.'!a} cannot be listed whole: Permission denied",)
    assert not any(entry.folder == hidden for entry in folder.entries)


# --- hostile names and sizes ----------------------------------------------------------------

HOSTILE = ("x[1]", "a\nb", "\x1b[31m", "\udcff\udcfe", "-rf", " ", "*", "a\u202eb", "e\u0301", "\\")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_names(root: Path, name: str) -> None:
    run = _run(root / name)
    (run / "nn" / f"{name}.pth").write_bytes(b"x")
    assert find_runs(root) == (run,)
    assert find_runs(run / "nn") == (run,)
    folder = scan_run(run)
    assert folder.experiment == name
    assert f"nn/{name}.pth" in [entry.relative for entry in folder.entries]
    assert all(entry.path.exists() for entry in folder.entries)


def test_neighbours_with_hostile_names_are_all_found(root: Path) -> None:
    runs = [_run(root / name) for name in HOSTILE]
    assert find_runs(root) == tuple(sorted(runs))


def test_folders_nested_too_deep_are_told(root: Path) -> None:
    run = _run(root / "A")
    deep = run / "nn"
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "B.pth").touch()
    folder = scan_run(run)
    assert len(folder.unlisted) == 1
    assert "more than 16 folders deep" in folder.problems[0]
    assert find_runs(root) == (run,)


def test_a_very_deep_root_ends(root: Path) -> None:
    deep = root
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(NoRunError):
        find_runs(root)


def test_too_many_entries_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.evidence.runs._MOST_ENTRIES", 10)
    run = _run(root / "A")
    for number in range(20):
        (run / "nn" / f"{number}.pth").touch()
    folder = scan_run(run)
    assert len(folder.entries) == 10
    assert folder.unlisted == ("nn",)
    assert "more than 10 entries" in folder.problems[0]


def test_a_big_folder_is_listed_once_and_quickly(root: Path) -> None:
    run = _run(root / "A")
    for number in range(5000):
        (run / "nn" / f"last_Aep{number}rew1.0.pth").touch()
    started = time.process_time()
    assert find_runs(root) == (run,)
    assert len(scan_run(run).at("nn")) == 5001
    assert time.process_time() - started < 2.0
