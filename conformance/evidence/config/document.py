"""Reads a YAML file into a bounded tree of nodes; nothing that it names is constructed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from conformance.evidence.regular_files import NotRegularError, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

    from yaml import CollectionStartEvent, Mark, ScalarEvent

# Bytes; real configs hold some 5 KB, and PyYAML without its C part reads 100 KB a second.
_LARGEST_FILE = 256 << 10
_MOST_NODES = 50_000
_DEEPEST = 64  # levels of nesting
MOST_PROBLEMS = 20


class BadConfigError(Exception):
    """The file, or one setting, cannot be read; the text says why in one line."""


def quoted(text: str) -> str:
    """Return a text fit for a message: ASCII, one line, not long."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar as written; `kind` is str, int, float, bool, null, merge (`<<`) or other."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class SequenceNode:
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class MappingNode:
    """A mapping, what `<<` merges into it, and the keys that stand there more than once.

    Of a key that stands there twice the last one counts.
    """

    items: dict[str, Node] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    twice: set[str] = field(default_factory=set)


Node: TypeAlias = "ScalarNode | SequenceNode | MappingNode"

_YAML = "tag:yaml.org,2002:"
_KINDS = {
    **{kind: kind for kind in ("str", "int", "float", "bool", "null", "merge")},
    **dict.fromkeys(("seq", "map", "set", "omap", "pairs", "binary", "value"), "other"),
    "timestamp": "str",  # as OmegaConf reads it
}
# What OmegaConf reads as a number beyond YAML 1.1.
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+")

# Brackets that open and close flow collections, where they are neither quoted nor commented out.
_BRACKETS = re.compile(
    r"""(?:^|(?<=[\s,:\[{]))(?P<open>[\[{]) | (?P<close>[\]}])
      | "(?:[^"\\]|\\.)*" | '[^']*' | (?:^|(?<=\s))\#[^\n]*""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)


def _read_at_most(file: FileIO, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        BadConfigError: no regular file, too large, or not UTF-8.
        OSError: it cannot be opened or read.
    """
    try:
        with open_regular(path) as file:
            data = _read_at_most(file, _LARGEST_FILE + 1)
    except NotRegularError as error:
        raise BadConfigError(str(error)) from None
    if len(data) > _LARGEST_FILE:
        raise BadConfigError(f"is too large: at most {_LARGEST_FILE} bytes are read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfigError(f"is not UTF-8 (byte {error.start})") from None


def parse_document(text: str) -> tuple[MappingNode, list[str]]:
    """Return the document's root, and what is wrong with a document that is YAML at all.

    Raises:
        BadConfigError: not YAML, no mapping, or over a limit.
    """
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
                builder.open(SequenceNode(), event, line)
            elif isinstance(event, yaml.MappingStartEvent):
                builder.open(MappingNode(), event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.close()
            elif isinstance(event, yaml.AliasEvent):
                builder.alias(event.anchor or "", line)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        raise BadConfigError(_refusal(text, mark)) from None
    if not isinstance(builder.root, MappingNode):
        raise BadConfigError("holds no settings: it is not a mapping of keys to values")
    return builder.root, builder.problems


def _refusal(text: str, mark: Mark | None) -> str:
    """Say in our own words why a parser stopped at a place; parsers word it differently.

    A parser reads up to 1,024 characters ahead, to tell a key from a value, and may refuse deep
    nesting there by a limit of its own before it hands out the first level.
    """
    deep = _too_deep(text if mark is None else text[: mark.index])
    if deep is not None:
        return _nested_too_deeply(deep)
    return "is not YAML" + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")


def _nested_too_deeply(line: int) -> str:
    return f"is nested too deeply: more than {_DEEPEST} levels (line {line})"


def _too_deep(text: str) -> int | None:
    """Return the line of the first `[` or `{` that opens more levels than are read, if any."""
    depth, line, seen = 0, 1, 0
    for token in _BRACKETS.finditer(text):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth = max(depth - 1, 0)
        if depth > _DEEPEST:
            return line + text.count("\n", seen, token.start())
        line, seen = line + text.count("\n", seen, token.start()), token.start()
    return None


class _Builder:
    """Builds the tree from the parser's events: no recursion, and nothing is constructed."""

    def __init__(self, implicit_tag: Callable[[str], str]) -> None:
        self.root: Node | None = None
        self.problems: list[str] = []
        self._implicit_tag = implicit_tag
        self._open: list[SequenceNode | MappingNode] = []
        self._keys: list[Node | None] = []  # of each open mapping: the key that waits for its value
        self._anchors: dict[str, Node] = {}
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
        self._add(ScalarNode(kind, event.value), event.anchor, line)

    def open(
        self, node: SequenceNode | MappingNode, event: CollectionStartEvent, line: int
    ) -> None:
        if event.tag is not None:
            self._kind(event.tag, line)
        self._add(node, event.anchor, line)
        if len(self._open) >= _DEEPEST:
            raise BadConfigError(_nested_too_deeply(line))
        self._open.append(node)
        self._keys.append(None)

    def close(self) -> None:
        self._open.pop()
        self._keys.pop()

    def alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise BadConfigError(f"is not YAML: undefined alias {quoted(anchor)} (line {line})")
        self._add(self._anchors[anchor], None, line)

    def _kind(self, tag: str, line: int) -> str:
        kind = _KINDS.get(tag.removeprefix(_YAML)) if tag.startswith(_YAML) else None
        if kind is None and len(self.problems) < MOST_PROBLEMS:
            self.problems.append(
                f"line {line}: the tag {quoted(tag)} is not plain YAML; it was not followed"
            )
        return kind or "other"

    def _add(self, node: Node, anchor: str | None, line: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise BadConfigError(f"is too large: more than {_MOST_NODES} values (line {line})")
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            if self.root is not None:
                raise BadConfigError(f"holds more than one document (line {line})")
            self.root = node
            return
        parent, key = self._open[-1], self._keys[-1]
        if isinstance(parent, SequenceNode):
            parent.items.append(node)
        elif key is None:
            self._keys[-1] = node
        else:
            self._keys[-1] = None
            _put(parent, key, node)


def _put(mapping: MappingNode, key: Node, value: Node) -> None:
    if not isinstance(key, ScalarNode):
        return
    if key.kind == "merge":
        mapping.merged.append(value)
    elif key.kind == "str":
        if key.text in mapping.items:
            mapping.twice.add(key.text)
        mapping.items[key.text] = value
