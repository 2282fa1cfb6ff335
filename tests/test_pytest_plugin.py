"""The pytest plugin, as its users run it: in a pytest of its own."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from conformance.convention.rules import RULES

pytest_plugins = ["pytester"]

# Installed, it is found by its entry point; from a checkout it is named.
_INSTALLED = any(each.name == "conformance" for each in entry_points(group="pytest11"))
# Whatever shuffles tests here leaves theirs alone.
_IN_ORDER = ("-p", "no:randomly", "-p", "no:random_order")
PLUGIN = _IN_ORDER if _INSTALLED else (*_IN_ORDER, "-p", "conformance.pytest_plugin")
BASE = "python:conformance.mutants:Trainer"
TIE = "python:conformance.mutants:RewritesOnTie"
ALL = len(RULES)


@pytest.fixture
def run(pytester):
    """Run pytest in an empty folder."""

    def run(*arguments):
        return pytester.runpytest_subprocess(
            *PLUGIN, "--conformance-max-examples=1", "--conformance-seed=7", *arguments
        )

    return run


def test_it_is_found_by_its_entry_point():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nconformance = "conformance.pytest_plugin"' in project
    assert importlib.import_module("conformance.pytest_plugin").pytest_addoption


def test_each_rule_is_a_test_in_a_folder_without_tests(run):
    result = run("--trainer", BASE, "-v")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"*collected {ALL} items", "conformance::BEST-003 PASSED*"])
    result.stdout.fnmatch_lines(
        ["*= conformance =*", "*Trainer, profile isaacgymenvs, seed 7: 1 scenarios, 1 sessions*"]
    )
    assert sum(result.parseoutcomes().values()) == ALL


def test_a_broken_rule_shows_its_scenario_and_nothing_of_ours(run):
    result = run("--trainer", TIE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        [
            "*_ conformance::BEST-003 _*",
            "BEST-003: the best checkpoint holds epoch 2*",
            "  scenario: rewards 0.0, 0.0; save_freq 0",
            "  fix: Compare strictly*",
            f"  replay: conformance test {TIE} --replay .conformance/failures/BEST-003.json",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*trial.py*")


def test_without_a_trainer_it_does_nothing(run, pytester):
    pytester.makepyfile(
        "import sys\n"
        "def test_light():\n"
        "    assert 'conformance.suite' not in sys.modules\n"
        "    assert 'conformance.convention.rules' not in sys.modules\n"
    )
    result = run("-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*conformance::*")


def test_it_stands_beside_other_tests_and_can_be_chosen_by_name(run, pytester):
    path = pytester.makepyfile("def test_other(): pass")
    result = run("--trainer", BASE, "-v", "-k", "BEST-003 or test_other", path)
    result.assert_outcomes(passed=2, deselected=ALL - 1)
    collected = run("--trainer", "python:not_even:looked_for", "--collect-only", "-q", path)
    collected.stdout.fnmatch_lines(["conformance::BEST-003", "*::test_other"])
    assert collected.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ("python:theirs:Broken", "the trainer broke: train() raised OSError: no simulator*"),
        ("python:theirs:Missing", "*has no attribute 'Missing'*"),
        ("no:such:form", "*a trainer is python:MODULE:ATTRIBUTE*"),
    ],
)
def test_a_trainer_that_cannot_be_judged_is_one_error(run, pytester, trainer, message):
    pytester.makepyfile(
        theirs="class Broken:\n    def train(self, scenario): raise OSError('no simulator')"
    )
    result = run("--trainer", trainer)
    result.assert_outcomes(errors=1, skipped=ALL - 1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*ERROR at setup of conformance::LAYOUT-001*", message])
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    # Also where the test that would say so is left out.
    one = run("--trainer", trainer, "-k", "BEST-003")
    one.assert_outcomes(errors=1, deselected=ALL - 1)


@pytest.mark.slow
def test_expected_failures_are_named_with_their_reason(run, pytester):
    def expecting(line):
        pytester.makeini(f"[pytest]\nconformance_expected_failures =\n    {line}")

    expecting("BEST-003: it always did")
    result = run("--trainer", TIE, "-rx")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["xfailed"] == 1
    result.stdout.fnmatch_lines(["XFAIL conformance::BEST-003 - *it always did"])
    assert run("--trainer", BASE).parseoutcomes()["failed"] == 1  # unexpectedly kept
    for wrong, message in (("BEST-003", "*needs a reason*"), ("BEST-3: x", "*there is no rule*")):
        expecting(wrong)
        result = run("--trainer", TIE)
        result.assert_outcomes(errors=1, skipped=ALL - 1)
        result.stdout.fnmatch_lines([message])


def test_strict_fails_what_was_never_exercised(run):
    result = run("--trainer", BASE, "--conformance-strict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["RESUME-001: never exercised*"])


def test_a_warning_is_one_of_pytest_s(run):
    trainer = "python:conformance.mutants:LeavesTemporaryFiles"
    result = run("--trainer", trainer)
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["warnings"] == 1
    result.stdout.fnmatch_lines(["*ConformanceWarning: LAYOUT-003: *"])
    assert run("--trainer", trainer, "-W", "error").parseoutcomes()["failed"] == 1


def test_wrong_options_are_wrong_usage(run):
    assert run("--trainer", BASE, "--conformance-max-examples=0").ret == pytest.ExitCode.USAGE_ERROR
    result = run("--trainer", BASE, "--conformance-profile=none")
    result.assert_outcomes(errors=1, skipped=ALL - 1)
    result.stdout.fnmatch_lines(["*no profile is called 'none'*"])


def test_rules_can_be_selected_and_left_out(run):
    options = ("--conformance-select", "BEST,cadence-001", "--conformance-select=NAME-001")
    result = run("--trainer", TIE, *options, "--conformance-ignore=BEST-003", "-v")
    assert result.ret == pytest.ExitCode.OK
    judged = [line.split()[0] for line in result.outlines if line.startswith("conformance::")]
    best = [rule.id for rule in RULES if rule.group == "BEST" and rule.id != "BEST-003"]
    assert sorted(judged) == sorted(
        f"conformance::{rule}" for rule in (*best, "CADENCE-001", "NAME-001")
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--conformance-select=BEST-03", "*no rule is called 'BEST-03'*"),
        ("--conformance-ignore=nothing", "*no rule is called 'nothing'*"),
        ("--conformance-select=", "*leave no rule to judge*"),
        ("--conformance-time-limit=0", "*invalid _seconds value: '0'*"),
    ],
)
def test_options_that_make_no_sense_are_told_before_anything_is_collected(run, option, message):
    result = run("--trainer", BASE, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_name_model_and_time_limit_are_those_of_the_command(run, pytester):
    pytester.makepyfile(
        theirs="import time\nfrom conformance.mutants import Trainer\n"
        "class Sleeps(Trainer):\n    def train(self, scenario): time.sleep(60)\n"
        "class Model:\n    def load_state_dict(self, state, strict): raise RuntimeError('no, no')\n"
        "    def state_dict(self): return {}\n"
    )
    limited = run(
        "--trainer=python:theirs:Sleeps", "--conformance-time-limit=0.2", "-k", "BEST-001"
    )
    limited.stdout.fnmatch_lines(["*train() did not end within 0.2 s*"])
    other = ("--trainer=python:conformance.mutants:CallsItBest", "--conformance-select=NAME-001")
    run(*other, "--conformance-name=best").assert_outcomes(passed=1)
    run(*other).assert_outcomes(failed=1)
    held = run(
        "--trainer", BASE, "--conformance-model=theirs:Model", "--conformance-select=LOAD-004"
    )
    held.assert_outcomes(failed=1)
    held.stdout.fnmatch_lines(["*no, no*"])
    wrong = run("--trainer", BASE, "--conformance-model=theirs:Nothing", "-k", "LOAD-004")
    wrong.assert_outcomes(errors=1, deselected=ALL - 1)
    wrong.stdout.fnmatch_lines(["*--conformance-model 'theirs:Nothing': *has no attribute*"])


@pytest.mark.slow
def test_the_test_file_of_the_documentation_runs(pytester):
    page = (Path(__file__).parents[1] / "docs" / "test-suites.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    defect = "from conformance.mutants import RewritesOnTie\nclass Trainer(RewritesOnTie): pass"
    pytester.makepyfile(test_theirs=block, my_fork=defect)
    result = pytester.runpytest_subprocess(*PLUGIN)
    found = result.parseoutcomes()
    assert found.pop("skipped") < 12
    assert found.pop("passed") > 30
    assert found == {"failed": 2, "xfailed": 1}  # the plain test and the machine see it
    result.stdout.fnmatch_lines(["*BEST-003: *"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--dist", "loadscope"), ("--dist", "loadgroup")])
def test_several_workers_drive_the_trainer_once(run, pytester, options):
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('x', range(9))\ndef test_x(x): 0")
    pytester.makepyfile(
        theirs="from conformance.mutants import Trainer\n"
        "class Counts(Trainer):\n"
        "    def __init__(self):\n"
        "        with open('/proc/self/stat') as stat, open('built', 'a') as built:\n"
        "            print(stat.read().split()[0], file=built)\n"
    )
    result = run("--trainer", "python:theirs:Counts", "-n", "2", *options)
    assert result.ret == pytest.ExitCode.OK
    assert sum(result.parseoutcomes().values()) == ALL + 9
    processes = set((pytester.path / "built").read_text().split())
    assert len(processes) == 1
    result.stdout.fnmatch_lines(["*Counts, profile isaacgymenvs, seed 7: *"])
