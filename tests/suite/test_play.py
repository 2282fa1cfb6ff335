"""Playing a chain: folders, the journal, what is left outside, and trainers that break."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import replace

import pytest
from driving import PROFILE, player, session

from conformance import mutants
from conformance.checks.finding import run_verdict
from conformance.convention.rules import Verdict
from conformance.evidence.journal import Watcher
from conformance.suite.engine import Engine
from conformance.suite.play import Player
from conformance.trainers import open_trainer
from conformance.trainers.workspace import Workspace

NAN = math.nan
CHAIN = (session((1.0, 3.0, 3.0, 2.0, 4.0)),)
RESUMED = (session((1.0, 3.0)), session((1.0, 3.0, 2.0, 4.0), resume="last"))
BASE = "python:conformance.mutants:Trainer"


def failing_in(plays):
    return {rule for play in plays for rule in play.failing}


# --- what a play tells ----------------------------------------------------------------------


def test_a_play_tells_each_session_its_epochs_and_its_saves():
    with player(BASE) as one:
        play = one.play(RESUMED)
    assert play.chain is RESUMED
    assert [report.verdict for report in play.reports] == ["conforms", "conforms"]
    assert (play.epochs, play.saves) == (4, 7)  # four periodic, and three of the best
    assert play.failing == {}
    assert play.broke is play.unsupported is None


def test_the_worst_finding_of_a_rule_speaks_for_all_sessions():
    with player(BASE) as one:
        play = one.play(RESUMED)
    assert play.reports[0].findings != play.reports[1].findings
    assert play.findings["RESUME-001"].verdict is Verdict.PASS  # not applicable in the first
    with player("python:conformance.mutants:RestartsAtOne") as one:
        play = one.play(RESUMED)
    assert set(play.failing) == {"RESUME-001"}
    assert play.findings["LOAD-001"].verdict is Verdict.PASS  # not applicable in the second


BROKEN_FIRST = (session((1.0, 1.0)), session((1.0, 1.0, 2.0), resume="last"))


def test_behind_a_broken_session_only_the_resume_is_judged():
    """What is in the files of the first would show again; how the second starts is its own."""
    with player("python:conformance.mutants:RewritesOnTie") as one:
        first, second = one.play(BROKEN_FIRST).reports
        assert len(first.findings) > 40
        assert [finding.rule for finding in second.findings] == ["RESUME-001"]
        assert one.play(BROKEN_FIRST).findings["RESUME-001"].verdict is Verdict.PASS
        assert [len(report.findings) for report in one.play(RESUMED).reports] == (
            [len(first.findings)] * 2
        )


@pytest.mark.parametrize("mutant", ["WritesEmptyFiles", "LogsNothing", "ForgetsTheOptimizer"])
def test_nothing_is_played_behind_a_session_that_leaves_nothing_to_resume(mutant):
    with player(f"python:conformance.mutants:{mutant}") as one:
        play = one.play(BROKEN_FIRST)
    assert len(play.reports) == 1
    assert play.unsupported is None


def test_two_defects_apart_are_found_in_one_run():
    class Both(mutants.FormatsTheReward, mutants.LosesTheWatermarkOnResume):
        pass

    with player(Both) as one:
        play = one.play((session((2.0, 1.0)), session((2.0, 1.0, 1.5), resume="last")))
    assert {"NAME-005", "BEST-008"} <= set(play.failing)


def test_a_warning_does_not_end_the_chain():
    chain = tuple(replace(scenario, experiment="x y") for scenario in RESUMED)
    with player(BASE) as one:
        play = one.play(chain)
    assert set(play.failing) == {"NAME-008"}
    assert len(play.reports) == 2


def test_each_play_has_a_folder_of_its_own_that_is_gone_afterwards():
    roots = []
    with player(BASE) as one:
        for _ in range(3):
            one.play(CHAIN, keep=lambda root: roots.append((root, sorted(root.iterdir()))))
        assert [[path.name for path in found] for _, found in roots] == [["A"]] * 3
        assert len({root for root, _ in roots}) == 3
        assert not any(root.exists() for root, _ in roots)


def test_what_keep_is_given_is_the_play_that_counts():
    trees = []
    with player("python:conformance.mutants:RewritesOnTie") as one:
        play = one.play(CHAIN, keep=lambda root: trees.append({p.name for p in root.rglob("*")}))
    assert set(play.failing) == {"BEST-003"}
    assert "A.pth" in trees[-1]


def test_what_was_selected_is_judged_alone():
    with player(
        "python:conformance.mutants:RewritesOnTie", selected=frozenset({"NAME-001"})
    ) as one:
        assert set(one.play(CHAIN).findings) == {"NAME-001"}


# --- folders that are there already ---------------------------------------------------------


def test_a_trainer_that_refuses_a_folder_that_is_there_is_not_to_blame():
    with player("python:odd_trainers:RefusesAFolderThatIsThere") as one:
        plays = [one.play(chain) for chain in (CHAIN, RESUMED) * 8]
    assert [play.broke for play in plays] == [None] * 16
    assert failing_in(plays) == set()


def test_a_trainer_that_takes_another_name_where_one_is_taken_is_not_to_blame():
    with player("python:odd_trainers:TakesAnotherNameIfTheFolderIsThere") as one:
        plays = [one.play(chain) for chain in (CHAIN, RESUMED) * 8]
    assert [play.broke for play in plays] == [None] * 16
    assert failing_in(plays) == set()


@pytest.mark.parametrize("chain", [CHAIN, RESUMED])
def test_a_run_in_another_folder_than_the_one_asked_for_is_told_each_time(chain):
    with player("python:odd_trainers:StampsItsFolder") as one:
        plays = [one.play(chain) for _ in range(9)]
    assert [set(play.failing) & {"LAYOUT-001"} for play in plays] == [{"LAYOUT-001"}] * 9


def test_a_run_in_two_folders_is_told():
    with player("python:conformance.mutants:SavesOnEachRank") as one:
        plays = [one.play(CHAIN) for _ in range(9)]
    assert [set(play.failing) for play in plays] == [{"RANK-001"}] * 9


def test_what_is_left_outside_of_the_root_is_no_failure_of_a_rule():
    with player("python:odd_trainers:WritesBesideItsRoot") as one:
        play = one.play(CHAIN)
    assert play.failing == {}
    assert play.broke is not None
    assert play.broke.code == "strays"
    assert "last_run.txt" in play.broke.message
    assert play.broke.hint


def test_what_another_process_leaves_in_the_working_directory_meanwhile_is_not_blamed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    class Interrupted(mutants.Trainer):
        plays = 0

        def train(self, scenario):
            super().train(scenario)
            type(self).plays += 1
            if self.plays == 1:  # as if another trainer had begun just now
                (tmp_path / "other.pth").write_bytes(b"weights")

    with player(Interrupted) as one:
        play = one.play(CHAIN)
    assert play.broke is None
    assert Interrupted.plays == 2


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
    with player(f"worker:{shlex.quote(sys.executable)} {worker}") as one:
        assert one.play(CHAIN).is_sound  # the first play of a worker finds no folder prepared
        assert set(one.play(CHAIN).failing) == {"BEST-003"}


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


def play_with(change, chain=CHAIN, spec=BASE, times=1):
    """The plays with changed journals, and how often it was recorded."""
    with open_trainer(spec) as trainer, Workspace() as workspace, Watcher() as watcher:
        kept = Kept(watcher, change)
        one = Player(trainer, PROFILE, workspace, kept)
        return [one.play(chain) for _ in range(times)], kept.recorded


def test_a_journal_that_came_too_late_is_repeated():
    def first_is_late(journal, number):
        return replace(journal, late=("A/nn",)) if number == 1 else journal

    (play,), recorded = play_with(first_is_late)
    assert recorded == 2
    assert play.findings["CADENCE-005"].verdict is Verdict.PASS


def test_a_journal_that_always_comes_too_late_is_given_up_and_blames_nothing():
    def late(journal, _):
        return replace(journal, late=("A/nn",), events=journal.events[3:])

    (play,), recorded = play_with(late)
    assert 1 < recorded < 10
    assert play.failing == {}
    assert play.findings["CADENCE-004"].verdict is Verdict.UNOBSERVABLE


def test_a_late_folder_elsewhere_does_not_matter():
    def late(journal, _):
        return replace(journal, late=("A/nnn", "A/videos"))

    (play,), recorded = play_with(late)
    assert recorded == 1
    assert play.findings["CADENCE-005"].verdict is Verdict.PASS


def test_an_overflow_is_an_error_and_never_a_pass():
    def overflows(journal, _):
        return replace(journal, overflowed=True, problem="the queue ran over")

    (play,), _ = play_with(overflows)
    assert play.failing == {}
    assert play.reports[0].verdict == "error"
    assert play.findings["CADENCE-005"].verdict is Verdict.ERROR


def test_a_journal_of_gaps_is_unobservable():
    def has_gaps(journal, _):
        return replace(journal, problem="a folder could not be watched", events=())

    (play,), _ = play_with(has_gaps)
    assert play.failing == {}
    assert play.findings["CADENCE-004"].verdict is Verdict.UNOBSERVABLE


def test_without_a_journal_the_order_of_writes_is_unobservable_and_the_verdict_incomplete():
    with player(BASE, watched=False) as one:
        play = one.play(CHAIN)
    for rule in ("CADENCE-004", "CADENCE-005"):
        assert play.findings[rule].verdict is Verdict.UNOBSERVABLE
        assert "this system keeps no journal" in play.findings[rule].message
    assert run_verdict(play.findings.values()) == "incomplete"
    assert play.failing == {}


def test_a_run_that_is_moved_into_place_is_not_blamed():
    with player("python:odd_trainers:MovesARunIntoPlace") as one:
        plays = [one.play(CHAIN) for _ in range(3)]
    assert failing_in(plays) == set()


# --- trainers that break, or do nothing -----------------------------------------------------


def test_a_trainer_that_breaks_is_no_failure_of_a_rule():
    chain = (session((1.0, 2.0, NAN, 3.0)),)
    with player("python:odd_trainers:RaisesAtNanInEpochThree") as one:
        play = one.play(chain)
        assert one.play(CHAIN).broke is None
    assert play.broke is not None
    assert (play.broke.code, play.reports) == ("raised", ())
    assert "the loss is NaN" in play.broke.message
    assert play.findings == {}


def test_what_was_judged_before_it_broke_counts():
    chain = (session((1.0, 1.0)), session((1.0, 1.0, NAN), resume="last"))
    with player("python:odd_trainers:RaisesAtNanInEpochThree") as one:
        play = one.play(chain)
    assert play.broke is not None
    assert len(play.reports) == 1


@pytest.mark.parametrize("trainer", ["CannotResume", "SaysThatItCannotResume"])
def test_a_resume_that_it_does_not_offer_is_left_out(trainer):
    with player(f"python:odd_trainers:{trainer}") as one:
        play = one.play(RESUMED)
    assert play.broke is None
    assert play.unsupported
    assert len(play.reports) == 1
    assert play.findings["RESUME-001"].verdict is Verdict.NOT_APPLICABLE


def test_a_trainer_that_does_nothing_does_not_conform():
    with player("python:odd_trainers:PlaysNothing") as one:
        plays = [one.play(CHAIN) for _ in range(2)]
        verdict = Engine(one).run(max_examples=12, seed=0).run.verdict
    for play in plays:
        assert play.broke is None
        assert {"BEST-001", "LAYOUT-002"} <= set(play.failing)
    assert verdict == "fail"
