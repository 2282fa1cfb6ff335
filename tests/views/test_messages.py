"""No message shows a template of a profile with its holes: `runs/{name}_{stamp}`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conformance import Scenario
from conformance.audits import audit_folder, list_run, runs_under
from conformance.checks import judge
from conformance.convention.oracle import Settings
from conformance.convention.profile import builtin_layouts, builtin_profiles, load_profile
from conformance.convention.rules import RULES
from conformance.evidence.runs import NoRunError, scan_run
from conformance.fixtures.cases import CASES
from conformance.fixtures.play import Session, play
from conformance.mutants import DEFECTS
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.explain import explain

HOLE = re.compile(r"\{[a-z_]+(:[0-9]+)?\}")
PROFILES = [
    name + layout
    for name in builtin_profiles()
    for layout in ("", *(f"+{layout}" for layout in builtin_layouts()))
]
ALL = frozenset(rule.id for rule in RULES)
REWARDS = (None, None, 1.0, 2.0, 4.0, 3.0)


def texts(report, *more):
    """All that a reader sees of a run."""
    yield from more
    yield from report.notes
    yield report.hint
    for finding in report.findings:
        yield from (finding.message, finding.fix, str(dict(finding.evidence)), *finding.paths)
    if report.explanation is not None:
        for file in report.explanation.files:
            yield from (file.path, file.evidence)
        for session in report.explanation.sessions:
            yield from session.missing


def holes(folder, options=None):
    """What is shown with a hole in it, under each profile and under the one that is chosen."""
    known = options or Options()
    found = {}
    for name in builtin_profiles():
        subject = Subject(folder, load_profile(name), known)
        report = replace(judge(subject), explanation=explain(subject))
        found[name] = texts(report)
    report, choice = audit_folder(folder, None, known, selected=ALL, explaining=True)
    found["auto"] = texts(report, choice.told)
    return [(name, text) for name, told in found.items() for text in told if HOLE.search(text)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_no_published_run_is_told_of_with_a_hole(case, tmp_path):
    assert holes(scan_run(case.build().write(tmp_path)), Options(**case.options)) == []


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_no_mutants_run_is_told_of_with_a_hole(defect, tmp_path):
    scenario = Scenario("Ant", tmp_path, 2, 6, (1.0, 3.0, 3.0, float("nan"), 5.0, 4.0))
    defect().train(scenario)
    for found in runs_under(tmp_path, None).runs:
        assert holes(list_run(found, None)) == []


BROKEN = {
    "as it is": lambda run: run,
    "no log": lambda run: run.with_logs(lambda _: None),
    "a log elsewhere": lambda run: run.with_logs(lambda log: replace(log, path=f"x/{log.path}")),
    "a damaged log": lambda run: run.with_logs(lambda log: replace(log, tail=b"x" * 40)),
    "a log of nothing": lambda run: run.with_logs(lambda log: replace(log, scalars=())),
    "a short log": lambda run: run.with_logs(lambda log: replace(log, scalars=log.scalars[:-6])),
    "a log that is off": lambda run: run.with_logs(
        lambda log: replace(
            log, scalars=tuple(replace(entry, step=entry.step - 3) for entry in log.scalars)
        )
    ),
    "no checkpoint": lambda run: replace(run, checkpoints={}),
    "a checkpoint elsewhere": lambda run: run.moved(
        next(iter(run.checkpoints.values())), "elsewhere/A.pth"
    ),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("name", builtin_profiles())
def test_no_broken_run_of_any_dialect_is_told_of_with_a_hole(name, what, tmp_path):
    profile = load_profile(name)
    sessions = [Session((*REWARDS, 3.5)[: len(REWARDS) + profile.ends_late])]
    run = BROKEN[what](play(Settings("A", 2, 6, save_best_after=0), sessions, profile=profile))
    folder = scan_run(run.write(tmp_path))
    report, choice = audit_folder(folder, None, Options(), selected=ALL, explaining=True)
    own = Subject(folder, profile, Options(None, 2, 6, 0))
    told = [
        *texts(report, choice.told),
        *texts(replace(judge(own), explanation=explain(own))),
    ]
    assert [text for text in told if HOLE.search(text)] == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_path_without_a_run_is_told_without_a_hole(name, tmp_path):
    with pytest.raises(NoRunError) as error:
        runs_under(tmp_path, load_profile(name))
    assert not HOLE.search(str(error.value))


def test_a_template_is_what_the_pattern_finds():
    assert HOLE.search(load_profile("rl_games-1.0").summaries)
    assert not HOLE.search(str(Path("runs") / "Ant_*"))
