"""Kills at random instants: what survives them, what does not, and what is told of it."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace

import crashing_mutants
import pytest

from conformance.cli import main
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.crash import run_kills
from conformance.crash.held import ABSENT, Held, Left
from conformance.crash.kills import Killed, _findings, _KillTest, _scenario
from conformance.crash.table import to_kills_table

PROFILE = load_profile()
PERIODIC = ("last_Crashep2rew2.0.pth", "last_Crashep4rew3.0.pth")


def verdicts(result):
    return {finding.rule: finding.verdict for finding in result.run.findings}


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["crash", *arguments])
    return int(code), *capsys.readouterr()


# --- judging ------------------------------------------------------------------------------------


class Stage:
    """One that is never asked to train."""

    plays_rewards = True


def whole(epoch, watermark):
    return Held("whole", epoch, watermark, digest=f"{epoch}")


@pytest.fixture
def session(tmp_path):
    session = _KillTest(Stage(), PROFILE, "Crash", _scenario(tmp_path, None, None))
    session.states = session.expected(
        Left(whole(4, 3.0), {PERIODIC[0]: whole(2, 1.0), PERIODIC[1]: whole(4, 2.0)}, ())
    )
    return session


BETWEEN_SAVES = [
    Left(ABSENT, {}, ()),
    Left(whole(1, 1.0), {}, (".saving-7-0.tmp",)),
    Left(whole(1, 1.0), {PERIODIC[0]: whole(2, 1.0)}, ()),
    Left(whole(2, 2.0), {PERIODIC[0]: whole(2, 1.0)}, ()),
    Left(whole(2, 2.0), {PERIODIC[0]: whole(2, 1.0), PERIODIC[1]: whole(4, 2.0)}, ()),
    Left(whole(4, 3.0), {PERIODIC[0]: whole(2, 1.0), PERIODIC[1]: whole(4, 2.0)}, ()),
]


@pytest.mark.parametrize("left", BETWEEN_SAVES)
def test_what_stands_between_two_saves_is_survived(session, left):
    assert session.wrong(left, [], ended=False) == ("", "")


@pytest.mark.parametrize("left", BETWEEN_SAVES[:-1])
def test_a_session_that_ended_leaves_all(session, left):
    assert session.wrong(left, [], ended=True)[0] in ("INTEGRITY-001", "INTEGRITY-002")
    assert session.wrong(BETWEEN_SAVES[-1], [], ended=True) == ("", "")


@pytest.mark.parametrize(
    ("left", "rule", "why"),
    [
        (Left(Held("torn", why="it is empty"), {}, ()), "INTEGRITY-002", "the best is torn"),
        (Left(ABSENT, {PERIODIC[0]: whole(2, 1.0)}, ()), "INTEGRITY-002", "the best is gone"),
        (
            Left(whole(2, 2.0), {}, ()),
            "INTEGRITY-002",
            "epoch 2 with no other checkpoint",  # the periodic one comes first
        ),
        (
            Left(whole(1, 1.0), {PERIODIC[0]: whole(2, 1.0), PERIODIC[1]: whole(4, 2.0)}, ()),
            "INTEGRITY-002",
            "epoch 1 with periodic epoch 2, periodic epoch 4",
        ),
        (
            Left(whole(2, 1.0), {PERIODIC[0]: whole(2, 1.0)}, ()),
            "INTEGRITY-002",
            "neither previous nor new",  # its watermark is the one before
        ),
        (
            Left(whole(4, 3.0), {PERIODIC[1]: whole(4, 2.0)}, ()),
            "INTEGRITY-001",
            "there is periodic epoch 4",
        ),
        (
            Left(whole(1, 1.0), {PERIODIC[0]: Held("torn", why="it is short")}, ()),
            "INTEGRITY-001",
            f"{PERIODIC[0]} is torn: it is short",
        ),
    ],
)
def test_what_stands_between_no_two_saves_is_not(session, left, rule, why):
    torn = [name for name, held in left.others.items() if held.state == "torn"]
    found = session.wrong(left, torn, ended=False)
    assert found[0] == rule
    assert why in found[1]


# --- playing ------------------------------------------------------------------------------------


def test_a_rename_survives_random_kills_and_leaves_nothing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spec = "python:conformance.mutants:Trainer"
    result = run_kills(spec, profile=PROFILE, kills=5, max_epochs=40)
    assert len(result.killed) == 5
    assert not any(each.why for each in result.killed)
    assert set(verdicts(result).values()) <= {Verdict.PASS, Verdict.UNOBSERVABLE}
    assert list(tmp_path.iterdir()) == []


def test_kills_of_which_none_fell_into_a_save_prove_nothing():
    beside = Killed(0.1, ended=False, within=False, best="epoch 1", others=0)
    within = replace(beside, within=True)
    for killed, verdict in (([beside], Verdict.UNOBSERVABLE), ([beside, within], Verdict.PASS)):
        assert {each.verdict for each in _findings(killed, [], "nn")} == {verdict}


@pytest.mark.slow
def test_the_reference_trainer_loses_nothing_of_100_mb_to_random_kills(tmp_path, monkeypatch):
    """Its continuous integration's share; docs/crash.md tells of a thousand."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a real disk
    result = run_kills("python:crashing:Large", profile=PROFILE, kills=10)
    assert len(result.killed) == 10
    assert [each.why for each in result.killed if each.why] == []
    assert max(each.bytes for each in result.killed) > 95_000_000
    assert max(each.leftovers for each in result.killed) <= 1
    assert "FAIL" not in to_kills_table(result)


