"""Lays a state out as the archive that `torch.save` would write, once for each structure.

A plan knows where in the file each tensor, number and check sum stands. A later state of the same
structure (keys, shapes, dtypes, and which tensors share memory) needs nothing but its tensors
copied and its numbers overwritten.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .archive import ALIGNMENT, PAGE, Record, lay_out
from .memory import (
    STORAGE_TYPES,
    Room,
    Storages,
    looks,
    memory,
    sharing_of,
)
from .pickling import (
    APPENDS,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    REDUCE,
    SETITEMS,
    STOP,
    TUPLE,
    Pickle,
    Slot,
    UnplannedError,
)

STEP_BYTES = 16 << 20  # of a file are copied, summed and written at a time
STEP_RECORDS = 256  # ... and at most so many records: each holds Python's lock for a microsecond


@dataclass(slots=True)
class _Branch:
    """A container: what it must be for a state to have the same structure.

    `key_types` is None where all keys are texts, `children` where all items are leaves; where some
    are, it holds None in a leaf's place.
    """

    kind: type
    keys: tuple[Any, ...] | None
    key_types: tuple[type, ...] | None
    length: int
    children: list["_Branch | None"] | None
    attributes: "_Branch | None"

    def collect(  # noqa: C901  # split up, it would take twice as long
        self,
        value: Any,  # noqa: ANN401  # a state is anything
        leaves: list[Any],
    ) -> bool:
        """Append the leaves of `value`; False if its structure is another."""
        kind = type(value)
        if kind is not self.kind or len(value) != self.length:
            return False
        items = value
        if self.keys is not None:
            if tuple(value) != self.keys:
                return False
            if self.key_types is not None and tuple(map(type, value)) != self.key_types:
                return False  # True == 1 == 1.0
            items = value.values()
        if self.children is None:
            leaves.extend(items)
        else:
            for child, item in zip(self.children, items):  # noqa: B905  # as long, and in a hurry
                if child is None:
                    leaves.append(item)
                elif not child.collect(item, leaves):
                    return False
        if kind is not OrderedDict:
            return True
        attributes = value.__dict__
        if self.attributes is None:
            return not attributes
        return self.attributes.collect(attributes, leaves)


@dataclass(frozen=True, slots=True)
class Move:
    """One copy into the file: of a whole tensor, or of a stretch of its storage.

    Attributes:
        tensor: which one.
        begin: the stretch's first element in the storage; None for the whole tensor.
        count: elements of the stretch.
        offset: in the file.
        dtype: of both.
        shape: in the file.
        stride: in the file, in elements.
    """

    tensor: int
    begin: int | None
    count: int
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def source(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what is to be copied."""
        tensor = tensors[self.tensor]
        if self.begin is None:
            return tensor
        return tensor.as_strided((self.count,), (1,), self.begin)

    def target(self, file: Tensor) -> Tensor:
        """Return the place in `file`, a tensor of its bytes, where it is copied to."""
        size = self.dtype.itemsize
        end = self.offset + self.count * size
        return file[self.offset : end].view(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True, slots=True)
class Sum:
    """A stretch of one record whose CRC-32 is to be taken, and where it goes at the record's end.

    `places` are the offsets in the file of the finished sum: behind the data, and in the directory.
    """

    begin: int
    end: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the work: after its moves and sums, the file is done up to byte `end`."""

    moves: tuple[Move, ...]
    sums: tuple[Sum, ...]
    end: int
    _wholes: tuple[int, ...] | None = field(repr=False)  # the tensors, if each is copied whole

    @classmethod
    def of(cls, moves: list[Move], sums: list[Sum], end: int) -> "Step":
        """Return a step of these moves and sums."""
        wholes = tuple(move.tensor for move in moves if move.begin is None)
        return cls(tuple(moves), tuple(sums), end, wholes if len(wholes) == len(moves) else None)

    def sources(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return what is to be copied, move by move."""
        if self._wholes is not None:
            return [tensors[place] for place in self._wholes]
        return [move.source(tensors) for move in self.moves]


