"""The reader of checkpoints, fault by fault, on small files as torch writes them."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conformance.convention.safe_globals import TORCH_DEFAULT
from conformance.evidence.checkpoint import (
    MISSING,
    Checkpoint,
    FaultKind,
    NonFinite,
    Tensor,
    looks_like_checkpoint,
    read_checkpoint,
    read_item,
    scan_non_finite,
    weights_digest,
)

STATE: dict[str, Any] = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "epoch": 7}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "Ant.pth"
    torch.save(STATE, file)
    return file


def kinds(checkpoint: Checkpoint) -> list[FaultKind]:
    return [fault.kind for fault in checkpoint.faults]


def model(checkpoint: Checkpoint) -> dict[str, Tensor]:
    assert isinstance(checkpoint.root, dict)
    weights: dict[str, Tensor] = checkpoint.root["model"]
    return weights


def change(path: Path, edit: Callable[[bytearray], object]) -> Checkpoint:
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    return read_checkpoint(path)


def find(data: bytes, magic: bytes, name: bytes) -> int:
    """Returns where the header of a record begins, local or central."""
    skip = 30 if magic == b"PK\3\4" else 46
    at = data.index(magic)
    while data[at + skip : at + skip + len(name)] != name:
        at = data.index(magic, at + 1)
    return at


def repack(path: Path, **changes: bytes | None) -> Checkpoint:
    """Writes the archive anew with other records, each with its right CRC-32."""
    with zipfile.ZipFile(path) as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    folder = next(iter(records)).partition("/")[0]
    for name, content in changes.items():
        record = f"{folder}/{name.replace('__', '/')}"
        if content is None:
            records.pop(record, None)
        else:
            records[record] = content
    with zipfile.ZipFile(path, "w") as file:
        for record, content in records.items():
            file.writestr(record, content)
    return read_checkpoint(path)


def test_a_whole_checkpoint_has_no_fault_and_shows_its_values(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    assert checkpoint.torch_loads
    assert checkpoint.whole
    assert (checkpoint.format, checkpoint.has_crc) == ("zip", True)
    assert checkpoint.size == path.stat().st_size
    assert checkpoint.disallowed == ()
    assert checkpoint.globals[0] == "torch._utils._rebuild_tensor_v2"
    weight = model(checkpoint)["w"]
    assert (weight.dtype, weight.shape, weight.stride) == ("float32", (2, 3), (3, 1))
    assert (weight.numel, weight.nbytes, checkpoint.tensor_bytes) == (6, 24, 24)
    assert weight.storage.crc32 == zlib.crc32(struct.pack("<6f", *range(6)))
    assert isinstance(checkpoint.root, dict)
    assert checkpoint.root["epoch"] == 7


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    assert kinds(checkpoint) == [FaultKind.EMPTY]
    assert checkpoint.root is MISSING


def test_a_file_cut_anywhere_is_damaged_or_empty(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        checkpoint = read_checkpoint(path)
        assert kinds(checkpoint)[:1] == [FaultKind.DAMAGED if length else FaultKind.EMPTY]
        assert not checkpoint.torch_loads


def test_a_zeroed_tail_and_a_file_of_zeros_are_damaged(path: Path) -> None:
    size = path.stat().st_size
    for start in (0, 100, size - 22):
        data = path.read_bytes()
        path.write_bytes(data[:start] + bytes(size - start))
        checkpoint = read_checkpoint(path)
        assert kinds(checkpoint) == [FaultKind.DAMAGED]
        assert not checkpoint.torch_loads
        path.write_bytes(data)


def test_appended_bytes_are_damage_that_torch_overlooks(path: Path) -> None:
    checkpoint = change(path, lambda data: data.extend(b"garbage"))
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert "7 bytes follow" in checkpoint.faults[0].message
    assert checkpoint.torch_loads
    assert not checkpoint.whole


def test_prepended_bytes_are_damage(path: Path) -> None:
    checkpoint = change(path, lambda data: data.__setitem__(slice(0, 0), b"garbage"))
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert not checkpoint.torch_loads


def test_a_changed_record_is_named(path: Path) -> None:
    start = model(read_checkpoint(path))["w"].storage.offset
    assert start is not None
    checkpoint = change(path, lambda data: data.__setitem__(start, 1))
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert "'Ant/data/0' has changed" in checkpoint.faults[0].message
    assert checkpoint.torch_loads


def test_without_verifying_the_structure_is_read_and_changed_weights_pass(path: Path) -> None:
    start = model(read_checkpoint(path))["w"].storage.offset
    assert start is not None
    change(path, lambda data: data.__setitem__(start, 1))
    assert read_checkpoint(path, verify=False).faults == ()


@pytest.mark.parametrize(
    ("magic", "offset", "length"),
    [
        (b"PK\3\4", 30, 3),
        (b"PK\3\4", 6, 1),
        (b"PK\1\2", 16, 4),
        (b"PK\1\2", 38, 1),
        (b"PK\7\x08", 4, 4),
        (b"PK\7\x08", 12, 2),
    ],
    ids=["local-name", "local-flags", "crc", "folder", "descriptor-crc", "descriptor-size"],
)
def test_headers_that_contradict_each_other_are_damage(
    path: Path, magic: bytes, offset: int, length: int
) -> None:
    def edit(data: bytearray) -> None:
        at = data.rindex(magic) + offset
        for place in range(at, at + length):
            data[place] ^= 0x10

    checkpoint = change(path, edit)
    assert FaultKind.DAMAGED in kinds(checkpoint)


def test_a_gap_between_records_is_damage(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number, (name, content) in enumerate(records.items()):
            file.writestr(name, content)
            if number == 2:
                buffer.write(b"hidden")
                file.start_dir += 6
    path.write_bytes(buffer.getvalue())
    checkpoint = read_checkpoint(path)
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert "6 bytes before record" in checkpoint.faults[0].message
    assert checkpoint.torch_loads


def test_an_archive_without_crcs_says_so_and_cannot_tell_of_changes(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    assert checkpoint.has_crc is False
    start = model(checkpoint)["w"].storage.offset
    assert start is not None
    assert change(path, lambda data: data.__setitem__(start, 1)).faults == ()


def test_compressed_records_are_read_as_torch_reads_them(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    for method, loads in ((zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_LZMA, False)):
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in records.items():
                file.writestr(name, content)
        checkpoint = read_checkpoint(path)
        assert checkpoint.torch_loads is loads
        assert bool(checkpoint.faults) is not loads
        if loads:
            weights = model(checkpoint)
            assert weights["w"].storage.deflated
            assert scan_non_finite(checkpoint, weights) == {}
            torch.save(STATE, path.with_name("plain.pth"))
            plain = read_checkpoint(path.with_name("plain.pth"))
            assert weights_digest(weights, checkpoint) == weights_digest(model(plain), plain)


def test_a_deflated_record_that_does_not_inflate_is_damage_that_torch_overlooks(
    path: Path,
) -> None:
    with zipfile.ZipFile(path) as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in records.items():
            is_data = name.endswith("data/0")
            file.writestr(name, content, zipfile.ZIP_DEFLATED if is_data else zipfile.ZIP_STORED)
    at = find(path.read_bytes(), b"PK\3\4", b"Ant/data/0") + 40
    checkpoint = change(path, lambda data: data.__setitem__(at, 0xFF))
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert checkpoint.torch_loads


def test_a_missing_storage_is_damage(path: Path) -> None:
    checkpoint = repack(path, data__0=None)
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert "storage '0' is missing" in checkpoint.faults[0].message


@pytest.mark.parametrize("size", [0, 20, 28])
def test_a_storage_of_another_size_is_damage(path: Path, size: int) -> None:
    checkpoint = repack(path, data__0=bytes(size))
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert not checkpoint.torch_loads


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"version": None}, FaultKind.DAMAGED),
        ({"version": b"99\n"}, FaultKind.REFUSED),
        ({"version": b"x"}, FaultKind.REFUSED),
        ({"byteorder": b"middle"}, FaultKind.REFUSED),
        ({".storage_alignment": b"x"}, FaultKind.REFUSED),
        ({"data.pkl": None}, FaultKind.NOT_A_CHECKPOINT),
        ({"constants.pkl": b""}, FaultKind.NOT_A_CHECKPOINT),
        ({"data.pkl": b"\x80\x02N"}, FaultKind.DAMAGED),
        ({"data.pkl": b"\x80\x02]Na}."}, None),
        ({"extra__notes.txt": b"hello"}, None),
        ({".data__version": b"3\n", "version": None}, None),
    ],
)
def test_records_beside_the_weights_are_judged_as_torch_judges_them(
    path: Path, changes: dict[str, bytes | None], kind: FaultKind | None
) -> None:
    checkpoint = repack(path, **changes)
    assert kinds(checkpoint) == ([] if kind is None else [kind])
    assert checkpoint.torch_loads is (kind is None)


def test_torchscript_and_other_archives_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "archive.pth"
    for name in ("loose.txt", "folder/file.txt"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, "hello")
        assert kinds(read_checkpoint(path)) == [FaultKind.NOT_A_CHECKPOINT]
        assert not looks_like_checkpoint(path)


@pytest.mark.parametrize(
    "data", [b"just text\n", pickle.dumps({"a": 1}, 2), b"\x89PNG\r\n", b"\0\0\1"]
)
def test_other_files_are_no_checkpoints(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(data)
    checkpoint = read_checkpoint(path)
    assert kinds(checkpoint) == [FaultKind.NOT_A_CHECKPOINT]
    assert checkpoint.format == "unknown"
    assert not looks_like_checkpoint(path)


def test_a_checkpoint_is_known_by_its_content(path: Path, tmp_path: Path) -> None:
    legacy = tmp_path / "anything.bin"
    torch.save(STATE, legacy, _use_new_zipfile_serialization=False)
    assert looks_like_checkpoint(path)
    assert looks_like_checkpoint(legacy)
    path.write_bytes(path.read_bytes()[:-30])
    assert not looks_like_checkpoint(path)


def test_a_global_outside_the_allowed_ones_is_named(path: Path) -> None:
    torch.save({"model": STATE["model"], "when": slice(1)}, path)
    checkpoint = read_checkpoint(path)
    assert kinds(checkpoint) == [FaultKind.UNSAFE]
    assert checkpoint.disallowed == ("builtins.slice",)
    assert model(checkpoint)["w"].shape == (2, 3)
    allowing = read_checkpoint(path, allowed=TORCH_DEFAULT | {"builtins.slice"})
    assert allowing.faults == ()


def test_a_tensor_beyond_its_storage_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        data = file.read("Ant/data.pkl")
    checkpoint = repack(path, **{"data.pkl": data.replace(b"K\2K\3\x86", b"K\2K\4\x86")})
    assert kinds(checkpoint) == [FaultKind.REFUSED]
    assert checkpoint.root is MISSING


def test_a_big_endian_archive_is_read_with_its_bytes_swapped(path: Path) -> None:
    values = (1.0, float("nan"), 3.0, 4.0, 5.0, 6.0)
    checkpoint = repack(path, byteorder=b"big", data__0=struct.pack(">6f", *values))
    assert checkpoint.faults == ()
    weights = model(checkpoint)
    assert scan_non_finite(checkpoint, weights) == {"w": NonFinite(nan=True, inf=False)}
    little = path.with_name("little.pth")
    torch.save({"model": {"w": torch.tensor(values).reshape(2, 3)}}, little)
    same = read_checkpoint(little)
    assert weights_digest(weights, checkpoint) == weights_digest(model(same), same)


def test_a_legacy_checkpoint_is_read(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    assert (checkpoint.format, checkpoint.has_crc) == ("legacy", None)
    assert checkpoint.torch_loads
    weight = model(checkpoint)["w"]
    assert weight.storage.crc32 == zlib.crc32(struct.pack("<6f", *range(6)))


def test_a_legacy_checkpoint_cut_or_continued_is_damaged(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for length in range(1, len(data), 3):
        path.write_bytes(data[:length])
        checkpoint = read_checkpoint(path)
        assert kinds(checkpoint)[:1] == [FaultKind.DAMAGED]
        assert not checkpoint.torch_loads
    path.write_bytes(data + b"more")
    checkpoint = read_checkpoint(path)
    assert kinds(checkpoint) == [FaultKind.DAMAGED]
    assert checkpoint.torch_loads


def test_the_tar_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    header = bytearray(512)
    header[:8] = b"storages"
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    path.write_bytes(header + bytes(1024))
    assert kinds(read_checkpoint(path)) == [FaultKind.REFUSED]


def test_views_that_share_a_storage_count_once(path: Path) -> None:
    base = torch.zeros(100)
    views = {"a": base[:10], "b": base[5:15], "c": base[20:40:2], "tied": base[:10]}
    torch.save({"model": views}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.tensor_bytes == 4 * (15 + 19)
    torch.save({"model": {"c": base[20:40:2]}}, path)
    assert read_checkpoint(path).tensor_bytes == 40


def test_only_addressed_elements_count_as_non_finite(path: Path) -> None:
    base = torch.zeros(6, 4)
    base[:, 1] = float("nan")
    base[5] = float("inf")
    views = {
        "clean": base[:5, 0],
        "skipping": base[:5, ::2],
        "nan": base[:5].t(),
        "inf": base[5],
        "both": base,
        "whole": base.to(torch.int64),
    }
    torch.save({"model": views}, path)
    checkpoint = read_checkpoint(path)
    assert scan_non_finite(checkpoint, model(checkpoint)) == {
        "nan": NonFinite(nan=True, inf=False),
        "inf": NonFinite(nan=False, inf=True),
        "both": NonFinite(nan=True, inf=True),
    }


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (485.3, torch.float64),
        (0.5, torch.float32),
        (0.5, torch.float16),
        (-2.0, torch.bfloat16),
        (7, torch.int64),
        (True, torch.bool),
        (1 + 2j, torch.complex64),
    ],
)
def test_a_tensor_of_one_element_has_a_value(
    path: Path, value: complex, dtype: torch.dtype
) -> None:
    torch.save({"model": {"one": torch.tensor([[value]], dtype=dtype), "two": torch.ones(2)}}, path)
    checkpoint = read_checkpoint(path)
    weights = model(checkpoint)
    assert read_item(checkpoint, weights["one"]) == value
    assert read_item(checkpoint, weights["two"]) is None


def test_a_file_that_changes_after_it_was_read_is_not_mixed_up(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    torch.save({"model": {"w": torch.zeros(500)}}, path)
    with pytest.raises(OSError, match="has changed"):
        scan_non_finite(checkpoint, model(checkpoint))
    path.unlink()
    with pytest.raises(OSError, match="cannot be read"):
        scan_non_finite(checkpoint, model(checkpoint))


def test_a_file_that_may_not_be_read_is_unreadable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", deny)
    checkpoint = read_checkpoint(path)
    assert kinds(checkpoint) == [FaultKind.UNREADABLE]
    assert "Permission denied" in checkpoint.faults[0].message


def test_a_large_archive_is_read_in_chunks(path: Path) -> None:
    weight = torch.zeros(1_200_000)
    weight[-1] = float("inf")
    torch.save({"model": {"w": weight}}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    found = scan_non_finite(checkpoint, model(checkpoint))
    assert found == {"w": NonFinite(nan=False, inf=True)}
    start = model(checkpoint)["w"].storage.offset
    assert start is not None
    assert kinds(change(path, lambda data: data.__setitem__(start + 4_000_000, 1))) == [
        FaultKind.DAMAGED
    ]


def test_many_checkpoints_of_one_run_are_told_apart(tmp_path: Path) -> None:
    for epoch in range(1, 60):
        state = {**STATE, "epoch": epoch * 10, "reward": epoch / 7, "list": [epoch, (epoch, 2)]}
        file = tmp_path / f"last_Antep{epoch * 10}rew{epoch / 7}.pth"
        torch.save(state, file)
        checkpoint = read_checkpoint(file)
        assert checkpoint.faults == ()
        assert isinstance(checkpoint.root, dict)
        values = (checkpoint.root["epoch"], checkpoint.root["reward"], checkpoint.root["list"])
        assert values == (epoch * 10, epoch / 7, [epoch, (epoch, 2)])
