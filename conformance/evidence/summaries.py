"""Reads TensorBoard event files: the mean reward of each epoch, and whether the file is whole."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from conformance.evidence import crc32c
from conformance.evidence.checkpoint.strangers import HEAD, recognised
from conformance.evidence.regular_files import NotRegularError, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO
    from pathlib import Path

EPOCH_COUNT = "info/epochs"  # the scalar that counts them
_EPOCHS_TAG = EPOCH_COUNT.encode()

_LARGEST_FILE = (
    1 << 30
)  # bytes; rewards of a million epochs, with the scalars around them, take less
_LARGEST_RECORD = 64 << 20  # bytes; each record is held in memory whole
_MOST_REWARDS = 1_000_000
_MOST_TAGS = 1_000
_LONGEST_TAG = 200  # characters
_MOST_FIELDS = 100_000  # in one message
_MOST_FIELDS_READ = 20_000_000  # in one file; some 20 s of reading
_MOST_LOOKS = 20_000  # records parsed for their tags alone
_RECORDS_FOR_TAGS = 4096
_LONGEST_PLAIN_TAG = 100  # bytes
_PLAIN_HEAD = 6  # bytes of a summary before its tag
_SHORTEST_LAYOUT = 22  # bytes of data; shorter records are read in full
_CHUNK = 1 << 20  # bytes read at a time
_FEWEST_ALIKE = 8  # fewer records of one length are checked with those of nearly that length

# TFRecord: length (8 bytes), its masked CRC-32C (4), data, their masked CRC-32C (4); little-endian.
_HEADER = 12
_FOOTER = 4
_MASK_DELTA = 0xA282EAD8
_FORMAT = b"brain.Event:"  # in the first record, behind its header, wall time and field's header

_Data: TypeAlias = "bytes | memoryview"
_DOUBLE = Struct("<d")
_FLOAT = Struct("<f")
_HALF = Struct("<e")
_LENGTH = Struct("<Q")

# The keys of fields: 8 times the field's number, plus its wire type.
_EVENT_WALL_TIME, _EVENT_STEP, _EVENT_SUMMARY = 0x09, 0x10, 0x2A
_EVENT_OTHERS = frozenset({0x1A, 0x22, 0x32, 0x3A, 0x42, 0x4A})  # each takes the summary's place
_SUMMARY_VALUE = 0x0A
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_TENSOR = 0x0A, 0x15, 0x42
_VALUE_OTHERS = frozenset({0x1A, 0x22, 0x2A, 0x32})  # each takes the number's place
_TENSOR_DTYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 0x08, 0x12, 0x22
_FLOAT_VAL, _DOUBLE_VAL, _HALF_VAL = 5, 6, 13
_TENSOR_HALF, _TENSOR_HALVES = 0x68, 0x6A  # one of them, and packed ones
_TENSOR_VALUES = frozenset({0x2A, 0x2D, 0x31, 0x32, _TENSOR_HALF, _TENSOR_HALVES})
_SHAPE_DIM, _SHAPE_UNKNOWN, _DIM_SIZE = 0x12, 0x18, 0x08
_VARINT, _BYTES = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
# TensorFlow's DataType: the field for values given one by one, what to put before a number's bytes,
# and how they are then laid out. The last one is bfloat16: the upper half of a float32.
_DTYPES = {
    1: (_FLOAT_VAL, b"", _FLOAT),
    2: (_DOUBLE_VAL, b"", _DOUBLE),
    19: (_HALF_VAL, b"", _HALF),
    14: (_HALF_VAL, b"\0\0", _FLOAT),
}


@dataclass(frozen=True, slots=True)
class Reward:
    """One logged mean reward.

    Attributes:
        step: the step that it was logged with; the epoch, where the trainer keeps the convention.
        value: the reward as logged: a float32 (mostly) or float64; NaN and infinities are kept.
        wall_time: when it was logged, in seconds since 1970, as the file says.
    """

    step: int
    value: float
    wall_time: float


@dataclass(frozen=True, slots=True)
class EventFile:
    """What one event file holds.

    Attributes:
        path: where it was read.
        size: its size in bytes, 0 where it could not be opened.
        records: how many whole, CRC-checked records were read.
        first_wall_time: of the first record, in seconds since 1970; None without a finite one.
        last_wall_time: of the last record, likewise.
        rewards: the entries with the wanted tag, in the file's order.
        tags: the scalar tags among the first 4,096 records, and among all while the wanted one is
            not found; for messages: at most 1,000 tags, at most 200 characters of each, and of a
            file made to tire the reader not all.
        first_epoch: the first value of the scalar `info/epochs`, where one is logged and whole.
        torn: the last record is cut short or zeroed: what a killed process or a power cut leaves.
        problem: None, or one line that says why the file could not be read to its end.
        unreadable: whether the system refused to read it (no permission, an I/O error).
        cause: of the problem, in a word: `damaged`, `malformed`, `too-large`, `foreign`, or what
            the file is in an event file's place, such as `git-lfs-pointer`; else empty.
        others: the entries with each further tag that was asked for, of no more than are read.
    """

    path: Path
    size: int
    records: int
    first_wall_time: float | None
    last_wall_time: float | None
    rewards: tuple[Reward, ...]
    tags: frozenset[str]
    first_epoch: int | None
    torn: bool
    problem: str | None
    unreadable: bool = False
    cause: str = ""
    others: tuple[tuple[str, tuple[Reward, ...]], ...] = ()


def is_event_file_name(name: str) -> bool:
    """Tell whether a file of this name is an event file, as TensorBoard's writers name them."""
    return name.startswith("events.out.tfevents.") and len(name) > len("events.out.tfevents.")


