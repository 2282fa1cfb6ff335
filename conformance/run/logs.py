"""The event files of a run, where the profile has them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from conformance.convention.names import holds_event_files
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import Entry, RunFolder
    from conformance.evidence.summaries import EventFile
    from conformance.run.files import Readings


class Logs:
    """The event files of a run, each read on demand and once."""

    def __init__(self, folder: RunFolder, profile: Profile, readings: Readings) -> None:
        self._folder = folder
        self._profile = profile
        self._readings = readings

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The event files that stand in `summaries/`, or what the profile calls it."""
        return tuple(
            entry
            for entry in self._folder.entries
            if is_event_file_name(entry.name)
            and entry.kind is not EntryKind.FOLDER
            and holds_event_files(self._profile, entry.folder)
        )

    @cached_property
    def files(self) -> tuple[EventFile, ...]:
        """What they hold, in the same order."""
        profile = self._profile
        return tuple(
            self._readings.log(entry, profile.reward_tag, profile.epoch_tag)
            for entry in self.entries
        )
