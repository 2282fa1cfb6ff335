"""The event files of a run, where the profile has them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.names import (
    folder_of_event_files,
    holds_event_files,
    summarised_name,
)
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import Entry, RunFolder
    from conformance.evidence.summaries import EventFile
    from conformance.run.files import Readings
    from conformance.run.settings import Given


class Logs:
    """The event files of a run, each read on demand and once."""

    def __init__(
        self, folder: RunFolder, profile: Profile, given: Given, readings: Readings
    ) -> None:
        self._folder = folder
        self._profile = profile
        self._given = given
        self._readings = readings

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The event files that stand in `summaries/`, or what the profile calls it.

        Where the folders tell whose they are, those of other runs are left out.
        """
        found = tuple(
            entry
            for entry in self._folder.entries
            if is_event_file_name(entry.name)
            and entry.kind is not EntryKind.FOLDER
            and holds_event_files(self._profile, entry.folder)
        )
        others = self._given.beside
        return tuple(
            entry for entry in found if summarised_name(self._profile, entry.folder) not in others
        )

    @property
    def place(self) -> str:
        """Where they should stand, for people: `summaries/`, or `runs/Ant_*/`."""
        folder = folder_of_event_files(self._profile, self._given.name)
        return f"{folder}/" if folder else "the run's own folder"

    @property
    def path(self) -> str:
        """The folder that they stand in, or should: a path from the run's."""
        if self.entries:
            return self.entries[0].folder
        known, field, _ = self._profile.summaries.partition("{")
        return known.rpartition("/")[0] if field else known

    @cached_property
    def files(self) -> tuple[EventFile, ...]:
        """What they hold, in the same order."""
        profile = self._profile
        return tuple(
            self._readings.log(entry, profile.reward_tag, profile.epoch_tag)
            for entry in self.entries
        )