def read_event_file(
    path: Path, *, tag: str = "rewards/iter", also: Iterable[str] = ()
) -> EventFile:
    """Read an event file, whatever it holds, in bounded memory and time.

    The framing is TFRecord's (tensorflow/core/lib/io/record_writer.cc); the records are Event
    messages (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto). Reading
    ends at the first thing that is wrong; what was read before it is kept.

    Args:
        path: the file; a symbolic link is followed.
        tag: the scalar whose entries become `rewards`.
        also: further scalars, whose entries become `others`.

    Returns:
        What the file holds. No error is raised for what the file is or holds: `problem` says it.
    """
    wanted = tag.encode()
    further = {other.encode(): list[Reward]() for other in also if other != tag}
    found = _Found(wanted, _plain_pattern((wanted, *further)), others=further)
    try:
        with open_regular(path) as file:
            found.size = os.fstat(file.fileno()).st_size
            _read(file, found)
    except _UnreadableError as error:
        found.problem, found.cause = str(error), error.cause
    except NotRegularError as error:
        found.problem, found.cause = str(error), "foreign"
    except OSError as error:
        found.problem = f"cannot be read: {error.strerror or type(error).__name__}"
        found.unreadable = True
    return EventFile(
        path=path,
        size=found.size,
        records=found.records,
        first_wall_time=found.first_wall_time,
        last_wall_time=found.last_wall_time,
        rewards=tuple(found.rewards),
        tags=frozenset(found.tags),
        first_epoch=found.first_epoch,
        torn=found.torn,
        problem=found.problem,
        unreadable=found.unreadable,
        others=tuple((other.decode(), tuple(entries)) for other, entries in found.others.items()),
        cause=found.cause,
    )


def read_rewards(path: Path, *, tag: str = "rewards/iter", epoch_tag: str = "") -> EventFile:
    """Read an event file as `read_event_file` does, with each reward at its epoch.

    Args:
        path: the file.
        tag: of the mean reward.
        epoch_tag: where the reward is logged by frame: the scalar that says the epoch of a frame.
            A reward at a frame without one is left out. Empty: the reward is logged by epoch.
    """
    file = read_event_file(path, tag=tag, also=filter(None, (epoch_tag,)))
    found = rewards_in(file, tag=tag, epoch_tag=epoch_tag, read_for=tag)
    return replace(file, rewards=()) if found is None else found


