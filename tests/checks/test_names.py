"""Which names are safe everywhere, and what is said of one that is not."""

from __future__ import annotations

import pytest

from conformance.checks import audit
from conformance.checks.names import unsafe_part
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary, trained
from conformance.fixtures.play import Session, play


def told(run, root, profile=None):
    """The finding of NAME-008."""
    found = audit(scan_run(run.write(root)), profile or load_profile()).findings
    return next(each for each in found if each.rule == "NAME-008")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a b",
            "a=b",
            "a[1]",
            "a:b",
            "a*b",
            "a?b",
            'a"b',
            "a<b",
            "a>b",
            "a|b",
            "a\\b",
            "-a",
            "~a",
        ),
        *("a.", "a.b.", "...", "a ", "CON", "con", "Prn", "AUX", "nul", "NUL.txt", "aux.v2"),
        *("COM1", "com9.pth", "LPT3", "COM\u00b2", "CONIN$", "con .txt"),
    ],
)
def test_a_name_that_is_not_safe_everywhere(name):
    assert unsafe_part(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Ant-v2_seed.3",
            "CONTROL",
            "console",
            "COM",
            "COM0",
            "COM10",
            "LPT",
            "null",
            "auxiliary",
        ),
        *("v2.aux", "my-con", "a.b", ".hidden", "A+B@C%D#E^F", "\u00e9t\u00e9"),
    ],
)
def test_a_name_that_is_safe_everywhere(name):
    assert unsafe_part(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Ant_10:14:29", "':'"),
        ("CON", "a device of Windows"),
        ("aux.v2", "a device of Windows"),
        ("Ant.", "a dot at its end"),
        ("x[1]", "'['"),
    ],
)
def test_an_unsafe_experiment_is_to_be_called_otherwise(tmp_path, name, why):
    found = told(trained(1.0, 2.0, name=name), tmp_path)
    assert found.verdict is Verdict.FAIL
    assert why in found.message
    assert "Choose an experiment name" in found.fix


def test_brackets_that_the_reward_is_printed_with_are_no_matter_of_the_experiment(tmp_path):
    run = ordinary()
    found = told(run.renamed(run.periodic(4), "last_Cartpoleep4rew[3.].pth"), tmp_path)
    assert found.verdict is Verdict.FAIL
    assert "Print the mean reward" in found.fix
    assert "Choose an experiment name" not in found.fix


def test_what_the_dialect_writes_is_no_matter_of_the_experiment(tmp_path):
    profile = load_profile("rl_games-1.0")
    run = play(Settings("A", 2, 3, 0), [Session((3.0, 2.0, 1.0))], profile=profile)
    found = told(run, tmp_path, profile)
    assert found.verdict is Verdict.FAIL
    assert "dialect's" in found.fix
    assert "Choose an experiment name" not in found.fix


def test_names_that_differ_by_case_are_told_apart_from_unsafe_ones(tmp_path):
    run = ordinary()
    run = run.with_other("nn/last_cartpoleep4rew3.0.pth", run.periodic(4).data)
    found = told(run, tmp_path)
    assert found.verdict is Verdict.FAIL
    assert "a disk that ignores case" in found.fix
    assert "Choose an experiment name" not in found.fix
