"""Reads the ZIP archive of `torch.save`: what torch accepts of it, and whether it is whole.

Acceptance follows torch's own reader step by step (`mz_zip_reader_read_central_dir`, `_file_stat`,
`_extract_to_mem` of miniz 3.0.2 and `PyTorchStreamReader` in `inline_container.cc`), which checks
neither CRCs nor local names and finds names without regard to case. Wholeness asks for more: every
byte of the file belongs to exactly one header, record or index, and each repeats the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from conformance.evidence.checkpoint.errors import (
    RefusalError,
    damaged,
    refused,
    shown,
    too_large,
)
from conformance.evidence.checkpoint.source import CHUNK
from conformance.evidence.checkpoint.strangers import zip_fault
from conformance.evidence.checkpoint.values import Fault, FaultKind, What

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.evidence.checkpoint.source import Source

LOCAL_MAGIC = b"PK\x03\x04"
_CENTRAL_MAGIC = b"PK\x01\x02"
END_MAGIC = b"PK\x05\x06"
_END64_MAGIC = b"PK\x06\x06"
_LOCATOR_MAGIC = b"PK\x06\x07"
_DESCRIPTOR_MAGIC = b"PK\x07\x08"
_END = Struct("<4s4H2IH")
_END64 = Struct("<4sQ2H2I4Q")
_LOCATOR = Struct("<4sIQI")
_CENTRAL = Struct("<4s6H3I5H2I")
_LOCAL = Struct("<4s5H3I2H")
_DESCRIPTOR = Struct("<4s3I")
_DESCRIPTOR64 = Struct("<4sI2Q")
_FIELD = Struct("<2H")
_QUAD = Struct("<Q")

_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF
_WRAP = 0xFFFFFFFFFFFFFFFF  # miniz adds offsets as unsigned 64-bit numbers
_TAIL = 4096 + 16 * 4093  # how far from the end miniz looks for the end-of-directory record

_STORED = 0
_DEFLATED = 8
_ENCRYPTED = 0x41
_PATCHED = 0x20
_MASKED = 0x2000
_STREAMED = 0x08  # sizes and CRC-32 follow the data in a descriptor
_FOLDER = 0x10

# What torch.save calls its records, beside those of storages: below data/.
_TORCHS = frozenset(
    {
        *(b"data.pkl", b"version", b"byteorder", b".format_version", b".storage_alignment"),
        *(b".data/version", b".data/serialization_id"),
    }
)

NAME_SHOWN = 511
"""Of a record's name, torch's `getAllRecords` sees no more bytes."""
DIRECTORY_LIMIT = 64 << 20
RECORD_LIMIT = 200_000
INFLATE_LIMIT = 256 << 20
_COMPRESSED_SHOWN = 20
"""How much of one file is inflated; torch reads compressed records but writes none."""
_SORT_LIMIT = 4096
_FAULT_LIMIT = 20


class Record(NamedTuple):
    """One entry of the central directory, with its zip64 values resolved."""

    name: bytes
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    header: int
    folder: bool


@dataclass(slots=True)
class Archive:
    """A central directory that torch's reader accepts, and what is not whole about the file.

    `entries` are the records' places in the central directory. `body` maps a record's index to
    where its bytes begin, and `crcs` to what their CRC-32 is, as far as `check_whole` found out.
    """

    source: Source
    records: list[Record]
    entries: list[int]
    start: int
    prefix: bytes
    index: dict[bytes, int]
    faults: list[Fault] = field(default_factory=list)
    body: dict[int, int] = field(default_factory=dict)
    crcs: dict[int, int] = field(default_factory=dict)
    inflated: int = 0

    @property
    def has_crc(self) -> bool:
        """Whether the writer recorded CRC-32: without, every such field is zero."""
        return any(record.crc for record in self.records) or not any(
            record.size for record in self.records
        )

    def fault(self, message: str) -> None:
        """Notes that the file is not whole; keeps the first few."""
        if len(self.faults) < _FAULT_LIMIT:
            self.faults.append(Fault(FaultKind.DAMAGED, message))

    @property
    def compressed(self) -> tuple[str, ...]:
        """The records that are not stored as they are, the first few of them, printable."""
        found = (shown(record.name)[1:-1] for record in self.records if record.method != _STORED)
        return tuple(islice(found, _COMPRESSED_SHOWN))

    def find(self, name: str) -> int | None:
        """Returns the index of the record that torch finds under `name`, or None."""
        try:
            key = self.prefix + name.split("\0", 1)[0].encode()
        except UnicodeEncodeError:
            raise refused(f"record name {shown(name)} is no valid text") from None
        return self.index.get(key.lower())

    def locate(self, index: int) -> int | None:
        """Returns where the record's bytes begin, as torch computes it.

        None: torch reads nothing and takes what its memory held.

        Raises:
            RefusalError: torch cannot read this record.
        """
        record = self.records[index]
        _check_supported(record)
        if record.folder or not record.stored:
            return None
        header = self.source.read(record.header, _LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != LOCAL_MAGIC:
            raise damaged(f"record {shown(record.name)} has no header at byte {record.header}")
        start = record.header + _LOCAL.size + header[26] + (header[27] << 8)
        start += header[28] + (header[29] << 8)
        if (start + record.stored) & _WRAP > self.source.size:
            raise damaged(f"record {shown(record.name)} ends beyond the end of the file")
        return start

    def extract(self, index: int, limit: int) -> bytes:
        """Returns a record's bytes, inflated if need be.

        Raises:
            RefusalError: torch cannot read it, or it has more than `limit` bytes.
        """
        record = self.records[index]
        start = self.locate(index)
        if record.size > limit:
            raise too_large(
                f"record {shown(record.name)} has {record.size} bytes; read are at most {limit}"
            )
        if start is None:
            return bytes(record.size)
        if record.method == _STORED:
            return self.source.read(start, record.size)
        parts, _ = _inflate(self, record, start)
        return b"".join(parts)[: record.size].ljust(record.size, b"\0")


def read_archive(source: Source) -> Archive:
    """Reads the central directory as torch does, and finds the inner folder.

    Raises:
        RefusalError: torch refuses the archive.
    """
    archive = _read_directory(source)
    records = archive.records
    if not records:
        raise damaged("the archive holds no records")
    if not any(_is_torchs(record.name) for record in records):
        raise _foreign(zip_fault(record.name for record in records))
    first = records[0].name
    folder, slash, _ = first.partition(b"/")
    if not slash:
        raise _outside(f"a zip archive whose record {shown(first)} stands in no folder")
    if b"\0" in folder:
        raise damaged(f"the archive's folder has a NUL in its name, {shown(folder)}")
    prefix = folder + b"/"
    archive.prefix = prefix
    for record in records:
        if not record.name.startswith(prefix):
            raise _outside(
                f"a zip archive whose record {shown(record.name)} is not in the folder"
                f" {shown(folder)}"
            )
    names = [record.name.lower() for record in records]
    archive.index = {name: number for number, name in enumerate(names)}
    if len(archive.index) != len(names):
        archive.fault("two records have the same name")
        _resolve_duplicates(archive, names)
    return archive


def _is_torchs(name: bytes) -> bool:
    """Whether a record is called as one of those that `torch.save` writes."""
    inner = name.lower().partition(b"/")[2]
    return inner in _TORCHS or inner.startswith(b"data/")


def _foreign(fault: Fault) -> RefusalError:
    return RefusalError(fault.kind, fault.message, fault.what)


def _outside(message: str) -> RefusalError:
    return RefusalError(FaultKind.NOT_A_CHECKPOINT, message, What.ZIP)


def _read_directory(source: Source) -> Archive:
    size = source.size
    tail_start = max(size - _TAIL, 0)
    tail = source.read(tail_start, _TAIL)
    at = tail.rfind(END_MAGIC, 0, max(len(tail) - _END.size + 4, 0))
    if at < 0:
        raise damaged("torn: the end of the archive, with its directory, is missing")
    end_offset = tail_start + at
    end = _END.unpack_from(tail, at)
    _, disk, directory_disk, on_disk, total, length, start, comment = end
    archive = Archive(source, [], [], 0, b"", {})
    if end_offset + _END.size + comment != size:
        extra = size - end_offset - _END.size - comment
        archive.fault(f"{extra} bytes follow the end of the archive")
    limit = end_offset
    if end_offset >= _LOCATOR.size + _END64.size:
        end64 = _read_end64(source, end_offset, archive)
        if end64 is not None:
            limit, disk, directory_disk, on_disk, total, length, start = end64
            _compare_ends(archive, end, end64)
    if total != on_disk or ((disk, directory_disk) not in {(0, 0), (1, 1)}):
        raise damaged("the archive's directory speaks of several disks")
    if length < total * _CENTRAL.size or (start + length) & _WRAP > size:
        raise damaged("the archive's directory does not fit into the file")
    if start + length != limit:
        archive.fault(f"the archive's directory does not end where it should, at byte {limit}")
    if length > DIRECTORY_LIMIT or total > RECORD_LIMIT:
        raise too_large(
            f"the archive's directory has {total} records in {length} bytes; read are at most "
            f"{RECORD_LIMIT} in {DIRECTORY_LIMIT}"
        )
    archive.start = start
    archive.records = _parse_directory(archive, source.read(start, length), total, disk)
    return archive


def _read_end64(
    source: Source, end_offset: int, archive: Archive
) -> tuple[int, int, int, int, int, int, int] | None:
    locator_offset = end_offset - _LOCATOR.size
    locator = source.read(locator_offset, _LOCATOR.size)
    magic, _, offset, disks = _LOCATOR.unpack(locator)
    if magic != _LOCATOR_MAGIC:
        return None
    if offset > source.size - _END64.size:
        raise damaged("the archive's zip64 index lies beyond the end of the file")
    record = _END64.unpack(source.read(offset, _END64.size))
    if record[0] != _END64_MAGIC:
        archive.fault("the archive's zip64 index is not where its locator says")
        return None
    _, length, _, _, disk, directory_disk, on_disk, total, size, start = record
    if length < _END64.size - 12:
        raise damaged("the archive's zip64 index is too short")
    if disks != 1:
        raise damaged("the archive's zip64 locator speaks of several disks")
    if max(total, on_disk, size) > _MAX32:
        raise damaged("the archive's zip64 index counts more than any archive holds")
    if offset + 12 + length != locator_offset:
        archive.fault("the archive's zip64 index and its locator do not stand side by side")
    return offset, disk, directory_disk, on_disk, total, size, start


def _compare_ends(
    archive: Archive, end: tuple[int, ...], end64: tuple[int, int, int, int, int, int, int]
) -> None:
    pairs = zip(end[1:7], end64[1:7], (_MAX16,) * 4 + (_MAX32,) * 2, strict=True)
    if any(short not in {long, ceiling} for short, long, ceiling in pairs):
        archive.fault("the archive's two ends of directory contradict each other")


def _parse_directory(archive: Archive, data: bytes, total: int, disk: int) -> list[Record]:
    records: list[Record] = []
    at = 0
    size = archive.source.size
    unpack = _CENTRAL.unpack_from
    for _ in range(total):
        if len(data) - at < _CENTRAL.size or data[at : at + 4] != _CENTRAL_MAGIC:
            raise damaged(f"the archive's directory breaks off after {len(records)} records")
        archive.entries.append(archive.start + at)
        fields = unpack(data, at)
        flags, method, _, _, crc, stored, full, name_length = fields[3:11]
        extra_length, comment_length, first_disk, _, attributes, header = fields[11:]
        name_end = at + _CENTRAL.size + name_length
        name = data[at + _CENTRAL.size : name_end]
        extra = data[name_end : name_end + extra_length] if extra_length else b""
        if extra and _MAX32 in (stored, full, header):
            stored, full, header = _resolve_zip64(extra, stored, full, header)
        if _MAX32 not in (stored, full) and (
            (method == _STORED and full != stored) or (full and not stored)
        ):
            raise damaged(f"record {shown(name)} has two different sizes")
        if first_disk == _MAX16 or first_disk not in (disk, 1):
            raise damaged(f"record {shown(name)} is said to lie on another disk")
        if stored != _MAX32 and (header + _LOCAL.size + stored) & _WRAP > size:
            raise damaged(f"record {shown(name)} ends beyond the end of the file")
        if flags & _MASKED:
            raise damaged(f"record {shown(name)} is said to be encrypted")
        at = name_end + extra_length + comment_length
        if at > len(data):
            raise damaged(f"the archive's directory breaks off in record {shown(name)}")
        folder = bool(attributes & _FOLDER) or name.endswith(b"/")
        records.append(Record(name, flags, method, crc, stored, full, header, folder))
    if at != len(data):
        archive.fault(f"the archive's directory has {len(data) - at} bytes too many")
    return records


def _resolve_zip64(extra: bytes, stored: int, full: int, header: int) -> tuple[int, int, int]:
    at = 0
    while at < len(extra):
        if len(extra) - at < _FIELD.size:
            raise damaged("a record's zip64 field is cut short")
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        if at + length > len(extra):
            raise damaged("a record's extra field is cut short")
        if kind == 1:
            values = [value for (value,) in _QUAD.iter_unpack(extra[at : at + length // 8 * 8])]
            if len(values) < (stored, full, header).count(_MAX32):
                raise damaged("a record's zip64 field is cut short")
            supply = iter(values)
            full = next(supply) if full == _MAX32 else full
            stored = next(supply) if stored == _MAX32 else stored
            header = next(supply) if header == _MAX32 else header
            break
        at += length
    return stored, full, header


def _resolve_duplicates(archive: Archive, names: list[bytes]) -> None:
    """Makes `index` point at the record that miniz's heap sort and binary search would meet."""
    if len(names) > _SORT_LIMIT:
        raise too_large(
            f"the archive repeats names; this is resolved for at most {_SORT_LIMIT} records"
        )
    order = _heap_sorted(names)
    for name in set(names):
        low, high = 0, len(order) - 1
        while low <= high:
            middle = low + ((high - low) >> 1)
            met = names[order[middle]]
            if met == name:
                archive.index[name] = order[middle]
                break
            low, high = (middle + 1, high) if met < name else (low, middle - 1)