def rewards_in(file: EventFile, *, tag: str, epoch_tag: str, read_for: str) -> EventFile | None:
    """What `read_rewards` returns, of a file that was read for several tags at once.

    Args:
        file: the file.
        tag: of the mean reward.
        epoch_tag: see `read_rewards`.
        read_for: the tag whose entries are the file's `rewards`.

    Returns:
        None where the file was not read for these tags, or has too many entries of one.
    """
    series = {read_for: file.rewards, **dict(file.others)}
    if tag not in series or (epoch_tag and epoch_tag not in series):
        return None
    if not epoch_tag:
        return replace(file, rewards=series[tag], others=())
    epochs = {
        entry.step: int(entry.value) for entry in series[epoch_tag] if math.isfinite(entry.value)
    }
    rewards = tuple(
        replace(entry, step=epochs[entry.step]) for entry in series[tag] if entry.step in epochs
    )
    return replace(file, rewards=rewards, others=())


class _UnreadableError(Exception):
    """The file cannot be read further; the text says why in one line, the cause in a word."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class _MalformedError(Exception):
    """A record's data is not an Event message; the text says why."""


@dataclass(slots=True)
class _Budget:
    """How many more fields of messages may be read."""

    fields: int

    def spend(self, fields: int) -> None:
        self.fields -= fields
        if self.fields < 0:
            limit = f"at most {_MOST_FIELDS_READ} are read"
            raise _UnreadableError(f"holds too many fields: {limit}", "too-large")


@dataclass(slots=True)
class _Found:
    """What was found so far."""

    tag: bytes
    plain: re.Pattern[bytes] | None
    size: int = 0
    records: int = 0
    first_wall_time: float | None = None
    last_wall_time: float | None = None
    rewards: list[Reward] = field(default_factory=list)
    others: dict[bytes, list[Reward]] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    first_epoch: int | None = None
    epochs_logged: bool = False
    torn: bool = False
    problem: str | None = None
    unreadable: bool = False
    cause: str = ""
    # Of the headers whose CRC-32C is right: the length that each tells.
    lengths: dict[bytes, int] = field(default_factory=dict)
    # Layouts of records whose tags have been seen; how many more records may be parsed for that.
    layouts: set[bytes] = field(default_factory=set)
    looks: int = field(default_factory=lambda: _MOST_LOOKS)
    budget: _Budget = field(default_factory=lambda: _Budget(_MOST_FIELDS_READ))


# The framing


@dataclass(frozen=True, slots=True)
class _Frames:
    """The whole records of a chunk.

    Attributes:
        starts: where the data of each record starts, and where those of the next one would.
        by_length: the same without the next one, by the data's length.
        missing: how many bytes the next record lacks at least; 0 where its header is refused.
    """

    starts: list[int]
    by_length: dict[int, list[int]]
    missing: int

    @property
    def end(self) -> int:
        """Where the last whole record ends."""
        return self.starts[-1] - _HEADER


def _read(file: FileIO, found: _Found) -> None:
    """Read the records, chunk by chunk, to the file's end or the first thing that is wrong."""
    if found.size == 0:
        raise _UnreadableError("is empty")
    if found.size > _LARGEST_FILE:
        raise _UnreadableError(
            f"is too large: {found.size} bytes, where at most {_LARGEST_FILE} are read", "too-large"
        )
    chunk, offset, wanted = b"", 0, 0  # `offset` is the chunk's place in the file
    while more := file.read(min(max(wanted, _CHUNK), found.size - offset - len(chunk))):
        chunk += more
        frames = _frames(chunk, found.lengths)
        right = _right(chunk, frames)
        _take(chunk, frames.starts[: right + 1], offset, found)
        if right < len(frames.starts) - 1:
            start, following = (offset + place for place in frames.starts[right : right + 2])
            stored = following - _HEADER - _FOOTER
            _stop(file, found, stored, _damaged(found, start - _HEADER, "data have"))
            return
        chunk, offset, wanted = chunk[frames.end :], offset + frames.end, frames.missing
        if not wanted:
            _refuse_header(file, found, chunk[:_HEADER], offset)
            return
    found.torn = bool(chunk)
    if not found.records:
        raise _UnreadableError(f"ends inside its first record, after {found.size} bytes")


