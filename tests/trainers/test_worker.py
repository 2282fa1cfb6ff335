"""`worker:`: the protocol, kept and broken in every way, by real processes."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from conformance.trainers import (
    TrainerBroke,
    TrainerSpecError,
    UnsupportedScenario,
    open_trainer,
)
from conformance.trainers import worker as worker_module

START = (
    '{"ok": true, "protocol": 1, "trainer": {"name": "mini", "version": "2"},'
    ' "capabilities": ["resume"]}'
)
# What a right worker does; each test puts its own lines where it trains, starts or stops.
WORKER = """\
import json, os, signal, subprocess, sys, time
def say(text): print(text, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["cmd"] == "start":
        {start}
    elif request["cmd"] == "stop":
        {stop}
    else:
        scenario = request["scenario"]
        seed = scenario["seed"]
        {train}
        say('{{"ok": true}}')
"""


def indented(lines):
    return "\n        ".join(lines.splitlines())


@pytest.fixture
def worker(script):
    """A function that returns the TRAINER of a worker that does as it is told."""

    def made(train="pass", *, start=f"say('{START}')", stop="sys.exit(0)"):
        parts = {"train": train, "start": start, "stop": stop}
        return "worker:" + script(WORKER.format(**{k: indented(v) for k, v in parts.items()}))

    return made


def broke_on(spec, asked, **limits):
    """How it breaks on a scenario."""
    with open_trainer(spec, **limits) as trainer, pytest.raises(TrainerBroke) as raised:
        trainer.train(asked)
    assert "\n" not in str(raised.value)
    return raised.value


# --- kept -----------------------------------------------------------------------------------


def test_one_process_plays_all_scenarios_in_order(worker, scenario, tmp_path):
    log = tmp_path / "log"
    train = f"open({str(log)!r}, 'a').write(json.dumps([os.getpid(), scenario]) + chr(10))"
    asked = [
        scenario(experiment="a 'b\" c\u00e9", rewards=(None, float("nan"), -1.5), max_epochs=3),
        scenario(seed=5, resume="best"),
    ]
    with open_trainer(worker(train)) as trainer:
        assert (trainer.form, trainer.title, trainer.plays_rewards) == ("worker", "mini 2", True)
        assert trainer.capabilities == {"resume"}
        for each in asked:
            trainer.train(each)
        trainer.stop()
    played = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [each for _, each in played] == [json.loads(each.to_json()) for each in asked]
    assert len({process for process, _ in played}) == 1


def test_it_sees_our_environment_and_working_directory(worker, scenario, here, monkeypatch):
    monkeypatch.setenv("OF_A_TEST", "passed on")
    with open_trainer(
        worker(f"assert [os.environ['OF_A_TEST'], os.getcwd()] == ['passed on', {str(here)!r}]")
    ) as trainer:
        trainer.train(scenario())


def test_a_request_longer_than_a_pipe_holds_gets_through(worker, scenario):
    asked = scenario(rewards=(1.0,) * 100_000)
    with open_trainer(worker("assert len(scenario['rewards']) == 100000")) as trainer:
        trainer.train(asked)


def test_what_it_does_not_offer_is_not_asked_of_it(worker, scenario):
    with open_trainer(worker("sys.exit(9)")) as trainer:
        with pytest.raises(UnsupportedScenario, match="mini 2 does not offer save_best_after"):
            trainer.train(scenario(save_best_after=1))
        with pytest.raises(TrainerBroke):
            trainer.train(scenario())


SHELL = """\
#!/bin/sh
while read -r line; do
    case "$line" in
    *'"cmd": "start"'*) echo '{"ok": true, "protocol": 1, "capabilities": [],' \\
        '"trainer": {"name": "sh", "version": "1"}}' ;;
    *'"cmd": "stop"'*) exit 0 ;;
    *) echo '{"ok": true}' ;;
    esac
