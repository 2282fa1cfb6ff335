"""Chains of scenarios as files: what `--replay` reads, and what a failure is kept as."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.convention.scenario import Scenario, ScenarioError
from conformance.convention.sessions import played

if TYPE_CHECKING:
    from conformance.convention.profile import Profile

    Chain = tuple[Scenario, ...]

# What a file says of its root is ignored, and this is written: a folder of our own is used.
ROOT = Path("runs")
# A scenario of a thousand epochs takes some 20 kB.
_LONGEST_FILE = 16 * 1024 * 1024


def chain_to_json(chain: Chain) -> str:
    """Return one session as an object, several as a list of them; ASCII, a line each."""
    lines = [replace(scenario, root=ROOT).to_json() for scenario in chain]
    return (lines[0] if len(lines) == 1 else "[" + ",\n ".join(lines) + "]") + "\n"


def chain_document(chain: Chain) -> Any:  # noqa: ANN401 - an object, or a list of them
    """Return what `chain_to_json` writes, as the JSON report holds it."""
    return json.loads(chain_to_json(chain))


def chain_from_json(text: str, profile: Profile) -> Chain:
    """Read what `chain_to_json` wrote, or anyone else by the schema.

    Args:
        text: a scenario, or a list of at least one.
        profile: the dialect: a session must be resumable from what one before it writes.

    Raises:
        ScenarioError: it is no chain that a trainer could play; says what is wrong.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"not JSON: {error}") from error
    sessions = document if isinstance(document, list) else [document]
    if not sessions:
        raise ScenarioError("an empty list holds no scenario")
    chain = tuple(_scenario(each, number) for number, each in enumerate(sessions, start=1))
    for number, session in enumerate(played(profile, chain), start=1):
        if session.first > session.last:
            raise ScenarioError(
                f"session {number} has no epoch left: it begins at {session.first}, and its"
                f" max_epochs is {session.last}"
            )
    return chain


def read_chain(file: Path, profile: Profile) -> Chain:
    """Read a chain from a file.

    Raises:
        ScenarioError: as `chain_from_json` does, or it cannot be read; names the file.
    """
    try:
        if not file.is_file():
            raise ScenarioError(
                f"{str(file)!a} is no file" if file.exists() else f"{str(file)!a} is not there"
            )
        with file.open("rb") as stream:
            data = stream.read(_LONGEST_FILE + 1)
        if len(data) > _LONGEST_FILE:
            raise ScenarioError(f"{str(file)!a} is larger than {_LONGEST_FILE} bytes")
        return chain_from_json(data.decode("utf-8"), profile)
    except (OSError, ValueError) as error:
        if isinstance(error, ScenarioError) and str(file) in str(error):
            raise
        what = error.strerror if isinstance(error, OSError) else error
        raise ScenarioError(f"{str(file)!a}: {what}") from error


def _scenario(document: object, number: int) -> Scenario:
    if not isinstance(document, dict):
        raise ScenarioError(f"session {number} is no scenario: expected a JSON object")
    return replace(Scenario.from_mapping(document), root=ROOT)
