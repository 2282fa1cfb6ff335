"""What the oracle makes of a run's history: the best as it should be, and the watermarks.

Event files do not say whether a session was resumed or started afresh, nor how it got its
watermark. Where the evidence leaves several readings, all of them are kept, and a check may blame
only what is wrong under each. (decisions.md: "Event files do not say how a session began".)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conformance.convention.oracle import first_best_epoch
from conformance.convention.rewards import as_float32, improves
from conformance.run.timeline import Course, Timeline, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from conformance.convention.oracle import Epoch, Settings
    from conformance.convention.profile import Profile
    from conformance.run.doubt import Gaps
    from conformance.run.history import History, Session
    from conformance.run.roles import Roles

_MOST_STATES = 32


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the oracle makes of a history.

    Attributes:
        bests: what the best file may hold; None stands for no best file.
        timelines: the sessions with their watermarks.
    """

    bests: frozenset[Written | None]
    timelines: tuple[Timeline, ...]

    def due_epochs(self, profile: Profile, save_freq: int | None) -> frozenset[int]:
        """The epochs whose periodic checkpoint the logs prove due."""
        return frozenset(
            at.epoch
            for timeline in self.timelines
            for at in timeline.surely_periodic(profile, save_freq)
        )


def expect(
    profile: Profile,
    settings: Settings,
    gaps: Gaps,
    *,
    stored: Iterable[tuple[int, float]] = (),
    resume_resets: bool = False,
) -> Expectation:
    """Play the history through the oracle under every reading that the evidence leaves.

    Args:
        profile: the dialect.
        settings: the run's settings.
        gaps: its sessions, and what they may have done that no log shows.
        stored: epoch and watermark of the checkpoints at hand; they stand in for what a killed
            session saved but did not log any more.
        resume_resets: also let resumed sessions start from the initial watermark (BEST-008's
            defect).
    """
    unlogged = tuple(stored)
    states: set[Written | None] = {None}
    timelines: list[Timeline] = []
    for session in gaps.history.sessions:
        following: set[Written | None] = set()
        course = Course(profile, settings, session.rewards)
        starts: dict[float, Sequence[Epoch]] = {}  # with the epochs that improve
        interrupted = gaps.may_lack_its_last_best(session)
        before = _known_before(gaps, session, timelines, unlogged)
        for state in states:
            for watermark in _watermarks(
                profile, session, before, state, unlogged, resume_resets=resume_resets
            ):
                if watermark not in starts:
                    starts[watermark] = course.improved(watermark)
                improved = starts[watermark]
                following.add(_written(session, improved, state))
                if improved and improved[-1].epoch == session.last and interrupted:
                    following.add(_written(session, improved[:-1], state))
                if not improved and state is not None and improves(state.reward, watermark):
                    following |= _written_behind_its_log(gaps, session, watermark)
        timelines.append(Timeline(session, course, tuple(starts)))
        states = _newest_and_highest(following)
    bests = frozenset(state for state in states if state is None or state.logged)
    return Expectation(bests, tuple(timelines))


@dataclass(frozen=True, slots=True)
class _Before:
    """What a resumed session may have found, but for the best.

    Attributes:
        watermarks: in the checkpoints of the epoch before, and of what was not logged any more.
            They may know of a best that a kill kept from being saved, or that was replaced later.
        least: what it knows at least; None where its checkpoint may be one that was not logged.
    """

    watermarks: frozenset[float] = frozenset()
    least: float | None = None


def _known_before(
    gaps: Gaps,
    session: Session,
    earlier: list[Timeline],
    unlogged: tuple[tuple[int, float], ...],
) -> _Before:
    if not session.may_be_resumed or session.known is not None:
        return _Before()
    epoch = session.first - 1
    logged = max((timeline.session.last for timeline in earlier), default=0)
    hidden = gaps.may_have_reached(epoch, [timeline.session for timeline in earlier])
    watermarks = frozenset(
        watermark
        for saved, watermark in unlogged
        if logged < saved <= epoch or (hidden and saved == epoch)
    ).union(*(timeline.watermarks_at(epoch) for timeline in earlier))
    reached = (
        at.after
        for timeline in earlier
        if not hidden and epoch in timeline.session.rewards
        for at in timeline.at(epoch)
    )
    return _Before(watermarks, min(reached, default=None))


