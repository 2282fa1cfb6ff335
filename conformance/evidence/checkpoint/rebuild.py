"""What the allowed functions and classes would give, worked out from their arguments by parsing.

One function per global that `torch.load(weights_only=True)` lets a pickle call. Each accepts and
refuses what torch's own (2.13) does, as far as it bears on data; nothing of torch or NumPy runs.
Not modelled, and refused: calling the legacy tensor and storage classes themselves, BUILD on a
tensor or parameter, and a tensor taken for a sequence or number: `torch.save` writes none of it.
"""

from __future__ import annotations

import re
import struct
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from conformance.convention.safe_globals import ADDED_SINCE, TORCH_DEFAULT
from conformance.evidence.checkpoint.errors import RefusalError, refused, shown, too_large
from conformance.evidence.checkpoint.values import (
    ITEMSIZE,
    FaultKind,
    Opaque,
    Scalar,
    Storage,
    Tensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.evidence.checkpoint.walk import Walk

_KNOWN = TORCH_DEFAULT | ADDED_SINCE
"""What torch itself lets through, so that its effect is known; a profile may add others."""

_INT64_MAX = (1 << 63) - 1
_UINT64_MAX = (1 << 64) - 1
_BYTES_LIMIT = 64 << 20
_BYTES_PER_UNIT = 64

_DIFFERENTIABLE = frozenset(
    {
        *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "complex32"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
        *("float8_e8m0fnu", "float4_e2m1fn_x2"),
    }
)
_CONVERTIBLE = frozenset(
    {
        *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "complex32"),
        *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    }
)
_COMPLEX = frozenset({"complex128", "complex64", "complex32"})
_QUANTISED = frozenset({"qint8", "qint32", "quint8", "quint4x2", "quint2x4"})
_STORAGE_DTYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "BFloat16": "bfloat16",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QInt32": "qint32",
    "QUInt8": "quint8",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
STORAGE_TYPES: dict[str, str] = {
    "torch.storage.UntypedStorage": "uint8",
    **{f"torch.{name}Storage": dtype for name, dtype in _STORAGE_DTYPES.items()},
    **{f"torch.cuda.{name}Storage": dtype for name, dtype in _STORAGE_DTYPES.items()},
}
"""The storage classes that a persistent id may name, and the dtype of each."""

_OPAQUE_TENSORS = frozenset(
    {
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_sparse_tensor",
    }
)
"""Tensors whose elements are not looked into: calls of these stay as they are."""

_LAYOUTS = frozenset(
    f"torch.{name}"
    for name in (
        *("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"),
        *("_mkldnn", "jagged"),
    )
)
_DEVICE = re.compile(
    r"(?:cpu|cuda|ipu|xpu|mkldnn|opengl|opencl|ideep|hip|ve|fpga|maia|xla|lazy|vulkan|mps|meta|hpu"
    r"|mtia|privateuseone)(?P<index>:(?:0|[1-9][0-9]{0,8}))?"
)
# Setting one of these on a parameter would not merely add an attribute.
_TENSOR_FIELDS = frozenset(
    {
        *(
            "H",
            "T",
            "_backward_hooks",
            "_base",
            "_cdata",
            "_grad",
            "_grad_fn",
            "_has_symbolic_sizes",
        ),
        *("_post_accumulate_grad_hooks", "_python_dispatch", "_version", "data", "device", "dtype"),
        *("grad", "grad_dtype", "grad_fn", "imag", "is_cpu", "is_cuda", "is_ipu", "is_leaf"),
        *("is_maia", "is_meta", "is_mkldnn", "is_mps", "is_mtia", "is_nested", "is_quantized"),
        *(
            "is_sparse",
            "is_sparse_csr",
            "is_vulkan",
            "is_xla",
            "is_xpu",
            "itemsize",
            "layout",
            "mH",
        ),
        *("mT", "name", "names", "nbytes", "ndim", "output_nr", "real", "requires_grad"),
        *("retains_grad", "shape", "volatile", "__class__", "__dict__"),
    }
)

