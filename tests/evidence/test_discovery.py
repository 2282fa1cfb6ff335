"""What is a run: the same folders from wherever one starts, each with the same in and beside it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import conformance
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.runs import NoRunError, discover, scan_run
from conformance.fixtures.case import ordinary
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.evidence.runs import RunFolder

EVENTS = "events.out.tfevents.1700000000.host"
FILES = ("A.pth", "last_Aep2rew3.0.pth", "model_50.pt", EVENTS, "config.yaml", "notes.txt")
# Trees of folders by name; a file is None. A run, an empty twin, runs of other trainers.
RUN = {"nn": {"A.pth": None}, "summaries": {EVENTS: None}, "config.yaml": None}
TWIN = {"nn": {}, "summaries": {}}
RSL = {"model_0.pt": None, EVENTS: None, "exported": {"policy.pt": None}, "git": {}}
SKRL = {EVENTS: None, "checkpoints": {"agent_64.pt": None, "best_agent.pt": None}, "params": {}}
OLD = {"nn": {"A.pth": None}, "runs": {"A_28-10-15-20": {EVENTS: None}}}
LAB = {"A": {"2024-01-01_00-00-00": RUN | {"params": {"agent.yaml": None}}}}
KNOWN = (RUN, TWIN, RSL, SKRL, OLD, LAB, {"config.yaml": None}, {EVENTS: None}, {"A.pth": None})
NAMES = ("A", "a", "B", "A_28-10-15-20", "A_28-10-15-21", "nn", "summaries", "logs", ".hydra")

# None to the root of the disk: a part that is such a link is followed, up to the budget.
LINKS = ("loop", ".", "..", "gone", "neighbour", "elsewhere")

Tree = dict[str, object]


def made(folder: Path, tree: Tree, disk: Path) -> Path:
    """Make the tree below a folder; what stands elsewhere, and is linked to, on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = folder / name
        if content is None:
            path.write_bytes(b"x")
        elif isinstance(content, dict):
            made(path, content, disk)
        elif content == "elsewhere":
            disk.mkdir(exist_ok=True)
            target = disk / str(len(os.listdir(disk)))  # noqa: PTH208 - how many there are
            path.symlink_to(made(target, dict(KNOWN[len(name) % len(KNOWN)]), disk))
        elif content == "neighbour":
            path.symlink_to(min((other for other in tree if other != name), default="gone"))
        else:
            path.symlink_to(content)
    return folder


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Tree:
    """Return a tree of roots, strays, runs of several trainers, and folders of any name."""
    if depth < 4 and draw(st.integers(0, 2)) == 0:
        return dict(draw(st.sampled_from(KNOWN)))
    tree: Tree = dict.fromkeys(draw(st.lists(st.sampled_from(FILES), max_size=2)))
    if depth:
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
            tree[name] = draw(
                st.sampled_from(LINKS) if draw(st.integers(0, 5)) == 0 else trees(depth - 1)
            )
    return tree


def folders(top: Path) -> Iterator[Path]:
    """Yield each folder at and below the top."""
    for path, _, _ in os.walk(top):
        yield Path(path)


def seen_from(start: Path) -> dict[Path, RunFolder]:
    """The runs that a path means, as they are listed."""
    try:
        runs = discover(start).runs
    except NoRunError:
        return {}
    return {run.path: scan_run(run) for run in runs}