@pytest.mark.slow
def test_a_slow_write_in_place_loses_to_random_kills():
    """Each kill falls into a save, half of them into one of the best: of 20 some tear it."""
    result = run_kills("python:crashing_mutants:WritesSlowly", profile=PROFILE, kills=20)
    assert verdicts(result)["INTEGRITY-002"] is Verdict.FAIL
    assert any("the best is torn" in each.why for each in result.killed)
    assert all(each.within for each in result.killed if each.why)


# --- the command --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_kills_and_tells(capsys, tmp_path):
    report = tmp_path / "report.json"
    code, out, _ = run(
        capsys,
        *("python:crashing_mutants:WritesSlowly", "--random-kills", "12"),
        *("--format", "text", "--format", "json", "--output", str(report)),
    )
    assert code == 1
    assert out.startswith("12 kills at random instants, ")
    assert "FAIL" in out
    document = json.loads(report.read_text())
    rules = {finding["rule"]: finding for finding in document["runs"][0]["findings"]}
    assert rules["INTEGRITY-002"]["evidence"]["kills"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("form", ["worker:{} {}", "command:{} {} {{scenario}}"])
def test_a_worker_and_a_command_are_killed_as_well(form):
    spec = form.format(f'"{sys.executable}"', f'"{crashing_mutants.__file__}"')
    result = run_kills(spec, profile=PROFILE, kills=4, max_epochs=300)
    assert len(result.killed) == 4
    assert not any(each.why for each in result.killed)


@pytest.mark.parametrize("option", [("--max-points", "3"), ("--durable",)])
def test_options_of_the_points_do_not_go_with_kills(capsys, option):
    code, _, err = run(capsys, "python:conformance.mutants:Trainer", "--random-kills", "2", *option)
    assert code == 2
    assert f"{option[0]} does not go with --random-kills" in err


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("SavesNothingPeriodic", "does not leave the checkpoints that are due"),
        ("NeverSavesTheBest", "no whole best"),
    ],
)
def test_who_does_not_keep_the_convention_is_not_killed(capsys, defect, said):
    code, _, err = run(capsys, f"python:conformance.mutants:{defect}", "--random-kills", "2")
    assert code == 2
    assert said in err
