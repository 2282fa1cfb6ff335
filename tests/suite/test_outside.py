"""Inference by the experiment's name and training by several ranks, seen by files alone."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import zlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from driving import PROFILE

from conformance.checks.finding import Finding, RunReport
from conformance.convention.rules import Level, RunVerdict, Verdict
from conformance.evidence.journal import Action, Event, Journal, Watcher
from conformance.suite.observer import Observer
from conformance.suite.outside import with_findings
from conformance.suite.policy import (
    _Checkpoints,
    _judged,
    _Opened,
    inference_finding,
    play_command,
)
from conformance.suite.ranks import _counted, _Written, ranks_command, ranks_finding
from conformance.trainers import TrainerBroke, TrainerSpecError, open_trainer
from conformance.trainers.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
_NUMBERS = itertools.count()


@pytest.fixture
def observer():
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace())
        yield Observer(PROFILE, workspace, stack.enter_context(Watcher()))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that writes a Python program and returns the command that runs it."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def written(source, *arguments):
        path = tmp_path / "program.py"
        path.write_text(source, encoding="utf-8")
        return " ".join((shlex.quote(sys.executable), str(path), *arguments))

    return written


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module with a trainer, `Made`, and returns what names it."""
    monkeypatch.chdir(tmp_path)
    names = []

    def written(source):
        names.append(f"seen_from_outside_{next(_NUMBERS)}")
        (tmp_path / f"{names[-1]}.py").write_text(source, encoding="utf-8")
        return f"python:{names[-1]}:Made"

    yield written
    for name in names:
        sys.modules.pop(name, None)


# --- inference by a command -----------------------------------------------------------------

_BEGINNING = """
import mmap, os, sys
from pathlib import Path
experiment, root = sys.argv[1:]
nn = Path(root, experiment, "nn")
best, (last, *others) = nn / f"{experiment}.pth", sorted(nn.glob("last_*ep*"), reverse=True)
"""


def played(observer, script, body, trainer="python:conformance.mutants:Trainer"):
    template = script(_BEGINNING + body, "{experiment}", "{root}")
    with open_trainer(trainer) as opened, play_command(template, time_limit=20.0) as command:
        return inference_finding(opened, observer, command)


@pytest.mark.parametrize(
    ("body", "others"),
    [
        ("best.read_bytes()", 0),
        ("best.open('rb')  # never closed: the process's end closes it", 0),
        ("best.open('r+b').read()  # could have written, and did not", 0),
        ("file = best.open('rb'); mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)", 0),
        ("last.read_bytes(); best.read_bytes()", 1),
        ("list(nn.iterdir()); last.stat(); best.read_bytes()", 0),
        ("best.read_bytes(); (nn / 'video.mp4').write_bytes(b'frames')", 0),
    ],
)
def test_inference_that_loads_the_best_passes(observer, script, body, others):
    finding = played(observer, script, body)
    assert (finding.verdict, finding.fix) == (Verdict.PASS, "")
    assert "loaded the best checkpoint, 'Cartpole/nn/Cartpole.pth'" in finding.message
    assert ("looked into" in finding.message) == bool(others)
    assert finding.evidence["read"][-1] == "Cartpole/nn/Cartpole.pth"
    assert len(set(finding.evidence["read"])) == 1 + others


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("last.read_bytes()", "loaded 'Cartpole/nn/last_Cartpoleep3rew2.0.pth', and never opened"),
        (
            "best.read_bytes(); last.read_bytes()",
            "opened the best, 'Cartpole/nn/Cartpole.pth', and then loaded 'Cartpole/nn/last_",
        ),
        # The same weights as the best's, and no less the wrong file.
        ("others[0].read_bytes()", "loaded 'Cartpole/nn/last_Cartpoleep2rew3.0.pth'"),
        ("list(nn.iterdir())", "opened no checkpoint"),
        ("best.write_bytes(best.read_bytes() + b' ')", "changed the run: 'Cartpole/nn/Cartpole"),
        ("best.write_bytes(best.read_bytes())", "changed the run: 'Cartpole/nn/Cartpole"),
        ("best.read_bytes(); last.unlink()", "changed the run: 'Cartpole/nn/last_"),
        ("best.read_bytes(); os.rename(nn, root + '/moved')", "changed the run: 'Cartpole/nn'"),
        ("os.link(best, nn / 'copy.pth'); best.read_bytes()", "changed the run: 'Cartpole/nn/copy"),
        ("best.read_bytes(); sys.exit('keys\\nmismatch')", "exit code 1; it said: mismatch"),
        ("sys.exit(3)", "inference failed: the command ended with exit code 3"),
    ],
)
def test_inference_that_does_anything_else_fails(observer, script, body, message):
    finding = played(observer, script, body)
    assert (finding.rule, finding.level, finding.verdict) == (
        "RESUME-002",
        Level.MUST,
        Verdict.FAIL,
    )
    assert message in finding.message
    assert "\n" not in finding.message
    assert finding.fix


