"""The globals that a pickle names: under which name, whether allowed, and a list of them all.

`named_globals` takes a linear look at the opcodes of a pickle of any protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 1 << 20
_STEPS = 500_000
_TEXTS = frozenset(
    {
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    }
)
_PUTS = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})


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
    last = ""
    memo: dict[int, str] = {}
    for name, argument in _operations(data):
        last = name
        if name in {"GLOBAL", "INST"}:
            found.append(renamed(*(*str(argument).split(" ", 1), "")[:2]))
        elif name == "STACK_GLOBAL":
            found.append(renamed(*texts))
        elif name in _TEXTS:
            texts = [texts[1], str(argument)]
        elif name in _PUTS:
            memo[len(memo) if argument is None else int(str(argument))] = texts[1]
        elif name in _GETS:
            texts = [texts[1], memo.get(int(str(argument)), texts[1])]
    return found if last == "STOP" or not complete else []


def _operations(data: bytes) -> Iterator[tuple[str, object]]:
    import pickletools  # noqa: PLC0415 - only for the few files that torch refuses

    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data[:_LIMIT])):
            if count > _STEPS:
                return
            yield opcode.name, argument
    except (ValueError, IndexError, KeyError, OverflowError):
        return  # where the pickle breaks off