def _frames(chunk: bytes, lengths: dict[bytes, int]) -> _Frames:
    """Find the whole records of a chunk; `lengths` remembers the headers whose CRC-32C is right."""
    starts: list[int] = []
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    start, size, missing = _HEADER, len(chunk), 0
    while True:
        header = chunk[start - _HEADER : start]
        length = lengths.get(header)
        if length is None:
            if len(header) < _HEADER:
                missing = _HEADER - len(header)
                break
            length = _length(header)
            if length is None or length > _LARGEST_RECORD:
                break
            lengths[header] = length
        following = start + length + _FOOTER
        if following > size:
            missing = following - size
            break
        starts.append(start)
        by_length[length].append(start)
        start = following + _HEADER
    return _Frames([*starts, start], by_length, missing)


def _length(header: bytes) -> int | None:
    """Return the length that a header tells, or None if its CRC-32C is wrong."""
    stated = crc32c.checksums([header[:-_FOOTER]])
    return _LENGTH.unpack_from(header)[0] if _masked(stated) == header[-_FOOTER:] else None


def _right(chunk: bytes, frames: _Frames) -> int:
    """Count the records before the first whose data have the wrong CRC-32C."""
    wrong = [start for group in _groups(chunk, frames.by_length) for start in group.wrong()]
    return frames.starts.index(min(wrong)) if wrong else len(frames.starts) - 1


@dataclass(frozen=True, slots=True)
class _Group:
    """Records of one length, or nearly so, whose checksums are computed at once."""

    starts: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)

    def add(self, chunk: bytes, length: int, starts: list[int]) -> None:
        self.starts.extend(starts)
        self.data.extend([chunk[start : start + length] for start in starts])
        self.stored.extend([chunk[start + length : start + length + _FOOTER] for start in starts])

    def wrong(self) -> list[int]:
        """Return where those start whose stored CRC-32C is not that of their data."""
        computed = _masked(crc32c.checksums(self.data))
        if computed == b"".join(self.stored):
            return []
        return [
            start
            for index, (start, stored) in enumerate(zip(self.starts, self.stored, strict=True))
            if computed[_FOOTER * index : _FOOTER * (index + 1)] != stored
        ]


def _groups(chunk: bytes, by_length: dict[int, list[int]]) -> Iterator[_Group]:
    mixed: defaultdict[int, _Group] = defaultdict(_Group)
    for length, starts in by_length.items():
        alike = len(starts) >= _FEWEST_ALIKE
        group = _Group() if alike else mixed[length >> 5]
        group.add(chunk, length, starts)
        if alike:
            yield group
    yield from mixed.values()


def _masked(checksums: bytes) -> bytes:
    """Mask checksums as TFRecord stores them: rotated right by 15 bits, plus a constant."""
    count = len(checksums) // 4
    lanes = bytearray(8 * count)  # each checksum in half a lane, so that nothing carries over
    for plane in range(4):
        lanes[plane::8] = checksums[plane::4]
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")
    value = int.from_bytes(lanes, "little")
    rotated = (value >> 15 & ones * 0x1FFFF) | (value << 17 & ones * 0xFFFFFFFF)
    lanes[:] = (rotated + ones * _MASK_DELTA).to_bytes(8 * count + 1, "little")[: 8 * count]
    masked = bytearray(4 * count)
    for plane in range(4):
        masked[plane::4] = lanes[plane::8]
    return bytes(masked)


def _refuse_header(file: FileIO, found: _Found, header: bytes, at: int) -> None:
    length = _length(header)
    if length is None:
        problem = (
            _damaged(found, at, "length has") if found.records else _no_event_file(file, found)
        )
        _stop(file, found, at + _HEADER - _FOOTER, problem)
    else:
        limit = f"where at most {_LARGEST_RECORD} are read"
        raise _UnreadableError(
            f"record at byte {at}: is too large: {length} bytes, {limit}", "too-large"
        )


def _damaged(found: _Found, at: int, what: str) -> _UnreadableError:
    return _UnreadableError(
        f"damaged: record {found.records + 1}, at byte {at}: its {what} changed since it was"
        " written (the checksum, a CRC-32C, is wrong)",
        "damaged",
    )


