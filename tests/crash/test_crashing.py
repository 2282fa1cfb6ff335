"""Trainers that are crashed at each call of their saves: which survive, and which do not."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import crashing_mutants
import pytest
from traced import needs_strace

from conformance import mutants
from conformance.cli import main
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.crash import run_crash
from conformance.crash.findings import POWER_CUT
from conformance.crash.points import CUT, FAULTS, KILL
from conformance.crash.table import to_table
from conformance.mutants import CRASHES

PROFILE = load_profile()


@pytest.fixture(autouse=True)
def _strace():
    needs_strace()


def crash(spec, profile=PROFILE, **options):
    return run_crash(spec, profile=profile, **options)


def failing(result):
    return {f.rule for f in result.run.findings if f.verdict is Verdict.FAIL}


def verdicts(result, *faults):
    return Counter(each.verdict for each in result.tried if not faults or each.fault in faults)


@pytest.fixture(scope="module")
def atomic():
    """The conforming mutant: it renames, and forces nothing to the disk."""
    needs_strace()
    return crash("python:conformance.mutants:Trainer")


# --- who survives -------------------------------------------------------------------------------


def test_a_rename_survives_every_kill_and_every_failing_call(atomic):
    assert verdicts(atomic, *FAULTS) == {"pass": 60}
    assert {each.fault for each in atomic.played} == set(FAULTS)
    assert atomic.run.verdict == "conforms"
    assert failing(atomic) == {"LAYOUT-003"}  # it cleans nothing up


def test_a_rename_without_fsync_is_lost_by_a_power_cut_and_by_that_alone(atomic):
    assert verdicts(atomic, POWER_CUT)["lost"] > 0
    assert "no fsync of the file before rename" in atomic.explanations
    assert any("a power cut may lose the best" in note for note in atomic.run.notes)


@pytest.mark.slow
def test_fsync_of_file_and_folder_survives_power_cuts_too():
    result = crash("python:conformance.mutants:SavesDurably", durable=True)
    assert verdicts(result) == {"pass": len(result.tried)}
    assert (result.run.verdict, failing(result), result.explanations) == ("conforms", set(), ())
    assert result.states >= 3


@pytest.mark.slow
def test_durable_makes_a_failure_of_what_a_power_cut_may_lose():
    result = crash("python:conformance.mutants:Trainer", max_points=6, durable=True)
    assert "INTEGRITY-002" in failing(result)
    finding = next(f for f in result.run.findings if f.rule == "INTEGRITY-002")
    assert finding.message.startswith("no fsync of the file before rename: ")


@pytest.mark.slow
@pytest.mark.parametrize("defect", CRASHES, ids=lambda defect: defect.__name__)
def test_a_defect_is_caught_by_its_own_rule(defect):
    result = crash(f"python:conformance.mutants:{defect.__name__}")
    assert defect.rule in failing(result)
    assert failing(result) <= {defect.rule, "LAYOUT-003"} | defect.also
    assert verdicts(result)["not reached"] == 0


def test_each_crash_mutant_is_told_by_its_name():
    for defect in CRASHES:
        assert getattr(mutants, defect.__name__) is defect
        assert defect.rule in ("INTEGRITY-002", "INTEGRITY-003")
        assert (defect.__doc__ or "").endswith(".")


@pytest.mark.slow
def test_a_half_written_best_is_seen_where_only_the_middle_of_a_write_tears_it():
    result = crash("python:conformance.mutants:OverwritesInPlace", max_points=40)
    torn = [each for each in result.tried if each.verdict == "fail" and each.replayed]
    assert {each.save for each in torn} == {1, 3}
    assert not any(
        each.verdict == "fail" and each.fault == KILL and each.save == 3 for each in result.played
    )


@pytest.mark.slow
def test_a_disk_that_stays_full_is_told_from_one_that_fails_once():
    result = crash("python:conformance.mutants:FallsBackInPlace")
    assert {each.fault for each in result.played if each.verdict == "fail"} == {CUT}


@pytest.mark.slow
def test_torch_save_to_the_path_itself_tears():
    result = crash("python:crashing:InPlace", max_points=40)
    assert {"INTEGRITY-001", "INTEGRITY-002", "INTEGRITY-003"} <= failing(result)
    assert result.explanations[0] == "nn/Crash.pth is emptied, then written in place"
    kills = [each for each in result.played if each.fault == KILL and each.verdict == "fail"]
    assert {each.left for each in kills} == {"torn"}


@pytest.mark.slow
def test_the_reference_trainer_survives_everything():
    result = crash("python:reference_trainer.adapter:ReferenceTrainer", max_points=60, durable=True)
    assert verdicts(result) == {"pass": len(result.tried)}
    assert (result.run.verdict, failing(result)) == ("conforms", set())


@pytest.mark.slow
def test_rl_games_loses_its_best_to_a_kill_and_to_a_full_disk():
    profile = load_profile("rl_games-1.6")
    # Few: it tries a write on a full disk five times.
    result = crash("python:hasty_rl_games:Hasty", profile=profile, max_points=3)
    assert {"INTEGRITY-002", "INTEGRITY-003"} <= failing(result)
    assert result.explanations[0] == "nn/Crash.pth is emptied, then written in place"


@pytest.mark.slow
def test_who_waits_for_a_failed_disk_for_ever_is_ended_and_told():
    result = crash("python:crashing_mutants:Waits", max_points=9, time_limit=1.0)
    waited = [each for each in result.played if each.why == "it did not end"]
    assert waited
    assert {each.verdict for each in waited} == {"fail"}
    assert "INTEGRITY-003" in failing(result)
    assert not any(each.verdict == "fail" for each in result.played if each.fault == KILL)


# --- the other forms ----------------------------------------------------------------------------

_IN_PLACE = """
import sys
sys.path[:0] = {path!r}
from conformance.convention.scenario import Scenario
from conformance.mutants import WritesInPlace
from conformance.trainers import serve
if len(sys.argv) == 1:
    serve(WritesInPlace)
    sys.exit()
