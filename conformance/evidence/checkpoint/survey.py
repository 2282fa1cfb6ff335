"""Lists every global that any pickle names, of any protocol, by a linear look at its opcodes."""

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


def named_globals(data: bytes) -> Iterator[str]:
    """Yields each `module.name`, up to where the pickle stops or breaks off.

    STACK_GLOBAL takes its two names from the stack; they are taken to be the last two texts that
    were put there, also from the memo, which is what every pickler writes.
    """
    texts = ["", ""]
    memo: dict[int, str] = {}
    for name, argument in _operations(data):
        if name in {"GLOBAL", "INST"}:
            yield ".".join(str(argument).split(" ", 1))
        elif name == "STACK_GLOBAL":
            yield ".".join(texts)
        elif name in _TEXTS:
            texts = [texts[1], str(argument)]
        elif name in _PUTS:
            memo[len(memo) if argument is None else int(str(argument))] = texts[1]
        elif name in _GETS:
            texts = [texts[1], memo.get(int(str(argument)), texts[1])]


def _operations(data: bytes) -> Iterator[tuple[str, object]]:
    import pickletools  # noqa: PLC0415 - only for the few files that torch refuses

    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data[:_LIMIT])):
            if count > _STEPS:
                return
            yield opcode.name, argument
    except (ValueError, IndexError, KeyError, OverflowError):
        return  # where the pickle breaks off
