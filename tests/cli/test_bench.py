"""`conformance bench`: its exit codes, its outputs, its gate."""

from __future__ import annotations

import json

import pytest

from conformance.cli import main

SAVES = "python:reference_trainer.adapter:SavesAtOnce"
QUICK = ("--saves-only", "--sizes", "8KB", "--rounds", "1")


def bench(tmp_path, *arguments):
    return main(["bench", *arguments, "--folder", str(tmp_path)])


def test_both_kinds_of_times_are_told(tmp_path, capsys):
    assert bench(tmp_path, SAVES, *QUICK[1:], "--epochs", "2", "--sessions", "1") == 0
    told = capsys.readouterr().out
    assert "4 saves" in told
    assert "8 KB: files of " in told
    assert "torch.save, durable" in told


@pytest.mark.parametrize(("ratio", "code"), [("1e9", 0), ("1e-9", 1)])
def test_a_ratio_is_a_gate(tmp_path, capsys, ratio, code):
    assert bench(tmp_path, SAVES, *QUICK, "--max-ratio", ratio) == code
    said = capsys.readouterr().err
    assert ("times a bare write; at most 1e-09 is allowed" in said) is bool(code)


def test_json_and_a_drawing(tmp_path, capsys):
    drawing = tmp_path / "saves.svg"
    assert bench(tmp_path, SAVES, *QUICK, "--format", "json", "--plot", str(drawing)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["training"] is None
    assert document["saves"][0]["rows"][0]["name"] == "trainer"
    assert drawing.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SAVES, "--sizes", "7"), "'7' is no size such as 64KB"),
        ((SAVES, "--sizes", "0KB"), "'0KB' is no size"),
        ((SAVES, "--max-ratio", "0"), "'0' is not a ratio above 0"),
        (("python:no.such:Thing", *QUICK), "there is no module 'no'"),
        (("worker:true", *QUICK), "only the object of a python: trainer"),
        (("python:conformance.mutants:Trainer", *QUICK), "has no save(state, path)"),
        ((SAVES, *QUICK, "--plot", "/no/such/folder/x.svg"), "--plot '/no/such/folder/x.svg': No"),
    ],
)
def test_wrong_usage_is_said_in_one_line(tmp_path, capsys, arguments, message):
    assert bench(tmp_path, *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err.splitlines()[-1]
    assert said.out == ""


def test_a_folder_that_is_none_is_wrong_usage(tmp_path, capsys):
    assert bench(tmp_path / "none", SAVES, *QUICK) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_trainer_without_a_save_still_has_its_trainings_timed(tmp_path, capsys):
    trainer = "python:conformance.mutants:Trainer"
    assert bench(tmp_path, trainer, "--epochs", "1", "--sessions", "1") == 0
    told = capsys.readouterr()
    assert "2 saves" in told.out
    assert "its saves alone are not timed" in told.err
