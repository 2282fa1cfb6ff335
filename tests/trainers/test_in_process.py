"""`python:`: how it is found, how it may break, what is kept from our output and restored."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from conformance.trainers import (
    TrainerBroke,
    TrainerSpecError,
    UnsupportedScenario,
    open_trainer,
)


def trained(module, body, *, before="", **limits):
    """A trainer whose `train` has the given body."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    name = module(f"{before}\nclass T:\n    def train(self, scenario):\n{lines}\n")
    return open_trainer(f"python:{name}:T", **limits)


# --- how it is found ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        ("class T:\n    def train(self, scenario): played.append(self)\n", "T"),
        (
            "class Made:\n    def train(self, scenario): played.append(self)\n"
            "def build(): return Made()\n",
            "build",
        ),
        (
            "class Made:\n    def train(self, scenario): played.append(self)\n"
            "class Zoo:\n    small = Made()\n",
            "Zoo.small",
        ),
        (
            "class Made:\n    def train(self, scenario): played.append(self)\n"
            "    def __call__(self): raise RuntimeError('it is one already')\n"
            "made = Made()\n",
            "made",
        ),
    ],
    ids=["class", "function", "object inside a class", "object that can be called too"],
)
def test_one_object_plays_all_scenarios(module, scenario, source, attribute):
    name = module(f"played = []\n{source}")
    with open_trainer(f"python:{name}:{attribute}") as trainer:
        trainer.train(scenario())
        trainer.train(scenario(seed=1))
    played = sys.modules[name].played
    assert len(played) == 2
    assert played[0] is played[1]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", "python:MODULE:ATTRIBUTE"),
        ("json", "python:MODULE:ATTRIBUTE"),
        ("json:", "python:MODULE:ATTRIBUTE"),
        ("..json:x", "python:MODULE:ATTRIBUTE"),
        ("no_such_module:T", "no module 'no_such_module'"),
        ("json.no_such:T", "no module 'json.no_such'"),
        ("json:NoSuch", "has no attribute 'NoSuch'"),
        ("json:JSONDecoder.no_such", "has no attribute 'no_such'"),
        ("math:pi", "neither an object with train(scenario) nor makes one"),
        ("builtins:dict", "makes a dict, which has no train(scenario)"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_wrong_target_is_a_wrong_spec_in_one_line(target, says):
    path = list(sys.path)
    with pytest.raises(TrainerSpecError) as raised:
        open_trainer(f"python:{target}")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sys.path == path


@pytest.mark.parametrize("spec", ["", "json:JSONDecoder", "ruby:x", "Python:json:JSONDecoder"])
def test_an_unknown_form_is_a_wrong_spec(spec):
    with pytest.raises(TrainerSpecError, match="python:MODULE:ATTRIBUTE, worker:COMMAND"):
        open_trainer(spec)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_time_limit_is_more_than_nothing(limit):
    with pytest.raises(ValueError, match="more than 0 seconds"):
        open_trainer("worker:sh", time_limit=limit)


def test_a_module_that_lacks_another_one_broke_and_is_not_missing_itself(module):
    name = module("import no_such_module")
    with pytest.raises(TrainerBroke, match="importing it raised ModuleNotFoundError") as raised:
        open_trainer(f"python:{name}:T")
    assert raised.value.code == "raised"
    assert raised.value.output.startswith("Traceback")
    assert "importlib" not in raised.value.output
    assert "no_such_module" in raised.value.output


def test_a_constructor_that_raises_broke(module):
    name = module("class T:\n    def __init__(self): raise OSError('no GPU')\n    train = print")
    with pytest.raises(TrainerBroke, match="building it raised OSError: no GPU"):
        open_trainer(f"python:{name}:T")


def test_it_can_import_from_the_working_directory_while_it_is_open(module, scenario, here):
    (here / "imported_by_a_test.py").write_text("value = 1\n", encoding="utf-8")
    path = list(sys.path)
    with trained(module, "import os; os.chdir('/'); import imported_by_a_test") as trainer:
        trainer.train(scenario())
        assert str(here) in sys.path
    assert sys.modules.pop("imported_by_a_test").value == 1
    assert sys.path == path
    trainer.close()
    assert sys.path == path


# --- what it says of itself -----------------------------------------------------------------


def test_it_is_titled_by_its_name_and_version(module):
    name = module("class T:\n    name = 'mini\\nppo'\n    version = '2.1'\n    train = print")
    with open_trainer(f"python:{name}:T") as trainer:
        assert (trainer.title, trainer.form, trainer.plays_rewards) == (
            "mini ppo 2.1",
            "python",
            True,
        )
    name = module("class T:\n    train = print")
    with open_trainer(f"python:{name}:T") as trainer:
        assert trainer.title == trainer.spec == f"python:{name}:T"


def test_without_capabilities_it_is_asked_everything(module, scenario):
    with trained(module, "pass") as trainer:
        assert trainer.capabilities == {"resume", "save_best_after"}
        trainer.train(scenario(resume="best", save_best_after=2))


@pytest.mark.parametrize("lacking", [{"resume": "last"}, {"save_best_after": 3}])
def test_what_it_does_not_offer_is_not_asked_of_it(module, scenario, lacking):
    name = module("class T:\n    capabilities = ['other']\n    def train(self, scenario): 1 / 0")
    with open_trainer(f"python:{name}:T") as trainer:
        with pytest.raises(UnsupportedScenario, match="does not offer"):
            trainer.train(scenario(**lacking))
        with pytest.raises(TrainerBroke, match="ZeroDivisionError"):
            trainer.train(scenario())


@pytest.mark.parametrize("capabilities", ["'resume'", "3", "b'resume'"])
def test_capabilities_that_are_no_collection_of_names_are_refused(module, capabilities):
    name = module(f"class T:\n    capabilities = {capabilities}\n    train = print")
    with pytest.raises(TrainerSpecError, match="capabilities"):
        open_trainer(f"python:{name}:T")


def test_not_implemented_leaves_out_what_is_optional_and_nothing_else(module, scenario):
    with trained(module, "raise NotImplementedError('no resume')") as trainer:
        for optional in ({"resume": "best"}, {"save_best_after": 1}):
            with pytest.raises(UnsupportedScenario, match="no resume"):
                trainer.train(scenario(**optional))
        with pytest.raises(TrainerBroke, match="NotImplementedError"):
            trainer.train(scenario())


# --- how it breaks --------------------------------------------------------------------------


def test_an_exception_is_told_with_the_trainers_own_frames(module, scenario, attempt):
    before = "def inner():\n    raise ValueError('bad\\n\\x1b[2Jshape')\n"
    with trained(module, "print('epoch 1')\ninner()", before=before) as trainer:
        broke = attempt(trainer, scenario())
    assert broke.code == "raised"
    assert str(broke) == broke.message == "train() raised ValueError: bad \\x1b[2Jshape"
    assert broke.output.startswith("epoch 1\nTraceback")
    frames = [line.split()[-1] for line in broke.output.splitlines() if line.startswith("  File")]
    assert frames == ["train", "inner"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import sys; sys.exit(0)", "train() raised SystemExit: 0"),
        ("raise BaseException", "train() raised BaseException"),
        ("raise GeneratorExit", "train() raised GeneratorExit"),
        ("class E(Exception):\n    def __str__(self): 1/0\nraise E", "train() raised E"),
        ("def f(): f()\nf()", "train() raised RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_whatever_it_raises_broke(module, scenario, body, says):
    with trained(module, body) as trainer, pytest.raises(TrainerBroke) as raised:
        trainer.train(scenario())
    assert str(raised.value).startswith(says)


def test_an_interrupt_is_the_users(module, scenario):
    out = sys.stdout
    with trained(module, "raise KeyboardInterrupt") as trainer, pytest.raises(KeyboardInterrupt):
        trainer.train(scenario())
    assert sys.stdout is out


def test_a_class_is_made_anew_after_it_broke_and_only_then(module, scenario, attempt):
    body = "self.n = getattr(self, 'n', 0) + 1\nprint(self.n)\nassert scenario.seed == 0"
    with trained(module, body) as trainer:
        printed = []
        for seed in (0, 1, 0, 1):
            broke = attempt(trainer, scenario(seed=seed))
            printed.append(broke and broke.output[0])
    assert printed == [None, "2", None, "2"]


def test_an_error_does_not_hold_what_the_trainer_held(module, scenario):
    name = module(
        "import weakref\nclass Weights: pass\nclass T:\n    def train(self, scenario):\n"
        "        weights = Weights()\n        T.seen = weakref.ref(weights)\n        1 / 0\n"
    )
    with open_trainer(f"python:{name}:T") as trainer:
        with pytest.raises(TrainerBroke) as raised:
            trainer.train(scenario())
        gc.collect()
        assert isinstance(sys.modules[name].T.seen, weakref.ref)
        assert sys.modules[name].T.seen() is None
        assert raised.value.__context__ is None


# --- time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "while True: pass",
        "for _ in range(3):\n    try: time.sleep(60)\n    except Exception: print('swallowed')",
        "threading.Lock().acquire() and threading.Event().wait()",
        "try: time.sleep(60)\nexcept BaseException: pass",
        "for _ in range(2):\n    try: time.sleep(60)\n    except BaseException: pass",
        "try: time.sleep(60)\nexcept BaseException as error: raise ValueError from error",
    ],
    ids=[
        *("sleeps", "runs in a circle", "swallows exceptions", "waits", "swallows everything"),
        *("swallows everything twice", "raises something else"),
    ],
)
def test_it_hung_if_it_does_not_end_in_time(module, scenario, body):
    start = time.monotonic()
    before = "import threading, time"
    with (
        trained(module, body, before=before, time_limit=0.05) as trainer,
        pytest.raises(TrainerBroke) as raised,
    ):
        trainer.train(scenario())
    assert time.monotonic() - start < 30
    assert raised.value.code == "hung"
    assert str(raised.value) == "train() did not end within 0.05 s"
    assert "a new object is built" in raised.value.hint
    assert "swallowed\n" not in raised.value.output


def test_where_it_hung_is_told(module, scenario, attempt):
    before = "def lost():\n    while True: pass\n"
    with trained(module, "lost()", before=before, time_limit=0.05) as trainer:
        broke = attempt(trainer, scenario())
    assert broke.output.startswith("It was here:")
    assert ", in lost\n" in broke.output
    assert "alarm.py" not in broke.output


def test_an_object_that_hung_goes_on_and_the_hint_says_so(module, scenario):
    name = module(
        "class T:\n    def train(self, scenario):\n        while scenario.seed: pass\none = T()"
    )
    with open_trainer(f"python:{name}:one", time_limit=0.5) as trainer:
        with pytest.raises(TrainerBroke) as raised:
            trainer.train(scenario(seed=1))
        assert "any state" in raised.value.hint
        trainer.train(scenario())


def test_an_import_that_hangs_is_ended(module):
    name = module("while True: pass")
    with pytest.raises(TrainerBroke, match=r"importing it did not end within 0\.05 s") as raised:
        open_trainer(f"python:{name}:T", start_limit=0.05)
    assert raised.value.code == "hung"


def test_an_alarm_that_was_set_before_is_set_again(module, scenario):
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    timer = signal.setitimer(signal.ITIMER_REAL, 100.0, 7.0)
    try:
        with trained(module, "import time; time.sleep(0.02)") as trainer:
            trainer.train(scenario())
        left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        assert 90.0 < left < 99.99
        assert interval == 7.0
        signal.raise_signal(signal.SIGALRM)
        assert rang == [1]
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_no_alarm_is_left_behind(module, scenario):
    handler = signal.getsignal(signal.SIGALRM)
    timer = signal.getitimer(signal.ITIMER_REAL)
    with trained(module, "while scenario.seed: pass", time_limit=0.5) as trainer:
        trainer.train(scenario())
        with pytest.raises(TrainerBroke):
            trainer.train(scenario(seed=1))
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL)[1] == timer[1]
    assert (signal.getitimer(signal.ITIMER_REAL)[0] == 0) == (timer[0] == 0)