def _written(session: Session, improved: Sequence[Epoch], before: Written | None) -> Written | None:
    """The best file after a session that improved in these epochs."""
    if not improved:
        return before
    return Written(session.index, improved[-1].epoch, improved[-1].reward)


def _written_behind_its_log(gaps: Gaps, session: Session, watermark: float) -> frozenset[Written]:
    """The best file after a killed session that replaced it in an epoch that it did not log.

    A session that logged an improvement, or that had found the watermark of the best, does not
    matter here: what such a one wrote later is no lower than what is known already.
    (decisions.md: "A best that a killed session may have replaced behind its log".)
    """
    if not gaps.may_have_gone_on(session):
        return frozenset()
    return frozenset({Written(session.index, session.last + 1, watermark, logged=False)})


def _newest_and_highest(states: set[Written | None]) -> set[Written | None]:
    """Bound the readings of a folder with very many restarts; the likely ones stay."""
    if len(states) <= _MOST_STATES:
        return states
    written = sorted(
        (state for state in states if state is not None),
        key=lambda state: (state.session, state.epoch),
    )
    highest = max(written, key=lambda state: (state.logged, state.reward))
    return {highest, *written[1 - _MOST_STATES :]}


def _watermarks(
    profile: Profile,
    session: Session,
    before: _Before,
    state: Written | None,
    unlogged: tuple[tuple[int, float], ...],
    *,
    resume_resets: bool,
) -> Iterator[float]:
    """The watermarks that the session may have started from, given the best file it found."""
    initial = profile.initial_watermarks
    if session.known is not None:
        resumed = session.may_be_resumed
        if session.known.watermark is None or (resumed and resume_resets):
            yield from initial
        if session.known.watermark is not None:
            yield session.known.watermark
        return
    if session.may_be_fresh:
        yield from initial
        if state is not None:  # a fresh session that heeds BEST-009
            yield state.reward
    if session.may_be_resumed:
        if resume_resets or not profile.resume_keeps_watermark:
            yield from initial
        yield from _kept(profile, session, before, state, unlogged)


def _kept(
    profile: Profile,
    session: Session,
    before: _Before,
    state: Written | None,
    unlogged: tuple[tuple[int, float], ...],
) -> Iterator[float]:
    """The watermarks that a resumed session may have kept."""
    initial = profile.initial_watermarks[0]
    kept = max(initial, state.reward) if state is not None else initial
    if before.least is not None and not profile.resume_takes_stored:
        kept = max(kept, before.least)
    yield kept
    yield from _stored_before(profile, session, unlogged)
    yield from (watermark for watermark in before.watermarks if improves(watermark, kept))


def _stored_before(
    profile: Profile, session: Session, stored: tuple[tuple[int, float], ...]
) -> Iterator[float]:
    """The watermarks in what the session may have been resumed from, where it takes just those."""
    if profile.resume_takes_stored:
        yield from (watermark for epoch, watermark in stored if epoch == session.first - 1)


def stored_watermarks(
    profile: Profile, settings: Settings, files: Roles
) -> tuple[tuple[int, float], ...]:
    """The watermarks that a session may have found, with the epochs of their checkpoints."""
    stored = [
        (file.epoch, file.watermark)
        for file in files.readable
        if file.epoch is not None and file.watermark is not None
    ]
    if profile.resume_takes_stored:
        return tuple(stored)
    # A periodic checkpoint at a new best may store the watermark from before it.
    first = first_best_epoch(profile, settings)
    named = (
        (file.epoch, file.name.reward)
        for file in files.periodic
        if file.epoch is not None and file.epoch >= first and file.name.reward is not None
    )
    return (*stored, *named)


def from_lower_watermarks(
    profile: Profile, history: History, expectation: Expectation
) -> Timeline | None:
    """The last played session, had it lost the watermark on its resume; None where it had none.

    It then starts from the initial watermark, or from an earlier reward below the one that it
    should keep.
    """
    if not history.played or not expectation.timelines or not profile.resume_keeps_watermark:
        return None
    timeline = expectation.timelines[-1]
    known = timeline.session.known
    kept = None if known is None else known.watermark
    if kept is None:
        return None
    earlier = {
        as_float32(reward) for other in history.sessions[:-1] for reward in other.rewards.values()
    }
    lower = {value for value in (*profile.initial_watermarks, *earlier) if value < kept}
    return replace(timeline, starts=tuple(sorted(lower)))
