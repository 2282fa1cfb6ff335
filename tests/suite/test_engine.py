"""The engine finds each rule that breaks, shrinks it, and counts what was exercised."""

from __future__ import annotations

import math
from dataclasses import replace

import odd_trainers
import pytest
from driving import PROFILE, driver, session

from conformance.convention.rules import BY_ID, RULES, Level, Verdict
from conformance.convention.sessions import played
from conformance.suite.engine import Engine
from conformance.suite.probes import probes
from conformance.suite.shrink import identity, size

NAN = math.nan
BASE = "python:conformance.mutants:Trainer"
PROBES = len(probes(PROFILE, resume=True))


def run(spec, max_examples=PROBES, seed=0, *, reuse=(), watched=True, **options):
    with driver(spec, watched=watched, **options) as one:
        return Engine(one).run(max_examples=max_examples, seed=seed, reuse=reuse)


def findings(result):
    return {finding.rule: finding for finding in result.run.findings}


# --- one that conforms ----------------------------------------------------------------------


def test_a_trainer_that_conforms_is_told_so_rule_by_rule():
    result = run(BASE, max_examples=PROBES + 20)
    assert result.run.verdict == "conforms"
    assert (result.failures, result.breakages) == ((), ())
    assert [finding.rule for finding in result.run.findings] == [rule.id for rule in RULES]
    assert result.counts.scenarios == {"probe": PROBES, "generate": 20}
    assert result.counts.total == PROBES + 20
    assert result.counts.sessions > result.counts.total
    assert result.counts.epochs > result.counts.sessions
    assert result.counts.saves > 0
    assert (result.counts.shrinking, result.counts.unsupported) == (0, 0)
    assert findings(result)["BEST-003"].evidence["passed"] == result.evaluations["BEST-003"] > 0


def test_fewer_examples_than_probes_are_the_first_probes():
    result = run(BASE, max_examples=2)
    assert result.counts.scenarios == {"probe": 2}


def test_the_same_seed_plays_the_same_chains():
    def chains(seed):
        with driver(BASE) as one:
            asked = []
            drive = one.drive
            one.drive = lambda chain, **rest: asked.append(identity(chain)) or drive(chain, **rest)
            Engine(one).run(max_examples=PROBES + 20, seed=seed)
        return asked

    first, again, other = chains(1), chains(1), chains(2)
    assert first == again != other
    assert first[:PROBES] == other[:PROBES]


def test_progress_is_told_by_phase():
    told = []
    with driver(BASE) as one:
        engine = Engine(one, progress=lambda *seen: told.append(seen))
        engine.run(max_examples=PROBES + 3, seed=0)
    assert [phase for phase, *_ in told] == ["probe"] * PROBES + ["generate"] * 3
    assert [done for _, done, *_ in told] == list(range(1, PROBES + 4))
    assert {(of, failing) for *_, of, failing in told} == {(PROBES + 3, 0)}


# --- one that fails -------------------------------------------------------------------------


def test_a_failure_is_told_with_the_shortest_scenario():
    result = run("python:conformance.mutants:RewritesOnTie")
    assert result.run.verdict == "fail"
    (failure,) = result.failures
    assert (failure.rule, failure.level) == ("BEST-003", Level.MUST)
    assert identity(failure.chain) == identity((session((0.0, 0.0), 0),))
    assert (failure.found_by, failure.number, failure.steady) == ("probe", 1, True)
    assert failure.finding.fix
    assert findings(result)["BEST-003"] == failure.finding
    assert result.counts.shrinking > 0


@pytest.mark.parametrize(
    ("defect", "rule", "sessions", "epochs"),
    [
        ("RewritesOnTie", "BEST-003", 1, 2),
        ("BestIsLatest", "BEST-004", 1, 2),
        ("PoisonedByNan", "BEST-005", 1, 2),
        ("TakesZeroForOne", "CADENCE-003", 1, 1),
        ("PadsTheEpoch", "NAME-004", 1, 1),
        ("SavesTheBestFirst", "CADENCE-005", 1, 1),
        ("RestartsAtOne", "RESUME-001", 2, 3),
        ("LosesTheWatermarkOnResume", "BEST-008", 2, 3),
    ],
)
def test_the_shortest_scenario_is_no_longer_than_this(defect, rule, sessions, epochs):
    result = run(f"python:conformance.mutants:{defect}", max_examples=60)
    failure = next(failure for failure in result.failures if failure.rule == rule)
    assert (len(failure.chain), sum(s.max_epochs for s in failure.chain)) <= (sessions, epochs)
    assert failure.steady
    assert played(PROFILE, failure.chain)


def test_what_found_a_failure_is_the_first_that_did():
    """Here a probe, whatever smaller scenario is generated later."""
    (failure,) = run("python:conformance.mutants:CallsItBest", max_examples=PROBES + 30).failures
    assert (failure.found_by, failure.number) == ("probe", 1)


def test_without_probes_the_generated_ones_are_all():
    with driver("python:conformance.mutants:RewritesOnTie") as one:
        result = Engine(one).run(max_examples=30, seed=0, probing=False)
    assert result.counts.scenarios == {"generate": 30}
    assert [failure.found_by for failure in result.failures] == ["generate"]


def test_a_warning_fails_nothing():
    result = run("python:conformance.mutants:LeavesTemporaryFiles")
    assert result.run.verdict == "conforms"
    (failure,) = result.failures
    assert (failure.rule, failure.level) == ("LAYOUT-003", Level.SHOULD)