@dataclass(frozen=True)
class Plan:
    """A file's layout, and what a state must be to fit it.

    Attributes:
        size: of the file in bytes, a multiple of a page.
        constants: what is the same in each file, by offset.
        slots: the numbers.
        steps: the work, from the front of the file to its end.
        on_gpu: whether there are tensors on a GPU.
    """

    size: int
    constants: tuple[tuple[int, bytes], ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    on_gpu: bool
    _root: _Branch = field(repr=False)
    _types: list[type] = field(repr=False)
    _limits: tuple[tuple[int, int], ...] = field(repr=False)
    _numbers: tuple[int, ...] = field(repr=False)
    _text_at: tuple[int, ...] = field(repr=False)
    _texts: list[str] = field(repr=False)
    _tensors: tuple[int, ...] = field(repr=False)
    _looks: list[tuple[object, ...]] = field(repr=False)
    _sharing: tuple[int, ...] | None = field(repr=False)
    _in_memory: tuple[tuple[int, tuple[object, ...]], ...] = field(repr=False)

    def fit(self, state: Mapping[str, Any]) -> tuple[list[Tensor], list[Any]] | None:
        """Return the tensors and the numbers of `state`; None if its structure is another."""
        leaves: list[Any] = []
        if not self._root.collect(state, leaves) or list(map(type, leaves)) != self._types:
            return None
        for leaf, limit in self._limits:
            if not -limit <= leaves[leaf] < limit:
                return None
        tensors = [leaves[leaf] for leaf in self._tensors]
        if [leaves[leaf] for leaf in self._text_at] != self._texts or not self._holds(tensors):
            return None
        return tensors, [leaves[leaf] for leaf in self._numbers]

    def _holds(self, tensors: list[Tensor]) -> bool:
        if list(map(looks, tensors)) != self._looks:
            return False
        try:
            sharing = sharing_of(tensors)
        except UnplannedError:
            return False
        # How a tensor lies in memory matters only where it is copied as it lies there.
        return sharing == self._sharing and all(
            memory(tensors[place]) == lay for place, lay in self._in_memory
        )


def plan(state: Mapping[str, Any]) -> Plan:
    """Return the layout of `state`.

    Raises:
        UnplannedError: it holds what is left to `torch.save`.
    """
    try:
        return _Planner(state).plan(state)
    except RecursionError as error:
        raise UnplannedError("a state that is nested too deeply") from error


class _Planner:
    """Walks a state once, writing its pickle and noting its structure."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._pickle = Pickle()
        self._leaves: list[Any] = []
        self._seen: set[int] = set()
        self._in_file = list(self._find_tensors(state))
        self._storages = Storages(self._in_file)

    def plan(self, state: Mapping[str, Any]) -> Plan:
        """Return the layout."""
        tensors = self._in_file
        root = self._container(state)
        if root is None:
            raise UnplannedError("a state that is no dict")
        self._pickle.put(STOP)
        records = [
            Record("data.pkl", self._pickle.length, b"".join(self._pickle.parts)),
            Record("byteorder", 6, b"little"),
            *(
                Record(f"data/{key}", room.size, storage=key)
                for key, room in enumerate(self._storages.rooms)
            ),
            Record("version", 2, b"3\n"),
        ]
        constants, size = lay_out(records)
        start = records[0].offset
        leaves = self._leaves
        steps = tuple(_steps(records, self._storages, size))
        cut = {move.tensor for step in steps for move in step.moves if move.begin is not None}
        sharing = self._storages.sharing
        in_common = Counter(sharing or ())
        in_memory = [
            place
            for place in range(len(tensors))
            if place in cut or (sharing is not None and in_common[sharing[place]] > 1)
        ]
        return Plan(
            size=size,
            constants=constants,
            slots=tuple(
                Slot(slot.leaf, start + slot.offset, slot.pack, slot.limit)
                for slot in self._pickle.slots
            ),
            steps=steps,
            on_gpu=any(tensor.is_cuda for tensor in tensors),
            _root=root,
            _types=list(map(type, leaves)),
            _limits=tuple((slot.leaf, slot.limit) for slot in self._pickle.slots if slot.limit),
            _numbers=tuple(slot.leaf for slot in self._pickle.slots),
            _text_at=tuple(at for at, leaf in enumerate(leaves) if type(leaf) is str),
            _texts=[leaf for leaf in leaves if type(leaf) is str],
            _tensors=tuple(at for at, leaf in enumerate(leaves) if type(leaf) is Tensor),
            _looks=list(map(looks, tensors)),
            _sharing=sharing,
            _in_memory=tuple((place, memory(tensors[place])) for place in in_memory),
        )

    def _find_tensors(self, value: Any) -> Iterable[Tensor]:  # noqa: ANN401  # a state is anything
        """Yield the state's tensors in order, and make sure that it is a tree."""
        if type(value) is Tensor:
            yield value
            return
        if type(value) in (dict, OrderedDict, list):
            if id(value) in self._seen:
                raise UnplannedError("a dict or a list that stands in two places")
            self._seen.add(id(value))
        if type(value) in (dict, OrderedDict):
            for item in value.values():
                yield from self._find_tensors(item)
            if type(value) is OrderedDict:
                yield from self._find_tensors(value.__dict__)
        elif type(value) in (list, tuple):
            for item in value:
                yield from self._find_tensors(item)

    def _container(self, value: Any) -> _Branch | None:  # noqa: ANN401  # a state is anything
        """Write a container and return its structure; None, with nothing written, for a leaf."""
        kind = type(value)
        if kind is dict or kind is OrderedDict:
            return self._mapping(value, kind)
        if kind is list or kind is tuple:
            if kind is list:
                self._pickle.put(EMPTY_LIST)
            if value or kind is tuple:
                self._pickle.put(MARK)
                children = [self._item(item) for item in value]
                self._pickle.put(APPENDS if kind is list else TUPLE)
            else:
                children = []
            return _Branch(kind, None, None, len(value), _or_flat(children), None)
        return None

    def _mapping(self, value: dict[Any, Any], kind: type) -> _Branch:
        pickle = self._pickle
        if kind is dict:
            pickle.put(EMPTY_DICT)
        else:
            pickle.name("collections", "OrderedDict")
            pickle.put(EMPTY_TUPLE, REDUCE)
        children = []
        if value:
            pickle.put(MARK)
            for key, item in value.items():
                if type(key) is str:
                    pickle.text(key)
                elif type(key) is int:
                    pickle.number(key)
                else:
                    raise UnplannedError(f"a key of type {type(key).__name__}")
                children.append(self._item(item))
            pickle.put(SETITEMS)
        attributes = None
        if kind is OrderedDict and value.__dict__:
            attributes = self._mapping(value.__dict__, dict)
            pickle.put(BUILD)
        keys = tuple(value)
        types = None if all(type(key) is str for key in keys) else tuple(map(type, value))
        return _Branch(kind, keys, types, len(value), _or_flat(children), attributes)

    def _item(self, value: Any) -> _Branch | None:  # noqa: ANN401  # a state is anything
        """Write a container or a leaf; return the structure of a container."""
        branch = self._container(value)
        if branch is not None:
            return branch
        leaf = len(self._leaves)
        self._leaves.append(value)
        if type(value) is Tensor:
            view = self._storages.view(value)
            storage = STORAGE_TYPES[value.dtype], view.storage, view.room
            self._pickle.tensor(id(value), storage, view.offset, value.shape, view.stride)
        else:
            self._pickle.value(leaf, value)
        return None


def _or_flat(children: list[_Branch | None]) -> list[_Branch | None] | None:
    return children if any(child is not None for child in children) else None


def _steps(records: list[Record], storages: Storages, size: int) -> Iterable[Step]:
    """Cut the work into steps: of some megabytes, and of not too many records."""
    moves: list[Move] = []
    sums: list[Sum] = []
    begun = 0
    for record in records:
        step = record.size or 1
        room = None if record.storage is None else storages.rooms[record.storage]
        if room is not None and room.dense:
            step = STEP_BYTES - STEP_BYTES % ALIGNMENT
        for start in range(0, record.size, step):
            stop = min(start + step, record.size)
            if room is not None:
                moves.append(_move(room, record.offset, start, stop))
            places = (record.descriptor, record.entry) if stop == record.size else ()
            sums.append(Sum(record.offset + start, record.offset + stop, places))
            end = (record.offset + stop) // PAGE * PAGE
            if end - begun >= STEP_BYTES or len(sums) >= STEP_RECORDS:
                yield Step.of(moves, sums, end)
                moves, sums, begun = [], [], end
    yield Step.of(moves, sums, size)


def _move(room: Room, offset: int, start: int, stop: int) -> Move:
    """Return the copy of bytes `start` to `stop` of a storage that stands at `offset`."""
    item = room.dtype.itemsize
    count = (stop - start) // item
    if not room.shared and stop - start == room.size:
        return Move(room.tensor, None, count, offset, room.dtype, room.shape, room.stride)
    return Move(room.tensor, start // item, count, offset + start, room.dtype, (count,), (1,))