def test_the_trainers_output_is_in_the_evidence(observer, script):
    finding = played(observer, script, "print('no such run'); sys.exit(1)")
    assert finding.evidence["output"] == "no such run"
    assert finding.evidence["read"] == []


def test_a_best_that_is_a_link_is_known_by_its_target(observer, script, module):
    links = module("""
import os
from conformance.mutants import Trainer
class Made(Trainer):
    def write(self, path, data):
        super().write(path, data)
        store = self.run / "store"
        store.mkdir(exist_ok=True)
        os.replace(path, store / path.stem)
        path.unlink(missing_ok=True)
        path.symlink_to(f"../store/{path.stem}")
""")
    assert played(observer, script, "best.read_bytes()", links).verdict is Verdict.PASS
    wrong = played(observer, script, "last.read_bytes()", links)
    assert wrong.message.startswith("inference loaded 'Cartpole/nn/last_Cartpoleep3rew2.0.pth'")


def test_a_command_that_comes_to_no_end_shows_nothing(observer, script):
    template = script("import time; time.sleep(60)", "{experiment}", "{root}")
    with (
        open_trainer("python:conformance.mutants:Trainer") as trainer,
        play_command(template, time_limit=0.3) as command,
    ):
        finding = inference_finding(trainer, observer, command)
    assert finding.verdict is Verdict.UNOBSERVABLE
    assert "did not end within 0.3 s" in finding.message


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def train(self, scenario): raise ValueError('no GPU')", "ValueError: no GPU"),
        ("def train(self, scenario): pass", "training left 0 run folders"),
        ("def save_best(self, reward): pass", "has no best checkpoint in its place"),
        ("def best_name(self): return 'best'", "has no best checkpoint in its place"),
    ],
)
def test_without_a_run_to_play_nothing_is_shown(observer, script, module, source, why):
    made = module(f"from conformance.mutants import Trainer\nclass Made(Trainer):\n    {source}\n")
    finding = played(observer, script, "best.read_bytes()", made)
    assert finding.verdict is Verdict.UNOBSERVABLE
    assert why in finding.message


def test_without_a_journal_nothing_is_shown(observer, script):
    unwatched = replace(observer, watcher=None, unwatched="no journal of writes on plan9")
    for finding in (
        played(unwatched, script, "best.read_bytes()"),
        trained(unwatched, script, "rank(0)"),
    ):
        assert finding.verdict is Verdict.UNOBSERVABLE
        assert finding.message == "no journal of writes on plan9"


def test_a_journal_that_lost_events_is_no_fault_of_the_trainer():
    opened = _Opened((), ())
    lost = Journal((), "the queue overflowed", overflowed=True)
    assert _judged(opened, lost, None, "A/nn/A.pth").verdict is Verdict.ERROR
    unseen = Journal((), "'A' was unmounted")
    assert _judged(opened, unseen, None, "A/nn/A.pth").verdict is Verdict.UNOBSERVABLE
    broke = TrainerBroke("exited", "the command ended with exit code 1")
    assert _judged(opened, lost, broke, "A/nn/A.pth").verdict is Verdict.FAIL


