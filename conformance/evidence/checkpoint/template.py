"""Reuses the parsed structure of a checkpoint for others that differ only in numbers and names.

The checkpoints of a run mostly have the same bytes but for their weights, the CRC-32s of these, the
archive's inner folder, and a few numbers in the pickle such as the epoch. A template knows where in
the file these stand, and what every other byte was when the whole file was read and judged in full.
A file that has exactly these other bytes has the same structure and the same verdict, so that only
the CRC-32s need be computed and the numbers put in.

A number's place in the pickle counts as free only if its value went straight into a dict or list
as a value and nowhere else: a `Tracer` walks the pickle again with every number marked, takes the
mark off wherever a number is put into a tuple, is used as a key, or is an argument, and gives up
where something that may hold marked numbers is looked into.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint.opcodes import Machine
from conformance.evidence.checkpoint.values import Opaque, Storage, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.evidence.checkpoint.archive import Archive
    from conformance.evidence.checkpoint.opcodes import Step
    from conformance.evidence.checkpoint.source import Source
    from conformance.evidence.checkpoint.storages import ArchiveStorages
    from conformance.evidence.checkpoint.values import Checkpoint

    Span = tuple[int, int]

_KEPT = 64
_RECORDS = 2000
_SIGHTINGS = 4096
_ATTEMPTS = 4
_MARKED = {
    b"J": struct.Struct("<i"),
    b"K": struct.Struct("<B"),
    b"M": struct.Struct("<H"),
    b"G": struct.Struct(">d"),
}


class _NotReusableError(Exception):
    """This file's structure cannot be told apart from its numbers."""


class _Int(int):
    """A number together with the place of its opcode in the pickle."""

    at: int


class _Float(float):
    """The same for a float."""

    at: int


_PLAIN: dict[type, Callable[[Any], Any]] = {_Int: int, _Float: float}


class Tracer(Machine):
    """Walks a pickle with every number marked by where it stands."""

    __slots__ = ("pinned", "sealed")

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - as for Machine
        super().__init__(*arguments)
        self.sealed: list[object] = []
        self.pinned: set[int] = set()

    def table(self) -> tuple[Step, ...]:
        """Returns the steps by opcode."""
        return _TRACED

    def consume(self, value: Any) -> Any:  # noqa: ANN401 - whatever is on the stack
        """Returns the value unmarked, as part of a tuple or as an argument."""
        kind = type(value)
        if kind in _PLAIN:
            return self.unmarked(value)
        if kind in {list, dict, set} or (isinstance(value, dict) and value):
            raise _NotReusableError
        if isinstance(value, dict):
            self.sealed.append(value)  # empty now, and must not get marked numbers later
        return value

    def unmarked(self, value: Any) -> Any:  # noqa: ANN401 - whatever is on the stack
        """Returns the value unmarked; a number must then be the same wherever else it went."""
        strip = _PLAIN.get(type(value))
        if strip is None:
            return value
        self.pinned.add(value.at)
        return strip(value)

    def place(self, target: object, values: list[Any]) -> None:
        """Is told of the values that go into a container."""
        marked = any(type(value) in _PLAIN for value in values)
        if marked and any(target is sealed for sealed in self.sealed):
            raise _NotReusableError


def _traced_number(code: bytes) -> Step:
    form = _MARKED[code]

    def step(machine: Machine, at: int) -> int:
        (number,) = form.unpack_from(machine.data, at)
        value = _Float(number) if code == b"G" else _Int(number)
        value.at = at - 1
        machine.stack.append(value)
        return at + form.size

    return step


def _traced_tuple(plain: Step, count: int) -> Step:
    def step(machine: Tracer, at: int) -> int:
        stack = machine.stack
        many = len(stack) if count < 0 else count
        if many:
            stack[-many:] = [machine.consume(value) for value in stack[-many:]]
        return plain(machine, at)

    return step  # type: ignore[return-value]  # only a Tracer has this table