def _no_event_file(file: FileIO, found: _Found) -> _UnreadableError:
    """What stands in the place of an event file, as far as its first bytes tell."""
    file.seek(0)
    head = file.read(HEAD)
    if _FORMAT in head[: _HEADER + len(_FORMAT) + _HEADER]:
        return _damaged(found, 0, "length has")
    known = recognised(head, found.size)
    if known is not None and known.what is not None:
        return _UnreadableError(f"not an event file: it is {known.message}", known.what.value)
    return _UnreadableError("record at byte 0: this is not an event file", "foreign")


def _stop(file: FileIO, found: _Found, stored: int, problem: _UnreadableError) -> None:
    """Tell a torn tail from damage: all bytes are zero from where the wrong CRC-32C is `stored`."""
    zeros = bytes(_CHUNK)
    file.seek(stored)
    while more := file.read(_CHUNK):
        if more != zeros[: len(more)]:
            raise problem
    if not found.records:
        raise _UnreadableError("holds no whole record")
    found.torn = True


# What the records hold


def _take(chunk: bytes, starts: list[int], offset: int, found: _Found) -> None:
    """Take in a chunk's records; `starts` has one more, where the next one's data would start."""
    before = found.records
    for index in _to_parse(chunk, starts, found):
        start, end = starts[index], starts[index + 1] - _HEADER - _FOOTER
        found.records = before + index + 1
        try:
            event = _plain_event(chunk, start, end, found)
            event = event or _event(memoryview(chunk)[start:end], found.budget)
        except _MalformedError as error:
            at = offset + start - _HEADER
            problem = f"record at byte {at}: is not an event: {error}"
            raise _UnreadableError(problem, "malformed") from None
        _take_event(event, found)


def _to_parse(chunk: bytes, starts: list[int], found: _Found) -> list[int]:
    """Return which records to parse: all that may hold the wanted tag, and few others."""
    count = len(starts) - 1
    if not count:
        return []
    wanted = _holding(chunk, found.tag, starts)
    seen = wanted or found.rewards
    picked = wanted | {count - 1}  # for the last wall time
    picked.update(*(_holding(chunk, tag, starts) for tag in found.others))
    if not found.records:
        picked.add(0)
    if not found.epochs_logged:
        picked.update(sorted(_holding(chunk, _EPOCHS_TAG, starts))[:1])
    looked = max(0, _RECORDS_FOR_TAGS - found.records) if seen else count
    if found.looks > 0:
        new = _new_layouts(chunk, starts[: looked + 1], found)
        found.looks -= len(new)
        picked |= new
    return sorted(picked)


def _take_event(event: _Event, found: _Found) -> None:
    wall_time = event.wall_time if math.isfinite(event.wall_time) else None
    if found.records == 1:
        found.first_wall_time = wall_time
    found.last_wall_time = wall_time
    for tag, value in event.scalars:
        if tag == found.tag:
            found.rewards.append(Reward(event.step, value, event.wall_time))
        elif tag in found.others:
            found.others[tag].append(Reward(event.step, value, event.wall_time))
            if len(found.others[tag]) > _MOST_REWARDS:
                del found.others[tag]
        if tag == _EPOCHS_TAG and not found.epochs_logged:
            found.epochs_logged = True
            found.first_epoch = int(value) if value.is_integer() and abs(value) < 2**53 else None
        if len(found.tags) < _MOST_TAGS:
            found.tags.add(tag[: 4 * _LONGEST_TAG].decode(errors="ignore")[:_LONGEST_TAG])
    if len(found.rewards) > _MOST_REWARDS:
        raise _UnreadableError(
            f"has too many entries of the wanted tag: at most {_MOST_REWARDS} are read", "too-large"
        )


def _holding(chunk: bytes, needle: bytes, starts: list[int]) -> set[int]:
    """Return in which records the needle occurs; a few others may be among them."""
    holding: set[int] = set()
    at = chunk.find(needle, starts[0], starts[-1])
    while at >= 0:
        index = bisect_right(starts, at) - 1
        holding.add(index)
        at = chunk.find(needle, starts[index + 1], starts[-1])
    return holding