def test_outside_the_main_thread_it_plays_without_a_limit(module, scenario):
    ended = []
    with trained(module, "import time; time.sleep(0.05)", time_limit=0.01) as trainer:
        thread = threading.Thread(target=lambda: ended.append(trainer.train(scenario())))
        thread.start()
        thread.join()
    assert ended == [None]


# --- what it prints, and what it changes ----------------------------------------------------

LOUD = """\
import os, subprocess, sys
print('print to stdout'); print('print to stderr', file=sys.stderr)
os.write(1, b'write to 1\\n'); os.write(2, b'write to 2 \\xff\\n')
subprocess.run(['sh', '-c', 'echo a child; echo a child 2 >&2'], check=True)
sys.__stdout__.write('to the first stdout\\n')
import ctypes; ctypes.CDLL(None).printf(b'printf from C\\n')
sys.stdout.buffer.write(b'to the buffer\\n')
"""


@pytest.mark.parametrize("capture", ["capfd", "capsys"])
def test_nothing_that_it_prints_reaches_our_output(module, scenario, request, capture):
    ours = request.getfixturevalue(capture)
    with trained(module, f"{LOUD}\nif scenario.seed: 1 / 0") as trainer:
        print("before")  # noqa: T201 - ours, and kept
        trainer.train(scenario())
        with pytest.raises(TrainerBroke) as raised:
            trainer.train(scenario(seed=1))
        print("after")  # noqa: T201 - ours, and kept
    assert ours.readouterr() == ("before\nafter\n", "")
    said = raised.value.output
    assert said.count("print to stdout") == 1  # this scenario's, not the one's before
    for line in ("print to stderr", "write to 1", "write to 2 \ufffd", "a child", "a child 2"):
        assert line in said.splitlines()
    assert "printf from C" in said
    assert "to the buffer" in said