def _traced_call(plain: Step) -> Step:
    def step(machine: Machine, at: int) -> int:
        if type(machine.stack[-1]) is not tuple:
            raise _NotReusableError
        return plain(machine, at)

    return step


def _traced_build(plain: Step) -> Step:
    def step(machine: Machine, at: int) -> int:
        # The attributes of an OrderedDict are never looked at.
        if type(machine.stack[-2]) is not OrderedDict or not isinstance(machine.stack[-1], dict):
            raise _NotReusableError
        return plain(machine, at)

    return step


def _traced_setitem(plain: Step) -> Step:
    def step(machine: Tracer, at: int) -> int:
        stack = machine.stack
        machine.place(stack[-3], [stack[-1]])
        stack[-2] = machine.unmarked(stack[-2])
        return plain(machine, at)

    return step  # type: ignore[return-value]  # only a Tracer has this table


def _traced_setitems(plain: Step) -> Step:
    def step(machine: Tracer, at: int) -> int:
        stack = machine.stack
        machine.place(machine.marks[-1][-1], stack[1::2])
        stack[::2] = [machine.unmarked(key) for key in stack[::2]]
        return plain(machine, at)

    return step  # type: ignore[return-value]  # only a Tracer has this table


def _traced_table() -> tuple[Step, ...]:
    table = list(Machine.steps())
    for code in _MARKED:
        table[code[0]] = _traced_number(code)
    for code, count in ((b"t", -1), (b"\x85", 1), (b"\x86", 2), (b"\x87", 3)):
        table[code[0]] = _traced_tuple(table[code[0]], count)
    for code in (b"R", b"\x81", b"Q"):
        table[code[0]] = _traced_call(table[code[0]])
    table[ord("b")] = _traced_build(table[ord("b")])
    table[ord("s")] = _traced_setitem(table[ord("s")])
    table[ord("u")] = _traced_setitems(table[ord("u")])
    return tuple(table)


_TRACED = _traced_table()


class _Plan:
    """How to make an object tree anew from the numbers and storages of another file.

    Everything stands in one pool and is referred to by its place there: first what never changes,
    then numbers, storages and tensors, then containers, each after what it holds.
    """

    def __init__(self) -> None:
        self.constants: list[Any] = []
        self.numbers: list[_Int | _Float] = []
        self.storages: list[Storage] = []
        self.tensors: list[tuple[Tensor, int]] = []
        self.containers: list[tuple[Callable[[Any], Any], tuple[Any, ...] | None, list[Any]]] = []
        self.seen: dict[int, tuple[str, int]] = {}
        self.holder: list[object] = []

    def add(self, node: Any) -> tuple[str, int]:  # noqa: ANN401 - any node of the tree
        """Returns where the node will stand: in which part of the pool, and at which place."""
        known = self.seen.get(id(node))
        if known is not None:
            return known
        place = self._add(node)
        self.seen[id(node)] = place
        self.holder.append(node)  # so that no other object gets this id
        return place

    def _add(self, node: Any) -> tuple[str, int]:  # noqa: ANN401 - any node of the tree
        kind = type(node)
        if kind in _PLAIN:
            return _appended("number", self.numbers, node)
        if kind is Storage:
            return _appended("storage", self.storages, node)
        if kind is Tensor:
            _, index = self.add(node.storage)
            return _appended("tensor", self.tensors, (node, index))
        if kind in {dict, OrderedDict}:
            for key in node:
                if isinstance(key, (Tensor, Storage, tuple)):
                    raise _NotReusableError
            refs = [self.add(value) for value in node.values()]
            return _appended("container", self.containers, (kind, tuple(node), refs))
        if kind in {list, tuple}:
            refs = [self.add(value) for value in node]
            return _appended("container", self.containers, (kind, None, refs))
        if isinstance(node, dict) and any(type(value) in _PLAIN for value in node.values()):
            raise _NotReusableError
        if isinstance(node, (set, dict, Opaque)) and _holds_tensors(node):
            raise _NotReusableError
        return _appended("constant", self.constants, node)

    def finish(self, root: object) -> int:
        """Turns the references into places in the pool; returns the root's."""
        part, index = self.add(root)
        start = {"constant": 0}
        start["number"] = len(self.constants)
        start["storage"] = start["number"] + len(self.numbers)
        start["tensor"] = start["storage"] + len(self.storages)
        start["container"] = start["tensor"] + len(self.tensors)
        self.containers = [
            (kind, keys, [start[where] + at for where, at in refs])
            for kind, keys, refs in self.containers
        ]
        return start[part] + index