def _heap_sorted(names: list[bytes]) -> list[int]:
    order = list(range(len(names)))

    def sift(root: int, end: int) -> None:
        while (child := 2 * root + 1) < end:
            if child + 1 < end and names[order[child]] < names[order[child + 1]]:
                child += 1
            if names[order[root]] >= names[order[child]]:
                return
            order[root], order[child] = order[child], order[root]
            root = child

    for start in range((len(order) - 2) >> 1, -1, -1):
        sift(start, len(order))
    for end in range(len(order) - 1, 0, -1):
        order[0], order[end] = order[end], order[0]
        sift(0, end)
    return order


def _check_supported(record: Record) -> None:
    if record.method not in (_STORED, _DEFLATED):
        raise damaged(f"record {shown(record.name)} is compressed in a way torch does not read")
    if record.flags & (_ENCRYPTED | _PATCHED):
        raise damaged(f"record {shown(record.name)} is said to be encrypted or a patch")


def check_whole(archive: Archive, *, verify: bool) -> None:
    """Notes in the archive's faults whatever shows that the file is not as it was written.

    With `verify` every record's CRC-32 is computed, and compared where the archive has any.
    """
    order = sorted(range(len(archive.records)), key=lambda index: archive.records[index].header)
    has_crc = archive.has_crc
    end = 0
    for index in order:
        record = archive.records[index]
        if record.header != end:
            _fault_gap(archive, record, end)
        if record.header < end:
            return
        after = _check_header(archive, index)
        if after is None:
            return
        end = after
        if verify:
            _check_crc(archive, index, has_crc=has_crc)
    if end > archive.start:
        archive.fault("the archive's directory overlaps its records")
    elif end < archive.start:
        archive.fault(f"{archive.start - end} bytes lie between the records and their directory")


