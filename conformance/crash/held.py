"""What stands under a checkpoint's name: nothing, a whole checkpoint, or what is none any more."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.convention.names import parse_name
from conformance.convention.profile import Kind
from conformance.evidence.checkpoint import (
    FaultKind,
    Scalar,
    Tensor,
    read_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.evidence.checkpoint import Checkpoint

# What a checkpoint may have been written with: LOAD-001's and SAFETY-001's matter, not a crash's.
_AS_WRITTEN = frozenset({FaultKind.UNSAFE, FaultKind.REFUSED, FaultKind.TOO_LARGE})
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """What one name stands for.

    Attributes:
        state: `absent`, `whole` or `torn`.
        epoch: stored in it; None where it is not whole or stores none.
        watermark: stored in it, likewise.
        digest: of all that it holds; equal digests, equal checkpoints. Empty where it is not whole.
        why: what is wrong with it; empty where nothing is.
    """

    state: str
    epoch: int | None = None
    watermark: float | None = None
    digest: str = ""
    why: str = ""

    @property
    def told(self) -> str:
        """What it is, for a person."""
        if self.state == "absent":
            return "nothing"
        if self.state == "torn":
            return f"torn: {self.why.removeprefix('torn: ')}"
        return f"epoch {self.epoch}" if self.epoch is not None else "whole"


ABSENT = Held("absent")


@dataclass(frozen=True, slots=True)
class Left:
    """What stands in the folder of checkpoints.

    Attributes:
        best: under the best's name.
        others: under the other checkpoints' names, by name.
        foreign: the names that are no checkpoint's.
    """

    best: Held
    others: Mapping[str, Held]
    foreign: tuple[str, ...]

    def shows(self, other: Left) -> bool:
        """Whether the same checkpoints stand in both, whole."""
        return self.best == other.best and dict(self.others) == dict(other.others)


def hold(path: Path, profile: Profile) -> Held:
    """Read what stands under a path."""
    try:
        status = path.lstat()
    except OSError as error:
        return ABSENT if isinstance(error, FileNotFoundError) else Held("torn", why=str(error))
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        return Held("torn", why="it is empty")
    return _held(read_checkpoint(path, allowed=profile.allowed_globals))


def hold_bytes(data: bytes | None, profile: Profile, scratch: Path) -> Held:
    """Read a checkpoint's bytes; `scratch` is a file's path to use for that."""
    if data is None:
        return ABSENT
    scratch.write_bytes(data)
    return hold(scratch, profile)


def left_in(folder: Path, name: str, profile: Profile) -> Left:
    """Read what stands in a folder of checkpoints.

    Args:
        folder: may be missing.
        name: the run's.
        profile: whose names count.
    """
    best, others, foreign = ABSENT, {}, []
    try:
        names = sorted(os.listdir(folder))[:_MOST_ENTRIES]  # noqa: PTH208 - names are all it takes
    except OSError:
        names = []
    for entry in names:
        kind = kind_of(profile, name, entry)
        if kind is None:
            foreign.append(entry)
        elif kind is Kind.BEST:
            best = hold(folder / entry, profile)
        else:
            others[entry] = hold(folder / entry, profile)
    return Left(best, others, tuple(foreign))


def kind_of(profile: Profile, name: str, entry: str) -> Kind | None:
    """Which of the profile's checkpoints a file name says it is; None for none."""
    parsed = parse_name(profile, name, entry)
    return None if parsed.flaws else parsed.kind


def _held(contents: Checkpoint) -> Held:
    broken = [fault for fault in contents.faults if fault.kind not in _AS_WRITTEN]
    if broken:
        return Held("torn", why=broken[0].message)
    digest = hashlib.sha256()
    epoch = watermark = None
    root = contents.root
    if isinstance(root, dict):
        epoch, watermark = _number(root.get("epoch")), _number(root.get("last_mean_rewards"))
    _feed(digest, root, 0)
    return Held(
        "whole",
        epoch=int(epoch) if epoch is not None and epoch == epoch else None,  # noqa: PLR0124 - NaN
        watermark=watermark,
        digest=digest.hexdigest(),
    )


def _number(value: object) -> float | None:
    if isinstance(value, Scalar):
        value = value.value
    if isinstance(value, (int, float)) and abs(value) < 1e18:
        return float(value)
    return None


def _feed(digest: hashlib._Hash, item: object, depth: int) -> None:
    """Add all that tells two checkpoints apart; a tree that the reader has bounded."""
    if isinstance(item, dict):
        for key, value in item.items():
            digest.update(f"{depth}k{key!a}".encode())
            _feed(digest, value, depth + 1)
    elif isinstance(item, (list, tuple)):
        for value in item:
            digest.update(b"%d," % depth)
            _feed(digest, value, depth + 1)
    elif isinstance(item, Tensor):
        shape = (item.dtype, item.shape, item.stride, item.storage_offset, item.storage.crc32)
        digest.update(repr(shape).encode())
    elif isinstance(item, (int, float, str, bytes, complex, type(None))):
        digest.update(repr(item).encode("utf-8", "backslashreplace"))
    elif isinstance(item, Scalar):
        digest.update(repr(item.value).encode("utf-8", "backslashreplace"))
    else:
        digest.update(type(item).__name__.encode())
