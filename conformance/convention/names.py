"""Names of checkpoints: formats and parses them for a profile and a known run's name.

The run's name is always given, never guessed from the text: it may end in `ep12` or hold `rew3`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from conformance.convention.profile import Ending, Kind, NameTemplate, Profile, RewardForm
from conformance.convention.rewards import ELEMENT_TEXT, is_printed, reward_text

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt")
NO_STAMP = "01-00-00-00"
_EPOCH_TEXT = "[1-9][0-9]*"
_PADDED_EPOCH_TEXT = "0*[1-9][0-9]*"  # and as long as padding makes it
_PADDED = 8
_STAMP_TEXT = r"(?:0[1-9]|[12][0-9]|3[01])-(?:[01][0-9]|2[0-3])-[0-5][0-9]-[0-5][0-9]"
_DATE_TEXT = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"_(?:[01][0-9]|2[0-3])-[0-5][0-9]-[0-5][0-9]"
)
# So far the lenient parse goes: a wrong epoch or reward in an otherwise right name. A second `ep`
# belongs to a longer run's name. Where no `ep` stands before the epoch, only a number is one.
_LENIENT_EPOCH = r"(?:(?!ep)[^_=\[\]])*?"
_LENIENT_NUMBER = r"[-+]?[0-9][0-9.,]*"
_LENIENT_REWARD = r".*"
_LONGEST_EPOCH = 18
_LONGEST_REWARD = 256
# NumPy pads the elements to one width, on both sides of the point.
_ARRAY = re.compile(rf"\[ *{ELEMENT_TEXT}(?: +{ELEMENT_TEXT})* *\]")
_UNDERSCORED = re.compile(rf"_ *{ELEMENT_TEXT}(?: +{ELEMENT_TEXT})* *_")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|inf)|nan")
_LOOSE_EPOCH = re.compile(r"(?:^|[^a-z])?ep(?:och)?[_=\-]?([0-9]+)", re.IGNORECASE)


class Flaw(str, Enum):
    """Which part of a checkpoint's name is wrong, by the rule that it breaks."""

    SPELLING = "NAME-002"
    RUN_NAME = "NAME-003"
    EPOCH = "NAME-004"
    REWARD = "NAME-005"


@dataclass(frozen=True, slots=True)
class CheckpointName:
    """What the name of one checkpoint says.

    `epoch` and `reward` are None where the name does not hold them or they cannot be read; `stamp`
    is when the session began, where the dialect's names say it. A
    periodic checkpoint's flaws say what is wrong with its name; `kind` is None where the name
    is not the profile's at all (`flaws` then holds `Flaw.SPELLING`).
    """

    text: str
    kind: Kind | None
    epoch: int | None = None
    epoch_text: str = ""
    reward: float | None = None
    reward_text: str = ""
    frame: int | None = None
    stamp: str = ""
    flaws: tuple[Flaw, ...] = ()
    other_run: str | None = None

    @property
    def rounds(self) -> bool:
        """Whether its reward is an element of a printed array.

        That has as many digits behind the point as NumPy's print options allow: eight, or two
        where IsaacGymEnvs has set them.
        """
        return self.reward_text.startswith(("[", "_"))

    @property
    def number_text(self) -> str:
        """The first number in the reward's text; empty where there is none."""
        match = (
            _NUMBER.search(self.reward_text) if len(self.reward_text) <= _LONGEST_REWARD else None
        )
        return match[0] if match else ""


