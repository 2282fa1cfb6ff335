"""Writes the pickle of a checkpoint, in which a number takes the same room whatever its value."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class UnplannedError(Exception):
    """The state holds something that is left to `torch.save`."""


# Opcodes of protocol 2, all of them known to `torch.load(weights_only=True)`.
PROTO, STOP, MARK, NONE = b"\x80\x02", b".", b"(", b"N"
TRUE, FALSE = b"\x88", b"\x89"
EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE = b"}", b"]", b")"
SETITEMS, APPENDS, TUPLE, REDUCE, BUILD, BINPERSID = b"u", b"e", b"t", b"R", b"b", b"Q"
_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")
_FLOAT = struct.Struct(">d")
_LIMIT32, _LIMIT64 = 2**31, 2**63


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a number stands: `pack(value)` are its bytes at `offset`, as many for any value.

    Attributes:
        leaf: which of the state's leaves it is.
        offset: in the file.
        pack: returns the bytes of a value.
        limit: what an int of this slot lies below, and not below the negative of; 0 for others.
    """

    leaf: int
    offset: int
    pack: Callable[[Any], bytes]
    limit: int = 0


def _truth(value: bool) -> bytes:
    return TRUE if value else FALSE


class Pickle:
    """Collects opcodes; texts and globals are written once and fetched from the memo after."""

    def __init__(self) -> None:
        self.parts: list[bytes] = [PROTO]
        self.length = len(PROTO)
        self.slots: list[Slot] = []
        self._memo: dict[object, bytes] = {}

    def put(self, *parts: bytes) -> None:
        """Put opcodes and what belongs to them."""
        for part in parts:
            self.parts.append(part)
            self.length += len(part)

    def _slot(
        self, leaf: int, opcode: bytes, pack: Callable[[Any], bytes], room: int, limit: int = 0
    ) -> None:
        self.put(opcode)
        self.slots.append(Slot(leaf, self.length, pack, limit))
        self.put(bytes(room))

    def _remember(self, key: object) -> None:
        number = len(self._memo)
        wide = number > 255
        index = struct.pack("<I" if wide else "<B", number)
        self.put((b"r" if wide else b"q") + index)
        self._memo[key] = (b"j" if wide else b"h") + index

    def _recall(self, key: object) -> bool:
        if key not in self._memo:
            return False
        self.put(self._memo[key])
        return True

    def _once(self, opcodes: bytes) -> None:
        """Put what is the same object wherever it stands."""
        if not self._recall(opcodes):
            self.put(opcodes)
            self._remember(opcodes)

    def text(self, text: str) -> None:
        """Put a text."""
        encoded = text.encode("utf-8", "surrogatepass")
        self._once(b"X" + struct.pack("<I", len(encoded)) + encoded)

    def name(self, module: str, name: str) -> None:
        """Put what a module holds under a name."""
        self._once(f"c{module}\n{name}\n".encode())

    def number(self, number: int) -> None:
        """Put an int that is part of the structure; raise UnplannedError above 64 bits."""
        if -_LIMIT32 <= number < _LIMIT32:
            self.put(b"J" + _INT32.pack(number))
        elif -_LIMIT64 <= number < _LIMIT64:
            self.put(b"\x8a\x08" + _INT64.pack(number))
        else:
            raise UnplannedError("an int of more than 64 bits")

    def _numbers(self, numbers: Iterable[int]) -> None:
        self.put(MARK)
        for number in numbers:
            self.number(number)
        self.put(TUPLE)

    def value(self, leaf: int, value: object) -> None:
        """Put a number with a slot for those to come, a text or None.

        Raises:
            UnplannedError: it is none of these.
        """
        if isinstance(value, bool):
            self._slot(leaf, b"", _truth, 1)
        elif type(value) is float:
            self._slot(leaf, b"G", _FLOAT.pack, 8)
        elif type(value) is int and -_LIMIT32 <= value < _LIMIT32:
            self._slot(leaf, b"J", _INT32.pack, 4, _LIMIT32)
        elif type(value) is int and -_LIMIT64 <= value < _LIMIT64:
            self._slot(leaf, b"\x8a\x08", _INT64.pack, 8, _LIMIT64)
        elif type(value) is str:
            self.text(value)
        elif value is None:
            self.put(NONE)
        else:
            raise UnplannedError(f"a value of type {type(value).__name__}")

    def tensor(
        self,
        key: object,
        storage: tuple[str, int, int],
        offset: int,
        shape: Iterable[int],
        stride: Iterable[int],
    ) -> None:
        """Put a tensor, or once more the one of the same `key`.

        Args:
            key: what tells it from others.
            storage: its type's name in torch, its number, and how many elements it holds.
            offset: of the first element in the storage.
            shape: of the tensor.
            stride: of the tensor, in elements.
        """
        if self._recall(key):
            return
        kind, number, held = storage
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.put(MARK, MARK)
        self.text("storage")
        self.name("torch", kind)
        self.text(str(number))
        self.text("cpu")
        self.number(held)
        self.put(TUPLE, BINPERSID)
        self.number(offset)
        self._numbers(shape)
        self._numbers(stride)
        self.put(FALSE)
        self.name("collections", "OrderedDict")
        self.put(EMPTY_TUPLE, REDUCE, TUPLE, REDUCE)
        self._remember(key)
