"""INTEGRITY: that each archive holds, byte for byte, what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Outcome,
    failed,
    failed_files,
    not_applicable,
    passed,
    unobservable,
)
from conformance.evidence.checkpoint import FaultKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.evidence.checkpoint import Checkpoint
    from conformance.run.subject import Subject


def archives_are_whole(subject: Subject) -> Outcome:
    """INTEGRITY-001."""
    archives = {
        file.path: file.contents
        for file in subject.files.checkpoints
        if file.contents is not None and file.contents.format != "legacy"
    }
    wrong = _with_fault(archives, FaultKind.DAMAGED)
    unread = _with_fault(archives, FaultKind.UNREADABLE)
    unchecked = [path for path, contents in archives.items() if contents.has_crc is False]
    checked = sum(contents.has_crc is True for contents in archives.values())
    if wrong:
        return failed_files(wrong, " is damaged:")
    if unread:
        path, reason = next(iter(unread.items()))
        return unobservable(f"{path!a} {reason}", unread)
    if unchecked:
        return unobservable(
            f"{len(unchecked)} archive(s) were written without CRC-32 (INTEGRITY-004)", unchecked
        )
    if not checked:
        return not_applicable("the run holds no archive")
    return passed(f"every record's CRC-32 is right in {checked} archive(s)", archives=checked)


def _with_fault(archives: Mapping[str, Checkpoint], kind: FaultKind) -> dict[str, str]:
    """The first message of the kind, by path."""
    return {
        path: next(fault.message for fault in contents.faults if fault.kind is kind)
        for path, contents in archives.items()
        if any(fault.kind is kind for fault in contents.faults)
    }


def archives_carry_crc(subject: Subject) -> Outcome:
    """INTEGRITY-004."""
    archives = [
        file
        for file in subject.files.readable
        if file.contents and file.contents.has_crc is not None
    ]
    if not archives:
        return not_applicable("the run holds no whole archive")
    without = [file.path for file in archives if file.contents and not file.contents.has_crc]
    if without:
        return failed(
            f"{len(without)} archive(s) were written with CRC-32 switched off",
            without,
            archives=len(without),
        )
    return passed(f"{len(archives)} archive(s) carry their CRC-32", archives=len(archives))


CHECKS = {
    "INTEGRITY-001": archives_are_whole,
    "INTEGRITY-004": archives_carry_crc,
}
