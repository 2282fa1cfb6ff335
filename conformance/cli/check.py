"""`conformance check`: finds the runs, has them judged, writes the reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.audits import audit_folder, held_against, list_run, settle
from conformance.cli.configured import profile_for
from conformance.cli.exits import Exit, UsageError, of_verdict
from conformance.cli.options import (
    find_all,
    model_of,
    profile_of,
    selected_of,
    tell_choices,
    waived,
    waivers_of,
)
from conformance.cli.output import Outputs, Progress
from conformance.cli.streams import complain, complain_once
from conformance.report import Report
from conformance.report.formats import FORMATS
from conformance.run.settings import Options
from conformance.version import __version__
from conformance.views.dialect import AUTO

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from conformance.checks import RunReport
    from conformance.views.dialect import Choice


def check(options: argparse.Namespace) -> int:
    """Audit the runs under `options.paths` and return the exit code."""
    dialect = profile_for(options.profile)
    profile = None if dialect == AUTO else profile_of(dialect)
    selected = selected_of(options.select, options.ignore)
    waivers = waivers_of(options.waivers)
    outputs = Outputs.plan(options.outputs, options.explanation)
    if options.explain_files and not outputs.explains:
        *others, last = (kind.name for kind in FORMATS.values() if kind.explains)
        raise UsageError(
            f"--explain-files is shown by the formats {', '.join(others)} and {last};"
            " --explanation FILE writes it as JSON"
        )
    explaining = options.explain_files or options.explanation is not None
    known = Options(
        name=options.name,
        save_freq=options.save_freq,
        max_epochs=options.max_epochs,
        save_best_after=options.save_best_after,
        model=model_of(options.model),
    )
    runs, unusable = find_all(options.paths, profile, files=True)
    if not runs:
        return Exit.USAGE
    for found in runs if explaining else ():
        if found.is_file:
            complain(
                f"{found.path}: a checkpoint by itself is not explained: give its run's folder"
            )
    progress = Progress(len(runs))
    reports: list[RunReport] = []
    choices: dict[Path, Choice] = {}
    for found in runs:
        folder = list_run(found, profile)
        unusable |= "" in folder.unlisted
        progress.starts(folder.experiment)
        run, choice = audit_folder(
            folder, profile, known, selected=selected, explaining=explaining, watch=progress.reads
        )
        reports.append(run.sharing(reports[-1]) if reports else run)
        if choice is not None:
            choices[found.path] = choice
    by_path = {found.path: found for found in runs}
    settle(reports, choices, by_path, known, selected=selected, explaining=explaining)
    progress.ends()
    judged = waived(reports, waivers)
    name, how = held_against(profile, choices)
    report = Report(__version__, name, judged, chosen=how)
    outputs.write(report, verbose=options.verbose, explained=options.explain_files)
    tell_choices(choices)
    complain_once((run.path, note) for run in judged for note in run.notes)
    code = of_verdict(report.verdict, strict=options.strict)
    return Exit.USAGE if unusable else code
