"""`conformance test` with --play and --ranks: what scenarios alone do not show."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from conformance.suite import outside

CONFORMING = "python:conformance.mutants:Trainer"
REFERENCE = "python:reference_trainer.adapter:ReferenceTrainer"
REPOSITORY = Path(__file__).parents[2]
SMALL = "num_envs=16 horizon_length=16 mini_epochs=1 device=cpu"
PYTHON = shlex.quote(sys.executable)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def test(command):
    """Return `conformance test` with few examples and these two rules, run in this process."""
    few = ("--max-examples", "2", "--seed", "1", "--select", "RESUME-002,RANK-001")
    return lambda trainer, *arguments: command("test", trainer, *few, *arguments)


@pytest.fixture
def ranks(folder):
    """Return the template of a command that plays the scenario `times` times, in one folder."""
    program = folder / "ranks.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from conformance import Scenario\nfrom conformance.mutants import Trainer\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    Trainer().train(Scenario.from_json(Path(sys.argv[1]).read_text()))\n"
    )
    return lambda times: f"{PYTHON} {shlex.quote(str(program))} {{scenario}} {times}"


def loads(name):
    """A command that loads the checkpoint of that name."""
    return f"cat {{root}}/{{experiment}}/nn/{name}.pth"


def verdicts(result):
    (run,) = json.loads(result.out)["runs"]
    return run["verdict"], {each["rule"]: each["verdict"] for each in run["findings"]}


def test_what_is_asked_for_is_judged(test, ranks):
    arguments = ("--play", loads("{experiment}"), "--ranks", ranks(1), "--format", "json")
    result = test(CONFORMING, *arguments, "--strict")
    assert result.code == 0
    assert verdicts(result) == ("conforms", {"RESUME-002": "pass", "RANK-001": "pass"})
    result = test(CONFORMING, "--format", "json")
    assert set(verdicts(result)[1].values()) == {"not-applicable"}


def test_a_wrong_checkpoint_and_a_second_writer_exit_1(test, ranks):
    result = test(CONFORMING, "--play", loads("last_{experiment}ep3rew2.0"), "--ranks", ranks(2))
    assert result.code == 1
    lines = " ".join(result.out.split())
    assert "RESUME-002 inference loaded 'Cartpole/nn/last_Cartpoleep3rew2.0.pth', and" in lines
    assert re.search(r"RANK-001 'last_Cartpoleep\drew\d\.0\.pth' was written 2 times", lines)
    assert "fix: Guard folders and saves with global rank == 0." in lines
    assert "verdict: fail (MUST rules broken: RANK-001, RESUME-002)" in lines.replace(
        "RESUME-002, RANK-001", "RANK-001, RESUME-002"
    )


def again(result):
    """The command lines that a report in text says play a failure again."""
    return [shlex.split(found) for found in re.findall(r"replay: conformance (.*)", result.out)]


def test_what_fails_beside_the_scenarios_is_among_the_failures(test, ranks):
    wrong = ("--play", loads("last_{experiment}ep3rew2.0"), "--ranks", ranks(2))
    document = json.loads(test(CONFORMING, *wrong, "--format", "json").out)
    inference, several = sorted(document["failures"], key=lambda each: each["rule"], reverse=True)
    assert (inference["rule"], several["rule"]) == ("RESUME-002", "RANK-001")
    found = {each["rule"]: each for each in document["runs"][0]["findings"]}
    for failure in (inference, several):
        assert failure["message"] == found[failure["rule"]]["message"]
        assert (failure["level"], failure["replay"]) == ("must", "")
        assert failure["scenario"]["experiment"] == "Cartpole"
    assert inference["scenario"]["rewards"] == [1.0, 3.0, 2.0]
    assert several["scenario"]["rewards"] == [1.0, 2.0, 3.0, 4.0]
    right = ("--play", loads("{experiment}"), "--ranks", ranks(1))
    assert json.loads(test(CONFORMING, *right, "--format", "json").out)["failures"] == []


def test_what_fails_beside_the_scenarios_is_told_with_the_command_that_shows_it_again(
    test, command, ranks, folder
):
    given = ("--play", loads("last_{experiment}ep3rew2.0"), "--ranks", ranks(2))
    commands = again(test(CONFORMING, *given))
    assert len(commands) == 2
    for line in commands:
        result = command(*line)
        assert result.code == 1, result.err
        assert again(result) == [line]
    (folder / "player.py").write_text(
        "from conformance.mutants import Trainer\nclass Plays(Trainer):\n"
        "    def play(self, scenario): raise ValueError('wrong shape')\n"
    )
    (line,) = again(test("python:player:Plays"))
    assert again(command(*line)) == [line]


def test_a_replay_of_something_else_is_no_replay_of_what_fails_beside_it(test, folder):
    scenario = {"experiment": "A", "root": "runs", "save_freq": 1, "max_epochs": 1}
    (folder / "one.json").write_text(json.dumps({**scenario, "rewards": [1.0]}))
    given = ("--replay", "one.json", "--play", loads("nothing"), "--format", "json")
    (failure,) = json.loads(test(CONFORMING, *given).out)["failures"]
    assert (failure["rule"], failure["replay"]) == ("RESUME-002", "")


@pytest.mark.parametrize(
    ("option", "template", "blamed"),
    [
        ("--play", "cat {root}", "write {experiment} and {root}"),
        ("--play", "nowhere {root} {experiment}", "no program 'nowhere'"),
        ("--ranks", "true {max_epochs}", "write {experiment} and {root}, or {scenario}"),
        ("--ranks", "true {rank}", "holds a placeholder that is none of"),
    ],
)
def test_a_wrong_template_exits_2_before_anything_is_played(test, folder, option, template, blamed):
    (folder / "counting.py").write_text(
        "from pathlib import Path\nclass Counts:\n"
        "    def train(self, scenario): Path('played').touch()\n"
    )
    result = test("python:counting:Counts", option, template)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert option in result.err
    assert blamed in result.err
    assert not (folder / "played").exists()


def test_what_is_not_selected_is_not_run(command, folder):
    ran = f"touch {shlex.quote(str(folder / 'ran'))} {{root}}/{{experiment}}"
    arguments = ("--play", ran, "--ranks", ran, "--max-examples", "2", "--seed", "1")
    assert command("test", CONFORMING, "--select", "BEST-003", *arguments).code == 0
    assert not (folder / "ran").exists()
    command("test", CONFORMING, "--select", "BEST-003,RESUME-002", *arguments)
    assert (folder / "ran").exists()


def test_a_replay_asks_for_neither_unless_it_is_told_to(test, folder):
    scenario = {"experiment": "A", "root": "runs", "save_freq": 1, "max_epochs": 1}
    (folder / "one.json").write_text(json.dumps({**scenario, "rewards": [1.0]}))
    (folder / "player.py").write_text(
        "from conformance.mutants import Trainer\nclass Plays(Trainer):\n"
        "    def play(self, scenario): raise ValueError('wrong shape')\n"
    )
    for arguments, code in ((("--replay", "one.json"), 0), ((), 1)):
        result = test("python:player:Plays", *arguments)
        assert result.code == code, result.err
        assert ("play() raised ValueError: wrong shape" in result.out) == (code == 1)
    played = test(CONFORMING, "--replay", "one.json", "--play", loads("{experiment}"))
    assert played.code == 0


def test_a_trainer_that_breaks_is_not_asked_for_more(test, folder, monkeypatch):
    def asked(*_):
        raise AssertionError

    monkeypatch.setattr(outside, "inference_finding", asked)
    (folder / "breaks.py").write_text(
        "class Breaks:\n    def train(self, scenario): raise ValueError\n"
    )
    assert test("python:breaks:Breaks", "--play", loads("{experiment}")).code == 2


# --- for real -------------------------------------------------------------------------------


def test_the_reference_trainer_loads_its_best_by_name_alone(test):
    result = test(REFERENCE, "--format", "json")
    assert result.code == 0
    assert verdicts(result)[1]["RESUME-002"] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "verdict"),
    [("", "pass"), (" checkpoint=best", "pass"), (" checkpoint=last", "fail")],
)
def test_the_reference_trainers_own_command_loads_its_best(test, checkpoint, verdict):
    play = f"{PYTHON} -m reference_trainer root={{root}} experiment={{experiment}} test=True"
    result = test(REFERENCE, "--play", f"{play}{checkpoint} {SMALL}", "--format", "json")
    assert verdicts(result)[1]["RESUME-002"] == verdict
    assert result.code == (verdict == "fail")


_TORCHRUN = (
    f"{PYTHON} -m torch.distributed.run --standalone --nproc-per-node 2 -m reference_trainer"
)


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_two_ranks_of_the_reference_trainer_write_one_run(test):
    template = (
        f"{_TORCHRUN} root={{root}} experiment={{experiment}} save_freq={{save_freq}}"
        f" max_iterations={{max_epochs}} {SMALL}"
    )
    result = test(REFERENCE, "--ranks", template, "--format", "json")
    assert verdicts(result)[1]["RANK-001"] == "pass", result.out


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_two_processes_that_know_nothing_of_ranks_fail(test):
    """The adapter plays alone whatever torchrun says: one has the run, and the other breaks off."""
    result = test(REFERENCE, "--ranks", f"{_TORCHRUN}.adapter {{scenario}}", "--format", "json")
    assert verdicts(result)[1]["RANK-001"] == "fail", result.out
    assert result.code == 1
