"""How long it takes to explain a folder of 1,200 checkpoints and 100 event files."""

from __future__ import annotations

import random

import pytest

from conformance.checks import judge
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.checkpoint import read_checkpoint
from conformance.evidence.runs import scan_run
from conformance.evidence.summaries import read_rewards
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.explain import explain as explain_files

GROUP = "1,200 checkpoints and 100 event files, in one process"
_TAG = "tfevents"


@pytest.fixture(scope="session", params=["resumed", "fresh", "overlapping"])
def restarted(request, tmp_path_factory):
    """A conforming run of 100 sessions: each goes on, starts over, or goes back some epochs."""
    kind, draw = request.param, random.Random(1)  # noqa: S311 - the same folder each time
    sessions, first, length = [], 1, {"resumed": 12, "fresh": 600, "overlapping": 300}[kind]
    for _ in range(100):
        rewards = tuple(draw.gauss(first + step, 50) for step in range(length))
        sessions.append(Session(rewards, first=first, resumed=first > 1 or kind == "resumed"))
        if kind == "resumed":
            first += length
        elif kind == "overlapping":
            first = draw.randrange(1, first + length)
    save_freq = {"resumed": 1, "fresh": 50, "overlapping": 25}[kind]
    run = play(Settings("Restarted", save_freq, 100_000), sessions)
    assert len(run.logs) == 100
    assert len(run.checkpoints) > 1150
    return run.write(tmp_path_factory.mktemp(kind))


@pytest.mark.benchmark(group=GROUP)
def test_a_folder_of_many_sessions_is_explained(benchmark, restarted):
    def explain():
        subject = Subject(scan_run(restarted), load_profile(), Options())
        judge(subject)
        return explain_files(subject)

    explanation = benchmark.pedantic(explain, rounds=3)
    assert explanation.explained == len(explanation.files) > 1250


@pytest.mark.benchmark(group=GROUP)
def test_its_logs_and_checkpoints_are_merely_read(benchmark, restarted):
    """The peer: the same evidence, and nothing made of it."""

    def read():
        files = [path for path in restarted.rglob("*") if path.is_file()]
        logs = [read_rewards(path, tag="rewards/iter") for path in files if _TAG in path.name]
        contents = [read_checkpoint(path) for path in files if path.suffix == ".pth"]
        return len(logs) + len(contents)

    assert benchmark.pedantic(read, rounds=3) > 1250
