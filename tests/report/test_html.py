"""HTML: one page of its own, whose elements are ours whatever a name holds."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from reports import HOSTILE, a_finding, a_report, reports

from conformance.convention.rules import BY_ID, Level, Verdict
from conformance.report.html import to_html
from conformance.report.printable import printable
from conformance.report.standing import failures_first

if TYPE_CHECKING:
    from conformance.report import Report

quick = settings(deadline=None)

VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "code", "abbr"),
    *("table", "thead", "tbody", "tr", "th", "td", "ul", "li", "details", "summary"),
}
ATTRIBUTES = {"lang", "charset", "name", "content", "http-equiv", "class", "title"}


class Page(HTMLParser):
    """A page read strictly: known elements and attributes alone, each closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.codes: list[str] = []
        self.folded: list[str] = []
        self.titles: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        if tag not in VOID:
            self._open.append(tag)
        if tag == "p":
            self.cells.append("")
        if tag == "code":
            self.codes.append("")
        if tag == "abbr":
            self.titles.extend(value or "" for name, value in attrs if name == "title")

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:  # noqa: D102
        if "p" in self._open:
            self.cells[-1] += data
        if "code" in self._open:
            self.codes[-1] += data
        if "abbr" in self._open and "details" in self._open:
            self.folded.append(data)

    def handle_comment(self, data: str) -> None:  # noqa: D102
        raise AssertionError(f"a comment: {data!a}")

    def handle_pi(self, data: str) -> None:  # noqa: D102
        raise AssertionError(f"a processing instruction: {data!a}")

    def handle_decl(self, decl: str) -> None:  # noqa: D102
        assert decl == "DOCTYPE html"

    def unknown_decl(self, data: str) -> None:  # noqa: D102
        raise AssertionError(f"a declaration: {data!a}")


def _page(report: Report) -> Page:
    text = to_html(report)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    return Page(text)


@quick
@given(reports())
def test_any_report_is_a_page_that_shows_each_finding(report: Report) -> None:
    page = _page(report)
    runs = failures_first(report.runs)
    findings = [finding for run in runs for finding in run.findings]
    assert page.titles == [
        BY_ID[finding.rule].text
        for run in runs
        for quiet in (False, True)
        for finding in run.findings
        if (finding.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)) is quiet
    ]
    assert page.folded == [
        finding.rule
        for finding in findings
        if finding.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
    ]
    for finding in findings:
        assert printable(finding.message) in page.cells
        for path in finding.paths:
            assert printable(path or ".") in page.codes
    for run in report.runs:
        assert all(f"note: {printable(note)}" in page.cells for note in run.notes)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_text_and_no_more(name: str) -> None:
    page = _page(a_report(a_finding(message=f"a{name}b", paths=(name,), waived=name)))
    assert printable(f"a{name}b") in page.cells
    assert printable(f"waived: {name}") in page.cells
    assert page.codes[-1] == printable(name)


def test_the_page_needs_nothing_else() -> None:
    text = to_html(a_report(a_finding()))
    for sign in ("<script", "<link", "<img", "url(", "@import", "http:", "https:", "src=", "href="):
        assert sign not in text.lower()
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_verdicts_are_told_apart_and_what_passed_is_folded_away() -> None:
    text = to_html(
        a_report(
            a_finding(),
            a_finding(rule="NAME-008", level=Level.SHOULD),
            a_finding(rule="LOAD-001", waived="known"),
            a_finding(rule="LOAD-002", verdict=Verdict.PASS, fix=""),
            a_finding(rule="LOAD-003", verdict=Verdict.UNOBSERVABLE, fix=""),
        )
    )
    shown, _, folded = text.partition("<details>")
    for word in ("fail", "warn", "waived", "unobservable"):
        assert f">{word}</span></td>" in shown
    assert "LOAD-002" not in shown
    assert "LOAD-002" in folded
    assert "1 passed or not applicable" in folded
