"""What the tests run with is locked: each package, on each Python, in one exact version."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from locked import installed, not_locked, read_lock
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


class Installed(NamedTuple):
    """As much of a distribution as is asked for."""

    name: str
    version: str

    @property
    def metadata(self):
        """Its name, as the real ones hold it."""
        return {"Name": self.name}


@pytest.mark.skipif(
    not ("TOX_ENV_NAME" in os.environ and os.environ.get("PIP_CONSTRAINT")),
    reason="only an environment that tox made from a lock holds what is locked: run tox",
)
def test_each_package_of_this_environment_is_locked():
    """Renew the lock as CONTRIBUTING.md says where a package is new."""
    lock = ROOT / os.environ["PIP_CONSTRAINT"]
    assert not_locked(installed(), read_lock(lock.read_text())) == []


def test_what_is_not_in_the_lock_or_is_another_version_is_told():
    lock = read_lock("# by a tool\nPyYAML==6.0.4\n    # via omegaconf\ntorch==2.13.0 # CPU\n")
    right = [
        Installed("PyYAML", "6.0.4"),
        Installed("torch", "2.13.0+cpu"),
        Installed("pip", "1.0"),
        Installed("checkpoint_conformance", "0.1.0"),
    ]
    assert not_locked(right, lock) == []
    wrong = [*right, Installed("pyyaml", "6.0.3"), Installed("six", "1.17.0")]
    assert not_locked(wrong, lock) == [
        "pyyaml is 6.0.3, the lock says 6.0.4",
        "six 1.17.0 is not in the lock",
    ]


def test_a_lock_holds_exact_versions_alone():
    with pytest.raises(ValueError, match=r"'six>=1\.17' is not one exact version"):
        read_lock("six>=1.17")


def test_an_entry_for_another_python_is_not_this_ones():
    assert read_lock("numpy==2.2.6 ; python_version < '3'\nnumpy==2.4.6") == read_lock(
        "numpy==2.4.6"
    )


@pytest.mark.parametrize("lock", ["constraints.txt", "constraints-lowest.txt"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_name_what_the_project_asks_for_on_each_python(lock, python):
    """Held against pyproject.toml: nobody adds a requirement and forgets the locks."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    asked = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += [each for extra in project["optional-dependencies"].values() for each in extra]
    if lock == "constraints.txt":
        asked += [each for name in ("build", "tox", "lint", "types") for each in groups[name]]
    here = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    pins = [
        Requirement(line.split("#")[0])
        for line in (ROOT / lock).read_text().splitlines()
        if line.split("#")[0].strip()
    ]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
    versions = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    assert len(versions) == len(pins)
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def test_what_builds_the_package_is_locked_in_the_same_range():
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]
