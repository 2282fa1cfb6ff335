"""Reads a run's config file: the experiment's name, and the settings that say when to save."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from conformance.evidence.regular import NotRegularError, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

    from yaml import CollectionStartEvent, ScalarEvent, YAMLError

_LARGEST_FILE = (
    256 << 10
)  # bytes; real ones hold some 5 KB, and PyYAML without its C part reads 100 KB a second
_MOST_NODES = 50_000
_DEEPEST = 64  # levels of nesting
_LONGEST_TEXT = 4096  # characters of an expression, and of what it gives
_LONGEST_NUMBER = 64  # characters
_LONGEST_NAME = 255  # characters; no file's name is longer
_LARGEST_NUMBER = 2**63 - 1
_MOST_STEPS = 1_000  # of resolving one setting
_DEEPEST_REFERENCE = 30
_MOST_PROBLEMS = 20

_T = TypeVar("_T")

Shape: TypeAlias = Literal["flat", "isaacgymenvs", "unknown"]

_FLAT_KEYS = {
    "name": "name",
    "save_freq": "save_freq",
    "max_epochs": "max_epochs",
    "save_best_after": "save_best_after",
}
_RL_GAMES_KEYS = {**_FLAT_KEYS, "save_freq": "save_frequency"}
_RL_GAMES_PLACES = (
    ("train", "params", "config"),
    ("params", "config"),
)  # IsaacGymEnvs', and rl_games' own


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run's config file says.

    Attributes:
        path: where it was read.
        shape: `flat` (the settings at the top), `isaacgymenvs` (under `train.params.config`, or
            rl_games' own `params.config`), or `unknown` (none of them is there).
        name: the experiment's name as it is written, also where YAML would read a number: `007`.
        save_freq: epochs from one periodic checkpoint to the next, 0 for none; rl_games'
            `save_frequency`.
        max_epochs: how many epochs the run trains; rl_games' -1 (no end) is None.
        save_best_after: the epoch before which no best checkpoint is written.
        problems: one line for each thing that is wrong, with the setting or line that it is about.
            A setting that cannot be read is None; one that is absent or null is None without a
            problem.
    """

    path: Path
    shape: Shape
    name: str | None
    save_freq: int | None
    max_epochs: int | None
    save_best_after: int | None
    problems: tuple[str, ...]


def read_config(path: Path) -> RunConfig:
    """Read a run's config file, whatever it holds, in bounded memory and time.

    Nothing that the file names is constructed or executed, and no environment variable is read. Of
    OmegaConf's interpolations those that IsaacGymEnvs' configs use are resolved: `${a.b}`,
    `${.sibling}`, `${..a}`, and the resolvers `eq`, `contains`, `if` and `resolve_default` as
    IsaacGymEnvs registers them.

    Args:
        path: the file; a symbolic link is followed.

    Returns:
        What the file says. No error is raised for what the file is or holds: `problems` says it.
    """
    try:
        root, problems = _document(_text(path))
    except _BadConfigError as error:
        return RunConfig(path, "unknown", None, None, None, None, (str(error),))
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
        return RunConfig(path, "unknown", None, None, None, None, (problem,))
    shape, place = _shape(root)
    if shape == "unknown":
        return RunConfig(path, shape, None, None, None, None, tuple(problems))
    keys = _FLAT_KEYS if shape == "flat" else _RL_GAMES_KEYS
    unset = None if shape == "flat" else -1
    reader = _Settings(root, place, problems)
    return RunConfig(
        path=path,
        shape=shape,
        name=reader.name(keys["name"]),
        save_freq=reader.number(keys["save_freq"], least=0),
        max_epochs=reader.number(keys["max_epochs"], least=1, unset=unset),
        save_best_after=reader.number(keys["save_best_after"], least=0),
        problems=tuple(reader.problems[:_MOST_PROBLEMS]),
    )


class _BadConfigError(Exception):
    """The file, or one setting, cannot be read; the text says why in one line."""


