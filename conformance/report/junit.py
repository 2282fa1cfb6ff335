"""The report as JUnit XML, as continuous integration servers read it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from conformance.convention.rules import BY_ID
from conformance.report.driven import shrunken
from conformance.report.printable import printable
from conformance.report.standing import Standing, shown_paths, shown_run, standing, tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.checks.finding import Finding, RunReport
    from conformance.report import Report
    from conformance.report.driven import Shrunken

_SKIPPED = (Standing.WAIVED, Standing.UNOBSERVABLE, Standing.NOT_APPLICABLE)


def to_junit(report: Report) -> str:
    """Return the report as JUnit XML: a suite for each run, a case for each rule.

    A SHOULD that failed passes with a warning in its output: it must turn no pipeline red. A
    waived failure is skipped, with the reason. What XML cannot hold is written as an escape.

    Source: the schema of the Jenkins xUnit plugin (junit-10.xsd), which GitLab's and GitHub's
    readers follow. ASCII only, so that no stream's encoding can contradict the declaration.
    """
    root = ET.Element("testsuites", name="conformance")
    scenarios = shrunken(report)
    for run in report.runs:
        root.append(_suite(run, scenarios))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.attrib[name]) for suite in root)))
    ET.indent(root)
    document = ET.tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _suite(run: RunReport, scenarios: Mapping[str, Shrunken]) -> ET.Element:
    found = tally(run)
    name = printable(shown_run(run))
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(run.findings)),
        failures=str(found[Standing.FAILED]),
        errors=str(found[Standing.ERROR]),
        skipped=str(sum(found[kind] for kind in _SKIPPED)),
    )
    for finding in run.findings:
        suite.append(_case(name, finding, scenarios.get(finding.rule)))
    told = (*(remark.message for remark in run.remarks), *run.notes)
    if told:
        ET.SubElement(suite, "system-err").text = "\n".join(map(printable, told))
    return suite


def _case(run: str, finding: Finding, scenario: Shrunken | None) -> ET.Element:
    name = f"{finding.rule} {BY_ID[finding.rule].text}"
    case = ET.Element("testcase", classname=run, name=name)
    kind, message = standing(finding), printable(finding.message)
    if kind is Standing.FAILED:
        failure = ET.SubElement(case, "failure", type=finding.rule, message=message)
        failure.text = _details(finding, scenario)
    elif kind is Standing.ERROR:
        error = ET.SubElement(case, "error", type="harness", message=message)
        error.text = "The harness itself failed here; this is no finding on the run."
    elif kind is Standing.WAIVED:
        reason = printable(finding.waived or "")
        skipped = ET.SubElement(case, "skipped", message=f"waived: {reason}")
        skipped.text = _details(finding, scenario)
    elif kind in _SKIPPED:
        ET.SubElement(case, "skipped", message=f"{kind.value}: {message}")
    elif kind is Standing.WARNED:
        ET.SubElement(case, "system-out").text = f"warning: {_details(finding, scenario)}"
    return case


def _details(finding: Finding, scenario: Shrunken | None) -> str:
    """The message, the scenario, the files and the fix, a line each."""
    told = scenario.lines if scenario is not None else ()
    lines = [finding.message, *told, *shown_paths(finding), f"fix: {finding.fix}"]
    return "\n".join(map(printable, lines))
