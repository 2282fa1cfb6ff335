"""The explanation of a run's files: as lines for people, and as a JSON document of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from conformance.report.printable import plural, printable, wrapped
from conformance.run.explanation import Grade

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.report import Report
    from conformance.run.explanation import ExplainedFile, ExplainedSession, Explanation

HEADER = ("session", "epoch", "grade", "reason", "file", "evidence")
_VERSION = 1
_NONE = "-"
_MOST = 3
_NARROWEST = 30


def told(*explanations: Explanation) -> str:
    """How many of the files are of each grade, in words: `3 files: 2 proven, ...`."""
    total = sum(len(explanation.files) for explanation in explanations)
    grades = ", ".join(f"{number} {grade}" for grade, number in _grades(explanations).items())
    return f"{plural(total, 'file')}: {grades}"


def _grades(explanations: Iterable[Explanation]) -> dict[str, int]:
    found = {grade.value: 0 for grade in Grade}
    for explanation in explanations:
        for grade, number in explanation.grades.items():
            found[grade.value] += number
    return found


def told_session(session: ExplainedSession) -> str:
    """One line on a session: its epochs, how it began, its logs, what it lacks."""
    span = f"epochs {session.first} to {session.last}"
    starts, files = " or ".join(session.starts), ", ".join(session.files[:_MOST])
    if len(session.files) > _MOST:
        files += f" and {len(session.files) - _MOST} more"
    missing = f"; due and not there: {' and '.join(session.missing)}" if session.missing else ""
    return f"session {session.number}: {span}, {starts}, logged in {files}{missing}"


def cells(file: ExplainedFile) -> tuple[str, str, str, str, str, str]:
    """The file's row under `HEADER`; names are as they stand on the disk."""
    epoch = _NONE if file.epoch is None else str(file.epoch)
    return (
        _few(file.sessions),
        epoch,
        file.grade.value,
        file.reason.value,
        file.path,
        file.evidence,
    )


def _few(sessions: tuple[int, ...]) -> str:
    """The sessions' numbers; of many, how many and the first of them."""
    shown = ", ".join(map(str, sessions[:_MOST])) or _NONE
    return shown if len(sessions) <= _MOST else f"{plural(len(sessions), 'session')}: {shown}, ..."


def to_lines(explanation: Explanation, width: int) -> Iterator[str]:
    """Yield the explanation as lines of plain text: the sessions, then a table of the files.

    The evidence stands beside its file where there is room for it, else below. A path is never
    cut: one that is longer than a line makes that line longer.
    """
    yield f"  {told(explanation)}"
    for session in explanation.sessions:
        lines = wrapped(printable(told_session(session)), width - 4, width - 8)
        yield from (f"{' ' * (8 if number else 4)}{line}" for number, line in enumerate(lines))
    rows = [tuple(word.upper() for word in HEADER)]
    rows += [tuple(printable(cell) for cell in cells(file)) for file in explanation.files]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    left = 4 + sum(size + 2 for size in widths)
    beside = left + _NARROWEST <= width
    for number, (*padded, evidence) in enumerate(rows):
        head = "  ".join(f"{cell:{size}}" for cell, size in zip(padded, widths, strict=True))
        if beside:
            first, *later = wrapped(evidence, width - left, width - left)
            yield f"    {head}  {first}".rstrip()
            yield from (" " * left + line for line in later)
            continue
        line = f"    {head}".rstrip()
        if len(line) <= width:
            yield line
        else:
            yield line[: left - 2 - widths[-1]].rstrip()
            yield f"{' ' * 8}{padded[-1]}"
        if number:  # its heading would stand below nothing
            yield from (" " * 8 + part for part in wrapped(evidence, width - 8, width - 8))


def to_explanation(report: Report) -> str:
    """Return the explanations of all runs as one JSON document (`explanation-1.schema.json`)."""
    runs = [(run.path, run.explanation) for run in report.runs if run.explanation is not None]
    document = {
        "explanation": _VERSION,
        "tool": {"name": "conformance", "version": report.version},
        "profile": report.profile,
        "files": sum(len(explanation.files) for _, explanation in runs),
        "explained": sum(explanation.explained for _, explanation in runs),
        "grades": _grades(explanation for _, explanation in runs),
        "runs": [_run(path, explanation) for path, explanation in runs],
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _run(path: str, explanation: Explanation) -> dict[str, Any]:
    return {
        "path": path,
        "explained": explanation.explained,
        "grades": _grades([explanation]),
        "sessions": [
            {
                "number": session.number,
                "first": session.first,
                "last": session.last,
                "starts": list(session.starts),
                "files": list(session.files),
                "missing": list(session.missing),
            }
            for session in explanation.sessions
        ],
        "files": [
            {
                "path": file.path,
                "reason": file.reason.value,
                "grade": file.grade.value,
                "sessions": list(file.sessions),
                "epoch": file.epoch,
                "evidence": file.evidence,
            }
            for file in explanation.files
        ],
    }