@given(trees())
@example({"x.pth": None, "A": RUN, "B": RUN})
@example({"config.yaml": None, "A": RUN, "a": RUN})
@example({"nn": {"A.pth": None}, "runs": {"A": RUN, "A_28-10-15-20": {EVENTS: None}}})
@example({"A": {"nn": {"nn": {"A.pth": None}, "A.pth": None}, "summaries": {}}})
@example({"A": {"nn": {}, "x": {"A.pth": None}}, "nn": {"nn": {"A.pth": None}}})
@example({"A": RSL | {"exported": RUN}})
@example({"A_28-10-15-20": RUN, "A_28-10-15-21": TWIN, "A_28-10-15-22": TWIN})
def test_what_is_found_does_not_depend_on_the_start(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as root:
        top = made(Path(root) / "logs", tree, Path(root) / "disk")
        whole = seen_from(top)
        for start in folders(top):
            seen = seen_from(start)
            below = {path: run for path, run in whole.items() if path.is_relative_to(start)}
            if below:
                assert seen == below
            else:
                assert len(seen) <= 1
                assert all(start.is_relative_to(path) for path in seen)
                assert seen.items() <= whole.items()


# --- verdicts -------------------------------------------------------------------------------

PROFILES = ("isaacgymenvs", "rl_games-1.5", "rl_games-1.6")


@st.composite
def disks(draw: st.DrawFn) -> list[tuple[str, ...]]:
    """Return what to put on a disk, in this order: a kind, a folder, and names."""
    roots = ("runs", "logs/rl_games", "logs/rl_games/deep/er")
    kinds = ("run", "renamed", "twin", "stray", "other", "link", "nested")
    return [
        (
            draw(st.sampled_from(kinds)),
            draw(st.sampled_from(roots)),
            draw(st.sampled_from(("Ant", "ant", "Bee"))),
            draw(st.sampled_from(PROFILES)),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


def put(top: Path, kind: str, root: str, name: str, profile: str) -> None:
    """Put one thing on the disk, where nothing stands in its place."""
    folder, experiment = top / root, f"{name}_28-10-15-20"
    given_settings = Settings(name, 2, 4, save_best_after=None if profile == "isaacgymenvs" else 0)
    if kind == "stray":
        made(folder, {f"{name}.pth": None, "config.yaml": None}, top)
        return
    place = {
        "renamed": folder / f"{name}-good",
        "twin": folder / f"{name}_28-10-15-22",
        "other": folder / f"{name}-rsl",
        "link": folder / f"{name}-linked",
        "nested": folder / experiment / "backup" / name,
    }.get(kind, folder / (name if profile == "isaacgymenvs" else experiment))
    if place.is_symlink() or place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("twin", "other"):
        made(place, TWIN if kind == "twin" else RSL, top)
        return
    with tempfile.TemporaryDirectory(dir=top.parent) as aside:
        run = play(given_settings, [Session((1.0, 3.0, 2.0, 4.0))], profile=load_profile(profile))
        written = run.unconfigured().write(Path(aside))
        if kind == "link":
            elsewhere = top.parent / "disk" / str(len(list(top.parent.iterdir()))) / name
            elsewhere.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(written.rename(elsewhere) if not elsewhere.exists() else elsewhere)
        else:
            written.rename(place)


def verdicts_from(start: Path) -> dict[str, object]:
    """The findings on each run that a path means, by the run's path."""
    try:
        report = conformance.check_runs(start, profile="auto")
    except NoRunError:
        return {}
    return {run.path: (run.verdict, run.findings) for run in report.runs}


@settings(max_examples=15)
@given(disks())
@example(
    [
        ("run", "runs", "Ant", "rl_games-1.6"),
        ("twin", "runs", "Ant", "rl_games-1.6"),
        ("nested", "runs", "Ant", "rl_games-1.6"),
        ("stray", "runs", "Bee", "rl_games-1.6"),
    ]
)
@example([("run", "runs", name, "isaacgymenvs") for name in ("Ant", "ant", "Bee")])
def test_a_run_has_one_verdict_from_wherever_one_starts(things: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        top = Path(root) / "top"
        top.mkdir()
        for thing in things:
            put(top, *thing)
        whole = verdicts_from(top)
        assert whole
        for start in folders(top):
            seen = verdicts_from(start)
            assert seen.items() <= whole.items()
            assert {path for path in whole if Path(path).is_relative_to(start)} <= seen.keys()
        for path, verdict in whole.items():
            if (Path(path) / "nn").is_dir():
                assert verdicts_from(Path(path) / "nn") == {path: verdict}


# --- what it costs, and where it ends -------------------------------------------------------


def test_each_folder_is_listed_once_and_no_more_is_looked_at_than_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {f"Run{number}": RUN | {"params": {"agent.yaml": None}} for number in range(20)}
    top = made(tmp_path / "runs", runs | {"old": {"Bare": {"nn": {"A.pth": None}}}}, tmp_path)
    listed: Counter[str] = Counter()
    real = os.scandir

    def scandir(path: str | Path) -> object:
        listed[str(path)] += 1
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for run in discover(top).runs:
        scan_run(run)
    below = {path: times for path, times in listed.items() if path.startswith(f"{top}/")}
    assert {Path(path) for path in below} == {*folders(top)} - {top}
    assert set(below.values()) == {1}


def test_what_lies_too_deep_is_told(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("runs", *"abcdefghijklmnopqrstu")
    made(deep, RUN, tmp_path)
    made(tmp_path / "runs" / "A", RUN, tmp_path)
    found = discover(tmp_path / "runs")
    assert [run.path.name for run in found.runs] == ["A"]
    (remark,) = found.remarks
    assert remark.endswith("no run was looked for below: more than 16 folders deep")


def test_more_than_can_be_looked_at_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.evidence.runs._MOST_ENTRIES", 30)
    top = made(tmp_path / "runs", {f"{n}": {"a": {"b": {}}} for n in range(40)}, tmp_path)
    made(top / "A", RUN, tmp_path)
    found = discover(top / "A")
    assert found.remarks == ()
    with pytest.raises(NoRunError, match=r"no run was looked for below: more than 30 e"):
        discover(made(tmp_path / "more", {f"{n}": {"a": {"b": {}}} for n in range(40)}, tmp_path))


def test_many_folders_with_strays_are_told_in_a_few_lines(tmp_path: Path) -> None:
    root = {"A": RUN, "x.pth": None, "y.pth": None, "z.pth": None}
    top = made(tmp_path / "runs", {f"{number}": dict(root) for number in range(20)}, tmp_path)
    remarks = discover(top).remarks
    assert len(remarks) == 6
    assert (
        "passed over: 3 file(s) beside the runs belong to none of them: 'x.pth', 'y.pth', ..."
        in (remarks[0])
    )
    assert remarks[-1] == "so are files beside the runs of 15 more folder(s)"


# --- near misses of each sentence of the definition -----------------------------------------


@pytest.mark.parametrize(
    ("tree", "runs"),
    [
        # Runs below win over what lies beside them; alone it is a run.
        ({"x.pth": None, "A": RUN}, ["A"]),
        ({"config.yaml": None, "A": RUN}, ["A"]),
        ({"x.pth": None}, ["."]),
        # Several runs' checkpoints in sub-folders are not one run.
        ({"Ant": {"x.pth": None}, "Bee": {"y.pth": None}}, ["Ant", "Bee"]),
        ({"nn": {}, "Ant": {"x.pth": None}}, ["Ant"]),
        # A part with something in it makes a run also above others; an empty one does not.
        ({"nn": {"A.pth": None}, "A": RUN}, [".", "A"]),
        ({"nn": {}, "A": RUN}, ["A"]),
        ({"nn": {}}, ["."]),
        # What lies below a whole run is its own; one that lacks a part has only that much more.
        (RUN | {"videos": {"deep": {"x.pth": None}}}, ["."]),
        (OLD, ["."]),
        ({"nn": {"A.pth": None}, "logs": {EVENTS: None}}, ["."]),
        ({"nn": {"A.pth": None}, "a": {"b": {"c": {EVENTS: None}}}}, [".", "a/b/c"]),
        ({"nn": {"A.pth": None}, "models": {"x.pth": None}}, [".", "models"]),
        ({"summaries": {EVENTS: None}, "models": {"x.pth": None}}, ["."]),
        # Checkpoints and event files make a run of another trainer, and what lies below its own.
        (RSL, ["."]),
        (RSL | {"exported": RUN}, ["exported"]),
        ({"model_0.pt": None, "exported": {"policy.pt": None}}, ["exported"]),
        # A folder called nn is none where it only holds folders.
        ({"nn": RUN}, ["nn"]),
        ({"nn": RUN | {"A.pth": None}}, ["."]),
        # Hidden things tell nothing.
        ({".hydra": {"config.yaml": None}, "A": RUN}, ["A"]),
        ({"._A.pth": None, "A": {"config.yaml": None}}, ["A"]),
        ({".hydra": {"x.pth": None}, "A": RUN}, [".hydra", "A"]),
    ],
)
def test_what_is_a_run(tmp_path: Path, tree: Tree, runs: list[str]) -> None:
    top = made(tmp_path / "top", tree, tmp_path)
    assert [run.path for run in discover(top).runs] == sorted(top / run for run in runs)


def test_what_belongs_to_a_run_inside_is_not_listed_with_the_outer_one(tmp_path: Path) -> None:
    top = made(tmp_path / "top", RUN | {"old": {"B": RUN, "x.pth": None}}, tmp_path)
    outer, inner = discover(top).runs
    assert inner.path == top / "old" / "B"
    assert [entry.relative for entry in scan_run(outer).entries if "old" in entry.relative] == [
        "old",
        "old/x.pth",
    ]
    assert len(scan_run(inner).entries) == 5


def test_a_link_to_a_neighbour_is_that_neighbour(tmp_path: Path) -> None:
    top = made(tmp_path / "runs", {"A": RUN, "latest": "neighbour"}, tmp_path)
    for start in ("", "latest", "latest/nn"):
        assert [run.path for run in discover(top / start).runs] == [top / "A"]


@pytest.mark.parametrize("tree", [RUN, {"nn": {"A.pth": None}}])
def test_no_link_in_a_run_is_followed_from_wherever_one_starts(tmp_path: Path, tree: Tree) -> None:
    run = made(tmp_path / "top" / "A", tree | {"videos": {}}, tmp_path)
    (run / "videos" / "more").symlink_to(made(tmp_path / "disk" / "B", RUN, tmp_path))
    assert [found.path for found in discover(tmp_path / "top").runs] == [run]
    with suppress(NoRunError):
        assert [found.path for found in discover(run / "videos").runs] == [run]


def test_what_a_link_leads_to_belongs_to_no_run_around_the_link(tmp_path: Path) -> None:
    top = made(tmp_path / "top", RSL, tmp_path)
    (top / "more").symlink_to(made(tmp_path / "disk", {"x.pth": None}, tmp_path))
    assert [run.path for run in discover(top).runs] == [top, top / "more"]


def test_a_link_into_a_part_of_a_run_elsewhere_means_that_run(tmp_path: Path) -> None:
    part = {"A.pth": None, EVENTS: None, "old": {"x.pth": None}}
    run = made(tmp_path / "disk" / "A", {"nn": part, "summaries": {}}, tmp_path)
    (tmp_path / "link").symlink_to(run / "nn" / "old")
    assert [found.path for found in discover(tmp_path / "link").runs] == [run]


def test_installed_packages_are_passed_over_in_one_line(tmp_path: Path) -> None:
    """A `.pth` file there is a list of paths for Python."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "distutils-precedence.pth").write_text("import os\n")
    run = ordinary().write(tmp_path / "runs")
    found = discover(tmp_path)
    assert [at.path for at in found.runs] == [run]
    assert found.remarks == (f"{str(packages)!a}: passed over: installed Python packages",)
