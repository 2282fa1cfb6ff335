"""NAME: what the names of the checkpoints say, and whether it is so."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Outcome,
    failed,
    first_few,
    not_applicable,
    passed,
    unobservable,
)
from conformance.convention.names import Flaw
from conformance.convention.profile import Kind
from conformance.convention.rewards import is_rounding_of, same_reward
from conformance.run.dialects import checkpoint_names, of_other_dialects, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject

# White space and control characters, brackets and what a shell, a glob, Hydra, Windows or an upload
# of artefacts reads as its own.
UNSAFE = re.compile(r"""[\s\x00-\x1f\x7f=:\[\]{}()<>*?!$&;|"'`\\,/\ud800-\udfff]|^[-~]""")
# What Windows takes for a device, whatever stands behind the first dot.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9\u00b9\u00b2\u00b3])[ ]*(\..*)?", re.IGNORECASE
)


def best_is_called_by_the_run(subject: Subject) -> Outcome:
    """NAME-001."""
    if subject.given.renamed_from is not None:
        name, experiment = subject.given.renamed_from, subject.folder.experiment
        return failed(
            f"the names inside are all of a run called {name!a}, and its folder is {experiment!a}:"
            f" the folder was renamed from {name!a}?",
            expected=name,
            name_from="the names of the checkpoints",
        )
    if not subject.profile.has_best:
        return not_applicable(f"profile {subject.profile.name} has no best checkpoint")
    best, (name, source) = subject.best, subject.given.run_name
    expected = f"{name}{subject.profile.suffix}"
    if best is None:
        return not_applicable("there is no best checkpoint (BEST-001 says whether one is due)")
    if best.name.kind is not Kind.BEST:
        return failed(
            f"{best.entry.name!a} can only be the best checkpoint; its name should be"
            f" {expected!a} (the run's name is from {source})",
            [best.path],
            expected=expected,
            name_from=source,
        )
    return passed(f"the best checkpoint is {expected!a}", expected=expected, name_from=source)


def others_parse(subject: Subject) -> Outcome:
    """NAME-002."""
    if of_other_dialects(subject):
        return _of_another_dialect(subject)
    wrong = [file.path for file in subject.files.misspelled if file is not subject.best]
    if wrong:
        return failed(
            f"{len(wrong)} checkpoint name(s) are none of profile {subject.profile.name}:"
            f" {first_few(wrong)}",
            wrong,
            names=len(wrong),
            profile=subject.profile.name,
        )
    count = sum(file.name.kind not in (None, Kind.BEST) for file in subject.files.checkpoints)
    if not count:
        return not_applicable("no checkpoint but the best")
    return passed(f"{count} names parse", names=count)


def _of_another_dialect(subject: Subject) -> Outcome:
    """NAME-002 of a run whose names are all another dialect's: that one is told, not each name."""
    profiles = [other.profile.name for other in of_other_dialects(subject)]
    *others, last = profiles
    spellers = f"{', '.join(others)} or {last}" if others else last
    hint = f"these names are those of {spellers}: use --profile auto"
    names = checkpoint_names(subject) - spelled(subject).keys()
    return failed(
        f"{hint}; none of the {len(names)} is of profile {subject.profile.name}",
        [
            entry.relative
            for entry in subject.folder.at(subject.profile.checkpoints)
            if entry.name in names
        ],
        hint=hint,
        names=len(names),
        profiles=profiles,
    )


def periodic_carries_the_run(subject: Subject) -> Outcome:
    """NAME-003."""
    wrong = {
        file.path: file.name.other_run
        for file in subject.files.periodic
        if Flaw.RUN_NAME in file.name.flaws
    }
    if wrong:
        name, source = subject.given.run_name
        others = ", ".join(sorted({repr(other) for other in wrong.values()}))
        return failed(
            f"{len(wrong)} periodic checkpoint(s) carry the name {others}; the run's is {name!a}"
            f" (from {source})",
            wrong,
            name=name,
            name_from=source,
            others=wrong,
        )
    return _counted(subject.files.periodic, "periodic names carry the run's name")


