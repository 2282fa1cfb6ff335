"""Walks a pickle as torch's `weights_only` unpickler does, without calling anything it names.

The machine knows exactly the opcodes of `torch/_weights_only_unpickler.py`, with the same effects
on stack, marks and memo, and refuses where torch's would raise. What a REDUCE, NEWOBJ or BUILD
yields is decided in `rebuild`, by parsing. Every step costs from a budget, so that neither memory
nor time can exceed what the limits below allow, whatever the pickle asks for.

A global outside the allowed ones does not end the walk: torch would refuse the file there, and so
does the verdict, but the rest is still read, as far as it can be, to name every such global and to
show the values around it.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint.errors import (
    CutShortError,
    RefusalError,
    refused,
    shown,
    too_large,
)
from conformance.evidence.checkpoint.rebuild import build, call, new_object
from conformance.evidence.checkpoint.survey import is_allowed, renamed
from conformance.evidence.checkpoint.values import Opaque, Storage, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[["Machine", int], int]
    """Does one opcode, whose argument begins at the given place; returns the next one's place."""

PICKLE_LIMIT = 16 << 20
STEP_LIMIT = 4_000_000
BUDGET = 2_000_000
DEPTH_LIMIT = 200
TREE_LIMIT = 2_000_000
_KEY_LIMIT = 4096
_KEY_NODES = 200


_HASHED = frozenset({str, bool, type(None), bytes, Tensor, Storage, Opaque})
_UNHASHABLE = frozenset({list, dict, set, bytearray, OrderedDict, Counter})
_CONTAINERS = frozenset({dict, OrderedDict, Counter, list, tuple, set})
_INT64 = 1 << 64

_I4 = struct.Struct("<i").unpack_from
_U4 = struct.Struct("<I").unpack_from
_U2 = struct.Struct("<H").unpack_from
_F8 = struct.Struct(">d").unpack_from


