"""For programs: audits of run folders from their files alone, as `conformance check` makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from conformance.checks import judge
from conformance.convention import rules
from conformance.convention.profile import DEFAULT_PROFILE, Profile, load_profile
from conformance.evidence.runs import NoRunError, find_runs, scan_run
from conformance.report import Report
from conformance.run.settings import Options, model_builder
from conformance.run.subject import Subject
from conformance.version import __version__
from conformance.views.beside import remarks
from conformance.views.dialect import AUTO, choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike

    from typing_extensions import Unpack

    from conformance.checks import RunReport
    from conformance.evidence.runs import RunFolder
    from conformance.views.dialect import Choice


class AuditOptions(TypedDict, total=False):
    """How runs are audited: what `check_run` and `check_runs` take besides the path.

    Attributes:
        profile: the dialect: a name, a `.toml` file, a `Profile`, or `auto` to choose it for each
            run by what lies there; by default `isaacgymenvs`.
        name: the run's name in file names, if it differs from the experiment.
        save_freq: epochs from one periodic checkpoint to the next; None: from the run's config,
            else from the evidence. So are the next two.
        max_epochs: epochs to train.
        save_best_after: the epoch before which no best is written.
        model: for LOAD-004: a `torch.nn.Module`, or a callable that makes one.
        select: ids of the rules to judge, or prefixes such as `BEST`; None: all.
        ignore: the same for rules not to judge.
        explain: whether to explain each file by its session, epoch and reason.
    """

    profile: str | PathLike[str] | Profile
    name: str | None
    save_freq: int | None
    max_epochs: int | None
    save_best_after: int | None
    model: object
    select: Iterable[str] | None
    ignore: Iterable[str]
    explain: bool


def check_run(path: str | PathLike[str], **options: Unpack[AuditOptions]) -> RunReport:
    """Audit one run, from its files alone. Nothing in them is executed.

    Args:
        path: the run's folder, or its `nn/` folder.
        **options: see `AuditOptions`; each may be left out.

    Returns:
        The run's verdict, with one finding for each rule. A broken rule raises nothing.

    Raises:
        NoRunError: `path` holds no run, or several: `check_runs` takes a root.
        ProfileError: there is no such profile, or its file is wrong.
        UnknownRuleError: `select` or `ignore` names no rule; a `ValueError`.
        ValueError: `select` and `ignore` leave no rule.
    """
    report = check_runs(path, **options)
    if len(report.runs) > 1:
        raise NoRunError(f"{str(path)!a}: holds {len(report.runs)} runs; check_runs takes a root")
    return report.runs[0]


def check_runs(*paths: str | PathLike[str], **options: Unpack[AuditOptions]) -> Report:
    """Audit all runs under the paths, from their files alone. Nothing in them is executed.

    Args:
        *paths: runs, their `nn/` folders, or roots that hold many runs.
        **options: see `AuditOptions`; each may be left out.

    Returns:
        The verdict on all of them, with a report for each run; of a run that several paths lead
        to, one.

    Raises:
        NoRunError: one of the paths holds no run, or there is no path.
        ProfileError: there is no such profile, or its file is wrong.
        UnknownRuleError: `select` or `ignore` names no rule; a `ValueError`.
        ValueError: `select` and `ignore` leave no rule.
    """
    if not paths:
        raise NoRunError("no path was given; give run folders or roots of runs")
    profile = _profile(options.get("profile", DEFAULT_PROFILE))
    known = Options(
        name=options.get("name"),
        save_freq=options.get("save_freq"),
        max_epochs=options.get("max_epochs"),
        save_best_after=options.get("save_best_after"),
        model=model_builder(options.get("model")),
    )
    selected = rules.chosen(options.get("select"), options.get("ignore", ()))
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(runs_under(Path(path), profile)))
    reports: list[RunReport] = []
    choices = {}
    for run in found:
        judged, choice = audit_folder(
            list_run(run, profile),
            profile,
            known,
            selected=selected,
            explaining=options.get("explain", False),
        )
        reports.append(judged.sharing(reports[-1]) if reports else judged)
        if choice is not None:
            choices[run] = choice
    name, chosen = held_against(profile, choices)
    return Report(__version__, name, tuple(reports), chosen=chosen)


def runs_under(path: Path, profile: Profile | None) -> tuple[Path, ...]:
    """Return the runs that a path means, by the folders of a profile; None: of the default one.

    Raises:
        NoRunError: there is none.
    """
    folders = profile or load_profile()
    return find_runs(path, checkpoints=folders.checkpoints, summaries=folders.summaries)


def list_run(path: Path, profile: Profile | None) -> RunFolder:
    """List a run, its folders that are links followed, by a profile; None: by the default one."""
    folders = profile or load_profile()
    return scan_run(path, follow=(folders.checkpoints, folders.summaries))


def audit_folder(
    folder: RunFolder,
    profile: Profile | None,
    known: Options,
    *,
    selected: frozenset[str],
    explaining: bool,
    watch: Callable[[int, int], None] | None = None,
) -> tuple[RunReport, Choice | None]:
    """Judge a run; without a profile, one is chosen for it and returned too."""
    choice = None
    if profile is None:
        choice = choose(folder, known)
        profile = choice.profile
    subject = Subject(folder, profile, known)
    report = judge(subject, selected=selected, watch=watch)
    report = replace(report, remarks=remarks(subject))
    if explaining:
        from conformance.views.explain import explain  # noqa: PLC0415 - only who asks pays for it

        report = replace(report, explanation=explain(subject))
    return report, choice


def held_against(profile: Profile | None, choices: Mapping[Path, Choice]) -> tuple[str, str]:
    """Return the profile's name, or those of all that were chosen, and how they were."""
    if profile is not None:
        return profile.name, ""
    names = sorted({choice.profile.name for choice in choices.values()})
    told = {choice.told for choice in choices.values()}
    how = told.pop() if len(told) == 1 else "each run by what lies in it"
    return ", ".join(names), f"auto: {how}"


def _profile(given: str | PathLike[str] | Profile) -> Profile | None:
    if isinstance(given, Profile):
        return given
    return None if given == AUTO else load_profile(str(given))
