"""What the logs leave open: whether one that is lost or cut short excuses what was found.

A log proves what it holds and never what it does not hold. This module alone thinks through what a
session may have done without a log of it; the judges ask, and put nothing together themselves.

`Gaps` says what sessions may have done, from the logs alone; the expectation is made with it.
`Doubt` says what follows for a save: for one that is there (may no log show it?), for one that is
missing (may it never have been written?), and for the logs as a whole.

A new way in which a log holds less than what happened is added here:

- a log that leaves out epochs, or ends early: `Gaps.may_have_trained` and `Gaps.none_at` say which
  epochs a session may have trained and not logged. (Today `build_history` calls a log with a hole
  a problem, so that nobody leans on it.)
- one that is still being written: `Gaps.may_lack_saves` says whose last save may not be there yet.
- one that is lost: `History.silent` counts the sessions that logged nothing;
  `Doubt.earlier_logs_are_lost` and `Doubt.best_is_unlogged` tell of files that are gone.
- two processes at once: `Gaps.may_have_gone_on` says which session is known to have ended where
  its log does, because another one goes on from there.

Why each heuristic stands is told in docs/decisions.md, "Blame, where several readings are left".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.profile import Kind
from conformance.convention.rewards import improves, same_reward
from conformance.evidence.summaries import EPOCH_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.run.files import CheckpointFile
    from conformance.run.history import History, Session
    from conformance.run.logs import Logs
    from conformance.run.roles import Roles
    from conformance.run.timeline import Timeline, Written

_FIRST_WAIT = 5.0  # seconds
_FEWEST_TELLING = 10  # rewards that are all different; fewer may be so by chance


@dataclass(frozen=True)
class Gaps:
    """What sessions may have done that no log shows, as far as the logs alone tell.

    Attributes:
        history: the sessions.
        save_freq: as it was given; None where it was not.
        last_epoch: the training's last one, by its `max_epochs`; None where that was not given.
    """

    history: History
    save_freq: int | None
    last_epoch: int | None

    def may_have_gone_on(self, session: Session) -> bool:
        """Whether a killed session may have reached epochs behind the end of its log.

        Not if a later one goes on from its newest checkpoint. One that goes on behind the session's
        best may have been resumed from that, and proves nothing of what came after it.
        (decisions.md: "A session that goes on behind another one's log".)
        """
        return not self.history.played and (
            session.last == session.best_epoch or not self._is_continued(session)
        )

    def may_have_trained(self, session: Session, epoch: int) -> bool:
        """Whether a session may have trained the epoch without a log of it.

        It was killed before it logged it, or its writer logs at intervals and left it out.
        """
        if session.leaves_out(epoch):
            return True
        return session.last < epoch and self.may_have_gone_on(session)

    def may_have_reached(self, epoch: int, sessions: Iterable[Session] | None = None) -> bool:
        """Whether some session may have trained the epoch without a log of it.

        Args:
            epoch: which one.
            sessions: those to ask of, beside the ones that logged nothing; None: all.
        """
        if self.history.silent:
            return True
        if sessions is None:
            left_out = any(session.leaves_out(epoch) for session in self.at_intervals)
            return left_out or self._first_open_end < epoch
        return any(self.may_have_trained(session, epoch) for session in sessions)

    @cached_property
    def at_intervals(self) -> tuple[Session, ...]:
        """The sessions whose writer logs at intervals, and has left epochs out."""
        return tuple(
            session
            for session in self.history.sessions
            if session.sparse and (session.has_holes or session.first > 1)
        )

    @cached_property
    def _first_open_end(self) -> float:
        """The first end of a log behind which its session may have gone on."""
        ends = (s.last for s in self.history.sessions if self.may_have_gone_on(s))
        return min(ends, default=math.inf)

    def may_lack_saves(self, session: Session) -> bool:
        """Whether a session may have ended between the log of its last epoch and the save.

        The last session of a run that logged the training's last epoch went on to the end.
        (decisions.md: "The last logged epoch of an interrupted session".)
        """
        history, limit = self.history, self.last_epoch
        if history.played or self._is_continued(session):
            return False
        if session.index < len(history.sessions) - 1 or history.silent:
            return True
        return limit is not None and session.last < limit

    def may_lack_its_last_best(self, session: Session) -> bool:
        """Whether the session may have ended before it saved the best of its last logged epoch.

        Also where another one goes on from there: from the periodic checkpoint, which is written
        first.
        """
        if self.may_lack_saves(session):
            return True
        periodic = bool(self.save_freq) and session.last % (self.save_freq or 1) == 0
        return periodic and not self.history.played and self._is_continued(session)

    def _is_continued(self, session: Session) -> bool:
        """Whether a later session goes on right where the log of this one alone ends."""
        return session.index in self._continued

    @cached_property
    def _continued(self) -> frozenset[int]:
        return frozenset(s.index for s in self.history.sessions if self._has_successor(s))

    def _has_successor(self, session: Session) -> bool:
        sessions = self.history.sessions
        if any(session.last in earlier.rewards for earlier in sessions[: session.index]):
            return False
        for later in sessions[session.index + 1 :]:
            if later.first == session.last + 1 and not later.may_be_fresh:
                return True
            if session.last in later.rewards:
                return False
        return False

    @cached_property
    def between_sessions(self) -> bool:
        """Whether a session but the last may have reached epochs that no log shows."""
        if self.history.played:
            return False
        reached = 0
        for number, session in enumerate(self.history.sessions):
            if number and reached + 1 < session.first:
                return True
            reached = max(reached, session.last)
        return self.history.silent > 0

    def none_at(self, epoch: int) -> bool:
        """Whether no session can have reached the epoch without a log of it: each logged it."""
        first, last = self._common
        return self.history.played or (
            not self.history.silent
            and first <= epoch <= last
            and not any(session.leaves_out(epoch) for session in self.at_intervals)
        )

    @cached_property
    def _common(self) -> tuple[float, float]:
        """The first and the last epoch of those that each session logged."""
        sessions = self.history.sessions
        return (
            max((session.first for session in sessions), default=math.inf),
            min((session.last for session in sessions), default=-math.inf),
        )

    @cached_property
    def rewards_tell(self) -> bool:
        """Whether equal rewards prove that a file is of the session that logged them.

        Not where rewards repeat, or are too few to tell, or where a session logged none.
        (decisions.md: "Rewards tell sessions apart only where at least ten are logged".)
        """
        # A NaN is unlike itself, and tells nothing of who logged it.
        logged = [
            None if math.isnan(reward) else reward
            for session in self.history.sessions
            for reward in session.rewards.values()
        ]
        unlike = len(set(logged)) == len(logged) >= _FEWEST_TELLING
        return unlike and not self.history.silent


@dataclass(frozen=True)
class Doubt:
    """What logs that hold less than what happened may excuse, save by save.

    Attributes:
        gaps: what the sessions may have done.
        timelines: the sessions under each watermark that they may have started from.
        bests: what the best file may hold; None stands for no best file.
        best: the best file that is there.
        files: the run's files.
        logs: its event files.
    """

    gaps: Gaps
    timelines: tuple[Timeline, ...]
    bests: frozenset[Written | None]
    best: CheckpointFile | None
    files: Roles
    logs: Logs

    @property
    def _history(self) -> History:
        return self.gaps.history

    # --- a save that is there ---------------------------------------------------------------

    def may_be_unlogged(
        self, kind: Kind, epoch: int, watermark: float | None = None, *, logged: bool = False
    ) -> bool:
        """Whether a save may be of a killed session that did not log its epoch any more.

        Args:
            kind: of the save.
            epoch: that it is of.
            watermark: that it stores; None where it stores none, or where that does not matter.
            logged: whether a session logged what the save tells of its epoch. Where rewards tell
                sessions apart, it is then that session's.
        """
        if logged and self.gaps.rewards_tell:
            return False
        if watermark is None:
            return self.gaps.may_have_reached(epoch)
        return self._may_have_stored(kind, epoch, watermark)

    def _may_have_stored(self, kind: Kind, epoch: int, watermark: float) -> bool:
        """Whether such a session may have stored the watermark.

        Its watermark never falls; with its best it rises. A session that was resumed from an
        earlier epoch afterwards did not find that best.
        """
        if self._history.played:
            return False
        best = kind is Kind.BEST
        resumed = max(
            (
                session.index
                for session in self._history.sessions
                if best and session.first <= epoch and not session.may_be_fresh
            ),
            default=0,
        )
        ends = (
            end
            for timeline in self.timelines[resumed:]
            if self.gaps.may_have_trained(timeline.session, epoch)
            for end in timeline.watermarks_before(epoch)
        )
        return self._history.silent > 0 or any(
            improves(watermark, end) or (not best and same_reward(watermark, end)) for end in ends
        )

    def may_be_first_best(self, epoch: int, watermark: float | None, initial: float) -> bool:
        """Whether the best may be of an unlogged epoch, where no logged one makes a best due.

        Args:
            epoch: that the best is of.
            watermark: that it stores; some dialects store none.
            initial: the watermark that a training starts from.
        """
        if self.gaps.between_sessions and not self._history.rewards_at(epoch):
            return True
        improved = watermark is None or improves(watermark, initial)
        return improved and self.may_be_unlogged(Kind.BEST, epoch, watermark)

    def may_have_reached_more(self, watermark: float, known: Iterable[float]) -> bool:
        """Whether a watermark above what is known may have been reached in epochs without a log.

        (decisions.md: "A log that may lag proves nothing against a checkpoint".)
        """
        unlogged = self.gaps.between_sessions or bool(self.gaps.at_intervals)
        return unlogged and improves(watermark, min(known))

    def may_have_improved_before(self, session: Session, epoch: int) -> bool:
        """Whether an epoch that the session's log leaves out may have improved before this one."""
        return session.sparse and any(map(session.leaves_out, range(1, epoch)))

    def unlogged_at(self, epoch: int, *, logged: bool = False) -> tuple[Session, ...] | None:
        """The sessions whose logs end before the epoch or leave it out: each may have saved at it.

        Args:
            epoch: which one.
            logged: as of `may_be_unlogged`.

        Returns:
            none of them where only one that logged nothing may have; None where nobody may have.
        """
        if self._history.played or (logged and self.gaps.rewards_tell):
            return None
        behind = self._did_not_log(epoch)
        return behind if behind or self._history.silent else None

    def _did_not_log(self, epoch: int) -> tuple[Session, ...]:
        """The sessions whose logs end before the epoch, or leave it out."""
        return tuple(
            session
            for session in self._history.sessions
            if session.last < epoch or session.leaves_out(epoch)
        )

    def most_saves_at(self, epoch: int) -> int:
        """How many sessions may have saved at the epoch: each that reached it, logged or not.

        (decisions.md: "A log that may lag proves nothing against a checkpoint".)
        """
        history = self._history
        return history.silent + sum(
            (session.first <= epoch or session.sparse)
            and (epoch <= session.last or not history.played)
            for session in history.sessions
        )

    def is_behind_the_log(self, epoch: int) -> bool:
        """Whether all logs end before the epoch, so that they say nothing of it."""
        last = self._history.last_epoch
        return last is not None and epoch > last

    def why_unlogged(self, epoch: int) -> str | None:
        """Why nobody logged a reward for the epoch; None where no gap in the logs explains it."""
        history, limit = self._history, self.gaps.last_epoch
        last = history.last_epoch or 0
        if epoch > last and (limit is None or epoch <= limit):
            return f"the log ends at epoch {last}"
        if history.sessions and epoch < history.sessions[0].first and self.earlier_logs_are_lost:
            return "earlier event files are missing"
        if any(session.leaves_out(epoch) for session in self.gaps.at_intervals):
            return "its writer logs at intervals"
        if 1 <= epoch <= last and (history.silent or self._did_not_log(epoch)):
            return "a killed session's log ends before"
        return None

    @cached_property
    def best_is_unlogged(self) -> bool:
        """Whether the best was written by a session that left no log.

        So it is in a folder of several sessions if none of them logged the stored reward at the
        stored epoch, and the epoch is none that the best should hold.
        """
        best, history = self.best, self._history
        if history.played or best is None or best.epoch is None or best.watermark is None:
            return False
        epoch, watermark, limit = best.epoch, best.watermark, self.gaps.last_epoch
        due = [written for written in self.bests if written is not None and written.epoch == epoch]
        hidden = self.may_be_unlogged(Kind.BEST, epoch, watermark)
        if hidden and (limit is None or epoch <= limit):
            rewards = (*(written.reward for written in due), *history.rewards_at(epoch))
            return not any(same_reward(reward, watermark) for reward in rewards)
        if len(history.sessions) < 2 or due:
            return False
        return not any(
            same_reward(reward, watermark)
            for session in history.sessions
            for reward in session.rewards.values()
        )

    # --- a save that is missing -------------------------------------------------------------

    def may_be_unsaved(self, session: Session, epoch: int | None = None) -> bool:
        """Whether a session may have been killed before it wrote a save that was due.

        Args:
            session: which one.
            epoch: of the save; None: the last that the session logged.
        """
        return epoch in (None, session.last) and self.gaps.may_lack_saves(session)

    def saved_behind_the_log(self, session: Session, save_freq: int) -> range:
        """The multiples of `save_freq` that a session has surely reached behind its log's end.

        They lie before the last checkpoint. Only the one session of a run is known to have written
        that.
        """
        last, limit = session.last, self.gaps.last_epoch
        reached = max(
            (file.epoch for file in self.files.readable if file.epoch is not None), default=last
        )
        lost = self._history.count != 1 or limit is None or reached > limit
        if lost or reached - last > save_freq * 1000:
            return range(0)
        return range((last // save_freq + 1) * save_freq, reached, save_freq)

    # --- the logs as a whole ----------------------------------------------------------------

    @cached_property
    def was_killed_before_its_log(self) -> bool:
        """Whether the event files hold no reward since no session lived long enough to flush one.

        So it may be while no checkpoint is of the training's last epoch. One record may have been
        flushed without what followed it. And a log may count epochs before the first episode has
        finished; behind a checkpoint it would hold that one's reward.
        """
        limit, files = self.gaps.last_epoch, self.logs.files
        if self._history.played or limit is None or not files:
            return False
        # The first record names the format; each other one, where it alone is logged, an epoch.
        if any(f.rewards or (f.tags - {EPOCH_COUNT} and f.records > 2) for f in files):
            return False
        saved = [file.epoch for file in self.files.readable if file.epoch is not None]
        counted = max((file.first_epoch or 1) + file.records - 2 for file in files)
        one_logged_on = len(files) == 1 and min(saved, default=counted) < counted
        return max(saved, default=0) < limit and not one_logged_on

    @cached_property
    def ended_before_its_log(self) -> bool:
        """Whether each event file ends before a writer that logs at intervals writes a first time.

        rl_games' IntervalSummaryWriter logs nothing in its first 5 s.
        """
        return not self._history.played and all(
            file.first_wall_time is None
            or file.last_wall_time is None
            or file.last_wall_time - file.first_wall_time < _FIRST_WAIT
            for file in self.logs.files
        )

    @cached_property
    def earlier_logs_are_lost(self) -> bool:
        """Whether checkpoints are older than the first log: event files are missing."""
        if self._history.played:
            return False
        first = self._history.sessions[0].first
        periodic = self.files.periodic
        return first > 1 and any(epoch < first for file in periodic for epoch in file.epochs)

    @cached_property
    def saved_before_all_logs(self) -> bool:
        """Whether a checkpoint is older than all logs: what its session reached is not known."""
        if self._history.played or not self._history.sessions:
            return False
        first = min(session.first for session in self._history.sessions)
        return any(epoch < first for file in self.files.periodic for epoch in file.epochs)

    @cached_property
    def unlogged_end(self) -> CheckpointFile | None:
        """A checkpoint of the training's last epoch, where the log of a whole session stops short.

        A killed session's log lags; one that reached its last epoch and saved it was not killed.
        """
        limit, last = self.gaps.last_epoch, self._history.last_epoch or 0
        if limit is None or last >= limit or self._history.played:
            return None
        if any(session.last == last for session in self.gaps.at_intervals):
            return None
        return next(
            (
                file
                for file in self.files.readable
                if file.epoch == limit
                and file.name.epoch in (None, limit)
                and file not in self.files.unrewarded
            ),
            None,
        )

    @cached_property
    def sessions_are_unclear(self) -> bool:
        """Whether a log that stops short leaves open which of several sessions logged what."""
        return len(self._history.sessions) > 1 and self.unlogged_end is not None

    def log_is_complete_at(self, epoch: int) -> bool:
        """Whether each session logged the epoch, so that another reward than theirs is wrong."""
        return self.gaps.none_at(epoch)

    @cached_property
    def log_is_contradicted(self) -> bool:
        """Whether periodic names contradict the log where it is complete (SUMMARY-002's matter)."""
        return any(
            file.name.reward is not None
            and file.name.epoch is not None
            and not file.name.flaws
            and self.log_is_complete_at(file.name.epoch)
            and not any(
                same_reward(reward, file.name.reward)
                for reward in self._history.rewards_at_any(file.epochs)
            )
            for file in self.files.periodic
        )