# NumPy's codes for plain data: Python's struct code, and the class that torch asks for.
_NUMPY = {
    "b1": ("bool", "?", "BoolDType"),
    "i1": ("int8", "b", "Int8DType"),
    "i2": ("int16", "h", "Int16DType"),
    "i4": ("int32", "i", "Int32DType"),
    "i8": ("int64", "q", "Int64DType"),
    "u1": ("uint8", "B", "UInt8DType"),
    "u2": ("uint16", "H", "UInt16DType"),
    "u4": ("uint32", "I", "UInt32DType"),
    "u8": ("uint64", "Q", "UInt64DType"),
    "f2": ("float16", "e", "Float16DType"),
    "f4": ("float32", "f", "Float32DType"),
    "f8": ("float64", "d", "Float64DType"),
    "c8": ("complex64", "2f", "Complex64DType"),
    "c16": ("complex128", "2d", "Complex128DType"),
}
_NUMPY_OTHER = (
    (re.compile(r"S[0-9]*"), "BytesDType"),
    (re.compile(r"U[0-9]*"), "StrDType"),
    (re.compile(r"M8(\[.*\])?"), "DateTime64DType"),
    (re.compile(r"m8(\[.*\])?"), "TimeDelta64DType"),
    (re.compile(r"f16"), "LongDoubleDType"),
    (re.compile(r"c32"), "CLongDoubleDType"),
    (re.compile(r"V[0-9]*"), "VoidDType"),
    (re.compile(r"O8?"), "ObjectDType"),
)
_NUMPY_ORDERS = {"<": "<", ">": ">", "=": "<", "|": "<"}


def call(machine: Walk, function: object, arguments: tuple[Any, ...]) -> object:
    """Returns what REDUCE leaves on the stack.

    Raises:
        RefusalError: torch refuses to call it, or the call would raise.
    """
    if not isinstance(function, Opaque) or function.args is not None:
        raise refused(f"something that is no function is called, a {type(function).__name__}")
    name = function.name
    handler = _CALLS.get(name)
    if handler is None:
        if name in machine.names and name not in _KNOWN:
            return Opaque(name, arguments)
        raise refused(f"{shown(name)} cannot be called")
    if machine.names[name]:
        return handler(machine, arguments)
    try:
        return handler(machine, arguments)
    except RefusalError as error:
        if error.fault.kind is FaultKind.TOO_LARGE:
            raise
        return Opaque(name, arguments)


def new_object(machine: Walk, kind: object, arguments: tuple[Any, ...]) -> object:
    """Returns what NEWOBJ leaves on the stack: an object that was made but not initialised.

    Raises:
        RefusalError: torch refuses to make it, or making it would raise.
    """
    if not isinstance(kind, Opaque) or kind.args is not None:
        raise refused(f"an object is made of something that is no class, a {type(kind).__name__}")
    maker = _MAKERS.get(kind.name)
    if maker is not None:
        return maker()
    if kind.name in _FUNCTIONS:
        raise refused(f"{shown(kind.name)} is no class")
    return call(machine, kind, arguments)


def build(machine: Walk, target: object, state: object) -> None:
    """Checks what BUILD would do to the object on the stack; its data never changes by it.

    Raises:
        RefusalError: torch refuses to, or the object would.
    """
    kind = type(target)
    if kind is OrderedDict:
        _check_update(machine, state)
    elif isinstance(target, Opaque) and target.args is not None:
        _build_opaque(machine, target, state)
    elif kind is Counter:
        _build_plain(machine, state, has_dict=True)
    elif kind in {set, bytearray, complex}:
        _build_plain(machine, state, has_dict=False)
    elif isinstance(target, (Tensor, Storage)):
        raise refused(f"the state of a {kind.__name__.lower()} is set, which is not modelled here")
    else:
        raise refused(f"the state of a {kind.__name__} is set")


def _build_opaque(machine: Walk, target: Opaque, state: object) -> None:
    if target.name == "numpy.dtype":
        _build_dtype(machine, target, state)
    elif target.name == "numpy.ndarray":
        _build_array(machine, target, state)
    elif target.name in {"torch.Size", "torch.device"}:
        _build_plain(machine, state, has_dict=False)
    elif target.name in _KNOWN:
        raise refused(f"the state of {shown(target.name)} is set")


def _build_plain(machine: Walk, state: object, *, has_dict: bool) -> None:
    slots: object = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if slots:
        raise refused("attributes are set on an object that has none")
    if state:
        if not has_dict:
            raise refused("attributes are set on an object that has none")
        _check_update(machine, state)


