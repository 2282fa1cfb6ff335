"""The report for people: a table, in colour on a terminal, plain in a pipe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from conformance.convention.rules import Level, RunVerdict, Verdict
from conformance.report import Report, count
from conformance.report.printable import plural, printable
from conformance.report.standing import shown_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.checks.finding import Finding, RunReport
    from conformance.report import Driven
    from conformance.report.driven import Shrunken

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_RUN_COLOUR = {
    RunVerdict.CONFORMS: "green",
    RunVerdict.INCOMPLETE: "yellow",
    RunVerdict.FAIL: "red",
    RunVerdict.ERROR: "red",
}
_MOST_PATHS = 8
_ID_WIDTH = 17
_VERDICT_WIDTH = len("INCOMPLETE")
_INDENT = 9 + _ID_WIDTH


@dataclass(frozen=True, slots=True)
class Style:
    """How to write: with colours or without, and how wide (None: never wrapped)."""

    colour: bool = False
    width: int | None = None

    def paint(self, text: str, colour: str) -> str:
        """The text in the colour, where colours are wanted."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text


def to_text(report: Report, style: Style | None = None, *, verbose: bool = False) -> str:
    """Return the report as lines of text.

    Args:
        report: what to write.
        style: colours and width; plain without one.
        verbose: also list the rules that passed or were not applicable, with their evidence.
    """
    style = style or Style()
    lines = [_header(report)]
    scenarios = _scenarios(report)
    for run in report.runs:
        lines.extend(_run(run, scenarios, style, verbose=verbose))
    if verbose and report.driven is not None:
        lines.extend(_exercised(report.driven))
    lines.extend(("", _summary(report, style)))
    return "\n".join(lines) + "\n"


def _header(report: Report) -> str:
    line = f"profile {printable(report.held_against)}"
    if report.driven is None:
        return line
    seed = "" if report.driven.seed is None else f", seed {report.driven.seed}"
    return f"{line}{seed}: {printable(report.driven.summary)}"


def _scenarios(report: Report) -> Mapping[str, Shrunken]:
    if not report.failures:
        return {}
    from conformance.report.driven import shrunken  # noqa: PLC0415 - an audit does without

    return shrunken(report)


def _exercised(driven: Driven) -> Iterator[str]:
    """How often each rule was put to the test, so that nobody takes silence for proof."""
    if driven.evaluations:
        yield ""
        yield "  rule            evaluations"
        for rule, number in driven.evaluations.items():
            yield f"  {rule:14} {number:12}"


def _run(
    run: RunReport, scenarios: Mapping[str, Shrunken], style: Style, *, verbose: bool
) -> Iterator[str]:
    """One line for a run with nothing to say, and its findings below where there are some."""
    verdict = style.paint(f"{run.verdict.upper():{_VERDICT_WIDTH}}", _RUN_COLOUR[run.verdict])
    counts = ", ".join(f"{number} {word}" for word, number in _tally(run).items() if number)
    due = " due" if run.driven else ""
    seen = f"{plural(run.sessions, 'session')}, {plural(run.checkpoints, 'checkpoint')}{due}"
    about = f"({seen}; {counts})"
    name = style.paint(printable(shown_run(run)), "bold")
    yield f"{verdict} {name}  {style.paint(about, 'dim')}"
    if run.hint:
        yield from _wrapped(f"  {'hint':6} {'':{_ID_WIDTH}}", printable(run.hint), style)
    for _, same in groupby(run.findings, key=_alike):
        found = list(same)
        if verbose or found[0].verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            yield from _findings(found, scenarios.get(found[0].rule), style)
    for note in run.notes:
        yield from _wrapped(f"  {'note':6} {'':{_ID_WIDTH}}", printable(note), style)
    if run.explanation is not None:
        from conformance.report.explanation import to_lines  # noqa: PLC0415 - seldom asked for

        yield from to_lines(run.explanation)


def _alike(finding: Finding) -> tuple[str, ...]:
    """Neighbours of one group that say the same, for want of the same evidence, say it once."""
    group, _, number = finding.rule.partition("-")
    told_alone = finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    return (group, number if told_alone else "", finding.verdict.value, finding.message)


