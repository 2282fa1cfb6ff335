"""The globals that a pickle names: under which name, whether allowed, and a list of them all.

`named_globals` takes a linear look at the opcodes of a pickle of any protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEPS = 500_000
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


def named_globals(data: bytes, *, complete: bool = False) -> list[str]:
    """Returns each `module.name`, up to where the pickle stops or breaks off.

    With `complete`, nothing unless the bytes are a pickle to its end: text may look like the begin
    of one.

    STACK_GLOBAL takes its two names from the stack; they are taken to be the last two texts that
    were put there, also from the memo, which is what every pickler writes.
    """
    found: list[str] = []
    texts = ["", ""]
    last = 0
    memo: dict[int, str] = {}
    for code, argument in _operations(data):
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


def _index(code: int, argument: bytes) -> int:
    if code not in _LINES:
        return int.from_bytes(argument, "little")
    return int(argument) if argument.isdigit() and len(argument) < 20 else -1


def _operations(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields opcodes and arguments, up to and with STOP, or to where the pickle breaks off."""
    at = 0
    for _ in range(_STEPS):
        if at >= len(data):
            return
        code = data[at]
        start, end = _argument(data, code, at + 1)
        if end > len(data):
            return
        yield code, data[start:end]
        if code == _STOP:
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
