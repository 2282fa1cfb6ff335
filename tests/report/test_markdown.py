"""Markdown: a table for what failed, that no name breaks, addresses nobody, holds no HTML."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import markdown_it
import pytest
from hypothesis import given, settings
from reports import HOSTILE, a_finding, a_report, reports

from conformance.convention.rules import Level, Verdict
from conformance.report.markdown import to_markdown
from conformance.report.printable import printable
from conformance.report.standing import failures_first

if TYPE_CHECKING:
    from conformance.report import Report

quick = settings(deadline=None)

TAGS = {"h2", "h3", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "br", "strong"}
# What a cell may hold: text without structure, references, and the few marks of our own.
CELL = re.compile(r"(?:waived:)?(?:[^\W_]|[ ,;()/'=+.-]|&#\d+;|</?code>|<br>|^\*\*[A-Z]+\*\*$)*")
REFERENCE = re.compile(r"&#(\d+);")


def _rows(report: Report) -> list[list[str]]:
    """The rows of all tables as plain text, their headers left out."""
    rows = [line for line in to_markdown(report).split("\n") if line.startswith("| ")]
    return [_cells(row) for row in rows if not row.startswith("| | rule ")]


def _cells(row: str) -> list[str]:
    cells = [cell.strip(" ") for cell in row.split("|")[1:-1]]
    assert [cell for cell in cells if not CELL.fullmatch(cell)] == []
    plain = [re.sub(r"</?code>|\*\*", "", cell) for cell in cells]
    return [_decoded(cell).replace("\u200b", "") for cell in plain]


def _decoded(text: str) -> str:
    return REFERENCE.sub(lambda match: chr(int(match[1])), text)


@quick
@given(reports())
def test_any_report_has_a_row_for_each_failure(report: Report) -> None:
    told = [
        finding
        for run in failures_first(report.runs)
        for finding in run.findings
        if finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    ]
    rows = _rows(report)
    assert [row[1] for row in rows] == [finding.rule for finding in told]
    for finding, row in zip(told, rows, strict=True):
        assert len(row) == 5
        shown = " ".join(row[2].split())
        message = " ".join(printable(finding.message).split())
        behind = " ?<br>(scenario|session 1)" if report.driven else "$"
        assert re.match(re.escape(message) + behind, shown)


@quick
@given(reports())
def test_a_parser_of_markdown_reads_the_same(report: Report) -> None:
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = parser.render(to_markdown(report))
    assert {tag.lower() for tag in re.findall(r"</?([^\s>/]+)[^>]*>", page)} <= TAGS
    assert re.findall(r"<[^>]*[=\"'][^>]*>|<!", page) == []
    assert page.count("<h3>") == len(report.runs)
    read = [
        [
            html.unescape(re.sub(r"<(?!br)[^>]+>", "", cell)).replace("\u200b", "").split()
            for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
        if "<td>" in row
    ]
    assert read == [[cell.split() for cell in row] for row in _rows(report)]


@quick
@given(reports())
def test_nobody_is_mentioned_and_no_line_is_forged(report: Report) -> None:
    text = to_markdown(report)
    assert not re.search(r"@|www\.|://", text)
    for line in text.split("\n"):
        assert line.isprintable()
        ours = ("#", "|", "Profile ", "Driven: ")
        assert line == "" or line.startswith(ours) or line.endswith(".")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_shown_and_has_no_structure(name: str) -> None:
    ((verdict, rule, message, files, remedy),) = _rows(
        a_report(a_finding(message=f"a{name}b", paths=(f"nn/{name}.pth", ""), waived=f"c{name}d"))
    )
    assert (verdict, rule) == ("waived", "BEST-003")
    assert message == printable(f"a{name}b")
    assert files == f"{printable(f'nn/{name}.pth')}<br>."
    assert remedy == printable(f"waived: c{name}d")


def test_running_text_addresses_nobody() -> None:
    text = to_markdown(a_report(a_finding(message="by @everyone, see #1")))
    assert "by &#64;&#8203;everyone, see &#35;&#8203;1" in text


def test_failures_warnings_waivers_and_errors_are_told_apart() -> None:
    report = a_report(
        a_finding(),
        a_finding(rule="NAME-008", level=Level.SHOULD),
        a_finding(rule="LOAD-001", waived="known"),
        a_finding(rule="LOAD-002", verdict=Verdict.PASS),
        a_finding(rule="LOAD-003", verdict=Verdict.UNOBSERVABLE),
        a_finding(rule="LOAD-004", verdict=Verdict.ERROR, fix=""),
    )
    assert [row[:2] for row in _rows(report)] == [
        ["FAIL", "BEST-003"],
        ["warn", "NAME-008"],
        ["waived", "LOAD-001"],
        ["ERROR", "LOAD-004"],
    ]
    assert to_markdown(report).startswith("## Checkpoint conformance: fail\n\nProfile <code>")


def test_a_run_without_failures_has_no_table() -> None:
    report = a_report(a_finding(verdict=Verdict.PASS))
    assert to_markdown(report).endswith("### conforms: <code>/runs/A</code>\n\n1 passed.\n")


def test_many_files_are_cut_short_and_counted() -> None:
    ((*_, files, _remedy),) = _rows(
        a_report(a_finding(paths=tuple(f"nn/{number}" for number in range(20))))
    )
    assert files.split("<br>")[-2:] == ["nn/7", "and 12 more"]