def test_what_c_code_buffered_does_not_surface_later(tmp_path):
    """With standard output a pipe, C's own buffer would be written at our exit."""
    (tmp_path / "loud.py").write_text(
        "import ctypes\nclass T:\n    def train(self, scenario):\n"
        "        ctypes.CDLL(None).printf(b'printf from C\\n')\n",
        encoding="utf-8",
    )
    program = (
        "from conformance import Scenario\n"
        "from conformance.trainers import open_trainer\n"
        "print('ours')\n"
        "with open_trainer('python:loud:T') as trainer:\n"
        "    trainer.train(Scenario('x', 'r', 1, 1, (1.0,)))\n"
        "print('ours too')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONUNBUFFERED": "",  # else C does not buffer either
        },
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == (b"ours\nours too\n", b"")


def test_only_the_end_of_its_output_is_kept(module, scenario, attempt):
    with trained(module, "print('x' * 10_000_000 + 'the end')\n1 / 0") as trainer:
        output = attempt(trainer, scenario()).output
    assert "the end\nTraceback" in output
    assert len(output.encode()) <= 8 * 1024


def test_a_logger_that_kept_our_stream_harms_nobody_afterwards(module, scenario, capfd):
    body = (
        "import logging, sys\n"
        "log = logging.getLogger('of a trainer of a test')\n"
        "if not log.handlers: log.addHandler(logging.StreamHandler(sys.stderr))\n"
        "log.error('seed %d', scenario.seed)\n"
        "assert not scenario.seed"
    )
    logger = logging.getLogger("of a trainer of a test")
    try:
        with trained(module, body) as trainer:
            trainer.train(scenario())
            with pytest.raises(TrainerBroke, match="AssertionError") as raised:
                trainer.train(scenario(seed=7))
        assert raised.value.output.startswith("seed 7\n")
        logger.error("after the end")
    finally:
        logger.handlers.clear()
    assert capfd.readouterr() == ("", "")