def epoch_is_plain(subject: Subject) -> Outcome:
    """NAME-004."""
    wrong = {
        file.path: file.name.epoch_text
        for file in subject.files.periodic
        if Flaw.EPOCH in file.name.flaws
    }
    if wrong:
        return failed(f"not a plain epoch: {first_few(wrong.values())}", wrong, epochs=wrong)
    return _counted(subject.files.periodic, "epochs are plain decimals")


def reward_is_printed(subject: Subject) -> Outcome:
    """NAME-005."""
    wrong = {
        file.path: file.name.reward_text
        for file in subject.files.periodic
        if Flaw.REWARD in file.name.flaws
    }
    if wrong:
        return failed(
            f"not what str prints for a mean reward: {first_few(wrong.values())}",
            wrong,
            rewards=wrong,
        )
    rounded = rounded_rewards(subject)
    if rounded:
        first = rounded[0]
        logged = subject.history.rewards_at(first.name.epoch or 0)
        return failed(
            f"{len(rounded)} reward(s) are rounded: {first.name.reward_text!a} for a logged"
            f" {logged[0]!r} in epoch {first.name.epoch}",
            [file.path for file in rounded],
            logged=list(logged),
            epoch=first.name.epoch,
            rewards={file.path: file.name.reward_text for file in rounded},
        )
    return _counted(subject.files.periodic, "rewards read back")


def rounded_rewards(subject: Subject) -> list[CheckpointFile]:
    """The periodic checkpoints whose names cut digits off the logged reward.

    None where some name disagrees with the log altogether, or the best's watermark does too: then
    it is no matter of digits (SUMMARY-002).
    (decisions.md: "Values that are wrong everywhere have one cause".)
    """
    if not subject.history.usable:
        return []
    differing = [file for file in subject.files.periodic if _differs_from_log(subject, file)]
    best = subject.best
    if best is not None and best.epoch is not None and best.watermark is not None:
        logged = subject.history.rewards_at(best.epoch)
        if logged and not any(same_reward(value, best.watermark) for value in logged):
            return []
    if all(_is_rounded(subject, file) for file in differing):
        return differing
    return []


def _differs_from_log(subject: Subject, file: CheckpointFile) -> bool:
    reward = file.name.reward
    logged = subject.history.rewards_at_any(file.epochs)
    return (
        reward is not None
        and Flaw.REWARD not in file.name.flaws
        and bool(logged)
        and not any(subject.doubt.may_be_unlogged(Kind.PERIODIC, at) for at in file.epochs)
        and not any(same_reward(value, reward) for value in logged)
    )


def _is_rounded(subject: Subject, file: CheckpointFile) -> bool:
    return any(
        is_rounding_of(file.name.reward_text, value)
        for value in subject.history.rewards_at_any(file.epochs)
    )


def epoch_is_the_stored_one(subject: Subject) -> Outcome:
    """NAME-006."""
    numbered = [
        file
        for file in subject.files.checkpoints
        if file.name.kind not in (None, Kind.BEST)
        and file.name.epoch is not None
        and Flaw.EPOCH not in file.name.flaws
    ]
    if not numbered:
        return not_applicable("no checkpoint's name holds an epoch")
    compared = {file: file.epoch for file in numbered if file.epoch is not None}
    wrong = [file for file, stored in compared.items() if stored != file.name.epoch]
    if wrong:
        first = wrong[0]
        return failed(
            f"{first.entry.name!a} stores epoch {first.epoch}"
            + (f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""),
            [file.path for file in wrong],
            stored={file.path: file.epoch for file in wrong},
        )
    if not compared:
        return unobservable("no checkpoint's stored epoch can be read")
    return passed(f"{len(compared)} stored epochs equal the named ones", compared=len(compared))