def _new_layouts(chunk: bytes, starts: list[int], found: _Found) -> set[int]:
    """Return which records may have scalar tags that have not been seen yet.

    Writers put a record's fields in the order of their numbers: wall time (9 bytes), step, summary;
    and the tag first in a summary's value. So what stands where the tag would is enough to tell
    that a record holds nothing new. A record made to deceive can hide from `tags` this way, but
    not an entry of the wanted tag.
    """
    new: set[int] = set()
    known, find = found.layouts, chunk.find
    for index, (start, following) in enumerate(pairwise(starts)):
        summary = find(b"*", start + 9, start + 21)  # 0x2A, the key of the summary
        if summary < 0 or following - start < _SHORTEST_LAYOUT + _FOOTER + _HEADER:
            new.add(index)
            continue
        layout = chunk[summary : summary + 6 + chunk[summary + 5]]
        if layout not in known:
            new.add(index)
            if _is_plain(layout):
                known.add(layout)
    return new


def _is_plain(layout: bytes) -> bool:
    """Tell whether this is a summary of one value, up to its tag, with each length in one byte."""
    return (
        layout[2] == _SUMMARY_VALUE
        and layout[4] == _VALUE_TAG
        and layout[1] == layout[3] + 2 < 0x80
        and layout[5] < layout[3]
    )


# Protocol buffers


@dataclass(frozen=True, slots=True)
class _Event:
    """What is read of an Event message: `scalars` are the tags and numbers of its summary."""

    wall_time: float
    step: int
    scalars: list[tuple[bytes, float]]


def _plain_pattern(tags: Iterable[bytes]) -> re.Pattern[bytes] | None:
    """Return what matches an event with one entry of such a tag alone, as the writers lay it out.

    None where all tags are too long for that.
    """
    summaries = [
        re.escape(_plain_summary(tag) + tag) for tag in tags if len(tag) <= _LONGEST_PLAIN_TAG
    ]
    if not summaries:
        return None
    return re.compile(
        rb"\x09(.{8})(?:\x10([\x80-\xFF]{0,8}[\x00-\x7F]))?("
        + b"|".join(summaries)
        + rb")\x15(.{4})",
        re.DOTALL,
    )


def _plain_summary(tag: bytes) -> bytes:
    """What stands in a summary of one entry before its tag."""
    length = len(tag)
    return bytes([_EVENT_SUMMARY, length + 9, _SUMMARY_VALUE, length + 7, _VALUE_TAG, length])


def _plain_event(chunk: bytes, start: int, end: int, found: _Found) -> _Event | None:
    """Parse an event of a wanted tag in its usual layout, several times as fast as `_event`."""
    plain = found.plain and found.plain.fullmatch(chunk, start, end)
    if not plain:
        return None
    wall_time, step, summary, value = plain.groups(b"\0")
    return _Event(
        _DOUBLE.unpack(wall_time)[0],
        _varint(step, 0)[0],
        [(summary[_PLAIN_HEAD:], _FLOAT.unpack(value)[0])],
    )


def _event(data: _Data, budget: _Budget) -> _Event:
    wall_time, step = 0.0, 0
    values: list[_Data] = []
    for key, number, content in _fields(data, budget):
        if key == _EVENT_WALL_TIME:
            (wall_time,) = _DOUBLE.unpack(content)
        elif key == _EVENT_STEP:
            step = number - (number >> 63 << 64)
        elif key == _EVENT_SUMMARY:
            values += [
                value for inner, _, value in _fields(content, budget) if inner == _SUMMARY_VALUE
            ]
        elif key in _EVENT_OTHERS:
            values.clear()
    scalars = [scalar for value in values if (scalar := _scalar(value, budget))]
    return _Event(wall_time, step, scalars)


