"""Reads a run's config file: the experiment's name, and the settings that say when to save."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from conformance.evidence.config.document import (
    MOST_PROBLEMS,
    BadConfigError,
    MappingNode,
    parse_document,
    quoted,
    read_text,
)
from conformance.evidence.config.interpolation import Place, Tree, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LONGEST_NAME = 255  # characters; no file's name is longer
_LARGEST_NUMBER = 2**63 - 1

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
        root, problems = parse_document(read_text(path))
    except BadConfigError as error:
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
        problems=tuple(reader.problems[:MOST_PROBLEMS]),
    )


def _shape(root: MappingNode) -> tuple[Shape, tuple[str, ...]]:
    """Tell a config's shape, and where its settings stand."""
    for path in _RL_GAMES_PLACES:
        with suppress(BadConfigError):
            place = Tree(root).at(path)
            if isinstance(place, Place) and isinstance(place.node, MappingNode):
                return "isaacgymenvs", path
    tree = Tree(root)
    if any(tree.child(root, key) is not None for key in _FLAT_KEYS.values()):
        return "flat", ()
    return "unknown", ()


class _Settings:
    """Reads settings as what they have to be, and notes what is wrong with them."""

    def __init__(self, root: MappingNode, place: tuple[str, ...], problems: list[str]) -> None:
        self.problems = problems
        self._root = root
        self._place = place

    def name(self, key: str) -> str | None:
        """Return a setting that is a file's name."""
        return self._setting(key, _name)

    def number(self, key: str, *, least: int, unset: int | None = None) -> int | None:
        """Return a setting that is a whole number; `unset` is the number that stands for none."""
        return self._setting(key, lambda found: _number(found, least, unset))

    def _setting(self, key: str, convert: Callable[[Value], _T | None]) -> _T | None:
        path = ".".join((*self._place, key))
        tree = Tree(self._root)
        try:
            found = self._found(tree, key)
            setting = None if found.value is None else convert(found)
        except BadConfigError as error:
            self.problems.append(f"{path}: {error}")
            return None
        self.problems += [
            f"{path}: the key {quoted(twice)} stands there more than once; the last one counts"
            for twice in tree.twice
        ]
        return setting

    def _found(self, tree: Tree, key: str) -> Value:
        home = tree.at(self._place)
        if not isinstance(home, Place) or tree.child(home.node, key) is None:
            return Value(None, "")
        found = tree.at((*self._place, key))
        if isinstance(found, Place):
            raise BadConfigError("is a list or a mapping, not a value")
        return found


def _name(found: Value) -> str:
    name = found.text
    if not name:
        raise BadConfigError("is empty")
    if len(name) > _LONGEST_NAME:
        raise BadConfigError(f"is longer than {_LONGEST_NAME} characters")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise BadConfigError(f"{quoted(name)} is not valid Unicode")
    return name


def _number(found: Value, least: int, unset: int | None) -> int | None:
    number = found.value
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadConfigError(f"has to be a whole number, not {quoted(found.text)}")
    if number == unset:
        return None
    if not least <= number <= _LARGEST_NUMBER:
        raise BadConfigError(f"has to be at least {least}, not {quoted(found.text)}")
    return number
