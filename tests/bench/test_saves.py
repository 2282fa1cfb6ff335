"""Timing saves from inside: who is asked, in what order, what the ratios are, what is refused."""

from __future__ import annotations

import json
import statistics
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import torch

from conformance.bench import NoSaveError, Row, SizeResult, bench_saves, peers
from conformance.bench.report import milliseconds, saves_text, to_json, to_svg
from conformance.bench.ways import BUFFERED, DURABLE, LIMIT
from conformance.trainers import TrainerBroke

ASKED: list[str] = []


class InBackground:
    """Says what it is asked, and saves plainly."""

    name = "in the background"

    def train(self, _scenario: Any) -> None:
        """Is not asked here."""
        raise AssertionError

    def save(self, state: Any, path: Any) -> None:
        """Save."""
        ASKED.append("save")
        torch.save(state, path)

    def before_update(self) -> None:
        """Wait for the copy."""
        ASKED.append("before_update")

    def wait(self) -> None:
        """Wait for the disk."""
        ASKED.append("wait")


class WithoutSave:
    """Trains alone."""

    def train(self, _scenario: Any) -> None:
        """Is not asked here."""
        raise AssertionError


class WithAnotherSave(WithoutSave):
    """Has a `save` of its own kind."""

    def save(self, _checkpoint: Any) -> None:
        """Is not asked here."""
        raise AssertionError


class Breaks(WithoutSave):
    """Cannot save."""

    def save(self, _state: Any, _path: Any) -> None:
        """Raise."""
        raise RuntimeError("no room")


def spec(kind: type) -> str:
    return f"python:{kind.__module__}:{kind.__qualname__}"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    import sys  # noqa: PLC0415 - of this fixture alone

    monkeypatch.setitem(sys.modules, "bench_subjects", sys.modules[__name__])
    for kind in (InBackground, WithoutSave, WithAnotherSave, Breaks):
        monkeypatch.setattr(kind, "__module__", "bench_subjects")
    ASKED.clear()


@pytest.fixture
def _one_thread():
    """Keep torch's threads from spinning for each other where other tests run too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_every_way_is_timed_in_every_round(tmp_path):
    (result,) = bench_saves(
        spec(InBackground), {"8 KB": 8 << 10}, folder=tmp_path, rounds=2, steps=True
    )
    behind_a_rollout = under_steps = ["save", "before_update", "wait"]
    without_one = ["save", "wait", "before_update"]
    in_a_round = [*behind_a_rollout, *without_one, *under_steps]
    assert list(ASKED) == in_a_round * 3
    names = [row.name for row in result.rows]
    assert names[0] == "trainer"
    assert {BUFFERED, DURABLE, "DCP async_save", "torch.save in a thread"} < set(names)
    for row in result.rows:
        assert len(row.stall) == len(row.whole) == 2
        assert min(row.stall) > 0
    for row in result.rows[1:]:  # the trainer's two times are of two saves
        assert all(stall <= whole for stall, whole in zip(row.stall, row.whole, strict=True))
    assert [row.name for row in result.rows if row.worst_step] == [
        "trainer",
        "torch.save in a thread",
        "DCP async_save",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_states_have_the_size_that_is_asked_for():
    for size in (64 << 10, 5 << 20):
        held = sum(tensor.nbytes for _, tensor in peers._tensors(peers.state_of(size)))
        assert 0.9 * size < held < 1.1 * size


@pytest.mark.parametrize("kind", [WithoutSave, WithAnotherSave])
def test_a_trainer_without_such_a_save_is_refused(tmp_path, kind):
    with pytest.raises(NoSaveError, match=r"has no save\(state, path\)"):
        bench_saves(spec(kind), {"1 KB": 1024}, folder=tmp_path)


def test_a_worker_cannot_be_asked(tmp_path):
    with pytest.raises(NoSaveError, match="only the object of a python: trainer"):
        bench_saves("worker:true", {"1 KB": 1024}, folder=tmp_path)


def test_a_save_that_raises_is_the_trainer_s_fault(tmp_path):
    with pytest.raises(TrainerBroke, match=r"save\(\) raised RuntimeError: no room"):
        bench_saves(spec(Breaks), {"1 KB": 1024}, folder=tmp_path, rounds=1)


# --- figures and their forms ---

RESULT = SizeResult(
    "1 <KB>",
    1234,
    (
        Row("trainer", (0.1, 0.1, 3.0), (2.0, 3.0, 40.0), (0.2, 0.3, 0.4)),
        Row(LIMIT, (1.0, 2.0, 20.0), (1.0, 2.0, 20.0)),
        Row(DURABLE, (2.0, 4.0, 30.0), (2.0, 4.0, 30.0)),
    ),
    0.1,
    ("safetensors: not installed",),
)


def test_ratios_are_those_of_each_round():
    trainer, limit, durable = RESULT.figures()
    assert (trainer.stall, trainer.whole, trainer.worst_step) == (0.1, 3.0, 0.3)
    assert trainer.to_limit == statistics.median([2.0, 1.5, 2.0])
    assert trainer.to_torch == statistics.median([0.05, 0.025, 0.1])
    assert (limit.to_limit, durable.to_torch) == (1.0, 1.0)


def test_without_direct_writes_the_buffered_ones_are_the_limit():
    rows = (*RESULT.rows[:1], Row(BUFFERED, (1.0,) * 3, (1.0,) * 3), RESULT.rows[2])
    assert SizeResult("x", 1, rows).figures()[0].to_limit == 3.0


def test_the_table_tells_the_ratios_and_what_is_missing():
    text = saves_text([RESULT])
    assert "1 <KB>: files of 1,234 bytes, medians of 3 rounds" in text
    assert "trainer                        100      3000       2.00    T/20.0  ####" in text
    assert "worst training step, ms: without a save 100; trainer 300" in text
    assert "left out: safetensors: not installed" in text
    assert saves_text([]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (1.2345e-5, "0.012"), (0.0012345, "1.23"), (1.2345, "1234")],
)
def test_times_have_three_digits(seconds, text):
    assert milliseconds(seconds) == text


def test_json_holds_every_round():
    (size,) = json.loads(to_json(None, [RESULT]))["saves"]
    assert size["rows"][0]["rounds"]["safe"] == [2.0, 3.0, 40.0]
    assert size["rows"][0]["safe_to_limit"] == 2.0


def test_the_drawing_is_well_formed():
    root = ET.fromstring(to_svg([RESULT]))  # noqa: S314 - our own
    texts = [item.text for item in root.iter() if item.text and item.text.strip()]
    assert "1 <KB>" in texts
    assert len([item for item in root.iter() if item.tag.endswith("rect")]) == 6
