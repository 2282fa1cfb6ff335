"""Event files against TensorBoard's own loader, cut, with flipped bits, and made to hurt."""

from __future__ import annotations

import math
import os
import random
import struct
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import (
    EventFileLoader,
    LegacyEventFileLoader,
)
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_BFLOAT16, DT_DOUBLE, DT_FLOAT, DT_HALF, DT_INT32
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import SummaryWriter

from conformance.evidence import summaries
from conformance.evidence.summaries import EventFile, is_event_file_name, read_event_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


# A tiny writer


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join(
        [
            length,
            struct.pack("<I", masked_crc32c(length)),
            data,
            struct.pack("<I", masked_crc32c(data)),
        ]
    )


def event(**fields: object) -> bytes:
    return Event(**fields).SerializeToString()


def scalar(tag: str, value: float, step: int = 0, wall_time: float = 1.0) -> bytes:
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    return event(wall_time=wall_time, step=step, summary=summary)


VERSION = event(wall_time=0.5, file_version="brain.Event:2")


def written(folder: Path, records: Iterable[bytes], tail: bytes = b"") -> Path:
    path = folder / "events.out.tfevents.1.host"
    path.write_bytes(b"".join(map(record, records)) + tail)
    return path


def read(folder: Path, *records: bytes, tail: bytes = b"") -> EventFile:
    return read_event_file(written(folder, [VERSION, *records], tail))


def rewards(file: EventFile) -> list[tuple[int, float]]:
    return [(reward.step, reward.value) for reward in file.rewards]


# Ordinary files


def test_the_rewards_of_each_epoch_are_read_in_order(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        scalar("rewards/step", 9.0, 160, 2.0),
        scalar("rewards/iter", 485.3, 1, 2.5),
        scalar("info/epochs", 1.0, 160, 2.5),
        scalar("rewards/iter", -1.5, 2, 3.0),
        scalar("info/epochs", 2.0, 320, 3.5),
    )
    assert rewards(file) == [(1, struct.unpack("<f", struct.pack("<f", 485.3))[0]), (2, -1.5)]
    assert [reward.wall_time for reward in file.rewards] == [2.5, 3.0]
    assert (file.first_wall_time, file.last_wall_time) == (0.5, 3.5)
    assert file.tags == {"rewards/step", "rewards/iter", "info/epochs"}
    assert (file.records, file.first_epoch, file.torn, file.problem) == (6, 1, False, None)
    assert file.size == file.path.stat().st_size


@pytest.mark.parametrize("new_style", [False, True])
@pytest.mark.parametrize("double_precision", [False, True])
def test_files_of_torchs_writer(tmp_path: Path, *, new_style: bool, double_precision: bool) -> None:
    writer = SummaryWriter(str(tmp_path))
    values = [1.5, math.inf, -math.inf, math.nan, 1e-45, 3.4e38, -0.0, 485.3]
    for epoch, value in enumerate(values, 1):
        writer.add_scalar(
            "rewards/iter",
            value,
            epoch,
            new_style=new_style,
            double_precision=double_precision,
        )
        writer.add_scalar("losses/a_loss", 2 * value, 16 * epoch, new_style=new_style)
    writer.add_text("note", "rewards/iter")
    writer.close()
    (path,) = tmp_path.iterdir()
    file = read_event_file(path)
    assert file.problem is None
    assert not file.torn
    assert repr(file.rewards) == repr(tuple(oracle(path)))
    assert len(file.rewards) == len(values)
    assert file.tags == {"rewards/iter", "losses/a_loss"}


def oracle(path: Path, tag: str = "rewards/iter") -> Iterable[summaries.Reward]:
    """The same by TensorBoard's loader, which turns every scalar into a tensor."""
    for message in EventFileLoader(str(path)).Load():
        for value in message.summary.value:
            if value.tag == tag and value.tensor.dtype in {DT_FLOAT, DT_DOUBLE}:
                numbers = [*value.tensor.float_val, *value.tensor.double_val]
                if not numbers:
                    layout = "<f" if value.tensor.dtype == DT_FLOAT else "<d"
                    numbers = [*struct.unpack(layout, value.tensor.tensor_content)]
                yield summaries.Reward(message.step, numbers[0], message.wall_time)


