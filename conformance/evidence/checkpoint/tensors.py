"""Looks into tensors' bytes: which they address, whether all are finite, and a digest of them."""

from __future__ import annotations

import struct
import zlib
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal, TypeVar

from conformance.evidence.checkpoint.errors import RefusalError
from conformance.evidence.checkpoint.source import CHUNK, Source
from conformance.evidence.checkpoint.values import ITEMSIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conformance.evidence.checkpoint.values import Checkpoint, Storage, Tensor

    Dims = list[tuple[int, int]]

_Name = TypeVar("_Name")  # by which tensors are told apart

VIEW_LIMIT = 32 << 20
"""Views with gaps are looked at element by element where they span no more bytes than this."""
_RUN_LIMIT = 1_000_000
_UNITS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ITEMS = {
    "float64": "<d",
    "float32": "<f",
    "float16": "<e",
    "complex128": "<2d",
    "complex64": "<2f",
    "complex32": "<2e",
    "int64": "<q",
    "int32": "<i",
    "int16": "<h",
    "int8": "<b",
    "uint64": "<Q",
    "uint32": "<I",
    "uint16": "<H",
    "uint8": "<B",
    "bool": "<?",
}


@dataclass(frozen=True, slots=True)
class NonFinite:
    """What a tensor holds that is not finite."""

    nan: bool
    inf: bool


def _bits(test: Callable[[int], bool]) -> bytes:
    return bytes(test(value) for value in range(256))


def _all_of(mask: int) -> bytes:
    return _bits(lambda value: value & mask == mask)


def _any_of(mask: int) -> bytes:
    return _bits(lambda value: value & mask != 0)


@dataclass(frozen=True, slots=True)
class _Float:
    """How to tell NaN and infinity in a little-endian format of `width` bytes.

    `hints` are the values of the top byte without which there is none; `exponent` and `mantissa`
    map, by byte, to 1 what has all bits of the one, or any bit of the other.
    """

    width: int
    hints: bytes
    exponent: tuple[tuple[int, bytes], ...]
    mantissa: tuple[tuple[int, bytes], ...]


def _ieee(width: int, exponent: int, mantissa: int) -> _Float:
    exponents = exponent.to_bytes(width, "little")
    mantissas = mantissa.to_bytes(width, "little")
    top = _all_of(exponents[-1])
    return _Float(
        width,
        bytes(value for value in range(256) if top[value]),
        tuple((at, _all_of(mask)) for at, mask in enumerate(exponents) if mask),
        tuple((at, _any_of(mask)) for at, mask in enumerate(mantissas) if mask),
    )


def _nan_only(*codes: int) -> _Float:
    table = _bits(lambda value: value in codes)
    return _Float(1, bytes(codes), ((0, table),), ((0, b"\1" * 256),))


_SINGLE = _ieee(4, 0x7F800000, 0x007FFFFF)
_DOUBLE = _ieee(8, 0x7FF0000000000000, 0x000FFFFFFFFFFFFF)
_HALF = _ieee(2, 0x7C00, 0x03FF)
_FLOATS: dict[str, _Float] = {
    "float32": _SINGLE,
    "float64": _DOUBLE,
    "float16": _HALF,
    "bfloat16": _ieee(2, 0x7F80, 0x007F),
    "complex32": _HALF,
    "complex64": _SINGLE,
    "complex128": _DOUBLE,
    "float8_e5m2": _ieee(1, 0x7C, 0x03),
    "float8_e4m3fn": _nan_only(0x7F, 0xFF),
    "float8_e4m3fnuz": _nan_only(0x80),
    "float8_e5m2fnuz": _nan_only(0x80),
    "float8_e8m0fnu": _nan_only(0xFF),
}


