"""Our verdict and values held against `torch.load`'s: generated checkpoints, and broken ones."""

import collections
import io
import random
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.convention.safe_globals import ADDED_SINCE, TORCH_DEFAULT
from conformance.evidence.checkpoint import (
    Checkpoint,
    FaultKind,
    NonFinite,
    Opaque,
    Tensor,
    read_checkpoint,
    read_item,
    scan_non_finite,
    weights_digest,
)
from conformance.evidence.checkpoint import reader as reader_module
from conformance.evidence.checkpoint.template import Templates

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

ALLOWED = TORCH_DEFAULT | ADDED_SINCE
PLAIN = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.complex128, torch.complex32, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def load(path: Path) -> tuple[bool, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return True, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 - whatever torch raises is a refusal
            return False, error


def save(state: object, path: Path, **options: Any) -> bool:
    """Saves, and tells whether torch could: it cannot with every tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.save(state, path, **options)
        except (RuntimeError, NotImplementedError, TypeError, AttributeError):
            return False
        return True


def bits(tensor: torch.Tensor) -> bytes:
    """The elements in row-major order, lazy conjugation and negation left undone."""
    plain = tensor.detach()
    if plain.is_conj():
        plain = plain.conj()
    if plain.is_neg():
        plain = torch._neg_view(plain)
    if not plain.numel():
        return b""
    flat = torch.empty(plain.numel(), dtype=plain.dtype).copy_(plain.reshape(-1))
    return bytes(flat.view(torch.uint8).tolist())


@st.composite
def plain_tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(PLAIN))
    shape = draw(SHAPES)
    count = 1
    for size in shape:
        count *= size
    width = torch.empty((), dtype=dtype).element_size()
    data = bytearray(draw(st.binary(min_size=count * width, max_size=count * width)))
    if dtype is torch.bool:
        data = bytearray(byte & 1 for byte in data)
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).clone().reshape(shape)


def _transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.transpose(0, -1) if tensor.dim() else tensor


def _sliced(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[1:] if tensor.dim() else tensor


def _stepped(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[..., ::2] if tensor.dim() else tensor


def _expanded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.unsqueeze(0).expand(3, *tensor.shape)


def _windows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.unfold(-1, 2, 1) if tensor.dim() and tensor.shape[-1] >= 2 else tensor


def _lazy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.conj() if tensor.is_complex() else tensor


def _trained(tensor: torch.Tensor) -> torch.Tensor:
    differentiable = tensor.dtype in PLAIN[:7]
    return torch.nn.Parameter(tensor, requires_grad=differentiable)


VIEWS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    *(lambda tensor: tensor, _transposed, _sliced, _stepped, _expanded, _windows, _lazy, _trained),
)
TENSORS = st.builds(lambda tensor, view: view(tensor), plain_tensors(), st.sampled_from(VIEWS))


def unusual() -> tuple[object, ...]:
    """What state dicts hold besides numbers and dense tensors; the last three are not allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,)),
            torch.eye(2).to_sparse_csr(),
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            torch.empty(3, device="meta"),
            *(torch.float32, torch.Size((2, 3)), torch.device("cuda:0"), torch.strided),
            collections.Counter("aab"),
            *({1, 2}, b"xy", bytearray(b"xy"), 1 + 2j, 10**30),
            *(frozenset({1}), range(3), slice(1)),
        )


UNUSUAL = st.sampled_from(unusual())
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    UNUSUAL,
)
VALUES = st.recursive(
    st.one_of(TENSORS, SCALARS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.dictionaries(st.integers(0, 3), inner, max_size=3).map(collections.OrderedDict),
    ),
    max_leaves=8,
)


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """A checkpoint as a trainer might save it, with tied weights and a real optimizer's state."""
    model = collections.OrderedDict(draw(st.dictionaries(st.text(max_size=6), TENSORS, max_size=4)))
    if model and draw(st.booleans()):
        model["tied"] = next(iter(model.values()))
    state: dict[str, Any] = {
        "model": model,
        "epoch": draw(st.integers(0, 1 << 40)),
        "last_mean_rewards": draw(st.floats()),
        "extra": draw(VALUES),
    }
    if draw(st.booleans()):
        layer = torch.nn.Linear(2, 2)
        kind = draw(st.sampled_from((torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop)))
        optimizer = kind(layer.parameters(), lr=0.1)
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        state["optimizer"] = optimizer.state_dict()
        state["layer"] = layer.state_dict()
    return state


