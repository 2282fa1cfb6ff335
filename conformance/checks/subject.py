"""One run as the checks see it: its files by role, their contents, its settings and its history."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from conformance.checks.driven import played_history
from conformance.checks.files import CheckpointFile, Readings, is_temporary
from conformance.checks.history import Expectation, History, Problem, build_history, expect
from conformance.checks.inference import infer_save_freq, step_shift
from conformance.checks.writes import Order, order
from conformance.convention.names import (
    CheckpointName,
    Flaw,
    has_checkpoint_suffix,
    holds_event_files,
    parse_name,
    run_name_of,
    summarised_name,
)
from conformance.convention.oracle import Epoch, Settings, first_best_epoch
from conformance.convention.profile import Kind, Profile, RewardForm
from conformance.convention.rewards import as_float32, is_rounding_of, same_reward
from conformance.convention.strays import stray
from conformance.evidence.checkpoint import FaultKind, looks_like_checkpoint
from conformance.evidence.config import RunConfig, read_config
from conformance.evidence.runs import Entry, EntryKind, RunFolder
from conformance.evidence.summaries import EPOCH_COUNT, EventFile, is_event_file_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.checks.driven import DrivenSession


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller said of the run; None where the run's own evidence decides."""

    name: str | None = None
    save_freq: int | None = None
    max_epochs: int | None = None
    save_best_after: int | None = None
    model: Callable[[], Any] | None = None


def model_builder(model: Any) -> Callable[[], Any] | None:  # noqa: ANN401 - a torch.nn.Module
    """Return what makes the model that was given: a module is callable too, and makes none.

    Raises:
        TypeError: it is neither.
    """
    if model is None:
        return None
    if hasattr(model, "load_state_dict") and not isinstance(model, type):
        return lambda: model
    if not callable(model):
        raise TypeError(
            f"model: a torch.nn.Module, or a callable that returns one, not {type(model).__name__}"
        )
    made: Callable[[], Any] = model
    return made


@dataclass(frozen=True, slots=True)
class Known:
    """A setting with where it comes from; `value` None: not known."""

    value: int | None
    source: str


