"""Event files, read: as a test says them, or written first."""

from __future__ import annotations

from pathlib import Path

from conformance.evidence.summaries import EventFile, Reward, read_event_file
from conformance.fixtures.events import Scalar, event_file
from conformance.mutants.trainer import TAG


def log(steps, *, name="events.out.tfevents.1.host.7.0", at=1.0, first_epoch=None, **other):
    """An event file that logs each step as its own reward; other rewards as pairs."""
    pairs = [step if isinstance(step, tuple) else (step, float(step)) for step in steps]
    fields = {
        "path": Path("summaries") / name,
        "size": 100,
        "records": len(pairs) + 1,
        "first_wall_time": at,
        "last_wall_time": at,
        "rewards": tuple(Reward(step, value, at) for step, value in pairs),
        "tags": frozenset({"rewards/iter"}),
        "first_epoch": first_epoch,
        "torn": False,
        "problem": None,
    }
    return EventFile(**{**fields, **other})


def read_log(folder, rewards, *, name="1", started=1.7e9):
    """An event file of these rewards, read."""
    path = folder / f"events.out.tfevents.{int(started)}.host.{name}.0"
    scalars = (Scalar(started + epoch, TAG, epoch, reward) for epoch, reward in rewards.items())
    path.write_bytes(event_file(tuple(scalars), started=started))
    return read_event_file(path)
