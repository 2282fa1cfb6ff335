"""OmegaConf's interpolations, as far as IsaacGymEnvs' configs use them, in bounded work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.evidence.config.document import (
    BadConfigError,
    MappingNode,
    ScalarNode,
    SequenceNode,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.evidence.config.document import Node

_LONGEST_TEXT = 4096  # characters of an expression, and of what it gives
LONGEST_NUMBER = 64  # characters
_MOST_STEPS = 1_000  # of resolving one setting
_DEEPEST_REFERENCE = 30


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar: what it means, and how it is written."""

    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A sequence or mapping, and where it stands."""

    node: SequenceNode | MappingNode
    path: tuple[str, ...]


class Tree:
    """Finds values by their path, following interpolations, for one setting."""

    def __init__(self, root: MappingNode) -> None:
        self.root = root
        self.twice: dict[
            str, None
        ] = {}  # keys on the way that stand there more than once, in order
        self._steps = 0
        self._resolving: list[tuple[str, ...]] = []

    def at(self, path: tuple[str, ...]) -> Value | Place:
        """Return what stands at a path from the root; nothing there is an error."""
        found: Value | Place = Place(self.root, ())
        for key in path:
            child = self.child(found.node, key) if isinstance(found, Place) else None
            if child is None or not isinstance(found, Place):
                raise BadConfigError(f"there is no {quoted('.'.join(path))}")
            found = self._resolved(child, (*found.path, key))
        return found

    def step(self) -> None:
        """Count one step of work."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise BadConfigError(f"takes more than {_MOST_STEPS} steps to resolve")

    def child(self, node: SequenceNode | MappingNode, key: str) -> Node | None:
        """Return what a container holds under a key, or None."""
        self.step()
        if isinstance(node, SequenceNode):
            index = int(key) if key.isdecimal() and len(key) < LONGEST_NUMBER else len(node.items)
            return node.items[index] if index < len(node.items) else None
        if key in node.twice:
            self.twice[key] = None
        if key in node.items:
            return node.items[key]
        waiting = node.merged[::-1]
        while waiting:
            self.step()
            merged = waiting.pop()
            if isinstance(merged, SequenceNode):
                waiting.extend(merged.items[:_MOST_STEPS][::-1])
            elif isinstance(merged, MappingNode):
                if key in merged.items:
                    return merged.items[key]
                waiting.extend(merged.merged[::-1])
        return None

    def _resolved(self, node: Node, path: tuple[str, ...]) -> Value | Place:
        if not isinstance(node, ScalarNode):
            return Place(node, path)
        if node.kind != "str" or "${" not in node.text:
            return _plain(node)
        if path in self._resolving:
            raise BadConfigError(f"{quoted('.'.join(path))} refers to itself")
        if len(self._resolving) >= _DEEPEST_REFERENCE:
            raise BadConfigError(f"refers on and on, more than {_DEEPEST_REFERENCE} times")
        self._resolving.append(path)
        value = _Expression(node.text, path, self).value()
        self._resolving.pop()
        return value


def _plain(scalar: ScalarNode) -> Value:
    """Return what a scalar without interpolation means."""
    text, kind = scalar.text, scalar.kind
    try:
        if kind == "str":
            if text == "???":
                raise BadConfigError("is missing ('???')")
            return Value(text, text)
        if kind == "null":
            return Value(None, text)
        if kind == "bool":
            return Value(_BOOLS[text.lower()], text)
        if kind in {"int", "float"} and len(text) <= LONGEST_NUMBER:
            return Value(_integer(text) if kind == "int" else _float(text), text)
    except (ValueError, KeyError):
        pass
    raise BadConfigError(f"{quoted(text)} cannot be read as a value")


_BOOLS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


def _integer(text: str) -> int:
    """Read an integer of YAML 1.1: decimal, 0b, 0 (octal), 0x or base 60, with underscores."""
    digits = text.replace("_", "").removeprefix("+")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.removeprefix("-")
    if digits.startswith(("0b", "0x")):
        return sign * int(digits, 0)
    if digits.startswith("0") and digits != "0":
        return sign * int(digits, 8)
    number = 0
    for part in digits.split(":"):
        number = 60 * number + int(part)
    return sign * number


