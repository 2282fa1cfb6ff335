"""Ctrl-C ends the suite with what was found until then, and leaves nothing half-written."""

from __future__ import annotations

import pytest

from conformance import mutants
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.suite.chains import chain_from_json
from conformance.suite.probes import probes
from conformance.suite.session import InterruptedSuite, run_suite

PROFILE = load_profile("isaacgymenvs")
PROBES = len(probes(PROFILE, resume=True))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def interrupted(trainer, at, **options):
    """What was found of a trainer in whose `at`-th session the user interrupts, counted from 1."""
    played = 0

    class Interrupted(trainer):
        def train(self, scenario):
            nonlocal played
            played += 1
            if played == at:
                raise KeyboardInterrupt
            assert played < at, "it was played on"
            super().train(scenario)

    given = {"profile": PROFILE, "seed": 1, "max_examples": PROBES + 20, **options}
    with pytest.raises(InterruptedSuite) as raised:
        run_suite(Interrupted, **given)
    assert played == at
    return raised.value.result


def sessions(trainer, **options):
    """How many sessions the trainer plays where nobody interrupts."""
    played = 0

    class Counted(trainer):
        def train(self, scenario):
            nonlocal played
            played += 1
            super().train(scenario)

    given = {"profile": PROFILE, "seed": 1, "max_examples": PROBES + 20, **options}
    run_suite(Counted, database=None, save_failures=None, **given)
    return played


@pytest.mark.parametrize(
    ("at", "phases"), [(1, {}), (3, {"probe": 2}), (45, {"probe": PROBES, "generate": 1})]
)
def test_a_conforming_trainer_has_conformed_so_far(at, phases):
    result = interrupted(mutants.Trainer, at).result
    assert result.interrupted
    assert result.failures == ()
    if len(phases) < 2:
        assert result.counts.scenarios == phases
    else:
        assert result.counts.scenarios["probe"] == PROBES
        assert 0 < result.counts.scenarios["generate"] < 20
    verdicts = {finding.rule: finding.verdict for finding in result.run.findings}
    told = Verdict.PASS if phases else Verdict.UNOBSERVABLE
    assert verdicts["BEST-001"] is told
    # What was not come to yet is not taken for kept.
    assert (verdicts["RESUME-001"] is Verdict.UNOBSERVABLE) == (len(phases) < 2)


def test_at_whatever_moment_a_defect_that_was_seen_is_told(folder):
    """While collecting, shrinking, playing once more, or keeping what it left."""
    options = {"max_examples": 4}
    whole = sessions(mutants.RewritesOnTie, **options)
    seen = False
    sizes = []
    for at in sorted({*range(3, whole, whole // 8), whole - 1, whole}):
        found = interrupted(mutants.RewritesOnTie, at, database=None, **options)
        rules = [failure.rule for failure in found.result.failures]
        assert rules in ([], ["BEST-003"])
        assert not (seen and not rules), at
        seen = bool(rules)
        if not seen:
            continue
        (failure,) = found.result.failures
        assert found.run.verdict == "fail"
        sizes.append(failure.chain[0].max_epochs)
        place = folder / ".conformance" / "failures"
        kept = chain_from_json((place / "BEST-003.json").read_text(), PROFILE)
        assert kept == failure.chain
        assert {path.name for path in place.iterdir()} <= {"BEST-003.json", "BEST-003"}
    assert sizes
    assert sizes == sorted(sizes, reverse=True)  # the later, the smaller
    assert sizes[-1] == 2


def test_what_an_earlier_failure_left_is_not_taken_for_that_of_this_one(folder):
    options = {"max_examples": 4, "database": None}
    left = folder / ".conformance" / "failures" / "BEST-003"
    (left / "A").mkdir(parents=True)
    found = interrupted(mutants.RewritesOnTie, 5, **options)
    assert found.saved["BEST-003"].tree is None
    assert not left.exists()


def test_earlier_failures_that_were_not_played_again_are_not_forgotten(folder):
    given = {"profile": PROFILE, "seed": 1, "max_examples": 4}

    class Mended(mutants.RewritesOnTie):
        mended = stops = False

        def train(self, scenario):
            if self.stops:
                raise KeyboardInterrupt
            super().train(scenario)

        def improves(self, reward):
            return reward > self.watermark if self.mended else super().improves(reward)

    def entries():
        return [path.name for path in (folder / ".conformance" / "examples").glob("*/*")]

    run_suite(Mended, **given)
    assert entries() == ["BEST-003.json"]
    Mended.mended = Mended.stops = True
    with pytest.raises(InterruptedSuite):
        run_suite(Mended, **given)
    assert entries() == ["BEST-003.json"]
    Mended.stops = False
    run_suite(Mended, **given)
    assert entries() == []


def test_a_breakage_that_was_seen_is_told(folder):
    class Breaks(mutants.Trainer):
        def train(self, scenario):
            if scenario.max_epochs > 1:
                raise RuntimeError("no licence")
            super().train(scenario)

    found = interrupted(Breaks, 8)
    (breakage,) = found.result.breakages
    assert breakage.broke.message == "train() raised RuntimeError: no licence"
    assert found.run.verdict == "error"
    assert (folder / ".conformance" / "failures" / "broke-raised.json").exists()


def test_inference_may_be_interrupted_too():
    class Plays(mutants.RewritesOnTie):
        def play(self, _scenario):
            raise KeyboardInterrupt

    with pytest.raises(InterruptedSuite) as raised:
        run_suite(Plays, profile=PROFILE, seed=1, max_examples=4)
    found = raised.value.result
    assert [failure.rule for failure in found.result.failures] == ["BEST-003"]
    assert found.saved["BEST-003"].tree is not None
    assert found.again == {}


def test_a_replay_may_be_interrupted_too():
    found = interrupted(mutants.Trainer, 1, replay=probes(PROFILE, resume=True)[0])
    assert found.result.counts.total == 0
    assert found.max_examples is None
