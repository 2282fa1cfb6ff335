"""Holds what is installed in an environment against a lock of exact versions."""

from __future__ import annotations

import re
import sysconfig
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import Distribution

# The project itself, and what virtualenv puts into each environment (its own version is locked).
_NOT_LOCKED = {"checkpoint-conformance", "pip"}


def read_lock(text: str) -> dict[str, Version]:
    """Return the version that the lock names for each package, on this Python and machine."""
    versions: dict[str, Version] = {}
    for line in text.splitlines():
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if not entry:
            continue
        requirement = Requirement(entry)
        (pin,) = requirement.specifier
        if pin.operator != "==":
            raise ValueError(f"{entry!a} is not one exact version")
        if requirement.marker is None or requirement.marker.evaluate():
            versions[canonicalize_name(requirement.name)] = Version(pin.version)
    return versions


def installed() -> Iterable[Distribution]:
    """Return what is installed in this environment; setuptools brings copies of its own along."""
    return distributions(
        path=sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )


def not_locked(found: Iterable[Distribution], lock: dict[str, Version]) -> list[str]:
    """Return a line for each installed package that the lock does not name in that version."""
    lines = []
    for distribution in found:
        name = canonicalize_name(distribution.metadata["Name"])
        if name in _NOT_LOCKED:
            continue
        # A build for the CPU, 2.13.0+cpu, is the locked 2.13.0.
        if name not in lock:
            lines.append(f"{name} {distribution.version} is not in the lock")
        elif Version(distribution.version).public != str(lock[name]):
            lines.append(f"{name} is {distribution.version}, the lock says {lock[name]}")
    return sorted(lines)
