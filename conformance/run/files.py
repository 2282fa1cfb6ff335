"""One checkpoint of a run: what its name says and, read on demand and once, what it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint import (
    Checkpoint,
    FaultKind,
    Opaque,
    Scalar,
    Tensor,
    numbers_of,
    optimizer_problem,
    read_checkpoint,
    read_item,
    scan_non_finite,
    weights_digest,
)
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import read_rewards

if TYPE_CHECKING:
    from conformance.convention.names import CheckpointName
    from conformance.convention.profile import Profile
    from conformance.evidence.checkpoint import NonFinite
    from conformance.evidence.runs import Entry
    from conformance.evidence.summaries import EventFile

_LARGEST_EPOCH = 10**18


class Readings:
    """What was read of a run's files, kept for subjects that hold it against several profiles."""

    def __init__(self) -> None:
        self._contents: dict[tuple[str, frozenset[str]], Checkpoint] = {}
        self._logs: dict[tuple[str, str, str], EventFile] = {}

    def contents(self, entry: Entry, allowed: frozenset[str]) -> Checkpoint:
        """What a checkpoint holds, where these globals are allowed."""
        key = entry.relative, allowed
        if key not in self._contents:
            self._contents[key] = read_checkpoint(entry.path, allowed=allowed)
        return self._contents[key]

    def log(self, entry: Entry, tag: str, epoch_tag: str) -> EventFile:
        """What an event file holds, as `read_rewards` has it."""
        key = entry.relative, tag, epoch_tag
        if key not in self._logs:
            self._logs[key] = read_rewards(entry.path, tag=tag, epoch_tag=epoch_tag)
        return self._logs[key]


