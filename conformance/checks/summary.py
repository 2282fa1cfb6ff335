"""SUMMARY: that the logs are readable, and agree with the checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.best import CHECKS as BEST
from conformance.checks.best import lost_watermarks
from conformance.checks.finding import (
    Outcome,
    and_more,
    failed,
    failed_files,
    not_applicable,
    passed,
    unobservable,
)
from conformance.checks.names import one_periodic_for_an_epoch, rounded_rewards
from conformance.convention.names import Flaw
from conformance.convention.profile import Kind
from conformance.convention.rewards import same_reward
from conformance.convention.rules import BY_ID, Verdict
from conformance.run.driven import same_rewards
from conformance.run.history import is_unreadable

if TYPE_CHECKING:
    from conformance.run.driven import DrivenSession
    from conformance.run.files import CheckpointFile
    from conformance.run.history import Problem
    from conformance.run.subject import Subject


def logs_each_epoch(subject: Subject) -> Outcome:
    """SUMMARY-001."""
    if not subject.logs.entries:
        return unobservable("there is no event file (LAYOUT-002 judges)")
    files = {
        entry.relative: file
        for entry, file in zip(subject.logs.entries, subject.logs.files, strict=True)
    }
    unreadable = {path: file.problem or "" for path, file in files.items() if is_unreadable(file)}
    refused = [file.path.name for file in subject.logs.files if file.unreadable]
    if refused:
        return unobservable(
            f"{len(refused)} event file(s) cannot be read: the first is {refused[0]!a}",
            unreadable,
        )
    if unreadable:
        return failed_files(unreadable, causes={path: files[path].cause for path in unreadable})
    if subject.driven:
        return _logs_what_was_played(subject)
    history = subject.history
    if history.problems:
        return _wrong_log(history.problems, subject)
    if not history.sessions:
        return _nothing_logged(subject)
    behind = subject.doubt.unlogged_end
    if behind is not None:
        return unobservable(
            f"the log ends at epoch {history.last_epoch}, and {behind.entry.name!a} was saved at"
            f" epoch {behind.epoch}, the end of the training: whether the writer was closed too"
            " early or never told, the files do not say",
            [subject.logs.path],
            last_logged=history.last_epoch,
            epoch=behind.epoch,
            file=behind.path,
        )
    epochs = sum(len(session.rewards) for session in history.sessions)
    torn = [file.path.name for file in subject.logs.files if file.torn]
    note = f"; the last record of {len(torn)} file(s) is torn, as a kill leaves it" if torn else ""
    each = "each of "
    if any(session.has_holes for session in history.sessions):
        each, note = "", f", at intervals, as the dialect's writer does{note}"
    return passed(
        f"{len(history.sessions)} session(s) log a reward for {each}{epochs} epochs{note}",
        epochs=epochs,
        torn=torn,
    )


def _logs_what_was_played(subject: Subject) -> Outcome:
    """SUMMARY-001 of the last session of a driven run: its log against what it was given."""
    session, folder = subject.driven[-1], [subject.logs.path]
    logged = session.logged
    if session.lost_logs:
        lost = session.lost_logs
        return failed(
            f"the log of an earlier session is lost: {lost[0]!a}{and_more(lost)}",
            folder,
            causes=["lost"],
            lost=list(lost),
        )
    if session.rewards is None:
        if logged.problems or not logged.sessions:
            return _of_own_rewards(subject, logged.problems)
        reached = logged.last_epoch or 0
        if reached < session.last:
            return failed(
                f"the log ends at epoch {reached}, not at {session.last}",
                folder,
                causes=["short"],
                last_logged=reached,
                epoch=session.last,
            )
        return passed(f"the log reaches epoch {reached}", epochs=reached)
    if logged.problems:
        return _wrong_log(logged.problems, subject)
    if not logged.sessions:
        if session.rewards:
            return _nothing_logged(subject)
        return not_applicable("no epoch had a mean reward to log")
    wrong = _first_difference(session)
    if wrong is None:
        return passed(
            f"each of {len(session.rewards)} epochs is logged with its mean reward",
            epochs=len(session.rewards),
        )
    epoch, given, found = wrong
    if given is not None and found is not None and not _played_other_rewards(subject):
        return not_applicable("another reward than the epoch's is logged (SUMMARY-002 judges)")
    what = "no reward" if found is None else f"reward {found!r}"
    due = "it had none yet" if given is None else f"its mean reward was {given!r}"
    return failed(
        f"{what} is logged for epoch {epoch}, and {due}",
        folder,
        causes=["gap" if found is None else ""],
        epoch=epoch,
        due=given,
        found=found,
    )


def _wrong_log(problems: tuple[Problem, ...], subject: Subject) -> Outcome:
    """SUMMARY-001 of logs that are no reward per epoch: the first problem is told."""
    first = problems[0]
    return failed(
        first.message + and_more(problems),
        [subject.logs.path],
        causes=[first.cause],
        **first.evidence,
        problems=[problem.message for problem in problems],
    )


def _of_own_rewards(subject: Subject, problems: tuple[Problem, ...]) -> Outcome:
    """SUMMARY-001 of a driven trainer whose rewards are its own, where the log tells none."""
    if problems:
        return _wrong_log(problems, subject)
    return _nothing_logged(subject)


def _first_difference(
    session: DrivenSession,
) -> tuple[int, float | None, float | None] | None:
    """The first epoch whose logged reward is not the played one, with both."""
    given, logged = session.rewards or {}, session.logged_rewards
    return next(
        (
            (epoch, given.get(epoch), logged.get(epoch))
            for epoch in sorted({*given, *logged})
            if epoch not in given
            or epoch not in logged
            or not same_reward(given[epoch], logged[epoch])
        ),
        None,
    )


def _played_other_rewards(subject: Subject) -> bool:
    """Whether log and checkpoints agree in rewards that are not those that were given."""
    given = subject.driven[-1].rewards
    return given is not None and not any(
        same_rewards(session.rewards, given) for session in subject.history.sessions[-1:]
    )


def _nothing_logged(subject: Subject) -> Outcome:
    tags = sorted(set().union(*(file.tags for file in subject.logs.files)))
    numbered = [file for file in subject.files.checkpoints if not _needs_no_reward(subject, file)]
    if subject.doubt.was_killed_before_its_log:
        return unobservable(
            "no event file logs more than its start, and no checkpoint is of the last epoch: a"
            " session that is killed early loses its log"
        )
    profile = subject.profile
    if profile.logs_at_intervals and profile.epoch_tag and profile.reward_tag in tags:
        return unobservable(
            f"{profile.reward_tag} is logged at frames whose epoch is left out: the dialect's"
            " writer logs each tag at intervals"
        )
    if profile.logs_at_intervals and subject.doubt.ended_before_its_log:
        return unobservable(
            "the dialect's writer waits some seconds before it logs, and the event files end before"
        )
    if numbered or any(tag.startswith("rewards") for tag in tags):
        others = f"; what is logged: {', '.join(ascii(tag) for tag in tags[:5])}" if tags else ""
        return failed(
            f"no event file logs {subject.profile.reward_tag}{others}",
            [entry.relative for entry in subject.logs.entries],
            tags=tags[:50],
        )
    return unobservable("no reward is logged and nothing was saved: no episode may have finished")


def _needs_no_reward(subject: Subject, file: CheckpointFile) -> bool:
    """Whether the dialect writes such a file before any episode has finished too.

    Where its names carry a reward, that of such a file is -inf.
    """
    if file in subject.files.unrewarded:
        return True
    return file.name.kind in subject.profile.unrewarded and not file.name.reward_text


def agrees_with_the_log(subject: Subject) -> Outcome:
    """SUMMARY-002."""
    if not subject.history.usable:
        return unobservable("no reward per epoch is logged")
    if subject.doubt.sessions_are_unclear:
        return unobservable("the logs of several sessions stop short (SUMMARY-001 judges)")
    return _contradicted_log(subject) or _agrees(subject)


def _agrees(subject: Subject) -> Outcome:
    compared = 0
    blamed = {*rounded_rewards(subject), *_surplus(subject)}
    for file in subject.files.periodic:
        problem = None if file in blamed else _name_disagrees(subject, file)
        if problem is not None:
            return failed(
                problem,
                _disagreeing(subject),
                file=file.path,
                epoch=file.name.epoch,
                reward=file.name.reward,
                logged=subject.history.rewards_at_any(file.epochs),
            )
        compared += bool(subject.history.rewards_at_any(file.epochs))
    causes = BY_ID["SUMMARY-002"].explained_by("watermark")
    best_is_blamed = any(BEST[rule](subject).verdict is Verdict.FAIL for rule in causes)
    lost = lost_watermarks(subject)
    if not best_is_blamed:
        for file in subject.files.periodic:
            problem = None if file in lost else _watermark_disagrees(subject, file)
            if problem is not None:
                return failed(
                    problem,
                    [file.path],
                    watermark=str(file.watermark),
                    file=file.path,
                    epoch=file.name.epoch,
                    allowed=sorted(_watermarks_allowed(subject, file)),
                )
    if compared:
        return passed(f"{compared} periodic checkpoint(s) agree with the logged rewards")
    if subject.best is not None and subject.best.watermark is not None:
        return not_applicable("no periodic checkpoint; the best's watermark is BEST-007's matter")
    return not_applicable("no checkpoint carries a reward of a logged epoch")


def _contradicted_log(subject: Subject) -> Outcome | None:
    """A driven trainer's log that is off where its checkpoints carry the reward that was played."""
    if not subject.driven or subject.driven[-1].rewards is None:
        return None
    wrong = _first_difference(subject.driven[-1])
    if wrong is None:
        return None
    epoch, given, found = wrong
    if given is None or found is None or _played_other_rewards(subject):
        return None
    return failed(
        f"reward {found!r} is logged for epoch {epoch}, and its mean reward was {given!r}",
        [subject.logs.path],
        epoch=epoch,
        due=given,
        found=found,
    )