def _tally(run: RunReport) -> dict[str, int]:
    """The findings by what they mean to a reader: a SHOULD that failed is a warning."""
    found = count([run])
    warnings = sum(
        finding.verdict is Verdict.FAIL and finding.level is Level.SHOULD
        for finding in run.findings
    )
    return {
        "passed": found["pass"],
        "failed": found["fail"] - warnings,
        "warned": warnings,
        "unobservable": found["unobservable"],
        "errors": found["error"],
        "not applicable": found["not-applicable"],
    }


def _findings(same: list[Finding], scenario: Shrunken | None, style: Style) -> Iterator[str]:
    finding = same[0]
    word, colour = _word(finding)
    rule = finding.rule if len(same) == 1 else f"{finding.rule}..{same[-1].rule[-3:]}"
    head = f"  {style.paint(f'{word:6}', colour)} {rule:{_ID_WIDTH - 1}} "
    yield from _wrapped(head, printable(finding.message), style, visible=_INDENT)
    if finding.verdict is not Verdict.FAIL:
        return
    blank = " " * _INDENT
    for line in scenario.about if scenario is not None else ():
        yield blank + printable(line)
    for path in finding.paths[:_MOST_PATHS]:
        yield f"{blank}{style.paint(printable(path), 'bold')}"
    if len(finding.paths) > _MOST_PATHS:
        yield f"{blank}and {len(finding.paths) - _MOST_PATHS} more"
    if finding.waived is not None:
        yield from _wrapped(f"{blank}waived: ", printable(finding.waived), style)
    else:
        yield from _wrapped(f"{blank}fix: ", finding.fix, style)
    if scenario is not None and scenario.command:
        # On a line of its own however long it is, to be copied.
        yield f"{blank}replay: {printable(scenario.command)}"


def _word(finding: Finding) -> tuple[str, str]:
    if finding.verdict is Verdict.FAIL:
        if finding.waived is not None:
            return "waived", "dim"
        return ("FAIL", "red") if finding.level is Level.MUST else ("warn", "yellow")
    return {
        Verdict.PASS: ("pass", "green"),
        Verdict.NOT_APPLICABLE: ("n/a", "dim"),
        Verdict.UNOBSERVABLE: ("?", "yellow"),
        Verdict.ERROR: ("ERROR", "red"),
    }[finding.verdict]


def _wrapped(head: str, text: str, style: Style, *, visible: int | None = None) -> Iterator[str]:
    """The text after its head, its later lines indented as far as the head is wide."""
    indent = len(head) if visible is None else visible
    if style.width is None or style.width - indent < 20:
        yield head + text
        return
    import textwrap  # noqa: PLC0415 - a pipe has no width to wrap to

    lines = textwrap.wrap(text, style.width - indent, break_on_hyphens=False) or [""]
    yield head + lines[0]
    for line in lines[1:]:
        yield " " * indent + line


def _summary(report: Report, style: Style) -> str:
    broken = sorted(
        {
            finding.rule
            for run in report.runs
            for finding in run.findings
            if finding.verdict is Verdict.FAIL
            and finding.level is Level.MUST
            and finding.waived is None
        }
    )
    verdict = style.paint(report.verdict, _RUN_COLOUR[report.verdict])
    tally = Counter(run.verdict for run in report.runs)
    runs = ", ".join(f"{tally[name]} {name}" for name in _RUN_COLOUR if tally[name])
    if tally[RunVerdict.CONFORMS] > 1:
        runs = runs.replace("conforms", "conform")
    tail = f"; MUST rules broken: {', '.join(broken)}" if broken else ""
    if report.driven is not None:
        return f"verdict: {verdict}{f' ({tail[2:]})' if tail else ''}"
    explained = _explained(report)
    return f"verdict: {verdict} ({plural(len(report.runs), 'run')}: {runs}{tail}{explained})"


def _explained(report: Report) -> str:
    """How many of all files are explained, where that was asked for."""
    found = [run.explanation for run in report.runs if run.explanation is not None]
    if not found:
        return ""
    total = sum(len(explanation.files) for explanation in found)
    explained = sum(explanation.explained for explanation in found)
    return f"; {explained} of {plural(total, 'file')} explained"