def one_periodic_for_an_epoch(subject: Subject) -> Outcome:
    """NAME-007."""
    by_epoch: dict[tuple[str, int], list[str]] = defaultdict(list)
    for file in subject.files.periodic:
        if file.name.epoch is not None:  # names that tell the session's start tell sessions apart
            by_epoch[file.name.stamp, file.name.epoch].append(file.path)
    repeated = {epoch: paths for (_, epoch), paths in by_epoch.items() if len(paths) > 1}
    if not repeated:
        return _counted(subject.files.periodic, "periodic epochs are all different")
    if not subject.history.usable:
        return unobservable(
            "several periodic checkpoints for one epoch, and the logs do not say how many sessions"
            " there were",
            [path for paths in repeated.values() for path in paths],
        )
    wrong = {
        epoch: paths
        for epoch, paths in repeated.items()
        if len(paths) > subject.doubt.most_saves_at(epoch)
    }
    if wrong:
        epoch, paths = next(iter(wrong.items()))
        return failed(
            f"epoch {epoch} has {len(paths)} periodic checkpoints, more than the sessions that"
            " reached it",
            [path for paths in wrong.values() for path in paths],
            epochs=sorted(wrong),
            files={str(epoch): paths for epoch, paths in wrong.items()},
        )
    return passed("no more periodic checkpoints for an epoch than sessions that reached it")


def unsafe_part(name: str) -> str | None:
    """What of a name is not safe everywhere, in words; None where all of it is."""
    found = UNSAFE.search(name)
    if found is not None:
        return f"{found[0]!a}" if found[0].strip() else "white space"
    if _DEVICE.fullmatch(name):
        return f"{name.partition('.')[0]!a} is a device of Windows"
    return "a dot at its end" if name.endswith(".") else None


def _unsafe_by(subject: Subject, file: CheckpointFile | None) -> str:
    """What put the unsafe part into a name: the print of the reward, the dialect, or else the run.

    In the words of the rule's remedies.
    """
    if file is None or unsafe_part(subject.given.name) is not None:
        return ""
    before, text, after = file.entry.name.rpartition(file.name.reward_text or "\0")
    if text and UNSAFE.search(text) and not UNSAFE.search(before + after):
        return "reward"
    own = file.name.kind is not None and not file.name.flaws
    return "dialect" if own or of_other_dialects(subject) else ""


def names_are_safe(subject: Subject) -> Outcome:
    """NAME-008."""
    files = {file.entry.name: file for file in subject.files.checkpoints}
    own = () if subject.folder.is_file else (subject.folder.experiment,)
    names = dict.fromkeys((*own, *files))
    unsafe = {name: why for name in names if (why := unsafe_part(name)) is not None}
    if unsafe:
        reasons = ", ".join(dict.fromkeys(unsafe.values()))
        return failed(
            f"{len(unsafe)} name(s) trip a shell, a glob, a Hydra override, Windows or an upload"
            f" ({reasons}): {first_few(unsafe)}",
            [files[name].path for name in unsafe if name in files],
            causes=dict.fromkeys(_unsafe_by(subject, files.get(name)) for name in unsafe),
            names=list(unsafe),
            why=unsafe,
        )
    folded: dict[str, list[str]] = defaultdict(list)
    for file in subject.files.checkpoints:
        folded[unicodedata.normalize("NFC", file.path).casefold()].append(file.path)
    clashing = [path for paths in folded.values() if len(paths) > 1 for path in paths]
    if clashing:
        return failed(
            "names that differ only in case or normalisation",
            clashing,
            causes=["case"],
            names=clashing,
        )
    if subject.folder.namesakes:
        return failed(
            f"the run beside it is called {first_few(subject.folder.namesakes)}: on a disk that"
            " ignores case the two are one folder",
            causes=["case"],
            names=[subject.folder.experiment, *subject.folder.namesakes],
        )
    return passed(f"{len(names)} names are safe", names=len(names))


def _counted(files: Iterable[CheckpointFile], what: str) -> Outcome:
    count = len(list(files))
    if not count:
        return not_applicable("there is no periodic checkpoint")
    return passed(f"{count} {what}", checkpoints=count)


CHECKS = {
    "NAME-001": best_is_called_by_the_run,
    "NAME-002": others_parse,
    "NAME-003": periodic_carries_the_run,
    "NAME-004": epoch_is_plain,
    "NAME-005": reward_is_printed,
    "NAME-006": epoch_is_the_stored_one,
    "NAME-007": one_periodic_for_an_epoch,
    "NAME-008": names_are_safe,
}
