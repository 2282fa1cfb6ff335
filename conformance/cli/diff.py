"""`conformance diff`: what a consumer of one run would trip over in another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conformance.audits import list_run
from conformance.cli.exits import Exit, UsageError
from conformance.cli.options import find_all, profile_of, tell_choices
from conformance.cli.output import write_report
from conformance.cli.streams import complain, emit
from conformance.report.comparison import (
    ComparedRun,
    ComparisonReport,
    to_comparison_json,
    to_comparison_text,
)
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.version import __version__
from conformance.views.compare import compare
from conformance.views.dialect import AUTO, choose

if TYPE_CHECKING:
    import argparse


def diff(options: argparse.Namespace) -> int:
    """Compare the runs `options.a` and `options.b`.

    1 where a consumer of A trips over B, 2 where no checkpoint could be compared.
    """
    if options.output not in (None, "-") and not Path(options.output).absolute().parent.is_dir():
        raise UsageError(f"--output {options.output!a}: its folder does not exist")
    first = _subject(options.a, options.profile, options.name)
    second = _subject(
        options.b,
        options.profile if options.profile_b is None else options.profile_b,
        options.name if options.name_b is None else options.name_b,
    )
    comparison = compare(first, second)
    report = ComparisonReport(__version__, _compared(first), _compared(second), comparison)
    write = to_comparison_json if options.format == "json" else to_comparison_text
    text = write(report)
    if options.output in (None, "-"):
        emit(text)
    else:
        write_report(Path(options.output), text)
    if comparison.nothing:
        complain(f"nothing could be compared: {comparison.nothing}")
        return Exit.USAGE
    return Exit.FAILED if comparison.trips else Exit.CONFORMS


def _subject(path: str, profile: str, name: str | None) -> Subject:
    """The one run that the path means."""
    chosen = None if profile == AUTO else profile_of(profile)
    runs, unusable = find_all([path], chosen)
    if unusable:
        raise UsageError(f"{path!a}: no run to compare")
    if len(runs) > 1:
        raise UsageError(f"{path!a}: {len(runs)} runs found; name one run")
    folder = list_run(runs[0], chosen)
    if "" in folder.unlisted:
        raise UsageError(f"{path!a}: {folder.problems[0]}")
    known = Options(name=name)
    if chosen is None:
        choice = choose(folder, known)
        tell_choices({runs[0].path: choice})
        chosen = choice.profile
    return Subject(folder, chosen, known)


def _compared(subject: Subject) -> ComparedRun:
    return ComparedRun(
        str(subject.folder.path), subject.profile.name, len(subject.files.checkpoints)
    )
