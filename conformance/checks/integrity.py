"""INTEGRITY: that each archive holds, byte for byte, what was written."""

from __future__ import annotations

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.checks.subject import Subject
from conformance.evidence.checkpoint import FaultKind


def archives_are_whole(subject: Subject) -> Outcome:
    """INTEGRITY-001."""
    wrong: dict[str, str] = {}
    unread: dict[str, str] = {}
    unchecked: list[str] = []
    checked = 0
    for file in subject.checkpoints:
        contents = file.contents
        if contents is None or contents.format == "legacy":
            continue
        damage = next((f for f in contents.faults if f.kind is FaultKind.DAMAGED), None)
        unreadable = next((f for f in contents.faults if f.kind is FaultKind.UNREADABLE), None)
        if damage is not None:
            wrong[file.path] = damage.message
        elif unreadable is not None:
            unread[file.path] = unreadable.message
        elif contents.has_crc is False:
            unchecked.append(file.path)
        elif contents.has_crc:
            checked += 1
    if wrong:
        path, reason = next(iter(wrong.items()))
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return failed(f"{path!a} is damaged: {reason}{more}", wrong, reasons=wrong)
    if unread:
        path, reason = next(iter(unread.items()))
        return unobservable(f"{path!a} cannot be read: {reason}", unread)
    if unchecked:
        return unobservable(
            f"{len(unchecked)} archive(s) were written without CRC-32 (INTEGRITY-004)", unchecked
        )
    if not checked:
        return not_applicable("the run holds no archive")
    return passed(f"every record's CRC-32 is right in {checked} archive(s)", archives=checked)


def archives_carry_crc(subject: Subject) -> Outcome:
    """INTEGRITY-004."""
    archives = [file for file in subject.readable if file.contents and file.contents.has_crc is not None]
    if not archives:
        return not_applicable("the run holds no whole archive")
    without = [file.path for file in archives if file.contents and not file.contents.has_crc]
    if without:
        return failed(f"{len(without)} archive(s) were written with CRC-32 switched off", without)
    return passed(f"{len(archives)} archive(s) carry their CRC-32", archives=len(archives))


CHECKS = {
    "INTEGRITY-001": archives_are_whole,
    "INTEGRITY-004": archives_carry_crc,
}