def test_a_chain_that_failed_before_is_played_first():
    earlier = (session((5.0, 5.0), 3),)
    result = run("python:conformance.mutants:RewritesOnTie", max_examples=1, reuse=[earlier])
    assert result.counts.scenarios == {"reuse": 1, "probe": 1}
    (failure,) = result.failures
    assert failure.found_by == "reuse"


def test_a_replay_plays_one_chain_as_it_is_and_asks_for_nothing_more():
    chain = (session((5.0, 5.0, 1.0), 3),)
    for spec, rules in (("RewritesOnTie", ["BEST-003"]), ("Trainer", [])):
        with driver(f"python:conformance.mutants:{spec}") as one:
            result = Engine(one).replay(chain)
        assert [failure.rule for failure in result.failures] == rules
        assert all(failure.chain == chain for failure in result.failures)
        assert result.counts.scenarios == {"replay": 1}
        assert result.run.verdict == ("fail" if rules else "conforms")


def test_a_failure_that_does_not_come_again_is_told_as_such():
    odd_trainers.RewritesTheFirstTie.ties = 0
    (failure,) = run("python:odd_trainers:RewritesTheFirstTie", max_examples=1).failures
    assert failure.rule == "BEST-003"
    assert not failure.steady


# --- what was never exercised ---------------------------------------------------------------


def test_a_must_rule_that_was_never_exercised_makes_it_incomplete():
    result = run(BASE, max_examples=1)  # a NaN and ties, but no resume
    assert result.run.verdict == "incomplete"
    finding = findings(result)["RESUME-001"]
    assert finding.verdict is Verdict.UNOBSERVABLE
    assert "never exercised in 1 scenarios" in finding.message


def test_without_a_journal_it_is_incomplete():
    result = run(BASE, watched=False)
    assert result.run.verdict == "incomplete"
    unobservable = {
        rule
        for rule, finding in findings(result).items()
        if finding.verdict is Verdict.UNOBSERVABLE
    }
    assert unobservable == {"CADENCE-004", "CADENCE-005"}


@pytest.mark.parametrize("trainer", ["CannotResume", "SaysThatItCannotResume"])
def test_a_trainer_that_cannot_resume_is_incomplete(trainer):
    result = run(f"python:odd_trainers:{trainer}")
    assert result.run.verdict == "incomplete"
    assert findings(result)["RESUME-001"].verdict is Verdict.UNOBSERVABLE
    assert result.breakages == ()
    assert (result.counts.unsupported > 0) == (trainer == "CannotResume")


def test_nothing_played_conforms_to_nothing():
    result = run(BASE, max_examples=0)
    assert result.run.verdict == "incomplete"
    assert result.counts.total == 0


def test_rules_that_need_more_than_one_process_are_not_gated():
    gated = {rule.id for rule in RULES if rule.gated(PROFILE)}
    assert {"RANK-001", "LOAD-004", "INTEGRITY-002", "RESUME-002"}.isdisjoint(gated)
    assert all(rule.level is Level.MUST for rule in RULES if rule.id in gated)


def test_what_a_profile_has_not_is_not_gated():
    none = replace(PROFILE, resume_keeps_watermark=False, legacy_guard=True)
    assert BY_ID["BEST-008"].gated(PROFILE)
    assert not BY_ID["BEST-008"].gated(none)
    assert BY_ID["CADENCE-005"].gated(PROFILE)
    assert not BY_ID["CADENCE-005"].gated(none)


# --- one that breaks ------------------------------------------------------------------------


@pytest.mark.as_locked
def test_a_breakage_is_shrunk_and_told_apart_from_the_rules():
    result = run("python:odd_trainers:RaisesAtNanAndRewritesOnTie", max_examples=120)
    (breakage,) = result.breakages
    assert breakage.broke.code == "raised"
    assert "the loss is NaN" in breakage.broke.message
    assert "odd_trainers.py" in breakage.broke.output
    assert identity(breakage.chain) == identity((session((0.0, 0.0, NAN), 0),))
    assert breakage.times > 1
    assert {"BEST-003"} <= {f.rule for f in result.failures} <= {"BEST-001", "BEST-003", "BEST-008"}
    assert result.run.verdict == "fail"


def test_a_breakage_without_a_broken_rule_is_an_error():
    result = run("python:odd_trainers:RaisesAtNanInEpochThree", max_examples=120)
    assert result.failures == ()
    assert len(result.breakages) == 1
    assert result.run.verdict == "error"


def test_a_trainer_that_never_gets_anywhere_is_given_up_soon():
    odd_trainers.AlwaysRaises.asked = 0
    result = run("python:odd_trainers:AlwaysRaises", max_examples=1000)
    assert odd_trainers.AlwaysRaises.asked < 50
    (breakage,) = result.breakages
    assert "no simulator found" in breakage.broke.message
    assert result.counts.total == 0
    assert result.run.verdict == "error"
    assert {finding.verdict for finding in result.run.findings} == {Verdict.UNOBSERVABLE}
    assert "no simulator found" in result.run.findings[0].message


def test_failures_are_no_larger_than_what_they_were_found_in():
    found = probes(PROFILE, resume=True)
    for failure in run("python:conformance.mutants:BestIsLatest").failures:
        assert failure.found_by == "probe"
        assert size(failure.chain) <= max(map(size, found))
