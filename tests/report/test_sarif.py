"""SARIF: keeps the standard's schema, and its URIs lead back to the very files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import jsonschema
import pytest
from hypothesis import given, settings
from reports import HOSTILE, a_finding, a_report, reports

from conformance.checks.finding import RunReport
from conformance.convention.rules import RULES, Level, Verdict
from conformance.report import Report
from conformance.report.sarif import to_sarif

if TYPE_CHECKING:
    from pathlib import Path

quick = settings(deadline=None)


def _object(required: str, optional: str = "", **properties: object) -> dict[str, Any]:
    assert set(properties) == {*required.split(), *optional.split()}
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "uniqueItems": True}


# The part of the standard's sarif-schema-2.1.0.json that is used, and nothing else allowed.
TEXT = {"type": "string", "minLength": 1}
MESSAGE = _object("text", text=TEXT)
ARTIFACT = {
    "oneOf": [
        _object(
            "uri uriBaseId",
            uri={"type": "string", "pattern": "^([A-Za-z0-9/._~-]|%[0-9A-F]{2})+$"},
            uriBaseId={"const": "%SRCROOT%"},
        ),
        _object(
            "uri", uri={"type": "string", "pattern": "^file:///([A-Za-z0-9/._~-]|%[0-9A-F]{2})*$"}
        ),
    ]
}
LOCATIONS = _list(
    _object(
        "physicalLocation", physicalLocation=_object("artifactLocation", artifactLocation=ARTIFACT)
    ),
    least=1,
)
INDEX = {"type": "integer", "minimum": 0, "maximum": len(RULES) - 1}
RESULT = _object(
    "ruleId ruleIndex kind level message locations",
    "suppressions",
    ruleId=TEXT,
    ruleIndex=INDEX,
    kind={"enum": ["fail", "open"]},
    level={"enum": ["none", "warning", "error"]},
    message=MESSAGE,
    locations=LOCATIONS,
    suppressions=_list(
        _object(
            "kind status justification",
            kind={"const": "external"},
            status={"const": "accepted"},
            justification={"type": "string"},
        ),
        least=1,
    ),
)
RULE = _object(
    "id shortDescription fullDescription help defaultConfiguration properties",
    id=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    help=MESSAGE,
    defaultConfiguration=_object("level", level={"enum": ["warning", "error"]}),
    properties=_object("tags", tags=_list(TEXT)),
)
NOTIFICATION = _object(
    "level message associatedRule locations",
    level={"const": "error"},
    message=MESSAGE,
    associatedRule=_object("id index", id=TEXT, index=INDEX),
    locations=LOCATIONS,
)
INVOCATION = _object(
    "executionSuccessful toolExecutionNotifications",
    executionSuccessful={"type": "boolean"},
    toolExecutionNotifications={"type": "array", "items": NOTIFICATION},
)
RUN = _object(
    "tool invocations originalUriBaseIds properties results",
    tool=_object(
        "driver",
        driver=_object(
            "name version rules", name=TEXT, version=TEXT, rules=_list(RULE, least=len(RULES))
        ),
    ),
    invocations={"type": "array", "items": INVOCATION, "minItems": 1, "maxItems": 1},
    originalUriBaseIds=_object(
        "%SRCROOT%", **{"%SRCROOT%": _object("description", description=MESSAGE)}
    ),
    properties={"type": "object"},
    results={"type": "array", "items": RESULT},
)
SCHEMA = _object(
    "$schema version runs",
    **{
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN, "minItems": 1, "maxItems": 1},
    },
)
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _run(report: Report) -> dict[str, Any]:
    """The log's one run, held against the schema."""
    text = to_sarif(report)
    assert text.isascii()
    log = json.loads(text)
    VALIDATOR.validate(log)
    run: dict[str, Any] = log["runs"][0]
    return run


def _uris(result: dict[str, Any]) -> list[str]:
    return [
        location["physicalLocation"]["artifactLocation"]["uri"] for location in result["locations"]
    ]


