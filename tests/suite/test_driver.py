"""Driving through a chain: folders, the journal, what is left outside, and trainers that break."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import replace

import pytest
from driving import PROFILE, driver, session

from conformance import mutants
from conformance.checks.finding import run_verdict
from conformance.convention.rules import Verdict
from conformance.evidence.journal import Watcher
from conformance.suite.driver import Driver
from conformance.suite.engine import Engine
from conformance.trainers import open_trainer
from conformance.trainers.workspace import Workspace

NAN = math.nan
CHAIN = (session((1.0, 3.0, 3.0, 2.0, 4.0)),)
RESUMED = (session((1.0, 3.0)), session((1.0, 3.0, 2.0, 4.0), resume="last"))
BASE = "python:conformance.mutants:Trainer"


def failing_in(attempts):
    return {rule for attempt in attempts for rule in attempt.failing}


# --- what an attempt tells ------------------------------------------------------------------


def test_a_play_tells_each_session_its_epochs_and_its_saves():
    with driver(BASE) as one:
        attempt = one.drive(RESUMED)
    assert attempt.chain is RESUMED
    assert [report.verdict for report in attempt.reports] == ["conforms", "conforms"]
    assert (attempt.epochs, attempt.saves) == (4, 7)  # four periodic, and three of the best
    assert attempt.failing == {}
    assert attempt.broke is attempt.unsupported is None


def test_the_worst_finding_of_a_rule_speaks_for_all_sessions():
    with driver(BASE) as one:
        attempt = one.drive(RESUMED)
    assert attempt.reports[0].findings != attempt.reports[1].findings
    assert attempt.findings["RESUME-001"].verdict is Verdict.PASS  # not applicable in the first
    with driver("python:conformance.mutants:RestartsAtOne") as one:
        attempt = one.drive(RESUMED)
    assert set(attempt.failing) == {"RESUME-001"}
    assert attempt.findings["LOAD-001"].verdict is Verdict.PASS  # not applicable in the second


BROKEN_FIRST = (session((1.0, 1.0)), session((1.0, 1.0, 2.0), resume="last"))


def test_behind_a_broken_session_only_the_resume_is_judged():
    """What is in the files of the first would show again; how the second starts is its own."""
    with driver("python:conformance.mutants:RewritesOnTie") as one:
        first, second = one.drive(BROKEN_FIRST).reports
        assert len(first.findings) > 40
        assert [finding.rule for finding in second.findings] == ["RESUME-001"]
        assert one.drive(BROKEN_FIRST).findings["RESUME-001"].verdict is Verdict.PASS
        assert [len(report.findings) for report in one.drive(RESUMED).reports] == (
            [len(first.findings)] * 2
        )


@pytest.mark.parametrize("mutant", ["WritesEmptyFiles", "LogsNothing", "ForgetsTheOptimizer"])
def test_nothing_is_played_behind_a_session_that_leaves_nothing_to_resume(mutant):
    with driver(f"python:conformance.mutants:{mutant}") as one:
        attempt = one.drive(BROKEN_FIRST)
    assert len(attempt.reports) == 1
    assert attempt.unsupported is None


def test_two_defects_apart_are_found_in_one_run():
    class Both(mutants.FormatsTheReward, mutants.LosesTheWatermarkOnResume):
        pass

    with driver(Both) as one:
        attempt = one.drive((session((2.0, 1.0)), session((2.0, 1.0, 1.5), resume="last")))
    assert {"NAME-005", "BEST-008"} <= set(attempt.failing)


def test_a_warning_does_not_end_the_chain():
    chain = tuple(replace(scenario, experiment="x y") for scenario in RESUMED)
    with driver(BASE) as one:
        attempt = one.drive(chain)
    assert set(attempt.failing) == {"NAME-008"}
    assert len(attempt.reports) == 2


def test_each_play_has_a_folder_of_its_own_that_is_gone_afterwards():
    roots = []
    with driver(BASE) as one:
        for _ in range(3):
            one.drive(CHAIN, keep=lambda root: roots.append((root, sorted(root.iterdir()))))
        assert [[path.name for path in found] for _, found in roots] == [["A"]] * 3
        assert len({root for root, _ in roots}) == 3
        assert not any(root.exists() for root, _ in roots)


def test_what_keep_is_given_is_the_attempt_that_counts():
    trees = []
    with driver("python:conformance.mutants:RewritesOnTie") as one:
        attempt = one.drive(
            CHAIN, keep=lambda root: trees.append({p.name for p in root.rglob("*")})
        )
    assert set(attempt.failing) == {"BEST-003"}
    assert "A.pth" in trees[-1]


def test_what_was_selected_is_judged_alone():
    with driver(
        "python:conformance.mutants:RewritesOnTie", selected=frozenset({"NAME-001"})
    ) as one:
        assert set(one.drive(CHAIN).findings) == {"NAME-001"}


# --- folders that are there already ---------------------------------------------------------


def test_a_trainer_that_refuses_a_folder_that_is_there_is_not_to_blame():
    with driver("python:odd_trainers:RefusesAFolderThatIsThere") as one:
        attempts = [one.drive(chain) for chain in (CHAIN, RESUMED) * 8]
    assert [attempt.broke for attempt in attempts] == [None] * 16
    assert failing_in(attempts) == set()


def test_a_trainer_that_takes_another_name_where_one_is_taken_is_not_to_blame():
    with driver("python:odd_trainers:TakesAnotherNameIfTheFolderIsThere") as one:
        attempts = [one.drive(chain) for chain in (CHAIN, RESUMED) * 8]
    assert [attempt.broke for attempt in attempts] == [None] * 16
    assert failing_in(attempts) == set()


@pytest.mark.parametrize("chain", [CHAIN, RESUMED])
def test_a_run_in_another_folder_than_the_one_asked_for_is_told_each_time(chain):
    with driver("python:odd_trainers:StampsItsFolder") as one:
        attempts = [one.drive(chain) for _ in range(9)]
    assert [set(attempt.failing) & {"LAYOUT-001"} for attempt in attempts] == [{"LAYOUT-001"}] * 9


def test_a_run_in_two_folders_is_told():
    with driver("python:conformance.mutants:SavesOnEachRank") as one:
        attempts = [one.drive(CHAIN) for _ in range(9)]
    assert [set(attempt.failing) for attempt in attempts] == [{"RANK-001"}] * 9


def test_what_is_left_outside_of_the_root_is_no_failure_of_a_rule():
    with driver("python:odd_trainers:WritesBesideItsRoot") as one:
        attempt = one.drive(CHAIN)
    assert attempt.failing == {}
    assert attempt.broke is not None
    assert attempt.broke.code == "strays"
    assert "last_run.txt" in attempt.broke.message
    assert attempt.broke.hint


def test_what_another_process_leaves_in_the_working_directory_meanwhile_is_not_blamed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    class Interrupted(mutants.Trainer):
        attempts = 0

        def train(self, scenario):
            super().train(scenario)
            type(self).attempts += 1
            if self.attempts == 1:  # as if another trainer had begun just now
                (tmp_path / "other.pth").write_bytes(b"weights")

    with driver(Interrupted) as one:
        attempt = one.drive(CHAIN)
    assert attempt.broke is None
    assert Interrupted.attempts == 2


def test_a_trainer_that_fails_now_and_then_is_not_taken_for_one_that_minds_its_folder(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, json\n"
        "from conformance import Scenario, mutants\n"
        "failed = False\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    if asked['cmd'] == 'stop': break\n"
        "    if asked['cmd'] == 'train':\n"
        "        scenario = Scenario.from_mapping(asked['scenario'])\n"
        "        fails = (scenario.root / 'A').exists() and not failed\n"
        "        failed = failed or fails\n"
        "        (mutants.RewritesOnTie if fails else mutants.Trainer)().train(scenario)\n"
        "    about = {'name': 'now and then', 'version': '1'}\n"
        "    print(json.dumps({'ok': True, 'protocol': 1, 'trainer': about,"
        " 'capabilities': ['resume']}), flush=True)\n"
    )
    with driver(f"worker:{shlex.quote(sys.executable)} {worker}") as one:
        assert one.drive(CHAIN).is_sound  # the first attempt with a worker finds no folder prepared
        assert set(one.drive(CHAIN).failing) == {"BEST-003"}


# --- the journal ----------------------------------------------------------------------------


class Kept:
    """A watcher whose journals are changed on the way."""

    def __init__(self, watcher, change):
        self.watcher = watcher
        self.change = change
        self.recorded = 0

    def record(self, root, *, prepared=False):
        """Record, to change the journal at the end."""
        self.recorded += 1
        recording, change, number = self.watcher.record(root, prepared=prepared), self.change, self

        class Recording:
            def stop(self):
                return change(recording.stop(), number.recorded)

        return Recording()


def drive_with(change, chain=CHAIN, spec=BASE, times=1):
    """The attempts with changed journals, and how often it was recorded."""
    with open_trainer(spec) as trainer, Workspace() as workspace, Watcher() as watcher:
        kept = Kept(watcher, change)
        one = Driver(trainer, PROFILE, workspace, kept)
        return [one.drive(chain) for _ in range(times)], kept.recorded


def test_a_journal_that_came_too_late_is_repeated():
    def first_is_late(journal, number):
        return replace(journal, late=("A/nn",)) if number == 1 else journal

    (attempt,), recorded = drive_with(first_is_late)
    assert recorded == 2
    assert attempt.findings["CADENCE-005"].verdict is Verdict.PASS


def test_a_journal_that_always_comes_too_late_is_given_up_and_blames_nothing():
    def late(journal, _):
        return replace(journal, late=("A/nn",), events=journal.events[3:])

    (attempt,), recorded = drive_with(late)
    assert 1 < recorded < 10
    assert attempt.failing == {}
    assert attempt.findings["CADENCE-004"].verdict is Verdict.UNOBSERVABLE


def test_a_late_folder_elsewhere_does_not_matter():
    def late(journal, _):
        return replace(journal, late=("A/nnn", "A/videos"))

    (attempt,), recorded = drive_with(late)
    assert recorded == 1
    assert attempt.findings["CADENCE-005"].verdict is Verdict.PASS


def test_an_overflow_is_an_error_and_never_a_pass():
    def overflows(journal, _):
        return replace(journal, overflowed=True, problem="the queue ran over")

    (attempt,), _ = drive_with(overflows)
    assert attempt.failing == {}
    assert attempt.reports[0].verdict == "error"
    assert attempt.findings["CADENCE-005"].verdict is Verdict.ERROR


def test_a_journal_of_gaps_is_unobservable():
    def has_gaps(journal, _):
        return replace(journal, problem="a folder could not be watched", events=())

    (attempt,), _ = drive_with(has_gaps)
    assert attempt.failing == {}
    assert attempt.findings["CADENCE-004"].verdict is Verdict.UNOBSERVABLE


def test_without_a_journal_the_order_of_writes_is_unobservable_and_the_verdict_incomplete():
    with driver(BASE, watched=False) as one:
        attempt = one.drive(CHAIN)
    for rule in ("CADENCE-004", "CADENCE-005"):
        assert attempt.findings[rule].verdict is Verdict.UNOBSERVABLE
        assert "this system keeps no journal" in attempt.findings[rule].message
    assert run_verdict(attempt.findings.values()) == "incomplete"
    assert attempt.failing == {}


def test_a_run_that_is_moved_into_place_is_not_blamed():
    with driver("python:odd_trainers:MovesARunIntoPlace") as one:
        attempts = [one.drive(CHAIN) for _ in range(3)]
    assert failing_in(attempts) == set()


# --- trainers that break, or do nothing -----------------------------------------------------


def test_a_trainer_that_breaks_is_no_failure_of_a_rule():
    chain = (session((1.0, 2.0, NAN, 3.0)),)
    with driver("python:odd_trainers:RaisesAtNanInEpochThree") as one:
        attempt = one.drive(chain)
        assert one.drive(CHAIN).broke is None
    assert attempt.broke is not None
    assert (attempt.broke.code, attempt.reports) == ("raised", ())
    assert "the loss is NaN" in attempt.broke.message
    assert attempt.findings == {}


def test_what_was_judged_before_it_broke_counts():
    chain = (session((1.0, 1.0)), session((1.0, 1.0, NAN), resume="last"))
    with driver("python:odd_trainers:RaisesAtNanInEpochThree") as one:
        attempt = one.drive(chain)
    assert attempt.broke is not None
    assert len(attempt.reports) == 1


@pytest.mark.parametrize("trainer", ["CannotResume", "SaysThatItCannotResume"])
def test_a_resume_that_it_does_not_offer_is_left_out(trainer):
    with driver(f"python:odd_trainers:{trainer}") as one:
        attempt = one.drive(RESUMED)
    assert attempt.broke is None
    assert attempt.unsupported
    assert len(attempt.reports) == 1
    assert attempt.findings["RESUME-001"].verdict is Verdict.NOT_APPLICABLE


def test_a_trainer_that_does_nothing_does_not_conform():
    with driver("python:odd_trainers:PlaysNothing") as one:
        attempts = [one.drive(CHAIN) for _ in range(2)]
        verdict = Engine(one).run(max_examples=12, seed=0).run.verdict
    for attempt in attempts:
        assert attempt.broke is None
        assert {"BEST-001", "LAYOUT-002"} <= set(attempt.failing)
    assert verdict == "fail"
