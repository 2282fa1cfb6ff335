"""Lays records out as torch's archive: stored, at multiples of 64 bytes, on whole pages in all.

CRC-32s stand behind the data and in the directory at the end, as torch puts them, so that a file
can be written from front to back while they are computed.
"""

import struct
from dataclasses import dataclass

PAGE = 4096
ALIGNMENT = 64
ZIP64_FROM = 0xFFFFFFFF  # sizes and offsets from here on are written in 64 bits
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_FOLDER = "archive"


@dataclass(slots=True)
class Record:
    """One record of the archive; `storage` is which one, of the records that hold one."""

    name: str
    size: int
    content: bytes = b""
    storage: int | None = None
    header: int = 0
    offset: int = 0
    descriptor: int = 0  # where the CRC-32 behind the data stands
    entry: int = 0  # where the one in the directory stands

    @property
    def wide(self) -> bool:
        """Whether its sizes or its place need 64 bits."""
        return max(self.size, self.header) >= ZIP64_FROM

    @property
    def flags(self) -> int:
        """Names are UTF-8; the CRC-32 follows the data, where there is any."""
        return 0x0808 if self.size else 0x0800

    def zip64(self) -> bytes:
        """Return the extra field with what does not fit into 32 bits."""
        values = [self.size, self.size] if self.size >= ZIP64_FROM else []
        values += [self.header] if self.header >= ZIP64_FROM else []
        return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def lay_out(records: list[Record]) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Give each record its place; return what is the same in each file, and the file's size."""
    constants: list[tuple[int, bytes]] = []
    cursor = 0
    for record in records:
        record.header = cursor
        name = f"{_FOLDER}/{record.name}".encode()
        zip64 = record.zip64()
        cursor += _LOCAL.size + len(name) + len(zip64) + 4
        padding = -cursor % ALIGNMENT
        if record is records[-1]:
            padding += -_end_of(records, cursor + padding) % PAGE
        cursor += padding
        extra = zip64 + struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        head = (b"PK\3\4", 0, record.flags, 0, 0, 0, 0, 0, 0, len(name), len(extra))
        constants.append((record.header, _LOCAL.pack(*head) + name + extra))
        record.offset = cursor
        if record.content:
            constants.append((cursor, record.content))
        cursor += record.size
        if record.size:
            sizes = struct.pack("<2Q" if record.wide else "<2I", record.size, record.size)
            constants.append((cursor, b"PK\7\x08" + bytes(4) + sizes))
            record.descriptor = cursor + 4
            cursor += 8 + len(sizes)
    directory = cursor
    for record in records:
        record.entry = cursor + 16
        entry = _entry(record)
        constants.append((cursor, entry))
        cursor += len(entry)
    end = _end(len(records), cursor - directory, directory)
    constants.append((cursor, end))
    return tuple(constants), cursor + len(end)


def _end_of(records: list[Record], cursor: int) -> int:
    """Return how large the file gets if the last record's data begins at `cursor`."""
    last = records[-1]
    directory = cursor + last.size + (24 if last.wide else 16)
    return directory + sum(len(_entry(record)) for record in records) + len(_end(0, 0, 0))


def _entry(record: Record) -> bytes:
    name, zip64 = f"{_FOLDER}/{record.name}".encode(), record.zip64()
    size = 0xFFFFFFFF if record.size >= ZIP64_FROM else record.size
    header = 0xFFFFFFFF if record.header >= ZIP64_FROM else record.header
    fields = (0, 0, record.flags, 0, 0, 0, 0, size, size, len(name), len(zip64), 0, 0, 0, 0)
    return _CENTRAL.pack(b"PK\1\2", *fields, header) + name + zip64


def _end(count: int, length: int, directory: int) -> bytes:
    """Return the two ends of the directory, as torch always writes them."""
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0, 0, 0, 0, count, count, length, directory)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, directory + length, 1)
    count, most = min(count, 0xFFFF), 0xFFFFFFFF
    short = (b"PK\5\6", 0, 0, count, count, min(length, most), min(directory, most), 0)
    return wide + locator + struct.pack("<4s4H2IH", *short)
