"""For programs: audits of run folders from their files alone, as `conformance check` makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from conformance.checks import judge
from conformance.convention import rules
from conformance.convention.profile import DEFAULT_PROFILE, Profile, load_profile
from conformance.evidence.runs import NoRunError, discover, scan_run
from conformance.report import Report
from conformance.run.dialects import layout_of, profiles_in
from conformance.run.files import Readings
from conformance.run.settings import Options, model_builder
from conformance.run.subject import Subject
from conformance.version import __version__
from conformance.views.beside import remarks
from conformance.views.dialect import AUTO, choose, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike

    from typing_extensions import Unpack

    from conformance.checks import RunReport
    from conformance.evidence.runs import Discovery, Found, RunFolder
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
        path: the run's folder, or a folder in it; or a checkpoint by itself, which is held against
            the rules that need no run.
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
        *paths: runs, folders in them, roots that hold many runs, or checkpoints by themselves.
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
    found: dict[Path, Found] = {}
    for path in paths:
        found.update({run.path: run for run in runs_under(Path(path), profile).runs})
    reports: list[RunReport] = []
    choices: dict[Path, Choice] = {}
    explaining = options.get("explain", False)
    for path, run in found.items():
        judged, choice = audit_folder(
            list_run(run, profile), profile, known, selected=selected, explaining=explaining
        )
        reports.append(judged.sharing(reports[-1]) if reports else judged)
        if choice is not None:
            choices[path] = choice
    settle(reports, choices, found, known, selected=selected, explaining=explaining)
    name, chosen = held_against(profile, choices)
    return Report(__version__, name, tuple(reports), chosen=chosen)


def runs_under(path: Path, profile: Profile | None, *, files: bool = True) -> Discovery:
    """Return the runs that a path means, by the folders of a profile; None: of the default one.

    Args:
        path: see `discover`.
        profile: whose folders.
        files: whether a checkpoint by itself is of use.

    Raises:
        NoRunError: there is none.
    """
    folders = profile or load_profile()
    # A folder whose name is another one for each run marks none.
    summaries = load_profile().summaries if "{" in folders.summaries else folders.summaries
    return discover(path, checkpoints=folders.checkpoints, summaries=summaries, files=files)


def list_run(run: Path | Found, profile: Profile | None) -> RunFolder:
    """List a run, its folders that are links followed, by a profile; None: by the default one."""
    folders = profile or load_profile()
    return scan_run(run, follow=(folders.checkpoints, folders.summaries))


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
    readings = Readings(profiles_in(layout_of(folder)) if profile is None else (profile,))
    if profile is None:
        choice = choose(folder, known, readings)
        profile = choice.profile
    subject = Subject(folder, profile, known, readings=readings)
    report = judge(subject, selected=selected, watch=watch)
    report = replace(report, remarks=remarks(subject))
    if explaining and not folder.is_file:
        from conformance.views.explain import explain  # noqa: PLC0415 - only who asks pays for it

        report = replace(report, explanation=explain(subject))
    return report, choice


def settle(
    reports: list[RunReport],
    choices: dict[Path, Choice],
    found: Mapping[Path, Found],
    known: Options,
    *,
    selected: frozenset[str],
    explaining: bool,
) -> None:
    """Let the runs of one search inform each other, and judge those again whose profile changes.

    Args:
        reports: one for each choice, in the same order; where no profile was chosen, nothing is
            done.
        choices: how the profile of each run was chosen by itself.
        found: the runs, by their paths.
        known: as `audit_folder` takes it, and the next two.
        selected: see there.
        explaining: see there.
    """
    for index, (path, choice) in enumerate(settled(choices).items()):
        if choice.profile.name != choices[path].profile.name:
            reports[index], _ = audit_folder(
                list_run(found[path], None),
                choice.profile,
                known,
                selected=selected,
                explaining=explaining,
            )
        choices[path] = choice


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