def _check_update(machine: Walk, state: object) -> None:
    """Lets through what `dict.update` takes."""
    if isinstance(state, dict):
        return
    _pairs(machine, state)


def _pairs(machine: Walk, source: object) -> list[tuple[Any, Any]]:
    items = _items(machine, source)
    pairs = []
    for item in items:
        pair = _items(machine, item)
        if len(pair) != 2:
            raise refused("a dict is made of something that is no pair")
        machine.check_key(pair[0])
        pairs.append((pair[0], pair[1]))
    return pairs


def _items(machine: Walk, source: object) -> list[Any]:
    """Returns what iterating gives, at a cost."""
    if isinstance(source, Opaque) and source.name == "torch.Size" and source.args is not None:
        source = source.args[0] if source.args else ()
    if isinstance(source, (tuple, list, dict, set, str, bytes, bytearray)):
        machine.spend(len(source))
        return list(source)
    raise refused(f"a {type(source).__name__} is used as a sequence")


def _arity(arguments: tuple[Any, ...], least: int, most: int) -> None:
    if not least <= len(arguments) <= most:
        raise refused(f"a function is called with {len(arguments)} arguments")


def _ordered_dict(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 1)
    if not arguments:
        return OrderedDict()
    source = arguments[0]
    if isinstance(source, dict):
        machine.spend(len(source))
        return OrderedDict(source)
    return OrderedDict(_pairs(machine, source))


def _counter(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 1)
    result: Counter[Any] = Counter()
    source = arguments[0] if arguments else None
    if source is None:
        return result
    if isinstance(source, dict):
        machine.spend(len(source))
        dict.update(result, source)
        return result
    items = _items(machine, source)
    for item in items:
        machine.check_key(item)
    result.update(items)
    return result


def _set(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 1)
    items = _items(machine, arguments[0]) if arguments else []
    for item in items:
        machine.check_key(item)
    return set(items)


