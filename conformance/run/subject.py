"""One run as it is judged: its parts, each worked out on demand and once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.names import has_checkpoint_suffix
from conformance.convention.oracle import Settings
from conformance.evidence.checkpoint import FaultKind
from conformance.evidence.runs import EntryKind, RunFolder
from conformance.evidence.summaries import is_event_file_name
from conformance.run.doubt import Doubt, Gaps
from conformance.run.driven import DrivenSession, played_history
from conformance.run.expectation import (
    Expectation,
    expect,
    from_lower_watermarks,
    stored_watermarks,
)
from conformance.run.files import CheckpointFile, Readings
from conformance.run.guesses import infer_save_best_after, logged_history
from conformance.run.logs import Logs
from conformance.run.order import Order, order_of_writes
from conformance.run.placement import placed
from conformance.run.roles import Roles
from conformance.run.save_freq import SaveFreq
from conformance.run.settings import Given, Options, Setting

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.run.history import History
    from conformance.run.timeline import Timeline


class Subject:
    """One run: what a judge or a view may ask for stands in one of its parts.

    Attributes:
        folder: the run, as `scan_run` lists it.
        profile: the dialect to hold it against, with the folders that the run has (`placed`).
        options: what the caller knows of it.
        driven: its sessions, where the harness had them played; empty where only the files speak.
        given: its name and settings, as they were given.
        logs: its event files.
        files: its checkpoints by role, and what else stands beside them.
        kept: by `once`.
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
        profile = placed(profile, folder)
        self.folder = folder
        self.profile = profile
        self.options = options
        self.driven = driven
        self.kept: dict[object, object] = {}
        self._readings = readings = readings or Readings()
        self.given = Given(folder, profile, options, readings, played=bool(driven))
        self.logs = Logs(folder, profile, self.given, readings)
        self.files = Roles(folder, profile, self.given, self.logs, driven, readings=readings)

    def under(self, profile: Profile) -> Subject:
        """The same run, held against another profile; what was read of its files is shared."""
        return Subject(self.folder, profile, self.options, self.driven, readings=self._readings)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the evidence and no rule judges: one line each."""
        config = () if self.given.config is None else self.given.config.problems
        unread = (
            f"{file.path!a}: {fault.message}"
            for file in self.files.checkpoints
            if file.contents is not None
            for fault in file.contents.faults
            if fault.kind is FaultKind.UNREADABLE
        )
        logs = (
            f"{file.path.name!a}: {file.problem}" for file in self.logs.files if file.unreadable
        )
        links = (
            f"{entry.relative!a} is a link that leads nowhere"
            for entry in self.folder.entries
            if entry.relative in (self.profile.checkpoints, self.profile.summaries)
            and entry.kind is EntryKind.BROKEN_LINK
        )
        named = (f"{self.given.config_name}: {problem}" for problem in config)
        beside = (
            f"{name!a} logs and saves here too; --name says which run to judge"
            for name in sorted(self.given.beside)
        )
        return (*named, *unread, *logs, *links, *beside)

    @cached_property
    def left_nothing(self) -> str:
        """How a run left no checkpoint at all; empty where it left one, or made place for some.

        Where it logged, and has an empty folder for checkpoints, it saved none: it may have failed
        to. Where the dialect keeps its logs apart, these left all that is due here.
        """
        folder = self.folder
        if (
            self.driven
            or folder.is_file
            or folder.unlisted
            or self.files.checkpoints
            or self.files.foreign
        ):
            return ""
        names = [entry.name for entry in folder.entries if entry.kind is not EntryKind.FOLDER]
        logs = any(map(is_event_file_name, names))
        placed_apart = self.files.stand_apart and bool(self.logs.entries)
        if any(map(has_checkpoint_suffix, names)) or placed_apart:
            return ""
        if logs and self._has_place_for_checkpoints:
            return ""
        if folder.twin:
            return (
                "the run left nothing: another rank of the training in"
                f" {folder.twin!a} made its empty folder"
            )
        left = ["event files"] if logs else []
        left += [] if self.given.config_name == "" else [self.given.config_name]
        return " but ".join(["the run left nothing", *filter(None, [" and ".join(left)])])

    @property
    def _has_place_for_checkpoints(self) -> bool:
        return any(entry.relative == self.profile.checkpoints for entry in self.folder.entries)

    # --- settings ---------------------------------------------------------------------------

    @cached_property
    def save_freq(self) -> SaveFreq:
        """How often it saves: as it was given, else guessed, and what is proven of each session."""
        return SaveFreq(
            self.profile,
            self.given.save_freq,
            self.files,
            self.history,
            self.expectation.timelines,
            self.doubt,
        )

    @property
    def max_epochs(self) -> int | None:
        """`max_epochs`, as it was given; None where it was not."""
        return self.given.max_epochs.value

    @cached_property
    def save_best_after(self) -> Setting:
        """`save_best_after`: as it was given, else guessed from saves before the default."""
        given = self.given.save_best_after
        if given.value is not None or not self.profile.has_save_best_after:
            return given
        return infer_save_best_after(self.profile, self.history, self.files) or given

    @cached_property
    def settings(self) -> Settings:
        """The settings for the oracle, without what is inferred from the files judged."""
        given = self.given
        return Settings(
            given.name, given.save_freq.value, self.max_epochs, self.save_best_after.value
        )

    # --- what happened ----------------------------------------------------------------------

    @cached_property
    def history(self) -> History:
        """The sessions: as they were played, where the trainer was driven, else as logged."""
        if self.driven:
            return played_history(self.driven, self.files.checkpoints)
        return logged_history(self.profile, self.logs.files, self.files)

    @cached_property
    def order(self) -> Order:
        """What the journal of the last driven session says of the order of its writes."""
        if not self.driven:
            return Order(unknown="no trainer was driven")
        return order_of_writes(
            self.profile,
            self.settings,
            self.driven[-1],
            self.history,
            self.expectation,
            lower=self.from_lower,
            best=self.best,
        )

    # --- what should have -------------------------------------------------------------------

    @cached_property
    def expectation(self) -> Expectation:
        """What the oracle makes of the history: the best as it should be, and the watermarks."""
        stored = stored_watermarks(self.profile, self.settings, self.files)
        return expect(self.profile, self.settings, self._gaps, stored=stored)

    @cached_property
    def if_reset(self) -> Expectation:
        """The same, had each resumed session lost the watermark."""
        return expect(self.profile, self.settings, self._gaps, resume_resets=True)

    @cached_property
    def if_resumed(self) -> Expectation | None:
        """The same, had each session that may have been resumed been so; None: that is settled."""
        history = self.history.had_all_been_resumed
        if history == self.history:
            return None
        gaps = self._gaps_of(history)
        stored = stored_watermarks(self.profile, self.settings, self.files)
        return expect(self.profile, self.settings, gaps, stored=stored)

    @cached_property
    def from_lower(self) -> Timeline | None:
        """The last driven session, had it lost the watermark on its resume; None: it had none."""
        return from_lower_watermarks(self.profile, self.history, self.expectation)

    @cached_property
    def best(self) -> CheckpointFile | None:
        """The best checkpoint, or the file that can only be it."""
        return self.files.best(self._due)

    def _due(self) -> frozenset[int]:
        return self.expectation.due_epochs(self.profile, self.settings.save_freq)

    # --- what the logs leave open -----------------------------------------------------------

    @cached_property
    def _gaps(self) -> Gaps:
        return self._gaps_of(self.history)

    def _gaps_of(self, history: History) -> Gaps:
        limit = self.max_epochs
        last = None if limit is None else self.profile.last_epoch(limit)
        return Gaps(history, self.given.save_freq.value, last)

    @cached_property
    def doubt(self) -> Doubt:
        """What logs that are lost or cut short may excuse."""
        expected = self.expectation
        return Doubt(
            self._gaps, expected.timelines, expected.bests, self.best, self.files, self.logs
        )
