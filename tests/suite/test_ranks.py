"""Training by several ranks, seen by the folders that appear and the writes in them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from conformance.convention.rules import Verdict
from conformance.evidence.journal import Journal
from conformance.suite.ranks import _counted, _Written, ranks_command, ranks_finding
from conformance.trainers import TrainerSpecError

# --- several ranks --------------------------------------------------------------------------

_RANKS = """
import os, sys, dataclasses
from pathlib import Path
from conformance import Scenario
from conformance.mutants import Trainer

scenario = Scenario.from_json(Path(sys.argv[1]).read_text())

def rank(number, trainer=Trainer, **changes):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            trainer().train(dataclasses.replace(scenario, **changes))
            code = 0
        finally:
            os._exit(code)
    return child

def end(child):
    assert os.waitpid(child, 0)[1] == 0

class Silent(Trainer):
    # A rank that trains and writes nothing.
    def begin(self): pass
    def log(self, reward): pass
    def save(self, name): pass

class InPlace(Trainer):
    def write(self, path, data):
        path.write_bytes(data)

"""


def trained(observer, script, body):
    with ranks_command(script(_RANKS + body, "{scenario}"), time_limit=30.0) as command:
        return ranks_finding(command, observer)


@pytest.mark.parametrize(
    "body",
    [
        "for n in range(2): end(rank(n, Silent if n else Trainer))",
        "for n in range(3): end(rank(n, Silent if n else InPlace))",
        "end(rank(0)); (scenario.root / '.cache').mkdir()",
        "end(rank(0)); (scenario.root / 'wandb').mkdir(); (scenario.root / 'wandb/log').touch()",
    ],
)
def test_one_rank_that_writes_passes(observer, script, body):
    finding = trained(observer, script, body)
    assert finding.verdict is Verdict.PASS, finding.message
    assert finding.message.startswith("one run folder appeared; 5 checkpoints, none written more")
    assert finding.evidence == {"written": 8}  # the best, for each of four epochs


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "for n in range(2): end(rank(n, experiment=f'Cartpole_rank{n}'))",
            "2 folders appeared for one run: 'Cartpole_rank0', 'Cartpole_rank1'",
        ),
        (
            "end(rank(0)); (scenario.root / 'Cartpole_21-10-07-33').mkdir()",
            "2 folders appeared for one run: 'Cartpole', 'Cartpole_21-10-07-33'",
        ),
        (
            "for n in range(2): end(rank(n, root=scenario.root / 'Cartpole', experiment=str(n)))",
            "2 folders appeared for one run: 'Cartpole/0', 'Cartpole/1'",
        ),
        (
            "for n in range(2): end(rank(n))",
            # The first one's name depends on when the journal began: with the second file, perhaps.
            "was written 2 times, more often than one rank would; and",
        ),
        (
            "for n in range(2): end(rank(n, InPlace))",
            "was written 2 times, more often than one rank would; and",
        ),
        ("end(rank(0)); sys.exit('rank 1: no such device')", "it said: rank 1: no such device"),
    ],
)
def test_ranks_that_write_beside_each_other_fail(observer, script, body, message):
    finding = trained(observer, script, body)
    assert (finding.rule, finding.verdict) == ("RANK-001", Verdict.FAIL)
    assert message in finding.message
    assert finding.fix


def test_two_ranks_in_step_are_caught_by_the_best_alone(observer, script):
    """The periodic checkpoints are the first rank's alone; the best was forgotten."""
    body = """
class Second(Trainer):
    def begin(self):
        os.makedirs(self.run / "nn", exist_ok=True)
    def log(self, reward): pass
    def save_periodic(self, reward): pass

class First(Trainer):
    # Waits for the second rank in each epoch, as a collective operation would.
    def save_due(self, reward):
        super().save_due(reward)
        os.write(there[1], b"x"); os.read(back[0], 1)

class Follows(Second):
    def save_due(self, reward):
        os.read(there[0], 1)
        super().save_due(reward)
        os.write(back[1], b"x")

there, back = os.pipe(), os.pipe()
for child in [rank(0, First), rank(1, Follows)]:
    end(child)
"""
    finding = trained(observer, script, body)
    assert finding.verdict is Verdict.FAIL
    # Eight times, if the journal began before the first; one rank alone would write it four times.
    assert re.match(r"'Cartpole.pth' was written [5-8] times", finding.message), finding.message
    assert finding.paths == ("Cartpole.pth",)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit('torchrun: no such port')", "no run appeared.*: no such port"),
        ("pass", "no run appeared in the folder that the ranks were given"),
        ("end(rank(0, rewards=(None,) * 4))", "the ranks wrote no checkpoint"),
        ("import time; end(rank(0)); time.sleep(60)", "came to no end: .* did not end within 1 s"),
        ("end(rank(0, save_freq=0))", None),
        ("end(rank(0, save_freq=0, rewards=(4.0, 1.0, 1.0, 5.0)))", None),
    ],
)
def test_what_shows_nothing_is_neither_kept_nor_broken(observer, script, body, why):
    limit = 1.0 if "sleep" in body else 30.0
    with ranks_command(script(_RANKS + body, "{scenario}"), time_limit=limit) as command:
        finding = ranks_finding(command, observer)
    if why is None:  # the log tells how often the best was due
        assert finding.verdict is Verdict.PASS, finding.message
        return
    assert finding.verdict is Verdict.UNOBSERVABLE
    assert re.search(why, finding.message), finding.message