def _float(text: str) -> float:
    """Read a float of YAML 1.1, base 60 excepted."""
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_NAME = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*)[ \t]*:")
_KEY = re.compile(r"[^\\${}()\[\]:. \t'\"]+")
# Blanks belong to an argument within it, and after a colon.
_UNQUOTED = re.compile(r"(?:[A-Za-z0-9_/+.%*@?|-]|:[ \t]*|[ \t]+(?![ \t,}])|\$(?!\{))+")
_END_OF_ARGUMENT = re.compile(r"[ \t]*(?=[,}])")
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
_DIGITS = r"[0-9](?:_?[0-9])*"
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
_NUMBER = re.compile(
    rf"[+-]?(?:(?:{_DIGITS}\.(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?|{_DIGITS}[eE][+-]?{_DIGITS}|(?i:inf|nan))"
)


class _Expression:
    """Evaluates a text in OmegaConf's grammar, as far as IsaacGymEnvs' configs use it."""

    def __init__(self, text: str, path: tuple[str, ...], tree: Tree) -> None:
        if len(text) > _LONGEST_TEXT:
            raise BadConfigError(f"is an expression of more than {_LONGEST_TEXT} characters")
        self._text = text
        self._at = 0
        self._path = path  # where the text stands: relative interpolations start from there
        self._tree = tree
        self._depth = 0

    def value(self) -> Value | Place:
        """Return what the whole text means."""
        return self._joined(self._literal(""))

    def _literal(self, quote: str) -> list[str | Value | Place]:
        """Read text with interpolations up to its closing quote; to the end where there is none."""
        parts: list[str | Value | Place] = []
        while True:
            ends = [
                end
                for what in ("${", quote)
                if what and (end := self._text.find(what, self._at)) >= 0
            ]
            if not ends:
                if quote:
                    raise self._unreadable()
                parts.append(self._text[self._at :])
                return parts
            end = min(ends)
            what = "${" if self._text.startswith("${", end) else quote
            before = self._text[self._at : end]
            kept = before.rstrip("\\")
            slashes = len(before) - len(kept)
            self._at = end + len(what)
            parts.append(kept + "\\" * (slashes // 2))
            if slashes % 2:
                parts.append(what)
            elif what == quote:
                return parts
            else:
                parts.append(self._interpolation())

    def _joined(self, parts: list[str | Value | Place]) -> Value | Place:
        """Return a lone interpolation as it is, anything else as one text."""
        parts = [part for part in parts if part != ""]
        if len(parts) == 1 and not isinstance(parts[0], str):
            return parts[0]
        text = "".join([_as_text(part) for part in parts])
        if len(text) > _LONGEST_TEXT:
            raise BadConfigError(f"becomes a text of more than {_LONGEST_TEXT} characters")
        return Value(text, text)

    def _interpolation(self) -> Value | Place:
        """Read what follows `${`, and the closing brace."""
        self._tree.step()
        self._depth += 1
        if self._depth > _DEEPEST_REFERENCE:
            raise BadConfigError(
                f"is nested too deeply: more than {_DEEPEST_REFERENCE} interpolations"
            )
        name = _NAME.match(self._text, self._at)
        if name:
            self._at = name.end()
            value = _call(name[1], self._arguments())
        else:
            value = self._tree.at(self._reference())
        self._depth -= 1
        return value

    def _reference(self) -> tuple[str, ...]:
        """Read `a.b[c]`, with dots before it where it is relative, and the closing brace."""
        self._skip_blanks()
        rest = self._text[self._at :]
        dots = len(rest) - len(rest.lstrip("."))
        self._at += dots
        if dots > len(self._path):
            raise BadConfigError(f"{quoted(self._text)} refers to something above the top")
        path = list(self._path[: len(self._path) - dots]) if dots else []
        while True:
            bracket = self._took("[")
            key = _KEY.match(self._text, self._at)
            if not key:
                raise self._unreadable()
            self._at = key.end()
            path.append(key[0])
            if bracket and not self._took("]"):
                raise self._unreadable()
            if not self._took(".") and not self._text.startswith("[", self._at):
                break
        self._skip_blanks()
        if not self._took("}"):
            raise self._unreadable()
        return tuple(path)

    def _arguments(self) -> list[Value | Place]:
        """Read a resolver's arguments and the closing brace."""
        arguments: list[Value | Place] = []
        self._skip_blanks()
        if self._took("}"):
            return arguments
        while True:
            self._skip_blanks()
            quote = self._text[self._at : self._at + 1]
            if quote in {"'", '"'}:
                self._at += 1
                text = _as_text(self._joined(self._literal(quote)))
                arguments.append(Value(text, text))
                self._skip_blanks()
            else:
                arguments.append(self._unquoted())
            if self._took("}"):
                return arguments
            if not self._took(","):
                raise self._unreadable()

    def _unquoted(self) -> Value | Place:
        """Read an argument without quotes: a number, true, false, null, interpolations, text."""
        parts: list[str | Value | Place] = []
        typed = True
        while not (end := _END_OF_ARGUMENT.match(self._text, self._at)):
            if self._took("${"):
                parts.append(self._interpolation())
            elif escaped := _ESCAPED.match(self._text, self._at):
                self._at, typed = escaped.end(), False
                parts.append(escaped[1])
            elif unquoted := _UNQUOTED.match(self._text, self._at):
                self._at = unquoted.end()
                parts.append(unquoted[0])
            elif self._took("\\"):
                parts.append("\\")
            else:
                raise self._unreadable()
        self._at = end.end()
        if typed and len(parts) == 1 and isinstance(parts[0], str):
            return _typed(parts[0])
        return self._joined(parts)

    def _skip_blanks(self) -> None:
        while self._text[self._at : self._at + 1] in {" ", "\t"}:
            self._at += 1

    def _took(self, what: str) -> bool:
        if not self._text.startswith(what, self._at):
            return False
        self._at += len(what)
        return True

    def _unreadable(self) -> BadConfigError:
        return BadConfigError(
            f"{quoted(self._text)} is not an interpolation that is read (character {self._at + 1})"
        )


def _typed(text: str) -> Value:
    """Return what an argument without quotes means."""
    lower = text.lower()
    value: str | int | float | bool | None = text
    if lower == "null":
        value = None
    elif lower in {"true", "false"}:
        value = lower == "true"
    elif _INTEGER.fullmatch(text) and len(text) <= LONGEST_NUMBER:
        value = int(text)
    elif _NUMBER.fullmatch(text):
        value = float(text)
    return Value(value, text)


def _as_text(part: str | Value | Place) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Place):
        raise BadConfigError(f"{quoted('.'.join(part.path))} is a list or a mapping, not a value")
    return str(part.value)


def _call(name: str, arguments: list[Value | Place]) -> Value | Place:
    """Return what a resolver gives; isaacgymenvs/__init__.py registers the known ones."""
    if name not in _RESOLVERS:
        raise BadConfigError(f"the resolver {quoted(name)} is not known; it was not run")
    count, resolve = _RESOLVERS[name]
    if len(arguments) != count:
        raise BadConfigError(f"the resolver {name} takes {count} arguments, not {len(arguments)}")
    return resolve(*arguments)


def _lower(argument: Value | Place) -> str:
    value = argument.value if isinstance(argument, Value) else None
    if not isinstance(value, str):
        raise BadConfigError("eq and contains compare texts; an argument is none")
    return value.lower()


def _eq(left: Value | Place, right: Value | Place) -> Value:
    equal = _lower(left) == _lower(right)
    return Value(equal, str(equal))


def _contains(part: Value | Place, whole: Value | Place) -> Value:
    contained = _lower(part) in _lower(whole)
    return Value(contained, str(contained))


def _if(condition: Value | Place, true: Value | Place, false: Value | Place) -> Value | Place:
    return (
        true
        if (condition.value if isinstance(condition, Value) else condition.node.items)
        else false
    )


def _resolve_default(default: Value | Place, argument: Value | Place) -> Value | Place:
    return default if isinstance(argument, Value) and argument.value == "" else argument


_RESOLVERS: dict[str, tuple[int, Callable[..., Value | Place]]] = {
    "eq": (2, _eq),
    "contains": (2, _contains),
    "if": (3, _if),
    "resolve_default": (2, _resolve_default),
}
