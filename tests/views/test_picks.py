"""Which checkpoint a consumer takes: the best, the latest, and what it passes over."""

from __future__ import annotations

import math
from struct import pack

import pytest
from played import Played

from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import array
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.picks import picks

BEST, LAST = "nn/Ant.pth", "nn/last_Antep4rew2.0.pth"


@pytest.fixture
def files():
    """A run whose best is of epoch 3 and whose last checkpoint is of epoch 4."""
    trainer = Played("Ant", 2, 4)
    trainer.run([1.0, 3.0, 4.0, 2.0])
    return trainer.files


def picked(root, files):
    folder = Played("Ant", 0, 0, files=files).write(root)
    found = picks(Subject(scan_run(folder), load_profile(), Options()))
    return (
        None if found.best is None else found.best.path,
        None if found.latest is None else found.latest.path,
        {file.path: why for file, why in found.skipped},
    )


def test_the_latest_is_of_the_highest_epoch_and_the_best_is_called_so(tmp_path, files):
    assert picked(tmp_path, files) == (BEST, LAST, {})


def test_the_best_may_be_the_only_file_of_a_run(tmp_path, files):
    assert picked(tmp_path, {BEST: files[BEST]}) == (BEST, BEST, {})


def test_what_cannot_be_loaded_is_passed_over_and_told(tmp_path, files):
    best, latest, skipped = picked(tmp_path, {**files, LAST: b"", BEST: files[BEST][:-9]})
    assert (best, latest) == (None, "nn/last_Antep2rew3.0.pth")
    assert skipped.keys() == {BEST, LAST}
    assert skipped[LAST] == "no regular file with bytes in it"


def test_a_best_that_holds_a_nan_is_none_to_take_and_told(tmp_path):
    run = play(Settings("Ant", 2, 4), [Session((1.0, 3.0, 4.0, 2.0))])
    bad = array("float32", (2,), pack("<2f", 1.0, math.nan))
    folder = run.storing(run.best, model={"actor.bias": bad}).write(tmp_path)
    found = picks(Subject(scan_run(folder), load_profile(), Options()))
    assert (found.best, found.skipped) == (None, ())
    ((file, why),) = found.poisoned
    assert (file.path, why.endswith("holds a NaN")) == (BEST, True)
    assert found.latest is not None  # it loads: what to resume from is another question


def test_a_file_of_no_name_of_the_dialect_is_nobody_s_choice(tmp_path, files):
    named = {"nn/model.pth": files[BEST], "nn/deep/Ant.pth": files[BEST]}
    assert picked(tmp_path, named) == (None, None, {})