try:
    WritesInPlace().train(Scenario.from_json(open(sys.argv[1]).read()))
except OSError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "in_place.py"
    file.write_text(_IN_PLACE.format(path=[path for path in sys.path if path]))
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["worker:{} {}", "worker:sh -c '{} {}; true'", "command:{} {} {{scenario}}"]
)
def test_a_worker_and_a_command_are_crashed_as_well(form, script):
    result = crash(form.format(f'"{sys.executable}"', f'"{script}"'), max_points=12)
    assert {"INTEGRITY-002", "INTEGRITY-003"} <= failing(result)
    assert verdicts(result)["not reached"] == 0


@pytest.mark.slow
def test_a_worker_that_counts_from_session_to_session_is_started_anew_for_each_point():
    script = Path(crashing_mutants.__file__)
    result = crash(f"worker:{shlex.quote(sys.executable)} {script}", max_points=6)
    assert "started anew for each point" in result.pace
    assert not any("are no points" in note for note in result.run.notes)
    assert verdicts(result, *FAULTS) == {"pass": 6}


# --- what is no point ---------------------------------------------------------------------------


@pytest.mark.slow
def test_calls_that_come_otherwise_are_not_taken_for_survived():
    result = crash("python:crashing_mutants:Fickle", max_points=12)
    assert verdicts(result)["not reached"] > 0
    assert result.run.verdict != "conforms"
    assert any("not repeatable" in note for note in result.run.notes)


@pytest.mark.slow
def test_what_is_written_through_a_mapping_is_not_replayed():
    result = crash("python:crashing_mutants:Maps", max_points=4)
    assert result.states == 0
    assert any(
        "no power cut was replayed" in note and "mapping" in note for note in result.run.notes
    )


# --- the command --------------------------------------------------------------------------------


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["crash", *arguments])
    return int(code), *capsys.readouterr()


@pytest.mark.slow
def test_the_table_says_what_is_wrong_first(capsys, tmp_path):
    report = tmp_path / "report.json"
    code, out, _ = run(
        capsys,
        "python:conformance.mutants:RemovesBeforeRename",
        *("--format", "text", "--format", "json", "--output", str(report)),
    )
    assert code == 1
    assert out.index("why: nn/Crash.pth is removed before") < out.index("fault")
    assert re.search(r"rename a temporary file -> nn/Crash\.pth +SIGKILL, .*nothing +FAIL", out)
    assert "points/s" in out
    document = json.loads(report.read_text())
    assert document["verdict"] == "fail"
    rules = {finding["rule"]: finding for finding in document["runs"][0]["findings"]}
    assert rules["INTEGRITY-002"]["evidence"]["rows"][0]["left"] == "nothing"


@pytest.mark.slow
def test_the_example_of_the_page_is_what_the_command_says(capsys):
    page = (Path(__file__).parents[2] / "docs" / "crash.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ conformance crash (.*)$", page, re.MULTILINE)
    _, out, _ = run(capsys, *command.split())
    table = out.partition("\nprofile ")[0].splitlines()[1:]  # the first line tells of speed
    shown = [line[4:] for line in page.splitlines() if line.startswith("    ")][1:]
    assert [line for line in table if line] == [line for line in shown if line]


def test_the_verbose_table_shows_what_was_survived(atomic):
    assert "the previous best (epoch 1)" not in to_table(atomic)
    assert "the previous best (epoch 1)" in to_table(atomic, verbose=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("python:crashing:NoSuch",), "NoSuch"),
        (("python:conformance.mutants:Trainer", "--profile", "no-such"), "no-such"),
        (("nonsense:x",), "TRAINER|a trainer is python:"),
        (("python:odd_trainers:AlwaysRaises",), "left alone, it cannot play the session"),
        (("python:conformance.mutants:Trainer", "--max-epochs", "1", "--save-freq", "x"), "whole"),
    ],
)
def test_what_cannot_be_crashed_exits_2_with_a_line(capsys, arguments, said):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert re.search(said, err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kills", [(), ("--random-kills", "50")], ids=["points", "random kills"])
def test_an_interrupt_tells_what_was_found_and_leaves_nothing(tmp_path, number, kills):
    notes = tmp_path / "notes"
    said = {"CRASHING_NOTES": str(notes), "CRASHING_SIGNAL": str(int(number))}
    trainer = "python:crashing_mutants:Interrupter"
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "crash", trainer, *kills],
        env={**os.environ, **said, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (130, "conformance: interrupted\n")
    assert "interrupted: this is what was found until then" in done.stdout
    assert "verdict: incomplete" in done.stdout
    lines = notes.read_text(encoding="utf-8").splitlines()
    server, root = lines[-1].split(maxsplit=1)
    assert len(lines) == 6
    assert not Path(root).parent.exists()
    assert not Path(f"/proc/{server}").exists()


def test_without_strace_it_exits_2_and_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, err = run(capsys, "python:conformance.mutants:Trainer")
    assert (code, out) == (2, "")
    assert "apt-get install strace" in err


def test_elsewhere_than_on_linux_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    code, out, err = run(capsys, "python:conformance.mutants:Trainer")
    assert (code, out) == (2, "")
    assert "Linux only, not darwin" in err