class CheckpointFile:
    """One checkpoint of a run: its entry, what its name says, and, read on demand, its contents."""

    def __init__(
        self,
        entry: Entry,
        name: CheckpointName,
        profile: Profile,
        *,
        misplaced: bool = False,
        readings: Readings | None = None,
    ) -> None:
        self.entry = entry
        self.name = name
        self.misplaced = misplaced
        self._profile = profile
        self._readings = readings or Readings()

    @property
    def path(self) -> str:
        """The path from the run's folder."""
        return self.entry.relative

    @property
    def is_file(self) -> bool:
        """Whether there is something to read: a file with bytes in it."""
        return self.entry.kind is EntryKind.FILE and self.entry.size > 0

    @cached_property
    def contents(self) -> Checkpoint | None:
        """What the file holds; None where there is nothing to read (LAYOUT-004's matter)."""
        if not self.is_file:
            return None
        return self._readings.contents(self.entry, self._profile.allowed_globals)

    @cached_property
    def damaged(self) -> bool:
        """Whether the file's bytes are not what was written: nothing in it is to be believed."""
        contents = self.contents
        return contents is not None and any(
            fault.kind in (FaultKind.DAMAGED, FaultKind.UNREADABLE) for fault in contents.faults
        )

    @cached_property
    def values(self) -> Mapping[str, Any] | None:
        """The top-level dict, where the file is whole and holds one with string keys."""
        contents = self.contents
        if contents is None or self.damaged or not isinstance(contents.root, Mapping):
            return None
        return {key: value for key, value in contents.root.items() if isinstance(key, str)}

    @property
    def models(self) -> tuple[str, ...]:
        """The keys under which the dialect stores state_dicts."""
        return self._profile.models

    @cached_property
    def model(self) -> Mapping[str, Tensor] | None:
        """The state_dict under `model`, where it is one.

        Where the dialect stores several, their tensors together: `actor.weight`, `critic.weight`.
        """
        if len(self.models) == 1:
            return self._state_dict(self.models[0])
        found: dict[str, Tensor] = {}
        for key in self.models:
            part = self._state_dict(key)
            if part is None:
                return None
            found.update({f"{key}.{inner}": tensor for inner, tensor in part.items()})
        return found

    def _state_dict(self, key: str) -> Mapping[str, Tensor] | None:
        values = self.values
        model = None if values is None else values.get(key)
        if not isinstance(model, Mapping) or not model:
            return None
        tensors = {
            key: value
            for key, value in model.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
        return tensors if len(tensors) == len(model) else None

    @cached_property
    def digest(self) -> bytes | None:
        """The digest of the state_dict; None where there is none that can be read."""
        if self.model is None or self.contents is None:
            return None
        return weights_digest(self.model, self.contents)

    @cached_property
    def epoch(self) -> int | None:
        """The stored epoch, where it is a whole number."""
        value = self._number("epoch")
        if value is None or not abs(value) < _LARGEST_EPOCH or value != int(value):
            return None
        return int(value)

    @cached_property
    def watermark(self) -> float | None:
        """The stored `last_mean_rewards`, where it is a number."""
        return self._number("last_mean_rewards")

    def _number(self, key: str) -> float | None:
        values, contents = self.values, self.contents
        if values is None or contents is None:
            return None
        return number(values.get(key), contents)

    @cached_property
    def optimizers(self) -> Mapping[str, Mapping[str, Any]]:
        """The state_dicts of torch optimizers that a resume needs, by key."""
        values = self.values or {}
        return {
            key: values[key]
            for key in self._profile.resume_keys
            if key.endswith("optimizer")
            and key in values
            and optimizer_problem(values[key]) is None
        }

    @property
    def non_finite(self) -> Mapping[str, NonFinite]:
        """The tensors under `model` that hold a NaN or an infinity, by key."""
        return {place: found for (part, place), found in self._scanned.items() if not part}

    @cached_property
    def optimizer_nans(self) -> tuple[str, ...]:
        """Where the optimizers hold a NaN: `optimizer.state[0]['exp_avg']`."""
        plain = (
            f"{key}.{place}"
            for key, optimizer in self.optimizers.items()
            for place, number in numbers_of(optimizer)
            if isinstance(number, float) and math.isnan(number)
        )
        scanned = (f"{key}.{place}" for (key, place), at in self._scanned.items() if key and at.nan)
        return (*plain, *scanned)

    @cached_property
    def _scanned(self) -> Mapping[tuple[str, str], NonFinite]:
        """What is not finite in the models' and the optimizers' tensors, in one reading.

        By the optimizer's key, empty for the model, and the place in it.
        """
        if self.contents is None:
            return {}
        tensors = {("", key): tensor for key, tensor in (self.model or {}).items()}
        for key, optimizer in self.optimizers.items():
            for place, number in numbers_of(optimizer):
                if isinstance(number, Tensor):
                    tensors[key, place] = number
        return scan_non_finite(self.contents, tensors)

    @cached_property
    def epochs(self) -> frozenset[int]:
        """The epochs that the file may stand for: the one in its name and the stored one."""
        return frozenset(epoch for epoch in (self.name.epoch, self.epoch) if epoch is not None)


def number(value: object, contents: Checkpoint) -> float | None:
    """A stored number as a Python one: plain, NumPy's, or a tensor or array of one element."""
    if isinstance(value, Opaque) and value.name == "numpy.ndarray" and value.args:
        element = value.args[-1]
        value = element[0] if isinstance(element, list) and element else None
    if isinstance(value, Scalar):
        value = value.value
    elif isinstance(value, Tensor):
        value = read_item(contents, value)  # None, where it has several
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        float(value)
    except OverflowError:  # a whole number beyond any float is no epoch and no reward
        return None
    return value


_TEMPORARY_ENDINGS = (".tmp", ".temp", ".part", ".partial", ".swp", ".lock", "~")


def is_temporary(name: str) -> bool:
    """Whether a file's name says that it is a temporary one."""
    lowered = name.casefold()
    return (
        name.startswith(".")
        or lowered.endswith(_TEMPORARY_ENDINGS)
        or ".tmp" in lowered
        or lowered.startswith(("tmp", "temp"))
    )
