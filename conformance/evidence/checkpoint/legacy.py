"""Reads the legacy stream of `torch.save`: five pickles in sequence, then the raw storages.

The pickles are a magic number, a protocol version, facts of the writing system, the object itself
and the keys of the storages in the order in which their bytes follow (`_legacy_load` in
`torch/serialization.py`). The stream has no checksum, so that only its structure can be judged.
A tensor larger than its storage makes torch enlarge the storage; the bytes that follow must then be
as many. Not modelled, and refused: views of storages, which no torch since 1.0 writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint.archive import END_MAGIC, LOCAL_MAGIC
from conformance.evidence.checkpoint.errors import (
    CutShortError,
    RefusalError,
    damaged,
    refused,
    shown,
    too_large,
)
from conformance.evidence.checkpoint.opcodes import PICKLE_LIMIT, Machine
from conformance.evidence.checkpoint.storages import element_count, location_name, storage_dtype
from conformance.evidence.checkpoint.strangers import HEAD, recognised
from conformance.evidence.checkpoint.values import (
    ITEMSIZE,
    MISSING,
    Fault,
    FaultKind,
    Storage,
    What,
)

if TYPE_CHECKING:
    from conformance.evidence.checkpoint.source import Source

_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_PICKLED_NUMBER = b"\x8a\x0a" + _NUMBER.to_bytes(10, "little") + b"."
_TAR_BLOCK = 512
_TAR_MEMBERS = (b"sys_info", b"pickle", b"storages", b"tensors")
_TAIL = 1 << 16
_COUNT = 8  # bytes of the element count before each storage
_WRAP = (1 << 64) - 1


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins with `head` begins as every legacy stream does.

    From pickle protocol 4 on, which weights_only refuses, a frame's header comes first.
    """
    return head[:1] == b"\x80" and _PICKLED_NUMBER in head[2 : 12 + len(_PICKLED_NUMBER)]


@dataclass(slots=True)
class Legacy:
    """One reading of a legacy stream; `root` and `loads` are set once its object has been read."""

    source: Source
    allowed: frozenset[str]
    names: dict[str, bool]
    verify: bool
    root: object = MISSING
    loads: bool = False
    lenient: bool = False
    faults: list[Fault] = field(default_factory=list)
    data: bytes = b""
    growth: dict[Storage, int] = field(default_factory=dict)
    placed: dict[Any, Storage] = field(default_factory=dict)

    def read(self) -> None:
        """Reads the whole stream.

        Raises:
            RefusalError: torch refuses it.
        """
        self.data = self.source.read(0, PICKLE_LIMIT)
        number, at = self._pickle(0)
        protocol, at = self._pickle(at)
        if number != _NUMBER or protocol != _PROTOCOL:
            raise refused("a legacy stream of an unknown version")
        _, at = self._pickle(at)
        start = at
        found: dict[Any, Storage] = {}
        root, at = self._object(start, found)
        self.root = root
        keys, at = self._pickle(at)
        self._place(keys, found, at)
        self.root, _ = self._object(start, dict(self.placed))
        self.loads = not self.lenient

    def _pickle(self, at: int) -> tuple[Any, int]:
        def forbid(_identifier: tuple[Any, ...]) -> Storage:
            raise refused("a persistent id stands where none may")

        return self._run(Machine(self.data, self.allowed, forbid, self.names), at)

    def _object(self, at: int, found: dict[Any, Storage]) -> tuple[Any, int]:
        def load(identifier: tuple[Any, ...]) -> Storage:
            return _load_storage(identifier, found)

        machine = Machine(self.data, self.allowed, load, self.names)
        machine.growth = self.growth
        return self._run(machine, at)

    def _run(self, machine: Machine, at: int) -> tuple[Any, int]:
        try:
            result = machine.run(at)
        except CutShortError:
            if len(self.data) < self.source.size:
                raise too_large(f"the pickles take more than {PICKLE_LIMIT} bytes") from None
            raise
        self.lenient |= machine.lenient
        return result

    def _place(self, keys: object, found: dict[Any, Storage], at: int) -> None:
        """Finds out where each storage's bytes stand."""
        if not isinstance(keys, (list, tuple, dict, set, str)):
            raise refused("the keys of the storages are no list")
        for key in keys:
            storage = found.get(key) if isinstance(key, (str, int, float, bytes)) else None
            if storage is None:
                raise refused("a storage has bytes but is not in the object")
            at = self._place_one(key, storage, at)
        for key, storage in found.items():
            if key not in self.placed:
                self.placed[key] = storage
                if storage.nbytes:
                    self._fault(f"storage {shown(storage.key)} has no bytes")
        if at < self.source.size:
            self._fault(f"{self.source.size - at} bytes follow the last storage")

    def _fault(self, message: str) -> None:
        self.faults.append(Fault(FaultKind.DAMAGED, message))

    def _place_one(self, key: object, storage: Storage, at: int) -> int:
        head = self.source.read(at, _COUNT)
        start = at + _COUNT
        nbytes = max(storage.nbytes, self.growth.get(storage, 0))
        if len(head) < _COUNT or start + nbytes > self.source.size:
            raise damaged(f"torn: the file ends within storage {shown(storage.key)}")
        count = int.from_bytes(head, "little")
        if (count * ITEMSIZE[storage.dtype]) & _WRAP != nbytes:
            raise damaged(f"storage {shown(storage.key)} has another size where its bytes stand")
        if count != storage.numel:
            self._fault(f"storage {shown(storage.key)} has another size where its bytes stand")
        self.placed[key] = Storage(
            storage.key,
            storage.dtype,
            nbytes // ITEMSIZE[storage.dtype],
            nbytes,
            self.source.crc32(start, nbytes) if self.verify else None,
            storage.location,
            offset=start,
            stored=nbytes,
        )
        return start + nbytes