def addressed_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes that the tensors address in total; shared ones count once.

    Where several views with gaps share a storage, bytes in a gap may be counted too.
    """
    by_storage: dict[Storage, list[Tensor]] = {}
    for tensor in tensors:
        by_storage.setdefault(tensor.storage, []).append(tensor)
    return sum(_addressed(group) for group in by_storage.values())


def _addressed(tensors: list[Tensor]) -> int:
    if len(tensors) == 1:
        tensor = tensors[0]
        width = ITEMSIZE[tensor.dtype]
        if prod(tensor.shape) * width == tensor.storage.nbytes:
            return tensor.storage.nbytes
    each = 0
    ranges = []
    for tensor in tensors:
        dims = _merged(_used_dims(tensor))
        if dims is None:
            continue
        width = ITEMSIZE[tensor.dtype]
        each += prod(count for count, _ in dims) * width
        start = tensor.storage_offset * width
        ranges.append((start, start + _span(dims) * width))
    union = end = 0
    for start, stop in sorted(ranges):
        union += max(stop - max(start, end), 0)
        end = max(end, stop)
    return min(each, union)


def _used_dims(tensor: Tensor) -> Dims | None:
    """Returns (count, stride) of the dimensions that lead to different elements; None if empty."""
    if 0 in tensor.shape:
        return None
    pairs = zip(tensor.shape, tensor.stride, strict=True)
    return [(count, stride) for count, stride in pairs if count != 1 and stride != 0]


def _merged(dims: Dims | None) -> Dims | None:
    """Returns dimensions that lead to the same elements, fewest and by rising stride."""
    if dims is None:
        return None
    merged: Dims = []
    for count, stride in sorted(dims, key=lambda dim: dim[1]):
        if merged:
            run, step = merged[-1]
            if stride % step == 0 and stride // step <= run:
                merged[-1] = (run + stride // step * (count - 1), step)
                continue
        merged.append((count, stride))
    return merged


def _span(dims: Dims) -> int:
    return sum((count - 1) * stride for count, stride in dims) + 1


def scan_non_finite(
    checkpoint: Checkpoint, tensors: Mapping[_Name, Tensor], source: Source | None = None
) -> dict[_Name, NonFinite]:
    """Returns, by key, the floating-point and complex tensors that hold a NaN or an infinity.

    Only the elements that a tensor addresses count. The bytes are read again, in chunks. A view
    with gaps that spans more than `VIEW_LIMIT` bytes is taken with what lies in its gaps.

    Args:
        checkpoint: the file.
        tensors: what to look into.
        source: the file where it is still open from its reading; None: it is opened again.

    Raises:
        OSError: the file cannot be read any more, or is not the one that was read.
    """
    found: dict[_Name, NonFinite] = {}
    chosen = {key: tensor for key, tensor in tensors.items() if tensor.dtype in _FLOATS}
    if not chosen:
        return found
    with _refusing(), nullcontext(source) if source else closing(_reopen(checkpoint)) as read:
        for key, tensor in chosen.items():
            nan, inf = _scan(read, tensor)
            if nan or inf:
                found[key] = NonFinite(nan, inf)
    return found


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what a second reading is refused into an OSError: the first one has judged the file."""
    try:
        yield
    except RefusalError as error:
        raise OSError(error.fault.message) from None


def _reopen(checkpoint: Checkpoint) -> Source:
    source = Source(checkpoint.path)
    if source.identity != checkpoint.identity:
        source.close()
        raise OSError("the file has changed since it was read")
    return source


def _components(tensor: Tensor) -> tuple[int, Dims | None]:
    """Returns offset and dimensions in units of real numbers: complex ones are pairs."""
    dims = _used_dims(tensor)
    if not tensor.dtype.startswith("complex"):
        return tensor.storage_offset, dims
    pairs = None if dims is None else [*((count, 2 * stride) for count, stride in dims), (2, 1)]
    return 2 * tensor.storage_offset, pairs


def _scan(source: Source, tensor: Tensor) -> tuple[bool, bool]:
    form = _FLOATS[tensor.dtype]
    if _row_major(tensor):
        start = tensor.storage_offset * ITEMSIZE[tensor.dtype]
        return _scan_range(source, tensor.storage, form, (start, tensor.nbytes))
    offset, dims = _components(tensor)
    dims = _merged(dims)
    if dims is None:
        return False, False
    window = offset * form.width, _span(dims) * form.width
    nan, inf = _scan_range(source, tensor.storage, form, window)
    dense = not dims or (len(dims) == 1 and dims[0][1] == 1)
    if dense or not (nan or inf) or window[1] > VIEW_LIMIT:
        return nan, inf
    return _scan_runs(source, tensor, form, window, dims)


