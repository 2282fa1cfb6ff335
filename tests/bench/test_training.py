"""Timing trainings from outside, of a trainer that saves a known number of files."""

from __future__ import annotations

import json
import math

import pytest

from conformance.bench import bench_training
from conformance.bench.report import to_json, training_text
from conformance.bench.training import TrainingResult
from conformance.bench.watch import TimedSave

SPEC = "python:conformance.mutants:Trainer"


def test_all_saves_are_seen_and_none_where_none_is_due(tmp_path):
    result = bench_training(SPEC, folder=tmp_path, epochs=3, rounds=2)
    assert len(result.saves) == 2 * 3 * 2, "two sessions of three epochs: periodic and best each"
    names = [save.name for save in result.saves[:6]]
    assert names == [
        name
        for epoch in (1, 2, 3)
        for name in (f"last_Benchep{epoch}rew{epoch}.0.pth", "Bench.pth")
    ]
    assert result.unasked == 0
    assert len(result.with_saves) == len(result.without) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_trainer_with_rewards_of_its_own_may_save_unasked(tmp_path):
    command = "command:sh -c 'touch {root}/{experiment}/nn/{experiment}.pth'"
    result = bench_training(command, folder=tmp_path, epochs=1, rounds=1)
    assert result.unasked == 1
    assert "1 files appeared where none was due" in training_text(result)


def result_of(*seconds):
    saves = tuple(TimedSave("A.pth", at, at + took) for at, took in enumerate(seconds, start=1))
    return TrainingResult(
        "t", plays_rewards=True, epochs=1, saves=saves, with_saves=(2.0,), without=(1.0,), unasked=0
    )


def test_a_save_whose_notes_were_read_as_one_is_counted_but_not_timed():
    result = result_of(0.25, 0.0, 0.5, 1.0)
    assert result.save_seconds == 0.5
    text = training_text(result)
    assert "4 saves, from the first byte to the name: median 500 ms, longest 1000 ms" in text
    assert "1 of 4 saves were over too soon to be timed" in text
    assert "too soon" not in training_text(result_of(0.25))


def test_without_a_timed_save_there_is_no_median():
    result = result_of(0.0)
    assert math.isnan(result.save_seconds)
    assert "from the first byte" not in training_text(result)
    assert result.cost_of_a_save == 1.0


@pytest.mark.parametrize("command", ["command:true {root}", "command:sh -c 'true {root}'"])
def test_without_a_file_there_is_nothing_to_time(tmp_path, command):
    result = bench_training(command, folder=tmp_path, epochs=1, rounds=1)
    assert "no file appeared" in training_text(result)
    assert json.loads(to_json(result, []))["training"]["cost_of_a_save"] is None
