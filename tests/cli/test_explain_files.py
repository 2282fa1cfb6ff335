"""`conformance check --explain-files` and `--explanation`: where the files' explanation goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from conformance.convention.oracle import Settings
from conformance.fixtures.play import Session, play
from conformance.report.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_text_lists_each_file(command: Callable[..., Any], conforming: Path) -> None:
    plain, told = command("check", conforming), command("check", conforming, "--explain-files")
    assert (plain.code, told.code) == (0, 0)
    assert "explained" not in plain.out
    assert "  5 files: 4 proven, 1 consistent, 0 unexplained\n" in told.out
    assert "1 conforms; 5 files: 4 proven, 1 consistent, 0 unexplained)\nnext: " in told.out
    rows = [line.split()[:5] for line in told.out.splitlines() if line.startswith("    1 ")]
    assert [row for row in rows if row[4].startswith("nn/")] == [
        ["1", "2", "proven", "periodic", "nn/last_Aep2rew3.0.pth"],
        ["1", "4", "proven", "best", "nn/A.pth"],
        ["1", "4", "proven", "periodic", "nn/last_Aep4rew4.0.pth"],
    ]
    assert all(len(line) <= 120 or "/" in line for line in told.out.splitlines())


@pytest.mark.parametrize("kind", [each.name for each in FORMATS.values() if each.explains])
def test_pages_list_each_file(command: Callable[..., Any], conforming: Path, kind: str) -> None:
    assert (
        "5 files: 4 proven, 1 consistent, 0 unexplained"
        in command("check", conforming, "--explain-files", "--format", kind).out
    )
    assert "explained" not in command("check", conforming, "--format", kind).out


@pytest.mark.parametrize("kind", [each.name for each in FORMATS.values() if not each.explains])
def test_a_format_that_cannot_show_it_is_refused_with_what_to_do(
    command: Callable[..., Any], conforming: Path, kind: str
) -> None:
    result = command("check", conforming, "--explain-files", "--format", kind)
    assert (result.code, result.out) == (2, "")
    assert "--explanation FILE writes it as JSON" in result.err


def test_beside_one_that_can_such_a_format_stays_as_it_is(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    pair = ("--format", "json", "--output", tmp_path / "report.json")
    assert command("check", conforming, "--explain-files", "--format", "text", *pair).code == 0
    explaining = (tmp_path / "report.json").read_text()
    assert command("check", conforming, "--format", "text", *pair).code == 0
    assert explaining == (tmp_path / "report.json").read_text()


def test_the_document_goes_to_a_file_or_to_standard_output(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    file = tmp_path / "explained.json"
    to_file = command("check", conforming, "--explanation", file)
    assert "explained" not in to_file.out
    to_stdout = command("check", conforming, "--explanation", "-")
    assert to_stdout.out == file.read_text()
    document = json.loads(file.read_text())
    assert (document["explanation"], document["files"], document["explained"]) == (1, 5, 5)
    (run,) = document["runs"]
    assert run["path"] == str(conforming)
    assert [s["number"] for s in run["sessions"]] == [1]


def test_two_documents_for_standard_output_are_refused(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    for arguments in (
        ("--explanation", "-", "--format", "json"),
        ("--explanation", tmp_path / "a", "--format", "text", "--output", tmp_path / "a"),
        ("--explanation", tmp_path / "gone" / "a"),
        ("--explanation", tmp_path),
    ):
        result = command("check", conforming, *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert result.err.count("\n") == 1


def test_the_exit_code_is_the_verdicts(
    command: Callable[..., Any], failing: Path, root: Path
) -> None:
    assert command("check", failing, "--explain-files").code == 1
    run = play(Settings("B", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    folder = run.renamed(run.periodic(2), "last_Bep2rew9.5.pth").write(root)
    result = command("check", folder, "--explain-files")
    assert result.code == 1
    assert "5 files: 3 proven, 1 consistent, 1 unexplained" in result.out
    assert "unexplained" in result.out