def test_a_tensor_of_any_floating_type_and_spelling_is_a_reward(tmp_path: Path) -> None:
    tensors = [
        TensorProto(dtype=DT_FLOAT, float_val=[1.5]),
        TensorProto(dtype=DT_FLOAT, tensor_content=struct.pack("<f", 2.5)),
        TensorProto(dtype=DT_DOUBLE, double_val=[0.1]),
        TensorProto(dtype=DT_DOUBLE, tensor_content=struct.pack("<d", 0.2)),
        TensorProto(dtype=DT_HALF, half_val=[0x3E00]),
        TensorProto(dtype=DT_HALF, tensor_content=struct.pack("<e", 2.5)),
        TensorProto(dtype=DT_BFLOAT16, half_val=[0x3FC0]),
        TensorProto(dtype=DT_BFLOAT16, tensor_content=struct.pack("<H", 0x4020)),
        b"\x08\x01\x2d" + struct.pack("<f", 7.5),  # not packed
        b"\x08\x02\x31" + struct.pack("<d", 8.5),
        b"\x08\x13\x68\x80\x7c",  # not packed, 0x3E00
        b"\x08\x01\x12\x04\x12\x02\x08\x01\x2a\x04" + struct.pack("<f", 9.5),  # of shape (1,)
    ]
    expected = [1.5, 2.5, 0.1, 0.2, 1.5, 2.5, 1.5, 2.5, 7.5, 8.5, 1.5, 9.5]
    file = read(tmp_path, *(tensor_event(tensor) for tensor in tensors))
    assert [reward.value for reward in file.rewards] == expected


def test_what_is_not_one_number_is_no_reward(tmp_path: Path) -> None:
    tensors = [
        TensorProto(dtype=DT_FLOAT, float_val=[1.5, 2.5]),
        TensorProto(dtype=DT_FLOAT),
        TensorProto(dtype=DT_FLOAT, tensor_content=bytes(8)),
        TensorProto(dtype=DT_BFLOAT16, tensor_content=bytes(4)),
        TensorProto(dtype=DT_INT32, int_val=[3]),
        b"\x08\x01\x12\x04\x12\x02\x08\x03\x2a\x04" + bytes(4),  # of shape (3,)
        b"\x08\x01\x12\x02\x18\x01\x2a\x04" + bytes(4),  # of unknown rank
        b"",
    ]
    image = Summary.Value(tag="rewards/iter", image=Summary.Image(height=1))
    file = read(
        tmp_path,
        *(tensor_event(tensor) for tensor in tensors),
        event(summary=Summary(value=[image])),
    )
    assert file.rewards == ()
    assert file.tags == frozenset()
    assert file.problem is None


def tensor_event(tensor: TensorProto | bytes) -> bytes:
    """An event whose tensor may be spelt in ways that the library does not write."""
    data = tensor if isinstance(tensor, bytes) else tensor.SerializeToString()
    value = (
        Summary.Value(tag="rewards/iter").SerializeToString() + b"\x42" + bytes([len(data)]) + data
    )
    summary = b"\x0a" + bytes([len(value)]) + value
    return event(wall_time=1.0, step=1) + b"\x2a" + bytes([len(summary)]) + summary


@pytest.mark.parametrize("step", [0, 1, 42, 127, 128, 5400, 2**31, 2**62, 2**63 - 1, -1, -(2**63)])
def test_any_step_is_read(tmp_path: Path, step: int) -> None:
    assert rewards(read(tmp_path, scalar("rewards/iter", 2.0, step))) == [(step, 2.0)]


@pytest.mark.parametrize("wall_time", [0.0, math.nan, math.inf, -5.0, 1.7e9])
def test_wall_times_of_the_file_are_finite_or_none(tmp_path: Path, wall_time: float) -> None:
    path = written(tmp_path, [scalar("rewards/iter", 1.0, 1, wall_time)])
    file = read_event_file(path)
    assert (
        file.first_wall_time == file.last_wall_time == (wall_time if abs(wall_time) < 2e9 else None)
    )
    assert repr(file.rewards[0].wall_time) == repr(wall_time)


def test_several_values_in_one_record(tmp_path: Path) -> None:
    values = [
        Summary.Value(tag=tag, simple_value=value)
        for tag, value in [("rewards/step", 1), ("rewards/iter", 2), ("rewards/iter", 3)]
    ]
    file = read(tmp_path, event(step=7, summary=Summary(value=values)))
    assert rewards(file) == [(7, 2.0), (7, 3.0)]
    assert file.tags == {"rewards/step", "rewards/iter"}


def test_a_missing_tag_is_told_by_the_others(tmp_path: Path) -> None:
    many = [scalar(f"losses/{i % 3}", i, i) for i in range(5000)]
    file = read(tmp_path, *many, scalar("rewards/step", 1.0, 5))
    assert file.rewards == ()
    assert file.tags == {"losses/0", "losses/1", "losses/2", "rewards/step"}


