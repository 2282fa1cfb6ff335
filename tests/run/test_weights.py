"""Digests tell which checkpoints hold the same weights; without one they tell nothing."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import floats
from conformance.fixtures.play import Session, play
from conformance.run import weights
from conformance.run.settings import Options
from conformance.run.subject import Subject


@pytest.fixture
def run():
    """Return a run whose best is that of epoch 2."""
    return play(Settings("A", 1, 3), [Session((1.0, 3.0, 2.0))])


def test_files_without_a_state_dict_do_not_hold_the_same_weights(tmp_path, run):
    bare = run.each(lambda run, file: run.holding(file, {"epoch": file.epoch}))
    first, second, *_ = Subject(
        scan_run(bare.write(tmp_path)), load_profile(), Options()
    ).files.checkpoints
    assert not weights.same(first, first)
    assert not weights.same(first, second)


def test_the_best_and_the_periodic_checkpoint_of_its_epoch_hold_the_same(tmp_path, run):
    subject = Subject(scan_run(run.write(tmp_path)), load_profile(), Options())
    same = {file.epoch for file in subject.files.periodic if weights.same(file, subject.best)}
    assert same == {2}


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"weight": floats(9.0), "bias": floats(0.0)}, {"BEST-002"}),  # other weights
        ({"weight": floats(9.0)}, {"LOAD-003"}),
        ({"weight": floats(9.0), "other": floats(0.0)}, {"LOAD-003"}),
        ({"weight": floats(9.0, 9.0), "bias": floats(0.0)}, {"LOAD-003"}),
        ({"weight": floats(9.0), "bias": floats(0.0, 0.0)}, {"LOAD-003"}),
    ],
)
def test_a_best_of_another_layout_is_no_best_of_another_epoch(tmp_path, run, changed, broken):
    for file in tuple(run.checkpoints.values()):
        model = OrderedDict(weight=floats(float(file.epoch)), bias=floats(0.0))
        run = run.storing(file, model=model)
    run = run.storing(run.best, model=OrderedDict(changed))
    found = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    assert {finding.rule for finding in found if finding.verdict is Verdict.FAIL} == broken