class Machine:
    """One walk over one pickle.

    Args:
        data: the bytes that hold the pickle; they may go on behind it.
        allowed: the globals that torch would let through.
        load_storage: gives the storage that a persistent id names, or raises RefusalError.
        names: collects the globals, in order of first appearance; shared by a stream's pickles.
    """

    __slots__ = (
        "allowed",
        "budget",
        "data",
        "dtype_orders",
        "globals",
        "growth",
        "keys",
        "load_storage",
        "marks",
        "memo",
        "names",
        "stack",
    )

    def __init__(
        self,
        data: bytes,
        allowed: frozenset[str],
        load_storage: Callable[[tuple[Any, ...]], Storage],
        names: dict[str, bool],
    ) -> None:
        self.data = data
        self.allowed = allowed
        self.load_storage = load_storage
        self.names = names
        self.globals: dict[str, Opaque] = {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.budget = BUDGET
        self.keys = _KEY_LIMIT
        self.dtype_orders: dict[Opaque, str] = {}
        self.growth: dict[Storage, int] | None = None

    @property
    def lenient(self) -> bool:
        """Whether torch has already refused, so that the walk goes on only to see more."""
        return not all(self.names.values())

    def run(self, at: int = 0) -> tuple[Any, int]:
        """Returns the object, and where the pickle's last byte is followed by the next.

        Raises:
            RefusalError: torch's unpickler raises, or a limit is reached.
        """
        data = self.data
        table = self.table()
        start = at
        try:
            for _ in range(STEP_LIMIT):
                start = at
                code = data[at]
                if code == _STOP:
                    return self.stack.pop(), at + 1
                at = table[code](self, at + 1)
        except CutShortError:
            raise
        except RefusalError as error:
            message = f"{error.fault.message}, at byte {start} of the pickle"
            raise RefusalError(error.fault.kind, message) from None
        except (IndexError, struct.error):
            if start + 1 + _FIXED.get(data[start : start + 1], 0) > len(data):
                raise CutShortError("torn: the pickle breaks off") from None
            raise refused(f"the pickle takes what is not there, at byte {start}") from None
        raise too_large(f"the pickle has more than {STEP_LIMIT} steps")

    def table(self) -> tuple[Step, ...]:
        """Returns the steps by opcode."""
        return _TABLE

    @staticmethod
    def steps() -> tuple[Step, ...]:
        """Returns the steps of the plain machine, by opcode."""
        return _TABLE

    def spend(self, units: int) -> None:
        """Takes from the budget of memory and time.

        Raises:
            RefusalError: it is used up.
        """
        self.budget -= units
        if self.budget < 0:
            raise too_large("the pickle asks for more objects than this reader makes")

    def outgrow(self, storage: Storage, need: int) -> bool:
        """Whether a storage may grow to `need` bytes, as those of the legacy format do."""
        if self.growth is None:
            return False
        self.growth[storage] = max(need, self.growth.get(storage, 0))
        return True

    def check_key(self, key: object) -> None:
        """Lets through what torch could hash, and this reader can at bounded cost.

        Raises:
            RefusalError: unhashable, or one of too many keys whose hashes may be made to collide.
        """
        kind = type(key)
        if kind in _HASHED or (kind is int and -_INT64 < key < _INT64):  # type: ignore[operator]
            return
        if kind in _UNHASHABLE:
            raise refused(f"a {kind.__name__} is used as a key")
        self.keys -= 1
        if self.keys < 0:
            raise too_large(f"the pickle has more than {_KEY_LIMIT} keys that are no text")
        if kind is tuple:
            self._check_tuple_key(key)  # type: ignore[arg-type]

    def _check_tuple_key(self, key: tuple[Any, ...]) -> None:
        left = _KEY_NODES
        level: list[Any] = [key]
        while level:
            item = level.pop()
            left -= 1
            if left < 0:
                raise too_large("a tuple used as a key is too large")
            if type(item) in _UNHASHABLE:
                raise refused(f"a {type(item).__name__} is used in a key")
            if type(item) is tuple:
                if len(item) > left:
                    raise too_large("a tuple used as a key is too large")
                level.extend(item)


def check_tree(root: object) -> None:
    """Makes sure that walking the tree from `root` ends, at bounded depth and cost.

    Raises:
        RefusalError: it is too deep, too large, or contains itself.
    """
    level = [root]
    left = TREE_LIMIT
    for _ in range(DEPTH_LIMIT):
        level = [item for item in level if type(item) in _CONTAINERS or type(item) is Opaque]
        if not level:
            return
        below: list[Any] = []
        for item in level:
            parts = _parts(item)
            left -= len(parts)
            if left < 0:
                raise too_large(f"the checkpoint's tree has more than {TREE_LIMIT} nodes")
            below.extend(parts)
        level = below
    raise too_large(f"the checkpoint's tree is nested more than {DEPTH_LIMIT} deep")


def _parts(item: Any) -> Any:  # noqa: ANN401 - containers of anything
    if isinstance(item, dict):
        return (*item.keys(), *item.values())
    if isinstance(item, Opaque):
        return item.args or ()
    return item


def _global(machine: Machine, at: int) -> int:
    data = machine.data
    middle = data.find(b"\n", at)
    if middle < 0:
        raise CutShortError("torn: the pickle breaks off in a name")
    end = data.find(b"\n", middle + 1)
    if end < 0:
        raise CutShortError("torn: the pickle breaks off in a name")
    try:
        module, name = data[at:middle].decode(), data[middle + 1 : end].decode()
    except UnicodeDecodeError:
        raise refused("the name of a global is no UTF-8") from None
    path = renamed(module, name)
    found = machine.globals.get(path)
    if found is None:
        found = machine.globals[path] = Opaque(path)
        machine.spend(4)
        machine.names.setdefault(path, is_allowed(path, machine.allowed))
    machine.stack.append(found)
    return end + 1


def _newobj(machine: Machine, at: int) -> int:
    machine.spend(8)
    stack = machine.stack
    arguments = stack.pop()
    stack[-1] = new_object(machine, stack[-1], _spread(machine, arguments))
    return at


def _reduce(machine: Machine, at: int) -> int:
    machine.spend(8)
    stack = machine.stack
    arguments = stack.pop()
    function = stack[-1]
    stack[-1] = call(machine, function, _spread(machine, arguments))
    return at


def _spread(machine: Machine, arguments: object) -> tuple[Any, ...]:
    if type(arguments) is tuple:
        if len(arguments) > 8:
            machine.spend(len(arguments))
        return arguments
    if isinstance(arguments, (list, dict, set, str, bytes, bytearray)):
        machine.spend(len(arguments))
        return tuple(arguments)
    raise refused("something is called with arguments that are no tuple")


def _build(machine: Machine, at: int) -> int:
    state = machine.stack.pop()
    build(machine, machine.stack[-1], state)
    return at


def _append(machine: Machine, at: int) -> int:
    item = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is not list:
        raise refused(f"something is appended to a {type(target).__name__}")
    target.append(item)
    return at


def _appends(machine: Machine, at: int) -> int:
    items = _pop_mark(machine)
    target = machine.stack[-1]
    if type(target) is not list:
        raise refused(f"something is appended to a {type(target).__name__}")
    target.extend(items)
    return at


def _setitem(machine: Machine, at: int) -> int:
    value = machine.stack.pop()
    key = machine.stack.pop()
    target = _check_mapping(machine.stack[-1])
    machine.check_key(key)
    target[key] = value
    return at


def _setitems(machine: Machine, at: int) -> int:
    items = _pop_mark(machine)
    target = _check_mapping(machine.stack[-1])
    if len(items) % 2:
        raise refused("a dict is given a key without a value")
    keys = items[::2]
    for key in keys:
        if type(key) is not str:
            machine.check_key(key)
    # Not `update`, which adds up in a Counter.
    for key, value in zip(keys, items[1::2], strict=True):
        target[key] = value
    return at


def _check_mapping(target: Any) -> dict[Any, Any]:  # noqa: ANN401 - whatever is on the stack
    kind = type(target)
    if kind is dict or kind is OrderedDict or kind is Counter:
        return target  # type: ignore[no-any-return]
    raise refused(f"an item is set in a {kind.__name__}")


def _pop_mark(machine: Machine) -> list[Any]:
    items = machine.stack
    machine.stack = machine.marks.pop()
    return items


def _mark(machine: Machine, at: int) -> int:
    machine.spend(1)
    machine.marks.append(machine.stack)
    machine.stack = []
    return at


def _tuple(machine: Machine, at: int) -> int:
    items = tuple(_pop_mark(machine))
    machine.stack.append(items)
    return at


def _tuple1(machine: Machine, at: int) -> int:
    machine.spend(1)
    machine.stack[-1] = (machine.stack[-1],)
    return at


def _tuple2(machine: Machine, at: int) -> int:
    machine.spend(1)
    stack = machine.stack
    last = stack.pop()
    stack[-1] = (stack[-1], last)
    return at


def _tuple3(machine: Machine, at: int) -> int:
    machine.spend(1)
    stack = machine.stack
    stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
    return at


def _none(machine: Machine, at: int) -> int:
    machine.stack.append(None)
    return at


def _false(machine: Machine, at: int) -> int:
    machine.stack.append(False)
    return at


def _true(machine: Machine, at: int) -> int:
    machine.stack.append(True)
    return at


def _empty_tuple(machine: Machine, at: int) -> int:
    machine.stack.append(())
    return at


def _empty_list(machine: Machine, at: int) -> int:
    machine.spend(1)
    machine.stack.append([])
    return at


def _empty_dict(machine: Machine, at: int) -> int:
    machine.spend(1)
    machine.stack.append({})
    return at


def _empty_set(machine: Machine, at: int) -> int:
    machine.spend(4)
    machine.stack.append(set())
    return at


def _binint(machine: Machine, at: int) -> int:
    machine.stack.append(_I4(machine.data, at)[0])
    return at + 4


def _binint1(machine: Machine, at: int) -> int:
    machine.stack.append(machine.data[at])
    return at + 1


def _binint2(machine: Machine, at: int) -> int:
    machine.stack.append(_U2(machine.data, at)[0])
    return at + 2


def _binfloat(machine: Machine, at: int) -> int:
    machine.stack.append(_F8(machine.data, at)[0])
    return at + 8


def _long1(machine: Machine, at: int) -> int:
    end = at + 1 + machine.data[at]
    machine.stack.append(int.from_bytes(_take(machine, at + 1, end), "little", signed=True))
    return end


def _binunicode(machine: Machine, at: int) -> int:
    end = at + 4 + _U4(machine.data, at)[0]
    try:
        text = _take(machine, at + 4, end).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise refused("a text is no UTF-8") from None
    machine.stack.append(text)
    return end  # type: ignore[no-any-return]


def _short_binstring(machine: Machine, at: int) -> int:
    end = at + 1 + machine.data[at]
    try:
        machine.stack.append(_take(machine, at + 1, end).decode())
    except UnicodeDecodeError:
        raise refused("a text is no UTF-8") from None
    return end


def _take(machine: Machine, start: int, end: int) -> bytes:
    if end > len(machine.data):
        raise CutShortError("torn: the pickle breaks off in a text")
    return machine.data[start:end]


def _binpersid(machine: Machine, at: int) -> int:
    machine.spend(8)
    stack = machine.stack
    identifier = stack.pop()
    if type(identifier) is not tuple:
        raise refused("a persistent id is no tuple")
    kind = identifier[0] if identifier else None
    if kind != (b"storage" if isinstance(kind, bytes) else "storage"):
        raise refused("a persistent id names no storage")
    stack.append(machine.load_storage(identifier[1:]))
    return at


def _binget(machine: Machine, at: int) -> int:
    return _recall(machine, machine.data[at], at + 1)


def _long_binget(machine: Machine, at: int) -> int:
    return _recall(machine, _U4(machine.data, at)[0], at + 4)


def _recall(machine: Machine, index: int, at: int) -> int:
    try:
        machine.stack.append(machine.memo[index])
    except KeyError:
        raise refused(f"memo {index} was never stored") from None
    return at


def _binput(machine: Machine, at: int) -> int:
    machine.memo[machine.data[at]] = machine.stack[-1]
    return at + 1


def _long_binput(machine: Machine, at: int) -> int:
    machine.spend(2)
    machine.memo[_U4(machine.data, at)[0]] = machine.stack[-1]
    return at + 4


def _proto(machine: Machine, at: int) -> int:
    machine.data[at]  # must be there; any version is only warned about
    return at + 1


def _unknown(machine: Machine, at: int) -> int:
    code = machine.data[at - 1]
    raise refused(f"the pickle uses opcode {shown(bytes([code]))}, which weights_only refuses")


_STOP = ord(".")
# The bytes that must follow an opcode, where their number is fixed.
_FIXED = {
    **dict.fromkeys((b"J", b"X", b"j", b"r"), 4),
    **dict.fromkeys((b"K", b"U", b"\x8a", b"h", b"q", b"\x80"), 1),
    b"M": 2,
    b"G": 8,
    b"": 1,
}
_OPCODES: dict[bytes, Step] = {
    b"c": _global,
    b"\x81": _newobj,
    b"R": _reduce,
    b"b": _build,
    b"a": _append,
    b"e": _appends,
    b"s": _setitem,
    b"u": _setitems,
    b"(": _mark,
    b"t": _tuple,
    b"\x85": _tuple1,
    b"\x86": _tuple2,
    b"\x87": _tuple3,
    b"N": _none,
    b"\x89": _false,
    b"\x88": _true,
    b")": _empty_tuple,
    b"]": _empty_list,
    b"}": _empty_dict,
    b"\x8f": _empty_set,
    b"J": _binint,
    b"K": _binint1,
    b"M": _binint2,
    b"G": _binfloat,
    b"\x8a": _long1,
    b"X": _binunicode,
    b"U": _short_binstring,
    b"Q": _binpersid,
    b"h": _binget,
    b"j": _long_binget,
    b"q": _binput,
    b"r": _long_binput,
    b"\x80": _proto,
}
_TABLE: tuple[Step, ...] = tuple(_OPCODES.get(bytes([code]), _unknown) for code in range(256))
