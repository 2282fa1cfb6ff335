"""Whatever a file holds, reading it ends soon, in little memory, with a fault and nothing run."""

import collections
import io
import json
import os
import pickle
import pickletools
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.evidence.checkpoint import (
    MISSING,
    FaultKind,
    looks_like_checkpoint,
    read_checkpoint,
    scan_non_finite,
    survey,
    weights_digest,
)

MEMORY = 200 << 20
SECONDS = 20  # of processor time

# Not `ru_maxrss`, which a child starts with at what its parent used before the fork.
PEAK = """
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
"""
CHILD = (
    PEAK
    + """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
from pathlib import Path
from conformance.evidence.checkpoint import looks_like_checkpoint, read_checkpoint
path = Path(sys.argv[1])
looks_like_checkpoint(path)
checkpoint = read_checkpoint(path)
kinds = [fault.kind.value for fault in checkpoint.faults]
messages = [fault.message for fault in checkpoint.faults]
print(json.dumps([kinds, messages, peak(), checkpoint.torch_loads]))
"""
)


def archive(data: bytes, records: dict[str, bytes] | None = None, method: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in {"data.pkl": data, "version": b"3\n", **(records or {})}.items():
            file.writestr(f"a/{name}", content)
    return buffer.getvalue()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def long(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def call(name: str, arguments: bytes) -> bytes:
    module, _, attribute = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n" + arguments + b"R"


def doubling() -> bytes:
    """A list of two lists of two lists, sixty deep, in four opcodes a level."""
    return b"]q\0" + b"".join(b"](h" + b"\0h\0eq\0" for _ in range(60)) + b"."


def doubling_key() -> bytes:
    return b")q\0" + b"".join(b"h\0h\0\x86q\0" for _ in range(60)) + b"}h\0Ns."


def colliding_keys() -> bytes:
    """Integers that all have the same hash."""
    numbers = b"".join(long(k * ((1 << 61) - 1)) + b"N" for k in range(100_000))
    return b"}(" + numbers + b"u."


PICKLES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "memo-index": (lambda: b"\x80\x02Nr\xff\xff\xff\xff.", set()),
    "deep-lists": (lambda: b"]" * 100_000 + b"a" * 99_999 + b".", {"too-large"}),
    "deep-tuples": (lambda: b"N" + b"\x85" * 1_000_000 + b".", {"too-large"}),
    "many-marks": (lambda: b"(" * 8_000_000, {"too-large"}),
    "many-sets": (lambda: b"\x8f" * 8_000_000, {"too-large"}),
    "many-dicts": (lambda: b"}" * 8_000_000, {"too-large"}),
    "many-nones": (lambda: b"N" * 16_000_000, {"too-large"}),
    "many-memos": (
        lambda: b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(1_500_000)),
        {"too-large"},
    ),
    "many-calls": (
        lambda: b"ccollections\nOrderedDict\nq\0" + b"h\0)R" * 1_000_000 + b".",
        {"too-large"},
    ),
    "doubling-lists": (doubling, {"too-large"}),
    "doubling-key": (doubling_key, {"too-large"}),
    "list-in-itself": (lambda: b"]q\0h\0a.", {"too-large"}),
    "dict-in-itself": (lambda: b"}q\0Nh\0s.", {"too-large"}),
    "long-text": (lambda: b"X\xff\xff\xff\xff", {"damaged"}),
    "large-text": (lambda: text("\U0001f600" + "a" * 12_000_000) + b".", set()),
    "huge-pickle": (lambda: b"N" * (17 << 20), {"too-large"}),
    "bytearray": (
        lambda: call("builtins.bytearray", long(1 << 40) + b"\x85") + b".",
        {"too-large"},
    ),
    "bytearrays": (
        lambda: b"(" + call("builtins.bytearray", long(60 << 20) + b"\x85") * 100 + b"t.",
        {"too-large"},
    ),
    "encodes": (
        lambda: text("a" * 8_000_000) + b"q\0" + call("_codecs.encode", b"h\0\x85") * 200 + b".",
        {"too-large"},
    ),
    "sets-of-one-list": (
        lambda: b"](" + b"K\1" * 100_000 + b"eq\0" + call("builtins.set", b"h\0\x85") * 10_000,
        {"too-large"},
    ),
    "colliding-keys": (colliding_keys, {"too-large"}),
    "size-of-one-tuple": (
        lambda: b"(" + b"K\1" * 100_000 + b"tq\0" + call("torch.Size", b"h\0\x85") * 10_000,
        {"too-large"},
    ),
    "complex-of-text": (
        lambda: call("builtins.complex", text("1" * 10_000_000) + b"\x85") + b".",
        {"refused"},
    ),
    "protocol-4": (lambda: pickle.dumps({"a": [1, 2]}, 4), {"refused"}),
    "decimal-digits": (lambda: b"I" + b"9" * 1_000_000 + b"\n.", {"refused"}),
    "unended-name": (lambda: b"c" + b"a" * 10_000_000, {"damaged"}),
}