def _name_disagrees(subject: Subject, file: CheckpointFile) -> str | None:
    reward = file.name.reward
    if reward is None or Flaw.REWARD in file.name.flaws or file.name.epoch is None:
        return None
    logged = subject.history.rewards_at_any(file.epochs)
    if not logged or any(same_reward(value, reward) for value in logged):
        return None
    if not subject.doubt.log_is_complete_at(file.name.epoch):
        return None
    return (
        f"{file.entry.name!a} says reward {file.name.reward_text}, and the logs say"
        f" {' or '.join(repr(value) for value in logged)} for epoch {file.name.epoch}"
    )


def _surplus(subject: Subject) -> list[CheckpointFile]:
    """The files that disagree with the log beside one of their epoch that agrees (NAME-007)."""
    repeated = one_periodic_for_an_epoch(subject)
    if repeated.verdict is not Verdict.FAIL:
        return []
    files = [
        file for file in subject.files.periodic if file.name.epoch in repeated.evidence["epochs"]
    ]
    wrong = [file for file in files if _name_disagrees(subject, file) is not None]
    right = {file.name.epoch for file in files if file not in wrong}
    return [file for file in wrong if file.name.epoch in right]


def _disagreeing(subject: Subject) -> list[str]:
    return [
        file.path for file in subject.files.periodic if _name_disagrees(subject, file) is not None
    ]