def _fault_gap(archive: Archive, record: Record, end: int) -> None:
    if record.header < end:
        archive.fault(f"record {shown(record.name)} overlaps the one before it")
    else:
        gap = record.header - end
        archive.fault(f"{gap} bytes before record {shown(record.name)} belong to no record")


def _check_header(archive: Archive, index: int) -> int | None:
    """Returns where the next record should begin; None where that cannot be told."""
    record = archive.records[index]
    head = archive.source.read(record.header, _LOCAL.size + len(record.name))
    if len(head) < _LOCAL.size or head[:4] != LOCAL_MAGIC:
        archive.fault(f"record {shown(record.name)} has no header at byte {record.header}")
        return None
    _, _, flags, method, _, _, crc, stored, full, name_length, extra_length = _LOCAL.unpack_from(
        head
    )
    start = record.header + _LOCAL.size + name_length + extra_length
    if head[_LOCAL.size :] != record.name or name_length != len(record.name):
        archive.fault(f"record {shown(record.name)} has another name in its own header")
    if (flags, method) != (record.flags, record.method):
        archive.fault(f"record {shown(record.name)} has other flags in its own header")
    if record.folder:
        archive.fault(f"record {shown(record.name)} is said to be a folder")
    streamed = bool(flags & _STREAMED)
    sizes_agree = (stored, full) == (record.stored, record.size) or _MAX32 in (stored, full)
    zero = streamed and not (crc or stored or full)
    if not zero and not (crc == record.crc and sizes_agree):
        archive.fault(f"record {shown(record.name)} has another size or CRC-32 in its own header")
    end = start + record.stored
    if end > archive.source.size:
        archive.fault(f"record {shown(record.name)} ends beyond the end of the file")
        return None
    archive.body[index] = start
    return _check_descriptor(archive, record, end) if streamed else end