def format_name(
    profile: Profile,
    kind: Kind,
    name: str,
    *,
    epoch: int = 0,
    reward: float | str = 0.0,
    stamp: str = NO_STAMP,
    rewarded: bool = True,
    ending: Ending = Ending.EPOCHS,
    frame: int = 0,
) -> str:
    """Return the file name that the profile gives a checkpoint, suffix included.

    Args:
        profile: the dialect.
        kind: which checkpoint.
        name: the run's name.
        epoch: the epoch, at least 1, for kinds that print it.
        reward: the mean reward, or its text where the trainer's own printing matters.
        stamp: when the session began (dd-HH-MM-SS), for kinds that print it.
        rewarded: False where no episode has finished yet: some dialects print that in a form of
            its own.
        ending: what ended the training, for a final checkpoint.
        frame: the environment steps so far, for kinds that print them.

    Raises:
        ValueError: the profile has no such checkpoint.
    """
    templates = profile.templates(kind)
    if kind is Kind.FINAL:
        templates = tuple(template for template in templates if template.ending is ending)
    if not templates:
        raise ValueError(f"profile {profile.name} has no {kind.value} checkpoint")
    usual = templates[0]
    text = reward if isinstance(reward, str) else reward_text(reward)
    if not rewarded and RewardForm.MINUS_INF in usual.rewards:
        text = "-inf"
    elif usual.rewards and usual.rewards[0] is RewardForm.ARRAY:
        text = f"[{_element(text)}]"
    elif usual.rewards and usual.rewards[0] is RewardForm.UNDERSCORED:
        text = f"_{_element(text)}_"
    # One pass, so that braces in the run's name stay as they are.
    values = {
        "name": name,
        "epoch": str(epoch),
        "epoch:08": str(epoch).zfill(_PADDED),
        "frame": str(frame),
        "reward": text,
        "stamp": stamp,
    }
    return _filled(usual.template, values) + profile.suffix


def run_name_of(profile: Profile, path: str) -> str | None:
    """The run's name that the path of its folder tells by the profile's templates.

    Args:
        profile: the dialect.
        path: the path of the run's folder, with `/`.

    Returns:
        None where no template fits, or where the one that does says nothing of the name. Of
        several the one with the most fields: `A_07-12-30-00` is a stamped `A` before it is a
        run called `A_07-12-30-00`.
    """
    parts = path.split("/")
    for template in sorted(profile.experiments, key=lambda text: -text.count("{")):
        own = "/".join(parts[-1 - template.count("/") :])
        match = _folder_pattern(template).fullmatch(own)
        if match and match.groupdict().get("name"):
            return match["name"]
    return None


def holds_event_files(profile: Profile, folder: str) -> bool:
    """Whether a folder inside the run (a path from it) is one of the profile's for event files."""
    return _folder_pattern(profile.summaries).fullmatch(folder) is not None


def summarised_name(profile: Profile, folder: str) -> str | None:
    """The run's name that the path of a folder of event files tells, where the profile's does."""
    match = _folder_pattern(profile.summaries).fullmatch(folder)
    return match.groupdict().get("name") if match else None


def folder_of_event_files(profile: Profile, name: str) -> str:
    """The path from the run's folder where the profile logs a run called so; `*` stands for a time.

    Empty where that is the run's own folder.
    """
    values = {"name": name, "stamp": "*", "pbt": "*", "date": "*"}
    return _filled(profile.summaries, values)


def parse_name(profile: Profile, name: str, text: str) -> CheckpointName:
    """Read the file name `text` in the folder of the run called `name`.

    Strictly first; then leniently, so that one wrong part is blamed alone: a bad epoch, a bad
    reward, another run's name.
    """
    strict, lenient, other = _patterns(profile, name)
    for template, pattern in strict:
        match = pattern.fullmatch(text)
        if match and _rewards_fit(template, match):
            return _named(text, template.kind, match)
    for template, pattern in lenient:
        match = pattern.fullmatch(text)
        if match:
            return _flawed(text, template, match)
    for template, pattern in other:
        match = pattern.fullmatch(text)
        if match:
            parsed = _flawed(text, template, match)
            flaws = (Flaw.RUN_NAME, *parsed.flaws)
            return CheckpointName(
                text,
                parsed.kind,
                parsed.epoch,
                parsed.epoch_text,
                parsed.reward,
                parsed.reward_text,
                parsed.frame,
                parsed.stamp,
                flaws,
                other_run=match["name"],
            )
    loose = _LOOSE_EPOCH.search(text)
    epoch = int(loose[1]) if loose and len(loose[1]) <= _LONGEST_EPOCH else None
    return CheckpointName(text, None, epoch=epoch, flaws=(Flaw.SPELLING,))