def _scalar(data: _Data, budget: _Budget) -> tuple[bytes, float] | None:
    """Return the tag and the number of a Summary.Value; None if it holds something else."""
    tag = b""
    number: float | None = None
    tensor: list[_Data] = []  # a message given several times is merged
    for key, _, content in _fields(data, budget):
        if key == _VALUE_TAG:
            tag = bytes(content)
        elif key == _VALUE_SIMPLE:
            (number,), tensor = _FLOAT.unpack(content), []
        elif key == _VALUE_TENSOR:
            number = None
            tensor.append(content)
        elif key in _VALUE_OTHERS:
            number, tensor = None, []
    try:
        tag.decode()
    except UnicodeDecodeError:
        raise _MalformedError("its tag is not UTF-8") from None
    if tensor:
        number = _number(b"".join(tensor), budget)
    return None if number is None else (tag, number)


def _number(data: _Data, budget: _Budget) -> float | None:
    """Return the one number of a TensorProto; None if it is not exactly one of floating point."""
    kind, single, content = 0, True, b""
    given: defaultdict[int, list[_Data]] = defaultdict(list)  # by field, laid out as in `content`
    for key, number, part in _fields(data, budget):
        if key == _TENSOR_DTYPE:
            kind = number & 0xFFFFFFFF
        elif key == _TENSOR_SHAPE:
            single = single and _is_single(part, budget)
        elif key == _TENSOR_CONTENT:
            content = bytes(part)
        elif key in _TENSOR_VALUES:
            given[key >> 3] += _laid_out(key, number, part, budget)
    if kind not in _DTYPES or not single:
        return None
    values, before, layout = _DTYPES[kind]
    content = before + (content or b"".join(given[values]))
    if len(content) != layout.size:
        return None
    value: float = layout.unpack(content)[0]
    return value


def _is_single(shape: _Data, budget: _Budget) -> bool:
    """Tell whether a TensorShapeProto is that of exactly one element."""
    for key, number, dimension in _fields(shape, budget):
        if key == _SHAPE_UNKNOWN and number:
            return False
        if key == _SHAPE_DIM:
            sizes = [size for inner, size, _ in _fields(dimension, budget) if inner == _DIM_SIZE]
            if sizes[-1:] != [1]:
                return False
    return True


def _laid_out(key: int, number: int, part: _Data, budget: _Budget) -> list[_Data]:
    """Return values given one by one as a tensor's content holds them."""
    if key == _TENSOR_HALF:
        return [(number & 0xFFFF).to_bytes(2, "little")]
    if key != _TENSOR_HALVES:
        return [part]
    budget.spend(len(part))
    halves: list[_Data] = []
    position = 0
    while position < len(part):
        half, position = _varint(part, position)
        halves.append((half & 0xFFFF).to_bytes(2, "little"))
    return halves


def _fields(data: _Data, budget: _Budget) -> list[tuple[int, int, _Data]]:
    """Split a message into its fields: their keys, and the number or the bytes that they hold."""
    fields: list[tuple[int, int, _Data]] = []
    position, size = 0, len(data)
    while position < size:
        if len(fields) >= _MOST_FIELDS:
            raise _MalformedError(f"a message has more than {_MOST_FIELDS} fields")
        key = data[position]
        if key < 0x80:
            position += 1
        else:
            key, position = _varint(data, position)
        if not 8 <= key < 1 << 32:
            raise _MalformedError("the number of a field is out of range")
        wire = key & 7
        if wire == _VARINT:
            number, position = _varint(data, position)
            fields.append((key, number, b""))
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in _FIXED_SIZES:
            length = _FIXED_SIZES[wire]
        else:
            raise _MalformedError(f"a field is of wire type {wire}")
        end = position + length
        if end > size:
            raise _MalformedError("a field goes past the end")
        fields.append((key, 0, data[position:end]))
        position = end
    budget.spend(len(fields))
    return fields


def _varint(data: _Data, position: int) -> tuple[int, int]:
    """Return the number that starts at a position, and the position after it."""
    number = shift = 0
    for byte in data[position : position + 10]:
        position += 1
        if byte < 0x80:
            return (number | byte << shift) & 0xFFFFFFFFFFFFFFFF, position
        number |= (byte & 0x7F) << shift
        shift += 7
    raise _MalformedError("a number does not end")