def _appended(part: str, items: list[Any], item: object) -> tuple[str, int]:
    items.append(item)
    return part, len(items) - 1


def _holds_tensors(node: object) -> bool:
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, (Tensor, Storage)):
            return True
        if isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, (set, tuple, list)):
            pending.extend(item)
        elif isinstance(item, Opaque) and item.args:
            pending.extend(item.args)
    return False


def _getter(spans: list[Span]) -> Callable[[bytes], tuple[bytes, ...]]:
    if len(spans) < 2:
        return lambda data: tuple(data[start:end] for start, end in spans)
    return itemgetter(*(slice(start, end) for start, end in spans))


@dataclass(slots=True)
class Template:
    """The structure of one file, and where it may differ in another of the same structure."""

    checkpoint: Checkpoint
    fixed: Callable[[bytes], tuple[bytes, ...]]
    expected: tuple[bytes, ...]
    folders: Callable[[bytes], tuple[bytes, ...]]
    first_crcs: Callable[[bytes], tuple[bytes, ...]]
    second_crcs: Callable[[bytes], tuple[bytes, ...]]
    bodies: list[Span]
    identity: Span | None
    numbers: list[tuple[struct.Struct, int]]
    storage_records: list[int]
    plan: _Plan
    root: int

    def match(self, path: Path, source: Source, data: bytes, *, verify: bool) -> Checkpoint | None:
        """Returns the checkpoint, if the file has this structure and all its CRC-32s are right."""
        if self.fixed(data) != self.expected:
            return None
        folders = self.folders(data)
        folder = folders[0]
        if folders.count(folder) != len(folders) or b"/" in folder or b"\0" in folder:
            return None
        recorded = self.first_crcs(data)
        if recorded != self.second_crcs(data):
            return None
        if self.identity and not data[self.identity[0] : self.identity[1]].isascii():
            return None
        crcs = struct.unpack(f"<{len(recorded)}I", b"".join(recorded))
        if verify:
            view = memoryview(data)
            if crcs != tuple([zlib.crc32(view[start:end]) for start, end in self.bodies]):
                return None
        elif not any(crcs):
            return None
        return replace(
            self.checkpoint, path=path, root=self._make(data, crcs), identity=source.identity
        )

    def _make(self, data: bytes, crcs: tuple[int, ...]) -> object:
        plan = self.plan
        pool = list(plan.constants)
        pool += [form.unpack_from(data, at)[0] for form, at in self.numbers]
        storages = [
            Storage(s.key, s.dtype, s.numel, s.nbytes, crcs[record], s.location, s.offset, s.stored)
            for s, record in zip(plan.storages, self.storage_records, strict=True)
        ]
        pool += storages
        pool += [
            Tensor(
                *(t.dtype, t.shape, t.stride, t.storage_offset, storages[index]),
                *(t.requires_grad, t.parameter, t.flags),
            )
            for t, index in plan.tensors
        ]
        for kind, keys, refs in plan.containers:
            values = [pool[ref] for ref in refs]
            pool.append(kind(values) if keys is None else kind(zip(keys, values, strict=True)))
        return pool[self.root]


