"""What is a run: the same folders from wherever one starts, each with the same in and beside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from conformance.evidence.runs import NoRunError, discover, scan_run

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

Tree = dict[str, object]


def made(folder: Path, tree: Tree) -> Path:
    """Make the tree below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        if content is None:
            (folder / name).write_bytes(b"x")
        else:
            made(folder / name, content)
    return folder


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Tree:
    """Return a tree of roots, strays, runs of several trainers, and folders of any name."""
    if depth < 4 and draw(st.integers(0, 2)) == 0:
        return dict(draw(st.sampled_from(KNOWN)))
    tree: Tree = dict.fromkeys(draw(st.lists(st.sampled_from(FILES), max_size=2)))
    if depth:
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
            tree[name] = draw(trees(depth - 1))
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
        top = made(Path(root) / "logs", tree)
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
