"""Inference by the experiment's name, seen by the checkpoints that are opened."""

from __future__ import annotations

import itertools
import sys
import zlib
from dataclasses import replace

import pytest

from conformance.convention.rules import Level, Verdict
from conformance.evidence.journal import Action, Event, Journal
from conformance.suite.policy import (
    _Checkpoints,
    _judged,
    _Opened,
    inference_finding,
    play_command,
)
from conformance.trainers import TrainerBroke, TrainerSpecError, open_trainer

_NUMBERS = itertools.count()


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
    finding = played(unwatched, script, "best.read_bytes()")
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
