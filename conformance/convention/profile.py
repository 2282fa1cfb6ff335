"""Profiles: the dialects of the convention, as data files that users can add to."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.convention import DEFAULT_PROFILE, toml
from conformance.convention.brief import Brief
from conformance.convention.safe_globals import NUMPY_DATA, TORCH_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DEFAULT_PROFILE",
    "Ending",
    "Kind",
    "NameTemplate",
    "Profile",
    "ProfileError",
    "RewardForm",
    "builtin_layouts",
    "builtin_profiles",
    "load_profile",
]

_FOLDER = Path(__file__).parent / "profiles"


class ProfileError(ValueError):
    """A profile that does not exist or whose file is wrong; the message says which key and why."""


class Kind(str, Enum):
    """Why a checkpoint is written."""

    BEST = "best"
    PERIODIC = "periodic"
    FINAL = "final"
    WIN = "win"
    LATEST = "latest"  # rewritten with each periodic save, whatever its reward


class Ending(str, Enum):
    """What ends a training that writes a final checkpoint."""

    EPOCHS = "max_epochs"
    FRAMES = "max_frames"
    STOP = "custom stop"  # a callback asked for it


class RewardForm(str, Enum):
    """How a name prints a mean reward."""

    SCALAR = "scalar"  # str of a float: 485.3
    ARRAY = "array"  # str of a NumPy array: [485.3]
    MINUS_INF = "-inf"  # what a final save prints where no episode has finished
    UNDERSCORED = "underscored"  # the same with both brackets replaced by underscores: _485.3_


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """One spelling of a checkpoint's name, without the suffix.

    `template` holds `{name}` and, where they apply, `{epoch}` (`{epoch:08}` is padded with zeros to
    eight digits) or `{frame}`, `{reward}`, and `{stamp}`: when the session began, dd-HH-MM-SS.
    """

    kind: Kind
    template: str
    rewards: tuple[RewardForm, ...] = ()

    @property
    def ending(self) -> Ending:
        """What ended the training, where it is the spelling of a final checkpoint."""
        if "{frame}" in self.template:
            return Ending.FRAMES
        return Ending.STOP if "custom_stop" in self.template else Ending.EPOCHS


# --- the keys of a profile's file, each read by the field that holds it ---------------------


def _as_it_is(value: Any, _: str) -> Any:  # noqa: ANN401 - of the type that the key asks for
    return value


def _texts(values: list[Any], where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not value:
            raise ProfileError(f"{where} must hold texts, not {value!a}")
    return tuple(values)


def _text_set(values: list[Any], where: str) -> frozenset[str]:
    return frozenset(_texts(values, where))


def _kinds(values: list[Any], where: str) -> tuple[Kind, ...]:
    try:
        found = tuple(Kind(value) for value in values)
    except (ValueError, TypeError) as error:
        known = ", ".join(kind.value for kind in Kind)
        raise ProfileError(f"{where} takes {known}: {error}") from error
    if len(set(found)) < len(found):
        raise ProfileError(f"{where} names a kind twice")
    return found


def _kind_set(values: list[Any], where: str) -> frozenset[Kind]:
    return frozenset(_kinds(values, where))


def _globals(entries: list[Any], where: str) -> frozenset[str]:
    found = set(TORCH_DEFAULT)
    for entry in entries:
        if entry == "numpy-data":
            found |= NUMPY_DATA
        elif isinstance(entry, str) and "." in entry:
            found.add(entry)
        else:
            raise ProfileError(f"{where} takes 'numpy-data' or 'module.name', not {entry!a}")
    return frozenset(found)


def _numbers(values: list[Any], where: str) -> tuple[float, ...]:
    if not values:
        raise ProfileError(f"{where} must hold a number")
    return tuple(_number(value, where) for value in values)


def _number(value: object, where: str) -> float:
    wrong = f"{where} must hold numbers"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ProfileError(wrong)
    try:
        number = float(value)
    except OverflowError as error:
        raise ProfileError(f"{wrong}: {error}") from error
    if math.isnan(number):
        raise ProfileError(wrong)
    return number


def _final_at(value: str, where: str) -> str:
    if value not in _FINAL_AT:
        raise ProfileError(f"{where} is {value!a}; use one of {_FINAL_AT}")
    return value


_NEVER, _LATE = "never", "epoch > max_epochs"
_FINAL_AT = (_NEVER, _LATE, "epoch >= max_epochs")


@dataclass(frozen=True, slots=True)
class _Key:
    """Where a field stands in the file, the type that it has there, and what is made of it.

    `default` is for keys that are younger than the files of users; None: it must be given.
    """

    table: str
    name: str
    type: type
    read: Callable[[Any, str], Any]
    default: Any = None


def _key(
    table: str,
    kind: type,
    read: Callable[[Any, str], Any] = _as_it_is,
    *,
    name: str = "",
    default: Any = None,  # noqa: ANN401 - of any kind
) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(metadata={"key": _Key(table, name, kind, read, default)})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile(Brief):
    """One dialect of the convention. See `profiles/*.toml` for what each key means.

    `initial_watermarks` lists the values that versions of the dialect start from: an improvement
    on all of them is certain, on some of them only possible.

    Attributes:
        name: what reports call it; with `+layout` where its folders are another's.
        summary: one line for people.
        source: where the facts were read.
        checkpoints: the folder of the checkpoints inside the run.
        summaries: the folder of the event files; a template where it holds `{name}` and `{stamp}`.
        experiments: templates of the path that ends in the run's folder: `{name}`, `{stamp}`
            (dd-HH-MM-SS), `{pbt}` (two digits), `{date}` (Y-m-d_H-M-S); a bare `*`: any name.
        apart: whether checkpoints and event files may each stand in a folder without the other.
        config: paths of the config file inside the run; the first one there counts.
        suffix: of each checkpoint.
        names: the spellings of all kinds.
        has_best: whether it writes a best, and has a watermark that moves.
        legacy_guard: whether a periodic checkpoint is written only where the reward is no new best.
        periodic_is_optional: whether a setting that the run does not tell switches them off.
        has_save_best_after: whether there is no best before that epoch.
        default_save_best_after: what it is where nobody set it.
        resume_keeps_watermark: whether a resumed session starts from what was reached before.
        resume_takes_stored: whether that is what its checkpoint stores, and no more.
        final_at: the condition of the final save.
        win_ends_at_once: whether nothing of the epoch follows a win; else its final save may.
        order: the kinds in the order of their writes in one epoch.
        unrewarded: the kinds that are written also before any episode has finished.
        reward_tag: of the mean reward in the event files.
        epoch_tag: empty where `reward_tag` is logged by epoch; else it is logged by frame, and this
            tag says the epoch of a frame.
        logged_tags: what else is logged with each mean reward, and tells the dialect.
        logs_at_intervals: whether its writer may log a tag once in 5 s or more, so that epochs are
            left out.
        models: the keys that hold state_dicts.
        allowed_globals: what the pickle may name.
        absent_keys: those of `RESUME_KEYS` that the dialect does not store.
        required_keys: what it stores beyond them.
    """

    name: str
    summary: str
    source: str
    checkpoints: str = _key("layout", str)
    summaries: str = _key("layout", str)
    experiments: tuple[str, ...] = _key("layout", list, _texts)
    apart: bool = _key("layout", bool)
    config: tuple[str, ...] = _key("layout", list, _texts)
    suffix: str = _key("names", str)
    names: tuple[NameTemplate, ...]
    has_best: bool = _key("behaviour", bool)
    legacy_guard: bool = _key("behaviour", bool)
    periodic_is_optional: bool = _key("behaviour", bool)
    has_save_best_after: bool = _key("behaviour", bool)
    default_save_best_after: int = _key("behaviour", int)
    initial_watermarks: tuple[float, ...] = _key("behaviour", list, _numbers)
    resume_keeps_watermark: bool = _key("behaviour", bool)
    resume_takes_stored: bool = _key("behaviour", bool)
    final_at: str = _key("behaviour", str, _final_at)
    win_ends_at_once: bool = _key("behaviour", bool)
    order: tuple[Kind, ...] = _key("behaviour", list, _kinds)
    unrewarded: frozenset[Kind] = _key("behaviour", list, _kind_set)
    reward_tag: str = _key("events", str)
    epoch_tag: str = _key("events", str)
    logged_tags: tuple[str, ...] = _key("events", list, _texts)
    logs_at_intervals: bool = _key("events", bool, default=False)
    models: tuple[str, ...] = _key("contents", list, _texts)
    allowed_globals: frozenset[str] = _key("contents", list, _globals, name="allow_globals")
    absent_keys: frozenset[str] = _key("contents", list, _text_set)
    required_keys: tuple[str, ...] = _key("contents", list, _texts)

    @property
    def saves_at_end(self) -> bool:
        """Whether the last epoch of a training has a save of its own."""
        return self.final_at != _NEVER

    @property
    def ends_late(self) -> bool:
        """Whether one epoch beyond `max_epochs` is trained, in which the final save is written."""
        return self.final_at == _LATE

    def last_epoch(self, max_epochs: int) -> int:
        """The epoch with which a training up to `max_epochs` ends."""
        return max_epochs + self.ends_late

    def __repr__(self) -> str:
        """Its name, and the fields that are not those of the built-in profile of that name."""
        usual = load_profile(self.name) if _is_builtin(self.name) else self
        changed = [
            f", other {field.name}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(usual, field.name)
        ]
        return f"<Profile {self.name}{''.join(changed)}>"

    @property
    def resume_keys(self) -> tuple[str, ...]:
        """The keys beside the state_dicts that a checkpoint must hold."""
        usual = (key for key in RESUME_KEYS if key not in self.absent_keys)
        return (*usual, *self.required_keys)

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Those of them that hold the state_dict of an optimizer."""
        return tuple(key for key in self.resume_keys if key.endswith("optimizer"))

    def templates(self, kind: Kind) -> tuple[NameTemplate, ...]:
        """The spellings of one kind of checkpoint, the usual one first."""
        return tuple(template for template in self.names if template.kind is kind)


