"""Which dialect a run is written in: by its names, its logs and its contents, and how surely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from conformance.checks import audit
from conformance.convention.profile import DEFAULT_PROFILE, Kind, load_profile
from conformance.convention.rules import RULES, Place, Verdict
from conformance.evidence.summaries import is_event_file_name
from conformance.run.dialects import (
    checkpoint_names,
    layout_of,
    logs_no_other_tags,
    own_tags,
    profiles_in,
    spelled,
)
from conformance.run.files import Readings
from conformance.run.settings import Options
from conformance.run.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from conformance.checks.finding import Finding
    from conformance.convention.profile import Profile
    from conformance.evidence.runs import RunFolder

AUTO = "auto"
"""What a user says instead of a profile's name to have it chosen."""

_MOST_SHOWN = 3


class Certainty(str, Enum):
    """How sure a choice is."""

    CERTAIN = "certain"  # only this profile has these names and logs
    LIKELY = "likely"  # others have them too, and what lies there contradicts them
    OPEN = "open"  # others fit as well


@dataclass(frozen=True, slots=True)
class Choice:
    """The profile that a run is to be held against.

    Attributes:
        profile: the one that fits best; of several the default, else the strictest.
        certainty: how sure that is.
        reasons: what decided, a phrase each.
        equals: the names of the others that fit as well.
        mixture: the names of profiles that only together spell all checkpoints in the run.
    """

    profile: Profile
    certainty: Certainty
    reasons: tuple[str, ...]
    equals: tuple[str, ...] = ()
    mixture: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """What decided and how sure it is, in one line."""
        parts = [f"{self.certainty.value}: {'; '.join(self.reasons)}"]
        if self.equals:
            fit = "fit" if len(self.equals) > 1 else "fits"
            parts.append(f"{', '.join(self.equals)} {fit} equally well; {self._rank} is used")
        if self.mixture:
            parts.append(f"a mixture: names of {' and of '.join(self.mixture)} stand side by side")
        return "; ".join(parts)

    @property
    def _rank(self) -> str:
        if self.profile.name.partition("+")[0] == DEFAULT_PROFILE:
            return "the default"
        others = [_leniency(load_profile(name)) for name in self.equals]
        if _leniency(self.profile) < min(others):
            return "the strictest"
        return "the first of equally strict ones"


def choose(
    folder: RunFolder, options: Options | None = None, readings: Readings | None = None
) -> Choice:
    """Choose the built-in profile that a run is written in.

    First the names, then where the event files stand, then the tags in them, and last a trial: the
    run is held against each profile that is left, and the one that it contradicts the least is
    chosen.

    Args:
        folder: the run, as `scan_run` lists it.
        options: what the caller knows of it.
        readings: keeps what is read of its files, for who judges it next.
    """
    known = options or Options()
    layout = layout_of(folder)
    reasons = [f"{load_profile(DEFAULT_PROFILE + layout).config[0]} stands there"] if layout else []
    readings = readings or Readings(profiles_in(layout))
    subjects = {
        profile.name: Subject(folder, profile, known, readings=readings)
        for profile in profiles_in(layout)
    }
    spelt = {name: frozenset(spelled(subject)) for name, subject in subjects.items()}
    most = max(map(len, spelt.values()))
    all_names = frozenset[str]().union(*map(checkpoint_names, subjects.values()))
    left: Mapping[str, Subject] = {
        name: subjects[name] for name, files in spelt.items() if len(files) == most
    }
    if not most:
        what = "no profile spells names as here" if all_names else "there is no checkpoint"
        reasons.append(what)
    elif len(left) < len(subjects):
        reasons.append(f"{most} of {len(all_names)} name(s) are spelled so")
    logging = {name: subject for name, subject in left.items() if subject.logs.entries}
    if 0 < len(logging) < len(left):
        reasons.append(f"the event files stand in {next(iter(logging.values())).logs.place}")
        left = logging
    fitting = _fitting_tags(left)
    if len(fitting) < len(left):
        reasons.append(f"the event files log {_first_tags(_own_tags(fitting))}")
        left = fitting
    if len(left) == 1:
        (subject,) = left.values()
        whole = bool(most) and most == len(all_names)
        certainty = Certainty.CERTAIN if whole else Certainty.LIKELY
        choice = Choice(subject.profile, certainty, tuple(reasons))
    else:
        choice = _tried(left, reasons, readings)
    return replace(choice, mixture=_mixture(spelt, choice.profile.name, all_names))


def settled(choices: Mapping[Path, Choice]) -> dict[Path, Choice]:
    """The choices for the runs of one search, where neighbours in a root inform each other.

    A run that is open is what the runs beside it are for certain, where that fits it as well as
    what was chosen, and where they are all of one such profile: one trainer wrote the root.
    """
    certain: dict[Path, dict[str, Path]] = {}
    for path, choice in choices.items():
        if choice.certainty is Certainty.CERTAIN:
            certain.setdefault(path.parent, {}).setdefault(choice.profile.name, path)
    return {
        path: _settled(choice, certain.get(path.parent, {})) for path, choice in choices.items()
    }