def test_streams_that_it_replaces_are_ours_again(module, scenario):
    streams = sys.stdout, sys.stderr
    with trained(module, "import io, sys; sys.stdout = sys.stderr = io.StringIO()") as trainer:
        trainer.train(scenario())
    assert (sys.stdout, sys.stderr) == streams


def test_the_working_directory_is_ours_again(module, scenario, here):
    with trained(module, "import os; os.chdir('/'); assert not scenario.seed") as trainer:
        trainer.train(scenario())
        assert os.getcwd() == str(here)  # noqa: PTH109 - as the trainer sees it
        with pytest.raises(TrainerBroke):
            trainer.train(scenario(seed=1))
        assert os.getcwd() == str(here)  # noqa: PTH109 - as the trainer sees it


def test_no_descriptor_is_left_open(module, scenario, attempt, descriptors):
    before = descriptors()
    with trained(module, "assert not scenario.seed") as trainer:
        broke = [attempt(trainer, scenario(seed=seed)) is not None for seed in (0, 1, 0, 1)]
    assert broke == [False, True, False, True]
    assert descriptors() == before


def test_a_call_costs_little(module, scenario):
    """Below 100 us beside what the trainer does; three times that is no flake but a fault."""
    with trained(module, "pass") as trainer:
        asked = scenario()
        costs = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(20):
                trainer.train(asked)
            costs.append((time.perf_counter() - start) / 20)
    assert min(costs) < 300e-6
