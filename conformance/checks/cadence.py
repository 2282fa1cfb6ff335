"""CADENCE: periodic checkpoints at each multiple of save_freq, and nowhere else."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from conformance.checks.finding import Outcome, failed, not_applicable, passed, unobservable
from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward
from conformance.run.files import CheckpointFile

if TYPE_CHECKING:
    from conformance.run.subject import Subject
    from conformance.run.timeline import Timeline

_Files = dict[int, list[CheckpointFile]]
_NO_SAVE_FREQ = "save_freq is not known: give --save-freq, or a config.yaml in the run"


def multiples_only(subject: Subject) -> Outcome:
    """CADENCE-001."""
    freq = subject.save_freq
    if freq.value == 0:
        return not_applicable("save_freq is 0 (CADENCE-003 judges)")
    numbered = [file for file in subject.files.periodic if file.epochs]
    if not numbered:
        return not_applicable("there is no periodic checkpoint")
    if freq.value is None:
        return unobservable(_NO_SAVE_FREQ)
    value = freq.value
    wrong = freq.strays(value)
    evidence: dict[str, Any] = {"save_freq": value, "save_freq_from": freq.source}
    if not wrong:
        early = _before_any_reward(subject)
        if early:
            return failed(
                f"{early[0].path!a} is of epoch {min(early[0].epochs)}, in which no episode had"
                " finished yet: nothing is due",
                [file.path for file in early],
                epochs=sorted({min(file.epochs) for file in early}),
                **evidence,
            )
    if wrong:
        shown = ", ".join(str(min(file.epochs)) for file in wrong[:5])
        return failed(
            f"epoch(s) {shown} are no multiple of save_freq {value} (from {freq.source})",
            [file.path for file in wrong],
            epochs=[min(file.epochs) for file in wrong],
            **evidence,
        )
    return passed(
        f"{len(numbered)} epochs are multiples of save_freq {value} (from {freq.source})",
        **evidence,
    )


def _before_any_reward(subject: Subject) -> list[CheckpointFile]:
    """The periodic checkpoints of epochs that had no mean reward; only a driven run tells.

    (decisions.md: "A periodic checkpoint of an epoch in which no episode had finished".)
    """
    if not subject.history.played or subject.history.problems:
        return []
    if Kind.PERIODIC in subject.profile.unrewarded:
        return []
    known = {epoch for session in subject.history.sessions for epoch in session.rewards}
    return [
        file
        for file in subject.files.periodic
        if file.epochs and all(0 < epoch < min(known, default=epoch + 1) for epoch in file.epochs)
    ]


def every_multiple(subject: Subject) -> Outcome:
    """CADENCE-002."""
    freq = subject.save_freq
    switched_off = _switched_off(subject)
    if switched_off is not None:
        return not_applicable(switched_off)
    unseen = _unseen(subject)
    if unseen is not None or freq.value is None:
        return unobservable(unseen or _NO_SAVE_FREQ)
    evidence: dict[str, Any] = {"save_freq": freq.value, "save_freq_from": freq.source}
    files = _by_epoch(subject)
    missing: list[int] = []
    due = 0
    shifted = False
    for timeline in subject.expectation.timelines:
        own = freq.of(timeline, freq.value)
        wanted, absent = _missing(subject, timeline, own, files) if own else (0, [])
        due += wanted
        if absent and len(absent) == wanted and _is_shifted(subject, set(absent), own):
            shifted = True
        else:
            missing.extend(absent)
    if shifted and not missing:
        return not_applicable(
            "each periodic checkpoint of a session stands the same number of epochs off"
            " (CADENCE-001 judges)",
            **evidence,
        )
    if missing:
        epochs = sorted(set(missing))
        shown = ", ".join(map(str, epochs[:8])) + (", ..." if len(epochs) > 8 else "")
        return failed(
            f"no periodic checkpoint for epoch(s) {shown}, which save_freq {freq.value} (from"
            f" {freq.source}) makes due",
            epochs=epochs,
            **evidence,
        )
    if not due:
        return not_applicable(f"no epoch made a save due by save_freq {freq.value}", **evidence)
    return passed(
        f"all {due} periodic checkpoints that save_freq {freq.value} (from {freq.source}) makes"
        " due are there",
        due=due,
        **evidence,
    )


def _switched_off(subject: Subject) -> str | None:
    """Why the run is due no periodic checkpoint at all; None where it may be."""
    if subject.save_freq.value == 0:
        return "save_freq is 0 (CADENCE-003 judges)"
    if subject.profile.periodic_is_optional and not subject.files.periodic:
        return "the run's settings may switch them off, and there is none"
    return None


def _unseen(subject: Subject) -> str | None:
    """Why the evidence does not show which periodic checkpoints are due; None where it does."""
    if subject.save_freq.value is None:
        return _NO_SAVE_FREQ
    if subject.files.stand_apart:
        return "the checkpoints stand in another folder, as the profile lets them"
    if not subject.history.usable:
        return "the event files do not say which epochs had a mean reward"
    if subject.doubt.sessions_are_unclear:
        return "the logs of several sessions stop short (SUMMARY-001 judges)"
    return None


def _missing(
    subject: Subject, timeline: Timeline, save_freq: int, files: _Files
) -> tuple[int, list[int]]:
    """How many periodic saves a session's log proves due, and the epochs of those not there."""
    session = timeline.session
    due: dict[int, float | None] = {
        at.epoch: at.reward for at in timeline.surely_periodic(subject.profile, save_freq)
    }
    if not subject.profile.legacy_guard:
        due.update(dict.fromkeys(subject.doubt.saved_behind_the_log(session, save_freq)))
    absent = [
        epoch
        for epoch, reward in due.items()
        if not _is_there(subject, files.get(epoch, []), epoch, reward)
    ]
    if len(absent) == len(due) and _restarted_after(subject, timeline):
        return 0, []  # the folder was cleaned for a later fresh session
    excused = [epoch for epoch in absent if subject.doubt.may_be_unsaved(session, epoch)]
    return len(due) - len(excused), [epoch for epoch in absent if epoch not in excused]