def check_agreement(ours: Any, theirs: Any, checkpoint: Checkpoint) -> None:
    """Asserts that the parsed tree is what torch loaded."""
    if isinstance(theirs, torch.Tensor):
        check_tensor(ours, theirs, checkpoint)
    elif isinstance(theirs, (torch.dtype, torch.Size, torch.device, torch.layout)):
        assert isinstance(ours, Opaque)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            check_agreement(ours[key], value, checkpoint)
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            check_agreement(one, other, checkpoint)
    elif isinstance(theirs, float):
        assert struct.pack("<d", ours) == struct.pack("<d", theirs)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


def check_tensor(ours: Any, theirs: torch.Tensor, checkpoint: Checkpoint) -> None:
    if theirs.layout is not torch.strided or theirs.is_meta:
        assert isinstance(ours, Opaque)
        return
    assert isinstance(ours, Tensor)
    assert ours.dtype == str(theirs.dtype).removeprefix("torch.")
    assert (ours.shape, ours.stride) == (tuple(theirs.shape), theirs.stride())
    assert ours.storage_offset == theirs.storage_offset()
    assert ours.requires_grad is theirs.requires_grad
    assert ours.parameter is isinstance(theirs, torch.nn.Parameter)
    if theirs.is_quantized:
        return
    check_values(ours, theirs, checkpoint)


def check_values(ours: Tensor, theirs: torch.Tensor, checkpoint: Checkpoint) -> None:
    data = bits(theirs)
    assert crc_of(ours, checkpoint) == zlib.crc32(data)
    wide = theirs.detach().resolve_conj().resolve_neg()
    if not (theirs.is_floating_point() or theirs.is_complex()):
        assert scan_non_finite(checkpoint, {"a": ours}) == {}
        return
    wide = torch.view_as_real(wide.to(torch.complex128)) if theirs.is_complex() else wide.double()
    nan, inf = bool(wide.isnan().any()), bool(wide.isinf().any())
    found = scan_non_finite(checkpoint, {"a": ours}).get("a", NonFinite(nan=False, inf=False))
    assert (found.nan, found.inf) == (nan, inf)
    if theirs.numel() == 1 and theirs.dtype in PLAIN[:6]:
        item = read_item(checkpoint, ours)
        assert item == theirs.item() or item != item  # noqa: PLR0124 - NaN


def crc_of(tensor: Tensor, checkpoint: Checkpoint) -> int:
    """The CRC-32 that `weights_digest` takes of a tensor's values."""
    from conformance.evidence.checkpoint import tensors  # noqa: PLC0415 - looks inside

    known = tensors._known_crc(tensor)
    if known is not None:
        return known
    source = tensors._reopen(checkpoint)
    try:
        value = tensors._value_crc(source, tensor)
    finally:
        source.close()
    assert isinstance(value, int)
    return value


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=states(), legacy=st.booleans(), protocol=st.sampled_from((2, 2, 2, 3, 4, 5)))
def test_the_verdict_and_all_values_are_torchs(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], *, legacy: bool, protocol: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "state.pth"
    form = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
    if not save(state, path, **form):
        return
    loads, loaded = load(path)
    checkpoint = read_checkpoint(path, allowed=ALLOWED)
    assert checkpoint.torch_loads is loads, (loaded, checkpoint.faults)
    assert bool(checkpoint.faults) is not loads
    assert checkpoint.whole
    if loads:
        check_agreement(checkpoint.root, loaded, checkpoint)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=states(), epoch=st.integers(-70_000, 70_000), reward=st.floats(), name=st.text("ab/é"))
def test_a_reused_structure_gives_what_reading_in_full_gives(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, Any],
    epoch: int,
    reward: float,
    name: str,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    second = {**first, "epoch": epoch, "last_mean_rewards": reward, "frame": [epoch, (epoch,)]}
    first = {**first, "frame": [0, (epoch,)]}
    paths = [folder / f"one{len(name)}.pth", folder / f"two{len(name)}.pth"]
    if not all(save(state, path) for state, path in zip((first, second), paths, strict=True)):
        return
    reader_module._TEMPLATES = Templates()
    for _ in range(2):  # the second time it is learnt
        read_checkpoint(paths[0], allowed=ALLOWED)
    reused = read_checkpoint(paths[1], allowed=ALLOWED)
    reader_module._TEMPLATES = Templates()
    fresh = read_checkpoint(paths[1], allowed=ALLOWED)
    assert reused == fresh
    assert same_tree(reused.root, fresh.root)