def _settled(choice: Choice, certain: Mapping[str, Path]) -> Choice:
    fitting = [name for name in (choice.profile.name, *choice.equals) if name in certain]
    if choice.certainty is not Certainty.OPEN or len(fitting) != 1:
        return choice
    (name,) = fitting
    reason = f"{certain[name].name!a} beside it is {name} for certain"
    return replace(
        choice,
        profile=load_profile(name),
        certainty=Certainty.LIKELY,
        reasons=(*choice.reasons, reason),
        equals=(),
    )


def _tried(left: Mapping[str, Subject], reasons: list[str], readings: Readings) -> Choice:
    """The profile that the run contradicts the least."""
    against = {name: _against(subject, readings) for name, subject in left.items()}
    weights = {name: sum(found.values()) for name, found in against.items()}
    least = min(weights.values())
    fits = [name for name in left if weights[name] == least]
    chosen = min(fits, key=lambda name: _leniency(left[name].profile))
    beaten = sorted((name for name in left if name not in fits), key=weights.__getitem__)
    reasons += [
        f"{_first_difference(against[name], against[chosen])} speaks against {name}"
        for name in beaten[:_MOST_SHOWN]
    ]
    if not reasons:
        reasons.append("nothing in it tells dialects apart")
    equals = tuple(name for name in fits if name != chosen)
    certainty = Certainty.OPEN if equals else Certainty.LIKELY
    return Choice(left[chosen].profile, certainty, tuple(reasons), equals)


def _first_difference(against: Mapping[str, int], chosen: Mapping[str, int]) -> str:
    """What speaks against one profile more than against the chosen one."""
    return next(what for what, size in against.items() if size > chosen.get(what, 0))


# --- names ----------------------------------------------------------------------------------


def _mixture(
    spelled: Mapping[str, frozenset[str]], first: str, names: frozenset[str]
) -> tuple[str, ...]:
    """The profiles that together spell what the chosen one does not alone; empty where none do."""
    found, rest = [first], names - spelled[first]
    while rest:
        name = max(spelled, key=lambda other: len(spelled[other] & rest))
        if not spelled[name] & rest:
            break
        found.append(name)
        rest -= spelled[name]
    return tuple(found) if len(found) > 1 and spelled[first] else ()


# --- event files ----------------------------------------------------------------------------


def _own_tags(subjects: Mapping[str, Subject]) -> list[str]:
    tags = {tag for subject in subjects.values() for tag in own_tags(subject.profile)}
    return sorted(tags or {subject.profile.reward_tag for subject in subjects.values()})


def _fitting_tags(left: Mapping[str, Subject]) -> Mapping[str, Subject]:
    """The profiles whose tags, and no other profile's, are logged; all where none is so."""
    fitting = {name: subject for name, subject in left.items() if logs_no_other_tags(subject)}
    return fitting or left


# --- the trial ------------------------------------------------------------------------------


def _against(subject: Subject, readings: Readings) -> dict[str, int]:
    """What speaks against a profile: each rule with how many files or epochs break it."""
    logs = any(is_event_file_name(entry.name) for entry in subject.folder.entries)
    # That there is no log tells nothing, though some dialects keep it elsewhere.
    selected = frozenset(
        rule.id
        for rule in RULES
        if rule.tells_dialect and (logs or rule.lists is not Place.SUMMARIES)
    )
    report = audit(
        subject.folder, subject.profile, subject.options, selected=selected, readings=readings
    )
    found = {
        finding.rule: _size(finding)
        for finding in report.findings
        if finding.verdict is Verdict.FAIL
    }
    stored = sum(
        key in (file.values or {})
        for file in subject.files.readable
        for key in subject.profile.absent_keys
    )
    if stored:
        found["what the checkpoints store"] = stored
    finals = _wrong_finals(subject)
    if finals:
        found["its final save"] = finals
    return found


def _size(finding: Finding) -> int:
    epochs = finding.evidence.get("epochs")
    counted = len(epochs) if isinstance(epochs, (list, dict)) else 0
    return max(1, len(finding.paths), counted)


def _wrong_finals(subject: Subject) -> int:
    """How many final saves stand where the profile has none, or lack where it has one."""
    profile, limit = subject.profile, subject.max_epochs
    if limit is None or not profile.saves_at_end:
        return 0
    due = profile.last_epoch(limit)
    named = [file.name for file in subject.files.checkpoints if not file.name.flaws]
    finals = {name.epoch for name in named if name.kind is Kind.FINAL} - {None}
    wrong = int(bool(finals) and due not in finals)
    last = max((file.rewards[-1].step for file in subject.logs.files if file.rewards), default=0)
    tells = any("{epoch}" in template.template for template in profile.templates(Kind.FINAL))
    # A dialect that spells both alike has written one file for two saves.
    if tells and last >= due and due not in {name.epoch for name in named}:
        wrong += 1
    return wrong


def _leniency(profile: Profile) -> tuple[bool, bool, bool]:
    """Orders profiles that fit alike: the default first, then the strictest."""
    return (
        profile.name.partition("+")[0] != DEFAULT_PROFILE,
        profile.legacy_guard,
        not profile.resume_keeps_watermark,
    )


def _first_tags(texts: Iterable[str]) -> str:
    listed = list(texts)
    return ", ".join(listed[:_MOST_SHOWN]) + (", ..." if len(listed) > _MOST_SHOWN else "")
