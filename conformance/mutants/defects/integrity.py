"""Trainers that write archives with damaged, missing or needless bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from conformance.fixtures.archive import zip_checkpoint
from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class AppendsANewline(Trainer):
    """Ends each checkpoint with a newline."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return super().encode(state) + b"\n"


class AppendsToTheBest(Trainer):
    """Opens the best for appending."""

    rule = "INTEGRITY-001"

    def write(self, path: Path, data: bytes) -> None:
        if self.saving_best:
            with path.open("ab") as stream:
                stream.write(data)
        else:
            super().write(path, data)


class TruncatesTheFile(Trainer):
    """Loses the last bytes of the periodic checkpoint."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = super().encode(state)
        return data if self.saving_best else data[:-20]


class ZeroesTheTail(Trainer):
    """Leaves the end of the periodic checkpoint unwritten, as a crash does."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = super().encode(state)
        return data if self.saving_best else data[:-512] + bytes(512)


class FlipsABit(Trainer):
    """Changes one bit of a weight after its checksum was taken."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = bytearray(super().encode(state))
        data[data.index(struct.pack("<2f", self.epoch / 4, -0.25))] ^= 1
        return bytes(data)


class RecordsAWrongChecksum(Trainer):
    """Writes a wrong CRC-32 into the directory of the archive."""

    rule = "INTEGRITY-001"
    epochs = 1

    def encode(self, state: object) -> bytes:
        data = bytearray(super().encode(state))
        data[data.index(b"PK\x01\x02") + 16] ^= 1
        return bytes(data)


class LeavesTheChecksumsOut(Trainer):
    """Switches CRC-32 off to save faster."""

    rule = "INTEGRITY-004"
    epochs = 1

    def encode(self, state: object) -> bytes:
        return zip_checkpoint(state, crc=False)