def _spend_bytes(machine: Walk, count: int) -> None:
    machine.spend(count // _BYTES_PER_UNIT)


def _encode(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 1, 3)
    text = arguments[0]
    codec = arguments[1] if len(arguments) > 1 else "utf-8"
    errors = arguments[2] if len(arguments) > 2 else "strict"
    if not (type(text) is str and type(codec) is str and type(errors) is str):
        raise refused("_codecs.encode is called with something that is no text")
    if codec.lower().replace("_", "-") not in {"latin1", "latin-1", "utf-8", "utf8", "ascii"}:
        raise refused(f"_codecs.encode is called with the codec {shown(codec)}")
    if errors not in {"strict", "surrogatepass", "replace", "ignore"}:
        raise refused(f"_codecs.encode is called with the error handler {shown(errors)}")
    _spend_bytes(machine, len(text))
    try:
        return text.encode(codec, errors)
    except UnicodeError:
        raise refused("a text cannot be encoded") from None


def _bytearray(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 3)
    source = arguments[0] if arguments else b""
    if len(arguments) > 1:
        return bytearray(_as_bytes(_encode(machine, arguments)))
    if isinstance(source, int):
        if source > _BYTES_LIMIT:
            raise too_large(f"a bytearray of {source} bytes is asked for")
        if source < 0:
            raise refused("a bytearray of negative size is asked for")
        _spend_bytes(machine, source)
        return bytearray(source)
    if isinstance(source, (bytes, bytearray)):
        _spend_bytes(machine, len(source))
        return bytearray(source)
    items = _items(machine, source)
    if not all(isinstance(item, int) and 0 <= item < 256 for item in items):
        raise refused("a bytearray is made of something that is no byte")
    return bytearray(items)


def _as_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise refused("no bytes")
    return value


def _complex(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 2)
    if not all(type(part) in {int, float, bool, complex, str} for part in arguments):
        raise refused("a complex number is made of something that is no number")
    if any(type(part) is str and len(part) > 100 for part in arguments):
        raise refused("a complex number is made of a long text")
    try:
        return complex(*arguments)
    except (TypeError, ValueError, OverflowError):
        raise refused("a complex number is made of something that is no number") from None


def _size(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 1)
    items = _items(machine, arguments[0]) if arguments else []
    if not all(isinstance(item, int) for item in items):
        raise refused("torch.Size is made of something that is no integer")
    return Opaque("torch.Size", (tuple(items),))


def _device(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 1, 2)
    source = arguments[0]
    if isinstance(source, Opaque) and source.name == "torch.device" and len(arguments) == 1:
        return source
    match = _DEVICE.fullmatch(source) if type(source) is str else None
    if match is None:
        raise refused("torch.device is given an unknown device")
    if len(arguments) == 2:
        index = 0 if arguments[1] is None else arguments[1]
        if match["index"] or type(index) is not int or not 0 <= index <= _INT64_MAX:
            raise refused("torch.device is given an unknown index")
    return Opaque("torch.device", arguments)


def _layout(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 1, 1)
    if type(arguments[0]) is not str or arguments[0] not in _LAYOUTS:
        raise refused("an unknown layout is named")
    return Opaque("torch.layout", arguments)


def _dtype_of(value: object) -> str:
    if isinstance(value, Opaque) and value.args is None:
        dtype = value.name.removeprefix("torch.")
        if value.name.startswith("torch.") and dtype in ITEMSIZE:
            return dtype
    raise refused("something is used as a dtype that is none")


def _integers(machine: Walk, value: object) -> tuple[int, ...]:
    """Returns the numbers of a size or stride, as torch's argument parser takes them."""
    if isinstance(value, Opaque) and value.name == "torch.Size" and value.args is not None:
        value = value.args[0]
    if not isinstance(value, (tuple, list)):
        raise refused("a size or stride is no tuple")
    if len(value) > 8:
        machine.spend(len(value))
    for item in value:
        if type(item) is not int or not -_INT64_MAX - 1 <= item <= _INT64_MAX:
            raise refused("a size or stride is no integer")
    return tuple(value)


def count_elements(shape: Iterable[int]) -> int:
    """Returns the number of elements, computed as torch does, in wrapping-free 64 bits.

    Raises:
        RefusalError: torch says that the multiplication overflows.
    """
    count = 1
    for size in shape:
        count *= size & _UINT64_MAX
        if count > _UINT64_MAX:
            raise refused("a tensor's size overflows")
    if count > _INT64_MAX:
        raise refused("a tensor's size overflows")
    return count


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride = []
    step = 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return tuple(reversed(stride))


def _check_bounds(  # noqa: PLR0917 - the parts of a tensor, as in the pickle
    machine: Walk,
    storage: Storage,
    itemsize: int,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
) -> None:
    if offset < 0:
        raise refused("a tensor's storage offset is negative")
    if count_elements(shape) == 0:
        return
    need = 1
    for size, step in zip(shape, stride, strict=True):
        need += (size - 1) * step if size != 1 else 0
        if step < 0 and size != 1:
            raise refused("a tensor's stride is negative")
    need = (need + offset) * itemsize
    if need > storage.nbytes and not machine.outgrow(storage, need):
        raise refused(
            f"a tensor of shape {_short(shape)} needs {need} bytes of a storage of {storage.nbytes}"
        )


def _short(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) < 8 else f"of {len(shape)} dimensions"


def _view(  # noqa: PLR0917 - the parts of a tensor, as in the pickle
    machine: Walk, storage: object, dtype: str | None, offset: object, size: object, step: object
) -> Tensor:
    if not isinstance(storage, Storage):
        raise refused("a tensor is made of something that is no storage")
    dtype = dtype or storage.dtype
    if type(offset) is not int or offset > _INT64_MAX:
        raise refused("a tensor's storage offset is no integer")
    shape = _integers(machine, size)
    stride = () if step is None else _integers(machine, step)
    if shape and not stride and dtype not in _QUANTISED:
        stride = _contiguous(shape)
    if len(shape) != len(stride):
        raise refused("a tensor's size and stride are of different length")
    _check_bounds(machine, storage, ITEMSIZE[dtype], offset, shape, stride)
    return Tensor(dtype, shape, stride, offset, storage)


def _check_grad(dtype: str, requires_grad: object) -> bool:
    if type(requires_grad) is not bool:
        raise refused("requires_grad is no bool")
    if requires_grad and dtype not in _DIFFERENTIABLE:
        raise refused(f"requires_grad is set on a tensor of {dtype}")
    return requires_grad


def _flags(dtype: str, metadata: object) -> tuple[str, ...]:
    if not metadata:
        return ()
    if not isinstance(metadata, dict):
        raise refused("a tensor's metadata is no dict")
    flags = tuple(name for name in ("conj", "neg") if metadata.get(name))
    if "conj" in flags and dtype not in _COMPLEX:
        raise refused(f"a tensor of {dtype} is marked as conjugated")
    return flags


def _tensor_v1(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    return _view(machine, arguments[0], None, *arguments[1:])


def _tensor_v2(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 6, 7)
    tensor = _view(machine, arguments[0], None, *arguments[1:4])
    requires_grad = _check_grad(tensor.dtype, arguments[4])
    flags = _flags(tensor.dtype, arguments[6]) if len(arguments) == 7 else ()
    return _with(tensor, requires_grad=requires_grad, flags=flags)


def _tensor_v3(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 7, 8)
    # Unlike in version 2, dtype and flag go to `torch.empty`, for which None is the default, and
    # which makes a tensor that then cannot be given its storage if it requires a gradient.
    dtype = "float32" if arguments[6] is None else _dtype_of(arguments[6])
    if arguments[4] is not None and _check_grad(dtype, arguments[4]):
        raise refused("requires_grad is set where torch cannot set it")
    tensor = _view(machine, arguments[0], dtype, *arguments[1:4])
    flags = _flags(dtype, arguments[7]) if len(arguments) == 8 else ()
    return _with(tensor, requires_grad=False, flags=flags)


def _with(
    tensor: Tensor, *, requires_grad: bool, flags: tuple[str, ...] = (), parameter: bool = False
) -> Tensor:
    if not (requires_grad or flags or parameter):
        return tensor
    return Tensor(
        tensor.dtype,
        tensor.shape,
        tensor.stride,
        tensor.storage_offset,
        tensor.storage,
        requires_grad,
        parameter,
        flags or tensor.flags,
    )


def _qtensor(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 7, 7)
    scheme = arguments[4]
    if not (type(scheme) is tuple and scheme and isinstance(scheme[0], Opaque)):
        raise refused("a quantised tensor has no scheme")
    name = scheme[0].name
    if name == "torch.per_tensor_affine":
        if len(scheme) != 3 or not all(type(part) in {int, float} for part in scheme[1:]):
            raise refused("a quantised tensor's scheme is malformed")
    elif name in {"torch.per_channel_affine", "torch.per_channel_affine_float_qparams"}:
        if len(scheme) != 4 or type(scheme[3]) is not int:
            raise refused("a quantised tensor's scheme is malformed")
    else:
        raise refused(f"a quantised tensor has the scheme {shown(name)}")
    tensor = _view(machine, arguments[0], None, *arguments[1:4])
    if tensor.dtype not in _QUANTISED:
        raise refused(f"a quantised tensor is made of {tensor.dtype}")
    if _check_grad(tensor.dtype, arguments[5]):
        raise refused("requires_grad is set on a quantised tensor")
    return tensor


def _parameter(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 3, 3)
    return _as_parameter(arguments[0], arguments[1])


def _parameter_class(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 0, 2)
    data = arguments[0] if arguments else None
    return _as_parameter(data, arguments[1] if len(arguments) > 1 else True)


def _as_parameter(data: object, requires_grad: object) -> Tensor | Opaque:
    if isinstance(data, Opaque) and data.args is not None and data.name in _OPAQUE_TENSORS:
        _check_grad("float32", requires_grad)
        return data
    if data is None:
        data = Tensor("float32", (0,), (1,), 0, Storage("", "float32", 0, 0, 0, "cpu"))
    if not isinstance(data, Tensor):
        raise refused(f"a parameter is made of a {type(data).__name__}")
    grad = _check_grad(data.dtype, requires_grad)
    return Tensor(
        *(data.dtype, data.shape, data.stride, data.storage_offset, data.storage),
        requires_grad=grad,
        parameter=True,
        flags=data.flags,
    )


def _parameter_with_state(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    result = _as_parameter(arguments[0], arguments[1])
    _check_attributes(machine, arguments[3])
    return result


def _check_attributes(machine: Walk, state: object) -> None:
    parts: tuple[object, ...] = (state,)
    if type(state) is tuple:
        if len(state) != 2:
            raise refused("a tensor's state is malformed")
        parts = state
    for part in parts:
        if not part:
            continue
        if not isinstance(part, dict):
            raise refused("a tensor's state is no dict")
        machine.spend(len(part))
        for name in part:
            if type(name) is not str or name in _TENSOR_FIELDS:
                what = shown(name) if type(name) is str else f"a {type(name).__name__}"
                raise refused(f"a tensor's state sets {what}")


def _from_type(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    function, kind, inner, state = arguments
    if not isinstance(inner, (tuple, list)):
        raise refused("something is called with arguments that are no tuple")
    result = call(machine, function, tuple(inner))
    if not isinstance(kind, Opaque):
        raise refused("a tensor is given a type that is no class")
    if isinstance(result, Tensor):
        if kind.name == "torch.nn.parameter.Parameter":
            result = _with(result, requires_grad=result.requires_grad, parameter=True)
        elif kind.name != "torch.Tensor" and kind.name in _KNOWN:
            raise refused(f"a tensor is given the type {shown(kind.name)}")
    _check_attributes(machine, state)
    return result


def _sparse(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 2, 2)
    layout, data = arguments
    name = layout.args[0] if isinstance(layout, Opaque) and layout.args else ""
    if name == "torch.sparse_coo":
        counts, tensors = (3, 4), 2
    elif name in _LAYOUTS and str(name).startswith("torch.sparse_"):
        counts, tensors = (4, 4), 3
    else:
        raise refused("a sparse tensor has no sparse layout")
    if not isinstance(data, (tuple, list)) or len(data) not in counts:
        raise refused("a sparse tensor is made of the wrong number of parts")
    if not all(isinstance(part, Tensor) for part in data[:tensors]):
        raise refused("a sparse tensor is made of something that is no tensor")
    shape = _integers(machine, data[tensors])
    if name == "torch.sparse_coo":
        _check_coo(data[0], data[1], shape)
    return Opaque("torch._utils._rebuild_sparse_tensor", arguments)


def _check_coo(indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> None:
    if len(indices.shape) != 2 or indices.dtype not in {"int64", "int32"}:
        raise refused("a sparse tensor's indices are malformed")
    if not values.shape or indices.shape[1] != values.shape[0]:
        raise refused("a sparse tensor has other numbers of indices and values")
    if len(shape) != indices.shape[0] + len(values.shape) - 1:
        raise refused("a sparse tensor's size does not fit its parts")


def _meta(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    dtype = "float32" if arguments[0] is None else _dtype_of(arguments[0])
    shape = _integers(machine, arguments[1])
    stride = _integers(machine, arguments[2])
    if arguments[3] is not None:
        _check_grad(dtype, arguments[3])
    if len(shape) != len(stride) or min(shape, default=0) < 0:
        raise refused("a tensor's size or stride is malformed")
    return Opaque("torch._utils._rebuild_meta_tensor_no_storage", arguments)


def _device_tensor(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    data = arguments[0]
    if not isinstance(data, Tensor):
        raise refused("a device's tensor is made of something that is no tensor")
    dtype = data.dtype if arguments[1] is None else _dtype_of(arguments[1])
    grad = _check_grad(dtype, arguments[3])
    if dtype == data.dtype:
        return _with(data, requires_grad=grad)
    if dtype not in _CONVERTIBLE or data.dtype not in _CONVERTIBLE:
        raise refused(f"a tensor of {data.dtype} is converted to {dtype}")
    return Opaque("torch._utils._rebuild_device_tensor_from_cpu_tensor", arguments)


def _device_array(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    data = arguments[0]
    if not isinstance(data, Opaque) or data.name != "numpy.ndarray":
        raise refused("a device's tensor is made of something that is no array")
    _check_grad(_dtype_of(arguments[1]), arguments[3])
    return Opaque("torch._utils._rebuild_device_tensor_from_numpy", arguments)


def _nested(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 4, 4)
    if not all(isinstance(part, Tensor) for part in arguments):
        raise refused("a nested tensor is made of something that is no tensor")
    if any(part.dtype != "int64" for part in arguments[1:]):
        raise refused("a nested tensor's sizes are no integers")
    return Opaque("torch._utils._rebuild_nested_tensor", arguments)


def _numpy_dtype(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 1, 3)
    if type(arguments[0]) is not str or len(arguments[0]) > 100:
        raise refused("numpy.dtype is made of something that is no code")
    return Opaque("numpy.dtype", arguments)


def _build_dtype(machine: Walk, target: Opaque, state: object) -> None:
    code = str(target.args[0] if target.args else "")
    needed = f"numpy.dtypes.{_numpy_class(code)}"
    if not machine.lenient and needed not in machine.allowed:
        raise refused(f"restoring a NumPy dtype needs {needed}, which is not allowed")
    if type(state) is not tuple or len(state) < 2 or type(state[1]) is not str:
        raise refused("the state of a numpy.dtype is malformed")
    if state[1] not in _NUMPY_ORDERS:
        raise refused("the state of a numpy.dtype is malformed")
    machine.dtype_orders[target] = _NUMPY_ORDERS[state[1]]


def _numpy_class(code: str) -> str:
    if code in _NUMPY:
        return _NUMPY[code][2]
    found = next((name for pattern, name in _NUMPY_OTHER if pattern.fullmatch(code)), None)
    return found or "VoidDType"


def _numpy_scalar(machine: Walk, arguments: tuple[Any, ...]) -> object:
    _arity(arguments, 1, 2)
    dtype = arguments[0]
    if not isinstance(dtype, Opaque) or dtype.name != "numpy.dtype" or not dtype.args:
        raise refused("a NumPy scalar has no dtype")
    code = str(dtype.args[0])
    data = arguments[1] if len(arguments) == 2 else None
    if type(data) is str:
        _spend_bytes(machine, len(data))
        data = _as_bytes(_encode(machine, (data, "latin1")))
    if type(data) is not bytes:
        raise refused("a NumPy scalar is made of something that is no bytes")
    return _decode_scalar(code, machine.dtype_orders.get(dtype, "<"), data)


def _decode_scalar(code: str, order: str, data: bytes) -> object:
    known = _NUMPY.get(code.lstrip("<>|="))
    if known is None:
        return Opaque("numpy.scalar", (code, data))
    name, letter, _ = known
    try:
        values = struct.Struct(("<" if order == "<" else ">") + letter).unpack(data)
    except struct.error:
        raise refused("a NumPy scalar has the wrong number of bytes") from None
    return Scalar(name, values[0] if len(values) == 1 else complex(*values))


def _numpy_array(_machine: Walk, arguments: tuple[Any, ...]) -> object:
    """An array that is still empty; the last argument takes the element of one that has one."""
    _arity(arguments, 3, 3)
    return Opaque("numpy.ndarray", (*arguments, []))


def _build_array(machine: Walk, target: Opaque, state: object) -> None:
    """Keeps the element of an array that has just one, as the watermark of rl_games' SAC."""
    if type(state) is not tuple or len(state) != 5:
        return
    _, shape, dtype, _, data = state
    if type(shape) is not tuple or any(type(size) is not int or size != 1 for size in shape):
        return
    if not isinstance(dtype, Opaque) or dtype.name != "numpy.dtype" or not dtype.args:
        return
    element = target.args[-1] if target.args else None
    if type(data) is bytes and type(element) is list:
        order = machine.dtype_orders.get(dtype, "<")
        element[:] = [_decode_scalar(str(dtype.args[0]), order, data)]


_FUNCTIONS: dict[str, Callable[[Walk, tuple[Any, ...]], object]] = {
    "_codecs.encode": _encode,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _device_tensor,
    "torch._utils._rebuild_device_tensor_from_numpy": _device_array,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter_with_state,
    "torch._utils._rebuild_qtensor": _qtensor,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_tensor": _tensor_v1,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch.serialization._get_layout": _layout,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
}
_CALLS: dict[str, Callable[[Walk, tuple[Any, ...]], object]] = {
    **_FUNCTIONS,
    "builtins.bytearray": _bytearray,
    "builtins.complex": _complex,
    "builtins.set": _set,
    "collections.Counter": _counter,
    "collections.OrderedDict": _ordered_dict,
    "numpy.dtype": _numpy_dtype,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.nn.parameter.Parameter": _parameter_class,
}
# `cls.__new__` of these takes and ignores any arguments.
_MAKERS: dict[str, Callable[[], object]] = {
    "builtins.bytearray": bytearray,
    "builtins.set": set,
    "collections.Counter": Counter,
    "collections.OrderedDict": OrderedDict,
}