def test_another_tag_can_be_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, [scalar("rewards/iter", 1.0, 1), scalar("rewards/step", 2.0, 16)])
    assert rewards(read_event_file(path, tag="rewards/step")) == [(16, 2.0)]
    long = "r" * 200
    path = written(tmp_path, [scalar(long, 1.0, 1), scalar(long + "x", 2.0, 16)])
    assert rewards(read_event_file(path, tag=long)) == [(1, 1.0)]


def test_a_tag_that_only_contains_the_wanted_one_is_another(tmp_path: Path) -> None:
    file = read(tmp_path, scalar("my/rewards/iter", 1.0, 1), scalar("rewards/iter/2", 1.0, 1))
    assert file.rewards == ()
    assert file.tags == {"my/rewards/iter", "rewards/iter/2"}


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5, 1e30])
def test_a_first_epoch_that_is_no_whole_number_is_none(tmp_path: Path, value: float) -> None:
    file = read(tmp_path, scalar("info/epochs", value, 1), scalar("info/epochs", 2.0, 2))
    assert file.first_epoch is None


def test_a_file_with_nothing_but_its_version_is_fine(tmp_path: Path) -> None:
    file = read(tmp_path)
    assert (file.records, file.rewards, file.torn, file.problem) == (1, (), False, None)


def test_names_of_event_files() -> None:
    assert is_event_file_name("events.out.tfevents.1675455336.server-1")
    assert not is_event_file_name("events.out.tfevents.")
    assert not is_event_file_name("events.out.tfevents")
    assert not is_event_file_name("my.events.out.tfevents.1")


def test_records_cross_the_chunks_in_which_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [VERSION, *(scalar(f"tag/{'x' * (i % 50)}", i, i) for i in range(100))]
    records.insert(50, scalar("rewards/iter", 1.0, 1))
    records.insert(60, event(graph_def=b"g" * 700))
    records.append(scalar("rewards/iter", 2.0, 2))
    path = written(tmp_path, records)
    whole = read_event_file(path)
    for chunk in (1, 7, 12, 13, 64, 1000):
        monkeypatch.setattr(summaries, "_CHUNK", chunk)
        file = read_event_file(path)
        assert (file.records, file.rewards, file.tags) == (104, whole.rewards, whole.tags)
        assert (file.torn, file.problem) == (False, None)


# The oracle, under Hypothesis

_tags = st.sampled_from(["rewards/iter", "rewards/step", "info/epochs", "é", "r" * 90, "r" * 130])
_floats = st.floats(width=32) | st.sampled_from([math.nan, 1e-45, -0.0, 3.4028234663852886e38])
_values = st.one_of(
    st.builds(lambda tag, value: Summary.Value(tag=tag, simple_value=value), _tags, _floats),
    st.builds(
        lambda tag, value: Summary.Value(
            tag=tag, tensor=TensorProto(dtype=DT_DOUBLE, double_val=[value])
        ),
        _tags,
        st.floats(),
    ),
    st.builds(lambda tag: Summary.Value(tag=tag, histo={"bucket": [1.0] * 40}), _tags),
)
_events = st.builds(
    lambda wall_time, step, values, graph: event(
        wall_time=wall_time,
        step=step,
        **({"graph_def": graph} if values is None else {"summary": Summary(value=values)}),
    ),
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300),
    st.none() | st.lists(_values, max_size=3),
    st.binary(max_size=40),
)


def raw_oracle(path: Path) -> tuple[int, list[summaries.Reward], set[str]]:
    """Records, rewards and tags by TensorBoard's reader of records and its Event message."""
    records = 0
    found, tags = [], set()
    for message in LegacyEventFileLoader(str(path)).Load():
        records += 1
        for value in message.summary.value:
            kind = value.WhichOneof("value")
            if kind not in {"simple_value", "tensor"}:
                continue
            number = value.simple_value if kind == "simple_value" else value.tensor.double_val[0]
            tags.add(value.tag)
            if value.tag == "rewards/iter":
                found.append(summaries.Reward(message.step, number, message.wall_time))
    return records, found, tags


@_same_folder
@given(st.lists(_events, min_size=1, max_size=30))
def test_any_events_are_read_as_tensorboard_reads_them(tmp_path: Path, events: list[bytes]) -> None:
    path = written(tmp_path, events)
    records, found, tags = raw_oracle(path)
    file = read_event_file(path)
    assert (file.records, file.torn, file.problem) == (records, False, None)
    assert repr(file.rewards) == repr(tuple(found))
    assert file.tags == tags


