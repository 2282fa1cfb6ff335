"""Which of a run's files is which: told by place, name and contents, never judged."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.names import CheckpointName, Flaw, has_checkpoint_suffix, parse_name
from conformance.convention.profile import Kind, Profile, RewardForm
from conformance.convention.rewards import is_rounding_of, same_reward
from conformance.convention.strays import stray
from conformance.evidence.checkpoint import looks_like_checkpoint
from conformance.evidence.runs import Entry, EntryKind, RunFolder
from conformance.run.files import CheckpointFile, Readings, is_temporary
from conformance.run.history import is_sparse, may_be_at_intervals

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from conformance.run.driven import DrivenSession
    from conformance.run.logs import Logs
    from conformance.run.settings import Given


class Roles:
    """The run's checkpoints by what they are, and what else stands beside them.

    Args:
        folder: the run.
        profile: its dialect.
        given: its settings.
        logs: its event files.
        driven: its sessions, where the harness had them played.
        readings: keeps what is read.
    """

    def __init__(
        self,
        folder: RunFolder,
        profile: Profile,
        given: Given,
        logs: Logs,
        driven: tuple[DrivenSession, ...] = (),
        *,
        readings: Readings,
    ) -> None:
        self._folder = folder
        self._profile = profile
        self._given = given
        self._logs = logs
        self._driven = driven
        self._readings = readings

    @property
    def checkpoints(self) -> tuple[CheckpointFile, ...]:
        """All checkpoints of the run, wherever they stand and however they are called."""
        return self._sorted[0]

    @property
    def foreign(self) -> tuple[Entry, ...]:
        """What else stands in `nn/`."""
        return self._sorted[1]

    @cached_property
    def readable(self) -> tuple[CheckpointFile, ...]:
        """The checkpoints whose bytes can be believed.

        (decisions.md: "Damage silences everything else".)
        """
        return tuple(
            file for file in self.checkpoints if file.contents is not None and not file.damaged
        )

    @cached_property
    def periodic(self) -> tuple[CheckpointFile, ...]:
        """The periodic checkpoints, flawed names included."""
        return tuple(
            file
            for file in self.checkpoints
            if file.name.kind is Kind.PERIODIC
            and file not in self.unrewarded
            and not self._is_last_save(file)
        )

    @cached_property
    def misspelled(self) -> tuple[CheckpointFile, ...]:
        """The checkpoints in `nn/` whose names are not the profile's at all."""
        return tuple(
            file
            for file in self.checkpoints
            if file.name.kind is None and not file.misplaced and Flaw.SPELLING in file.name.flaws
        )

    @cached_property
    def unrewarded(self) -> tuple[CheckpointFile, ...]:
        """The checkpoints of epochs in which no episode had finished yet, where some are written.

        Their names end in `-inf`, as a periodic one's may: only the rewards tell them apart.
        """
        if not self._profile.unrewarded:
            return ()
        if self._driven and all(session.rewards is not None for session in self._driven):
            logs = [dict(session.rewards or {}) for session in self._driven]
        else:
            logs = [
                {entry.step: entry.value for entry in file.rewards} for file in self._logs.files
            ]
        return tuple(
            file
            for file in self.checkpoints
            if file.name.reward == -math.inf
            and file.name.epoch is not None
            and _may_lack_episodes(logs, file.name.epoch)
        )

    # --- checkpoints, and what is none ------------------------------------------------------

    @cached_property
    def _sorted(self) -> tuple[tuple[CheckpointFile, ...], tuple[Entry, ...]]:
        """The run's checkpoints, and the entries in `nn/` that are none."""
        checkpoints, foreign = [], []
        for entry in self._folder.entries:
            alone = self._folder.is_file
            direct = alone or entry.folder == self._profile.checkpoints
            if not direct and not self._is_misplaced(entry):
                continue
            name = self._unrounded(parse_name(self._profile, self._given.name, self._named(entry)))
            if name.kind is None and not alone and stray(entry.name) is not None:
                foreign += [entry] if direct else []
                continue
            if direct and name.flaws and self._is_of_one_beside(entry):
                continue
            if direct and not self._profile.checkpoints and not has_checkpoint_suffix(entry.name):
                continue  # what else stands in the run's own folder is free
            if direct and not (alone or _is_checkpoint(entry, name)):
                foreign.append(entry)
                continue
            checkpoints.append(
                CheckpointFile(
                    entry, name, self._profile, misplaced=not direct, readings=self._readings
                )
            )
        return tuple(checkpoints), tuple(foreign)

    def _is_of_one_beside(self, entry: Entry) -> bool:
        """Whether a checkpoint is one of another run that saves into the same folder."""
        parsed = (parse_name(self._profile, name, entry.name) for name in self._given.beside)
        return any(name.kind is not None and not name.flaws for name in parsed)

    @property
    def place(self) -> str:
        """Where checkpoints should stand, for people: `nn/`."""
        folder = self._profile.checkpoints
        return f"{folder}/" if folder else "the run's own folder"

    @cached_property
    def stand_apart(self) -> bool:
        """Whether the run's checkpoints stand where this folder is not, as the dialect lets them.

        So where it has neither a checkpoint nor a folder for any.
        """
        if not self._profile.apart or self.checkpoints:
            return False
        return not any(
            entry.relative == self._profile.checkpoints for entry in self._folder.entries
        )

    def _is_misplaced(self, entry: Entry) -> bool:
        return entry.kind is not EntryKind.FOLDER and entry.name.endswith(self._profile.suffix)

    def _named(self, entry: Entry) -> str:
        """The name to parse: of a folder of torch's distributed checkpoint, which has no suffix."""
        suffix = self._profile.suffix
        if entry.name.endswith(suffix) or self._folder.distributed_parts(entry) is None:
            return entry.name
        return f"{entry.name}{suffix}"

    def _unrounded(self, name: CheckpointName) -> CheckpointName:
        """The name with the logged reward that it tells, where a printed array has rounded it."""
        if not name.rounds or name.epoch is None or name.reward is None:
            return name
        logged = [
            entry.value
            for file in self._logs.files
            for entry in file.rewards
            if entry.step == name.epoch
        ]
        if any(same_reward(value, name.reward) for value in logged):
            return name
        rounded = (value for value in logged if is_rounding_of(name.number_text, value))
        return replace(name, reward=next(rounded, name.reward))

    # --- final saves ------------------------------------------------------------------------

    @cached_property
    def spells_finals_like_periodic(self) -> bool:
        """Whether the name of a final save may read like a periodic one's."""
        finals = {
            (template.template, form)
            for template in self._profile.templates(Kind.FINAL)
            for form in template.rewards
        }
        return any(
            (template.template, form) in finals
            for template in self._profile.templates(Kind.PERIODIC)
            for form in template.rewards
            if form is not RewardForm.MINUS_INF
        )

    def _is_last_save(self, file: CheckpointFile) -> bool:
        """Whether a file that is named like a periodic one is the final save of a session.

        So it is in dialects that spell both alike, at an end of the training that is no multiple
        of `save_freq`.
        """
        epoch, freq = file.name.epoch, self._given.save_freq.value
        if epoch is None or file.name.flaws or not self.spells_finals_like_periodic:
            return False
        if freq and epoch % freq == 0:
            return False
        lags = freq is not None and self._profile.logs_at_intervals and epoch > self._lag
        return lags or epoch in self._ends

    @cached_property
    def _lag(self) -> float:
        """The first end of a log whose writer may log at intervals: it ends before its session."""
        if not may_be_at_intervals(self._logs.files):
            return math.inf
        ends = (
            file.rewards[-1].step if file.rewards else 0
            for file in self._logs.files
            if is_sparse(file.rewards)
        )
        return min(ends, default=math.inf)

    @cached_property
    def _ends(self) -> frozenset[int]:
        """The epochs in which a session of the run may have ended."""
        limit = self._given.max_epochs.value
        logged = (file.rewards[-1].step for file in self._logs.files if file.rewards)
        if limit is None:
            return frozenset(logged)
        return frozenset({*logged, self._profile.last_epoch(limit)})

    # --- the best ---------------------------------------------------------------------------

    def best(self, due: Callable[[], AbstractSet[int]]) -> CheckpointFile | None:
        """The best checkpoint: by its name, else misplaced, else the file that can only be it.

        Args:
            due: the epochs whose periodic checkpoint is due; asked where the name does not tell.
        """
        named = [file for file in self.checkpoints if file.name.kind is Kind.BEST]
        if named:
            return min(named, key=lambda file: (file.misplaced, file.path))
        if not self._profile.has_best:
            return None
        candidates = [file for file in self.misspelled if self._can_be_best(file, due)]
        telling = [file for file in candidates if self._is_called_best(file)]
        chosen = telling or candidates
        return chosen[0] if len(chosen) == 1 else None

    def _is_called_best(self, file: CheckpointFile) -> bool:
        stem = file.entry.name.rpartition(".")[0].casefold()
        own = self._given.name.casefold()
        return "best" in stem or stem == own

    def _can_be_best(self, file: CheckpointFile, due: Callable[[], AbstractSet[int]]) -> bool:
        """Whether a misspelled file may be the best and no periodic checkpoint."""
        if self._is_called_best(file):
            return True
        stem = file.entry.name.casefold()
        if stem.startswith("last") or file.name.epoch is not None:
            return False
        taken = {epoch for other in self.periodic for epoch in other.epochs}
        return file.epoch is None or file.epoch not in due() - taken


def _is_checkpoint(entry: Entry, name: CheckpointName) -> bool:
    if name.kind is not None or has_checkpoint_suffix(entry.name):
        return True
    # See decisions.md: "A temporary name is LAYOUT-003 even if the file holds a whole checkpoint"
    if entry.kind is not EntryKind.FILE or is_temporary(entry.name):
        return False
    return looks_like_checkpoint(entry.path)


def _may_lack_episodes(logs: list[dict[int, float]], epoch: int) -> bool:
    """Whether a log has no reward for the epoch yet, and none has -inf for it."""
    return all(rewards.get(epoch) != -math.inf for rewards in logs) and (
        not logs or any(min(rewards, default=epoch + 1) > epoch for rewards in logs)
    )
