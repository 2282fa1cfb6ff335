"""Each defect says which rule must see it, and is seen by that rule as far as files show it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance import mutants
from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import BY_ID, RULES, Verdict
from conformance.convention.scenario import Scenario
from conformance.evidence.runs import scan_run
from conformance.mutants import DEFECTS, Trainer

_NAN, _INF = float("nan"), float("inf")


def _chain(rewards, save_freq, *lasts, resumes=("last", "best"), experiment="x.yA"):
    sessions = zip((None, *resumes), (*lasts, len(rewards)), strict=False)
    return [
        Scenario(experiment, ".", save_freq, last, tuple(rewards), resume=resume)
        for resume, last in sessions
    ]


_CHAINS = (
    _chain([1.5, 2.5, 2.0], 1),
    _chain([5.0, 3.0, 4.0, 4.0], 2),
    _chain([5.0, 5.0, 3.0], 0),
    _chain([-1.0, -2.0], 0),
    _chain([1.0, 1.0000001192092896], 0),
    _chain([1.0, 1.5], 0),
    _chain([1.0, _NAN, 5.0], 0),
    _chain([5.0, _NAN, 1.0, 5.0], 1),
    _chain([_NAN, 5.0], 1),
    _chain([-3.0, _NAN, -4.0], 0),
    _chain([1.0, _INF, 2.0], 0),
    _chain([_INF, -_INF, 2.0], 1),
    _chain([1.0, _INF], 0),
    _chain([5.0, _NAN], 0),
    _chain([_NAN], 0),
    _chain([None, _NAN], 0),
    _chain([5.0, 1.0, 4.0], 0),
    _chain([1.233999935780519e20], 1),
    _chain([-2e5], 0),
    _chain([-1e10], 0),
    _chain([None, None, None], 1),
    _chain([None, 3.0, 2.0, 1.0, 4.0], 2),
    _chain([66.52648162841797, 1e-05, 1e20], 1),
    _chain([-66.52648162841797, -70.0], 1),
    _chain([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3, resumes=["last"]),
    _chain([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 4, resumes=["last"]),
    _chain([1.0, 9.0, 3.0, 4.0, 5.0, 2.0], 1, 3, resumes=["last"]),
    _chain([1.0, 9.0, 8.5, 7.0], 1, 2, resumes=["last"]),
    _chain([9.0, 1.0, 2.0], 2, 1, resumes=["best"]),
)


def _failing(trainer, chain, root):
    for scenario in chain:
        trainer.train(replace(scenario, root=root))
    found = audit(scan_run(root / chain[0].experiment), load_profile()).findings
    assert [f.message for f in found if f.verdict is Verdict.ERROR] == []
    return {f.rule for f in found if f.verdict is Verdict.FAIL}


def test_without_a_defect_nothing_is_found(tmp_path):
    found = [_failing(Trainer(), chain, tmp_path / str(n)) for n, chain in enumerate(_CHAINS)]
    assert found == [set()] * len(_CHAINS)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_shows_in_the_files_by_its_own_rule(tmp_path, defect):
    shown = any(
        defect.rule in _failing(defect(), chain, tmp_path / str(number))
        for number, chain in enumerate(_CHAINS)
    )
    assert shown == defect.in_files


def test_each_rule_that_playing_can_show_has_a_defect():
    assert len(DEFECTS) >= 60
    assert {defect.rule for defect in DEFECTS} == {rule.id for rule in RULES if rule.played}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_told_by_its_name(defect):
    assert getattr(mutants, defect.__name__) is defect
    assert defect.rule in BY_ID
    assert defect.also <= BY_ID.keys() - {defect.rule}
    assert (defect.examples, defect.epochs) >= (1, 1)
    assert (defect.__doc__ or "").endswith(".")
    assert "\n" not in (defect.__doc__ or "")


def test_no_two_mutants_share_a_name():
    """One package has them all: the second of a name would be played in the place of the first."""
    every = (*DEFECTS, *mutants.ODDITIES, *mutants.CRASHES, mutants.SavesDurably, Trainer)
    names = [mutant.__name__ for mutant in every]
    assert len(set(names)) == len(names)
    assert all(getattr(mutants, mutant.__name__) is mutant for mutant in every)


def test_the_defects_of_one_group_of_rules_stand_in_one_file():
    files = {(BY_ID[defect.rule].group, defect.__module__) for defect in DEFECTS}
    groups, modules = zip(*files, strict=True)
    assert len(files) == len(set(groups)) == len(set(modules))
