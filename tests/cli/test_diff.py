"""`conformance diff`: its exit codes, its formats, what it refuses."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import texts

from conformance.convention.oracle import Settings
from conformance.fixtures.play import Session, play
from conformance.report.comparison import (
    ComparedRun,
    ComparisonReport,
    to_comparison_json,
    to_comparison_text,
)
from conformance.report.printable import printable
from conformance.views.compare import Comparison, Difference, Severity, Unread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA = json.loads((resources.files("conformance") / "schemas" / "diff-1.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture
def fork(root: Path) -> Path:
    """Return a run like `conforming` whose best is gone."""
    run = play(Settings("Fork", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    return run.without(run.best).write(root)


def test_a_run_is_the_same_as_itself(command: Callable[..., Any], conforming: Path) -> None:
    result = command("diff", conforming, conforming)
    assert result.code == 0
    assert result.out.splitlines()[-1] == (
        "the same for a consumer of A (3 checkpoints of A compared with their like in B)"
    )


def test_what_a_consumer_trips_over_is_told_and_exits_1(
    command: Callable[..., Any], conforming: Path, fork: Path
) -> None:
    result = command("diff", conforming, fork)
    assert result.code == 1
    assert "breaks    files      A has a best checkpoint, B none" in result.out
    assert "a consumer of A: there is no best to load" in result.out
    assert command("diff", fork, conforming).code == 0


def test_json_keeps_its_schema_and_goes_to_a_file(
    command: Callable[..., Any], conforming: Path, fork: Path, tmp_path: Path
) -> None:
    file = tmp_path / "diff.json"
    result = command("diff", conforming, fork, "--format", "json", "--output", file)
    assert (result.code, result.out) == (1, "")
    document = json.loads(file.read_text())
    VALIDATOR.validate(document)
    assert document["a"]["path"] == str(conforming)
    assert document["b"]["checkpoints"] == 2
    assert (document["compared"], document["trips"]) == (2, True)
    assert command("diff", conforming, fork, "--format", "json").out == file.read_text()


def test_nothing_compared_exits_2_and_says_so(
    command: Callable[..., Any], root: Path, conforming: Path
) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    run = play(Settings("Pointers", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    run = run.each(lambda run, file: run.encoded(file, lambda _: pointer))
    pointers = run.write(root)
    for paths in ((pointers, pointers), (conforming, pointers), (pointers, conforming)):
        result = command("diff", *paths, "--profile", "isaacgymenvs")
        assert result.code == 2
        assert result.out.splitlines()[-1].startswith("nothing could be compared: ")
        assert "the same" not in result.out
        assert "not compared  " in result.out
        assert "a Git LFS pointer" in result.out
        assert "nothing could be compared" in result.err
    result = command("diff", pointers, pointers, "--profile", "isaacgymenvs", "--format", "json")
    document = json.loads(result.out)
    VALIDATOR.validate(document)
    assert (result.code, document["compared"]) == (2, 0)
    assert {left["run"] for left in document["unread"]} == {"a", "b"}
    assert document["nothing"]


def test_each_run_may_have_its_own_profile_and_name(
    command: Callable[..., Any], conforming: Path, fork: Path
) -> None:
    given_both = command("diff", conforming, fork, "--profile", "isaacgymenvs")
    assert (given_both.code, given_both.err) == (1, "")
    other = command(
        "diff", conforming, fork, "--profile", "isaacgymenvs", "--profile-b", "rl_games-1.6"
    )
    assert "(profile rl_games-1.6, " in other.out
    chosen = command("diff", conforming, fork)
    assert chosen.err.count("profile isaacgymenvs, ") == 2
    named = command("diff", conforming, fork, "--profile", "isaacgymenvs", "--name-b", "Other")
    assert "are in no dialect" in named.out or "periodic" in named.out


@pytest.mark.parametrize("which", [0, 1])
def test_a_path_that_is_not_one_run_exits_2(
    command: Callable[..., Any], root: Path, conforming: Path, failing: Path, which: int
) -> None:
    assert failing.parent == root
    for wrong in (root / "gone", root):
        paths = [conforming, conforming]
        paths[which] = wrong
        result = command("diff", *paths)
        assert (result.code, result.out) == (2, "")
        assert str(wrong) in result.err


def test_wrong_usage_exits_2(command: Callable[..., Any], conforming: Path) -> None:
    for arguments in (
        (conforming,),
        (conforming, conforming, "--profile", "gone"),
        (conforming, conforming, "--profile-b", "gone"),
        (conforming, conforming, "--output", conforming / "gone" / "x"),
        (conforming, conforming, "--format", "html"),
    ):
        result = command("diff", *arguments)
        assert (result.code, result.out) == (2, ""), arguments


differences = st.builds(
    Difference,
    severity=st.sampled_from(Severity),
    topic=st.sampled_from(["files", "names", "model", "logs"]),
    message=texts.filter(bool),
    consequence=texts,
)
reports = st.builds(
    ComparisonReport,
    version=st.just("0.1.0"),
    first=st.builds(ComparedRun, texts.filter(bool), texts, st.integers(0, 9)),
    second=st.builds(ComparedRun, texts.filter(bool), texts, st.integers(0, 9)),
    comparison=st.builds(
        Comparison,
        st.lists(differences, max_size=4).map(tuple),
        st.integers(0, 9),
        st.lists(
            st.builds(Unread, st.sampled_from("AB"), texts.filter(bool), texts.filter(bool)),
            max_size=2,
        ).map(tuple),
        texts,
    ),
)


@settings(deadline=None)
@given(reports)
def test_hostile_names_forge_no_line_and_keep_the_schema(report: ComparisonReport) -> None:
    text = to_comparison_text(report)
    found = report.comparison.differences
    unread = len(report.comparison.unread)
    assert text.count("\n") == 4 + unread + len(found) + sum(bool(d.consequence) for d in found)
    assert all(line == printable(line) for line in text.splitlines())
    document = json.loads(to_comparison_json(report))
    VALIDATOR.validate(document)
    assert [d["message"] for d in document["differences"]] == [d.message for d in found]
    assert not VALIDATOR.is_valid({**document, "more": 1})
