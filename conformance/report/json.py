"""The JSON report, version 1; its schema is published as `schemas/report-1.schema.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.checks.finding import Finding, RunReport
    from conformance.report import Report
    from conformance.run.remark import Remark

REPORT_VERSION = 1
TOOL = "conformance"


def to_json(report: Report) -> str:
    """Return the report as one JSON document; ASCII only, whatever the names in it."""
    document = {
        "report": REPORT_VERSION,
        "tool": {"name": TOOL, "version": report.version},
        "profile": report.profile,
        "verdict": report.verdict,
        "runs": [_run(run, report.profile) for run in report.runs],
        "counts": report.counts,
        "failures": [_plain(failure) for failure in report.failures],
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _run(run: RunReport, profile: str) -> dict[str, Any]:
    return {
        "path": run.path,
        "profile": run.profile or profile,
        "verdict": run.verdict,
        "sessions": run.sessions,
        "checkpoints": run.checkpoints,
        "findings": [_finding(finding) for finding in run.findings],
        "remarks": [remark_document(remark) for remark in run.remarks],
    }


def remark_document(remark: Remark) -> dict[str, Any]:
    """Return a remark in JSON's types."""
    return {
        "message": remark.message,
        "paths": list(remark.paths),
        "evidence": _plain(remark.evidence),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "level": finding.level.value,
        "verdict": finding.verdict.value,
        "message": finding.message,
        "paths": list(finding.paths),
        "evidence": _plain(finding.evidence),
        "fix": finding.fix,
        "waived": finding.waived,
    }


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON has no better type
    """The value in JSON's types: numbers that are not finite become texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