def named_run(profile: Profile, text: str) -> str | None:
    """The run's name that a checkpoint's name tells beside an epoch, a reward or a stamp.

    None where it tells nothing else. One text alone does not settle it: `last_Aep5ep12rew1.0.pth`
    may be of a run called `Aep5`.
    """
    for template, pattern in _patterns_of_any(profile):
        match = pattern.fullmatch(text)
        if match and _rewards_fit(template, match):
            return match["name"]
    return parse_name(profile, "\0", text).other_run


def has_checkpoint_suffix(text: str) -> bool:
    """Whether a file's name ends as checkpoints do (`.pth`, `.pt`, `.ckpt`)."""
    return text.endswith(CHECKPOINT_SUFFIXES)


_Pattern = tuple[NameTemplate, "re.Pattern[str]"]


@lru_cache(maxsize=64)
def _patterns(
    profile: Profile, name: str
) -> tuple[tuple[_Pattern, ...], tuple[_Pattern, ...], tuple[_Pattern, ...]]:
    own = re.escape(name)
    strict = tuple(
        (template, _compile(template, profile.suffix, own, _EPOCH_TEXT, _LENIENT_REWARD))
        for template in profile.names
    )
    numbered = [template for template in profile.names if template.kind is Kind.PERIODIC]
    lenient = tuple(
        (template, _compile(template, profile.suffix, own, _lenient(template), _LENIENT_REWARD))
        for template in numbered
    )
    other = tuple(
        (template, _compile(template, profile.suffix, ".*", "[0-9]+", _NUMBER.pattern))
        for template in numbered
    )
    return strict, lenient, other


@lru_cache(maxsize=16)
def _patterns_of_any(profile: Profile) -> tuple[_Pattern, ...]:
    """What says more than the run's name, for any run; the one with the most of its own first."""
    telling = [template for template in profile.names if len(_FIELD.findall(template.template)) > 1]
    telling.sort(key=lambda template: -len(_FIELD.sub("", template.template)))
    return tuple(
        (template, _compile(template, profile.suffix, ".+", _EPOCH_TEXT, _LENIENT_REWARD))
        for template in telling
    )


def _lenient(template: NameTemplate) -> str:
    """How wrong an epoch of this template may be and still be taken for one."""
    before = template.template.partition("{epoch")[0]
    return _LENIENT_EPOCH if re.search(r"ep[_=]?\Z", before) else _LENIENT_NUMBER


def _compile(
    template: NameTemplate, suffix: str, name: str, epoch: str, reward: str
) -> re.Pattern[str]:
    padded = _PADDED_EPOCH_TEXT if epoch == _EPOCH_TEXT else epoch
    groups = {
        "name": f"(?P<name>{name})",
        "epoch": f"(?P<epoch>{epoch})",
        "epoch:08": f"(?P<epoch>(?=[0-9]{{{_PADDED}}}){padded})",
        "frame": "(?P<frame>[0-9]+)",
        "reward": f"(?P<reward>{reward})",
        "stamp": f"(?P<stamp>{_STAMP_TEXT})",
    }
    if epoch not in (_EPOCH_TEXT, "[0-9]+"):
        groups["epoch:08"] = groups["epoch"]
    return re.compile(_with_groups(template.template, groups) + re.escape(suffix), re.DOTALL)


