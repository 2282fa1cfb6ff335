"""Profiles: the dialects of the convention, as data files that users can add to."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from conformance.convention import toml
from conformance.convention.safe_globals import NUMPY_DATA, TORCH_DEFAULT

DEFAULT_PROFILE = "isaacgymenvs"
_FOLDER = Path(__file__).parent / "profiles"


class ProfileError(ValueError):
    """A profile that does not exist or whose file is wrong; the message says which key and why."""


class Kind(str, Enum):
    """Why a checkpoint is written."""

    BEST = "best"
    PERIODIC = "periodic"
    FINAL = "final"
    WIN = "win"


class RewardForm(str, Enum):
    """How a name prints a mean reward."""

    SCALAR = "scalar"  # str of a float: 485.3
    ARRAY = "array"  # str of a NumPy array: [485.3]
    MINUS_INF = "-inf"  # what a final save prints where no episode has finished
    UNDERSCORED = "underscored"  # the same with both brackets replaced by underscores: _485.3_


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """One spelling of a checkpoint's name, without the suffix.

    `template` holds `{name}` and, where they apply, `{epoch}` or `{frame}`, and `{reward}`.
    """

    kind: Kind
    template: str
    rewards: tuple[RewardForm, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One dialect of the convention. See `profiles/*.toml` for what each key means.

    `initial_watermarks` lists the values that versions of the dialect start from: an improvement
    on all of them is certain, on some of them only possible.
    """

    name: str
    summary: str
    source: str
    checkpoints: str
    summaries: str
    suffix: str
    names: tuple[NameTemplate, ...]
    stamped_experiment: bool
    has_best: bool
    legacy_guard: bool
    has_save_best_after: bool
    default_save_best_after: int
    initial_watermarks: tuple[float, ...]
    resume_keeps_watermark: bool
    final_at: str
    allowed_globals: frozenset[str]
    required_keys: tuple[str, ...]

    def templates(self, kind: Kind) -> tuple[NameTemplate, ...]:
        """The spellings of one kind of checkpoint, the usual one first."""
        return tuple(template for template in self.names if template.kind is kind)


_TOP = {"name", "summary", "source", "base"}
_TABLES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "layout": {"checkpoints": str, "summaries": str, "stamped_experiment": bool},
    "names": {"suffix": str, "best": str, "periodic": list, "final": list, "win": list},
    "behaviour": {
        "has_best": bool,
        "legacy_guard": bool,
        "has_save_best_after": bool,
        "default_save_best_after": int,
        "initial_watermarks": list,
        "resume_keeps_watermark": bool,
        "final_at": str,
    },
    "contents": {"allow_globals": list, "required_keys": list},
}
_FINAL_AT = ("never", "epoch > max_epochs", "epoch >= max_epochs")
_FIELDS = re.compile(r"\{(\w*)\}")


def builtin_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package, the default first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.toml"))
    return (DEFAULT_PROFILE, *(name for name in found if name != DEFAULT_PROFILE))


@cache
def load_profile(name_or_path: str = DEFAULT_PROFILE) -> Profile:
    """Return a built-in profile by name, or a user's own from a `.toml` file.

    Raises:
        ProfileError: no such profile, or its file is wrong.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"profile {name_or_path!a} cannot be read: {error}") from error
        return _from_toml(text, where=name_or_path)
    if name_or_path not in builtin_profiles():
        known = ", ".join(builtin_profiles())
        raise ProfileError(
            f"no profile is called {name_or_path!a}; known are {known}, or give a .toml file"
        )
    return _from_toml(_builtin_text(name_or_path), where=name_or_path)


def _builtin_text(name: str) -> str:
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def _from_toml(text: str, *, where: str) -> Profile:
    merged = _merged(text, where=where, depth=0)
    layout, names = merged["layout"], merged["names"]
    behaviour, contents = merged["behaviour"], merged["contents"]
    if behaviour["final_at"] not in _FINAL_AT:
        raise ProfileError(
            f"{where}: behaviour.final_at is {behaviour['final_at']!a}; use one of {_FINAL_AT}"
        )
    watermarks = tuple(_number(value, where) for value in behaviour["initial_watermarks"])
    if not watermarks:
        raise ProfileError(f"{where}: behaviour.initial_watermarks must hold a number")
    return Profile(
        name=merged["name"],
        summary=merged["summary"],
        source=merged["source"],
        checkpoints=layout["checkpoints"],
        summaries=layout["summaries"],
        suffix=names["suffix"],
        names=_templates(names, where),
        stamped_experiment=layout["stamped_experiment"],
        has_best=behaviour["has_best"],
        legacy_guard=behaviour["legacy_guard"],
        has_save_best_after=behaviour["has_save_best_after"],
        default_save_best_after=behaviour["default_save_best_after"],
        initial_watermarks=watermarks,
        resume_keeps_watermark=behaviour["resume_keeps_watermark"],
        final_at=behaviour["final_at"],
        allowed_globals=TORCH_DEFAULT | _globals(contents["allow_globals"], where),
        required_keys=tuple(str(key) for key in contents["required_keys"]),
    )


def _merged(text: str, *, where: str, depth: int) -> dict[str, Any]:
    """The profile's tables laid over those of its base."""
    try:
        raw: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ProfileError(f"{where}: not TOML: {error}") from error
    _validate(raw, where)
    base_name = raw.get("base")
    if base_name is None:
        missing = [
            f"{table}.{key}"
            for table, keys in _TABLES.items()
            for key in keys
            if key not in raw.get(table, {})
        ]
        if missing:
            raise ProfileError(f"{where}: without a base, these are needed: {', '.join(missing)}")
        return raw
    if base_name not in builtin_profiles() or depth > len(builtin_profiles()):
        raise ProfileError(f"{where}: base {base_name!a} is not a built-in profile")
    merged = _merged(_builtin_text(base_name), where=base_name, depth=depth + 1)
    for table in _TABLES:
        merged[table] = {**merged[table], **raw.get(table, {})}
    return {**merged, **{key: raw[key] for key in _TOP & raw.keys()}}