@quick
@given(reports())
def test_any_report_keeps_the_schema(report: Report) -> None:
    run = _run(report)
    told = [
        (finding.rule, finding.verdict is Verdict.ERROR, finding.waived is not None)
        for audited in report.runs
        for finding in audited.findings
        if finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    ]
    rules = run["tool"]["driver"]["rules"]
    assert [
        (result["ruleId"], result["kind"] == "open", "suppressions" in result)
        for result in run["results"]
    ] == told
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["kind"] == "open") == (result["level"] == "none")


@quick
@given(reports())
def test_no_text_holds_what_a_viewer_would_not_show(report: Report) -> None:
    for result in _run(report)["results"]:
        text = result["message"]["text"]
        assert text.isprintable()
        assert "](" not in text
        assert "{" not in text.replace("{{", "")
        assert "}" not in text.replace("}}", "")


def test_the_rules_are_the_registry() -> None:
    rules = _run(a_report())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    for shown, rule in zip(rules, RULES, strict=True):
        level = {"error": Level.MUST, "warning": Level.SHOULD}
        assert level[shown["defaultConfiguration"]["level"]] is rule.level
        assert rule.fix in shown["help"]["text"].replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize("name", [*HOSTILE, "ü", "100% a b", "a:b"], ids=ascii)
def test_a_uri_leads_back_to_the_bytes_of_the_name(name: str) -> None:
    (result,) = _run(a_report(a_finding(paths=(f"nn/{name}.pth",))))["results"]
    (uri,) = _uris(result)
    try:
        on_disk = f"/runs/A/nn/{name}.pth".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        on_disk = f"/runs/A/nn/{name}.pth".encode("utf-8", "surrogatepass")
    assert unquote_to_bytes(uri.removeprefix("file://")) == on_disk


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("runs/A", ["runs/A/nn/A.pth"]),
        ("runs/a:b c", ["runs/a%3Ab%20c/nn/A.pth"]),
        ("..A", ["..A/nn/A.pth"]),
        (".", ["nn/A.pth"]),
    ],
)
def test_inside_the_working_folder_locations_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunReport(str(tmp_path / folder), "fail", 1, 1, (a_finding(),))
    (result,) = _run(Report("0.1.0", "isaacgymenvs", (run,)))["results"]
    assert _uris(result) == expected


@pytest.mark.parametrize("paths", [(), ("",), ("", "")])
def test_a_finding_without_files_is_the_run_s(paths: tuple[str, ...]) -> None:
    (result,) = _run(a_report(a_finding(paths=paths)))["results"]
    assert _uris(result) == ["file:///runs/A"]


def test_levels_waivers_and_errors_are_told_apart() -> None:
    run = _run(
        a_report(
            a_finding(),
            a_finding(rule="NAME-008", level=Level.SHOULD),
            a_finding(rule="LOAD-001", waived="known"),
            a_finding(rule="LOAD-002", verdict=Verdict.PASS),
            a_finding(rule="LOAD-003", verdict=Verdict.UNOBSERVABLE),
            a_finding(rule="LOAD-004", verdict=Verdict.ERROR, message="broke"),
        )
    )
    assert [(result["ruleId"], result["kind"], result["level"]) for result in run["results"]] == [
        ("BEST-003", "fail", "error"),
        ("NAME-008", "fail", "warning"),
        ("LOAD-001", "fail", "error"),
        ("LOAD-004", "open", "none"),
    ]
    assert [result.get("suppressions") for result in run["results"]] == [
        None,
        None,
        [{"kind": "external", "status": "accepted", "justification": "known"}],
        None,
    ]
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["message"]["text"] == "broke"
    assert notification["associatedRule"]["id"] == "LOAD-004"


def test_placeholders_and_links_in_a_message_are_literal() -> None:
    (result,) = _run(a_report(a_finding(message="{0} [x](//evil)")))["results"]
    assert result["message"]["text"] == "{{0}} [x] (//evil)"
