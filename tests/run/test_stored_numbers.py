"""Numbers as checkpoints store them: NumPy's arrays of one element among them."""

from __future__ import annotations

import pytest

from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import numpy_array, numpy_scalar
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options


@pytest.mark.parametrize("stores", [float, numpy_scalar, numpy_array])
@pytest.mark.parametrize(("stored", "broken"), [(4.0, set()), (9.0, {"BEST-007"})])
def test_a_watermark_is_judged_however_it_is_stored(tmp_path, stores, stored, broken):
    """SAC's is an array of no dimension."""
    profile = load_profile("rl_games-sac")
    run = play(Settings("A", 0, 3, 0), [Session((1.0, 4.0, 2.0))], profile=profile)
    run = run.storing(run.best, last_mean_rewards=stores(stored))
    report = audit(scan_run(run.write(tmp_path)), profile, Options(None, 0, 3, 0))
    assert {found.rule for found in report.findings if found.verdict.value == "fail"} == broken


@pytest.mark.parametrize(("stored", "broken"), [(2, set()), (3, {"NAME-006"})])
def test_an_epoch_in_an_array_is_judged(tmp_path, stored, broken):
    profile = load_profile("rl_games-sac")
    run = play(Settings("A", 2, 3, 0), [Session((1.0, 4.0, 5.0))], profile=profile)
    run = run.storing(run.periodic(2), epoch=numpy_array(stored))
    report = audit(scan_run(run.write(tmp_path)), profile, Options(None, 2, 3, 0))
    assert {found.rule for found in report.findings if found.verdict.value == "fail"} == broken