def test_a_checkpoint_held_open_counts_as_read_last(tmp_path):
    names = ("A.pth", "last.pth")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    checkpoints = _Checkpoints(
        dict(zip(names, names, strict=True)),
        {name: (len(name), zlib.crc32(name.encode())) for name in names},
        tmp_path,
        ".pth",
    )
    journal = Journal((Event("last.pth", Action.READ),), unclosed=("A.pth", "log"))
    assert checkpoints.opened(journal) == _Opened(("last.pth", "A.pth"), ())
    (tmp_path / "A.pth").write_bytes(b"half a")  # one held open for writing is not read
    assert checkpoints.opened(journal) == _Opened(("last.pth",), ())


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("true {experiment}", r"write \{experiment\} and \{root\}"),
        ("true {root}", r"write \{experiment\} and \{root\}"),
        ("true {experiment} {root} {max_epochs}", "and nothing else"),
        ("nowhere-to-be-found {experiment} {root}", "no program 'nowhere-to-be-found'"),
        ("true {experiment} {root", "a brace stands alone"),
        ("", "names no program"),
    ],
)
def test_a_wrong_template_of_inference_is_refused(template, message):
    with pytest.raises(TrainerSpecError, match=message) as error:
        play_command(template, time_limit=1.0)
    assert "--play" in str(error.value)


# --- inference by the object ----------------------------------------------------------------

_PLAYER = """
from pathlib import Path
from conformance.mutants import Trainer

class Made(Trainer):
    def play(self, scenario):
        nn = Path(scenario.root, scenario.experiment, "nn")
        told = (scenario.rewards, scenario.max_epochs, scenario.save_freq, scenario.resume)
        assert told == ((0.0,), 1, 0, None), told
"""


@pytest.mark.parametrize(
    ("body", "verdict", "message"),
    [
        ("(nn / 'Cartpole.pth').read_bytes()", Verdict.PASS, "loaded the best"),
        ("Made.kept = (nn / 'Cartpole.pth').open('rb')", Verdict.PASS, "loaded the best"),
        ("max(nn.iterdir()).read_bytes()", Verdict.FAIL, "never opened the best"),
        ("raise KeyError('model')", Verdict.FAIL, "play() raised KeyError: 'model'"),
        ("raise NotImplementedError", None, ""),
    ],
)
def test_an_objects_own_play_is_watched(observer, module, body, verdict, message):
    made = module(f"{_PLAYER}        {body}\n")
    with open_trainer(made) as trainer:
        assert trainer.can_infer
        finding = inference_finding(trainer, observer)
    kept = getattr(sys.modules[made.split(":")[1]].Made, "kept", None)
    if kept is not None:
        kept.close()
    assert (finding and finding.verdict) == verdict
    assert finding is None or message in finding.message


def test_where_nobody_plays_there_is_no_finding(observer):
    with open_trainer("python:conformance.mutants:Trainer") as trainer:
        assert not trainer.can_infer
        assert inference_finding(trainer, observer) is None


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


# --- in the report --------------------------------------------------------------------------


def _finding(rule, verdict):
    return Finding(rule, Level.MUST, verdict, rule, (), {}, "")


def test_findings_take_the_place_of_those_that_saw_nothing():
    report = RunReport(
        "t",
        "conforms",
        1,
        1,
        (_finding("RESUME-002", Verdict.NOT_APPLICABLE), _finding("RANK-001", Verdict.PASS)),
    )
    failing = _finding("RESUME-002", Verdict.FAIL)
    merged = with_findings(report, [failing])
    assert merged.verdict == "fail"
    assert merged.findings == (failing, report.findings[1])
    unseen = with_findings(report, [_finding("RANK-001", Verdict.UNOBSERVABLE)])
    assert unseen.verdict == "incomplete"
    # What the single sessions showed broken is not mended by the ranks.
    assert with_findings(merged, [_finding("RESUME-002", Verdict.PASS)]) == merged
    # A trainer that broke has not conformed; a rule that was not selected is not added.
    broken = replace(report, verdict=RunVerdict.ERROR)
    assert with_findings(broken, [_finding("RESUME-002", Verdict.PASS)]).verdict == "error"
    assert with_findings(broken, [failing]).verdict == "fail"
    assert with_findings(replace(report, findings=()), [failing]).findings == ()