def _scan_range(
    source: Source, storage: Storage, form: _Float, window: tuple[int, int]
) -> tuple[bool, bool]:
    nan = inf = False
    for chunk in read_bytes(source, storage, *window):
        has_nan, has_inf = _classify(form, chunk)
        nan |= has_nan
        inf |= has_inf
        if nan and inf:
            break
    return nan, inf


def _scan_runs(
    source: Source, tensor: Tensor, form: _Float, window: tuple[int, int], dims: Dims
) -> tuple[bool, bool]:
    """Looks only at the elements that a view with gaps addresses."""
    data = b"".join(read_bytes(source, tensor.storage, *window))
    count, stride = max(dims)
    outer = list(dims)
    outer.remove((count, stride))
    nan = inf = False
    if prod(many for many, _ in outer) > _RUN_LIMIT:
        return _classify(form, data)
    for at in _offsets(outer):
        first = at * form.width
        run = data[first : first + ((count - 1) * stride + 1) * form.width]
        has_nan, has_inf = _classify(form, run, stride)
        nan |= has_nan
        inf |= has_inf
        if nan and inf:
            break
    return nan, inf


def _offsets(dims: Dims) -> Iterator[int]:
    steps = [range(0, count * stride, stride) for count, stride in dims]
    return map(sum, product(*steps))


def _classify(form: _Float, data: bytes, step: int = 1) -> tuple[bool, bool]:
    """Returns whether every `step`-th number in `data` includes a NaN, an infinity."""
    stride = form.width * step
    top = data[form.width - 1 :: stride]
    if not any(hint in top for hint in form.hints):
        return False, False
    special = -1
    for at, table in form.exponent:
        special &= int.from_bytes(data[at::stride].translate(table), "little")
    if not special:
        return False, False
    payload = 0
    for at, table in form.mantissa:
        payload |= int.from_bytes(data[at::stride].translate(table), "little")
    return bool(special & payload), bool(special & ~payload)


def read_bytes(source: Source, storage: Storage, start: int, length: int) -> Iterator[bytes]:
    """Yields a range of a storage's bytes, in little-endian order, in chunks of whole numbers.

    Bytes that the file does not have are left out.
    """
    if storage.offset is None or length <= 0:
        return
    if storage.deflated:
        pieces = _inflated(source, storage, start, length)
    else:
        pieces = (bytes(part) for part in source.chunks(storage.offset + start, length))
    if storage.swap == 1:
        yield from pieces
        return
    for piece in pieces:
        yield _swapped(piece, storage.swap)


def read_item(checkpoint: Checkpoint, tensor: Tensor) -> complex | None:
    """Returns the one value of a tensor of one element: a bool, int, float or complex.

    None where it has another number of elements, or a dtype without a Python counterpart.

    Raises:
        OSError: the file cannot be read any more, or is not the one that was read.
    """
    width = ITEMSIZE[tensor.dtype]
    if tensor.numel != 1 or not (tensor.dtype in _ITEMS or tensor.dtype == "bfloat16"):
        return None
    with _refusing(), closing(_reopen(checkpoint)) as source:
        start = tensor.storage_offset * width
        data = b"".join(read_bytes(source, tensor.storage, start, width))
    if len(data) != width:
        return None
    if tensor.dtype == "bfloat16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    parts = struct.unpack(_ITEMS[tensor.dtype], data)
    value = complex(*parts) if len(parts) == 2 else parts[0]
    if "conj" in tensor.flags:
        value = value.conjugate()
    return -value if "neg" in tensor.flags else value


def _swapped(data: bytes, width: int) -> bytes:
    result = bytearray(data)
    whole = len(data) // width * width
    for at in range(width):
        result[at:whole:width] = data[width - 1 - at : whole : width]
    return bytes(result)


