"""The report as SARIF 2.1.0, for code scanning services and editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from conformance.convention.rules import RULES, Level
from conformance.report.driven import shrunken
from conformance.report.printable import printable
from conformance.report.standing import Standing, in_run, standing

if TYPE_CHECKING:
    from conformance.checks.finding import Finding, RunReport
    from conformance.convention.rules import Rule
    from conformance.report import Report
    from conformance.report.driven import Shrunken

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_BASE = "%SRCROOT%"
_LEVELS = {Level.MUST: "error", Level.SHOULD: "warning"}
_INDEX = {rule.id: index for index, rule in enumerate(RULES)}
_RESULTS = (Standing.FAILED, Standing.WARNED, Standing.WAIVED, Standing.ERROR)


def to_sarif(report: Report) -> str:
    """Return the report as one SARIF log with one run; ASCII only, whatever the names in it.

    Failures are results, waived ones with a suppression. Where the harness failed, the result
    is `open` and the invocation tells of it: that is no defect of the subject. Locations are
    relative to the folder that the audit was started in (`%SRCROOT%`), absolute outside of it.

    Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
    """
    driver = {
        "name": "conformance",
        "version": report.version,
        "rules": [_rule(rule) for rule in RULES],
    }
    scenarios = shrunken(report)
    found = [
        (run, finding, scenarios.get(finding.rule))
        for run in report.runs
        for finding in run.findings
        if standing(finding) in _RESULTS
    ]
    notifications = [
        _notification(run, finding)
        for run, finding, _ in found
        if standing(finding) is Standing.ERROR
    ]
    root = {"description": {"text": "The folder that the audit was started in."}}
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [
                    {
                        "executionSuccessful": not notifications,
                        "toolExecutionNotifications": notifications,
                    }
                ],
                "originalUriBaseIds": {_BASE: root},
                "properties": {
                    "profile": printable(report.profile),
                    "verdict": report.verdict,
                    "counts": report.counts,
                    **_driven(report),
                },
                "results": [_result(*each) for each in found],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _driven(report: Report) -> dict[str, Any]:
    if report.driven is None:
        return {}
    return {"trainer": printable(report.driven.trainer), "seed": report.driven.seed}


def _rule(rule: Rule) -> dict[str, Any]:
    example = f"Breaks it: {rule.breaks}\nKeeps it: {rule.keeps}\nSource: {rule.source}"
    return {
        "id": rule.id,
        "shortDescription": {"text": _literal(rule.text)},
        "fullDescription": {"text": _literal(f"{rule.text} Source: {rule.source}.")},
        "help": {"text": _literal(f"{rule.fix}\n\n{example}")},
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
        "properties": {"tags": [rule.group.lower(), rule.level.value]},
    }


def _result(run: RunReport, finding: Finding, scenario: Shrunken | None) -> dict[str, Any]:
    kind = standing(finding)
    broke = kind is Standing.ERROR
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "kind": "open" if broke else "fail",
        "level": "none" if broke else _LEVELS[finding.level],
        "message": {"text": _message(finding, scenario)},
        "locations": _locations(run, finding, scenario),
    }
    if kind is Standing.WAIVED:
        justification = printable(finding.waived or "")
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": justification}
        ]
    return result


def _notification(run: RunReport, finding: Finding) -> dict[str, Any]:
    return {
        "level": "error",
        "message": {"text": _message(finding)},
        "associatedRule": {"id": finding.rule, "index": _INDEX[finding.rule]},
        "locations": _locations(run, finding),
    }


def _locations(
    run: RunReport, finding: Finding, scenario: Shrunken | None = None
) -> list[dict[str, Any]]:
    """Where the finding's files stand; without files, the run; of a driven one, the scenario."""
    paths = dict.fromkeys(in_run(run, path) for path in finding.paths or ("",))
    if scenario is not None and scenario.file:
        paths = {scenario.file: None}
    return [{"physicalLocation": {"artifactLocation": _artifact(path)}} for path in paths]


def _artifact(path: str) -> dict[str, str]:
    """The file as a URI: relative to the base, or absolute, percent-encoded byte by byte."""
    uri = quote_from_bytes(_bytes(path), safe="/")
    return {"uri": f"file://{uri}"} if path.startswith("/") else {"uri": uri, "uriBaseId": _BASE}


def _bytes(path: str) -> bytes:
    """The bytes of a name as the disk holds it; a surrogate that no disk made is kept as well."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogatepass")


def _message(finding: Finding, scenario: Shrunken | None = None) -> str:
    told = scenario.lines if scenario is not None else ()
    return _literal("; ".join(map(printable, (finding.message, *told)))) or finding.rule


def _literal(text: str) -> str:
    """A SARIF message that says this text: no placeholder `{0}` and no link `[text](target)`."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")