def _is_shifted(subject: Subject, due: set[int], save_freq: int) -> bool:
    """Whether these saves are all there, each by the same number of epochs early or late."""
    saved = {epoch for file in subject.save_freq.strays(save_freq) for epoch in file.epochs}
    last = subject.history.last_epoch or 0
    for by in range(1 - save_freq, save_freq):
        shifted = {epoch + by for epoch in due if 1 <= epoch + by <= last}
        if by and shifted and shifted <= saved:
            return True
    return False


def _is_there(
    subject: Subject, files: list[CheckpointFile], epoch: int, reward: float | None
) -> bool:
    """Whether one of the epoch's files stands for the periodic save, however it is called.

    (decisions.md: "Names that carry no reward do not tell which session wrote them".)
    """
    logged = len(subject.history.rewards_at(epoch))
    if logged <= 1 or reward is None:
        return bool(files)
    rewards = subject.history.rewards_at(epoch)
    # A name whose reward no session logged may stand for any of them.
    return len(files) >= logged or any(
        value is None
        or same_reward(value, reward)
        or not any(same_reward(value, other) for other in rewards)
        for value in (file.name.reward for file in files)
    )


def _by_epoch(subject: Subject) -> _Files:
    """The periodic checkpoints, and what may be one under a wrong name, by epoch."""
    found: _Files = defaultdict(list)
    for file in subject.files.checkpoints:
        if file.name.kind in (Kind.PERIODIC, None) and file is not subject.best:
            for epoch in file.epochs:
                found[epoch].append(file)
    return found


def _restarted_after(subject: Subject, timeline: Timeline) -> bool:
    later = subject.history.sessions[timeline.session.index + 1 :]
    return any(session.may_be_fresh for session in later)


def none_with_zero(subject: Subject) -> Outcome:
    """CADENCE-003."""
    freq = subject.save_freq
    if freq.value is None:
        if subject.files.periodic:
            return not_applicable("there are periodic checkpoints, and nothing says save_freq 0")
        return unobservable(_NO_SAVE_FREQ)
    if freq.value:
        return not_applicable(f"save_freq is {freq.value} (from {freq.source})")
    older = freq.under_another(0)
    periodic = [file for file in subject.files.periodic if file not in older]
    if periodic:
        return failed(
            f"save_freq is 0 (from {freq.source}), and there are {len(periodic)} periodic"
            " checkpoint(s)",
            [file.path for file in periodic],
            save_freq=0,
            save_freq_from=freq.source,
            files=len(periodic),
        )
    return passed(
        f"save_freq is 0 (from {freq.source}), and there is no periodic checkpoint",
        save_freq_from=freq.source,
    )


CHECKS = {
    "CADENCE-001": multiples_only,
    "CADENCE-002": every_multiple,
    "CADENCE-003": none_with_zero,
}
