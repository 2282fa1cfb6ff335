"""The published schemas: what they take, and that they take nothing else."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

SCENARIO: dict[str, Any] = {
    "experiment": "A",
    "root": "runs",
    "save_freq": 2,
    "max_epochs": 4,
    "rewards": [None, 1.5, "nan", "-inf", "inf", 2],
    "save_best_after": 0,
    "resume": None,
    "seed": 0,
}
FINDING: dict[str, Any] = {
    "rule": "BEST-003",
    "level": "must",
    "verdict": "fail",
    "message": "a tie rewrote it",
    "paths": ["nn/A.pth"],
    "evidence": {"epoch": 2, "anything": {"at": ["all", None]}},
    "fix": "Compare strictly.",
    "waived": None,
}
RUN: dict[str, Any] = {
    "path": "/runs/A",
    "verdict": "fail",
    "sessions": 1,
    "checkpoints": 5,
    "findings": [FINDING],
}
FAILURE: dict[str, Any] = {
    "rule": "BEST-003",
    "level": "must",
    "message": "a tie rewrote it",
    "scenario": SCENARIO,
    "replay": "conformance test T --replay s.json",
}
REPORT: dict[str, Any] = {
    "report": 1,
    "tool": {"name": "conformance", "version": "0.1.0"},
    "profile": "isaacgymenvs",
    "verdict": "fail",
    "runs": [RUN],
    "counts": {"pass": 0, "fail": 1, "not-applicable": 0, "unobservable": 0, "error": 0},
    "failures": [FAILURE],
}


def _validator(name: str) -> jsonschema.Draft202012Validator:
    folder = resources.files("conformance") / "schemas"
    schemas = [
        json.loads((folder / f"{stem}-1.schema.json").read_text(encoding="utf-8"))
        for stem in ("report", "scenario")
    ]
    registry = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )
    wanted = next(schema for schema in schemas if schema["$id"] == f"{name}-1.schema.json")
    jsonschema.Draft202012Validator.check_schema(wanted)
    return jsonschema.Draft202012Validator(wanted, registry=registry)


def _changed(document: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """The document with another value at a path; with `...`, without that key."""
    changed = copy.deepcopy(document)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all objects in a document, evidence aside."""
    found = [path] if isinstance(document, dict) else []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, (dict, list)) and key != "evidence":
            found += _places(value, (*path, key))
    return found


@pytest.mark.parametrize(("name", "document"), [("report", REPORT), ("scenario", SCENARIO)])
def test_the_schemas_take_what_the_interfaces_promise(name: str, document: object) -> None:
    _validator(name).validate(document)


@pytest.mark.parametrize(("name", "document"), [("report", REPORT), ("scenario", SCENARIO)])
def test_nothing_may_be_added_or_left_out(name: str, document: dict[str, Any]) -> None:
    validator = _validator(name)
    places = _places(document)
    assert len(places) == {"report": 7, "scenario": 1}[name]
    for place in places:
        holder: Any = document
        for part in place:
            holder = holder[part]
        assert not validator.is_valid(_changed(document, (*place, "extra"), 1)), place
        for key in holder:
            assert not validator.is_valid(_changed(document, (*place, key), ...)), (place, key)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("report",), 2),
        (("verdict",), "pass"),
        (("runs", 0, "verdict"), "pass"),
        (("runs", 0, "sessions"), -1),
        (("runs", 0, "findings", 0, "verdict"), "conforms"),
        (("runs", 0, "findings", 0, "level"), "MUST"),
        (("runs", 0, "findings", 0, "rule"), "BEST-3"),
        (("runs", 0, "findings", 0, "paths"), "nn/A.pth"),
        (("runs", 0, "findings", 0, "evidence"), []),
        (("runs", 0, "findings", 0, "waived"), False),
        (("counts", "pass"), 1.5),
        (("failures", 0, "scenario"), []),
        (("failures", 0, "scenario"), {}),
        (("failures", 0, "scenario"), [SCENARIO, {}]),
    ],
)
def test_a_wrong_report_is_refused(path: tuple[Any, ...], value: object) -> None:
    assert not _validator("report").is_valid(_changed(REPORT, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("failures",), []),
        (("runs",), []),
        (("failures", 0, "scenario"), [SCENARIO, SCENARIO]),
        (("runs", 0, "findings", 0, "waived"), "known (until 2030-12-31)"),
        (("runs", 0, "path"), "\ud800\n\x00"),
    ],
)
def test_another_right_report_is_taken(path: tuple[Any, ...], value: object) -> None:
    _validator("report").validate(_changed(REPORT, path, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("rewards", ["NaN"]), ("rewards", ["Infinity"]), ("rewards", ["+inf"]), ("rewards", [])),
        *(("rewards", ["1.5"]), ("rewards", [True]), ("rewards", 1.5), ("rewards", [[1.5]])),
        *(("save_freq", -1), ("save_freq", 1.5), ("save_freq", None), ("save_freq", True)),
        *(("max_epochs", 0), ("resume", "latest"), ("resume", ""), ("experiment", "")),
        *(("root", None), ("seed", "0"), ("seed", 0.5), ("save_best_after", -1)),
    ],
)
def test_a_wrong_scenario_is_refused(key: str, value: object) -> None:
    assert not _validator("scenario").is_valid({**SCENARIO, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("save_freq", 0), ("resume", "best"), ("resume", "last"), ("seed", -7), ("rewards", [0])],
)
def test_another_right_scenario_is_taken(key: str, value: object) -> None:
    _validator("scenario").validate({**SCENARIO, key: value})
