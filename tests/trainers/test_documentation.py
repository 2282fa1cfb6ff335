"""The trainers in `docs/trainers.md` are driven as the page says, and it names what there is."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.run.settings import Options
from conformance.trainers import TrainerBroke, open_trainer
from conformance.trainers.command import PLACEHOLDERS
from conformance.trainers.forms import FORMS

PAGE = (Path(__file__).parents[2] / "docs" / "trainers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def examples(here, monkeypatch):
    """The page's files, in the working directory."""
    for language, block in BLOCKS:
        name = re.match(r'(?:#!/bin/sh\n# |""")(\w+\.(?:py|sh))', block)
        if language in ("python", "sh") and name is not None:
            (here / name[1]).write_text(block, encoding="utf-8")
    yield here
    for name in ("my_trainer", "worker"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def outcomes(asked):
    """How the audit judges the run of a scenario, by rule."""
    report = audit(
        scan_run(asked.root / asked.experiment),
        load_profile(),
        Options(save_freq=asked.save_freq, max_epochs=asked.max_epochs),
    )
    return {finding.rule: finding.verdict for finding in report.findings}


def chosen(scenario):
    rewards = (None, -2.0, 3.5, 3.5, float("nan"), float("inf"))
    return scenario(max_epochs=6, rewards=rewards, save_freq=2)


def test_the_page_holds_the_files_that_it_speaks_of(examples):
    assert {path.name for path in examples.iterdir()} == {
        *("my_trainer.py", "worker.py", "worker_by_hand.py", "worker.sh"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "python:my_trainer:Trainer",
        "worker:{python} worker.py",
        "worker:{python} worker_by_hand.py",
    ],
)
@pytest.mark.usefixtures("examples")
def test_the_trainer_of_the_page_keeps_the_convention(scenario, spec, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    asked = chosen(scenario)
    with open_trainer(spec.format(python=shlex.quote(sys.executable))) as trainer:
        trainer.train(asked)
        trainer.stop()
        assert trainer.title == "my trainer 1.0"
    judged = outcomes(asked)
    assert [rule for rule, verdict in judged.items() if verdict is Verdict.FAIL] == []
    assert judged["BEST-002"] is judged["CADENCE-002"] is Verdict.PASS


def test_the_worker_in_the_shell_hands_requests_on(examples, scenario):
    program = examples / "my-program"
    program.write_text(
        '#!/bin/sh\nread -r request; echo "$request"; echo "$request" >seen\n'
        "case $request in *'\"seed\": 0'*) exit 0 ;; esac; exit 1\n",
        encoding="ascii",
    )
    program.chmod(0o755)
    with open_trainer("worker:sh worker.sh ./my-program") as trainer:
        trainer.train(scenario())
        assert scenario().to_json() in (examples / "seen").read_text(encoding="utf-8")
        with pytest.raises(TrainerBroke, match="refused: the program failed") as raised:
            trainer.train(scenario(seed=1))
        assert '"seed": 1' in raised.value.output
        trainer.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("examples")
def test_the_program_at_the_end_of_the_page_runs(capsys):
    (source,) = (block for language, block in BLOCKS if "open_trainer(" in block)
    exec(compile(source, "docs/trainers.md", "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == "['Cartpole.pth', 'last_Cartpoleep2rew3.0.pth'] ()\n"


def test_the_page_names_each_placeholder_and_each_way_to_break():
    assert set(re.findall(r"(?<!\{)\{(\w+)\}", PAGE)) >= {*PLACEHOLDERS}
    told = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    documented = re.search(r"code: (.*?)\n        message:", TrainerBroke.__doc__, re.DOTALL)
    assert told == set(re.findall(r"`([a-z-]+)`", documented[1]))


def test_the_page_has_a_section_for_each_form():
    assert re.findall(r"^## (\w+):$", PAGE, re.MULTILINE) == list(FORMS)
    for form in FORMS.values():
        assert f"| `{form.spelling}` |" in PAGE