@lru_cache(maxsize=64)
def _folder_pattern(template: str) -> re.Pattern[str]:
    groups = {
        "name": "(?P<name>[^/]+)",
        "stamp": f"(?P<stamp>{_STAMP_TEXT})",
        "pbt": "(?P<pbt>[0-9]{2,})",
        "date": f"(?P<date>{_DATE_TEXT})",
    }
    return re.compile("[^/]+" if template == "*" else _with_groups(template, groups), re.DOTALL)


_FIELD = re.compile(r"\{([^{}]*)\}")


def _with_groups(template: str, groups: dict[str, str]) -> str:
    return "".join(
        groups[part] if index % 2 else re.escape(part)
        for index, part in enumerate(_FIELD.split(template))
    )


def _filled(template: str, values: dict[str, str]) -> str:
    return _FIELD.sub(lambda match: values[match[1]], template)


def _rewards_fit(template: NameTemplate, match: re.Match[str]) -> bool:
    groups = match.groupdict()
    epoch = groups.get("epoch") or ""
    if len(epoch) > _LONGEST_EPOCH or not _is_plain(template, epoch):
        return False
    text = groups.get("reward")
    if text is None:
        return True
    return any(_FORM_FITS[form](text) for form in template.rewards)


def _is_plain(template: NameTemplate, epoch: str) -> bool:
    """Whether an epoch's digits are as the template prints them; none is right too."""
    if "{epoch:08}" in template.template:
        return epoch.isdecimal() and int(epoch) > 0 and epoch == str(int(epoch)).zfill(_PADDED)
    return not epoch or re.fullmatch(_EPOCH_TEXT, epoch) is not None


def _is_array(text: str) -> bool:
    return _ARRAY.fullmatch(text) is not None


def _is_underscored(text: str) -> bool:
    return _UNDERSCORED.fullmatch(text) is not None


_FORM_FITS = {
    RewardForm.SCALAR: is_printed,
    RewardForm.MINUS_INF: "-inf".__eq__,
    RewardForm.ARRAY: _is_array,
    RewardForm.UNDERSCORED: _is_underscored,
}


def _named(text: str, kind: Kind, match: re.Match[str]) -> CheckpointName:
    groups = match.groupdict()
    reward = groups.get("reward") or ""
    frame = groups.get("frame")
    epoch = groups.get("epoch") or ""
    return CheckpointName(
        text,
        kind,
        int(epoch) if epoch else None,
        epoch,
        _read_reward(reward),
        reward,
        int(frame) if frame and len(frame) <= _LONGEST_EPOCH else None,
        groups.get("stamp") or "",
    )


def _flawed(text: str, template: NameTemplate, match: re.Match[str]) -> CheckpointName:
    groups = match.groupdict()
    epoch, reward = groups.get("epoch") or "", groups.get("reward") or ""
    flaws = []
    plain = bool(epoch) and len(epoch) <= _LONGEST_EPOCH and _is_plain(template, epoch)
    if "epoch" in groups and not plain:
        flaws.append(Flaw.EPOCH)
    if template.rewards and not any(_FORM_FITS[form](reward) for form in template.rewards):
        flaws.append(Flaw.REWARD)
    return CheckpointName(
        text,
        template.kind,
        _read_epoch(epoch),
        epoch,
        _read_reward(reward),
        reward,
        stamp=groups.get("stamp") or "",
        flaws=tuple(flaws),
    )


def _read_epoch(text: str) -> int | None:
    if len(text) > _LONGEST_EPOCH:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _read_reward(text: str) -> float | None:
    """The first number of a reward's text; None where there is none."""
    match = _NUMBER.search(text) if len(text) <= _LONGEST_REWARD else None
    return float(match[0]) if match else None


def _element(text: str) -> str:
    """A scalar's text as NumPy prints it inside an array: `1000.`, `1.e-05`."""
    mantissa, e, exponent = text.partition("e")
    if mantissa.endswith(".0"):
        mantissa = mantissa.removesuffix("0")
    elif e and "." not in mantissa:
        mantissa += "."
    return mantissa + e + exponent
