"""Where a run's files stand, in a dialect that lets checkpoints and event files stand apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conformance.convention.names import holds_event_files, named_run, run_name_of
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import RunFolder


def placed(profile: Profile, folder: RunFolder) -> Profile:
    """The profile with the folders that the run has: its own one, where files stand in that.

    rl_games up to 1.1.0 logs into `runs/<name>_<stamp>/` and saves into `nn/` of the working
    directory. So a folder may hold the event files alone, or checkpoints that somebody moved.
    """
    if not profile.apart:
        return profile
    saved = _saves_here(profile, folder)
    logs = _logs_here(profile, folder, saved=saved)
    found = replace(profile, checkpoints="") if saved else profile
    if not logs:
        return found
    own = profile.summaries.rpartition("/")[2]
    return replace(found, summaries="", experiments=(own, *profile.experiments))


def _saves_here(profile: Profile, folder: RunFolder) -> bool:
    if any(entry.relative == profile.checkpoints for entry in folder.entries):
        return False
    return any(named_run(profile, entry.name) is not None for entry in folder.at(""))


def _logs_here(profile: Profile, folder: RunFolder, *, saved: bool) -> bool:
    logs = [entry for entry in folder.entries if is_event_file_name(entry.name)]
    if any(holds_event_files(profile, entry.folder) for entry in logs):
        return False
    called = replace(profile, experiments=(profile.summaries.rpartition("/")[2],))
    named = run_name_of(called, folder.path.as_posix()) is not None
    return (saved or named) and any(not entry.folder for entry in logs)