@_same_folder
@given(st.lists(_events, min_size=1, max_size=8), st.data())
def test_a_cut_file_is_torn_exactly_where_a_record_is_cut(
    tmp_path: Path, events: list[bytes], data: st.DataObject
) -> None:
    path = written(tmp_path, [VERSION, *events])
    whole = path.read_bytes()
    cut = data.draw(st.integers(len(record(VERSION)), len(whole)))
    path.write_bytes(whole[:cut])
    ends = boundaries([VERSION, *events])
    records, found, _ = raw_oracle(path)
    file = read_event_file(path)
    assert file.problem is None
    assert file.torn == (cut not in ends)
    assert file.records == records
    assert repr(file.rewards) == repr(tuple(found))


def boundaries(records: list[bytes]) -> list[int]:
    ends = [0]
    for data in records:
        ends.append(ends[-1] + len(record(data)))
    return ends


FOUR = [VERSION, *(scalar("rewards/iter", float(epoch), epoch) for epoch in (1, 2, 3))]


def test_a_file_cut_at_every_byte(tmp_path: Path) -> None:
    path = written(tmp_path, FOUR)
    whole, ends = path.read_bytes(), boundaries(FOUR)
    for cut in range(1, len(whole) + 1):
        path.write_bytes(whole[:cut])
        file = read_event_file(path)
        assert file.records == sum(end <= cut for end in ends) - 1
        assert len(file.rewards) == max(0, file.records - 1)
        assert file.torn == (cut not in ends)
        assert (file.problem is None) == (cut >= ends[1])


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, FOUR)
    whole, ends = path.read_bytes(), boundaries(FOUR)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        file = read_event_file(path)
        before = sum(end <= bit // 8 for end in ends) - 1
        assert file.records == before
        assert [reward.step for reward in file.rewards] == list(range(1, before))
        assert file.problem is not None
        assert f"at byte {ends[before]}:" in file.problem
        assert not file.torn


def test_a_flipped_bit_among_many_records_is_found_at_its_offset(tmp_path: Path) -> None:
    records = [VERSION, *(scalar(f"tag/{i % 30}", i, i) for i in range(3000))]
    path = written(tmp_path, records)
    whole, ends = path.read_bytes(), boundaries(records)
    generator = random.Random(1)  # noqa: S311  (no secret depends on it)
    for _ in range(20):
        bit = generator.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        file = read_event_file(path)
        before = sum(end <= bit // 8 for end in ends) - 1
        assert file.records == before
        assert file.problem is not None
        assert f"at byte {ends[before]}:" in file.problem


# Torn by a power cut


@pytest.mark.parametrize("zeros", [1, 8, 12, 13, 4096, 3 << 20])
def test_a_tail_of_zero_bytes_is_torn(tmp_path: Path, zeros: int) -> None:
    file = read(tmp_path, scalar("rewards/iter", 1.0, 1), tail=bytes(zeros))
    assert (rewards(file), file.records) == ([(1, 1.0)], 2)
    assert (file.torn, file.problem) == (True, None)


@pytest.mark.parametrize("kept", [4, 8, 12, 20, 38])
def test_a_record_whose_end_became_zero_bytes_is_torn(tmp_path: Path, kept: int) -> None:
    last = record(scalar("rewards/iter", 2.0, 2))
    tail = last[:kept] + bytes(len(last) - kept) + bytes(500)
    file = read(tmp_path, scalar("rewards/iter", 1.0, 1), tail=tail)
    assert (rewards(file), file.torn, file.problem) == ([(1, 1.0)], True, None)


def test_zero_bytes_with_records_after_them_are_damage(tmp_path: Path) -> None:
    later = bytes(600) + record(scalar("rewards/iter", 2.0, 2))
    file = read(tmp_path, scalar("rewards/iter", 1.0, 1), tail=later)
    assert rewards(file) == [(1, 1.0)]
    assert file.problem is not None
    assert "CRC-32C" in file.problem


# Bad input


def problem_of(path: Path) -> str:
    file = read_event_file(path)
    assert file.problem is not None
    assert file.problem.isascii()
    assert "\n" not in file.problem
    assert (file.records, file.rewards, file.first_wall_time) == (0, (), None)
    return file.problem


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.touch()
    assert "empty" in problem_of(path)


@pytest.mark.parametrize(
    "data", [b"x" * 500, b"PK\3\4" + bytes(range(200)), b"step,reward\n1,2.0\n" * 9]
)
def test_garbage(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data)
    assert "not an event file" in problem_of(path)


def test_nothing_but_zero_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(bytes(5000))
    assert "no whole record" in problem_of(path)


def test_a_sparse_file_of_10_gb(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    begun = time.thread_time()
    assert "too large" in problem_of(path)
    assert time.thread_time() - begun < 1


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in problem_of(fifo)
    assert "not a regular file" in problem_of(tmp_path)


def test_a_loop_of_links(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "symbolic links" in problem_of(loop)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in problem_of(tmp_path / "none")
    assert "cannot be read" in problem_of(tmp_path / "a\0b")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, FOUR)

    def refuse(*_: object) -> int:  # as for any user but root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(summaries.os, "open", refuse)
    assert problem_of(path) == "cannot be read: Permission denied"


def test_a_link_to_an_event_file_is_followed(tmp_path: Path) -> None:
    path = written(tmp_path, FOUR)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert len(read_event_file(link).rewards) == 3


def test_a_length_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**63)
    header = length + struct.pack("<I", masked_crc32c(length))
    file = read(tmp_path, scalar("rewards/iter", 1.0, 1), tail=header + bytes(100))
    assert rewards(file) == [(1, 1.0)]
    assert file.problem is not None
    assert "too large" in file.problem


@pytest.mark.parametrize(
    "data",
    [
        b"\x2a\x05rewards/iter",  # a field past the end
        b"\x0b rewards/iter",  # a group
        b"\x0f rewards/iter",  # no such wire type
        b"\x00\x00 rewards/iter",  # a field of number 0
        b"\xff" * 12 + b"rewards/iter",  # a number that does not end
        b"\x2a\x12\x0a\x10\x0a\x0erewards/iter\xff\xff",  # a tag that is not UTF-8
    ],
)
def test_a_record_that_is_no_event_is_a_problem_at_its_offset(tmp_path: Path, data: bytes) -> None:
    file = read(tmp_path, scalar("rewards/iter", 1.0, 1), data, scalar("rewards/iter", 2.0, 2))
    offset = len(record(VERSION)) + len(record(scalar("rewards/iter", 1.0, 1)))
    assert rewards(file) == [(1, 1.0)]
    assert file.problem is not None
    assert file.problem.startswith(f"record at byte {offset}: is not an event: ")


@_same_folder
@given(st.binary(max_size=60))
def test_any_bytes_in_a_record_with_a_right_checksum(tmp_path: Path, data: bytes) -> None:
    file = read(tmp_path, data, b"rewards/iter" + data)
    assert file.records <= 3


@_same_folder
@given(st.binary(max_size=200))
def test_any_bytes_as_a_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data)
    assert read_event_file(path).problem is not None


def test_fields_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"\x58\x00" * 200_000 + b"rewards/iter"
    file = read(tmp_path, many)
    assert file.problem is not None
    assert "more than 100000 fields" in file.problem
    monkeypatch.setattr(summaries, "_MOST_FIELDS_READ", 50)
    file = read(tmp_path, *(b"\x58\x00" * 8 + scalar("rewards/iter", 1.0, 1) for _ in range(9)))
    assert file.problem is not None
    assert "too many fields" in file.problem


def test_rewards_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_MOST_REWARDS", 2)
    assert "too many entries" in str(read(tmp_path, *FOUR[1:]).problem)


def test_large_records_of_other_kinds_take_bounded_memory(tmp_path: Path) -> None:
    graph = bytes(range(256)) * (8 << 12)  # 8 MiB
    value = Summary.Value(tag="frame", image=Summary.Image(encoded_image_string=graph))
    records = [event(graph_def=graph), event(summary=Summary(value=[value]))]
    path = written(tmp_path, [])
    with path.open("ab") as file:
        for data in [VERSION, *records, *records]:
            length = struct.pack("<Q", len(data))
            file.write(length + struct.pack("<I", masked_crc32c(length)) + data)
            file.write(summaries._masked(summaries.crc32c.checksums([data])))
        file.write(record(scalar("rewards/iter", 1.0, 1)))
    tracemalloc.start()
    result = read_event_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rewards(result), result.problem) == ([(1, 1.0)], None)
    assert peak < 5 * len(graph)


def test_tags_are_bounded(tmp_path: Path) -> None:
    file = read(tmp_path, *(scalar(f"{i}/" + "x" * 500, 1.0, 1) for i in range(1500)))
    assert len(file.tags) == 1000
    assert max(map(len, file.tags)) == 200


def test_tags_cost_a_bounded_number_of_looks_and_rewards_are_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "_MOST_LOOKS", 5)
    monkeypatch.setattr(summaries, "_CHUNK", 300)
    others = [scalar(f"losses/{i:03}", 1.0, 1) for i in range(100)]
    file = read(tmp_path, *others, scalar("rewards/iter", 2.0, 1))
    assert rewards(file) == [(1, 2.0)]
    assert 5 <= len(file.tags) < 50  # with the last of each chunk
