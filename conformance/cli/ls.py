"""`conformance ls`: runs with their best and latest checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.audits import list_run
from conformance.cli.configured import profile_for
from conformance.cli.exits import Exit, UsageError
from conformance.cli.options import find_all, profile_of, tell_choices
from conformance.cli.streams import complain, emit
from conformance.report.printable import printable
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.dialect import AUTO, choose, settled
from conformance.views.picks import picks

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.run.files import CheckpointFile
    from conformance.views.dialect import Choice


@dataclass(frozen=True, slots=True)
class _Listed:
    """One run with the paths of its best and latest checkpoint, where it has them."""

    path: Path
    name: str
    profile: Profile
    best: CheckpointFile | None
    latest: CheckpointFile | None
    checkpoints: int


def ls(options: argparse.Namespace) -> int:
    """List the runs under `options.paths`, or print one path alone."""
    dialect = profile_for(options.profile)
    profile = None if dialect == AUTO else profile_of(dialect)
    runs, unusable = find_all(options.paths, profile)
    listed, known = [], Options(name=options.name)
    choices: dict[Path, Choice] = {}
    if profile is None:
        choices = settled({run.path: choose(list_run(run, None), known) for run in runs})
    for found in runs:
        folder = list_run(found, profile)
        subject = Subject(folder, profile or choices[found.path].profile, known)
        listed.append(_list(subject))
        if profile is not None:
            _tell_passed_over(subject)
    tell_choices(choices)
    if options.best or options.latest:
        if listed:
            _print_one(listed, best=options.best, as_json=options.format == "json")
    elif options.format == "json":
        document = {"runs": [_as_json(run) for run in listed]}
        emit(json.dumps(document, indent=2) + "\n")
    else:
        _print_table(listed)
    return Exit.USAGE if unusable else Exit.CONFORMS


def _list(subject: Subject) -> _Listed:
    found = picks(subject)
    for file, why in found.skipped:
        complain(f"{file.entry.path}: skipped: {why}")
    return _Listed(
        subject.folder.path,
        subject.given.name,
        subject.profile,
        found.best,
        found.latest,
        len(subject.files.checkpoints),
    )


def _tell_passed_over(subject: Subject) -> None:
    """Say where a profile that was given spells no names as they stand there."""
    names = [file.entry.name for file in subject.files.misspelled]
    if names:
        complain(
            f"{subject.folder.path}: passed over: {len(names)} checkpoint name(s) are none of"
            f" profile {subject.profile.name}, the first is {names[0]!a}; --profile auto chooses"
            " by what lies there"
        )


def _print_one(listed: list[_Listed], *, best: bool, as_json: bool) -> None:
    which = "best" if best else "latest"
    if len(listed) > 1:
        raise UsageError(f"{len(listed)} runs found; --{which} prints one path: name one run")
    run = listed[0]
    file = run.best if best else run.latest
    if file is None and best and not run.profile.has_best:
        raise UsageError(
            f"{str(run.path)!a}: profile {run.profile.name} has no best checkpoint; --latest prints"
            " the latest"
        )
    if file is None:
        raise UsageError(f"{str(run.path)!a} has no loadable {which} checkpoint")
    if as_json:
        emit(json.dumps(_file(file), indent=2) + "\n")
        return
    path = str(file.entry.path)
    if printable(path) != path and not path.isprintable():
        raise UsageError(
            f"{path!a} holds characters that no line of output can carry; --format json can"
        )
    emit(path + "\n")


def _print_table(listed: list[_Listed]) -> None:
    rows = [("RUN", "FILES", "BEST", "LATEST")]
    rows += [
        (
            printable(os.path.relpath(run.path)),
            str(run.checkpoints),
            _cell(run.best),
            _cell(run.latest),
        )
        for run in listed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )
    emit("".join(f"{line}\n" for line in lines))


def _cell(file: CheckpointFile | None) -> str:
    if file is None:
        return "-"
    return f"{printable(file.entry.name)} (epoch {'?' if file.epoch is None else file.epoch})"


def _as_json(run: _Listed) -> dict[str, object]:
    return {
        "path": str(run.path),
        "name": run.name,
        "checkpoints": run.checkpoints,
        "best": None if run.best is None else _file(run.best),
        "latest": None if run.latest is None else _file(run.latest),
    }


def _file(file: CheckpointFile) -> dict[str, object]:
    return {"path": str(file.entry.path), "epoch": file.epoch}
