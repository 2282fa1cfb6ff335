"""What the options of several commands name: runs, a profile, rules, waivers, a model."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.audits import runs_under
from conformance.cli.exits import UsageError
from conformance.cli.streams import complain, complain_once
from conformance.convention.profile import Profile, ProfileError, load_profile
from conformance.convention.rules import chosen
from conformance.evidence.runs import NoRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.checks import RunReport
    from conformance.evidence.runs import Found
    from conformance.views.dialect import Choice
    from conformance.waivers import Waiver


def tell_choices(choices: Mapping[Path, Choice]) -> None:
    """Say on standard error, in one line, which profiles were chosen, and why if all are alike."""
    told = {path: f"profile {each.profile.name}, {each.told}" for path, each in choices.items()}
    if len(set(told.values())) <= 1:
        complain_once(told.items())
        return
    tally = Counter((each.profile.name, each.certainty.value) for each in choices.values())
    chosen = ", ".join(f"{name} for {number} ({sure})" for (name, sure), number in tally.items())
    mixed = [path for path, each in choices.items() if each.mixture]
    mixture = f"; {len(mixed)} hold a mixture of dialects, the first is {mixed[0]}" if mixed else ""
    complain(
        f"profiles chosen for {len(choices)} runs: {chosen}{mixture}; what decided is told of one"
        " run alone"
    )


def find_all(
    paths: list[str], profile: Profile | None, *, files: bool = False
) -> tuple[list[Found], bool]:
    """The runs under all paths, each once, and whether some path led to none.

    What the search has to say of a path is said once, on standard error.
    """
    found: dict[Path, Found] = {}
    remarks: dict[str, None] = {}
    unusable = False
    if "" in paths:
        raise UsageError("a path is empty: is a variable of the script not set?")
    for path in paths:
        try:
            discovery = runs_under(Path(path), profile, files=files)
        except NoRunError as error:
            complain(str(error))
            unusable = True
            continue
        found.update({run.path: run for run in discovery.runs})
        remarks.update(dict.fromkeys(discovery.remarks))
    for remark in remarks:
        complain(remark)
    return list(found.values()), unusable


def profile_of(name: str) -> Profile:
    """Load a profile; a wrong one is the user's matter."""
    try:
        return load_profile(name)
    except ProfileError as error:
        raise UsageError(str(error)) from error


def selected_of(wanted: list[str] | None, unwanted: list[str]) -> frozenset[str]:
    """The ids of the rules to judge; none or an unknown one is the user's matter."""
    try:
        return chosen(wanted, unwanted)
    except ValueError as error:
        raise UsageError(str(error)) from error


def waivers_of(file: str | None) -> tuple[Waiver, ...]:
    """Read the waivers, before anything is judged; a wrong file is the user's matter."""
    if file is None:
        return ()
    from datetime import datetime, timezone  # noqa: PLC0415 - only --waivers pays for it

    from conformance import waivers  # noqa: PLC0415 - see above

    try:
        return waivers.load_waivers(Path(file), today=datetime.now(tz=timezone.utc).date())
    except waivers.WaiverError as error:
        raise UsageError(str(error)) from error


def waived(reports: list[RunReport], known: tuple[Waiver, ...]) -> tuple[RunReport, ...]:
    """The reports with the waivers applied; an unused one is the user's matter."""
    if not known:
        return tuple(reports)
    from conformance import waivers  # noqa: PLC0415 - only --waivers pays for it

    try:
        return waivers.apply_waivers(reports, known)
    except waivers.WaiverError as error:
        raise UsageError(str(error)) from error


def model_of(spec: str | None) -> Callable[[], Any] | None:
    """What `--model module:attr` names, as a callable that returns a module."""
    if spec is None:
        return None
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"--model {spec!a}: give it as module:attribute")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as `python -m` does
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
            build = _builder(found)
            model = build()
    except (Exception, SystemExit) as error:
        raise UsageError(f"--model {spec!a}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not hasattr(model, "load_state_dict"):
        raise UsageError(f"--model {spec!a}: neither a torch module nor what builds one")
    return build


def _builder(found: Any) -> Callable[[], Any]:  # noqa: ANN401 - whatever the user names
    if (hasattr(found, "load_state_dict") and not isinstance(found, type)) or not callable(found):
        return lambda: found

    def build() -> Any:  # noqa: ANN401 - a torch.nn.Module, and torch is not imported here
        with contextlib.redirect_stdout(sys.stderr):
            return found()

    return build
