"""How often a run saves: the one source of `save_freq`, for the run and for each session."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING

from conformance.convention.rewards import same_reward
from conformance.run.guesses import infer_save_freq
from conformance.run.once import once
from conformance.run.settings import Setting

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.run.doubt import Doubt
    from conformance.run.files import CheckpointFile
    from conformance.run.history import History
    from conformance.run.roles import Roles
    from conformance.run.timeline import Timeline


@dataclass(frozen=True)
class SaveFreq:
    """The run's `save_freq`: as it was given, else as the periodic names tell it.

    Attributes:
        profile: the run's dialect.
        given: what the caller or the config says.
        files: the run's files.
        history: its sessions.
        timelines: these as the oracle steps through them.
        doubt: what its logs leave open.
        kept: by `once`.
    """

    profile: Profile
    given: Setting
    files: Roles
    history: History
    timelines: tuple[Timeline, ...]
    doubt: Doubt
    kept: dict[object, object] = field(default_factory=dict)

    @cached_property
    def setting(self) -> Setting:
        """As it was given, else as what explains the files best."""
        if self.given.value is not None:
            return self.given
        named = {file.name.epoch for file in self.files.periodic if file.name.epoch}
        inferred = infer_save_freq(named, self.history.last_epoch)
        if inferred is None:
            return self.given
        return Setting(inferred, "the names of the periodic checkpoints")

    @property
    def value(self) -> int | None:
        """Epochs between periodic checkpoints; None where it is not known."""
        return self.setting.value

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.setting.source

    def of(self, timeline: Timeline, assumed: int) -> int:
        """The save_freq that is proven for a session; 0 where none is.

        The config is of the latest start. An earlier session may have run with another save_freq:
        where its files show that, no more is due than at multiples of the epochs it saved, and
        nothing where it left no file. That of a driven session is known.
        (decisions.md: "The config speaks for the latest start only".)

        Args:
            timeline: the session.
            assumed: what it is where nothing contradicts it.
        """
        if timeline.session.known is not None:
            return timeline.session.known.save_freq
        if self.source.startswith("--") or self._is_configured(timeline):
            return assumed
        saved = {file.name.epoch for file in self._files_of(timeline) if file.name.epoch}
        due = {at.epoch for at in timeline.surely_periodic(self.profile, assumed)}
        if 2 * len(saved & due) >= len(due | saved):
            return assumed
        return gcd(*saved)

    def _is_configured(self, timeline: Timeline) -> bool:
        """Whether the session is the last one, which wrote the config."""
        last = timeline.session.index == len(self.history.sessions) - 1
        return last and not self.doubt.best_is_unlogged

    def _files_of(self, timeline: Timeline) -> list[CheckpointFile]:
        """The periodic checkpoints whose epoch and reward the session logged."""
        rewards = timeline.session.rewards
        return [
            file
            for file in self.files.periodic
            if file.name.epoch is not None
            and file.name.epoch in rewards
            and file.name.reward is not None
            and same_reward(rewards[file.name.epoch], file.name.reward)
        ]

    @once
    def under_another(self, assumed: int) -> frozenset[CheckpointFile]:
        """The periodic checkpoints of sessions that ran with another save_freq than this one."""
        return frozenset(
            file
            for timeline in self.timelines
            if self.of(timeline, assumed) != assumed
            for file in self._files_of(timeline)
        )

    def strays(self, assumed: int) -> list[CheckpointFile]:
        """The periodic checkpoints of no multiple of this save_freq."""
        older = self.under_another(assumed)
        return [
            file
            for file in self.files.periodic
            if file.epochs and all(epoch % assumed for epoch in file.epochs) and file not in older
        ]