def same_tree(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        fields = ("dtype", "shape", "stride", "storage_offset", "requires_grad", "flags")
        parts = ("key", "dtype", "numel", "crc32", "location", "offset", "stored")
        return all(getattr(one, name) == getattr(other, name) for name in fields) and all(
            getattr(one.storage, name) == getattr(other.storage, name) for name in parts
        )
    if isinstance(one, Opaque):
        return one.name == other.name and same_tree(one.args, other.args)
    if isinstance(one, dict):
        keys = list(one) == list(other)
        return keys and all(same_tree(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_tree, one, other))
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


def test_a_changed_weight_changes_the_digest_and_a_copy_does_not(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.pth", "another-name.pth", "c.pth")]
    weight = torch.arange(12.0).reshape(3, 4)
    changed = weight.clone()
    changed[2, 3] += 1
    torch.save({"model": {"w": weight}}, paths[0])
    torch.save({"pad": torch.ones(3), "model": {"w": weight.t().contiguous().t()}}, paths[1])
    torch.save({"model": {"w": changed}}, paths[2])
    digests = []
    for path in paths:
        checkpoint = read_checkpoint(path)
        assert isinstance(checkpoint.root, dict)
        digests.append(weights_digest(checkpoint.root["model"], checkpoint))
    assert digests[0] == digests[1] != digests[2]


# Corruptions ------------------------------------------------------------------------------------

OPCODES = (
    b"c\x81Rbaesu(t\x85\x86\x87N\x89\x88)]}\x8fJKMG\x8aXUQhjqr\x80.0124PVSdIFL\x82\x8c\x93\x94"
)


def trained_state() -> dict[str, Any]:
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.ELU(), torch.nn.Linear(8, 3), torch.nn.BatchNorm1d(3)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    network(torch.randn(4, 5)).sum().backward()
    optimizer.step()
    base = torch.randn(6, 4)
    extra = [
        *(True, (1, 2), {"b": b"xy"}, {1, 2}, base.t(), base[1:3], 10**12, "é", torch.zeros(0)),
        torch.tensor(3.0, dtype=torch.float64),
        torch.ones(2, dtype=torch.complex64),
        torch.nn.Parameter(torch.ones(2)),
    ]
    return {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 300,
        "last_mean_rewards": 485.3,
        "env_state": None,
        "extra": extra,
    }


def same(one: Any, other: Any) -> bool:
    """Whether two loaded trees are equal to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (one.dtype, one.shape, one.stride(), one.requires_grad, bits(one)) == (
            *(other.dtype, other.shape, other.stride(), other.requires_grad, bits(other)),
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


class Corruption:
    """Breaks the bytes of a checkpoint in one of many ways."""

    def __init__(self, data: bytes, seed: int) -> None:
        self.data = data
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.is_zip = data[:4] == b"PK\3\4"

    def kinds(self) -> tuple[str, ...]:
        """Returns the ways that this file can be broken in."""
        plain = ("bit", "byte", "cut", "zeros", "append", "insert", "delete", "copy")
        return (*plain, "field", "opcode", "opcodes") if self.is_zip else plain

    def apply(self, kind: str) -> bytes:
        """Returns the broken bytes."""
        data = bytearray(self.data)
        at = self.random.randrange(len(data))
        some = self.random.randbytes(self.random.choice((1, 4, 22, 64, 512)))
        if kind == "bit":
            data[at] ^= 1 << self.random.randrange(8)
        elif kind == "byte":
            data[at] = self.random.randrange(256)
        elif kind == "cut":
            del data[at:]
        elif kind == "zeros":
            data[at : at + len(some)] = bytes(len(data[at : at + len(some)]))
        elif kind == "append":
            data += some
        elif kind == "insert":
            data[at:at] = some
        elif kind == "delete":
            del data[at : at + len(some)]
        elif kind == "copy":
            source = self.random.randrange(len(data))
            data[at : at + len(some)] = data[source : source + len(some)]
        elif kind == "field":
            self._change_field(data)
        else:
            return self._change_pickle(1 if kind == "opcode" else 3)
        return bytes(data)

    def _change_field(self, data: bytearray) -> None:
        with zipfile.ZipFile(io.BytesIO(self.data)) as file:
            start = file.start_dir
        at = self.random.randrange(start, len(data))
        data[at] = self.random.choice((0, 1, 255, data[at] ^ 1, self.random.randrange(256)))

    def _change_pickle(self, times: int) -> bytes:
        with zipfile.ZipFile(io.BytesIO(self.data)) as file:
            records = {info.filename: file.read(info) for info in file.infolist()}
        name = next(name for name in records if name.endswith("/data.pkl"))
        data = bytearray(records[name])
        for _ in range(times):
            self._change_opcode(data)
        records[name] = bytes(data)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for record, content in records.items():
                file.writestr(record, content)
        return buffer.getvalue()

    def _change_opcode(self, data: bytearray) -> None:
        at = self.random.randrange(len(data))
        way = self.random.randrange(6)
        if way == 0:
            data[at] = self.random.choice(OPCODES)
        elif way == 1:
            data[at] ^= 1 << self.random.randrange(8)
        elif way == 2:
            data[at] = self.random.randrange(256)
        elif way == 3:
            data[at:at] = bytes([self.random.choice(OPCODES)])
        elif way == 4:
            del data[at : at + self.random.choice((1, 2, 5))]
        else:
            source = self.random.randrange(len(data))
            data[at:at] = data[source : source + self.random.randrange(1, 30)]


def by_chance(checkpoint: Checkpoint) -> bool:
    """Whether torch takes a record for a folder and uses what its memory happens to hold."""
    return any("said to be a folder" in fault.message for fault in checkpoint.faults)


@pytest.mark.as_locked
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("count", [350, pytest.param(5_000, marks=pytest.mark.slow)])
def test_what_torch_refuses_we_refuse_and_what_it_overlooks_we_report(
    tmp_path: Path, count: int, *, legacy: bool
) -> None:
    path = tmp_path / "broken.pth"
    torch.save(trained_state(), path, _use_new_zipfile_serialization=not legacy)
    _, original = load(path)
    for _ in range(2):  # so that reused structures are tried as well
        read_checkpoint(path, allowed=ALLOWED)
    corruption = Corruption(path.read_bytes(), seed=count)
    outcomes: collections.Counter[tuple[str, str, str]] = collections.Counter()
    wrong = []
    for number in range(count):
        kind = corruption.kinds()[number % len(corruption.kinds())]
        path.write_bytes(corruption.apply(kind))
        loads, loaded = load(path)
        checkpoint = read_checkpoint(path, allowed=ALLOWED)
        right = loads and same(loaded, original)
        theirs = "right" if right else "wrong" if loads else "refused"
        ours = "fault" if checkpoint.faults else "none"
        outcomes[kind, theirs, ours] += 1
        repacked = kind.startswith("opcode")  # a new file, whole in itself
        agreed = checkpoint.torch_loads is loads or by_chance(checkpoint)
        reported = right or legacy or repacked or not checkpoint.whole
        if not (agreed and reported and (loads or checkpoint.faults)):
            wrong.append((number, kind, theirs, checkpoint.faults, loaded))
    sys.stdout.write("".join(f"{key} {many}\n" for key, many in sorted(outcomes.items())))
    assert wrong == []


def test_every_flipped_bit_of_every_weight_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "flipped.pth"
    torch.save({"model": {"w": torch.arange(8.0), "b": torch.ones(3).bfloat16()}}, path)
    whole = read_checkpoint(path)
    assert isinstance(whole.root, dict)
    data = path.read_bytes()
    for tensor in whole.root["model"].values():
        for at in range(tensor.storage.offset, tensor.storage.offset + tensor.storage.nbytes):
            for bit in range(8):
                broken = bytearray(data)
                broken[at] ^= 1 << bit
                path.write_bytes(broken)
                checkpoint = read_checkpoint(path)
                assert [fault.kind for fault in checkpoint.faults] == [FaultKind.DAMAGED]
                assert checkpoint.torch_loads
                assert not checkpoint.whole
