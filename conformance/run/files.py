"""One checkpoint of a run: what its name says and, read on demand and once, what it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from conformance.convention.safe_globals import NUMPY_DATA
from conformance.evidence.checkpoint import (
    Checkpoint,
    FaultKind,
    Opaque,
    Scalar,
    Tensor,
    narrowed,
    numbers_of,
    optimizer_problem,
    read_checkpoint,
    read_item,
    scan_non_finite,
    weights_digest,
)
from conformance.evidence.config import read_config
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import read_event_file, read_rewards, rewards_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.convention.names import CheckpointName
    from conformance.convention.profile import Profile
    from conformance.evidence.checkpoint import NonFinite
    from conformance.evidence.checkpoint.source import Source
    from conformance.evidence.config import RunConfig
    from conformance.evidence.runs import Entry
    from conformance.evidence.summaries import EventFile

_LARGEST_EPOCH = 10**18


class Readings:
    """What was read of a run's files, kept for subjects that hold it against several profiles.

    Args:
        profiles: what the files will be held against: each is read once, for all of these. What
            another profile asks for is read again.
    """

    def __init__(self, profiles: Iterable[Profile] = ()) -> None:
        known = tuple(profiles)
        self._tags = {tag for each in known for tag in (each.reward_tag, each.epoch_tag)} - {""}
        self._models = {model for each in known for model in each.models}
        self._optimizers = {key for each in known for key in each.optimizers}
        self._whole: dict[str, Checkpoint] = {}
        self._contents: dict[tuple[str, frozenset[str]], Checkpoint] = {}
        self._non_finite: dict[tuple[str, str], Mapping[str, NonFinite]] = {}
        self._events: dict[str, tuple[str, EventFile]] = {}
        self._logs: dict[tuple[str, str, str], EventFile] = {}
        self._configs: dict[str, RunConfig] = {}

    def config(self, entry: Entry) -> RunConfig:
        """What a config file says."""
        if entry.relative not in self._configs:
            self._configs[entry.relative] = read_config(entry.path)
        return self._configs[entry.relative]

    def contents(self, entry: Entry, allowed: frozenset[str]) -> Checkpoint:
        """What a checkpoint holds, where these globals are allowed."""
        key = entry.relative, allowed
        if key not in self._contents:
            if entry.relative not in self._whole:
                self._whole[entry.relative] = read_checkpoint(
                    entry.path, allowed=allowed | NUMPY_DATA, look=partial(self._look, entry)
                )
            found = narrowed(self._whole[entry.relative], allowed)
            self._contents[key] = found or read_checkpoint(entry.path, allowed=allowed)
        return self._contents[key]

    def _look(self, entry: Entry, checkpoint: Checkpoint, source: Source) -> None:
        """Look for what is not finite while the file is open; what fails is tried again later."""
        root = checkpoint.root
        parts = {key: _state_dict(root, key) for key in self._models}
        parts |= {key: _tensors_of(at) for key, at in _optimizers(root, self._optimizers).items()}
        for key, tensors in parts.items():
            if tensors is not None:
                with suppress(OSError):
                    found = scan_non_finite(checkpoint, tensors, source)
                    self._non_finite[entry.relative, key] = found

    def non_finite(self, entry: Entry, key: str) -> Mapping[str, NonFinite] | None:
        """What is not finite under a key of a checkpoint; None where nobody has looked."""
        return self._non_finite.get((entry.relative, key))

    def log(self, entry: Entry, tag: str, epoch_tag: str) -> EventFile:
        """What an event file holds, as `read_rewards` has it."""
        key = entry.relative, tag, epoch_tag
        if key not in self._logs:
            if entry.relative not in self._events:
                also = {*self._tags, epoch_tag} - {tag, ""}
                self._events[entry.relative] = tag, read_event_file(entry.path, tag=tag, also=also)
            read_for, file = self._events[entry.relative]
            found = rewards_in(file, tag=tag, epoch_tag=epoch_tag, read_for=read_for)
            self._logs[key] = found or read_rewards(entry.path, tag=tag, epoch_tag=epoch_tag)
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
            return _state_dict(self.values, self.models[0])
        found: dict[str, Tensor] = {}
        for key in self.models:
            part = _state_dict(self.values, key)
            if part is None:
                return None
            found.update({f"{key}.{inner}": tensor for inner, tensor in part.items()})
        return found

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
        return _optimizers(self.values, self._profile.optimizers)

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
        parts = {key: _state_dict(self.values, key) for key in self.models}
        if self.model is None:
            parts = {}
        single = len(self.models) == 1
        looked: dict[str, Mapping[str, Tensor]] = {key: part or {} for key, part in parts.items()}
        looked |= {key: _tensors_of(optimizer) for key, optimizer in self.optimizers.items()}
        known = {key: self._readings.non_finite(self.entry, key) for key in looked}
        if None in known.values():
            together = {(key, at): part[at] for key, part in looked.items() for at in part}
            found = scan_non_finite(self.contents, together)
        else:
            found = {
                (key, at): what for key, part in known.items() for at, what in (part or {}).items()
            }
        return {
            (key, at) if key not in parts else ("", at if single else f"{key}.{at}"): what
            for (key, at), what in found.items()
        }

    @cached_property
    def epochs(self) -> frozenset[int]:
        """The epochs that the file may stand for: the one in its name and the stored one."""
        return frozenset(epoch for epoch in (self.name.epoch, self.epoch) if epoch is not None)


def _optimizers(values: object, keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The state_dicts of torch optimizers under these keys."""
    if not isinstance(values, Mapping):
        return {}
    kept = (key for key in keys if key in values)
    return {key: values[key] for key in kept if optimizer_problem(values[key]) is None}


def _tensors_of(optimizer: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of an optimizer's state_dict, by their place in it."""
    return {place: at for place, at in numbers_of(optimizer) if isinstance(at, Tensor)}


def _state_dict(values: object, key: str) -> Mapping[str, Tensor] | None:
    """The state_dict under a key, where there is one."""
    model = values.get(key) if isinstance(values, Mapping) else None
    if not isinstance(model, Mapping) or not model:
        return None
    tensors = {
        key: value
        for key, value in model.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    return tensors if len(tensors) == len(model) else None


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
