"""JUnit XML: well-formed whatever a name holds, counted right, red for a broken MUST alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from reports import HOSTILE, a_finding, a_report, reports

from conformance.convention.rules import Level, Verdict
from conformance.report.junit import to_junit
from conformance.report.printable import printable

if TYPE_CHECKING:
    from conformance.report import Report

quick = settings(deadline=None)

COUNTS = {"tests", "failures", "errors", "skipped"}
# The part of the Jenkins xUnit plugin's junit-10.xsd that is used: attributes, children.
GRAMMAR: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", *COUNTS}, {"testsuite"}),
    "testsuite": ({"name", *COUNTS}, {"testcase", "system-err"}),
    "testcase": ({"classname", "name"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
    "system-err": (set(), set()),
}


def _parsed(report: Report) -> ET.Element:
    """The report's root element, held against the grammar."""
    text = to_junit(report)
    assert text.isascii()
    root = ET.fromstring(text)  # noqa: S314 - our own text, without a DTD
    for element in root.iter():
        attributes, children = GRAMMAR[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    return root


@quick
@given(reports())
def test_any_report_is_junit_xml_with_the_right_counts(report: Report) -> None:
    root = _parsed(report)
    for element in (root, *root):
        for attribute, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert element.get(attribute) == str(len(list(element.iter(tag))))
    assert [len(list(suite.iter("testcase"))) for suite in root] == [
        len(run.findings) for run in report.runs
    ]


@quick
@given(reports())
def test_red_is_what_the_verdict_says(report: Report) -> None:
    root = _parsed(report)
    red = int(root.attrib["failures"]) + int(root.attrib["errors"]) > 0
    assert red == (report.verdict in ("fail", "error"))


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_shown_as_an_escape(name: str) -> None:
    finding = a_finding(message=f"a{name}b", paths=(f"nn/{name}.pth",))
    failure = next(_parsed(a_report(finding, notes=(name,))).iter("failure"))
    assert failure.attrib["message"] == printable(f"a{name}b")
    assert failure.text == "\n".join(
        (printable(f"a{name}b"), printable(f"nn/{name}.pth"), "fix: Compare strictly.")
    )


@pytest.mark.parametrize(
    ("changes", "tag", "says"),
    [
        ({}, "failure", "a tie rewrote it"),
        ({"verdict": Verdict.ERROR}, "error", "a tie rewrote it"),
        ({"level": Level.SHOULD, "verdict": Verdict.ERROR}, "error", "a tie rewrote it"),
        ({"waived": "known"}, "skipped", "waived: known"),
        ({"level": Level.SHOULD, "waived": "known"}, "skipped", "waived: known"),
        ({"verdict": Verdict.UNOBSERVABLE}, "skipped", "unobservable: a tie rewrote it"),
        ({"verdict": Verdict.NOT_APPLICABLE}, "skipped", "not applicable: a tie rewrote it"),
    ],
)
def test_each_verdict_has_its_element(changes: dict[str, object], tag: str, says: str) -> None:
    (case,) = _parsed(a_report(a_finding(**changes))).iter("testcase")
    (element,) = case
    assert (element.tag, element.attrib["message"]) == (tag, says)


def test_a_rule_that_passed_is_an_empty_case() -> None:
    (case,) = _parsed(a_report(a_finding(verdict=Verdict.PASS, paths=(), fix=""))).iter("testcase")
    assert list(case) == []
    assert case.attrib["classname"] == "/runs/A"
    assert case.attrib["name"].startswith("BEST-003 An equal mean reward")


def test_a_broken_should_passes_with_a_warning() -> None:
    finding = a_finding(rule="NAME-008", level=Level.SHOULD, message="odd", fix="Rename it.")
    root = _parsed(a_report(finding))
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")
    (output,) = root.iter("system-out")
    assert output.text == "warning: odd\nnn/A.pth\nfix: Rename it."


def test_notes_stand_beside_the_cases() -> None:
    (error,) = _parsed(a_report(notes=("config.yaml: odd\x1b", "two"))).iter("system-err")
    assert error.text == "config.yaml: odd\\x1b\ntwo"
