"""What explains each file of a run: values that a view fills in and a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """Why a file stands in a run."""

    PERIODIC = "periodic"
    BEST = "best"
    FINAL = "final"
    WIN = "win"
    LATEST = "latest"
    DUPLICATE = "duplicate"
    TORN = "torn"
    EVENT_LOG = "event log"
    CONFIG = "config"
    TEMPORARY = "temporary"
    FOREIGN = "foreign"
    UNEXPLAINED = "unexplained"


class Grade(str, Enum):
    """How surely a file is what it is explained as."""

    PROVEN = "proven"  # what it tells was logged just so, or the journal saw it written
    CONSISTENT = "consistent"  # nothing contradicts it, and nothing else would look different
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class ExplainedFile:
    """One file of a run with what explains it.

    Attributes:
        path: from the run's folder.
        reason: why it stands there.
        grade: how surely; what nothing explains is `unexplained` in both.
        sessions: the numbers of the sessions that explain it, from 1; empty where none is known.
        epoch: that it was written in, where it has one.
        evidence: one line that says how all this is known.
    """

    path: str
    reason: Reason
    grade: Grade
    sessions: tuple[int, ...]
    epoch: int | None
    evidence: str


@dataclass(frozen=True, slots=True)
class ExplainedSession:
    """One session of a run as its log shows it.

    Attributes:
        number: from 1, in the order of time.
        first: the first epoch that it logged a reward for.
        last: the last one.
        starts: `fresh`, `resumed`, or both where the log leaves that open.
        files: names of its event files, in sequence.
        missing: saves that its log proves due, that nothing replaced, that no rule judges, and
            that are not there, a phrase each.
    """

    number: int
    first: int
    last: int
    starts: tuple[str, ...]
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """All files of a run, explained as far as they can be."""

    sessions: tuple[ExplainedSession, ...]
    files: tuple[ExplainedFile, ...]

    @property
    def grades(self) -> dict[Grade, int]:
        """How many of the files are of each grade, zeros included."""
        found = [file.grade for file in self.files]
        return {grade: found.count(grade) for grade in Grade}

    @property
    def explained(self) -> int:
        """How many of the files are explained, proven or not."""
        return len(self.files) - self.grades[Grade.UNEXPLAINED]
