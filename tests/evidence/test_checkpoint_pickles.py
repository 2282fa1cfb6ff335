"""Pickles made by hand: whatever torch's `weights_only` unpickler does with one, we foresee it."""

import io
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from conformance.convention.safe_globals import ADDED_SINCE, NUMPY_DATA, TORCH_DEFAULT
from conformance.evidence.checkpoint import (
    Opaque,
    Scalar,
    Storage,
    Tensor,
    read_checkpoint,
    template,
)

ALLOWED = TORCH_DEFAULT | ADDED_SINCE
TRUE, FALSE, NONE = b"\x88", b"\x89", b"N"


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


def row(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def numbers(*values: int) -> bytes:
    return row(*map(number, values))


def name(path: str) -> bytes:
    module, _, attribute = path.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(path: str, *arguments: bytes) -> bytes:
    return name(path) + row(*arguments) + b"R"


HOOKS = call("collections.OrderedDict")


def storage(
    kind: str = "torch.FloatStorage",
    key: bytes = text("0"),
    count: bytes = number(4),
    location: bytes = text("cpu"),
) -> bytes:
    return row(text("storage"), name(kind), key, location, count) + b"Q"


UNTYPED = storage("torch.storage.UntypedStorage", count=number(16))


def tensor(  # noqa: PLR0917 - the parts of a tensor, as in the pickle
    data: bytes = storage(),
    offset: bytes = number(0),
    size: bytes = numbers(4),
    stride: bytes = numbers(1),
    grad: bytes = FALSE,
    hooks: bytes = HOOKS,
    *more: bytes,
) -> bytes:
    return call("torch._utils._rebuild_tensor_v2", data, offset, size, stride, grad, hooks, *more)


def shaped(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    return tensor(offset=number(offset), size=numbers(*shape), stride=numbers(*stride))


def with_metadata(metadata: bytes) -> bytes:
    return tensor(storage(), number(0), numbers(4), numbers(1), FALSE, HOOKS, metadata)


def tensor3(dtype: str, size: int = 2, grad: bytes = FALSE, data: bytes = UNTYPED) -> bytes:
    parts = (data, number(0), numbers(size), numbers(1), grad, HOOKS, name(f"torch.{dtype}"))
    return call("torch._utils._rebuild_tensor_v3", *parts)


def parameter(data: bytes = tensor(), grad: bytes = TRUE, *state: bytes) -> bytes:
    suffix = "_with_state" if state else ""
    return call(f"torch._utils._rebuild_parameter{suffix}", data, grad, HOOKS, *state)


def layout(path: str) -> bytes:
    return call("torch.serialization._get_layout", text(path))


def one(key: bytes, value: bytes) -> bytes:
    return b"}" + key + value + b"s"


INDICES = tensor(
    storage("torch.LongStorage", text("1"), number(2)), size=numbers(1, 2), stride=numbers(2, 1)
)
VALUES = tensor(size=numbers(2))
QUANTISED = storage("torch.QInt8Storage", count=number(16))
AFFINE = row(name("torch.per_tensor_affine"), real(0.1), number(0))


def sparse(kind: str, *parts: bytes) -> bytes:
    return call("torch._utils._rebuild_sparse_tensor", layout(f"torch.{kind}"), row(*parts))


def quantised(data: bytes = QUANTISED, scheme: bytes = AFFINE, grad: bytes = FALSE) -> bytes:
    parts = (data, number(0), numbers(4), numbers(1), scheme, grad, HOOKS)
    return call("torch._utils._rebuild_qtensor", *parts)


def from_type(function: bytes, kind: str, arguments: bytes, state: bytes) -> bytes:
    return call("torch._tensor._rebuild_from_type_v2", function, name(kind), arguments, state)


TENSOR_PARTS = row(storage(), number(0), numbers(4), numbers(1), FALSE, HOOKS)
BIG = 1 << 62

CASES: dict[str, bytes] = {
    "none": NONE,
    "empty": b"",
    "only-stop": b".",
    "late-protocol": b"N\x80\x07",
    "trailing-bytes": b"N.garbage",
    "protocol-3-bytes": b"C\x02ab",
    "memoize": b"N\x94",
    "frame": b"\x95\0\0\0\0\0\0\0\0N",
    "pop": b"NN0",
    "memo-missing": b"h\5",
    "memo-huge": b"Nr\xff\xff\xff\xff",
    "stack-underflow": b"\x86",
    "mark-without": b"t",
    "mark-left": b"(N",
    "dict-odd": b"}(" + number(1) + b"u",
    "dict-of-list-key": b"}]Ns",
    "dict-of-tuple-key": b"})Ns",
    "dict-of-tensor-key": b"}" + tensor() + b"Ns",
    "dict-of-list-in-key": b"}" + row(b"]") + b"Ns",
    "item-in-list": b"]NNs",
    "append-to-tuple": b")Na",
    "append-to-set": b"\x8fNa",
    "counter-items": call("collections.Counter") + b"(" + text("a") + number(2) + b"u",
    "text-surrogate": b"X\3\0\0\0\xed\xa0\x80",
    "text-invalid": b"X\1\0\0\0\xff",
    "text-cut": b"X\xff\0\0\0a",
    "short-text": b"U\2ab",
    "short-text-invalid": b"U\1\xff",
    "long-empty": b"\x8a\0",
    "long-cut": b"\x8a\5a",
    "float-cut": b"G\0",
    "global-python-2": b"c__builtin__\nset\n)R",
    "global-python-2-long": b"c__builtin__\nlong\n)R",
    "global-invalid": b"c\xff\nset\n",
    "global-crlf": b"ccollections\r\nOrderedDict\r\n",
    "global-cut": b"ccollections\nOrderedDict",
    "global-unknown": name("collections.deque"),
    "global-blocked": name("os.system"),
    "persistent-id-int": number(5) + b"Q",
    "persistent-id-empty": b")Q",
    "persistent-id-other": row(text("module"), NONE, NONE, NONE, NONE) + b"Q",
    "persistent-id-short": row(text("storage"), name("torch.FloatStorage"), text("0")) + b"Q",
    "persistent-id-five": row(
        text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(4), NONE
    )
    + b"Q",
    "storage": storage(),
    "storage-type": name("torch.FloatStorage"),
    "storage-key-int": tensor(storage(key=number(0))),
    "storage-key-nul": tensor(storage(key=text("0\0x"))),
    "storage-key-list": tensor(storage(key=b"]")),
    "storage-missing": tensor(storage(key=text("7"))),
    "storage-missing-empty": tensor(storage(key=text("7"), count=number(0)), size=numbers(0)),
    "storage-of-tensor-type": row(tensor(), row(text("storage"), tensor(), text("0"), NONE, NONE))
    + b"Q",
    "storage-location-none": tensor(storage(location=NONE)),
    "storage-location-cuda": tensor(storage(location=text("cuda:7"))),
    "storage-location-unknown": tensor(storage(location=text("?"))),
    "storage-too-short": tensor(storage(count=number(5))),
    "storage-too-long": tensor(storage(count=number(3)), size=numbers(3)),
    "storage-count-negative": tensor(storage(count=number(-1))),
    "storage-count-huge": tensor(storage(count=number(1 << 63))),
    "storage-count-float": tensor(storage(count=real(4.0))),
    "storage-count-bool": tensor(storage(key=text("2"), count=TRUE), size=numbers(1)),
    "storage-twice": row(tensor(), tensor(storage("torch.IntStorage", count=number(99)))),
    "storage-other-type": tensor(storage("torch.float32")),
    "tensor": tensor(),
    "tensor-version-1": call(
        "torch._utils._rebuild_tensor", storage(), number(0), numbers(4), numbers(1)
    ),
    "tensor-of-nothing": tensor(NONE),
    "tensor-beyond": shaped((5,), (1,)),
    "tensor-offset-beyond": shaped((4,), (1,), 1),
    "tensor-offset-empty": shaped((0,), (1,), 100),
    "tensor-offset-negative": shaped((4,), (1,), -1),
    "tensor-offset-huge": shaped((0,), (1,), 1 << 63),
    "tensor-offset-bool": tensor(offset=TRUE, size=numbers(3)),
    "tensor-offset-float": tensor(offset=real(0.0)),
    "tensor-size-negative": shaped((-1,), (1,)),
    "tensor-size-negative-twice": shaped((-1, -1), (1, 1)),
    "tensor-size-negative-empty": shaped((-1, 0), (1, 1)),
    "tensor-size-overflow": shaped((BIG, 4, 0), (1, 1, 1)),
    "tensor-size-overflow-late": shaped((0, BIG, 4), (1, 1, 1)),
    "tensor-size-overflow-sign": shaped((1 << 32, 1 << 31), (0, 0)),
    "tensor-size-large": shaped((BIG,), (0,)),
    "tensor-size-too-large": shaped((1 << 63,), (1,)),
    "tensor-stride-negative": shaped((4,), (-1,)),
    "tensor-stride-negative-unused": shaped((4, 1), (1, -5)),
    "tensor-stride-zero": shaped((100,), (0,)),
    "tensor-stride-overflow": shaped((2,), (BIG,)),
    "tensor-stride-missing": shaped((2, 2), ()),
    "tensor-stride-none": tensor(stride=NONE),
    "tensor-stride-other-length": shaped((2, 2), (1,)),
    "tensor-scalar": shaped((), ()),
    "tensor-scalar-with-stride": shaped((), (1,)),
    "tensor-size-list": tensor(size=b"](" + number(4) + b"e"),
    "tensor-size-int": tensor(size=number(4)),
    "tensor-size-bool": tensor(size=row(TRUE)),
    "tensor-size-torch-size": tensor(size=call("torch.Size", numbers(4))),
    "tensor-grad": tensor(grad=TRUE),
    "tensor-grad-int": tensor(grad=number(0)),
    "tensor-grad-of-integers": tensor(storage("torch.IntStorage"), grad=TRUE),
    "tensor-hooks-int": tensor(hooks=number(5)),
    "tensor-metadata-empty": with_metadata(b"}"),
    "tensor-metadata-neg": with_metadata(one(text("neg"), TRUE)),
    "tensor-metadata-conj-real": with_metadata(one(text("conj"), TRUE)),
    "tensor-metadata-other": with_metadata(one(text("x"), TRUE)),
    "tensor-metadata-int": with_metadata(number(3)),
    "tensor-arguments-many": tensor(
        storage(), number(0), numbers(4), numbers(1), FALSE, HOOKS, NONE, NONE
    ),
    "tensor-arguments-few": call("torch._utils._rebuild_tensor_v2", storage()),
    "tensor3-beyond": tensor3("float64", 3),
    "tensor3-of-typed": tensor3("float64", 2, data=storage()),
    "tensor3-grad-none": tensor3("float32", grad=NONE),
    "tensor3-grad-of-integers": tensor3("int32", grad=TRUE),
    "tensor3-no-dtype": call(
        "torch._utils._rebuild_tensor_v3",
        *(UNTYPED, number(0), numbers(2), numbers(1), FALSE, HOOKS, text("float32")),
    ),
    **{
        f"tensor3-{dtype}": tensor3(dtype)
        for dtype in (
            *("float32", "uint16", "float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn_x2", "bits8"),
            *("complex32", "uint64", "uint4", "int1", "quint8", "quint4x2", "bool"),
        )
    },
    "parameter": parameter(),
    "parameter-of-none": parameter(NONE),
    "parameter-of-list": parameter(b"]"),
    "parameter-of-parameter": parameter(parameter()),
    "parameter-of-integers": parameter(tensor(storage("torch.IntStorage"))),
    "parameter-frozen-integers": parameter(tensor(storage("torch.IntStorage")), FALSE),
    "parameter-grad-int": parameter(tensor(), number(1)),
    "parameter-state-empty": parameter(tensor(), TRUE, b"}"),
    "parameter-state": parameter(tensor(), TRUE, one(text("tag"), number(3))),
    "parameter-state-pair": parameter(tensor(), TRUE, row(NONE, one(text("tag"), NONE))),
    "parameter-state-triple": parameter(tensor(), TRUE, row(NONE, NONE, NONE)),
    "parameter-state-shape": parameter(tensor(), TRUE, one(text("shape"), NONE)),
    "parameter-state-data": parameter(tensor(), TRUE, one(text("data"), number(3))),
    "parameter-state-int-key": parameter(tensor(), TRUE, one(number(1), NONE)),
    "parameter-state-int": parameter(tensor(), TRUE, number(5)),
    "parameter-class": name("torch.nn.parameter.Parameter") + row(tensor()) + b"R",
    "parameter-new": name("torch.nn.parameter.Parameter") + b")\x81",
    "subclass": from_type(
        name("torch._utils._rebuild_tensor_v2"), "torch.Tensor", TENSOR_PARTS, b"}"
    ),
    "subclass-parameter": from_type(
        name("torch._utils._rebuild_tensor_v2"),
        *("torch.nn.parameter.Parameter", TENSOR_PARTS, one(text("tag"), NONE)),
    ),
    "subclass-legacy": from_type(
        name("torch._utils._rebuild_tensor_v2"), "torch.FloatTensor", TENSOR_PARTS, b"}"
    ),
    "subclass-of-dtype": from_type(name("torch.float32"), "torch.Tensor", b")", b"}"),
    "sparse": sparse("sparse_coo", INDICES, VALUES, numbers(4), FALSE),
    "sparse-without-coalesced": sparse("sparse_coo", INDICES, VALUES, numbers(4)),
    "sparse-out-of-bounds": sparse("sparse_coo", INDICES, VALUES, numbers(1), FALSE),
    "sparse-other-dimensions": sparse("sparse_coo", INDICES, VALUES, numbers(1, 1), FALSE),
    "sparse-float-indices": sparse("sparse_coo", VALUES, VALUES, numbers(1, 1), FALSE),
    "sparse-of-nothing": sparse("sparse_coo", NONE, NONE, numbers(1), FALSE),
    "sparse-strided": sparse("strided", INDICES, VALUES, numbers(4), FALSE),
    "quantised": quantised(),
    "quantised-of-floats": quantised(storage()),
    "quantised-grad": quantised(grad=TRUE),
    "quantised-symmetric": quantised(
        scheme=row(name("torch.per_tensor_symmetric"), real(0.1), number(0))
    ),
    "meta": call(
        "torch._utils._rebuild_meta_tensor_no_storage",
        *(name("torch.float32"), numbers(4), numbers(1), FALSE),
    ),
    "meta-negative": call(
        "torch._utils._rebuild_meta_tensor_no_storage",
        *(name("torch.float32"), numbers(-4), numbers(1), FALSE),
    ),
    "device-tensor": call(
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        *(tensor(), name("torch.float64"), text("cuda:0"), FALSE),
    ),
    "device-array-of-tensor": call(
        "torch._utils._rebuild_device_tensor_from_numpy",
        *(tensor(), name("torch.float64"), text("cpu"), FALSE),
    ),
    "ordered-dict-of-pairs": call("collections.OrderedDict", row(row(text("a"), NONE))),
    "ordered-dict-of-texts": call("collections.OrderedDict", row(text("ab"))),
    "ordered-dict-of-int": call("collections.OrderedDict", number(1)),
    "ordered-dict-state": HOOKS + one(text("_metadata"), HOOKS) + b"b",
    "ordered-dict-state-pairs": HOOKS + row(row(number(1), number(2))) + b"b",
    "ordered-dict-state-none": HOOKS + NONE + b"b",
    "ordered-dict-state-int": HOOKS + number(1) + b"b",
    "ordered-dict-new": name("collections.OrderedDict") + numbers(1, 2) + b"\x81",
    "dict-state": b"}}b",
    "list-state": b"]}b",
    "set-of-list": call("builtins.set", b"](NNe"),
    "set-of-lists": call("builtins.set", row(b"]")),
    "set-of-int": call("builtins.set", number(3)),
    "set-opcode": b"\x8f",
    "set-state-empty": call("builtins.set") + b"}b",
    "set-state": call("builtins.set") + one(text("a"), NONE) + b"b",
    "counter": call("collections.Counter", text("aab")),
    "bytes": call("_codecs.encode", text("\xff\x00"), text("latin1")),
    "bytes-impossible": call("_codecs.encode", text("\u20ac"), text("latin1")),
    "bytes-unknown-codec": call("_codecs.encode", text("a"), text("nothing")),
    "bytearray": call("builtins.bytearray", call("_codecs.encode", text("a"), text("latin1"))),
    "bytearray-of-text": call("builtins.bytearray", text("a"), text("latin-1")),
    "bytearray-of-int": call("builtins.bytearray", number(5)),
    "bytearray-negative": call("builtins.bytearray", number(-5)),
    "bytearray-of-large": call("builtins.bytearray", numbers(256)),
    "complex": call("builtins.complex", real(1.0), real(2.0)),
    "complex-of-text": call("builtins.complex", text("1+2j")),
    "complex-of-nonsense": call("builtins.complex", text("one")),
    "size": call("torch.Size", numbers(2, 3)),
    "size-of-floats": call("torch.Size", row(real(1.0))),
    "size-of-bools": call("torch.Size", row(TRUE)),
    "size-of-two": call("torch.Size", numbers(1), numbers(1)),
    **{
        f"device-{device}": call("torch.device", text(device))
        for device in ("cpu", "cuda:0", "cuda:00", "cuda:-1", "CPU", "meta", "npu", "xla:1", "")
    },
    "device-with-index": call("torch.device", text("cuda"), number(1)),
    "device-with-two-indices": call("torch.device", text("cuda:0"), number(0)),
    "layout": layout("torch.strided"),
    "layout-unknown": layout("torch.round"),
    "call-arguments-list": name("builtins.set") + b"]R",
    "call-arguments-none": name("builtins.set") + b"NR",
    "call-dtype": call("torch.float32"),
    "call-storage-type": call("torch.FloatStorage"),
    "call-none": NONE + b")R",
    "call-result": HOOKS + b")R",
    "new-function": name("_codecs.encode") + b")\x81",
    "new-none": NONE + b")\x81",
    "dtype": name("torch.bfloat16"),
    "cuda-tensor-class": name("torch.cuda.FloatTensor") + b")R",
}


def make_archive(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", data)
        file.writestr("a/data/0", bytes(16))
        file.writestr("a/data/1", struct.pack("<2q", 0, 1))
        file.writestr("a/data/2", bytes(4))
        file.writestr("a/version", b"3\n")
    return buffer.getvalue()


def torch_loads(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - whatever torch raises is a refusal
            return False
        return True


@pytest.mark.as_locked
@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_torchs(case: str, tmp_path: Path) -> None:
    path = tmp_path / "case.pth"
    path.write_bytes(make_archive(b"\x80\x02" + CASES[case] + b"."))
    checkpoint = read_checkpoint(path, allowed=ALLOWED)
    assert checkpoint.torch_loads is torch_loads(path)
    assert bool(checkpoint.faults) is not checkpoint.torch_loads


class Grammar:
    """Writes calls of the allowed functions with arguments that are mostly nearly right."""

    USUAL: ClassVar[dict[str, tuple[bytes, ...]]] = {
        "torch._utils._rebuild_tensor": (storage(), number(0), numbers(4), numbers(1)),
        "torch._utils._rebuild_tensor_v2": (
            *(storage(), number(0), numbers(4), numbers(1), FALSE, HOOKS),
        ),
        "torch._utils._rebuild_tensor_v3": (
            *(UNTYPED, number(0), numbers(4), numbers(1), FALSE, HOOKS, name("torch.float32")),
        ),
        "torch._utils._rebuild_parameter": (tensor(), TRUE, HOOKS),
        "torch._utils._rebuild_parameter_with_state": (tensor(), TRUE, HOOKS, b"}"),
        "torch._utils._rebuild_qtensor": (
            *(QUANTISED, number(0), numbers(4), numbers(1), AFFINE, FALSE, HOOKS),
        ),
        "torch._utils._rebuild_sparse_tensor": (
            layout("torch.sparse_coo"),
            row(INDICES, VALUES, numbers(4), FALSE),
        ),
        "torch._utils._rebuild_meta_tensor_no_storage": (
            *(name("torch.float32"), numbers(4), numbers(1), FALSE),
        ),
        "collections.OrderedDict": (row(row(text("a"), NONE)),),
        "collections.Counter": (text("ab"),),
        "builtins.set": (b"]",),
        "builtins.bytearray": (text("a"), text("latin1")),
        "builtins.complex": (real(1.0), real(2.0)),
        "torch.Size": (numbers(2, 3),),
        "torch.device": (text("cuda"), number(0)),
        "_codecs.encode": (text("a"), text("latin1")),
        "torch.nn.parameter.Parameter": (tensor(), TRUE),
    }

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret

    def value(self, depth: int = 0) -> bytes:
        """Returns opcodes that push one value."""
        pick = self.random.choice
        simple = (
            *(TRUE, FALSE, NONE, b")", b"}", b"]", b"\x8f", HOOKS),
            number(pick((0, 1, 2, 4, -1, 5, 16, 1 << 31, BIG, 1 << 63, -1 << 63, 1 << 64))),
            real(pick((0.0, 1.0, 0.5, float("nan")))),
            text(pick(("", "a", "cpu", "latin1", "torch.sparse_coo", "ab", "neg", "1"))),
            name(pick(("torch.float32", "torch.int64", "torch.qint8", "torch.Size"))),
            numbers(*(pick((0, 1, 2, 4)) for _ in range(pick((1, 2, 3))))),
            storage(pick(("torch.FloatStorage", "torch.IntStorage"))),
        )
        if depth > 2 or self.random.random() < 0.7:
            return pick(simple)
        inner = [self.value(depth + 1) for _ in range(pick((0, 1, 2, 3)))]
        lists = (row(*inner), b"](" + b"".join(inner) + b"e")
        return pick((*lists, self.call(depth + 1)))

    def call(self, depth: int = 0) -> bytes:
        """Returns opcodes that push what one call gives."""
        function = self.random.choice(tuple(self.USUAL))
        arguments = [
            self.value(depth) if self.random.random() < 0.25 else usual
            for usual in self.USUAL[function]
        ]
        if self.random.random() < 0.1:
            arguments = arguments[:-1]
        ending = b"R" if self.random.random() < 0.95 else b"\x81"
        return name(function) + row(*arguments) + ending


def grammar_disagreements(seed: int, count: int, path: Path) -> Iterator[bytes]:
    grammar = Grammar(seed)
    for _ in range(count):
        data = b"\x80\x02" + grammar.call() + b"."
        path.write_bytes(make_archive(data))
        if read_checkpoint(path, allowed=ALLOWED).torch_loads is not torch_loads(path):
            yield data


def is_beyond_the_model(path: Path) -> bool:
    """Whether we refused for what `rebuild` says it does not model."""
    messages = " ".join(fault.message for fault in read_checkpoint(path, allowed=ALLOWED).faults)
    return any(
        text in messages
        for text in ("Tensor is used as a sequence", "Storage is used as a sequence", "no number")
    )


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_generated_calls_have_torchs_verdict(count: int, tmp_path: Path) -> None:
    path = tmp_path / "case.pth"
    disagreements = grammar_disagreements(count, count, path)
    assert [data for data in disagreements if not is_beyond_the_model(path)] == []


def test_values_keep_their_place_in_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "case.pth"
    tree = b"}(" + b"".join(
        (
            *(text("model"), HOOKS + b"(" + text("w") + parameter() + b"u"),
            *(text("size"), call("torch.Size", numbers(2, 3))),
            *(text("dtype"), name("torch.float16")),
            *(text("z"), call("builtins.complex", real(1.0), real(-2.0))),
            *(text("bytes"), call("_codecs.encode", text("\xff"), text("latin1"))),
        )
    )
    path.write_bytes(make_archive(b"\x80\x02" + tree + b"u."))
    root = read_checkpoint(path).root
    assert isinstance(root, dict)
    weight = root["model"]["w"]
    assert isinstance(weight, Tensor)
    assert (weight.dtype, weight.shape, weight.stride) == ("float32", (4,), (1,))
    assert weight.parameter
    assert weight.requires_grad
    assert (root["size"].name, root["size"].args) == ("torch.Size", ((2, 3),))
    assert isinstance(root["dtype"], Opaque)
    assert (root["dtype"].name, root["dtype"].args) == ("torch.float16", None)
    assert root["z"] == 1 - 2j
    assert root["bytes"] == b"\xff"


def trace(data: bytes) -> list[int] | None:
    """Returns the places of the numbers that may differ in a reused structure; None: not reused."""

    def load(_identifier: tuple[object, ...]) -> Storage:
        return Storage("0", "float32", 4, 16, 0, "cpu", offset=0, stored=16)

    tracer = template.Tracer(data, ALLOWED, load, {})
    try:
        root, _ = tracer.run()
        plan = template._Plan()
        plan.finish(root)
    except template._NotReusableError:
        return None
    free = [number.at for number in plan.numbers]
    return None if tracer.pinned & set(free) else free


SIZE_OF_MEMO = tensor(size=b"h\0", stride=numbers(1))
FREE: dict[str, tuple[bytes, list[int] | None]] = {
    "value": (one(text("a"), b"K\4"), [7]),
    "value-in-list": (b"]K\4a", [1]),
    "root": (b"K\4", [0]),
    "key": (b"}K\4Ns", []),
    "in-tuple": (b"K\4\x85", []),
    "in-counter": (call("collections.Counter") + text("a") + b"K\4s", None),
    "list-as-size": (b"]q\0K\4a" + SIZE_OF_MEMO + b"\x86", None),
    "list-as-size-filled-before": (row(b"](K\4e" + b"q\0", SIZE_OF_MEMO), None),
    "number-as-value-and-size": (
        b"}" + text("a") + b"K\4q\0s" + text("t") + tensor(size=b"h\0\x85") + b"s",
        None,
    ),
    "number-as-value-and-key": (b"}" + text("a") + b"K\4q\0sh\0Ns", None),
    "filled-after-it-was-an-argument": (
        HOOKS + b"q\0" + tensor(hooks=b"h\0") + b"\x86" + b"h\0" + text("a") + b"K\4s",
        None,
    ),
    "state-of-ordered-dict": (HOOKS + one(text("version"), b"K\4") + b"b", []),
    "arguments-in-list": (name("torch.Size") + b"]](K\4eaR", None),
}


@pytest.mark.parametrize("case", FREE)
def test_only_numbers_that_are_nothing_but_values_are_free_in_a_reused_structure(
    case: str,
) -> None:
    data, expected = FREE[case]
    assert trace(data + b".") == expected


def numpy_scalar(code: str, data: bytes, order: str = "<", core: str = "_core") -> bytes:
    dtype = name("numpy.dtype") + row(text(code), FALSE, TRUE) + b"R"
    state = row(number(3), text(order), NONE, NONE, NONE, number(-1), number(-1), number(0))
    encoded = call("_codecs.encode", text(data.decode("latin1")), text("latin1"))
    return call(f"numpy.{core}.multiarray.scalar", dtype + state + b"b", encoded)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numpy_scalars_are_parsed_also_where_they_are_not_allowed(
    core: str, tmp_path: Path
) -> None:
    path = tmp_path / "case.pth"
    scalars = row(
        numpy_scalar("f4", struct.pack("<f", 3.5), core=core),
        numpy_scalar("f8", struct.pack(">d", -0.25), ">", core=core),
        numpy_scalar("i8", struct.pack("<q", -7), core=core),
        numpy_scalar("b1", b"\1", "|", core=core),
        numpy_scalar("c8", struct.pack("<2f", 1, 2), core=core),
    )
    path.write_bytes(make_archive(b"\x80\x02" + scalars + b"."))
    expected = (
        Scalar("float32", 3.5),
        Scalar("float64", -0.25),
        Scalar("int64", -7),
        Scalar("bool", value=True),
        Scalar("complex64", 1 + 2j),
    )
    plain = read_checkpoint(path)
    assert plain.disallowed == (f"numpy.{core}.multiarray.scalar", "numpy.dtype")
    assert plain.root == expected
    allowing = read_checkpoint(path, allowed=TORCH_DEFAULT | NUMPY_DATA)
    assert allowing.faults == ()
    assert allowing.root == expected


def test_a_numpy_dtypes_class_must_be_allowed_though_no_pickle_names_it(tmp_path: Path) -> None:
    path = tmp_path / "case.pth"
    path.write_bytes(make_archive(b"\x80\x02" + numpy_scalar("f4", bytes(4)) + b"."))
    named = {"numpy._core.multiarray.scalar", "numpy.dtype"}
    checkpoint = read_checkpoint(path, allowed=TORCH_DEFAULT | named)
    assert checkpoint.disallowed == ()
    assert not checkpoint.torch_loads
    assert "numpy.dtypes.Float32DType" in checkpoint.faults[0].message


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_scalars_load_exactly_if_torch_is_told_to_allow_them(
    protocol: int, tmp_path: Path
) -> None:
    numpy = pytest.importorskip("numpy")
    multiarray = pytest.importorskip("numpy._core.multiarray")
    path = tmp_path / "scalar.pth"
    value = {"last_mean_rewards": numpy.float32(3.5), "b": numpy.bool_(1), "n": numpy.int64(3)}
    torch.save(value, path, pickle_protocol=protocol)
    kinds = (numpy.dtypes.Float32DType, numpy.dtypes.BoolDType, numpy.dtypes.Int64DType)
    with torch.serialization.safe_globals([multiarray.scalar, numpy.dtype, *kinds]):
        loads = torch_loads(path)
    checkpoint = read_checkpoint(path, allowed=TORCH_DEFAULT | NUMPY_DATA)
    assert checkpoint.torch_loads is loads
    assert loads is (protocol == 2)
    if loads:
        assert checkpoint.root == {
            "last_mean_rewards": Scalar("float32", 3.5),
            "b": Scalar("bool", value=True),
            "n": Scalar("int64", 3),
        }


@pytest.mark.parametrize(
    ("dtype", "shape", "element"),
    [
        ("<f4", (), [Scalar("float32", 3.5)]),
        (">f4", (1,), [Scalar("float32", 3.5)]),
        ("<f8", (1, 1), [Scalar("float64", 3.5)]),
        ("<i8", (), [Scalar("int64", 3)]),
        ("<f4", (2,), []),
    ],
)
def test_the_element_of_a_numpy_array_that_has_one_is_kept(
    dtype: str, shape: tuple[int, ...], element: list[Scalar], tmp_path: Path
) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "array.pth"
    torch.save({"w": numpy.full(shape, 3.5).astype(dtype)}, path)
    checkpoint = read_checkpoint(path, allowed=TORCH_DEFAULT | NUMPY_DATA)
    assert checkpoint.faults == ()
    array = checkpoint.root["w"]
    assert array.name == "numpy.ndarray"
    assert array.args[-1] == element


@pytest.mark.parametrize(
    "state",
    [
        row(number(1), row(), NONE, FALSE, text("x")),
        row(number(1), row(number(1)), text("f4"), FALSE, text("x")),
        row(number(1), text("x"), NONE, FALSE, text("x")),
        row(number(1)),
        NONE,
    ],
)
def test_the_state_of_a_numpy_array_may_be_anything(state: bytes, tmp_path: Path) -> None:
    path = tmp_path / "array.pth"
    empty = call(
        "numpy._core.multiarray._reconstruct", name("numpy.ndarray") + row(number(0)) + text("b")
    )
    path.write_bytes(make_archive(b"\x80\x02" + empty + state + b"b."))
    root = read_checkpoint(path, allowed=TORCH_DEFAULT | NUMPY_DATA).root
    assert root.args[-1] == []


def test_the_list_of_allowed_globals_is_torchs() -> None:
    unpickler = pytest.importorskip("torch._weights_only_unpickler")
    installed = set(unpickler._get_allowed_globals())
    assert installed - TORCH_DEFAULT <= ADDED_SINCE
    assert not TORCH_DEFAULT - installed