class Subject:
    """One run under audit: everything a check may ask for, read on demand and once.

    `driven` holds what is known of its sessions where the harness had them played; empty where
    only the files speak.
    """

    def __init__(
        self,
        folder: RunFolder,
        profile: Profile,
        options: Options,
        driven: tuple[DrivenSession, ...] = (),
        *,
        readings: Readings | None = None,
    ) -> None:
        self.folder = folder
        self.profile = profile
        self.options = options
        self.driven = driven
        self.kept: dict[object, object] = {}  # by `once`
        self._readings = readings or Readings()

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the evidence and no rule judges: one line each."""
        config = () if self.config is None else self.config.problems
        unread = (
            f"{file.path!a}: {fault.message}"
            for file in self.checkpoints
            if file.contents is not None
            for fault in file.contents.faults
            if fault.kind is FaultKind.UNREADABLE
        )
        logs = (
            f"{file.path.name!a}: {file.problem}" for file in self.event_files if file.unreadable
        )
        links = (
            f"{entry.relative!a} is a link that leads nowhere"
            for entry in self.folder.entries
            if entry.relative in (self.profile.checkpoints, self.profile.summaries)
            and entry.kind is EntryKind.BROKEN_LINK
        )
        return (*(f"{self.config_name}: {problem}" for problem in config), *unread, *logs, *links)

    # --- settings ---------------------------------------------------------------------------

    @cached_property
    def config(self) -> RunConfig | None:
        """The run's config file, where it has one."""
        return None if self._config_entry is None else read_config(self._config_entry.path)

    @property
    def config_name(self) -> str:
        """The path of the config file inside the run; empty where it has none."""
        return "" if self._config_entry is None else self._config_entry.relative

    @cached_property
    def _config_entry(self) -> Entry | None:
        entries = {entry.relative: entry for entry in self.folder.entries}
        return next((entries[path] for path in self.profile.config if path in entries), None)

    @cached_property
    def run_name(self) -> tuple[str, str]:
        """The run's name and where it comes from."""
        if self.options.name is not None:
            return self.options.name, "--name"
        if self.config is not None and self.config.name is not None:
            return self.config.name, self.config_name
        experiment = self.folder.experiment
        told = run_name_of(self.profile, self.folder.path.as_posix())
        if told is not None and told != experiment:
            if "{name}" not in self.profile.experiments:
                return told, "the path of the run's folder"
            if self._writes_under(told):
                return told, "the folder's name without its time stamp"
        summarised = {
            summarised_name(self.profile, entry.folder)
            for entry in self.folder.entries
            if is_event_file_name(entry.name)
        } - {None}
        for name in sorted(filter(None, summarised)):
            if len(summarised) == 1 or self._writes_under(name):
                return name, "the name of the folder of its event files"
        return experiment, "the folder's name"

    def _writes_under(self, name: str) -> bool:
        """Whether a checkpoint's name is the profile's for a run that is called so."""
        return any(
            parsed.kind is not None and not parsed.flaws
            for entry in self.folder.at(self.profile.checkpoints)
            for parsed in (parse_name(self.profile, name, entry.name),)
        )

    @property
    def name(self) -> str:
        """The run's name, as its checkpoints should carry it."""
        return self.run_name[0]

    def _setting(self, key: str) -> Known:
        option = getattr(self.options, key)
        if option is not None:
            return Known(option, "the scenario" if self.driven else "--" + key.replace("_", "-"))
        configured = None if self.config is None else getattr(self.config, key)
        if configured is not None:
            return Known(configured, self.config_name)
        return Known(None, "not known")

    @cached_property
    def save_freq(self) -> Known:
        """`save_freq` from the options, the config, or what explains the files best."""
        known = self._setting("save_freq")
        if known.value is not None:
            return known
        inferred = infer_save_freq(
            {file.name.epoch for file in self.periodic if file.name.epoch},
            self.history.last_epoch,
        )
        if inferred is None:
            return known
        return Known(inferred, "the names of the periodic checkpoints")

    @cached_property
    def max_epochs(self) -> Known:
        """`max_epochs` from the options or the config."""
        return self._setting("max_epochs")

    @cached_property
    def save_best_after(self) -> Known:
        """`save_best_after` from the options, the config, or watermarks older than the default."""
        known = self._setting("save_best_after")
        if known.value is not None or not self.profile.has_save_best_after:
            return known
        stored = {file.watermark for file in self.readable if file.watermark is not None}
        moved = [
            epoch
            for session in self.history.sessions
            for epoch, reward in session.rewards.items()
            if any(same_reward(reward, watermark) for watermark in stored)
        ]
        if moved and min(moved) < self.profile.default_save_best_after:
            return Known(min(moved), "the stored watermarks")
        if "last_mean_rewards" in self.profile.absent_keys:
            bests = [file.epoch for file in self.readable if file.name.kind is Kind.BEST]
            early = [epoch for epoch in bests if epoch is not None]
            if early and min(early) < self.profile.default_save_best_after:
                return Known(min(early), "the best checkpoint's epoch")
        return known

    @cached_property
    def settings(self) -> Settings:
        """The settings for the oracle, without what is inferred from the files judged."""
        return Settings(
            self.name,
            self._setting("save_freq").value,
            self.max_epochs.value,
            self.save_best_after.value,
        )

    # --- files ------------------------------------------------------------------------------

    @cached_property
    def _sorted(self) -> tuple[tuple[CheckpointFile, ...], tuple[Entry, ...]]:
        """The run's checkpoints, and the entries in `nn/` that are none."""
        checkpoints, foreign = [], []
        for entry in self.folder.entries:
            direct = entry.folder == self.profile.checkpoints
            if not direct and not self._is_misplaced(entry):
                continue
            name = self._unrounded(parse_name(self.profile, self.name, self._named(entry)))
            if name.kind is None and stray(entry.name) is not None:
                foreign += [entry] if direct else []
                continue
            if direct and not self._is_checkpoint(entry, name):
                foreign.append(entry)
                continue
            checkpoints.append(
                CheckpointFile(
                    entry, name, self.profile, misplaced=not direct, readings=self._readings
                )
            )
        return tuple(checkpoints), tuple(foreign)

    def _named(self, entry: Entry) -> str:
        """The name to parse: of a folder of torch's distributed checkpoint, which has no suffix."""
        suffix = self.profile.suffix
        if entry.name.endswith(suffix) or self.folder.distributed_parts(entry) is None:
            return entry.name
        return f"{entry.name}{suffix}"

    def _unrounded(self, name: CheckpointName) -> CheckpointName:
        """The name with the logged reward that it tells, where a printed array has rounded it."""
        if not name.rounds or name.epoch is None or name.reward is None:
            return name
        logged = [
            entry.value
            for file in self.event_files
            for entry in file.rewards
            if entry.step == name.epoch
        ]
        if any(same_reward(value, name.reward) for value in logged):
            return name
        rounded = (value for value in logged if is_rounding_of(name.number_text, value))
        return replace(name, reward=next(rounded, name.reward))

    def _is_misplaced(self, entry: Entry) -> bool:
        return entry.kind is not EntryKind.FOLDER and entry.name.endswith(self.profile.suffix)

    def _is_checkpoint(self, entry: Entry, name: CheckpointName) -> bool:
        if name.kind is not None or has_checkpoint_suffix(entry.name):
            return True
        if entry.kind is not EntryKind.FILE or is_temporary(entry.name):
            return False
        return looks_like_checkpoint(entry.path)

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
        """The checkpoints whose bytes can be believed."""
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

    def _is_last_save(self, file: CheckpointFile) -> bool:
        """Whether a file that is named like a periodic one is the final save of a session.

        So it is in dialects that spell both alike, at an end of the training that is no multiple
        of `save_freq`.
        """
        epoch, freq = file.name.epoch, self._setting("save_freq").value
        if epoch is None or file.name.flaws or not self.spells_finals_like_periodic:
            return False
        return bool(freq is None or freq == 0 or epoch % freq) and epoch in self._ends

    @cached_property
    def spells_finals_like_periodic(self) -> bool:
        """Whether the name of a final save may read like a periodic one's."""
        finals = {
            (template.template, form)
            for template in self.profile.templates(Kind.FINAL)
            for form in template.rewards
        }
        return any(
            (template.template, form) in finals
            for template in self.profile.templates(Kind.PERIODIC)
            for form in template.rewards
            if form is not RewardForm.MINUS_INF
        )

    @cached_property
    def _ends(self) -> frozenset[int]:
        """The epochs in which a session of the run may have ended."""
        limit = self.max_epochs.value
        logged = (file.rewards[-1].step for file in self.event_files if file.rewards)
        if limit is None:
            return frozenset(logged)
        return frozenset({*logged, self.profile.last_epoch(limit)})

    @cached_property
    def unrewarded(self) -> tuple[CheckpointFile, ...]:
        """The checkpoints of epochs in which no episode had finished yet, where some are written.

        Their names end in `-inf`, as a periodic one's may: only the rewards tell them apart.
        """
        if not self.profile.unrewarded:
            return ()
        if self.driven and all(session.rewards is not None for session in self.driven):
            logs = [dict(session.rewards or {}) for session in self.driven]
        else:
            logs = [
                {entry.step: entry.value for entry in file.rewards} for file in self.event_files
            ]
        return tuple(
            file
            for file in self.checkpoints
            if file.name.reward == -math.inf
            and file.name.epoch is not None
            and _may_lack_episodes(logs, file.name.epoch)
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
    def best(self) -> CheckpointFile | None:
        """The best checkpoint: by its name, else misplaced, else the file that can only be it."""
        named = [file for file in self.checkpoints if file.name.kind is Kind.BEST]
        if named:
            return min(named, key=lambda file: (file.misplaced, file.path))
        if not self.profile.has_best:
            return None
        candidates = [file for file in self.misspelled if self._can_be_best(file)]
        telling = [file for file in candidates if self._is_called_best(file)]
        chosen = telling or candidates
        return chosen[0] if len(chosen) == 1 else None

    def _is_called_best(self, file: CheckpointFile) -> bool:
        stem = file.entry.name.rpartition(".")[0].casefold()
        own = self.name.casefold()
        return "best" in stem or stem == own

    def _can_be_best(self, file: CheckpointFile) -> bool:
        """Whether a misspelled file may be the best and no periodic checkpoint."""
        if self._is_called_best(file):
            return True
        stem = file.entry.name.casefold()
        if stem.startswith("last") or file.name.epoch is not None:
            return False
        taken = {epoch for other in self.periodic for epoch in other.epochs}
        return file.epoch is None or file.epoch not in self.due_epochs - taken

    @cached_property
    def has_unlogged_session(self) -> bool:
        """Whether the best was written by a session that left no log.

        So it is in a folder of several sessions if none of them logged the stored reward at the
        stored epoch, and the epoch is none that the best should hold.
        """
        best, history = self.best, self.history
        if history.played or best is None or best.epoch is None or best.watermark is None:
            return False
        epoch, watermark = best.epoch, best.watermark
        expected = [written for written in self.expectation.bests if written is not None]
        limit = self.max_epochs.value
        hidden = self.expectation.hides(history, epoch, watermark, best=True)
        if hidden and (limit is None or epoch <= limit):
            return not any(
                written.epoch == epoch and same_reward(written.reward, watermark)
                for written in expected
            ) and not any(same_reward(reward, watermark) for reward in history.rewards_at(epoch))
        if len(history.sessions) < 2 or any(written.epoch == epoch for written in expected):
            return False
        return not any(
            same_reward(reward, watermark)
            for session in history.sessions
            for reward in session.rewards.values()
        )

    @cached_property
    def was_killed_unlogged(self) -> bool:
        """Whether the event files hold no reward since no session lived long enough to flush one.

        So it may be while no checkpoint is of the training's last epoch. One record may have been
        flushed without what followed it. And a log may count epochs before the first episode has
        finished; behind a checkpoint it would hold that one's reward.
        """
        limit, files = self.max_epochs.value, self.event_files
        if self.driven or limit is None or not files:
            return False
        # The first record names the format; each other one, where it alone is logged, an epoch.
        if any(f.rewards or (f.tags - {EPOCH_COUNT} and f.records > 2) for f in files):
            return False
        saved = [file.epoch for file in self.readable if file.epoch is not None]
        counted = max((file.first_epoch or 1) + file.records - 2 for file in files)
        one_logged_on = len(files) == 1 and min(saved, default=counted) < counted
        return max(saved, default=0) < limit and not one_logged_on

    @cached_property
    def starts_before_the_log(self) -> bool:
        """Whether checkpoints are older than the first log: event files are missing."""
        if self.history.played:
            return False
        first = self.history.sessions[0].first
        return first > 1 and any(epoch < first for file in self.periodic for epoch in file.epochs)

    @cached_property
    def log_is_contradicted(self) -> bool:
        """Whether periodic names contradict the log (SUMMARY-002's matter)."""
        return any(
            file.name.reward is not None
            and file.name.epoch is not None
            and not file.name.flaws
            and self.history.covers(file.name.epoch)
            and not any(
                same_reward(reward, file.name.reward)
                for epoch in file.epochs
                for reward in self.history.rewards_at(epoch)
            )
            for file in self.periodic
        )

    @cached_property
    def unlogged_end(self) -> CheckpointFile | None:
        """A checkpoint of the training's last epoch, where the log of a whole session stops short.

        A killed session's log lags; one that reached its last epoch and saved it was not killed.
        """
        limit, last = self.max_epochs.value, self.history.last_epoch or 0
        if limit is None or last >= limit or self.history.played:
            return None
        if any(file.torn for file in self.event_files):
            return None
        return next(
            (
                file
                for file in self.readable
                if file.epoch == limit
                and file.name.epoch in (None, limit)
                and file not in self.unrewarded
            ),
            None,
        )

    @cached_property
    def sessions_are_unclear(self) -> bool:
        """Whether a log that stops short leaves open which of several sessions logged what."""
        return len(self.history.sessions) > 1 and self.unlogged_end is not None

    @cached_property
    def due_epochs(self) -> frozenset[int]:
        """The epochs whose periodic checkpoint the logs prove due."""
        return frozenset(
            at.epoch
            for timeline in self.expectation.timelines
            for at in timeline.surely_periodic(self.profile, self.settings.save_freq)
        )

    @cached_property
    def lower_watermarks(self) -> tuple[float, ...]:
        """What the last driven session started from, had it lost the watermark on its resume.

        The initial watermark, and each earlier reward below the one that it should keep.
        """
        timelines = self.expectation.timelines
        if not self.driven or not timelines or not self.profile.resume_keeps_watermark:
            return ()
        session = timelines[-1].session
        kept = None if session.known is None else session.known.watermark
        if kept is None:
            return ()
        earlier = {
            as_float32(reward)
            for other in self.history.sessions[:-1]
            for reward in other.rewards.values()
        }
        lower = {value for value in (*self.profile.initial_watermarks, *earlier) if value < kept}
        return tuple(sorted(lower))

    @cached_property
    def readings_from_lower(self) -> tuple[tuple[Epoch, ...], ...]:
        """The epochs of that session, from each of these watermarks."""
        lower = self.lower_watermarks
        return replace(self.expectation.timelines[-1], starts=lower).readings if lower else ()

    @cached_property
    def order(self) -> Order:
        """What the journal of the last driven session says of the order of its writes."""
        return order(self)

    # --- event files ------------------------------------------------------------------------

    @cached_property
    def event_entries(self) -> tuple[Entry, ...]:
        """The event files that stand in `summaries/`, or what the profile calls it."""
        return tuple(
            entry
            for entry in self.folder.entries
            if is_event_file_name(entry.name)
            and entry.kind is not EntryKind.FOLDER
            and holds_event_files(self.profile, entry.folder)
        )

    @cached_property
    def event_files(self) -> tuple[EventFile, ...]:
        """The event files, read."""
        profile = self.profile
        return tuple(
            self._readings.log(entry, profile.reward_tag, profile.epoch_tag)
            for entry in self.event_entries
        )

    @cached_property
    def history(self) -> History:
        """The sessions: as they were played, where the trainer was driven, else as logged."""
        if self.driven:
            return played_history(self.driven, self.checkpoints)
        return self.logged

    @cached_property
    def logged(self) -> History:
        """The sessions that the event files show."""
        history = build_history(self.event_files)
        # A session without a log may have saved what only seems to be logged late or early.
        complete = history.usable and history.count == len(history.sessions)
        shift = step_shift(history, self._rewards_told) if complete else 0
        if not shift:
            return history
        problem = Problem(
            f"{self.profile.reward_tag} is logged {abs(shift)} step"
            f" {'late' if shift > 0 else 'early'}: each checkpoint's reward stands at the step of"
            f" its epoch {shift:+d}",
            "step",
            {"shift": shift},
        )
        return replace(history, problems=(problem,))

    @property
    def _rewards_told(self) -> tuple[tuple[int, float], ...]:
        """What the checkpoints themselves say of epochs and rewards; the best's own last."""
        named = [
            (file.name.epoch, file.name.reward)
            for file in self.periodic
            if file.name.epoch is not None and file.name.reward is not None and not file.name.flaws
        ]
        stored = [
            (file.epoch, file.watermark)
            for file in self.readable
            if file.name.kind is Kind.BEST and file.epoch is not None and file.watermark is not None
        ]
        return (*named, *stored[:1]) if named and stored else ()

    @cached_property
    def _stored_watermarks(self) -> tuple[tuple[int, float], ...]:
        """The watermarks that a session may have found, with the epochs of their checkpoints."""
        stored = [
            (file.epoch, file.watermark)
            for file in self.readable
            if file.epoch is not None and file.watermark is not None
        ]
        if self.profile.resume_takes_stored:
            return tuple(stored)
        # A periodic checkpoint at a new best may store the watermark from before it.
        first = first_best_epoch(self.profile, self.settings)
        named = (
            (file.epoch, file.name.reward)
            for file in self.periodic
            if file.epoch is not None and file.epoch >= first and file.name.reward is not None
        )
        return (*stored, *named)

    @cached_property
    def expectation(self) -> Expectation:
        """What the oracle makes of the history: the best as it should be, and the watermarks."""
        return expect(self.profile, self.settings, self.history, stored=self._stored_watermarks)

    @cached_property
    def expectation_if_reset(self) -> Expectation:
        """The same, had each resumed session lost the watermark."""
        return expect(self.profile, self.settings, self.history, resume_resets=True)


def _may_lack_episodes(logs: list[dict[int, float]], epoch: int) -> bool:
    """Whether a log has no reward for the epoch yet, and none has -inf for it."""
    return all(rewards.get(epoch) != -math.inf for rewards in logs) and (
        not logs or any(min(rewards, default=epoch + 1) > epoch for rewards in logs)
    )
