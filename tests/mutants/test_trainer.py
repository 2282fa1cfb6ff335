"""The smallest conforming trainer: that it conforms, and that its files are real ones."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.convention.scenario import Scenario
from conformance.evidence.runs import scan_run
from conformance.mutants import Trainer
from conformance.mutants.trainer import single
from conformance.strategies import chains


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    numbers = count()
    root = tmp_path_factory.mktemp("runs")
    return lambda: root / str(next(numbers))


def failing(run):
    """The rules, MUST and SHOULD, that the run breaks by its files, and those that failed."""
    found = audit(scan_run(run), load_profile()).findings
    return {f.rule: f.message for f in found if f.verdict in (Verdict.FAIL, Verdict.ERROR)}


def played(trainer, root, rewards, *, save_freq=1, resumes=(), lasts=()):
    """Play a run whose sessions end after the epochs `lasts` and at the end of the rewards."""
    for resume, last in zip((None, *resumes), (*lasts, len(rewards)), strict=True):
        trainer.train(
            Scenario("Cartpole", root, save_freq, last, tuple(rewards), resume=resume, seed=3)
        )
    return root / "Cartpole"


def checkpoint(run, name):
    return torch.load(run / "nn" / name, weights_only=True)


def names(run):
    return sorted(path.name for path in (run / "nn").iterdir())


@given(chain=chains())
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_it_breaks_no_rule_in_any_session(folder, chain):
    root, trainer = folder(), Trainer()
    for scenario in chain:
        # A config tells one save_freq, that of the latest session.
        trainer.train(replace(scenario, root=root, save_freq=chain[0].save_freq))
        assert failing(root / scenario.experiment) == {}


def test_torch_loads_what_it_saves(tmp_path):
    run = played(Trainer(), tmp_path, [None, 1.5, 3.5, 2.5], save_freq=2)
    assert names(run) == [
        "Cartpole.pth",
        "last_Cartpoleep2rew1.5.pth",
        "last_Cartpoleep4rew2.5.pth",
    ]
    best = checkpoint(run, "Cartpole.pth")
    assert (best["epoch"], best["last_mean_rewards"]) == (3, 3.5)
    assert [value.dtype for value in best["model"].values()] == [torch.float32] * 2
    model = torch.nn.Module()
    model.actor = torch.nn.Linear(2, 2)
    model.load_state_dict(best["model"], strict=True)


def test_tensorboard_reads_what_it_logs(tmp_path):
    run = played(Trainer(), tmp_path, [None, 1.5, 3.5, 2.5])
    log = EventAccumulator(str(run / "summaries"))
    log.Reload()
    assert [(entry.step, entry.value) for entry in log.Scalars("rewards/iter")] == [
        (2, 1.5),
        (3, 3.5),
        (4, 2.5),
    ]


def test_periodic_comes_before_best_and_stores_the_old_watermark(tmp_path):
    written = []

    class Noted(Trainer):
        def write(self, path, data):
            super().write(path, data)
            written.append(path.name)

    run = played(Noted(), tmp_path, [1.0, 1.0, 2.0])
    assert written == [
        *("last_Cartpoleep1rew1.0.pth", "Cartpole.pth", "last_Cartpoleep2rew1.0.pth"),
        *("last_Cartpoleep3rew2.0.pth", "Cartpole.pth"),
    ]
    assert checkpoint(run, "last_Cartpoleep3rew2.0.pth")["last_mean_rewards"] == 1.0


@pytest.mark.parametrize(
    ("resume", "rewards", "steps", "best"),
    [
        ("best", [1.0, 5.0, 2.0, 4.0, 3.0], [3, 4, 5], 2),  # keeps the watermark
        ("best", [1.0, 5.0, 2.0, 6.0, 3.0], [3, 4, 5], 4),
        ("last", [1.0, 5.0, 2.0, 4.0, 3.0], [4, 5], 2),
        ("last", [1.0, 2.0, 5.0, 4.0, 3.0], [4, 5], 3),  # stores the watermark before the 5.0
    ],
)
def test_it_goes_on_behind_the_checkpoint_with_the_highest_watermark(
    tmp_path, resume, rewards, steps, best
):
    run = played(Trainer(), tmp_path, rewards, resumes=[resume], lasts=[3])
    log = EventAccumulator(str(max((run / "summaries").iterdir(), key=lambda path: path.name)))
    log.Reload()
    assert [entry.step for entry in log.Scalars("rewards/iter")] == steps
    assert checkpoint(run, "Cartpole.pth")["epoch"] == best


def test_a_last_checkpoint_is_told_by_its_stored_epoch_and_not_by_its_name(tmp_path):
    run = played(
        Trainer(), tmp_path, [float(-epoch) for epoch in range(12)], resumes=["last"], lasts=[10]
    )
    assert len(names(run)) == 13
    assert len(list((run / "summaries").iterdir())) == 2


def test_a_replayed_epoch_has_other_weights(tmp_path):
    run = played(Trainer(), tmp_path, [5.0, 1.0])
    first = checkpoint(run, "last_Cartpoleep2rew1.0.pth")["model"]
    Trainer().train(Scenario("Cartpole", tmp_path, 1, 2, (5.0, 1.5), resume="best", seed=3))
    second = checkpoint(run, "last_Cartpoleep2rew1.5.pth")["model"]
    assert not torch.equal(first["actor.weight"], second["actor.weight"])


def test_one_trainer_plays_many_scenarios_as_if_each_were_its_first(tmp_path):
    one = Trainer()
    played(one, tmp_path / "before", [9.0, 8.0])
    again = played(one, tmp_path / "again", [1.0, 3.0, 2.0])
    fresh = played(Trainer(), tmp_path / "fresh", [1.0, 3.0, 2.0])
    assert names(again) == names(fresh)
    for name in names(fresh):
        assert (again / "nn" / name).read_bytes() == (fresh / "nn" / name).read_bytes()


def test_a_write_that_fails_leaves_the_old_best(tmp_path, monkeypatch):
    played(Trainer(), tmp_path, [1.0], save_freq=0)
    before = (tmp_path / "Cartpole" / "nn" / "Cartpole.pth").read_bytes()

    def refuse(path, target):  # noqa: ARG001 - called as the method that it stands for
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        Trainer().train(Scenario("Cartpole", tmp_path, 0, 2, (1.0, 2.0), resume="best"))
    assert (tmp_path / "Cartpole" / "nn" / "Cartpole.pth").read_bytes() == before


@given(reward=st.floats(width=32, allow_nan=False))
@example(485.29998779296875)
@example(3.4028234663852886e38)
@example(1.401298464324817e-45)
@example(-0.0)
def test_the_printed_reward_reads_back_and_is_no_longer_than_the_float64(reward):
    text = Trainer().text(reward)
    assert single(float(text)) == reward
    assert text == str(float(text))
    assert len(text) <= len(str(reward))


def test_a_reward_is_printed_as_a_float32_is():
    assert [Trainer().text(reward) for reward in (485.29998779296875, 5.0, float("nan"))] == [
        "485.3",
        "5.0",
        "nan",
    ]
    assert single(1e39) == float("inf")
