"""Chains of scenarios as files: what `--replay` reads, and what a failure is kept as."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.convention.scenario import Scenario, ScenarioError
from conformance.convention.sessions import played
from conformance.evidence.regular_files import NotRegularError, open_regular

if TYPE_CHECKING:
    from conformance.convention.profile import Profile

    Chain = tuple[Scenario, ...]

# What a file says of its root is ignored, and this is written: a folder of our own is used.
ROOT = Path("runs")
# A scenario of a thousand epochs takes some 20 kB.
_LONGEST_NAME = 255
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
        with open_regular(file) as stream, io.BufferedReader(stream) as whole:
            data = whole.read(_LONGEST_FILE + 1)
        if len(data) > _LONGEST_FILE:
            raise ScenarioError(f"larger than {_LONGEST_FILE} bytes")
        return chain_from_json(data.decode("utf-8"), profile)
    except OSError as error:
        raise ScenarioError(f"{str(file)!a}: {error.strerror}") from error
    except (NotRegularError, ValueError) as error:
        raise ScenarioError(f"{str(file)!a}: {error}") from error


def _scenario(document: object, number: int) -> Scenario:
    if not isinstance(document, dict):
        raise ScenarioError(f"session {number} is no scenario: expected a JSON object")
    scenario = replace(Scenario.from_mapping(document), root=ROOT)
    if not _names_a_folder(scenario.experiment):
        raise ScenarioError(
            f"session {number}: its experiment, {scenario.experiment!a}, cannot name a folder"
        )
    return scenario


def _names_a_folder(name: str) -> bool:
    """Tell whether a folder of this name can stand in another one, and nowhere else."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    wrong = {"/", "\0", os.sep, os.altsep or "/"}
    return name not in (".", "..") and wrong.isdisjoint(name) and len(encoded) <= _LONGEST_NAME