def processor_time() -> float:
    """Seconds of the processes that this one has waited for: a busy machine adds none."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def read_in_child(tmp_path: Path) -> Callable[[Path], tuple[set[str], bool]]:
    """Reads in a process of its own, with little memory to be had, and checks what it took."""

    def read(path: Path) -> tuple[set[str], bool]:
        begin = processor_time()
        result = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)],
            capture_output=True,
            check=False,
            timeout=300,
            cwd=Path(__file__).parents[2],
        )
        assert result.returncode == 0, result.stderr.decode()
        kinds, messages, peak, loads = json.loads(result.stdout)
        assert peak < MEMORY, f"{peak >> 20} MiB"
        assert processor_time() - begin < SECONDS
        assert all(message.isascii() and message.isprintable() for message in messages)
        return set(kinds), loads

    assert tmp_path.is_dir()
    return read


@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle_costs_little(
    name: str, tmp_path: Path, read_in_child: Callable[[Path], tuple[set[str], bool]]
) -> None:
    make, expected = PICKLES[name]
    path = tmp_path / "hostile.pth"
    path.write_bytes(archive(make()))
    kinds, _ = read_in_child(path)
    assert kinds == expected


def test_a_bomb_in_the_pickles_record_is_not_inflated(
    tmp_path: Path, read_in_child: Callable[[Path], tuple[set[str], bool]]
) -> None:
    path = tmp_path / "bomb.pth"
    path.write_bytes(archive(b"N" * (64 << 20), method=zipfile.ZIP_DEFLATED))
    kinds, loads = read_in_child(path)
    assert kinds == {"too-large"}
    assert not loads


def test_a_bomb_in_a_storages_record_is_inflated_only_so_far(
    tmp_path: Path, read_in_child: Callable[[Path], tuple[set[str], bool]]
) -> None:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    bomb = b"".join(engine.compress(block) for _ in range(300)) + engine.flush()
    path = tmp_path / "bomb.pth"
    data = bytearray(archive(b"\x80\x02N.", {"data/0": bomb}))
    size = struct.pack("<I", 300 << 20)
    local = data.index(b"PK\3\4", data.index(b"a/version"))
    central = data.rindex(b"PK\1\2")
    data[local + 8 : local + 10] = data[central + 10 : central + 12] = b"\x08\0"
    data[local + 22 : local + 26] = data[central + 24 : central + 28] = size
    path.write_bytes(data)
    kinds, _ = read_in_child(path)
    assert kinds == {"too-large"}


def test_overlapping_records_are_read_once(
    tmp_path: Path, read_in_child: Callable[[Path], tuple[set[str], bool]]
) -> None:
    records = {f"data/{number}": bytes(100_000) for number in range(50)}
    data = bytearray(archive(b"\x80\x02N.", records))
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"]
    for at in entries[3:]:
        data[at + 42 : at + 46] = data[entries[2] + 42 : entries[2] + 46]
    path = tmp_path / "overlap.pth"
    path.write_bytes(data)
    kinds, _ = read_in_child(path)
    assert kinds == {"damaged"}


def sparse(path: Path, head: bytes, tail: bytes = b"", size: int = 10 << 30) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        if tail:
            file.seek(size - len(tail))
            file.write(tail)


def end_record(total: int, length: int, start: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, total, total, length, start, 0)


SPARSE: dict[str, tuple[bytes, bytes, set[str]]] = {
    "zeros": (b"", b"", {"damaged"}),
    "archive-without-end": (b"PK\3\4", b"", {"damaged"}),
    "archive-with-large-directory": (
        b"PK\3\4",
        end_record(60_000, 0xFFFFFFF0, 0),
        {"too-large", "damaged"},
    ),
    "legacy-with-long-text": (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02X\xff\xff\xff\xff",
        b"",
        {"too-large"},
    ),
    "plain-pickle": (b"\x80\x04X\xff\xff\xff\xff", b"", {"not-a-checkpoint"}),
    "text": (b"hello\n", b"", {"not-a-checkpoint"}),
}


@pytest.mark.parametrize("name", SPARSE)
def test_a_sparse_file_of_ten_gigabytes_is_not_read_through(
    name: str, tmp_path: Path, read_in_child: Callable[[Path], tuple[set[str], bool]]
) -> None:
    head, tail, expected = SPARSE[name]
    path = tmp_path / "sparse.pth"
    sparse(path, head, tail)
    kinds, loads = read_in_child(path)
    assert kinds
    assert kinds <= expected
    assert not loads


@pytest.mark.slow
def test_a_gigabyte_is_read_and_scanned_in_little_memory(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "large.pth"
    weights = torch.zeros(250_000_000)
    weights[-1] = float("nan")
    torch.save({"model": {"weight": weights}}, path)
    del weights
    program = (
        PEAK
        + """