def _watermark_disagrees(subject: Subject, file: CheckpointFile) -> str | None:
    """Whether a periodic checkpoint stores neither the old nor the new watermark of its epoch."""
    watermark, reward = file.watermark, file.name.reward
    if watermark is None or reward is None or subject.doubt.earlier_logs_are_lost:
        return None
    allowed = _watermarks_allowed(subject, file)
    if not allowed or any(same_reward(value, watermark) for value in allowed):
        return None
    own = any(same_reward(value, reward) for value in subject.history.rewards_at_any(file.epochs))
    doubt = subject.doubt
    if doubt.may_have_reached_more(watermark, allowed) or any(
        doubt.may_be_unlogged(Kind.PERIODIC, epoch, watermark, logged=own) for epoch in file.epochs
    ):
        return None
    shown = " or ".join(repr(value) for value in sorted(allowed))
    return (
        f"{file.entry.name!a} stores last_mean_rewards {watermark!r}; the highest reward logged"
        f" up to epoch {file.name.epoch} is {shown}"
    )


def _watermarks_allowed(subject: Subject, file: CheckpointFile) -> set[float]:
    """The watermarks that a periodic checkpoint may store, by the session that logged its reward.

    The highest reward before its epoch, or up to it.
    """
    reward = file.name.reward
    allowed: set[float] = set()
    for timeline in subject.expectation.timelines:
        for epoch in file.epochs:
            logged = timeline.session.rewards.get(epoch)
            if logged is None or reward is None:
                continue
            matches = same_reward(logged, reward) or Flaw.REWARD in file.name.flaws
            if matches or len(subject.history.sessions) == 1:
                allowed |= timeline.watermarks_at(epoch)
    return allowed


CHECKS = {
    "SUMMARY-001": logs_each_epoch,
    "SUMMARY-002": agrees_with_the_log,
}
