"""The globals that a pickle names: under which name, whether allowed, and a list of them all.

`named_globals` takes a linear look at the opcodes of a pickle of any protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEPS = 500_000
LEGACY_PICKLES = 5
"""How many pickles a legacy stream begins with."""
# What follows an opcode, in any protocol: so many bytes, so many lines, or a length and its bytes.
_BYTES = {
    **dict.fromkeys(
        b"(.012NRQb}ae]lt)sudo\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", 0
    ),
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    **dict.fromkeys(b"G\x95", 8),
}
_LINES = {**dict.fromkeys(b"ILFVSPgp", 1), **dict.fromkeys(b"ci", 2)}
_LENGTHS = {
    **dict.fromkeys(b"UC\x8a\x8c", 1),
    **dict.fromkeys(b"TBX\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}
_NAMED = frozenset(b"ci")
_TEXTS = frozenset(b"VSTUX\x8c\x8d")
_PUTS = frozenset(b"pqr\x94")
_GETS = frozenset(b"ghj")
_MEMOIZE = 0x94
_STACK_GLOBAL = 0x93
_STOP = ord(".")
_EMPTY_TUPLE = ord(")")
_NEWOBJ = 0x81
_PERSISTENT = ord("Q")
_WRAPPED = "module"
_MODULE_STATE = frozenset({"_parameters", "_buffers", "_modules"})

# torch renames Python 2's modules as `pickle` does (`torch._utils.IMPORT_MAPPING`, `NAME_MAPPING`).
_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "Queue": "queue",
    "repr": "reprlib",
    "_abcoll": "collections.abc",
    "UserDict": "collections",
    "UserList": "collections",
    "UserString": "collections",
    "whichdb": "dbm",
    "StringIO": "io",
    "cStringIO": "io",
}
_NAMES = {
    ("__builtin__", "xrange"): ("builtins", "range"),
    ("__builtin__", "reduce"): ("functools", "reduce"),
    ("__builtin__", "intern"): ("sys", "intern"),
    ("__builtin__", "unichr"): ("builtins", "chr"),
    ("__builtin__", "unicode"): ("builtins", "str"),
    ("__builtin__", "long"): ("builtins", "int"),
    ("__builtin__", "basestring"): ("builtins", "str"),
    ("exceptions", "StandardError"): ("builtins", "Exception"),
    ("itertools", "izip"): ("builtins", "zip"),
    ("itertools", "imap"): ("builtins", "map"),
    ("itertools", "ifilter"): ("builtins", "filter"),
    ("itertools", "ifilterfalse"): ("itertools", "filterfalse"),
    ("itertools", "izip_longest"): ("itertools", "zip_longest"),
    ("UserDict", "IterableUserDict"): ("collections", "UserDict"),
    ("UserDict", "UserDict"): ("collections", "UserDict"),
    ("UserList", "UserList"): ("collections", "UserList"),
    ("UserString", "UserString"): ("collections", "UserString"),
}
# Modules of which torch lets nothing through, even if told to.
_BLOCKED = ("sys.", "os.", "posix.", "nt.")


def renamed(module: str, name: str) -> str:
    """Returns the `module.name` under which torch looks a global up."""
    if (module, name) in _NAMES:
        return ".".join(_NAMES[module, name])
    return f"{_MODULES.get(module, module)}.{name}"


def is_allowed(path: str, allowed: frozenset[str]) -> bool:
    """Whether torch lets a global through when told to allow these."""
    return path in allowed and not path.startswith(_BLOCKED)


def named_globals(data: bytes, *, complete: bool = False, pickles: int = 1) -> list[str]:
    """Returns each `module.name`, up to where so many pickles stop or one breaks off.

    With `complete`, nothing unless the bytes are a pickle to its end: text may look like the begin
    of one.

    STACK_GLOBAL takes its two names from the stack; they are taken to be the last two texts that
    were put there, also from the memo, which is what every pickler writes.
    """
    found: list[str] = []
    texts = ["", ""]
    last = 0
    memo: dict[int, str] = {}
    for code, argument in _operations(data, pickles):
        last = code
        if code in _NAMED:
            found.append(renamed(*argument.decode("utf-8", "backslashreplace").split("\n")))
        elif code == _STACK_GLOBAL:
            found.append(renamed(*texts))
        elif code in _TEXTS:
            texts = [texts[1], argument.decode("utf-8", "backslashreplace").strip("'\"")]
        elif code in _PUTS:
            memo[len(memo) if code == _MEMOIZE else _index(code, argument)] = texts[1]
        elif code in _GETS:
            texts = [texts[1], memo.get(_index(code, argument), texts[1])]
    return found if last == _STOP or not complete else []


def module_classes(data: bytes) -> tuple[str, ...]:
    """Returns the classes of the whole modules that pickles hold, as `torch.save(model)` writes.

    What tells one is the state of `torch.nn.Module`; each class of the same pickle that is made
    without arguments, as a module's is, counts. A global that stands anywhere else as well may be
    called, and does not count.
    """
    made: dict[str, None] = {}
    used: set[str] = set()
    keys: set[str] = set()
    for name, makes in _globals_with_use(data, keys):
        if makes:
            made[name] = None
        else:
            used.add(name)
    return tuple(name for name in made if name not in used) if keys >= _MODULE_STATE else ()


def _globals_with_use(data: bytes, keys: set[str]) -> Iterator[tuple[str, bool]]:
    """Yields each global that is put on the stack, and whether an object is made of it alone.

    Collects the texts of a module's state in `keys`. A legacy stream wraps a module's class into
    a persistent id, between the text `module` and the source of the class.
    """
    texts = ["", ""]
    memo: dict[int, tuple[str, str]] = {}  # a text, or a global
    held = wrapped = ""
    empty = False
    for code, argument in _operations(data, LEGACY_PICKLES):
        if code in _PUTS:
            at = len(memo) if code == _MEMOIZE else _index(code, argument)
            memo[at] = ("", held) if held and not empty else (texts[1], "")
            continue
        if code == _EMPTY_TUPLE and held and not empty:
            empty = True
            continue
        text, name = _pushed(code, argument, texts, memo)
        if code == _PERSISTENT:
            name, wrapped = wrapped, ""
        if held and texts[1] == _WRAPPED and not empty and text:
            wrapped = held
        elif held:
            yield held, empty and code == _NEWOBJ
        if text:
            texts = [texts[1], text]
            keys.update(_MODULE_STATE & {text})
        held, empty = name, False


def _pushed(
    code: int, argument: bytes, texts: list[str], memo: dict[int, tuple[str, str]]
) -> tuple[str, str]:
    """The text and the global that an operation puts on the stack; empty where it is none."""
    if code in _NAMED:
        return "", renamed(*argument.decode("utf-8", "backslashreplace").split("\n"))
    if code == _STACK_GLOBAL:
        return "", renamed(*texts)
    if code in _TEXTS:
        return argument.decode("utf-8", "backslashreplace").strip("'\""), ""
    return memo.get(_index(code, argument), ("", "")) if code in _GETS else ("", "")


def _index(code: int, argument: bytes) -> int:
    if code not in _LINES:
        return int.from_bytes(argument, "little")
    return int(argument) if argument.isdigit() and len(argument) < 20 else -1


def _operations(data: bytes, pickles: int = 1) -> Iterator[tuple[int, bytes]]:
    """Yields opcodes and arguments, up to and with the STOP of so many pickles that follow.

    Ends where one breaks off.
    """
    at = 0
    for _ in range(_STEPS):
        if at >= len(data):
            return
        code = data[at]
        start, end = _argument(data, code, at + 1)
        if end > len(data):
            return
        yield code, data[start:end]
        pickles -= code == _STOP
        if not pickles:
            return
        at = end + (code in _LINES)


def _argument(data: bytes, code: int, at: int) -> tuple[int, int]:
    """Returns where an opcode's argument begins and ends; beyond the data if there is none."""
    size = _BYTES.get(code)
    if size is not None:
        return at, at + size
    width = _LENGTHS.get(code)
    if width is not None:
        return at + width, at + width + int.from_bytes(data[at : at + width], "little")
    end = at - 1
    for _ in range(_LINES.get(code, 0)):
        end = data.find(b"\n", end + 1)
        if end < 0:
            break
    return at, end if end >= at else len(data) + 1
