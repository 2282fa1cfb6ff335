"""Which built-in profiles spell a run's names, in the layout that its folders have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.convention.names import has_checkpoint_suffix, parse_name
from conformance.convention.profile import (
    DEFAULT_PROFILE,
    Kind,
    builtin_layouts,
    builtin_profiles,
    load_profile,
)
from conformance.run.once import once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.convention.names import CheckpointName
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import RunFolder
    from conformance.run.subject import Subject

# What many dialects call alike: by the run's name, and nothing else.
_PLAIN = (Kind.BEST, Kind.LATEST)


def layout_of(folder: RunFolder) -> str:
    """The layout that the run's folders have, as a suffix of a profile's name."""
    present = {entry.relative for entry in folder.entries}
    default = load_profile()
    for layout in builtin_layouts():
        config = load_profile(f"{DEFAULT_PROFILE}+{layout}").config
        if present.intersection(config) and not present.intersection(default.config):
            return f"+{layout}"
    return ""


def profiles_in(layout: str) -> tuple[Profile, ...]:
    """The built-in profiles in a layout of folders (`layout_of`), the default first."""
    return tuple(load_profile(name + layout) for name in builtin_profiles())


@once
def checkpoint_names(subject: Subject) -> frozenset[str]:
    """The names that end as checkpoints' do, in the profile's folder; hidden ones are nobody's."""
    return frozenset(
        entry.name
        for entry in subject.folder.at(subject.profile.checkpoints)
        if has_checkpoint_suffix(entry.name) and not entry.name.startswith(".")
    )


@once
def spelled(subject: Subject) -> Mapping[str, CheckpointName]:
    """The names of checkpoints that are the profile's, without a flaw, with what each says."""
    parsed = (
        parse_name(subject.profile, subject.given.name, name) for name in checkpoint_names(subject)
    )
    return {name.text: name for name in parsed if name.kind is not None and not name.flaws}


def own_tags(profile: Profile) -> frozenset[str]:
    """The tags that tell the dialect; what SAC logs the others log too."""
    own = () if profile.epoch_tag else (profile.reward_tag,)
    return frozenset((*own, *profile.logged_tags))


@once
def of_other_dialects(subject: Subject) -> tuple[Subject, ...]:
    """The run under each profile that spells all its names, where its own spells none of them.

    A best is called alike in many dialects and tells nothing. A profile is none of these where
    the event files lack its tags, or the checkpoints hold what it does not store or lack what it
    does: a trainer of the run's own dialect may have a defect in its names alone.
    """
    names = checkpoint_names(subject)
    own = spelled(subject)
    if subject.driven or own.keys() == names or any(n.kind not in _PLAIN for n in own.values()):
        return ()
    others = (subject.under(profile) for profile in profiles_in(layout_of(subject.folder)))
    found = tuple(
        other
        for other in others
        if other.profile.name != subject.profile.name
        and _spells_all(other, names)
        and _logs_its_tags(other)
        and _stores_its_keys(other)
    )
    return tuple(other for other in found if logs_no_other_tags(other)) or found


def logs_no_other_tags(subject: Subject) -> bool:
    """Whether the event files log the tags that tell the dialect, and those of no other one."""
    logged = {tag for file in subject.logs.files for tag in file.tags}
    telling = frozenset[str]().union(*map(own_tags, profiles_in("")))
    return own_tags(subject.profile) == logged & telling and subject.profile.reward_tag in logged


def _spells_all(subject: Subject, names: frozenset[str]) -> bool:
    found = spelled(subject)
    return found.keys() >= names and any(name.kind not in _PLAIN for name in found.values())


def _logs_its_tags(subject: Subject) -> bool:
    logged = {tag for file in subject.logs.files for tag in file.tags}
    return not logged or own_tags(subject.profile) <= logged


def _stores_its_keys(subject: Subject) -> bool:
    profile = subject.profile
    stored = [file.values for file in subject.files.readable if file.values is not None]
    return all(
        profile.absent_keys.isdisjoint(values) and values.keys() >= set(profile.models)
        for values in stored
    )
