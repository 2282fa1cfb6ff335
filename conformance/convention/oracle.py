"""The oracle: settings and rewards per epoch -> the exact sequence of saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.convention.profile import Kind, Profile
from conformance.convention.rewards import as_float32, improves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was configured with; None where it is not known.

    Attributes:
        name: the run's name, as its checkpoints carry it.
        save_freq: epochs between periodic checkpoints; 0 switches them off.
        max_epochs: epochs to train, over all sessions of the run.
        save_best_after: the first epoch that may write a best; profiles without it ignore it.
    """

    name: str
    save_freq: int | None = None
    max_epochs: int | None = None
    save_best_after: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """One checkpoint as it is due: in which epoch, with which reward and stored watermark."""

    kind: Kind
    epoch: int
    reward: float
    watermark: float


def first_best_epoch(profile: Profile, settings: Settings) -> int:
    """The first epoch that may write a best and move the watermark."""
    if not profile.has_save_best_after:
        return 0
    if settings.save_best_after is None:
        return profile.default_save_best_after
    return settings.save_best_after


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a session: its reward, the watermark around it, and whether that moved."""

    epoch: int
    reward: float
    before: float
    after: float
    improved: bool


def epochs(
    profile: Profile,
    settings: Settings,
    rewards: Mapping[int, float],
    *,
    watermark: float | None = None,
) -> Iterator[Epoch]:
    """Yield the epochs of one session in order, with the watermark as it moves.

    Arguments are those of `expected_saves`.
    """
    best = profile.initial_watermarks[0] if watermark is None else watermark
    after = first_best_epoch(profile, settings)
    for epoch in sorted(rewards):
        reward, before = rewards[epoch], best
        improved = epoch >= after and improves(reward, before)
        if improved:
            best = reward
        yield Epoch(epoch, reward, before, best, improved)


def expected_saves(
    profile: Profile,
    settings: Settings,
    rewards: Mapping[int, float],
    *,
    watermark: float | None = None,
) -> tuple[Save, ...]:
    """Return the saves of one session, in the order of their writes.

    Args:
        profile: the dialect.
        settings: `save_freq` None counts as 0, `max_epochs` None as no end.
        rewards: the mean reward after each epoch (absolute, from 1) whose mean reward is known;
            an epoch in which no episode has finished yet is left out.
        watermark: the best mean reward that the session starts from; None: the profile's initial.
    """
    return tuple(
        save
        for at in epochs(profile, settings, rewards, watermark=watermark)
        for save in _saves(profile, settings, at)
    )


def _saves(profile: Profile, settings: Settings, at: Epoch) -> Iterator[Save]:
    if is_periodic(profile, settings.save_freq, at):
        yield Save(Kind.PERIODIC, at.epoch, at.reward, at.before)
    if profile.has_best and at.improved:
        yield Save(Kind.BEST, at.epoch, at.reward, at.after)
    if _ends(profile, settings, at.epoch):
        yield Save(Kind.FINAL, at.epoch, at.reward, at.after)


def is_periodic(profile: Profile, save_freq: int | None, at: Epoch) -> bool:
    """Whether the epoch writes a periodic checkpoint.

    The legacy guard asks for `reward <= watermark`, as float32, which a NaN never satisfies.
    """
    if not save_freq or at.epoch % save_freq:
        return False
    return not profile.legacy_guard or as_float32(at.reward) <= as_float32(at.before)


def _ends(profile: Profile, settings: Settings, epoch: int) -> bool:
    if settings.max_epochs is None:
        return False
    if profile.final_at == "epoch >= max_epochs":
        return epoch >= settings.max_epochs
    return profile.final_at == "epoch > max_epochs" and epoch > settings.max_epochs