class Templates:
    """The templates seen lately.

    A structure is learnt when its like is seen for the second time, and given up when files that
    look alike turn out to differ again and again.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Template] = OrderedDict()
        self._sightings: dict[tuple[object, ...], int] = {}

    def find(
        self, path: Path, source: Source, allowed: frozenset[str], *, verify: bool
    ) -> Checkpoint | None:
        """Returns the checkpoint, where its structure is a known one."""
        data = source.data
        if data is None or not self._kept:
            return None
        key = _key(data, allowed)
        template = self._kept.get(key)
        if template is None:
            return None
        self._kept.move_to_end(key)
        return template.match(path, source, data, verify=verify)

    def learn(
        self,
        checkpoint: Checkpoint,
        archive: Archive,
        storages: ArchiveStorages,
        allowed: frozenset[str],
    ) -> None:
        """Keeps the structure of a file that was read in full and has no fault of its own."""
        data = archive.source.data
        if data is None or len(archive.records) > _RECORDS or storages.swapped:
            return
        if not self._is_worthwhile(_key(data, allowed)):
            return
        try:
            template = _make_template(checkpoint, data, archive, storages, allowed)
        except _NotReusableError:
            return
        self._kept[_key(data, allowed)] = template
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _is_worthwhile(self, key: tuple[object, ...]) -> bool:
        if len(self._sightings) >= _SIGHTINGS:
            self._sightings.clear()
        seen = self._sightings[key] = self._sightings.get(key, 0) + 1
        return 2 <= seen < 2 + _ATTEMPTS


def _key(data: bytes, allowed: frozenset[str]) -> tuple[object, ...]:
    """Tells most structures apart: sizes, the first record's header, the directory's place."""
    start = int.from_bytes(data[-6:-2], "little")
    return len(data), data[4:30], data[-22:], data[start + 20 : start + 46], allowed


def _make_template(
    checkpoint: Checkpoint,
    data: bytes,
    archive: Archive,
    storages: ArchiveStorages,
    allowed: frozenset[str],
) -> Template:
    index = archive.find("data.pkl")
    if index is None or any(record.method for record in archive.records):
        raise _NotReusableError
    start = archive.body[index]
    pickle = data[start : start + archive.records[index].stored]
    tracer = Tracer(pickle, allowed, storages.load, {})
    root, _ = tracer.run()
    plan = _Plan()
    place = plan.finish(root)
    if any(number.at in tracer.pinned for number in plan.numbers):
        raise _NotReusableError
    numbers = [
        (_MARKED[pickle[number.at : number.at + 1]], start + number.at + 1)
        for number in plan.numbers
    ]
    identity = archive.find(".data/serialization_id")
    records = [_record_of(archive, storage) for storage in plan.storages]
    bodies = [
        (archive.body[at], archive.body[at] + record.stored)
        for at, record in enumerate(archive.records)
    ]
    free = [bodies[at] for at in {*records, *(() if identity is None else (identity,))}]
    free += [(at, at + form.size) for form, at in numbers]
    length = len(archive.prefix) - 1
    heads = [record.header + 30 for record in archive.records]
    heads += [entry + 46 for entry in archive.entries]
    folders = [(at, at + length) for at in heads]
    first = [(entry + 16, entry + 20) for entry in archive.entries]
    second = [(end + 4, end + 8) for _, end in bodies]
    if any(not record.flags & 8 for record in archive.records):
        raise _NotReusableError
    fixed = _complement(free + folders + first + second, len(data))
    getter = _getter(fixed)
    return Template(
        checkpoint=checkpoint,
        fixed=getter,
        expected=getter(data),
        folders=_getter(folders),
        first_crcs=_getter(first),
        second_crcs=_getter(second),
        bodies=bodies,
        identity=None if identity is None else bodies[identity],
        numbers=numbers,
        storage_records=records,
        plan=plan,
        root=place,
    )


def _record_of(archive: Archive, storage: Storage) -> int:
    index = archive.find(f"data/{storage.key}")
    if index is None or (storage.offset != archive.body[index] and storage.nbytes):
        raise _NotReusableError
    return index


def _complement(spans: list[Span], size: int) -> list[Span]:
    """Returns what lies between the spans.

    Raises:
        _NotReusableError: two of them overlap.
    """
    rest = []
    end = 0
    for start, stop in sorted(spans):
        if start < end:
            raise _NotReusableError
        if start > end:
            rest.append((end, start))
        end = stop
    rest.append((end, size))
    return rest
