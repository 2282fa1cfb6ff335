"""RESUME, RANK: a session goes on where its checkpoint ended, and one process writes the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.convention.profile import Kind
from conformance.convention.rules import Verdict
from conformance.run.once import once

if TYPE_CHECKING:
    from conformance.run.driven import DrivenSession
    from conformance.run.subject import Subject


@once
def went_elsewhere(subject: Subject) -> bool:
    """Whether a resumed session played other epochs than it should have.

    Nothing else that it left is then worth judging.
    """
    return epochs_go_on(subject).verdict is Verdict.FAIL


def epochs_go_on(subject: Subject) -> Outcome:
    """RESUME-001, of the session that was driven last."""
    session = subject.driven[-1]
    if session.resumed_from is None:
        return not_applicable("the session was a fresh one")
    logged, saved = sorted(session.logged_rewards), _saved_epochs(subject, session)
    asked = f"asked to resume from {session.resumed_from!a} (epoch {session.first - 1})"
    if not logged and not saved:
        return failed(f"{asked}, it trained no epoch: it logged and saved nothing", trained=0)
    on_time = not logged or logged[0] == session.first
    if not on_time and len(logged) != session.last - session.first + 1:
        return _elsewhere(session, asked, logged[0])
    if saved and not session.first <= min(saved) <= max(saved) <= session.last:
        if logged and on_time:
            return not_applicable(
                "the log goes on; what the checkpoints store is NAME-006's matter"
            )
        return _elsewhere(session, asked, min(saved))
    if not on_time and not saved:
        return unobservable(f"{asked}, it saved nothing; the steps of its log are SUMMARY-001's")
    return passed(f"{asked}, it went on with epoch {session.first}", first=session.first)


def _elsewhere(session: DrivenSession, asked: str, began: int) -> Outcome:
    return failed(
        f"{asked}, it began with epoch {began}; epoch {session.first} was next",
        expected=session.first,
        began=began,
    )


def _saved_epochs(subject: Subject, session: DrivenSession) -> set[int]:
    """The epochs of the checkpoints that the session wrote, as far as its journal tells."""
    names = set(session.writes.names or ())
    found = set()
    for file in subject.files.readable:
        if file.entry.name not in names or file.misplaced:
            continue
        epoch = file.epoch if file.name.kind is Kind.BEST else file.name.epoch
        if epoch is not None:
            found.add(epoch)
    return found


def one_run_folder(subject: Subject) -> Outcome:
    """RANK-001, as far as one process shows it."""
    others = sorted({name for session in subject.driven for name in session.others})
    if others:
        return failed(
            f"one run wrote {len(others) + 1} folders: {others[0]!a} beside"
            f" {subject.folder.experiment!a}",
            folders=others,
            count=len(others) + 1,
        )
    return not_applicable("the trainer was driven with one rank")


CHECKS = {
    "RESUME-001": epochs_go_on,
    "RANK-001": one_run_folder,
}
