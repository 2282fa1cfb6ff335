"""The report as Markdown, for the comment on a pull request or a job's summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.checks.finding import Finding
    from conformance.report import Report
    from conformance.report.driven import Shrunken
    from conformance.run.explanation import Explanation

_WORDS = {
    Standing.FAILED: "**FAIL**",
    Standing.ERROR: "**ERROR**",
    Standing.WARNED: "warn",
    Standing.WAIVED: "waived",
}
_MOST_PATHS = 8
# All but what has no meaning anywhere in Markdown; `www.` alone makes a link.
_SPECIAL = re.compile(r"[^\w ,;()/'=+.-]|_|(?<=www)\.", re.IGNORECASE)


def to_markdown(report: Report) -> str:
    """Return the report as GitHub Flavored Markdown: a line for each run, a table where one fails.

    Text from outside is written with character references, which have no structure in Markdown:
    it breaks no table, makes no link and no HTML, and mentions nobody.

    Source: the GitHub Flavored Markdown Spec, sections on tables and on character references.
    """
    blocks = [
        f"## Checkpoint conformance: {report.verdict}",
        f"Profile {_code(report.held_against)}.",
    ]
    if report.driven is not None:
        blocks.append(f"Driven: {_text(report.driven.summary)}.")
    scenarios = shrunken(report)
    for run in failures_first(report.runs):
        blocks.append(f"### {run.verdict}: {_code(shown_run(run))}")
        blocks.append(f"{tally_in_words(run) or 'no rule judged'}.")
        rows = [
            _row(finding, scenarios.get(finding.rule))
            for finding in run.findings
            if standing(finding) in _WORDS
        ]
        if rows:
            header = ("| | rule | finding | files | fix |", "|---|---|---|---|---|")
            blocks.append("\n".join((*header, *rows)))
        blocks.extend(f"Note: {_text(remark.message)}." for remark in run.remarks)
        if run.explanation is not None:
            blocks.extend(_explanation(run.explanation))
    return "\n\n".join(blocks) + "\n"


def _row(finding: Finding, scenario: Shrunken | None) -> str:
    told = (_code(line) for line in scenario.lines) if scenario is not None else ()
    cells = (
        _WORDS[standing(finding)],
        finding.rule,
        "<br>".join((_text(finding.message), *told)),
        "<br>".join(_files(finding)),
        _remedy(finding),
    )
    return f"| {' | '.join(cells)} |"


def _explanation(explanation: Explanation) -> Iterator[str]:
    from conformance.report import explanation as shown  # noqa: PLC0415 - seldom asked for

    yield f"{shown.told(explanation)}."
    if explanation.sessions:
        yield "\n".join(f"- {_text(shown.told_session(s))}" for s in explanation.sessions)
    lines = [f"| {' | '.join(shown.HEADER)} |", "|---|---|---|---|---|---|"]
    for file in explanation.files:
        sessions, epoch, grade, reason, path, evidence = shown.cells(file)
        cells = (_text(sessions), epoch, grade, reason, _code(path), _text(evidence))
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)


def _files(finding: Finding) -> Iterator[str]:
    paths = shown_paths(finding)
    yield from map(_code, paths[:_MOST_PATHS])
    if len(paths) > _MOST_PATHS:
        yield f"and {len(paths) - _MOST_PATHS} more"


def _remedy(finding: Finding) -> str:
    if finding.waived is not None:
        return f"waived: {_text(finding.waived)}"
    return _text(finding.fix)


def _code(text: str) -> str:
    """The text in a code element, where GitHub looks for no mention and no reference."""
    return f"<code>{_SPECIAL.sub(_reference, printable(text)) or ' '}</code>"


def _text(text: str) -> str:
    """The text as running text: a zero-width space keeps `@` and `#` from addressing anybody."""
    literal = _SPECIAL.sub(_reference, printable(text))
    return re.sub("(&#(?:35|64);)", r"\1&#8203;", literal)


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
