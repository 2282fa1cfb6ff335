"""SESSION: that one process at a time trains in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable

if TYPE_CHECKING:
    from conformance.run.subject import Subject


def one_process_at_a_time(subject: Subject) -> Outcome:
    """SESSION-001."""
    if subject.driven:
        return not_applicable("one process at a time was played")
    history = subject.history
    if len(history.sessions) < 2:
        if history.count < 2:
            return not_applicable("there is only one session")
        return unobservable("fewer than two sessions log rewards, whose times would tell")
    if history.concurrent is None:
        return passed(f"{len(history.sessions)} session(s) were trained one after the other")
    one, other = history.concurrent
    files = [file for session in (one, other) for file in session.files]
    return failed(
        f"two processes trained at once: the rewards in {one.files[-1]!a} and in"
        f" {other.files[0]!a} were logged in the same time",
        [entry.relative for entry in subject.logs.entries if entry.name in files],
        sessions=[one.index + 1, other.index + 1],
    )


CHECKS = {
    "SESSION-001": one_process_at_a_time,
}
