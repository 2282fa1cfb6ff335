"""What a project says for all its audits, in the working directory: the profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.cli.exits import UsageError
from conformance.convention import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping

_OWN = "conformance.toml"
_SHARED = "pyproject.toml"
_KEYS = ("profile",)


def profile_for(given: str | None) -> str:
    """The profile to hold runs against: as given, else as the project says, else the default."""
    return given or _configured() or DEFAULT_PROFILE


def _configured() -> str | None:
    """The profile that `conformance.toml` names, or `[tool.conformance]` of `pyproject.toml`."""
    own, shared = Path(_OWN), Path(_SHARED)
    if own.is_file():
        return _profile_in(_read(own), _OWN)
    if shared.is_file():
        tool = _read(shared).get("tool", {})
        table = tool.get("conformance", {}) if isinstance(tool, dict) else {}
        return _profile_in(table, f"{_SHARED}: [tool.conformance]")
    return None


def _read(path: Path) -> dict[str, Any]:
    from conformance.convention import toml  # noqa: PLC0415 - few folders hold such a file

    try:
        read: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, toml.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return read


def _profile_in(table: Mapping[str, object], where: str) -> str | None:
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!a}; known is {', '.join(_KEYS)}")
    profile = table.get("profile")
    if profile is not None and (not isinstance(profile, str) or not profile):
        raise UsageError(f"{where}: profile must be a text, not {profile!a}")
    return profile
