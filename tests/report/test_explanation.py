"""The explanation of files: the JSON keeps its schema, no format obeys what a name holds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import a_finding, a_report, texts

from conformance.report.explanation import to_explanation
from conformance.report.html import to_html
from conformance.report.markdown import to_markdown
from conformance.report.printable import printable
from conformance.report.text import Style, to_text
from conformance.run.explanation import ExplainedFile, ExplainedSession, Explanation, Grade, Reason

if TYPE_CHECKING:
    from conformance.report import Report

quick = settings(deadline=None)
SCHEMA = json.loads(
    (resources.files("conformance") / "schemas" / "explanation-1.schema.json").read_text()
)
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
numbers = st.integers(1, 9)


def a_file(**changes: object) -> ExplainedFile:
    given_values: dict[str, Any] = {
        "path": "nn/A.pth",
        "reason": Reason.BEST,
        "grade": Grade.PROVEN,
        "sessions": (1,),
        "epoch": 4,
        "evidence": "the last to improve",
        **changes,
    }
    return ExplainedFile(**given_values)


def a_session(**changes: object) -> ExplainedSession:
    given_values: dict[str, Any] = {
        "number": 1,
        "first": 1,
        "last": 4,
        "starts": ("fresh",),
        "files": ("events.out.tfevents.1.host",),
        **changes,
    }
    return ExplainedSession(**given_values)


def explaining(*files: ExplainedFile, sessions: tuple[ExplainedSession, ...] = ()) -> Report:
    report = a_report(a_finding())
    told = Explanation(sessions or (a_session(),), files)
    return replace(report, runs=(replace(report.runs[0], explanation=told),))


files = st.builds(
    a_file,
    path=texts.filter(bool),
    reason=st.sampled_from(Reason),
    grade=st.sampled_from(Grade),
    sessions=st.sets(numbers, max_size=9).map(tuple),
    epoch=st.none() | st.integers(),
    evidence=texts.filter(bool),
)
sessions = st.builds(
    a_session,
    starts=st.sampled_from([("fresh",), ("resumed",), ("fresh", "resumed")]),
    files=st.lists(texts, max_size=2).map(tuple),
)
reports = st.builds(
    lambda found, told: explaining(*found, sessions=told),
    st.lists(files, max_size=4),
    st.lists(sessions, min_size=1, max_size=2).map(tuple),
)


@quick
@given(reports)
def test_any_explanation_keeps_the_schema_and_names_come_back(report: Report) -> None:
    text = to_explanation(report)
    assert text.isascii()
    document = json.loads(text)
    VALIDATOR.validate(document)
    explanation = report.runs[0].explanation
    assert explanation is not None
    assert [file["path"] for file in document["runs"][0]["files"]] == [
        file.path for file in explanation.files
    ]
    assert document["files"] == len(explanation.files)
    grades = [file.grade.value for file in explanation.files]
    assert document["explained"] == len(grades) - grades.count("unexplained")
    assert document["grades"] == {grade.value: grades.count(grade.value) for grade in Grade}
    assert document["runs"][0]["grades"] == document["grades"]
    assert [file["grade"] for file in document["runs"][0]["files"]] == grades


def test_the_schema_takes_nothing_else() -> None:
    document = json.loads(to_explanation(explaining(a_file())))
    assert VALIDATOR.is_valid(document)
    assert not VALIDATOR.is_valid({**document, "more": 1})
    for changed in (
        {"reason": "other"},
        {"sessions": [0]},
        {"path": ""},
        {"more": 1},
        {"grade": "x"},
    ):
        file = {**document["runs"][0]["files"][0], **changed}
        run = {**document["runs"][0], "files": [file]}
        assert not VALIDATOR.is_valid({**document, "runs": [run]}), changed


@quick
@given(reports)
def test_each_file_is_one_line_of_text_that_a_terminal_shows(report: Report) -> None:
    explanation = report.runs[0].explanation
    assert explanation is not None
    text = to_text(report, Style(width=10_000))
    lines = text.splitlines()
    assert all(line == printable(line) for line in lines)
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("    SESSION")) + 1 :]
    assert table[len(explanation.files)] == ""
    # At any width a row is one line and its evidence, further in.
    narrow = to_text(report, Style(width=60)).splitlines()
    start = next(n for n, line in enumerate(narrow) if line.startswith("    SESSION")) + 1
    rows = [line for line in narrow[start : narrow.index("", start)] if line[:8].strip()]
    assert len(rows) == len(explanation.files)


@quick
@given(reports)
def test_each_file_is_one_row_of_markdown_and_html(report: Report) -> None:
    explanation = report.runs[0].explanation
    assert explanation is not None
    rows = [line for line in to_markdown(report).splitlines() if line.startswith("| ")]
    ours = rows[next(n for n, row in enumerate(rows) if row.startswith("| session ")) + 1 :]
    assert [row.count("|") for row in ours] == [7] * len(explanation.files)
    page = to_html(report)
    shown = page[page.index("<th>session</th>") :]
    assert shown.count("<tr>") == len(explanation.files)


def test_what_the_table_says() -> None:
    report = explaining(
        a_file(sessions=(1, 2), grade=Grade.CONSISTENT),
        a_file(
            path="x\x1b[31m",
            reason=Reason.UNEXPLAINED,
            grade=Grade.UNEXPLAINED,
            sessions=(),
            epoch=None,
        ),
        a_file(),
    )
    lines = to_text(report).splitlines()
    start = next(n for n, line in enumerate(lines) if "explained" in line)
    assert lines[start : start + 6] == [
        "  3 files: 1 proven, 1 consistent, 1 unexplained",
        "    session 1: epochs 1 to 4, fresh, logged in events.out.tfevents.1.host",
        "    SESSION  EPOCH  GRADE        REASON       FILE       EVIDENCE",
        "    1, 2     4      consistent   best         nn/A.pth   the last to improve",
        "    -        -      unexplained  unexplained  x\\x1b[31m  the last to improve",
        "    1        4      proven       best         nn/A.pth   the last to improve",
    ]
    assert lines[-2].endswith("; 3 files: 1 proven, 1 consistent, 1 unexplained)")
    page = to_markdown(report)
    assert "3 files: 1 proven, 1 consistent, 1 unexplained." in page
    assert re.search(r"\| 1, 2 \| 4 \| consistent \| best \| <code>nn/A", page)
    assert "<p>3 files: 1 proven, 1 consistent, 1 unexplained</p>" in to_html(report)
    assert '<span class="bad">unexplained</span>' in to_html(report)
    assert '<span class="good">proven</span>' in to_html(report)


def test_many_sessions_and_logs_are_counted_and_the_first_of_them_named() -> None:
    logs = tuple(f"events.out.tfevents.{number}.host" for number in range(5))
    report = explaining(
        a_file(sessions=tuple(range(3, 15))),
        a_file(path="nn/B.pth", sessions=(1, 2, 3)),
        sessions=(a_session(files=logs),),
    )
    for text in (to_text(report), to_markdown(report).replace("&#58;", ":")):
        assert re.search(r"12 sessions: 3, 4, 5, \.\.\.  ? ?(?:\| )?4", text)
        assert re.search(r"1, 2, 3  +4|1, 2, 3 \| 4", text)
    assert "tfevents.2.host and 2 more" in to_text(report)
    assert "tfevents.3" not in to_text(report)
    (run,) = json.loads(to_explanation(report))["runs"]
    assert run["files"][0]["sessions"] == list(range(3, 15))
    assert run["sessions"][0]["files"] == list(logs)


def test_lines_fit_and_no_path_is_cut() -> None:
    name = f"nn/last_{'x' * 150}ep2rew3.0.pth"
    told = "a reward is logged for the epoch; " * 6
    report = explaining(
        a_file(path=name, evidence=told), a_file(evidence=f"the same weights as {name!r}")
    )
    lines = to_text(report).splitlines()
    assert [line.strip() for line in lines if len(line) > 120] == [name]
    assert told.split() == [word for line in lines if "logged for" in line for word in line.split()]
    fitting = to_text(explaining(a_file(path="nn/" + "y" * 60))).splitlines()
    (row,) = (line for line in fitting if "y" * 60 in line)
    assert row.split()[:4] == ["1", "4", "proven", "best"]
    assert all(len(line) <= 120 for line in fitting)


def test_a_report_without_explanations_shows_none() -> None:
    report = a_report(a_finding())
    assert "explained" not in to_text(report) + to_markdown(report) + to_html(report)
    assert json.loads(to_explanation(report))["runs"] == []
