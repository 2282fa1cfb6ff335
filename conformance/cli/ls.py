"""`conformance ls`: runs with their best and latest checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.checks.dialect import AUTO, choose
from conformance.checks.load import unsafe_globals
from conformance.checks.subject import Options, Subject
from conformance.cli.exits import Exit, UsageError
from conformance.cli.options import find_all, profile_of, tell_choices
from conformance.cli.streams import complain, emit
from conformance.convention.profile import Kind, load_profile
from conformance.evidence.checkpoint import FaultKind
from conformance.evidence.runs import scan_run
from conformance.report.printable import printable

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from conformance.checks.dialect import Choice
    from conformance.checks.files import CheckpointFile
    from conformance.convention.profile import Profile


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
    profile = None if options.profile == AUTO else profile_of(options.profile)
    followed = profile or load_profile()
    runs, unusable = find_all(options.paths, followed)
    listed, known = [], Options(name=options.name)
    choices: dict[Path, Choice] = {}
    for path in runs:
        folder = scan_run(path, follow=(followed.checkpoints, followed.summaries))
        if profile is None:
            choices[path] = choose(folder, known)
        subject = Subject(folder, profile or choices[path].profile, known)
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
    usable = [file for file in subject.checkpoints if _is_usable(file)]
    best = next((file for file in usable if file.name.kind is Kind.BEST), None)
    # Of equal epochs the newest write; the best may be the only file of a run.
    latest = max(usable, key=_age, default=None)
    return _Listed(
        subject.folder.path,
        subject.name,
        subject.profile,
        best,
        latest,
        len(subject.checkpoints),
    )


def _tell_passed_over(subject: Subject) -> None:
    """Say where a profile that was given spells no names as they stand there."""
    names = [file.entry.name for file in subject.misspelled]
    if names:
        complain(
            f"{subject.folder.path}: passed over: {len(names)} checkpoint name(s) are none of"
            f" profile {subject.profile.name}, the first is {names[0]!a}; --profile auto chooses"
            " by what lies there"
        )


def _is_usable(file: CheckpointFile) -> bool:
    """Whether a consumer can load the file; says so where it cannot."""
    if file.name.kind is None or file.misplaced:
        return False
    if not file.is_file or file.contents is None:
        complain(f"{file.entry.path}: skipped: no regular file with bytes in it")
        return False
    fault = next(iter(file.contents.faults), None)
    unsafe = unsafe_globals(file) or file.contents.modules
    if fault is None or (fault.kind is FaultKind.UNSAFE and not unsafe):
        return True  # NumPy's plain data runs nothing: rl_games' users have always loaded it
    complain(f"{file.entry.path}: skipped: {fault.message}")
    return False


def _age(file: CheckpointFile) -> tuple[int, int, str]:
    epoch = file.epoch if file.epoch is not None else file.name.epoch
    return (-1 if epoch is None else epoch, file.entry.modified, file.path)


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