class Late:
    """A watcher that comes too late wherever folders are not prepared."""

    def __init__(self, watcher):
        self._watcher = watcher

    def record(self, root, *, prepared=False):
        """Start a recording, as a watcher does."""
        self._recording = self._watcher.record(root, prepared=prepared)
        self._prepared = prepared
        return self

    def stop(self):
        """Return the journal, as a recording does."""
        journal = self._recording.stop()
        return journal if self._prepared else replace(journal, late=("Cartpole/nn",))


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("end(rank(0))", Verdict.PASS),
        ("for n in range(2): end(rank(n))", Verdict.FAIL),
        # Trainers that mind a folder that is there: with one, they show nothing.
        ("(scenario.root / 'Cartpole').mkdir(); end(rank(0))", Verdict.UNOBSERVABLE),
        (
            "there = (scenario.root / 'Cartpole').exists();"
            " end(rank(0, experiment='Cartpole' + '_new' * there))",
            Verdict.UNOBSERVABLE,
        ),
    ],
)
def test_a_journal_that_came_late_is_kept_again_in_prepared_folders(
    observer, script, body, verdict
):
    late = replace(observer, watcher=Late(observer.watcher))
    assert trained(late, script, body).verdict is verdict


def test_without_a_journal_nothing_is_shown(observer, script):
    unwatched = replace(observer, watcher=None, unwatched="no journal of writes on plan9")
    finding = trained(unwatched, script, "rank(0)")
    assert finding.verdict is Verdict.UNOBSERVABLE
    assert finding.message == "no journal of writes on plan9"


def test_a_wrong_template_of_ranks_is_refused():
    for template in ("true {experiment}", "true {root} {max_epochs}", "true"):
        with pytest.raises(TrainerSpecError, match=r"--ranks .*write \{experiment\} and \{root\}"):
            ranks_command(template, time_limit=1.0)
    with ranks_command("true {experiment} {root}", time_limit=1.0) as command:
        assert not command.plays_rewards


# --- counting -------------------------------------------------------------------------------


def written(names, *, last=4, improved=None):
    """`P2 B` for the periodic checkpoint of epoch 2, then the best."""
    files = tuple("A.pth" if name == "B" else name for name in names.split())
    numbered = {name: int(name[1:]) for name in files if name.startswith("P")}
    return _Written("A/nn", files, numbered, "A.pth", last, improved)


@pytest.mark.parametrize(
    ("names", "twice"),
    [
        ("P1 B P2 B P3 P4 B", {}),
        ("B P1 B P2 B P3 B P4", {}),  # the other order in an epoch
        ("P2 B B P4 B", {}),  # both may be due: epochs 2 and 3
        ("P2 B B B P4 B", {"A.pth": 4}),
        ("P1 B B P2", {"A.pth": 2}),
        ("P4 B B", {"A.pth": 2}),
        ("B B B B", {}),
        ("B B B B B B", {"A.pth": 6}),
        ("P1 B P1 B P2", {"P1": 2}),
        ("P2 P2 P4 P4", {"P2": 2, "P4": 2}),
    ],
)
def test_writes_beyond_those_due_are_counted(names, twice):
    assert written(names).twice() == twice


@pytest.mark.parametrize(
    ("names", "improved", "certain"),
    [
        ("P1 B P2 B P3 P4", None, True),
        ("P2 B B P4", None, False),  # perhaps one improvement, saved by two
        ("P2 B B P4", 2, True),
        ("P2 B B P4", 1, False),
        ("B B", None, False),
        ("B B", 2, True),
        ("B", None, True),
    ],
)
def test_whether_the_count_is_certain_is_said(names, improved, certain):
    found = written(names, improved=improved)
    assert found.twice() == {}
    assert found.is_certain() == certain
    verdict = _counted(found, Journal(()), None).verdict
    assert verdict is (Verdict.PASS if certain else Verdict.UNOBSERVABLE)


def test_a_journal_with_gaps_proves_no_single_writer():
    once, twice = written("P1 B P2"), written("P1 P1")
    for journal, verdict in (
        (Journal((), "lost", overflowed=True), Verdict.ERROR),
        (Journal((), "'A' was unmounted"), Verdict.UNOBSERVABLE),
        (Journal((), late=("A",)), Verdict.UNOBSERVABLE),
        (Journal((), late=("A/summaries",)), Verdict.PASS),
        # Two processes that end in one breath are one end to the kernel.
        (Journal((), unclosed=("A/nn/P2",)), Verdict.UNOBSERVABLE),
        (Journal((), unclosed=("A/summaries/log",)), Verdict.PASS),
    ):
        assert _counted(once, journal, None).verdict is verdict, journal
        assert _counted(twice, journal, None).verdict is Verdict.FAIL
