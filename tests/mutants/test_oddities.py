"""What keeps the convention in an unusual way is not blamed for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import BY_ID, Level, Verdict
from conformance.convention.scenario import Scenario
from conformance.evidence.runs import scan_run
from conformance.mutants import ODDITIES, Trainer
from conformance.mutants.oddities import (
    KeepsNoConfig,
    LinksTheBestToThePeriodicFile,
    RotatesItsLog,
    WritesInAThread,
)
from conformance.strategies import chains

_RISE_AND_FALL = (None, 1.5, -2.0, 1.5, float("nan"), 1234567.0, 66.52648162841797, float("inf"))
_FALL = (-1e-05, -3.0, -3.0, -1e10)


def found(trainer, chain, root):
    """The rules that some session's files break, and those that failed, with their messages."""
    wrong = {}
    for scenario in chain:
        # A config tells one save_freq, that of the latest session.
        trainer.train(replace(scenario, root=root, save_freq=chain[0].save_freq))
        report = audit(scan_run(root / scenario.experiment), load_profile())
        wrong |= {
            finding.rule: finding.message
            for finding in report.findings
            if finding.verdict in (Verdict.FAIL, Verdict.ERROR)
        }
    return wrong


def chain(rewards, save_freq, *lasts, experiment="Aep12", resumes=("last", "best")):
    sessions = zip((None, *resumes), (*lasts, len(rewards)), strict=False)
    return [
        Scenario(experiment, ".", save_freq, last, rewards, resume=resume)
        for resume, last in sessions
    ]


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.__name__)
def test_an_oddity_is_clean(tmp_path, oddity):
    for number, played in enumerate(
        (
            chain(_RISE_AND_FALL, 1, 3, 6),
            chain(_RISE_AND_FALL, 2, 4),
            chain(_RISE_AND_FALL, 0),
            chain(_FALL, 3, 2, experiment="last_x.y"),
        )
    ):
        wrong = found(oddity(), played, tmp_path / str(number))
        assert {rule: wrong[rule] for rule in wrong.keys() - oddity.warns} == {}


@pytest.mark.slow
@given(oddity=st.sampled_from(ODDITIES), played=chains())
@settings(deadline=None, max_examples=500, suppress_health_check=list(HealthCheck))
def test_an_oddity_is_clean_in_many_runs(tmp_path_factory, oddity, played):
    wrong = found(oddity(), played, tmp_path_factory.mktemp("runs") / str(next(_NUMBERS)))
    assert {rule: wrong[rule] for rule in wrong.keys() - oddity.warns} == {}


_NUMBERS = count()


def test_oddities_break_no_rule_and_warn_by_should_rules_alone():
    assert len(ODDITIES) >= 25
    for oddity in ODDITIES:
        assert oddity.rule == ""
        assert all(BY_ID[rule].level is Level.SHOULD for rule in oddity.warns)
        assert (oddity.__doc__ or "").count("\n") == 0 != len(oddity.__doc__ or "")


_METHODS = [name for name, value in vars(Trainer).items() if callable(value)]


def test_each_oddity_is_odd(tmp_path):
    """Lest an override that no longer takes effect leaves a plain trainer that is clean."""
    plain = {
        oddity.__name__
        for oddity in ODDITIES
        if all(getattr(oddity, name) is getattr(Trainer, name) for name in _METHODS)
    }
    assert plain == set()
    [session] = chain(_RISE_AND_FALL, 1)
    for oddity in (KeepsNoConfig, LinksTheBestToThePeriodicFile, RotatesItsLog, WritesInAThread):
        oddity().train(replace(session, root=tmp_path / oddity.__name__))
    assert not (tmp_path / "KeepsNoConfig/Aep12/config.yaml").exists()
    best = tmp_path / "LinksTheBestToThePeriodicFile/Aep12/nn/Aep12.pth"
    assert best.stat().st_nlink == 2
    assert len(list((tmp_path / "RotatesItsLog/Aep12/summaries").iterdir())) == 5
    assert len(list((tmp_path / "WritesInAThread/Aep12/nn").iterdir())) == 8
