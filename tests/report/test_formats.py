"""Reports of any content: the JSON keeps its schema, the text obeys nothing that a name holds."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource
from reports import HOSTILE, a_finding, a_remark, a_report, reports

from conformance.checks.finding import Finding, RunReport, run_verdict
from conformance.convention.rules import Level, RunVerdict, Verdict
from conformance.report import Report, count
from conformance.report.formats import FORMATS, Look
from conformance.report.json import to_json
from conformance.report.printable import printable
from conformance.report.text import Style, to_text

if TYPE_CHECKING:
    from conformance.run.remark import Remark

quick = settings(deadline=None)


def _validator() -> jsonschema.Draft202012Validator:
    folder = resources.files("conformance") / "schemas"
    report, scenario = (
        json.loads((folder / f"{stem}-1.schema.json").read_text(encoding="utf-8"))
        for stem in ("report", "scenario")
    )
    registry = Registry().with_resource(scenario["$id"], Resource.from_contents(scenario))
    return jsonschema.Draft202012Validator(report, registry=registry)


VALIDATOR = _validator()


def _no_constant(text: str) -> float:
    raise AssertionError(f"{text} is not JSON")


def _load(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text, parse_constant=_no_constant)
    return document


# --- JSON -----------------------------------------------------------------------------------


@quick
@given(reports())
def test_any_report_keeps_the_schema(report: Report) -> None:
    text = to_json(report)
    assert text.isascii()
    assert text.endswith("}\n")
    document = _load(text)
    VALIDATOR.validate(document)
    assert [run["path"] for run in document["runs"]] == [run.path for run in report.runs]
    assert document["verdict"] == report.verdict
    assert sum(document["counts"].values()) == sum(len(run.findings) for run in report.runs)


@quick
@given(reports())
def test_names_come_back_as_they_were(report: Report) -> None:
    for run, shown in zip(report.runs, _load(to_json(report))["runs"], strict=True):
        for finding, listed in zip(run.findings, shown["findings"], strict=True):
            assert listed["paths"] == list(finding.paths)
            assert listed["message"] == finding.message
            assert listed["rule"] == finding.rule
            assert listed["waived"] == finding.waived


def test_numbers_that_are_not_finite_are_texts() -> None:
    finding = a_finding(evidence={"a": [math.nan, math.inf], "b": {"c": -math.inf}, "d": (1.5,)})
    evidence = _load(to_json(a_report(finding)))["runs"][0]["findings"][0]["evidence"]
    assert evidence == {"a": ["nan", "inf"], "b": {"c": "-inf"}, "d": [1.5]}


def test_failures_of_a_driven_trainer_keep_the_schema() -> None:
    scenario = {
        "experiment": "\udcff\n",
        "root": "runs",
        "save_freq": 0,
        "max_epochs": 2,
        "rewards": (None, math.nan, math.inf, -math.inf, 1.5),
        "save_best_after": 0,
        "resume": "best",
        "seed": 0,
    }
    failure = {
        "rule": "BEST-005",
        "level": "must",
        "message": "a NaN rewrote it",
        "scenario": [scenario, scenario],
        "replay": "conformance test",
    }
    document = _load(to_json(Report("0.1.0", "isaacgymenvs", (), (failure,))))
    VALIDATOR.validate(document)
    rewards = document["failures"][0]["scenario"][1]["rewards"]
    assert rewards == [None, "nan", "inf", "-inf", 1.5]


# --- verdicts and counts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "conforms"),
        (("conforms", "incomplete"), "incomplete"),
        (("incomplete", "error"), "error"),
        (("error", "fail", "conforms"), "fail"),
    ],
)
def test_the_worst_run_decides(verdicts: tuple[str, ...], expected: str) -> None:
    runs = tuple(RunReport("/runs/A", verdict, 0, 0, ()) for verdict in verdicts)
    assert Report("0.1.0", "isaacgymenvs", runs).verdict == expected


@pytest.mark.parametrize(
    ("level", "verdict", "expected"),
    [
        (Level.MUST, Verdict.PASS, "conforms"),
        (Level.MUST, Verdict.NOT_APPLICABLE, "conforms"),
        (Level.MUST, Verdict.UNOBSERVABLE, "incomplete"),
        (Level.MUST, Verdict.FAIL, "fail"),
        (Level.MUST, Verdict.ERROR, "error"),
        (Level.SHOULD, Verdict.UNOBSERVABLE, "conforms"),
        (Level.SHOULD, Verdict.FAIL, "conforms"),
        (Level.SHOULD, Verdict.ERROR, "error"),
    ],
)
def test_must_rules_decide_and_should_rules_warn(
    level: Level, verdict: Verdict, expected: str
) -> None:
    passing = a_finding(verdict=Verdict.PASS)
    assert run_verdict([passing, a_finding(level=level, verdict=verdict)]) == expected


def test_a_waived_failure_does_not_decide() -> None:
    assert run_verdict([a_finding(waived="known")]) == "conforms"
    assert run_verdict([a_finding(waived="known"), a_finding()]) == "fail"


def test_all_verdicts_are_counted() -> None:
    report = a_report(a_finding(), a_finding(verdict=Verdict.PASS), a_finding())
    assert count(report.runs) == {
        "pass": 1,
        "fail": 2,
        "not-applicable": 0,
        "unobservable": 0,
        "error": 0,
    }


# --- text -----------------------------------------------------------------------------------


@quick
@given(reports(), st.booleans(), st.integers(20, 200), st.booleans())
def test_no_text_obeys_what_a_name_holds(
    report: Report, colour: bool, width: int, verbose: bool
) -> None:
    text = to_text(report, Style(colour, width), verbose=verbose)
    plain = re.sub(r"\x1b\[[0-9]{1,2}m", "", text) if colour else text
    for char in plain.replace("\n", ""):
        assert char.isprintable(), ascii(char)
    lines = plain.split("\n")
    assert sum(line.startswith("verdict: ") for line in lines) == 1
    end = lines[next(n for n, line in enumerate(lines) if line.startswith("verdict: ")) :]
    assert re.match(rf"verdict: {report.verdict}(?: \(|$)", end[0])
    assert sum(line.startswith("next: ") for line in lines) == (report.driven is None)
    assert lines[-1] == ""
    # What begins a line is ours: a name that is wrapped goes on further in.
    ours = ("profile ", "verdict: ", "next: ", *(f"{v.upper()} " for v in RunVerdict))
    assert all(line.startswith((" ", *ours)) for line in lines if line)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str) -> None:
    shown = printable(f"a{text}b")
    assert shown.isprintable()
    assert not any(unicodedata.category(char).startswith("C") for char in shown)
    assert shown.startswith("a")
    assert shown.endswith("b")


@pytest.mark.parametrize("text", ["Ünïcode", "名前", "a b", "\U0001f916", "e\u0301", "x[1]", ""])
def test_what_a_reader_sees_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_failures_warnings_and_waivers_are_told_apart() -> None:
    text = to_text(
        a_report(
            a_finding(),
            a_finding(rule="NAME-008", level=Level.SHOULD, message="odd", fix="Rename it."),
            a_finding(rule="LOAD-001", message="refused", waived="known (until 2030-12-31)"),
            a_finding(rule="LOAD-002", verdict=Verdict.PASS, message="fine", fix="", paths=()),
            a_finding(rule="LOAD-003", verdict=Verdict.UNOBSERVABLE, message="unseen", fix=""),
            a_finding(rule="LOAD-004", verdict=Verdict.ERROR, message="broke", fix=""),
            notes=("config.yaml: odd",),
        )
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "FAIL BEST-003 a tie rewrote it" in lines
    assert "warn NAME-008 odd" in lines
    assert "waived LOAD-001 refused" in lines
    assert "waived: known (until 2030-12-31)" in lines
    assert "? LOAD-003 unseen" in lines
    assert "ERROR LOAD-004 broke" in lines
    assert "fix: Compare strictly.\n" in text
    assert "config.yaml: odd" in text
    assert "LOAD-002" not in text
    assert lines[-2].startswith("verdict: fail (1 run")
    assert lines[-2].endswith("; MUST rules broken: BEST-003)")
    assert lines[-1] == "next: mend BEST-003; 'conformance explain BEST-003' says why and how"


def test_neighbours_that_say_the_same_say_it_once() -> None:
    unseen = {"verdict": Verdict.UNOBSERVABLE, "message": "unseen", "fix": "", "paths": ()}
    text = to_text(
        a_report(
            a_finding(rule="BEST-008", **unseen),
            a_finding(rule="BEST-009", **unseen),
            a_finding(rule="LOAD-001", **unseen),
            a_finding(rule="LOAD-002", verdict=Verdict.PASS, message="fine", fix="", paths=()),
            a_finding(rule="LOAD-003", **unseen),
        )
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if line.startswith("?")] == [
        "? BEST-008..009 unseen",
        "? LOAD-001 unseen",
        "? LOAD-003 unseen",
    ]


def test_failures_that_say_the_same_keep_their_own_files() -> None:
    text = to_text(
        a_report(
            a_finding(rule="LOAD-001", paths=("nn/A.pth",)),
            a_finding(rule="LOAD-002", paths=("nn/B.pth",)),
        )
    )
    assert "LOAD-002" in text
    assert "nn/A.pth" in text
    assert "nn/B.pth" in text


def test_verbose_lists_what_passed() -> None:
    report = a_report(a_finding(verdict=Verdict.PASS, message="fine", fix="", paths=()))
    assert "pass   BEST-003" in to_text(report, verbose=True)
    assert "BEST-003" not in to_text(report)


def test_many_paths_are_cut_short_and_counted() -> None:
    text = to_text(a_report(a_finding(paths=tuple(f"nn/{number}" for number in range(20)))))
    assert "nn/7\n" in text
    assert "nn/8\n" not in text
    assert "and 12 more\n" in text


def test_lines_fit_the_terminal_and_lose_no_word() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    report = a_report(a_finding(message=words))
    wrapped = to_text(report, Style(width=60))
    assert all(len(line) <= 60 for line in wrapped.split("\n"))
    assert " ".join(wrapped.split()) == " ".join(to_text(report).split())
    assert words in to_text(report, Style(width=1000))


@pytest.mark.parametrize("width", [60, 120])
def test_a_line_that_is_longer_holds_a_path_alone(width: int) -> None:
    """What a user copies is never cut; what is quoted in a sentence stands whole in the JSON."""
    long = "x" * 200
    report = a_report(
        a_finding(message=f"'nn/{long}.pth' is odd: {long}", paths=(f"nn/{long}.pth",)),
        notes=(f"{long} is odd",),
    )
    run = replace(report.runs[0], path=f"/runs/{long}", remarks=(a_remark(f"see {long}"),))
    text = to_text(replace(report, runs=(run,)), Style(width=width))
    over = [line for line in text.split("\n") if len(line) > width]
    assert [" ".join(line.split()) for line in over] == [f"FAIL /runs/{long}", f"nn/{long}.pth"]
    assert text.count("...") == 4
    assert f"{'x' * 9}.pth' is odd:" in " ".join(text.split())


def test_failures_come_first_and_the_last_line_says_what_to_do() -> None:
    fine = a_finding(rule="BEST-001", verdict=Verdict.PASS, message="fine", fix="", paths=())
    unseen = a_finding(rule="BEST-002", verdict=Verdict.UNOBSERVABLE, message="unseen", fix="")
    odd = a_finding(rule="LAYOUT-003", level=Level.SHOULD, message="odd")
    bad = a_finding(rule="LOAD-001", message="bad")
    broke = a_finding(rule="LOAD-002", verdict=Verdict.ERROR, message="broke", fix="")

    def told(*runs: tuple[Finding, ...], remarks: tuple[Remark, ...] = ()) -> list[str]:
        reports = [
            RunReport(f"/runs/{number}", run_verdict(found), 1, 1, found, remarks=remarks)
            for number, found in enumerate(runs)
        ]
        return to_text(Report("0.1.0", "isaacgymenvs", tuple(reports))).splitlines()

    lines = told((fine,), (unseen, odd), (unseen, odd, bad), (fine, bad))
    heads = [line.split()[:2] for line in lines if line.startswith(("FAIL", "INC", "CON"))]
    assert heads == [
        ["FAIL", "/runs/2"],
        ["FAIL", "/runs/3"],
        ["INCOMPLETE", "/runs/1"],
        ["CONFORMS", "/runs/0"],
    ]
    words = [line.split()[0] for line in lines if line[26:] in ("bad", "odd", "unseen")]
    assert words == ["FAIL", "warn", "?", "FAIL", "warn", "?"]
    assert lines[-1].startswith("next: mend LOAD-001 (2 runs); ")
    assert told((broke, odd))[-1].startswith("next: report what says ERROR")
    remarked = told((unseen,), remarks=(a_remark("see nn/B.pth"),))
    assert remarked[-1].startswith("next: look at the files that the notes name")
    assert told((unseen, odd))[-1].startswith("next: add the evidence")
    assert "conformance explain LAYOUT-003" in told((fine, odd))[-1]
    assert told((fine,))[-1] == "next: nothing is to be mended"
    assert told((replace(bad, waived="known"), fine))[-1] == "next: nothing is to be mended"


def test_a_remark_is_told_in_every_format_that_people_read() -> None:
    report = a_report(a_finding())
    run = replace(report.runs[0], remarks=(a_remark("nn/B.pth is higher", {"reward": math.inf}),))
    remarked = replace(report, runs=(run,))
    for name in ("text", "html", "markdown", "junit"):
        shown = FORMATS[name].write(remarked, Look())
        assert re.search(r"B(?:&#46;|\.)pth is higher", shown), name
    (listed,) = _load(to_json(remarked))["runs"]
    assert listed["remarks"] == [
        {"message": "nn/B.pth is higher", "paths": ["nn/B.pth"], "evidence": {"reward": "inf"}}
    ]
    assert listed["verdict"] == report.runs[0].verdict
    VALIDATOR.validate(_load(to_json(remarked)))


def test_each_run_says_its_profile_where_they_differ() -> None:
    report = a_report(a_finding())
    runs = [replace(report.runs[0], profile=name) for name in ("amp", "ase")]
    mixed, alike = (replace(report, runs=tuple(each)) for each in (runs, runs[:1]))
    assert [run["profile"] for run in _load(to_json(mixed))["runs"]] == ["amp", "ase"]
    assert "(profile amp; 1 session" in to_text(mixed)
    assert "profile amp" not in to_text(alike)


def test_colours_are_only_where_they_are_wanted() -> None:
    report = a_report(a_finding())
    coloured = to_text(report, Style(colour=True))
    assert "\x1b[31mFAIL" in coloured
    assert re.sub(r"\x1b\[[0-9]+m", "", coloured) == to_text(report)
    assert "\x1b" not in to_text(report)
