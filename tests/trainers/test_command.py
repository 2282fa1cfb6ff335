"""`command:`: how its template is filled, and how it ends, by real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from conformance import Scenario
from conformance.trainers import (
    TrainerBroke,
    TrainerSpecError,
    UnsupportedScenario,
    open_trainer,
)
from conformance.trainers.child import Child

NOTES = "import json, os, sys, time\njson.dump(sys.argv[1:], open({!r}, 'w'))\n"


@pytest.fixture
def command(script, tmp_path):
    """A function that returns the TRAINER of a command, and one that says what it was given."""

    def made(template, source=""):
        return f"command:{script(NOTES.format(str(tmp_path / 'notes')) + source)} {template}"

    return made


@pytest.fixture
def given(tmp_path):
    """A function that returns the arguments of the last command."""
    return lambda: json.loads((tmp_path / "notes").read_text(encoding="utf-8"))


def broke_on(spec, asked, **limits):
    """How it breaks on a scenario."""
    with open_trainer(spec, **limits) as trainer, pytest.raises(TrainerBroke) as raised:
        trainer.train(asked)
    assert "\n" not in str(raised.value)
    return raised.value


# --- the template ---------------------------------------------------------------------------


def test_each_placeholder_is_filled(command, given, scenario, tmp_path):
    template = (
        "task={experiment} {root}/x --freq {save_freq} {max_epochs}/{seed}{seed}"
        " after={save_best_after} load={resume} braces={{a: 1}}"
    )
    asked = scenario(save_freq=3, max_epochs=4, rewards=(1.0,) * 4, seed=7, save_best_after=2)
    with open_trainer(command(template)) as trainer:
        assert (trainer.form, trainer.title) == ("command", trainer.spec)
        trainer.train(asked)
        root = tmp_path / "runs"
        assert given() == [
            *("task=Cartpole", f"{root}/x", "--freq", "3", "4/77", "after=2", "load="),
            *("braces={a:", "1}"),
        ]
        for resume in ("best", "last"):
            trainer.train(scenario(resume=resume))
            assert given()[6] == f"load={resume}"


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "it's",
        'say "hi"',
        "$HOME",
        "x;y",
        "*",
        "a\\b",
        "{seed}",
        "}{",
        "Zo\u00eb",
        "-x",
        "a\nb",
    ],
)
def test_a_name_stays_one_argument_whatever_is_in_it(command, given, scenario, name):
    with open_trainer(command("{experiment} 'name={experiment} {seed}'")) as trainer:
        trainer.train(scenario(experiment=name))
    assert given() == [name, f"name={name} 0"]


def test_the_scenario_is_a_file_outside_the_root(command, given, scenario, tmp_path):
    asked = scenario(max_epochs=2, rewards=(None, float("-inf")), resume="last", save_best_after=3)
    source = "json.dump(open(sys.argv[1]).read(), open(sys.argv[0] + '.read', 'w'))"
    spec = command("{scenario}", source)
    with open_trainer(spec) as trainer:
        assert trainer.plays_rewards
        assert trainer.capabilities == {"resume", "save_best_after"}
        trainer.train(asked)
        (path,) = map(Path, given())
        assert Scenario.from_json(path.read_text(encoding="utf-8")) == asked
        assert not path.is_relative_to(tmp_path)
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()
    trainer.close()


@pytest.mark.parametrize(
    ("template", "capabilities"),
    [
        ("{experiment}", set()),
        ("{resume}", {"resume"}),
        ("{save_best_after} x", {"save_best_after"}),
        ("{{scenario}}", set()),
        ("--from={scenario}", {"resume", "save_best_after"}),
    ],
)
def test_it_can_do_what_its_template_asks_for(command, scenario, template, capabilities):
    with open_trainer(command(template)) as trainer:
        assert trainer.capabilities == capabilities
        assert trainer.plays_rewards is ("{scenario}" in template and "{{" not in template)
        if "resume" not in capabilities:
            with pytest.raises(UnsupportedScenario, match="does not offer resume"):
                trainer.train(scenario(resume="best"))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "names no program"),
        ("sh 'x", "No closing quotation"),
        ("sh \0", "NUL"),
        ("no-such-program-of-a-test {root}", "no program 'no-such-program-of-a-test'"),
        ("sh {experiment} {name}", "'{name}' holds a placeholder that is none of {experiment}"),
        ("sh {}", "'{}' holds a placeholder"),
        ("sh {0}", "'{0}' holds a placeholder"),
        ("sh {root.parent}", "'{root.parent}' holds"),
        ("sh {seed:03d}", "'{seed:03d}' holds"),
        ("sh {seed!r}", "'{seed!r}' holds"),
        ("sh { seed }", "a brace stands alone in '{'"),
        ("sh a=}", "a brace stands alone in 'a=}'"),
        ("sh a={seed", "a brace stands alone in 'a={seed'"),
    ],
)
def test_a_wrong_template_is_a_wrong_spec_in_one_line(template, says):
    with pytest.raises(TrainerSpecError) as raised:
        open_trainer(f"command:{template}")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_program_itself_may_be_filled_in(tmp_path, scenario):
    program = tmp_path / "Cartpole"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    program.chmod(0o755)
    spec = f"command:{tmp_path}/{{experiment}}"
    assert str(broke_on(spec, scenario())) == "the command ended with exit code 3"
    broke = broke_on(spec, scenario(experiment="Ant"))
    assert (broke.code, str(broke)) == (
        "not-started",
        "the command cannot be started: No such file or directory",
    )


def test_what_no_command_line_can_say_is_left_out(command, scenario):
    asked = scenario(experiment="a\0b")
    with (
        open_trainer(command("{experiment}")) as trainer,
        pytest.raises(UnsupportedScenario, match="null byte"),
    ):
        trainer.train(asked)


# --- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("sys.exit(3)", "the command ended with exit code 3"),
        ("raise ValueError('no')", "the command ended with exit code 1"),
        ("os.kill(os.getpid(), 11)", "the command ended by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "the command ended by SIGKILL"),
    ],
)
def test_a_command_that_fails_broke_with_what_it_printed(command, scenario, source, says):
    loud = f"print('to stdout', flush=True)\nos.write(2, b'to stderr \\xff\\n')\n{source}"
    broke = broke_on(command("x", loud), scenario())
    assert (broke.code, str(broke)) == ("exited", says)
    assert broke.output.startswith("to stdout\nto stderr \ufffd")


def test_only_the_end_of_its_output_is_kept_and_none_reaches_ours(command, scenario, capfd):
    flood = "for _ in range(100): os.write(1, b'x' * 1_000_000)\nos.write(2, b'the end')\n"
    broke = broke_on(command("x", flood + "sys.exit(1)"), scenario())
    assert broke.output.endswith("xthe end")
    assert len(broke.output) == 8 * 1024
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1000)",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)",
        "while True: os.write(1, b'x' * 65536)",
        "os.close(1); os.close(2); time.sleep(1000)",
    ],
    ids=["sleeps", "ignores SIGTERM", "floods", "is silent"],
)
def test_a_command_that_does_not_end_in_time_hung_and_is_killed(
    command, scenario, tmp_path, gone, source
):
    note = tmp_path / "process"
    spec = command("x", f"open({str(note)!r}, 'w').write(str(os.getpid()))\n{source}")
    broke = broke_on(spec, scenario(), time_limit=2.0)
    assert (broke.code, str(broke)) == ("hung", "the command did not end within 2 s")
    assert gone(int(note.read_text()))


def test_it_is_asked_to_end_before_it_is_killed(command, scenario, tmp_path):
    """So that torchrun can end its ranks, and a GPU is let go of."""
    note = tmp_path / "asked"
    source = (
        "import signal\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(note)!r}, 'w'), sys.exit(0)))\n"
        "time.sleep(1000)"
    )
    assert broke_on(command("x", source), scenario(), time_limit=2.0).code == "hung"
    assert note.exists()


@pytest.mark.parametrize("pidfd", [True, False])
def test_children_that_it_left_behind_are_killed_once_it_ends(
    command, scenario, tmp_path, gone, monkeypatch, *, pidfd
):
    """They hold its output open, and might write checkpoints still."""
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    note = tmp_path / "child"
    source = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))"
    )
    start = time.monotonic()
    with open_trainer(command("x", source)) as trainer:
        trainer.train(scenario())
        assert gone(int(note.read_text()))
    assert time.monotonic() - start < 20


def test_what_it_said_last_is_read_although_it_is_dead(tmp_path, gone):
    note = tmp_path / "process"
    child = Child(["sh", "-c", f"echo $$ >'{note}'; echo its last words"], talks=False)
    while not (note.exists() and note.read_text().strip() and gone(int(note.read_text()))):
        os.sched_yield()
    child._bury()
    assert (child.printed, child.ending) == ("its last words", "with exit code 0")


def test_its_standard_input_is_empty(command, scenario):
    with open_trainer(command("x", "assert sys.stdin.read() == ''")) as trainer:
        trainer.train(scenario())


def test_it_runs_in_our_working_directory_and_environment(command, scenario, here, monkeypatch):
    monkeypatch.setenv("OF_A_TEST", "passed on")
    source = f"assert [os.environ['OF_A_TEST'], os.getcwd()] == ['passed on', {str(here)!r}]"
    with open_trainer(command("x", source)) as trainer:
        trainer.train(scenario())


def test_an_interrupt_leaves_nobody(command, scenario, tmp_path, gone, monkeypatch):
    note = tmp_path / "process"
    spec = command("x", f"open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)")
    advance = Child.advance

    def interrupted(child, seconds):
        if seconds > 10 and note.exists() and note.read_text():
            raise KeyboardInterrupt
        advance(child, min(seconds, 0.05))

    with open_trainer(spec) as trainer, monkeypatch.context() as patch:
        patch.setattr(Child, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(scenario())
    assert gone(int(note.read_text()))


def test_no_descriptor_is_left_open(command, scenario, attempt, descriptors):
    before = descriptors()
    with open_trainer(command("{seed}", "sys.exit(int(sys.argv[1]))")) as trainer:
        broke = [attempt(trainer, scenario(seed=seed)) is not None for seed in (0, 1)]
    assert broke == [False, True]
    assert descriptors() == before


def test_no_signal_handler_of_ours_is_touched(command, scenario):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)]
    with open_trainer(command("x")) as trainer:
        trainer.train(scenario())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)] == before
    assert sys.stdout is not None