def _check_descriptor(archive: Archive, record: Record, at: int) -> int:
    data = archive.source.read(at, _DESCRIPTOR64.size)
    short = (_DESCRIPTOR_MAGIC, record.crc, record.stored, record.size)
    if len(data) == _DESCRIPTOR64.size and _DESCRIPTOR64.unpack(data) == short:
        return at + _DESCRIPTOR64.size
    if len(data) >= _DESCRIPTOR.size and _DESCRIPTOR.unpack_from(data) == short:
        return at + _DESCRIPTOR.size
    archive.fault(f"record {shown(record.name)} has another size or CRC-32 after its data")
    wide = max(record.stored, record.header) >= _MAX32
    return at + (_DESCRIPTOR64.size if wide else _DESCRIPTOR.size)


def _check_crc(archive: Archive, index: int, *, has_crc: bool) -> None:
    record = archive.records[index]
    start = archive.body[index]
    if record.method == _STORED:
        crc = archive.source.crc32(start, record.stored)
    elif record.method == _DEFLATED:
        crc = 0
        parts, problems = _inflate(archive, record, start)
        for part in parts:
            crc = zlib.crc32(part, crc)
        if problems:
            archive.fault(f"record {shown(record.name)} {problems[0]}")
            return
    else:
        archive.fault(f"record {shown(record.name)} is compressed in an unknown way")
        return
    archive.crcs[index] = crc
    if has_crc and crc != record.crc:
        archive.fault(f"record {shown(record.name)} has changed: its CRC-32 is wrong")


