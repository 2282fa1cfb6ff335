"""The report as workflow commands, which GitHub Actions shows as annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.convention.rules import Verdict
from conformance.report.driven import shrunken
from conformance.report.printable import plural, printable
from conformance.report.standing import Standing, in_run, shown_paths, shown_run, standing

if TYPE_CHECKING:
    from conformance.checks.finding import Finding, RunReport
    from conformance.report import Report
    from conformance.report.driven import Shrunken

_COMMANDS = {Standing.FAILED: "error", Standing.ERROR: "error", Standing.WARNED: "warning"}


def to_github(report: Report) -> str:
    """Return one annotation a line for what failed, and a summary line without a command.

    A waived failure is not annotated. The summary holds numbers and words of our own alone, and
    each annotation is one line that begins with its command: no name can begin another.

    Source: GitHub's "Workflow commands for GitHub Actions"; the escaping of actions/toolkit,
    packages/core/src/command.ts.
    """
    scenarios = shrunken(report)
    lines = [
        _annotation(_COMMANDS[kind], run, finding, scenarios.get(finding.rule))
        for run in report.runs
        for finding in run.findings
        if (kind := standing(finding)) in _COMMANDS
    ]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.counts.items())
    runs = "driven" if report.driven else plural(len(report.runs), "run")
    return "\n".join([*lines, f"conformance verdict: {report.verdict} ({runs}; {counts})"]) + "\n"


def _annotation(command: str, run: RunReport, finding: Finding, scenario: Shrunken | None) -> str:
    file = in_run(run, finding.paths[0] if finding.paths else "")
    if scenario is not None and scenario.file:
        file = scenario.file
    title = finding.rule
    subject = f"{'trainer' if run.driven else 'run'}: {shown_run(run)}"
    told = scenario.lines if scenario is not None else ()
    paths = shown_paths(finding)[0 if run.driven else 1 :]
    lines = [finding.message, subject, *told, *paths]
    if finding.verdict is Verdict.FAIL:
        lines.append(f"fix: {finding.fix}")
    else:
        title = f"{finding.rule} (the harness failed)"
    message = "\n".join(map(printable, lines))
    return f"::{command} file={_property(file)},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
