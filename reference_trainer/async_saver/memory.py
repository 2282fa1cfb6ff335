"""How tensors lie in memory, and how they are to lie in the file: what they share they go on to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor

from .pickling import UnplannedError

STORAGE_TYPES: Mapping[torch.dtype, str] = {
    torch.float64: "DoubleStorage",
    torch.float32: "FloatStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
    torch.complex128: "ComplexDoubleStorage",
    torch.complex64: "ComplexFloatStorage",
}


# What is asked of every tensor on each save, at once: it is most of what a small save costs.
looks = attrgetter("shape", "dtype", "requires_grad", "is_cuda", "__dict__")
_storages, _addresses = Tensor.untyped_storage, torch.UntypedStorage.data_ptr


def sharing_of(tensors: list[Tensor]) -> tuple[int, ...] | None:
    """Return for each tensor which storage it lies in, counted by first appearance.

    None: each has one of its own. Storages without bytes all lie at address 0 and share nothing.

    Raises:
        UnplannedError: a tensor has no storage, or is to be read conjugated where others share it.
    """
    try:
        addresses = list(map(_addresses, map(_storages, tensors)))
    except (RuntimeError, NotImplementedError) as error:
        raise UnplannedError("a tensor without memory") from error
    if len(set(addresses)) == len(addresses):
        return None
    first: dict[int, int] = {}
    keys = [address or -1 - place for place, address in enumerate(addresses)]
    sharing = tuple(first.setdefault(key, len(first)) for key in keys)
    if len(first) == len(keys):
        return None
    if any(tensor.is_conj() or tensor.is_neg() for tensor in tensors):
        raise UnplannedError("tensors that share memory, and one to be read conjugated")
    return sharing


def memory(tensor: Tensor) -> tuple[object, ...]:
    """Return how a tensor lies in its storage."""
    return tensor.storage_offset(), tensor.stride(), tensor.untyped_storage().nbytes()


@dataclass(frozen=True, slots=True)
class View:
    """How a tensor lies in the file: which storage, of how many elements, where in it."""

    storage: int
    room: int
    offset: int
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """A storage in the file, and the tensor through which it is copied.

    Attributes:
        size: bytes.
        tensor: which one.
        shared: it is copied as it lies in memory, for all the tensors in it.
        dense: it may be copied so, in stretches.
        dtype: of the tensor.
        shape: of the tensor in the file; of a shared one, of all elements.
        stride: likewise, in elements.
    """

    size: int
    tensor: int
    shared: bool
    dense: bool
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _contiguous(shape: Iterable[int]) -> tuple[int, ...]:
    stride, strides = 1, []
    for size in reversed(tuple(shape)):
        strides.append(stride)
        stride *= max(size, 1)
    return tuple(reversed(strides))


class Storages:
    """Gives each tensor its place: storages that are shared stay so, the rest of a view is left."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.rooms: list[Room] = []
        self._views: dict[int, View] = {}
        for tensor in tensors:
            if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
                raise UnplannedError("a sparse, nested or quantized tensor")
            if tensor.device.type not in {"cpu", "cuda"}:
                raise UnplannedError(f"a tensor on {tensor.device}")
            if tensor.dtype not in STORAGE_TYPES:
                raise UnplannedError(f"a tensor of {tensor.dtype}")
            if tensor.requires_grad or tensor.__dict__:
                raise UnplannedError("a tensor that requires gradients or has attributes")
        self.sharing = sharing_of(tensors)
        members: dict[int, list[int]] = {}
        for place, storage in enumerate(self.sharing or range(len(tensors))):
            members.setdefault(storage, []).append(place)
        for places in members.values():
            self._add(tensors, places)

    def view(self, tensor: Tensor) -> View:
        """Return where `tensor` lies."""
        return self._views[id(tensor)]

    def _add(self, tensors: list[Tensor], places: list[int]) -> None:
        first = tensors[places[0]]
        dtype, item = first.dtype, first.dtype.itemsize
        held = first.untyped_storage().nbytes()
        if any(tensors[place].dtype is not dtype for place in places):
            raise UnplannedError("memory that is shared by tensors of two dtypes")
        key = len(self.rooms)
        needed = first.numel() * item
        alone = len({id(tensors[place]) for place in places}) == 1
        if alone and needed <= held:
            # As it lies in memory if it fills its storage without gaps, and else in order.
            shape, stride = tuple(first.shape), first.stride()
            fills = needed == held and first.storage_offset() == 0 and _is_dense(first)
            stride = stride if fills else _contiguous(shape)
            self._views[id(first)] = View(key, needed // item, 0, stride)
            self.rooms.append(Room(needed, places[0], False, fills, dtype, shape, stride))
            return
        if held % item:
            raise UnplannedError("memory that is no whole number of elements")
        for place in places:
            tensor = tensors[place]
            offset, stride = int(tensor.storage_offset()), tensor.stride()
            self._views[id(tensor)] = View(key, held // item, offset, stride)
        self.rooms.append(Room(held, places[0], True, True, dtype, (held // item,), (1,)))


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether the elements of a tensor lie side by side, in whatever order."""
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    expected = 1
    for stride, size in sorted(pair for pair in dimensions if pair[1] != 1):
        if stride != expected:
            return False
        expected *= size
    return True
