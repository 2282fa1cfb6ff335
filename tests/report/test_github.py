"""Workflow commands: one line for each failure, read back as the runner does, and none besides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from reports import HOSTILE, a_finding, a_report, reports

from conformance.convention.rules import Level, Verdict
from conformance.report.github import to_github
from conformance.report.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.report import Report

quick = settings(deadline=None)

_ESCAPES = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


def _unescaped(text: str) -> str:
    for escape, char in _ESCAPES:
        text = text.replace(escape, char)
    return text


def _command(line: str) -> tuple[str, dict[str, str], str] | None:
    """What the runner (ActionCommand.TryParseV2) makes of a line: name, properties, message."""
    line = line.lstrip()
    if not line.startswith("::"):
        return None
    head, _, message = line[2:].partition("::")
    name, _, properties = head.partition(" ")
    pairs = (entry.partition("=") for entry in properties.split(",") if entry)
    return name, {key: _unescaped(value) for key, _, value in pairs}, _unescaped(message)


def _commands(report: Report) -> list[tuple[str, dict[str, str], str]]:
    """The commands of a report whose last line is none, and where nothing else is written."""
    *lines, summary, rest = re.split(r"\r\n|\r|\n", to_github(report))
    assert rest == ""
    assert all(line.isprintable() for line in lines)
    assert re.fullmatch(r"conformance verdict: \w+ \((?:\d+ runs?|driven); [\w ,-]+\)", summary)
    assert f" {report.verdict} (" in summary
    found = [command for line in lines if (command := _command(line))]
    assert len(found) == len(lines)
    return found


@quick
@given(reports())
def test_any_report_has_a_command_for_each_failure_and_no_other(report: Report) -> None:
    told = [
        finding
        for run in report.runs
        for finding in run.findings
        if finding.verdict is Verdict.ERROR
        or (finding.verdict is Verdict.FAIL and finding.waived is None)
    ]
    commands = _commands(report)
    assert [properties["title"].split()[0] for _, properties, _ in commands] == [
        finding.rule for finding in told
    ]
    for finding, (name, properties, message) in zip(told, commands, strict=True):
        warns = finding.verdict is Verdict.FAIL and finding.level is Level.SHOULD
        assert name == ("warning" if warns else "error")
        assert set(properties) == {"file", "title"}
        assert re.match(re.escape(printable(finding.message)) + r"\n(run|trainer): ", message)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stays_inside_its_own_command(name: str) -> None:
    ((command, properties, message),) = _commands(
        a_report(a_finding(message=name or "x", paths=(f"nn/{name}", name)))
    )
    assert command == "error"
    assert properties["file"] == printable(f"/runs/A/nn/{name}")
    assert properties["title"] == "BEST-003"
    assert message.split("\n") == [
        printable(name),
        "run: /runs/A",
        printable(name),
        "fix: Compare strictly.",
    ]


def test_the_line_is_what_github_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = a_report(a_finding(message="100%, a: b", paths=("nn/a,b:c%.pth",)))
    assert to_github(report).splitlines()[0] == (
        "::error file=/runs/A/nn/a%2Cb%3Ac%25.pth,title=BEST-003"
        "::100%25, a: b%0Arun: /runs/A%0Afix: Compare strictly."
    )


def test_waived_and_unseen_rules_are_no_annotation_and_errors_are_the_harness_s() -> None:
    ((name, properties, message),) = _commands(
        a_report(
            a_finding(waived="known"),
            a_finding(verdict=Verdict.UNOBSERVABLE),
            a_finding(verdict=Verdict.PASS),
            a_finding(rule="LOAD-004", verdict=Verdict.ERROR, message="broke", paths=(), fix=""),
        )
    )
    assert name == "error"
    assert properties == {"file": "/runs/A", "title": "LOAD-004 (the harness failed)"}
    assert message == "broke\nrun: /runs/A"