done
"""


def test_no_python_is_needed(tmp_path, scenario):
    path = tmp_path / "worker.sh"
    path.write_text(SHELL, encoding="ascii")
    path.chmod(0o755)
    with open_trainer(f"worker:{path}") as trainer:
        trainer.train(scenario())
        trainer.train(scenario(seed=1))
        trainer.stop()
        assert trainer.title == "sh 1"


def test_no_shell_reads_the_command(tmp_path, here):
    path = tmp_path / "worker.py"
    path.write_text(
        "import sys\nsys.stdin.readline()\nassert sys.argv[1:] == ['$HOME', '*', '>', 'x;y']\n"
        f"print('{START}', flush=True)\nsys.stdin.readline()\n",
        encoding="utf-8",
    )
    with open_trainer(f"worker:{shlex.quote(sys.executable)} {path} $HOME * > 'x;y'") as trainer:
        trainer.stop()
    assert list(here.iterdir()) == []


# --- a wrong spec ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("", "names no program"),
        ("   ", "names no program"),
        ("''", "names no program"),
        ("sh 'open", "No closing quotation"),
        ("sh a\0b", "NUL"),
        ("no-such-program-of-a-test x", "no program 'no-such-program-of-a-test'"),
        ("NAME=1 sh", "env NAME=VALUE"),
        ("/", "no program '/'"),
    ],
)
def test_a_wrong_command_is_a_wrong_spec_in_one_line(command, says):
    with pytest.raises(TrainerSpecError) as raised:
        open_trainer(f"worker:{command}")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_program_that_the_system_cannot_run_is_a_wrong_spec(tmp_path):
    path = tmp_path / "worker"
    path.write_bytes(b"\x7fELF but not really")
    path.chmod(0o755)
    with pytest.raises(TrainerSpecError, match="cannot be started: Exec format error"):
        open_trainer(f"worker:{path}")


# --- broken at the start --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "code", "says"),
    [
        ("sys.exit(3)", "died", "died without answering start, with exit code 3"),
        ("1 / 0", "died", "died without answering start, with exit code 1"),
        ("sys.exit(0)", "died", "died without answering start, with exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "died", "by SIGSEGV"),
        ("say('hello')", "rubbish", "answered start with 'hello'"),
        ("say('')", "rubbish", "answered start with ''"),
        ("say('[]')", "rubbish", "answered start with '[]'"),
        ("say('{}')", "rubbish", "answered start with '{}'"),
        ("say('{\"ok\": 1}')", "rubbish", "answered start with"),
        ("say('[' * 100000)", "rubbish", "answered start with '[[["),
        ("say(str(b'')); os.write(1, b'')", "rubbish", "answered start with \"b''\""),
        ("os.write(1, b'\\xff\\xfe\\x1b[0m\\n')", "rubbish", "'\\\\xff\\\\xfe\\x1b[0m'"),
        ('say(\'{"ok": false, "error": "no GPU"}\')', "refused", "refused to start: no GPU"),
        (f"say('{START}'.replace(': 1', ': 2'))", "rubbish", "speaks protocol 2, not 1"),
        (f"say('{START}'.replace(': 1', ': true'))", "rubbish", "speaks protocol True, not 1"),
        (f"say('{START}'.replace('protocol', 'other'))", "rubbish", "speaks protocol None"),
        (f"say('{START}'.replace('\"mini\"', '7'))", "rubbish", "did not say who it is"),
        (f"say('{START}'.replace('trainer', 'other'))", "rubbish", "did not say who it is"),
        (f"say('{START}'.replace('capab', 'other'))", "rubbish", "did not say what it can do"),
        (f"say('{START}'.replace('[\"resume\"]', '\"resume\"'))", "rubbish", "what it can do"),
        (f"say('{START}'.replace('\"resume\"', '7'))", "rubbish", "did not say what it can do"),
    ],
)
def test_a_worker_that_starts_wrongly_broke(worker, start, code, says):
    with pytest.raises(TrainerBroke) as raised:
        open_trainer(
            worker(start=f"sys.stderr.write('its own words')\nsys.stderr.flush()\n{start}")
        )
    assert raised.value.code == code
    assert says in str(raised.value)
    assert raised.value.output.startswith("its own words")


def test_a_worker_that_never_starts_is_given_up(worker):
    with pytest.raises(TrainerBroke, match=r"did not answer start within 0\.3 s") as raised:
        open_trainer(worker(start="time.sleep(1000)"), start_limit=0.3)
    assert raised.value.code == "hung"


# --- broken while it trains -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "code", "says"),
    [
        ("sys.exit(3)", "died", "died without answering train, with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "died", "without answering train, by SIGKILL"),
        ("os.write(1, b'{\"ok\": t'); sys.exit(0)", "died", "with exit code 0"),
        ("say('epoch 1: 2.0')", "rubbish", "answered train with 'epoch 1: 2.0'"),
        ("say('null')", "rubbish", "answered train with 'null'"),
        ('say(\'{"ok": "true"}\')', "rubbish", "answered train with"),
        ("os.write(1, b'\\xff{\"ok\": true}\\n')", "rubbish", "answered train with"),
        ("say('x' * 200 + 'y')", "rubbish", "'" + "x" * 200 + "'..."),
        ('os.write(1, b\'{"ok": true}\\n{"ok": true}\\n\')', "rubbish", "more than one line"),
        ("say('x' * 2_000_000)", "rubbish", "a line of more than 1048576 bytes"),
        ("sys.stdout.write('x' * 2_000_000)", "rubbish", "a line of more than 1048576 bytes"),
        ('say(\'{"ok": false, "error": "bad\\\\nseed"}\')\ncontinue', "refused", ": bad seed"),
        ("say('{\"ok\": false}')\ncontinue", "refused", "it does not say why"),
        ('say(\'{"ok": false, "error": 5}\')\ncontinue', "refused", "it does not say why"),
    ],
)
def test_a_worker_that_answers_wrongly_broke(worker, scenario, train, code, says):
    loud = f"sys.stderr.write('its own words'); sys.stderr.flush()\n{train}"
    broke = broke_on(worker(loud), scenario())
    assert broke.code == code
    assert says in str(broke)
    assert broke.output.startswith("its own words")


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("time.sleep(1000)", "did not answer train within 1 s"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)", "within 1 s"),
        ("os.write(1, b'{\"ok\"'); time.sleep(1000)", "(half a line: '{\"ok\"')"),
        ("while True: os.write(2, b'x' * 65536)", "within 1 s"),
    ],
    ids=["sleeps", "ignores SIGTERM", "half a line", "floods standard error"],
)
def test_a_worker_that_does_not_answer_in_time_hung_and_is_killed(
    worker, scenario, tmp_path, gone, *, train, says
):
    note = tmp_path / "process"
    spec = worker(f"open({str(note)!r}, 'w').write(str(os.getpid()))\n{train}")
    broke = broke_on(spec, scenario(), time_limit=1.0)
    assert broke.code == "hung"
    assert says in str(broke)
    assert gone(int(note.read_text()))


def test_after_a_break_a_new_worker_plays_on(worker, scenario, tmp_path, attempt):
    log = tmp_path / "log"
    train = f"open({str(log)!r}, 'a').write(str(os.getpid()) + ' ')\nif seed: sys.exit(seed)"
    with open_trainer(worker(train)) as trainer:
        broke = [attempt(trainer, scenario(seed=seed)) for seed in (0, 4, 0, 0)]
        trainer.stop()
    assert [each is None for each in broke] == [True, False, True, True]
    assert str(broke[1]).endswith("with exit code 4")
    first, second, third, fourth = log.read_text().split()
    assert first == second != third == fourth


def test_a_worker_that_says_no_is_not_started_again(worker, scenario, tmp_path):
    log = tmp_path / "log"
    train = (
        f"open({str(log)!r}, 'a').write(str(os.getpid()) + ' ')\n"
        'if seed:\n    say(\'{"ok": false, "error": "no"}\')\n    continue'
    )
    with open_trainer(worker(train)) as trainer:
        with pytest.raises(TrainerBroke, match="refused: no"):
            trainer.train(scenario(seed=1))
        trainer.train(scenario())
    assert len(set(log.read_text().split())) == 1


def test_a_worker_that_is_gone_when_asked_again_died(worker, scenario):
    with open_trainer(worker("say('{\"ok\": true}')\nos._exit(5)")) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke, match="with exit code 5") as raised:
            trainer.train(scenario())
    assert raised.value.code == "died"


def test_a_worker_that_cannot_be_started_again_broke(scenario, tmp_path):
    path = tmp_path / "worker.sh"
    path.write_text(SHELL.replace("    *) echo", "    *) exit 1; echo"), encoding="ascii")
    path.chmod(0o755)
    with open_trainer(f"worker:{path}") as trainer:
        with pytest.raises(TrainerBroke, match="exit code 1"):
            trainer.train(scenario())
        path.unlink()
        with pytest.raises(TrainerBroke, match="cannot be started again") as raised:
            trainer.train(scenario())
    assert raised.value.code == "not-started"


def test_an_answer_too_many_is_noticed_at_the_latest_at_the_end(worker, scenario, attempt):
    """Whenever it comes: with the answer, before the next request, or taken for the next answer."""
    with open_trainer(worker("say('{\"ok\": true}')\ntime.sleep(0.01)")) as trainer:
        broke = [attempt(trainer, scenario()) for _ in range(3)]
        if not any(broke):
            with pytest.raises(TrainerBroke) as raised:
                trainer.stop()
            broke.append(raised.value)
    assert {each.code for each in broke if each} == {"rubbish"}


def test_a_line_that_nobody_asked_for_is_told_as_such(worker, scenario, tmp_path, attempt):
    go, said = tmp_path / "go", tmp_path / "said"
    train = (
        "say('{\"ok\": true}')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.001)\n"
        f"say('Epoch 2')\nopen({str(said)!r}, 'w')\ncontinue"
    )
    with open_trainer(worker(train)) as trainer:
        trainer.train(scenario())
        go.touch()
        while not said.exists():
            os.sched_yield()
        broke = attempt(trainer, scenario())
    assert broke.code == "rubbish"
    assert str(broke) == "the worker said 'Epoch 2' without being asked"


def test_a_long_request_that_nobody_reads_keeps_the_time_limit(worker, scenario):
    spec = worker(start=f"say('{START}'); os.read(0, 8192); time.sleep(20); sys.exit(1)")
    start = time.monotonic()
    broke = broke_on(spec, scenario(rewards=(1.0,) * 100_000), time_limit=0.3)
    assert broke.code == "hung"
    assert time.monotonic() - start < 15


def test_a_worker_that_closes_its_output_and_lives_on_is_given_up(worker, scenario):
    broke = broke_on(worker("os.close(1); time.sleep(1000)"), scenario())
    assert (broke.code, str(broke)) == (
        "died",
        "the worker closed its standard output without answering train",
    )


def test_a_flood_on_standard_error_neither_blocks_nor_is_kept(worker, scenario):
    flood = "for _ in range(100): os.write(2, b'x' * 1_000_000)\nos.write(2, b'the end')"
    with open_trainer(worker(f"{flood}\nif seed: sys.exit(1)")) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke) as raised:
            trainer.train(scenario(seed=1))
    assert raised.value.output.endswith("xthe end")
    assert len(raised.value.output) == 8 * 1024


def test_the_output_told_is_of_the_scenario_that_broke(worker, scenario):
    train = "sys.stderr.write(f'seed {seed}'); sys.stderr.flush()\nif seed: sys.exit(1)"
    with open_trainer(worker(train)) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke) as raised:
            trainer.train(scenario(seed=1))
    assert raised.value.output == "seed 1"


def test_output_that_is_no_utf8_is_shown_all_the_same(worker, scenario):
    assert broke_on(worker("os.write(2, b'\\xff!'); sys.exit(1)"), scenario()).output == "\ufffd!"


CHILD = "child = subprocess.Popen(['sleep', '1000'])\nopen({!r}, 'w').write(str(child.pid))\n"


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(3)", "died"), ("time.sleep(1000)", "hung"), ("pass", None)]
)
def test_children_that_it_left_behind_neither_hold_us_nor_live_on(
    worker, scenario, tmp_path, gone, attempt, *, ending, code
):
    """They hold its standard output and error open."""
    note = tmp_path / "child"
    start = time.monotonic()
    with open_trainer(worker(CHILD.format(str(note)) + ending), time_limit=1.0) as trainer:
        broke = attempt(trainer, scenario())
    assert (broke and broke.code) == code
    assert time.monotonic() - start < 20
    assert gone(int(note.read_text()))


# --- its end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "code", "says"),
    [
        ("sys.exit(4)", "exited", "ended with exit code 4 when told to stop"),
        ("os.kill(os.getpid(), signal.SIGABRT)", "exited", "by SIGABRT when told to stop"),
        ("time.sleep(1000)", "hung", "did not exit within 0.3 s of stop"),
        ("pass", "hung", "did not exit within 0.3 s of stop"),
        ("say('{\"ok\": true}'); sys.exit(0)", "rubbish", "answered stop with"),
    ],
)
def test_a_worker_that_does_not_stop_as_it_should_broke(
    worker, scenario, monkeypatch, *, stop, code, says
):
    monkeypatch.setattr(worker_module, "STOP_LIMIT_S", 0.3 if code == "hung" else 60.0)
    with open_trainer(worker(stop=stop)) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke) as raised:
            trainer.stop()
        assert raised.value.code == code
        assert says in str(raised.value)
        trainer.stop()  # nothing is left to stop


def test_a_worker_that_was_gone_before_it_was_stopped_died(worker, scenario, tmp_path, gone):
    note = tmp_path / "process"
    train = (
        f"open({str(note)!r}, 'w').write(str(os.getpid()))\nsay('{{\"ok\": true}}')\nos._exit(0)"
    )
    with open_trainer(worker(train)) as trainer:
        trainer.train(scenario())
        while not gone(int(note.read_text())):
            os.sched_yield()
        with pytest.raises(TrainerBroke, match="exit code 0"):
            trainer.stop()


@pytest.mark.parametrize("stop", ["sys.exit(4)", "time.sleep(1000)"])
def test_closing_raises_nothing_and_leaves_nobody(
    worker, scenario, tmp_path, gone, monkeypatch, *, stop
):
    monkeypatch.setattr(worker_module, "STOP_LIMIT_S", 0.3)
    note = tmp_path / "process"
    spec = worker(f"open({str(note)!r}, 'w').write(str(os.getpid()))", stop=stop)
    with open_trainer(spec) as trainer:
        trainer.train(scenario())
    trainer.close()
    assert gone(int(note.read_text()))


def test_an_interrupt_while_it_trains_leaves_nobody(worker, scenario, tmp_path, gone, monkeypatch):
    """And nothing of the interrupted scenario answers for the next one."""
    note = tmp_path / "process"
    spec = worker(f"open({str(note)!r}, 'a').write(str(os.getpid()) + ' ')\ntime.sleep(seed)")
    advance = worker_module.Child.advance

    def interrupted(child, seconds):
        if seconds > 10 and note.exists():
            raise KeyboardInterrupt
        advance(child, min(seconds, 0.05))

    with open_trainer(spec) as trainer:
        with monkeypatch.context() as patch:
            patch.setattr(worker_module.Child, "advance", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trainer.train(scenario(seed=1000))
        trainer.train(scenario())
    first, second = note.read_text().split()
    assert first != second
    assert gone(int(first))
    assert gone(int(second))


def test_an_interrupt_that_ends_the_suite_waits_for_nobody(
    worker, scenario, tmp_path, gone, monkeypatch
):
    monkeypatch.setattr(worker_module, "STOP_LIMIT_S", 20.0)
    note = tmp_path / "process"
    trainer = open_trainer(
        worker(f"open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)")
    )
    advance = worker_module.Child.advance

    def interrupted(child, seconds):
        if seconds > 30 and note.exists() and note.read_text():
            raise KeyboardInterrupt
        advance(child, min(seconds, 0.05))

    monkeypatch.setattr(worker_module.Child, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(scenario())
    start = time.monotonic()
    trainer.close()
    assert time.monotonic() - start < 15
    assert gone(int(note.read_text()))


def test_no_descriptor_is_left_open(worker, scenario, attempt, descriptors):
    before = descriptors()
    with open_trainer(worker("if seed: sys.exit(1)")) as trainer:
        broke = [attempt(trainer, scenario(seed=seed)) is not None for seed in (0, 1, 0, 1)]
    assert broke == [False, True, False, True]
    assert descriptors() == before


def test_where_the_kernel_does_not_tell_of_a_process_it_is_looked_at(
    worker, scenario, tmp_path, gone, monkeypatch
):
    """As on macOS."""
    monkeypatch.delattr(os, "pidfd_open")
    note = tmp_path / "child"
    spec = worker(CHILD.format(str(note)) + "if seed: sys.exit(seed)")
    with open_trainer(spec) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke, match="with exit code 7"):
            trainer.train(scenario(seed=7))
        trainer.train(scenario())
        trainer.stop()
    assert gone(int(note.read_text()))


def test_a_scenario_costs_little(worker, scenario):
    """The suite asks for 50 scenarios a second; 5 ms a round trip is far from it."""
    asked = scenario()
    with open_trainer(worker()) as trainer:
        costs = []
        for _ in range(100):
            start = time.perf_counter()
            trainer.train(asked)
            costs.append(time.perf_counter() - start)
    assert min(costs) < 5e-3
    assert Path(asked.root).exists() is False
