"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from conformance.convention.rules import BY_ID, RunVerdict
from conformance.report.driven import shrunken
from conformance.report.printable import printable
from conformance.report.standing import (
    Standing,
    failures_first,
    shown_paths,
    shown_run,
    standing,
    tally_in_words,
)
from conformance.run.explanation import Grade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.checks.finding import Finding, RunReport
    from conformance.report import Report
    from conformance.report.driven import Shrunken
    from conformance.run.explanation import Explanation

_WORDS = {
    Standing.FAILED: "fail",
    Standing.ERROR: "error",
    Standing.WARNED: "warn",
    Standing.WAIVED: "waived",
    Standing.UNOBSERVABLE: "unobservable",
    Standing.PASSED: "pass",
    Standing.NOT_APPLICABLE: "n/a",
}
_QUIET = (Standing.PASSED, Standing.NOT_APPLICABLE)
_COLOURS = {"fail": "bad", "error": "bad", "warn": "odd", "unobservable": "odd", "pass": "good"}
_COLOURS |= {RunVerdict.CONFORMS: "good", RunVerdict.INCOMPLETE: "odd"}
_GRADES = {Grade.PROVEN: "good", Grade.CONSISTENT: "dim", Grade.UNEXPLAINED: "bad"}
_STYLE = """\
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --dim: #5c636b; --line: #d8dce1;
  --good: #14692f; --odd: #7a5200; --bad: #b3160f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --paper: #16181b; --dim: #a0a7ae; --line: #3a3f45;
    --good: #6fd08c; --odd: #e6b450; --bad: #ff8078; } }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h1, h2, td, li { overflow-wrap: anywhere; }
code { font: 0.9em ui-monospace, monospace; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.4rem 0.8rem 0.4rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: normal; }
td:nth-child(-n+2) { white-space: nowrap; overflow-wrap: normal; }
ul { margin: 0.3rem 0; padding-left: 1.2rem; }
summary { cursor: pointer; color: var(--dim); }
p { margin: 0.3rem 0; } td > p:first-child { margin-top: 0; }
.dim { color: var(--dim); }
.good { color: var(--good); } .odd { color: var(--odd); } .bad { color: var(--bad); }
"""


def to_html(report: Report) -> str:
    """Return the report as one page; what passed is folded away. ASCII only.

    Every text from outside is escaped, and a content security policy lets nothing be loaded or
    run besides.

    Source: the HTML Living Standard, section "The HTML syntax".
    """
    body = [
        f"<h1>Checkpoint conformance: {_word(report.verdict)}</h1>",
        f'<p class="dim">profile {_code(report.held_against)},'
        f" conformance {_text(report.version)}</p>",
    ]
    if report.driven is not None:
        body.append(f'<p class="dim">{_text(report.driven.summary)}</p>')
    scenarios = shrunken(report)
    for run in failures_first(report.runs):
        body.extend(_run(run, scenarios))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Checkpoint conformance: {report.verdict}</title>",
        f"<style>\n{_STYLE}</style>",
        "</head>",
        "<body>",
        *body,
        "</body>",
        "</html>",
    ]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode("ascii") + "\n"


def _run(run: RunReport, scenarios: Mapping[str, Shrunken]) -> Iterator[str]:
    yield f"<h2>{_word(run.verdict)} {_code(shown_run(run))}</h2>"
    about = f"sessions: {run.sessions}; checkpoints: {run.checkpoints}"
    yield f'<p class="dim">{about}; {tally_in_words(run) or "no rule judged"}</p>'
    loud = [finding for finding in run.findings if standing(finding) not in _QUIET]
    yield from _table(loud, scenarios)
    quiet = [finding for finding in run.findings if standing(finding) in _QUIET]
    if quiet:
        yield f"<details><summary>{len(quiet)} passed or not applicable</summary>"
        yield from _table(quiet, {})
        yield "</details>"
    for remark in run.remarks:
        yield f'<p class="odd">note: {_text(remark.message)}</p>'
    for note in run.notes:
        yield f'<p class="dim">note: {_text(note)}</p>'
    if run.explanation is not None:
        yield from _explanation(run.explanation)


def _explanation(explanation: Explanation) -> Iterator[str]:
    from conformance.report import explanation as shown  # noqa: PLC0415 - seldom asked for

    yield f"<p>{shown.told(explanation)}</p>"
    for session in explanation.sessions:
        yield f'<p class="dim">{_text(shown.told_session(session))}</p>'
    yield "<table>"
    yield f"<thead><tr>{''.join(f'<th>{word}</th>' for word in shown.HEADER)}</tr></thead>"
    yield "<tbody>"
    for file in explanation.files:
        sessions, epoch, grade, reason, path, evidence = shown.cells(file)
        told = f'<span class="{_GRADES[file.grade]}">{grade}</span>'
        cells = (_text(sessions), epoch, told, reason, _code(path), _text(evidence))
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</tbody>"
    yield "</table>"


def _table(findings: list[Finding], scenarios: Mapping[str, Shrunken]) -> Iterator[str]:
    if not findings:
        return
    yield "<table>"
    yield "<thead><tr><th>verdict</th><th>rule</th><th>finding</th></tr></thead>"
    yield "<tbody>"
    for finding in findings:
        word = _word(_WORDS[standing(finding)])
        rule = f'<abbr title="{_text(BY_ID[finding.rule].text)}">{finding.rule}</abbr>'
        details = "".join(_details(finding, scenarios.get(finding.rule)))
        yield f"<tr><td>{word}</td><td>{rule}</td><td>{details}</td></tr>"
    yield "</tbody>"
    yield "</table>"


def _details(finding: Finding, scenario: Shrunken | None) -> Iterator[str]:
    yield f"<p>{_text(finding.message)}</p>"
    for line in scenario.lines if scenario is not None else ():
        yield f"<p>{_code(line)}</p>"
    if finding.paths:
        items = "".join(f"<li>{_code(path)}</li>" for path in shown_paths(finding))
        yield f"<ul>{items}</ul>"
    if finding.waived is not None:
        yield f'<p class="dim">waived: {_text(finding.waived)}</p>'
    elif finding.fix:
        yield f'<p class="dim">fix: {_text(finding.fix)}</p>'


def _word(word: str) -> str:
    return f'<span class="{_COLOURS.get(word, "dim")}">{word}</span>'


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
