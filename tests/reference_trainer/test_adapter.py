"""Scenarios played with the trainer's own saver: in process, as a worker, and from a file."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reference_trainer
from conformance import Scenario
from conformance.cli import main as conformance
from reference_trainer.adapter import ReferenceTrainer, on_cuda
from reference_trainer.adapter import main as adapter
from reference_trainer.checkpoints import CheckpointError, load_checkpoint
from reference_trainer.config import SettingsError

REPOSITORY = Path(reference_trainer.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
COMMAND = [sys.executable, "-m", "reference_trainer.adapter"]
REWARDS = (None, 1.0, 0.5, 2.0, 2.0)

Make = Callable[..., Scenario]


@pytest.fixture
def scenario(tmp_path: Path) -> Make:
    def make(**changes: Any) -> Scenario:
        fields = {"experiment": "Ant", "root": tmp_path / "runs", "save_freq": 2, "max_epochs": 5}
        return Scenario(**{"rewards": REWARDS, **fields, **changes})

    return make


def names(scenario: Scenario) -> list[str]:
    return sorted(path.name for path in (scenario.root / scenario.experiment / "nn").iterdir())


def conforms(scenario: Scenario) -> bool:
    return conformance(["check", "--strict", str(scenario.root)]) == 0


PLAYED = ["Ant.pth", "last_Antep2rew1.0.pth", "last_Antep4rew2.0.pth"]


def test_a_scenario_gives_the_convention_s_files(scenario: Make) -> None:
    ReferenceTrainer().train(scenario())
    assert names(scenario()) == PLAYED
    assert load_checkpoint(scenario().root / "Ant/nn/Ant.pth")["epoch"] == 4
    assert conforms(scenario())


@pytest.mark.parametrize(
    "name", ["Aep12", "rew3ep4", "v1.0", "Großé", "日本", "two words", "x=[1]", "${name}"]
)
def test_hard_names_work(scenario: Make, name: str) -> None:
    ReferenceTrainer().train(scenario(experiment=name))
    assert f"{name}.pth" in names(scenario(experiment=name))
    assert conforms(scenario())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("..", "names no folder"),
        ("a/b", "holds '/'"),
        ("a\0b", r"holds '\\x00'"),
        ("\udcff", r"holds '\\udcff'"),
        ("é" * 120, "is too long"),
    ],
)
def test_names_that_no_file_can_have_are_refused(
    scenario: Make, name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=reason):
        ReferenceTrainer().train(scenario(experiment=name))
    assert list(tmp_path.iterdir()) == []


def test_rewards_of_any_size_are_only_logged_named_and_compared(scenario: Make) -> None:
    rewards = (-math.inf, math.nan, 3.4028234663852886e38, 1e300, math.inf, 1e-45, -0.0)
    wild = scenario(rewards=rewards, max_epochs=7, save_freq=1)
    ReferenceTrainer().train(wild)
    assert len(names(wild)) == 8
    assert conforms(wild)
    tame = scenario(rewards=(1.0,) * 7, max_epochs=7, save_freq=1, experiment="Bee")
    ReferenceTrainer().train(tame)
    last = load_checkpoint(wild.root / "Ant/nn/last_Antep7rew-0.0.pth")
    other = load_checkpoint(tame.root / "Bee/nn/last_Beeep7rew1.0.pth")
    assert all((last["model"][key] == other["model"][key]).all() for key in last["model"])


def test_a_chain_goes_on_counting_from_last_and_from_best(scenario: Make) -> None:
    trainer = ReferenceTrainer()
    rewards = (1.0, 9.0, 3.0, 4.0, 9.0, 9.5)
    trainer.train(scenario(rewards=rewards, max_epochs=3, save_freq=3))
    trainer.train(scenario(rewards=rewards, max_epochs=5, save_freq=5, resume="last"))
    assert load_checkpoint(scenario().root / "Ant/nn/Ant.pth")["epoch"] == 2
    trainer.train(scenario(rewards=rewards, max_epochs=6, save_freq=3, resume="best"))
    assert names(scenario()) == [
        "Ant.pth",
        "last_Antep3rew3.0.pth",
        "last_Antep5rew9.0.pth",
        "last_Antep6rew9.5.pth",
    ]
    assert load_checkpoint(scenario().root / "Ant/nn/Ant.pth")["epoch"] == 6


def test_a_fresh_session_in_an_old_folder_is_refused(scenario: Make) -> None:
    ReferenceTrainer().train(scenario())
    with pytest.raises(SettingsError, match="holds checkpoints of an earlier session"):
        ReferenceTrainer().train(scenario())
    with pytest.raises(SettingsError, match="is of epoch 4 already"):
        ReferenceTrainer().train(scenario(resume="last", max_epochs=4))


def test_resuming_where_nothing_was_saved_is_refused(scenario: Make) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to go on from"):
        ReferenceTrainer().train(scenario(resume="last"))


def test_seeds_of_any_sign_and_size_are_taken(scenario: Make) -> None:
    weights = []
    for seed in (-1, 2**80, 7):
        played = scenario(seed=seed, experiment=f"seed{seed}")
        ReferenceTrainer().train(played)
        best = load_checkpoint(played.root / f"seed{seed}/nn/seed{seed}.pth")
        weights.append(tuple(best["model"]["mu.weight"].flatten().tolist()))
    assert len(set(weights)) == 3


def test_cuda_is_used_where_it_is_asked_for() -> None:
    assert (ReferenceTrainer().device, on_cuda().device) == ("cpu", "cuda")


# --- the worker and the command ---


def test_the_worker_speaks_the_protocol(scenario: Make) -> None:
    requests = [
        {"cmd": "start", "protocol": 1},
        {"cmd": "train", "scenario": json.loads(scenario().to_json())},
        {"cmd": "train", "scenario": json.loads(scenario().to_json())},
        {"cmd": "train", "scenario": json.loads(scenario(experiment="Bee").to_json())},
        {"cmd": "stop"},
        {"cmd": "train", "scenario": json.loads(scenario(experiment="Late").to_json())},
    ]
    done = subprocess.run(
        COMMAND,
        input="".join(json.dumps(request) + "\n" for request in requests).encode(),
        env=ENVIRONMENT,
        capture_output=True,
        timeout=300,
        check=True,
    )
    start, first, again, other = map(json.loads, done.stdout.splitlines())
    assert start == {
        "ok": True,
        "protocol": 1,
        "trainer": {"name": "reference_trainer", "version": reference_trainer.__version__},
        "capabilities": ["resume"],
    }
    assert first == other == {"ok": True}
    assert again["ok"] is False
    assert again["error"].startswith("SettingsError: ")
    assert b"holds checkpoints of an earlier session" in done.stderr
    assert sorted(path.name for path in scenario().root.iterdir()) == ["Ant", "Bee"]


def test_one_scenario_s_file_is_played(
    scenario: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(scenario().to_json())
    assert adapter([str(path)]) == 0
    assert names(scenario()) == PLAYED
    assert capsys.readouterr() == ("", "")

    assert adapter([str(path)]) == 2
    assert "holds checkpoints" in capsys.readouterr().err
    path.write_text("{")
    assert adapter([str(path)]) == 2
    assert "not JSON" in capsys.readouterr().err
    assert adapter([str(path), str(path)]) == 2
    assert "one scenario's file" in capsys.readouterr().err
    assert adapter([str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