def _inflated(source: Source, storage: Storage, start: int, length: int) -> Iterator[bytes]:
    if storage.offset is None:
        return
    engine = zlib.decompressobj(-15)
    left = start + length
    skip = start
    ready = b""
    for chunk in source.chunks(storage.offset, storage.stored):
        pending: bytes | memoryview = chunk
        part = b""
        while left > 0 and (pending or part) and not engine.eof:
            try:
                part = engine.decompress(pending, min(left, CHUNK))
            except zlib.error:
                return
            pending = engine.unconsumed_tail
            left -= len(part)
            dropped = min(skip, len(part))
            skip -= dropped
            ready += part[dropped:]
            if len(ready) >= CHUNK:
                whole = len(ready) & -16
                yield ready[:whole]
                ready = ready[whole:]
    yield ready


def weights_digest(tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> bytes:
    """Returns 32 bytes that are equal for equal weights, whatever file they stand in.

    Equal means the same keys, dtypes, shapes and, as certainly as a CRC-32 can tell, the same
    values bit by bit. A view with gaps that spans more than `VIEW_LIMIT` bytes, or repeats its
    elements many times over, is compared by its strides and the bytes that it spans.

    Raises:
        OSError: the file cannot be read any more, or is not the one that was read.
    """
    from hashlib import blake2b  # noqa: PLC0415 - it loads OpenSSL, and few runs compare weights

    digest = blake2b(digest_size=32)
    source: Source | None = None
    try:
        with _refusing():
            for key in sorted(tensors):
                tensor = tensors[key]
                crc: int | str | None = _known_crc(tensor)
                if crc is None:
                    source = source or _reopen(checkpoint)
                    crc = _value_crc(source, tensor)
                head = f"{len(key)}:{key}:{tensor.dtype}:{tensor.shape}:{tensor.flags}:{crc};"
                digest.update(head.encode("utf-8", "surrogatepass"))
    finally:
        if source is not None:
            source.close()
    return digest.digest()


def _known_crc(tensor: Tensor) -> int | None:
    """Returns the CRC-32 of the values where the storage's own is just that."""
    storage = tensor.storage
    if storage.swap != 1 or not _row_major(tensor):
        return None
    whole = tensor.storage_offset == 0 or tensor.nbytes == 0
    return storage.crc32 if whole and tensor.nbytes == storage.nbytes else None


def _row_major(tensor: Tensor) -> bool:
    step = 1
    for count, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if count not in {0, 1} and stride != step:
            return False
        step *= count
    return True


def _value_crc(source: Source, tensor: Tensor) -> int | str:
    width = ITEMSIZE[tensor.dtype]
    start = tensor.storage_offset * width
    if _row_major(tensor):
        return _crc(read_bytes(source, tensor.storage, start, tensor.nbytes))
    if 0 in tensor.shape:
        return 0
    length = _span(_used_dims(tensor) or []) * width
    runs = _logical_runs(tensor)
    too_many = prod(count for count, _ in runs[:-1]) > _RUN_LIMIT
    if length > VIEW_LIMIT or tensor.nbytes > VIEW_LIMIT or too_many:
        spanned = _crc(read_bytes(source, tensor.storage, start, length))
        return f"{spanned} by {tensor.stride}"
    data = b"".join(read_bytes(source, tensor.storage, start, length))
    return _crc(_gathered(data, width, runs))


def _crc(parts: Iterable[bytes]) -> int:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def _logical_runs(tensor: Tensor) -> Dims:
    """Returns the dimensions from outer to inner, with those that run on into each other joined."""
    runs: Dims = []
    for count, stride in zip(tensor.shape, tensor.stride, strict=True):
        if count == 1:
            continue
        if runs and runs[-1][1] == stride * count:
            runs[-1] = (runs[-1][0] * count, stride)
        else:
            runs.append((count, stride))
    return runs or [(1, 1)]


def _gathered(data: bytes, width: int, runs: Dims) -> Iterator[bytes]:
    """Yields the elements in row-major order."""
    if width == 16:
        data_width, runs = 8, [*((count, 2 * stride) for count, stride in runs), (2, 1)]
    else:
        data_width = width
    view = memoryview(data).cast(_UNITS[data_width])
    count, stride = runs[-1]
    steps = [[at * step for at in range(many)] for many, step in runs[:-1]]
    for parts in product(*steps):
        first = sum(parts)
        if stride == 0:
            yield view[first : first + 1].tobytes() * count
        else:
            yield view[first : first + (count - 1) * stride + 1 : stride].tobytes()
