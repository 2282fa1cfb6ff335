"""The database of earlier failures: chains that are played first until they no longer fail."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.atomic import write_atomically
from conformance.convention.scenario import ScenarioError
from conformance.suite.chains import chain_to_json, read_chain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.suite.driver import Chain

_OURS = re.compile(r"([A-Z]+-\d{3}|broke-[a-z-]+)\.json", re.ASCII)
_MOST_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class Examples:
    """What failed before with one trainer and one profile, in a folder of its own.

    Attributes:
        folder: the folder.
        chains: what failed, by the rule's id; `broke-` and a code where the trainer itself broke.
    """

    folder: Path
    chains: Mapping[str, Chain]

    @classmethod
    def load(cls, database: Path, spec: str, profile: Profile) -> Examples:
        """Read the entries of a trainer; those that cannot be read are removed.

        Nothing in them is executed: they are JSON.

        Raises:
            OSError: the folder, or one that cannot be used, cannot be read or cleaned.
        """
        key = hashlib.sha256(f"{spec}\0{profile.name}".encode("utf-8", "surrogatepass"))
        folder = database / key.hexdigest()[:16]
        chains: dict[str, Chain] = {}
        if not folder.exists():
            return cls(folder, chains)
        files = sorted(path for path in folder.iterdir() if _OURS.fullmatch(path.name))
        for file in files[:_MOST_ENTRIES]:
            chain = _entry(file, profile)
            if chain is not None:
                chains[file.stem] = chain
        return cls(folder, chains)

    def update(self, failing: Mapping[str, Chain], fixed: frozenset[str]) -> None:
        """Keep what fails now, and forget what does not any more.

        Args:
            failing: the shrunken chains, by rule or code.
            fixed: entries that were played and do not fail any more.

        Raises:
            OSError: the folder cannot be written.
        """
        for name, chain in failing.items():
            if chain:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / f"{name}.json", chain_to_json(chain))
        for name in fixed:
            (self.folder / f"{name}.json").unlink(missing_ok=True)


def _entry(file: Path, profile: Profile) -> Chain | None:
    try:
        return read_chain(file, profile)
    except ScenarioError:
        if not file.is_dir():
            file.unlink()
        return None
