"""What a checkpoint holds, as frozen values: faults, tensor metadata, scalars, the object tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

ITEMSIZE: dict[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "complex128": 16,
    "complex64": 8,
    "complex32": 4,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "qint8": 1,
    "qint32": 4,
    "quint8": 1,
    "quint4x2": 1,
    "quint2x4": 1,
    "bits8": 1,
    "bits16": 2,
    "bits1x8": 1,
    "bits2x4": 1,
    "bits4x2": 1,
    **{f"{sign}int{bits}": 1 for sign in ("", "u") for bits in range(1, 8)},
}
"""Bytes per element of every torch dtype that a checkpoint may name."""


class FaultKind(str, Enum):
    """Why a file is not a whole checkpoint that `torch.load(weights_only=True)` accepts."""

    EMPTY = "empty"
    """The file has no bytes."""
    NOT_REGULAR = "not-regular"
    """A folder, FIFO, device, socket, or a link that is broken or loops."""
    UNREADABLE = "unreadable"
    """No permission, an I/O error, or the file vanished."""
    DAMAGED = "damaged"
    """Torn, changed, appended to, or inconsistent with itself."""
    NOT_A_CHECKPOINT = "not-a-checkpoint"
    """Neither a `torch.save` archive nor a legacy stream."""
    UNSAFE = "unsafe"
    """The pickle names a global outside the allowed ones."""
    REFUSED = "refused"
    """`torch.load(weights_only=True)` would refuse it for another reason."""
    TOO_LARGE = "too-large"
    """Over one of this reader's own limits, which the message names."""


class What(str, Enum):
    """What a file is in place of a checkpoint."""

    LFS_POINTER = "git-lfs-pointer"
    ANNEX_POINTER = "git-annex-pointer"
    PAGE = "web-page"
    TEXT = "text"
    BLANK = "blank"
    SAFETENSORS = "safetensors"
    COMPRESSED = "compressed"
    ZIP = "zip"
    TAR = "tar"
    TORCHSCRIPT = "torchscript"
    PICKLE = "pickle"
    OTHER_FRAMEWORK = "other-framework"
    APPLE_DOUBLE = "apple-double"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file; the message is one line of ASCII, safe for a terminal.

    `what` tells of a file that is no checkpoint what it is instead, where that is known.
    """

    kind: FaultKind
    message: str
    what: What | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The bytes behind one or more tensors, where they stand in the file, and their CRC-32.

    `crc32` is computed from the bytes when the file was read with `verify`, else as recorded; None
    where nothing is known. `offset` and `stored` locate the bytes in the file (None: the file has
    none). `swap` is the width of the units whose bytes torch reverses on loading, 1 for none.
    """

    key: str
    dtype: str
    numel: int
    nbytes: int
    crc32: int | None
    location: str
    offset: int | None = None
    stored: int = 0
    deflated: bool = False
    swap: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor's metadata; its elements stay in the file.

    `flags` holds torch's lazy bits, "conj" and "neg", where the file sets them.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    storage: Storage
    requires_grad: bool = False
    parameter: bool = False
    flags: tuple[str, ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements; can exceed the storage's where the tensor is an expanded view."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return ITEMSIZE[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements when written out one by one, as torch counts them."""
        return self.numel * self.itemsize


@dataclass(frozen=True, slots=True)
class Scalar:
    """A NumPy scalar, parsed; `value` is the nearest Python number, text or bytes."""

    dtype: str
    value: bool | float | complex | str | bytes


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """Anything else that a pickle may hold: a global, or what calling one gave.

    `args` is None for the global itself (`torch.float32`) and else what it was called with.
    """

    name: str
    args: tuple[object, ...] | None = None


class _Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""The root of a checkpoint whose object tree could not be read."""

_BROKEN = frozenset(FaultKind) - {FaultKind.UNSAFE, FaultKind.REFUSED}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that was read of one file.

    `faults` lists everything found wrong, the most telling first; it is empty exactly if torch
    loads the file with `weights_only=True` and the file is as it was written. `globals` are the
    names in order of first appearance, `disallowed` those outside the allowed ones. `has_crc` is
    False where the archive was written with CRC-32 switched off, and None where the format has
    none. `modules` are the classes of the whole modules that the pickle holds, and `compressed` the
    archive's records that are not stored as they are. `root` is a finite tree (no cycles, limited
    depth and size) of dict, list, tuple, set, str, bytes, bytearray, int, float, complex, bool,
    None, Tensor, Storage, Scalar and Opaque, or MISSING. `tensor_bytes` counts the bytes that the
    tensors address, shared bytes once.
    """

    path: Path
    size: int
    format: Literal["zip", "legacy", "unknown"]
    faults: tuple[Fault, ...]
    globals: tuple[str, ...] = ()
    disallowed: tuple[str, ...] = ()
    has_crc: bool | None = None
    modules: tuple[str, ...] = ()
    compressed: tuple[str, ...] = ()
    root: object = field(default=MISSING, repr=False, compare=False)
    tensor_bytes: int = 0
    torch_loads: bool = False
    identity: tuple[int, int, int, int] | None = field(default=None, repr=False, compare=False)

    @property
    def whole(self) -> bool:
        """Whether the file is complete and unchanged since it was written, as far as it tells.

        An archive without CRC-32 (`has_crc` False) cannot tell of changes inside its records.
        """
        return not any(fault.kind in _BROKEN for fault in self.faults)
