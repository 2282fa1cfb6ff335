"""The report for people: a table, in colour on a terminal, plain in a pipe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from conformance.convention.rules import Level, RunVerdict, Verdict
from conformance.report import Report, count
from conformance.report.printable import plural, printable, wrapped
from conformance.report.standing import Standing, failures_first, shown_run, standing

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
_NARROWEST = 20
_LOUDEST_FIRST = (
    Standing.FAILED,
    Standing.ERROR,
    Standing.WARNED,
    Standing.WAIVED,
    Standing.UNOBSERVABLE,
    Standing.PASSED,
    Standing.NOT_APPLICABLE,
)
WIDEST = 120
"""The most columns of a line: in a pipe, and on the widest terminal."""


@dataclass(frozen=True, slots=True)
class Style:
    """How to write: with colours or without, and how wide."""

    colour: bool = False
    width: int = WIDEST

    def paint(self, text: str, colour: str) -> str:
        """The text in the colour, where colours are wanted."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text


def to_text(report: Report, style: Style | None = None, *, verbose: bool = False) -> str:
    """Return the report as lines of text, of audits the failures first and what to do last.

    Lines are wrapped at words, and of a word that is longer than a line its middle is left out. A
    path that stands alone is never cut: one that is longer than a line makes that line longer.

    Args:
        report: what to write.
        style: colours and width; plain without one.
        verbose: also list the rules that passed or were not applicable, with their evidence.
    """
    style = style or Style()
    lines = list(_wrapped("profile ", _header(report).removeprefix("profile "), style))
    scenarios = _scenarios(report)
    several = len({run.profile for run in report.runs}) > 1
    for run in failures_first(report.runs):
        profile = run.profile if several else ""
        lines.extend(_run(run, scenarios, style, verbose=verbose, profile=profile))
    if verbose and report.driven is not None:
        lines.extend(_exercised(report.driven))
    lines.extend(("", *_summary(report, style)))
    if report.driven is None:
        lines.extend(_wrapped("next: ", _next(report), style))
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
    run: RunReport,
    scenarios: Mapping[str, Shrunken],
    style: Style,
    *,
    verbose: bool,
    profile: str,
) -> Iterator[str]:
    """One line for a run with nothing to say, and its findings below where there are some."""
    verdict = style.paint(f"{run.verdict.upper():{_VERDICT_WIDTH}}", _RUN_COLOUR[run.verdict])
    counts = ", ".join(f"{number} {word}" for word, number in _tally(run).items() if number)
    due = " due" if run.driven else ""
    seen = f"{plural(run.sessions, 'session')}, {plural(run.checkpoints, 'checkpoint')}{due}"
    of = f"profile {printable(profile)}; " if profile else ""
    about = f"({of}{seen}; {counts})"
    path = printable(shown_run(run))
    name = style.paint(path, "bold")
    if _VERDICT_WIDTH + 1 + len(path) + 2 + len(about) <= style.width:
        yield f"{verdict} {name}  {style.paint(about, 'dim')}"
    else:
        yield f"{verdict} {name}"
        lines = _wrapped(" " * (_VERDICT_WIDTH + 1), about, style)
        yield from (style.paint(line, "dim") for line in lines)
    if run.hint:
        yield from _wrapped(f"  {'hint':6} {'':{_ID_WIDTH}}", printable(run.hint), style)
    groups = [list(same) for _, same in groupby(run.findings, key=_alike)]
    for found in sorted(groups, key=lambda same: _LOUDEST_FIRST.index(standing(same[0]))):
        if verbose or found[0].verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            yield from _findings(found, scenarios.get(found[0].rule), style)
    for note in (*(remark.message for remark in run.remarks), *run.notes):
        yield from _wrapped(f"  {'note':6} {'':{_ID_WIDTH}}", printable(note), style)
    if run.explanation is not None:
        from conformance.report.explanation import to_lines  # noqa: PLC0415 - seldom asked for

        yield from to_lines(run.explanation, style.width)


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
    room = style.width - indent
    if room < _NARROWEST:
        yield head + text
        return
    first, *later = wrapped(text, room, room)
    yield head + first
    for line in later:
        yield " " * indent + line


def _broken(report: Report) -> Counter[str]:
    """The MUST rules that runs break, with how many do."""
    return Counter(
        finding.rule
        for run in report.runs
        for finding in run.findings
        if standing(finding) is Standing.FAILED
    )


def _summary(report: Report, style: Style) -> Iterator[str]:
    broken = sorted(_broken(report))
    verdict = style.paint(report.verdict, _RUN_COLOUR[report.verdict])
    tally = Counter(run.verdict for run in report.runs)
    runs = ", ".join(f"{tally[name]} {name}" for name in _RUN_COLOUR if tally[name])
    if tally[RunVerdict.CONFORMS] > 1:
        runs = runs.replace("conforms", "conform")
    tail = f"; MUST rules broken: {', '.join(broken)}" if broken else ""
    if report.driven is not None:
        about = f"({tail[2:]})" if tail else ""
    else:
        about = f"({plural(len(report.runs), 'run')}: {runs}{tail}{_explained(report)})"
    head = f"verdict: {verdict} "
    visible = len(f"verdict: {report.verdict} ")
    lines = _wrapped(head, about, style, visible=visible)
    yield from (line.rstrip() for line in lines)


def _explained(report: Report) -> str:
    """How surely all files are explained, where that was asked for."""
    found = [run.explanation for run in report.runs if run.explanation is not None]
    if not found:
        return ""
    from conformance.report.explanation import told  # noqa: PLC0415 - seldom asked for

    return f"; {told(*found)}"


def _next(report: Report) -> str:
    """What to do next, by the worst that was found; of our own words alone."""
    found = [standing(finding) for run in report.runs for finding in run.findings]
    if broken := _broken(report):
        rule, runs = min(broken.items(), key=lambda each: (-each[1], each[0]))
        first = "mend" if len(broken) == 1 else "first mend"
        where = f" ({plural(runs, 'run')})" if len(report.runs) > 1 else ""
        return f"{first} {rule}{where}; 'conformance explain {rule}' says why and how"
    if Standing.ERROR in found:
        return "report what says ERROR: the harness failed there, and not the trainer"
    if any(run.remarks for run in report.runs):
        return "look at the files that the notes name: the best may not be the best that lies there"
    if report.verdict is RunVerdict.INCOMPLETE:
        return "add the evidence that the lines with ? lack; with --strict its absence is exit 3"
    if Standing.WARNED in found:
        rule = next(
            finding.rule
            for run in failures_first(report.runs)
            for finding in run.findings
            if standing(finding) is Standing.WARNED
        )
        return (
            f"look at what is warned of; 'conformance explain {rule}' says why and how to mend it"
        )
    return "nothing is to be mended"