import sys
from pathlib import Path
from conformance.evidence.checkpoint import read_checkpoint, scan_non_finite, weights_digest
checkpoint = read_checkpoint(Path(sys.argv[1]))
assert checkpoint.faults == (), checkpoint.faults
found = scan_non_finite(checkpoint, checkpoint.root["model"])
assert found["weight"].nan and not found["weight"].inf
weights_digest(checkpoint.root["model"], checkpoint)
print(peak())
"""
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        check=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert int(result.stdout) < MEMORY


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_malicious_pickle_is_named_and_not_run(
    protocol: int, wrapped: bool, tmp_path: Path
) -> None:
    target = tmp_path / "executed"
    data = pickle.dumps({"model": Bomb(target)}, protocol)
    path = tmp_path / "malicious.pth"
    path.write_bytes(archive(data) if wrapped else data)
    checkpoint = read_checkpoint(path)
    assert not target.exists()
    assert FaultKind.UNSAFE in {fault.kind for fault in checkpoint.faults}
    assert "posix.system" in checkpoint.disallowed
    assert not checkpoint.torch_loads


def test_the_survey_knows_every_opcode_of_every_protocol() -> None:
    known = {*survey._BYTES, *survey._LINES, *survey._LENGTHS}
    assert known == {ord(opcode.code) for opcode in pickletools.opcodes}


@pytest.mark.parametrize("protocol", range(6))
def test_the_survey_finds_what_any_protocol_names(protocol: int) -> None:
    data = pickle.dumps([collections.deque(), os.getcwd, collections.deque, print], protocol)
    found = set(survey.named_globals(data))
    assert {"collections.deque", "posix.getcwd", "builtins.print"} <= found


def test_a_module_that_torch_blocks_stays_disallowed_even_if_allowed(tmp_path: Path) -> None:
    path = tmp_path / "blocked.pth"
    path.write_bytes(archive(call("os.system", text("true") + b"\x85") + b"."))
    checkpoint = read_checkpoint(path, allowed=frozenset({"os.system"}))
    assert checkpoint.disallowed == ("os.system",)
    assert not checkpoint.torch_loads


def test_hostile_names_are_shown_as_printable_ascii(tmp_path: Path) -> None:
    path = tmp_path / "names.pth"
    name = "\x1b[31mred\u202e\x07" + "x" * 1000
    path.write_bytes(archive(b"cevil\n" + name.encode() + b"\n."))
    (fault,) = read_checkpoint(path).faults
    assert fault.kind is FaultKind.UNSAFE
    assert fault.message.isascii()
    assert fault.message.isprintable()
    assert len(fault.message) < 300


def test_text_that_begins_like_an_opcode_names_no_globals(tmp_path: Path) -> None:
    path = tmp_path / "notes.pth"
    path.write_text("cos\nsystem\nand more prose, without an end\n")
    checkpoint = read_checkpoint(path)
    assert [fault.kind for fault in checkpoint.faults] == [FaultKind.NOT_A_CHECKPOINT]
    assert checkpoint.globals == ()


def test_a_folder_a_fifo_a_device_and_a_socket_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "to-fifo", Path("/dev/zero")):
        checkpoint = read_checkpoint(path)
        assert [fault.kind for fault in checkpoint.faults] == [FaultKind.NOT_REGULAR]
        assert checkpoint.root is MISSING
        assert not looks_like_checkpoint(path)


def test_links_that_loop_or_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("a", "nowhere"):
        (fault,) = read_checkpoint(tmp_path / name).faults
        assert fault.kind is FaultKind.NOT_REGULAR


def test_a_link_to_a_checkpoint_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.pth").write_bytes(archive(b"\x80\x02N."))
    (tmp_path / "link.pth").symlink_to("real.pth")
    assert read_checkpoint(tmp_path / "link.pth").faults == ()


@pytest.mark.parametrize("name", ["gone.pth", "gone/below.pth", "nul\0.pth"])
def test_a_path_to_nothing_is_unreadable(name: str, tmp_path: Path) -> None:
    (fault,) = read_checkpoint(tmp_path / name).faults
    assert fault.kind is FaultKind.UNREADABLE


def expanded_tensor() -> bytes:
    """A tensor of 2**62 elements in a storage of one, and one of 2**40 rows that overlap."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\4tQ"
    )

    def tensor(shape: bytes, stride: bytes) -> bytes:
        hooks = call("collections.OrderedDict", b")")
        arguments = b"(" + storage + b"K\0" + shape + stride + b"\x89" + hooks + b"t"
        return call("torch._utils._rebuild_tensor_v2", arguments)

    huge = tensor(long(1 << 62) + b"\x85", b"K\0\x85")
    rows = tensor(b"(" + long(1 << 40) + b"K\2K\2t", b"(K\0K\2K\1t")
    return b"\x80\x02}(" + text("huge") + huge + text("rows") + rows + b"u."


def test_expanded_tensors_cost_what_they_store(tmp_path: Path) -> None:
    path = tmp_path / "expanded.pth"
    path.write_bytes(
        archive(expanded_tensor(), {"data/0": struct.pack("<4f", 1, 2, 3, float("inf"))})
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    assert isinstance(checkpoint.root, dict)
    assert checkpoint.tensor_bytes == 16
    found = scan_non_finite(checkpoint, checkpoint.root)
    assert set(found) == {"rows"}
    assert len(weights_digest(checkpoint.root, checkpoint)) == 32
