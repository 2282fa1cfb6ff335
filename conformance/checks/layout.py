"""LAYOUT: where the files of a run stand and what kind of files they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Outcome,
    and_more,
    failed,
    failed_files,
    not_applicable,
    passed,
    unobservable,
)
from conformance.convention.strays import Stray, stray
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject

_MOST_TOLD = 3


def checkpoints_in_their_folder(subject: Subject) -> Outcome:
    """LAYOUT-001."""
    folder = subject.files.place
    misplaced = [file.path for file in subject.files.checkpoints if file.misplaced]
    if misplaced:
        return failed(
            f"{len(misplaced)} checkpoint(s) stand outside {folder}",
            misplaced,
            files=len(misplaced),
        )
    if subject.driven and subject.driven[-1].elsewhere:
        return failed(
            f"the run stands in {subject.folder.experiment!a}, not in <experiment>",
            folder=subject.folder.experiment,
        )
    if not subject.files.checkpoints:
        return not_applicable("the run holds no checkpoint")
    count = len(subject.files.checkpoints)
    return passed(f"all {count} checkpoints stand directly in {folder}", checkpoints=count)


def summaries_beside(subject: Subject) -> Outcome:
    """LAYOUT-002."""
    place = subject.logs.place
    if subject.logs.entries:
        count = len(subject.logs.entries)
        return passed(f"{place} holds {count} event file(s)", event_files=count)
    elsewhere = [
        entry.relative for entry in subject.folder.entries if is_event_file_name(entry.name)
    ]
    if elsewhere:
        return failed(
            f"the event files stand outside {place}", elsewhere, event_files=len(elsewhere)
        )
    if subject.profile.apart:
        return unobservable(
            f"profile {subject.profile.name} logs apart from the checkpoints, and there is no event"
            " file here"
        )
    present = any(
        entry.relative == subject.profile.summaries and entry.kind is EntryKind.FOLDER
        for entry in subject.folder.entries
    )
    what = "holds no events.out.tfevents.* file" if present else "is missing"
    return failed(f"{place} {what}", [subject.logs.path], folder=subject.logs.path)


def nothing_foreign(subject: Subject) -> Outcome:
    """LAYOUT-003."""
    folder = subject.profile.checkpoints
    if not folder:
        return not_applicable("the checkpoints stand in the run's own folder, beside all else")
    # A folder of misplaced checkpoints is LAYOUT-001's matter alone.
    misplaced = [file.path for file in subject.files.checkpoints if file.misplaced]
    foreign = [
        entry.relative
        for entry in subject.files.foreign
        if not any(path.startswith(f"{entry.relative}/") for path in misplaced)
    ]
    if foreign:
        told = {path: found for path in foreign if (found := _told(subject, path)) is not None}
        first = {found: path for path, found in reversed(told.items())}
        shown = [
            f"{first[found].rpartition('/')[2]!a} is {found.what}" for found in reversed(first)
        ]
        what = (
            f": {'; '.join(shown[:_MOST_TOLD])}{and_more(shown[_MOST_TOLD - 1 :])}" if shown else ""
        )
        causes = {path: told[path].cause if path in told else "" for path in foreign}
        return failed(
            f"{folder}/ holds {len(foreign)} temporary or foreign file(s){what}",
            foreign,
            causes=dict.fromkeys(causes.values()),
            files=len(foreign),
            known={path: found.what for path, found in told.items()},
        )
    if not any(entry.relative == folder for entry in subject.folder.entries):
        return not_applicable(f"the run has no {folder}/")
    return passed(f"{folder}/ holds nothing but checkpoints")


def _told(subject: Subject, path: str) -> Stray | None:
    """What a file or folder in nn/ is, where its name or its contents tell."""
    entry = next(entry for entry in subject.files.foreign if entry.relative == path)
    if subject.folder.distributed_parts(entry) is not None:
        return Stray("distributed", "a folder of torch's distributed checkpoint (DCP)")
    return stray(entry.name)


def checkpoints_are_files(subject: Subject) -> Outcome:
    """LAYOUT-004."""
    wrong = {
        file.path: reason
        for file in subject.files.checkpoints
        if (reason := _not_a_file(file)) is not None
        and subject.folder.distributed_parts(file.entry) is None  # LOAD-001's matter
    }
    if wrong:
        return failed_files(wrong, " is")
    if not subject.files.checkpoints:
        return not_applicable("the run holds no checkpoint")
    return passed(
        "each checkpoint is a file with bytes in it", checkpoints=len(subject.files.checkpoints)
    )


def _not_a_file(file: CheckpointFile) -> str | None:
    entry = file.entry
    if entry.kind is EntryKind.BROKEN_LINK:
        return "a link that leads nowhere"
    if entry.kind is EntryKind.FOLDER:
        return "a folder"
    if entry.kind is EntryKind.OTHER:
        return "a special file, not a regular one"
    if entry.is_link and not entry.inside:
        return "a link to a file outside the run"
    return None if entry.size else "empty: 0 bytes"


def no_symbolic_links(subject: Subject) -> Outcome:
    """LAYOUT-005."""
    links = [file.path for file in subject.files.checkpoints if file.entry.is_link]
    if links:
        return failed(f"{len(links)} checkpoint(s) are symbolic links", links, links=len(links))
    if not subject.files.checkpoints:
        return not_applicable("the run holds no checkpoint")
    return passed("no checkpoint is a symbolic link", checkpoints=len(subject.files.checkpoints))


CHECKS = {
    "LAYOUT-001": checkpoints_in_their_folder,
    "LAYOUT-002": summaries_beside,
    "LAYOUT-003": nothing_foreign,
    "LAYOUT-004": checkpoints_are_files,
    "LAYOUT-005": no_symbolic_links,
}