def _inflate(archive: Archive, record: Record, start: int) -> tuple[Iterator[bytes], list[str]]:
    """Inflates a record in bounded steps, at most one byte more than its stated size.

    Returns the parts and a list into which, once they are used up, a problem has been put.
    """
    problems: list[str] = []
    return _inflate_parts(archive, record, start, problems), problems


def _inflate_parts(
    archive: Archive, record: Record, start: int, problems: list[str]
) -> Iterator[bytes]:
    engine = zlib.decompressobj(-15)
    left = record.size
    for chunk in archive.source.chunks(start, record.stored):
        pending: bytes | memoryview = chunk
        part = b""
        while (pending or part) and not engine.eof:
            try:
                part = engine.decompress(pending, min(left + 1, CHUNK))
            except zlib.error:
                problems.append("does not inflate")
                return
            pending = engine.unconsumed_tail
            if len(part) > left:
                problems.append(f"inflates to more than the {record.size} bytes it should have")
                yield part[:left]
                return
            left -= len(part)
            archive.inflated += len(part)
            if archive.inflated > INFLATE_LIMIT:
                raise too_large(f"compressed records hold more than {INFLATE_LIMIT} bytes")
            yield part
    if left or not engine.eof:
        problems.append(f"inflates to less than the {record.size} bytes it should have")
    elif engine.unused_data:
        problems.append("is followed by bytes that belong to no record")
