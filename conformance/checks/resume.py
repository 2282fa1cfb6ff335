"""RESUME, RANK: a session goes on where its checkpoint ended, and one process writes the run."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.convention.profile import Kind
from conformance.convention.rules import Verdict

if TYPE_CHECKING:
    from conformance.checks.driven import DrivenSession
    from conformance.checks.subject import Subject


@lru_cache(maxsize=1)
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
        return failed(f"{asked}, it trained no epoch: it logged and saved nothing")
    in_time = bool(saved) and min(saved) >= session.first and max(saved) <= session.last
    if logged and logged[0] == session.first and (in_time or not saved):
        return passed(f"{asked}, it went on with epoch {session.first}", first=session.first)
    if in_time:
        return passed(f"{asked}, it saved epochs {min(saved)} to {max(saved)}", saved=sorted(saved))
    began = min(saved) if saved else logged[0]
    if logged and not saved and logged[0] > session.last:
        return unobservable(f"{asked}, it logged no epoch of its own and saved nothing")
    if saved and logged and logged[0] == session.first:
        return not_applicable("the log goes on; what the checkpoints store is NAME-006's matter")
    first = logged[0] if logged else began
    return failed(
        f"{asked}, it began with epoch {first}; epoch {session.first} was next",
        expected=session.first,
        began=first,
    )


def _saved_epochs(subject: Subject, session: DrivenSession) -> set[int]:
    """The epochs of the checkpoints that the session wrote, as far as its journal tells."""
    names = set(session.writes.names or ())
    found = set()
    for file in subject.readable:
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
            f"checkpoints of one run stand in {len(others) + 1} folders: beside"
            f" {subject.folder.experiment!a} in {others[0]!a}",
            folders=others,
        )
    return not_applicable("the trainer was driven with one rank")


CHECKS = {
    "RESUME-001": epochs_go_on,
    "RANK-001": one_run_folder,
}