def _validate(raw: dict[str, Any], where: str) -> None:
    for key in ("name", "summary", "source"):
        if not isinstance(raw.get(key), str):
            raise ProfileError(f"{where}: {key} must be a text")
    for key, value in raw.items():
        if key in _TOP:
            continue
        if key not in _TABLES or not isinstance(value, dict):
            raise ProfileError(f"{where}: unknown key {key!a}; known are {sorted(_TABLES)}")
        for inner, content in value.items():
            expected = _TABLES[key].get(inner)
            if expected is None:
                known = ", ".join(_TABLES[key])
                raise ProfileError(f"{where}: unknown key {key}.{inner}; known are {known}")
            if not isinstance(content, expected) or (expected is int and isinstance(content, bool)):
                raise ProfileError(f"{where}: {key}.{inner} has the wrong type")


def _templates(names: dict[str, Any], where: str) -> tuple[NameTemplate, ...]:
    found = [NameTemplate(Kind.BEST, names["best"])] if names["best"] else []
    for kind in (Kind.PERIODIC, Kind.FINAL, Kind.WIN):
        for entry in names[kind.value]:
            if not isinstance(entry, dict) or set(entry) != {"template", "rewards"}:
                raise ProfileError(f"{where}: names.{kind.value} needs template and rewards")
            if not isinstance(entry["template"], str) or not isinstance(entry["rewards"], list):
                raise ProfileError(
                    f"{where}: names.{kind.value}: template must be a text and rewards a list"
                )
            try:
                forms = tuple(RewardForm(form) for form in entry["rewards"])
            except ValueError as error:
                raise ProfileError(f"{where}: names.{kind.value}: {error}") from error
            found.append(NameTemplate(kind, entry["template"], forms))
    for template in found:
        fields = Counter(_FIELDS.findall(template.template))
        if "name" not in fields or set(fields) - {"name", "epoch", "frame", "reward"}:
            raise ProfileError(
                f"{where}: the template {template.template!a} needs {{name}} and takes"
                " {epoch} or {frame}, and {reward}"
            )
        if max(fields.values()) > 1:
            raise ProfileError(f"{where}: the template {template.template!a} repeats a field")
        if ("reward" in fields) != bool(template.rewards):
            raise ProfileError(
                f"{where}: names.{template.kind.value}: {template.template!a} and its rewards"
                " disagree: list the forms of {reward} if it is there, else none"
            )
    return tuple(found)


def _globals(entries: list[Any], where: str) -> frozenset[str]:
    found: set[str] = set()
    for entry in entries:
        if entry == "numpy-data":
            found |= NUMPY_DATA
        elif isinstance(entry, str) and "." in entry:
            found.add(entry)
        else:
            raise ProfileError(
                f"{where}: contents.allow_globals takes 'numpy-data' or 'module.name',"
                f" not {entry!a}"
            )
    return frozenset(found)


def _number(value: object, where: str) -> float:
    wrong = f"{where}: behaviour.initial_watermarks must hold numbers"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ProfileError(wrong)
    try:
        number = float(value)
    except OverflowError as error:
        raise ProfileError(f"{wrong}: {error}") from error
    if math.isnan(number):
        raise ProfileError(wrong)
    return number