def _load_storage(identifier: tuple[Any, ...], found: dict[Any, Storage]) -> Storage:
    if len(identifier) != 5:
        raise refused("a persistent id has the wrong number of parts")
    kind, key, location, numel, view = identifier
    dtype = storage_dtype(kind, untyped=False)
    name = location_name(location)
    if view is not None:
        raise refused("a view of a storage, which is not modelled here")
    if type(key) not in {str, int, float, bool, bytes}:
        raise refused("a storage's key is no text")
    count = element_count(numel, dtype)
    known = found.get(key)
    if known is None:
        nbytes = count * ITEMSIZE[dtype]
        known = found[key] = Storage(str(key), dtype, count, nbytes, None, name)
    return known


def classify(source: Source) -> RefusalError:
    """Returns what best describes a file that is neither an archive nor a legacy stream."""
    head = source.read(0, _TAR_BLOCK)
    if not head.strip(b"\0") and not any(part.strip(b"\0") for part in _edges(source)):
        return damaged("torn: the file holds nothing but zeros")
    if _is_tar(head):
        return _tar(head)
    if len(head) < 2 + len(_PICKLED_NUMBER) and _is_prefix(head):
        return damaged(f"torn: the file ends after {len(head)} bytes")
    if END_MAGIC in source.read(max(source.size - _TAIL, 0), _TAIL):
        return damaged("the file ends as an archive but does not begin as one")
    known = recognised(source.read(0, HEAD), source.size)
    if known is not None:
        return RefusalError(known.kind, known.message, known.what)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        message = f"a plain pickle of protocol {head[1]}, nothing that torch.save wrote"
        return RefusalError(FaultKind.NOT_A_CHECKPOINT, message, What.PICKLE)
    return RefusalError(
        FaultKind.NOT_A_CHECKPOINT, "neither an archive nor a legacy stream of torch.save"
    )


def _tar(head: bytes) -> RefusalError:
    """What a tar archive is: torch's before version 0.2, by its first member, or any other."""
    first = head[:100].split(b"\0", 1)[0]
    if first in _TAR_MEMBERS:
        return refused("the legacy tar format, which weights_only refuses")
    message = f"a tar archive that holds {shown(first)}"
    return RefusalError(FaultKind.NOT_A_CHECKPOINT, message, What.TAR)


def _edges(source: Source) -> tuple[bytes, bytes]:
    return source.read(0, _TAIL), source.read(max(source.size - _TAIL, 0), _TAIL)


def _is_prefix(head: bytes) -> bool:
    number = (b"\x80\x02" + _PICKLED_NUMBER).startswith(head)
    return number or LOCAL_MAGIC.startswith(head)


def _is_tar(head: bytes) -> bool:
    if len(head) < _TAR_BLOCK:
        return False
    try:
        stated = int(head[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return False
    return stated == sum(head[:148]) + 8 * 32 + sum(head[156:])
