"""`serve`: a Python trainer as a worker, in one line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
from conformance.trainers import TrainerBroke, TrainerSpecError, open_trainer
from conformance.trainers.serving import Served

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(conformance.__file__).parents[1])}
NOISY = """
import os, subprocess, sys
from conformance.trainers import serve

class Trainer:
    name, version, capabilities = "noisy", "2.1", ("resume",)
    made = 0

    def __init__(self):
        Trainer.made += 1
        print("made", Trainer.made)

    def train(self, scenario):
        print("printed")
        os.write(1, b"written\\n")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
        print(repr(sys.stdin.read()))
        if scenario.experiment == "Exits":
            sys.exit("no more")
        if scenario.experiment == "Breaks":
            raise RuntimeError("first line\\nand " + "x" * 999)
        print(type(scenario).__name__, scenario.rewards)

serve(Trainer)
print("served")
"""


def talk(source, *requests):
    """Let a worker answer; return the answers, and what it said on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        input=b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            for line in requests
        ),
        env=ENVIRONMENT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def asked(scenario):
    return {"cmd": "train", "scenario": json.loads(scenario.to_json())}


START = {"cmd": "start", "protocol": 1}


def test_a_worker_talks_by_the_protocol_whatever_its_trainer_prints(scenario):
    answers, said = talk(
        NOISY,
        START,
        asked(scenario(rewards=(None, float("nan")), max_epochs=2)),
        {"cmd": "stop"},
        asked(scenario()),
    )
    assert answers == [
        {
            "ok": True,
            "protocol": 1,
            "trainer": {"name": "noisy", "version": "2.1"},
            "capabilities": ["resume"],
        },
        {"ok": True},
    ]
    for line in ("made 1", "printed", "written", "by a child", "''", "served"):
        assert f"{line}\n" in said
    assert "Scenario (None, nan)\n" in said
    assert said.count("printed\n") == 1, "nothing is done after stop"


def test_what_train_raises_is_answered_and_a_new_trainer_goes_on(scenario):
    answers, said = talk(
        NOISY,
        asked(scenario(experiment="Breaks")),
        asked(scenario(experiment="Exits")),
        asked(scenario()),
    )
    broke, exited, well = answers
    assert broke["ok"] is exited["ok"] is False
    assert broke["error"].startswith("RuntimeError: first line and xxx")
    assert len(broke["error"]) <= 400
    assert exited["error"] == "SystemExit: no more"
    assert well == {"ok": True}
    assert "made 3\n" in said
    assert "in train\nRuntimeError: first line\n" in said, "the traceback"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b"{\n", "unknown cmd None"),
        (b"\xff\xfe\n", "unknown cmd None"),
        (b"[" * 100_000 + b"\n", "unknown cmd None"),
        ([1], "unknown cmd None"),
        ({"cmd": "dance"}, "unknown cmd 'dance': start, train and stop are known"),
        ({"cmd": "start", "protocol": 2}, "this worker speaks protocol 1 alone"),
        ({"cmd": "train"}, "ScenarioError: a scenario is a JSON object"),
        ({"cmd": "train", "scenario": {}}, "ScenarioError: unknown fields [], missing fields"),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_and_the_next_one_is(request_, error):
    (refused, started), _ = talk(NOISY, request_, START)
    assert refused["ok"] is False
    assert error in refused["error"]
    assert started["ok"] is True


def test_a_worker_whose_harness_has_gone_ends_in_silence():
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", NOISY],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        os.close(writing)
        os.close(reading)
        _, said = process.communicate(json.dumps(START).encode() + b"\n", timeout=300)
    assert process.returncode == 0
    assert said == b"made 1\nserved\n"


class Plain:
    """A trainer that says nothing of itself, and lasts."""

    def __init__(self):
        self.played = []

    def train(self, scenario):
        """Fail the first time."""
        self.played.append(scenario.experiment)
        if len(self.played) == 1:
            raise ValueError("not yet")


def test_an_object_is_taken_as_it_is_and_said_to_offer_all(scenario, capsys):
    plain = Plain()
    served = Served(plain)
    assert served.answer(START) == {
        "ok": True,
        "protocol": 1,
        "trainer": {"name": "Plain", "version": ""},
        "capabilities": ["resume", "save_best_after"],
    }
    assert served.answer(asked(scenario())) == {"ok": False, "error": "ValueError: not yet"}
    assert served.answer(asked(scenario())) == {"ok": True}
    assert plain.played == ["Cartpole", "Cartpole"]
    assert "ValueError: not yet" in capsys.readouterr().err


@pytest.mark.parametrize("given", [7, object, lambda: None])
def test_what_cannot_train_is_refused(given):
    with pytest.raises(TrainerSpecError, match=r"has no train\(scenario\)"):
        Served(given)


def test_capabilities_that_are_no_collection_are_refused():
    plain = Plain()
    plain.capabilities = "resume"
    with pytest.raises(TrainerSpecError, match="a collection of names, not 'resume'"):
        Served(plain).answer(START)


def test_the_harness_drives_what_is_served(here, scenario):
    (here / "my_worker.py").write_text(NOISY, encoding="utf-8")
    with open_trainer(f"worker:{shlex.quote(sys.executable)} my_worker.py") as trainer:
        assert trainer.title == "noisy 2.1"
        trainer.train(scenario())
        assert "by a child" in trainer.printed
        with pytest.raises(TrainerBroke, match="refused: RuntimeError: first line") as broke:
            trainer.train(scenario(experiment="Breaks"))
        assert "Traceback" in broke.value.output
        trainer.train(scenario())
        trainer.stop()