RESUME_KEYS = ("epoch", "optimizer", "last_mean_rewards")
"""What a resume needs beside the weights, by the convention."""

_TOP = {"name", "summary", "source", "base"}
_SPELLINGS: dict[str, type] = {
    "best": str,
    "latest": str,
    "periodic": list,
    "final": list,
    "win": list,
}


def _keys() -> Iterator[tuple[str, _Key]]:
    """The fields that a key of the file fills, by name, in the order of the class."""
    for each in fields(Profile):
        key: _Key | None = each.metadata.get("key")
        if key is not None:
            yield each.name, replace(key, name=key.name or each.name)


def _tables() -> dict[str, dict[str, type]]:
    """The tables of a file, each with its keys and the type of each."""
    found: dict[str, dict[str, type]] = {}
    for _, key in _keys():
        found.setdefault(key.table, {})[key.name] = key.type
    found["names"] |= _SPELLINGS
    return found


_TABLES = _tables()
_FIELDS = re.compile(r"\{([^{}]*)\}")
_IN_NAMES = {"name", "epoch", "epoch:08", "frame", "reward", "stamp"}
_IN_FOLDERS = {"name", "stamp", "pbt", "date"}


def builtin_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package, the default first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.toml"))
    return (DEFAULT_PROFILE, *(name for name in found if name != DEFAULT_PROFILE))


