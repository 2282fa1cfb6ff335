"""The oracle: settings and rewards per epoch -> the exact sequence of saves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.convention.brief import Brief
from conformance.convention.profile import Ending, Kind, Profile
from conformance.convention.rewards import as_float32, improves

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True, repr=False)
class Settings(Brief):
    """What a run was configured with; None where it is not known.

    Attributes:
        name: the run's name, as its checkpoints carry it.
        save_freq: epochs between periodic checkpoints; 0 switches them off.
        max_epochs: epochs to train, over all sessions of the run.
        save_best_after: the first epoch that may write a best; profiles without it ignore it.
        score_to_win: the reward above which the training is won; None: never, or not known.
        max_frames: environment steps to train; ends the training in the epoch that reaches it.
        frames: environment steps in one epoch.
        custom_stop: the epoch after which a callback ends the training.
    """

    name: str
    save_freq: int | None = None
    max_epochs: int | None = None
    save_best_after: int | None = None
    score_to_win: float | None = None
    max_frames: int | None = None
    frames: int | None = None
    custom_stop: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """One checkpoint as it is due: in which epoch, with which reward and stored watermark.

    Where no episode has finished yet `rewarded` is False and the reward is -inf, as such a
    checkpoint's name says. `ending` is what a final save is written for, and `frame` the
    environment steps by then, 0 where they are not known.
    """

    kind: Kind
    epoch: int
    reward: float
    watermark: float
    rewarded: bool = True
    ending: Ending = Ending.EPOCHS
    frame: int = 0


def first_best_epoch(profile: Profile, settings: Settings) -> int:
    """The first epoch that may write a best and move the watermark."""
    if not profile.has_save_best_after:
        return 0
    if settings.save_best_after is None:
        return profile.default_save_best_after
    return settings.save_best_after


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a session: its reward, the watermark around it, and whether that moved.

    `rewarded` is False where no episode has finished yet; the reward is then -inf.
    """

    epoch: int
    reward: float
    before: float
    after: float
    improved: bool
    rewarded: bool = True


def epochs(
    profile: Profile,
    settings: Settings,
    rewards: Mapping[int, float],
    *,
    watermark: float | None = None,
    span: Iterable[int] = (),
) -> Iterator[Epoch]:
    """Yield the epochs of one session in order, with the watermark as it moves.

    Arguments are those of `expected_saves`. Where the profile has no best, nothing moves it.
    """
    best = profile.initial_watermarks[0] if watermark is None else watermark
    after = first_best_epoch(profile, settings)
    for epoch in sorted({*rewards, *span}):
        if epoch not in rewards:
            yield Epoch(epoch, -math.inf, best, best, improved=False, rewarded=False)
            continue
        reward, before = rewards[epoch], best
        improved = profile.has_best and epoch >= after and improves(reward, before)
        if improved:
            best = reward
        yield Epoch(epoch, reward, before, best, improved)


def expected_saves(
    profile: Profile,
    settings: Settings,
    rewards: Mapping[int, float],
    *,
    watermark: float | None = None,
    span: Iterable[int] = (),
) -> tuple[Save, ...]:
    """Return the saves of one session, in the order of their writes.

    A session that wins ends there, and so does one that reaches `max_frames` or that a callback
    stops, where the dialect has names for these ends. Periodic checkpoints that a setting may
    switch off (`periodic_is_optional`) are among them.

    Args:
        profile: the dialect.
        settings: `save_freq` None counts as 0, `max_epochs` None as no end.
        rewards: the mean reward after each epoch (absolute, from 1) whose mean reward is known;
            an epoch in which no episode has finished yet is left out.
        watermark: the best mean reward that the session starts from; None: the profile's initial.
        span: all epochs of the session. Some profiles write in those without a mean reward too;
            what they write there is left out where the epochs are not given.
    """
    found: list[Save] = []
    for at in epochs(profile, settings, rewards, watermark=watermark, span=span):
        saves = tuple(_saves(profile, settings, at))
        found += saves
        if any(save.kind is Kind.WIN or save.ending is not Ending.EPOCHS for save in saves):
            break
    return tuple(found)


def _saves(profile: Profile, settings: Settings, at: Epoch) -> Iterator[Save]:
    wins = _wins(profile, settings, at)
    once = (Ending.EPOCHS,)
    periodic = once if is_periodic(profile, settings.save_freq, at) else ()
    due: dict[Kind, tuple[Ending, ...]] = {
        Kind.LATEST: periodic if profile.templates(Kind.LATEST) else (),
        Kind.PERIODIC: periodic,
        Kind.BEST: once if profile.has_best and at.improved else (),
        Kind.WIN: once if wins else (),
        Kind.FINAL: tuple(_ends(profile, settings, at)),
    }
    frame = at.epoch * (settings.frames or 0)
    improved = False
    for kind in profile.order:
        for ending in due[kind]:
            improved = improved or kind is Kind.BEST
            stored = at.after if improved or kind is Kind.FINAL else at.before
            yield Save(kind, at.epoch, at.reward, stored, at.rewarded, ending, frame)
        if kind is Kind.WIN and wins and profile.win_ends_at_once:
            return


def is_periodic(profile: Profile, save_freq: int | None, at: Epoch) -> bool:
    """Whether the epoch writes a periodic checkpoint.

    The legacy guard asks for `reward <= watermark`, as float32, which a NaN never satisfies.
    """
    if not save_freq or at.epoch % save_freq:
        return False
    if not at.rewarded and Kind.PERIODIC not in profile.unrewarded:
        return False
    return not profile.legacy_guard or as_float32(at.reward) <= as_float32(at.before)


def _wins(profile: Profile, settings: Settings, at: Epoch) -> bool:
    """Whether the epoch's new best is above the score to win."""
    return (
        settings.score_to_win is not None
        and at.improved
        and bool(profile.templates(Kind.WIN))
        and improves(at.after, settings.score_to_win)
    )


def _ends(profile: Profile, settings: Settings, at: Epoch) -> Iterator[Ending]:
    """What the training ends for in the epoch, in the order of the final saves: often nothing."""
    if not at.rewarded and Kind.FINAL not in profile.unrewarded:
        return
    spelled = {template.ending for template in profile.templates(Kind.FINAL)}
    limit, frames = settings.max_epochs, at.epoch * (settings.frames or 0)
    ends = limit is not None and at.epoch >= profile.last_epoch(limit)
    if ends and profile.saves_at_end:
        yield Ending.EPOCHS
    if Ending.FRAMES in spelled and settings.max_frames and frames >= settings.max_frames:
        yield Ending.FRAMES
    if Ending.STOP in spelled and at.epoch == settings.custom_stop:
        yield Ending.STOP
