"""The explanation of a run's files: as lines for people, and as a JSON document of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from conformance.report.printable import plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.report import Report
    from conformance.run.explanation import ExplainedFile, ExplainedSession, Explanation

HEADER = ("session", "epoch", "reason", "file", "evidence")
_VERSION = 1
_NONE = "-"


def told(explanation: Explanation) -> str:
    """How many of the files are explained, in words."""
    total = len(explanation.files)
    return f"{explanation.explained} of {plural(total, 'file')} explained"


def told_session(session: ExplainedSession) -> str:
    """One line on a session: its epochs, how it began, its logs, what it lacks."""
    span = f"epochs {session.first} to {session.last}"
    starts, files = " or ".join(session.starts), ", ".join(session.files)
    missing = f"; due and not there: {' and '.join(session.missing)}" if session.missing else ""
    return f"session {session.number}: {span}, {starts}, logged in {files}{missing}"


def cells(file: ExplainedFile) -> tuple[str, str, str, str, str]:
    """The file's row under `HEADER`; names are as they stand on the disk."""
    sessions = ", ".join(map(str, file.sessions)) or _NONE
    epoch = _NONE if file.epoch is None else str(file.epoch)
    return sessions, epoch, file.reason.value, file.path, file.evidence


def to_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation as lines of plain text: the sessions, then a table of the files."""
    yield f"  {told(explanation)}"
    for session in explanation.sessions:
        yield f"    {printable(told_session(session))}"
    rows = [tuple(word.upper() for word in HEADER)]
    rows += [tuple(printable(cell) for cell in cells(file)) for file in explanation.files]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    for row in rows:
        padded = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)]
        yield f"    {'  '.join([*padded, row[-1]])}".rstrip()


def to_explanation(report: Report) -> str:
    """Return the explanations of all runs as one JSON document (`explanation-1.schema.json`)."""
    runs = [(run.path, run.explanation) for run in report.runs if run.explanation is not None]
    document = {
        "explanation": _VERSION,
        "tool": {"name": "conformance", "version": report.version},
        "profile": report.profile,
        "files": sum(len(explanation.files) for _, explanation in runs),
        "explained": sum(explanation.explained for _, explanation in runs),
        "runs": [_run(path, explanation) for path, explanation in runs],
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _run(path: str, explanation: Explanation) -> dict[str, Any]:
    return {
        "path": path,
        "explained": explanation.explained,
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
                "sessions": list(file.sessions),
                "epoch": file.epoch,
                "evidence": file.evidence,
            }
            for file in explanation.files
        ],
    }