def _quoted(text: str) -> str:
    """Return a text fit for a message: ASCII, one line, not long."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


# The document


@dataclass(frozen=True, slots=True)
class _Scalar:
    kind: str  # str, int, float, bool, null, merge (the key `<<`), or other
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class _Sequence:
    items: list[_Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Mapping:
    items: dict[str, _Node] = field(default_factory=dict)
    merged: list[_Node] = field(default_factory=list)
    twice: set[str] = field(
        default_factory=set
    )  # keys that stand there more than once: the last one counts


_Node: TypeAlias = "_Scalar | _Sequence | _Mapping"

_YAML = "tag:yaml.org,2002:"
_KINDS = {
    **{kind: kind for kind in ("str", "int", "float", "bool", "null", "merge")},
    **dict.fromkeys(("seq", "map", "set", "omap", "pairs", "binary", "value"), "other"),
    "timestamp": "str",  # as OmegaConf reads it
}
# What OmegaConf reads as a number beyond YAML 1.1.
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+")


def _read_at_most(file: FileIO, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = _read_at_most(file, _LARGEST_FILE + 1)
    except NotRegularError as error:
        raise _BadConfigError(str(error)) from None
    if len(data) > _LARGEST_FILE:
        raise _BadConfigError(f"is too large: at most {_LARGEST_FILE} bytes are read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _BadConfigError(f"is not UTF-8 (byte {error.start})") from None


def _document(text: str) -> tuple[_Mapping, list[str]]:
    """Return the document's root, and what is wrong with a document that is YAML at all."""
    import yaml  # noqa: PLC0415  (slow to import, and needed only where there is a config)

    resolver = yaml.resolver.Resolver()

    def implicit_tag(text: str) -> str:
        tag: str = resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # (yaml's)
        return tag

    builder = _Builder(implicit_tag)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.ScalarEvent):
                builder.scalar(event, line)
            elif isinstance(event, yaml.SequenceStartEvent):
                builder.open(_Sequence(), event, line)
            elif isinstance(event, yaml.MappingStartEvent):
                builder.open(_Mapping(), event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.close()
            elif isinstance(event, yaml.AliasEvent):
                builder.alias(event.anchor or "", line)
    except yaml.YAMLError as error:
        raise _BadConfigError(f"is not YAML: {_reason(error)}") from None
    if not isinstance(builder.root, _Mapping):
        raise _BadConfigError("holds no settings: it is not a mapping of keys to values")
    return builder.root, builder.problems


def _reason(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return _quoted(str(error))
    reason = getattr(error, "problem", None) or getattr(error, "context", None) or "no reason given"
    return f"{_quoted(reason)} (line {mark.line + 1}, column {mark.column + 1})"


class _Builder:
    """Builds the tree from the parser's events: no recursion, and nothing is constructed."""

    def __init__(self, implicit_tag: Callable[[str], str]) -> None:
        self.root: _Node | None = None
        self.problems: list[str] = []
        self._implicit_tag = implicit_tag
        self._open: list[_Sequence | _Mapping] = []
        self._keys: list[
            _Node | None
        ] = []  # of each open mapping: the key that waits for its value
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0

    def scalar(self, event: ScalarEvent, line: int) -> None:
        plain = event.implicit[0]
        if event.tag not in {None, "!"}:
            kind = self._kind(event.tag, line)
        elif plain:
            kind = (
                "float"
                if _EXPONENT.fullmatch(event.value)
                else self._kind(self._implicit_tag(event.value), line)
            )
        else:
            kind = "str"
        self._add(_Scalar(kind, event.value), event.anchor, line)

    def open(self, node: _Sequence | _Mapping, event: CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            self._kind(event.tag, line)
        self._add(node, event.anchor, line)
        if len(self._open) >= _DEEPEST:
            raise _BadConfigError(
                f"is nested too deeply: more than {_DEEPEST} levels (line {line})"
            )
        self._open.append(node)
        self._keys.append(None)

    def close(self) -> None:
        self._open.pop()
        self._keys.pop()

    def alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise _BadConfigError(f"is not YAML: undefined alias {_quoted(anchor)} (line {line})")
        self._add(self._anchors[anchor], None, line)

    def _kind(self, tag: str, line: int) -> str:
        kind = _KINDS.get(tag.removeprefix(_YAML)) if tag.startswith(_YAML) else None
        if kind is None and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(
                f"line {line}: the tag {_quoted(tag)} is not plain YAML; it was not followed"
            )
        return kind or "other"

    def _add(self, node: _Node, anchor: str | None, line: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _BadConfigError(f"is too large: more than {_MOST_NODES} values (line {line})")
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            if self.root is not None:
                raise _BadConfigError(f"holds more than one document (line {line})")
            self.root = node
            return
        parent, key = self._open[-1], self._keys[-1]
        if isinstance(parent, _Sequence):
            parent.items.append(node)
        elif key is None:
            self._keys[-1] = node
        else:
            self._keys[-1] = None
            _put(parent, key, node)


def _put(mapping: _Mapping, key: _Node, value: _Node) -> None:
    if not isinstance(key, _Scalar):
        return
    if key.kind == "merge":
        mapping.merged.append(value)
    elif key.kind == "str":
        if key.text in mapping.items:
            mapping.twice.add(key.text)
        mapping.items[key.text] = value


# OmegaConf's interpolations


@dataclass(frozen=True, slots=True)
class _Value:
    """A scalar: what it means, and how it is written."""

    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A sequence or mapping, and where it stands."""

    node: _Sequence | _Mapping
    path: tuple[str, ...]


class _Tree:
    """Finds values by their path, following interpolations, for one setting."""

    def __init__(self, root: _Mapping) -> None:
        self.root = root
        self.twice: dict[
            str, None
        ] = {}  # keys on the way that stand there more than once, in order
        self._steps = 0
        self._resolving: list[tuple[str, ...]] = []

    def at(self, path: tuple[str, ...]) -> _Value | _Place:
        """Return what stands at a path from the root; nothing there is an error."""
        found: _Value | _Place = _Place(self.root, ())
        for key in path:
            child = self.child(found.node, key) if isinstance(found, _Place) else None
            if child is None or not isinstance(found, _Place):
                raise _BadConfigError(f"there is no {_quoted('.'.join(path))}")
            found = self._resolved(child, (*found.path, key))
        return found

    def step(self) -> None:
        """Count one step of work."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _BadConfigError(f"takes more than {_MOST_STEPS} steps to resolve")

    def child(self, node: _Sequence | _Mapping, key: str) -> _Node | None:
        """Return what a container holds under a key, or None."""
        self.step()
        if isinstance(node, _Sequence):
            index = int(key) if key.isdecimal() and len(key) < _LONGEST_NUMBER else len(node.items)
            return node.items[index] if index < len(node.items) else None
        if key in node.twice:
            self.twice[key] = None
        if key in node.items:
            return node.items[key]
        waiting = node.merged[::-1]
        while waiting:
            self.step()
            merged = waiting.pop()
            if isinstance(merged, _Sequence):
                waiting.extend(merged.items[:_MOST_STEPS][::-1])
            elif isinstance(merged, _Mapping):
                if key in merged.items:
                    return merged.items[key]
                waiting.extend(merged.merged[::-1])
        return None

    def _resolved(self, node: _Node, path: tuple[str, ...]) -> _Value | _Place:
        if not isinstance(node, _Scalar):
            return _Place(node, path)
        if node.kind != "str" or "${" not in node.text:
            return _plain(node)
        if path in self._resolving:
            raise _BadConfigError(f"{_quoted('.'.join(path))} refers to itself")
        if len(self._resolving) >= _DEEPEST_REFERENCE:
            raise _BadConfigError(f"refers on and on, more than {_DEEPEST_REFERENCE} times")
        self._resolving.append(path)
        value = _Expression(node.text, path, self).value()
        self._resolving.pop()
        return value


def _plain(scalar: _Scalar) -> _Value:
    """Return what a scalar without interpolation means."""
    text, kind = scalar.text, scalar.kind
    try:
        if kind == "str":
            if text == "???":
                raise _BadConfigError("is missing ('???')")
            return _Value(text, text)
        if kind == "null":
            return _Value(None, text)
        if kind == "bool":
            return _Value(_BOOLS[text.lower()], text)
        if kind in {"int", "float"} and len(text) <= _LONGEST_NUMBER:
            return _Value(_integer(text) if kind == "int" else _float(text), text)
    except (ValueError, KeyError):
        pass
    raise _BadConfigError(f"{_quoted(text)} cannot be read as a value")


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

    def __init__(self, text: str, path: tuple[str, ...], tree: _Tree) -> None:
        if len(text) > _LONGEST_TEXT:
            raise _BadConfigError(f"is an expression of more than {_LONGEST_TEXT} characters")
        self._text = text
        self._at = 0
        self._path = path  # where the text stands: relative interpolations start from there
        self._tree = tree
        self._depth = 0

    def value(self) -> _Value | _Place:
        """Return what the whole text means."""
        return self._joined(self._literal(""))

    def _literal(self, quote: str) -> list[str | _Value | _Place]:
        """Read text with interpolations up to its closing quote; to the end where there is none."""
        parts: list[str | _Value | _Place] = []
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

    def _joined(self, parts: list[str | _Value | _Place]) -> _Value | _Place:
        """Return a lone interpolation as it is, anything else as one text."""
        parts = [part for part in parts if part != ""]
        if len(parts) == 1 and not isinstance(parts[0], str):
            return parts[0]
        text = "".join([_as_text(part) for part in parts])
        if len(text) > _LONGEST_TEXT:
            raise _BadConfigError(f"becomes a text of more than {_LONGEST_TEXT} characters")
        return _Value(text, text)

    def _interpolation(self) -> _Value | _Place:
        """Read what follows `${`, and the closing brace."""
        self._tree.step()
        self._depth += 1
        if self._depth > _DEEPEST_REFERENCE:
            raise _BadConfigError(
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
            raise _BadConfigError(f"{_quoted(self._text)} refers to something above the top")
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

    def _arguments(self) -> list[_Value | _Place]:
        """Read a resolver's arguments and the closing brace."""
        arguments: list[_Value | _Place] = []
        self._skip_blanks()
        if self._took("}"):
            return arguments
        while True:
            self._skip_blanks()
            quote = self._text[self._at : self._at + 1]
            if quote in {"'", '"'}:
                self._at += 1
                text = _as_text(self._joined(self._literal(quote)))
                arguments.append(_Value(text, text))
                self._skip_blanks()
            else:
                arguments.append(self._unquoted())
            if self._took("}"):
                return arguments
            if not self._took(","):
                raise self._unreadable()

    def _unquoted(self) -> _Value | _Place:
        """Read an argument without quotes: a number, true, false, null, interpolations, text."""
        parts: list[str | _Value | _Place] = []
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

    def _unreadable(self) -> _BadConfigError:
        return _BadConfigError(
            f"{_quoted(self._text)} is not an interpolation that is read (character {self._at + 1})"
        )


def _typed(text: str) -> _Value:
    """Return what an argument without quotes means."""
    lower = text.lower()
    value: str | int | float | bool | None = text
    if lower == "null":
        value = None
    elif lower in {"true", "false"}:
        value = lower == "true"
    elif _INTEGER.fullmatch(text) and len(text) <= _LONGEST_NUMBER:
        value = int(text)
    elif _NUMBER.fullmatch(text):
        value = float(text)
    return _Value(value, text)


def _as_text(part: str | _Value | _Place) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, _Place):
        raise _BadConfigError(f"{_quoted('.'.join(part.path))} is a list or a mapping, not a value")
    return str(part.value)


def _call(name: str, arguments: list[_Value | _Place]) -> _Value | _Place:
    """Return what a resolver gives; isaacgymenvs/__init__.py registers the known ones."""
    if name not in _RESOLVERS:
        raise _BadConfigError(f"the resolver {_quoted(name)} is not known; it was not run")
    count, resolve = _RESOLVERS[name]
    if len(arguments) != count:
        raise _BadConfigError(f"the resolver {name} takes {count} arguments, not {len(arguments)}")
    return resolve(*arguments)


def _lower(argument: _Value | _Place) -> str:
    value = argument.value if isinstance(argument, _Value) else None
    if not isinstance(value, str):
        raise _BadConfigError("eq and contains compare texts; an argument is none")
    return value.lower()


def _eq(left: _Value | _Place, right: _Value | _Place) -> _Value:
    equal = _lower(left) == _lower(right)
    return _Value(equal, str(equal))


def _contains(part: _Value | _Place, whole: _Value | _Place) -> _Value:
    contained = _lower(part) in _lower(whole)
    return _Value(contained, str(contained))


def _if(
    condition: _Value | _Place, true: _Value | _Place, false: _Value | _Place
) -> _Value | _Place:
    return (
        true
        if (condition.value if isinstance(condition, _Value) else condition.node.items)
        else false
    )


def _resolve_default(default: _Value | _Place, argument: _Value | _Place) -> _Value | _Place:
    return default if isinstance(argument, _Value) and argument.value == "" else argument


_RESOLVERS: dict[str, tuple[int, Callable[..., _Value | _Place]]] = {
    "eq": (2, _eq),
    "contains": (2, _contains),
    "if": (3, _if),
    "resolve_default": (2, _resolve_default),
}


# The settings


def _shape(root: _Mapping) -> tuple[Shape, tuple[str, ...]]:
    """Tell a config's shape, and where its settings stand."""
    for path in _RL_GAMES_PLACES:
        with suppress(_BadConfigError):
            place = _Tree(root).at(path)
            if isinstance(place, _Place) and isinstance(place.node, _Mapping):
                return "isaacgymenvs", path
    tree = _Tree(root)
    if any(tree.child(root, key) is not None for key in _FLAT_KEYS.values()):
        return "flat", ()
    return "unknown", ()


class _Settings:
    """Reads settings as what they have to be, and notes what is wrong with them."""

    def __init__(self, root: _Mapping, place: tuple[str, ...], problems: list[str]) -> None:
        self.problems = problems
        self._root = root
        self._place = place

    def name(self, key: str) -> str | None:
        """Return a setting that is a file's name."""
        return self._setting(key, _name)

    def number(self, key: str, *, least: int, unset: int | None = None) -> int | None:
        """Return a setting that is a whole number; `unset` is the number that stands for none."""
        return self._setting(key, lambda found: _number(found, least, unset))

    def _setting(self, key: str, convert: Callable[[_Value], _T | None]) -> _T | None:
        path = ".".join((*self._place, key))
        tree = _Tree(self._root)
        try:
            found = self._found(tree, key)
            setting = None if found.value is None else convert(found)
        except _BadConfigError as error:
            self.problems.append(f"{path}: {error}")
            return None
        self.problems += [
            f"{path}: the key {_quoted(twice)} stands there more than once; the last one counts"
            for twice in tree.twice
        ]
        return setting

    def _found(self, tree: _Tree, key: str) -> _Value:
        home = tree.at(self._place)
        if not isinstance(home, _Place) or tree.child(home.node, key) is None:
            return _Value(None, "")
        found = tree.at((*self._place, key))
        if isinstance(found, _Place):
            raise _BadConfigError("is a list or a mapping, not a value")
        return found


def _name(found: _Value) -> str:
    name = found.text
    if not name:
        raise _BadConfigError("is empty")
    if len(name) > _LONGEST_NAME:
        raise _BadConfigError(f"is longer than {_LONGEST_NAME} characters")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise _BadConfigError(f"{_quoted(name)} is not valid Unicode")
    return name


def _number(found: _Value, least: int, unset: int | None) -> int | None:
    number = found.value
    if isinstance(number, bool) or not isinstance(number, int):
        raise _BadConfigError(f"has to be a whole number, not {_quoted(found.text)}")
    if number == unset:
        return None
    if not least <= number <= _LARGEST_NUMBER:
        raise _BadConfigError(f"has to be at least {least}, not {_quoted(found.text)}")
    return number