def builtin_layouts() -> tuple[str, ...]:
    """Names of the layouts of folders that any profile can be given, as `PROFILE+LAYOUT`."""
    return tuple(sorted(path.stem for path in (_FOLDER / "layouts").glob("*.toml")))


@cache
def load_profile(name_or_path: str = DEFAULT_PROFILE) -> Profile:
    """Return a built-in profile by name, or a user's own from a `.toml` file.

    Args:
        name_or_path: `NAME`, `NAME+LAYOUT` for the same dialect in another layout of folders, or
            the path of a file.

    Raises:
        ProfileError: no such profile or layout, or its file is wrong.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"profile {name_or_path!a} cannot be read: {error}") from error
        return _profile(_merged(text, where=name_or_path), name_or_path)
    if not _is_builtin(name_or_path):
        known, layouts = ", ".join(builtin_profiles()), ", ".join(builtin_layouts())
        raise ProfileError(
            f"no profile is called {name_or_path!a}; known are {known} (each also with the layout"
            f" {layouts}: {DEFAULT_PROFILE}+{layouts}), or give a .toml file"
        )
    return _profile(_builtin(name_or_path), name_or_path)


def _is_builtin(name: object) -> bool:
    profile, plus, layout = name.partition("+") if isinstance(name, str) else ("", "", "")
    return profile in builtin_profiles() and (not plus or layout in builtin_layouts())


def _builtin(name: str) -> dict[str, Any]:
    """The tables of a built-in profile, in the layout that its name asks for."""
    profile, _, layout = name.partition("+")
    merged = _merged((_FOLDER / f"{profile}.toml").read_text(encoding="utf-8"), where=profile)
    if layout:
        text = (_FOLDER / "layouts" / f"{layout}.toml").read_text(encoding="utf-8")
        merged["layout"] = {**merged["layout"], **toml.loads(text)["layout"]}
        merged["name"] = name
    return merged


def _profile(merged: dict[str, Any], where: str) -> Profile:
    values: dict[str, Any] = {key: merged[key] for key in ("name", "summary", "source")}
    for name, key in _keys():
        told = f"{where}: {key.table}.{key.name}"
        values[name] = key.read(merged[key.table][key.name], told)
    profile = Profile(names=_templates(merged["names"], where), **values)
    _check_whole(profile, where)
    return profile


def _check_whole(profile: Profile, where: str) -> None:
    """What single keys do not show: that they fit together."""
    spelled = {template.kind for template in profile.names}
    if profile.has_best != (Kind.BEST in spelled):
        raise ProfileError(f"{where}: behaviour.has_best and names.best disagree")
    if profile.saves_at_end and Kind.FINAL not in spelled:
        raise ProfileError(f"{where}: behaviour.final_at asks for a name in names.final")
    unordered = spelled - set(profile.order)
    if unordered:
        missing = ", ".join(sorted(kind.value for kind in unordered))
        raise ProfileError(f"{where}: behaviour.order lacks {missing}")
    if not profile.models:
        raise ProfileError(f"{where}: contents.models must name a key")
    for key, folder in (("checkpoints", profile.checkpoints), ("summaries", profile.summaries)):
        if not folder or folder.startswith("/") or ".." in folder.split("/"):
            raise ProfileError(f"{where}: layout.{key} must be a folder inside the run")
    for template in (*profile.experiments, profile.summaries):
        fields = _FIELDS.findall(template)
        if set(fields) - _IN_FOLDERS or len(set(fields)) < len(fields):
            raise ProfileError(
                f"{where}: layout: {template!a} takes {{name}}, {{stamp}}, {{pbt}} and {{date}},"
                " each once"
            )
    strange = profile.absent_keys - set(RESUME_KEYS)
    if strange:
        raise ProfileError(
            f"{where}: contents.absent_keys takes {', '.join(RESUME_KEYS)}, not {min(strange)!a}"
        )


def _merged(text: str, *, where: str) -> dict[str, Any]:
    """The profile's tables laid over those of its base."""
    try:
        raw: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ProfileError(f"{where}: not TOML: {error}") from error
    _validate(raw, where)
    base = raw.get("base")
    if base is None:
        for _, key in _keys():
            if key.default is not None:
                raw.setdefault(key.table, {}).setdefault(key.name, key.default)
        missing = [
            f"{table}.{key}"
            for table, keys in _TABLES.items()
            for key in keys
            if key not in raw.get(table, {})
        ]
        if missing:
            raise ProfileError(f"{where}: without a base, these are needed: {', '.join(missing)}")
        return raw
    if not _is_builtin(base):
        raise ProfileError(f"{where}: base {base!a} is not a built-in profile")
    merged = _builtin(base)
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
    found = [
        NameTemplate(kind, names[kind.value])
        for kind in (Kind.BEST, Kind.LATEST)
        if names[kind.value]
    ]
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
        _check_template(template, where)
    return tuple(found)


def _check_template(template: NameTemplate, where: str) -> None:
    fields = Counter(_FIELDS.findall(template.template))
    if "name" not in fields or set(fields) - _IN_NAMES:
        raise ProfileError(
            f"{where}: the template {template.template!a} needs {{name}} and takes"
            " {epoch}, {epoch:08} or {frame}, {reward}, and {stamp}"
        )
    if max(fields.values()) > 1 or {"epoch", "epoch:08"} <= set(fields):
        raise ProfileError(f"{where}: the template {template.template!a} repeats a field")
    if "/" in template.template or "\0" in template.template:
        raise ProfileError(f"{where}: the template {template.template!a} is no file's name")
    if ("reward" in fields) != bool(template.rewards):
        raise ProfileError(
            f"{where}: names.{template.kind.value}: {template.template!a} and its rewards"
            " disagree: list the forms of {reward} if it is there, else none"
        )
