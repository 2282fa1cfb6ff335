"""Each recipe of CONTRIBUTING.md is followed in a copy of the tree, and is enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("conformance", "docs", "fixtures", "reference_trainer", "tests")
# What the page writes in capitals, for what the toys here are called.
NAMES = {"GROUP": "layout", "RULE": "LAYOUT-006", "MUTANT": "DumpsCore", "PROFILE": "toy"}
NAMES |= {"FORM": "toy", "FORMAT": "toy"}


def recipes():
    """The page's recipes by their titles: the files to touch, and the commands to run."""
    return {
        title: (
            tuple(_filled(file) for file in re.findall(r"^\d+\. `([^`]+)`:", text, re.MULTILINE)),
            tuple(
                _filled(line) for line in re.findall(r"^(?:python|pytest) .*$", text, re.MULTILINE)
            ),
        )
        for title, text in re.findall(
            r"^## (Add .*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
        )
    }


def _filled(text):
    """The text with the names of the toys; whole words in capitals alone."""
    return re.sub(r"\b([A-Z]{4,})\b", lambda word: NAMES.get(word[1], word[1]), text)


def before(anchor, text):
    """An edit that puts a text before the one place where the anchor stands."""

    def edit(source):
        assert source.count(anchor) == 1, anchor
        return source.replace(anchor, text + anchor)

    return edit


def at_the_end(text):
    """An edit that puts a text behind all others; in a new file, into it."""
    return lambda source: source + text


RULE = """\
    Rule(
        id="LAYOUT-006",
        level=SHOULD,
        text="No core dump lies in the run.",
        source=_READERS,
        needs=(NAMES,),
        breaks="a file called core beside nn/",
        keeps="a file called core.txt beside nn/",
        fix="Remove it, and look for what crashed.",
    ),
"""
CHECK = '''\
def no_core_dump(subject: Subject) -> Outcome:
    """LAYOUT-006."""
    dumps = [entry.relative for entry in subject.folder.entries if entry.name == "core"]
    return failed("a core dump lies there", dumps) if dumps else passed("there is no core dump")


'''
CASES = '''

@violates("LAYOUT-006")
def dumped() -> Run:
    """The trainer crashed and left its memory."""
    return ordinary().with_other("core", b"memory")


@nearly_violates("LAYOUT-006")
def notes_on_the_core() -> Run:
    """A file has nearly the name of a core dump."""
    return ordinary().with_other("core.txt", b"no dump")
'''
MUTANT = '''\
class DumpsCore(Trainer):
    """Leaves a core dump beside nn/."""

    rule = "{rule}"

    def end(self) -> None:
        {end}


'''
PROFILE = """\
name = "toy"
base = "isaacgymenvs"
summary = "Toys: periodic names with a T."
source = "the toy, save()"

[names]
periodic = [{ template = "T{epoch}T{reward}T{name}", rewards = ["scalar"] }]
"""
CONFORMING = '''\
@conforms(profile="toy")
def toy() -> Run:
    """A toy."""
    return _dialect("toy", 57.25, 56.5, 61.5, 61.25)


'''
TRAINER = '''\
"""`toy:MODULE:ATTRIBUTE`: as `python:`, under another name."""

from __future__ import annotations

from conformance.trainers.in_process import PythonTrainer


class ToyTrainer(PythonTrainer):
    """A toy."""

    form = "toy"
'''
FORM = """\
        Form(
            name="toy",
            takes="MODULE:ATTRIBUTE",
            is_what=("a toy",),
            opens=_toy,
            in_process=True,
        ),
"""
OPENS = """\
def _toy(spec: str, rest: str, limits: Limits) -> Trainer:
    from conformance.trainers.toy import ToyTrainer

    return ToyTrainer(spec, rest, time_limit=limits.session, start_limit=limits.start)


"""
WRITER = '''\
"""The report as lines for a toy."""

from __future__ import annotations

from conformance.report.driven import shrunken
from conformance.report.printable import printable


def to_toy(report):
    """Return a line for each failure, and what shows it."""
    scenarios = shrunken(report)
    lines = []
    for run in report.runs:
        for finding in run.findings:
            if finding.verdict.value == "fail" and finding.level.value == "must":
                lines.append(f"{finding.rule} {finding.message}")
                lines += scenarios[finding.rule].lines if finding.rule in scenarios else ()
    return "".join(f"{printable(line)}\\n" for line in (*lines, f"verdict: {report.verdict}"))
'''

# The steps of each recipe, by the file that each one touches.
STEPS = {
    "Add a rule": {
        "conformance/convention/rules.py": before('    Rule(\n        id="NAME-001",', RULE),
        "conformance/checks/layout.py": lambda source: before("CHECKS = {", CHECK)(source).replace(
            "CHECKS = {", 'CHECKS = {\n    "LAYOUT-006": no_core_dump,'
        ),
        "conformance/fixtures/cases/layout.py": at_the_end(CASES),
        "conformance/mutants/defects/layout.py": before(
            "class SavesInTheRunFolder(",
            MUTANT.format(rule="LAYOUT-006", end='(self.run / "core").write_bytes(b"memory")'),
        ),
    },
    "Add a mutant": {
        "conformance/mutants/defects/layout.py": before(
            "class SavesInTheRunFolder(",
            MUTANT.format(rule="LAYOUT-003", end='(self.run / "nn/core").write_bytes(b"memory")'),
        ),
    },
    "Add a profile": {
        "conformance/convention/profiles/toy.toml": at_the_end(PROFILE),
        "conformance/fixtures/cases/conforming.py": before('@conforms(profile="amp")', CONFORMING),
        "docs/profiles.md": before("| `amp` |", "| `toy` | toys | `TNTRTNAME` | | |\n"),
    },
    "Add a trainer form": {
        "conformance/trainers/toy.py": at_the_end(TRAINER),
        "conformance/trainers/forms.py": lambda source: before("FORMS: dict", OPENS)(
            before('        Form(\n            name="worker",', FORM)(source)
        ),
        "docs/trainers.md": lambda source: before(
            "| `worker:COMMAND` |", "| `toy:MODULE:ATTRIBUTE` | a toy | the scenario's |\n"
        )(before("## worker:", "## toy:\n\nAs python:, for toys.\n\n")(source)),
    },
    "Add a report format": {
        "conformance/report/toy.py": at_the_end(WRITER),
        "conformance/report/formats.py": before(
            '        Format("html"', '        Format("toy", Syntax.TEXT, _module("toy")),\n'
        ),
        "docs/formats.md": before("## html\n", "## toy\n\nFor toys: `--format toy`.\n\n"),
        "README.md": before("`markdown` or `html`", "`toy`, "),
    },
}


@pytest.fixture
def tree(tmp_path):
    """A copy of what the recipes touch and run."""
    for folder in COPIED:
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for file in (*ROOT.glob("*.md"), ROOT / "pyproject.toml"):
        shutil.copy(file, tmp_path)
    return tmp_path


def walked(tree, files, commands, steps):
    """What went wrong where only these files were touched; empty where nothing did."""
    for file in files:
        path = tree / file
        source = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(steps[file](source), encoding="utf-8")
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": found, "PYTHONPATH": str(tree)}
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-euc", command],
            check=False,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            return f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return ""


def test_the_page_has_the_recipes_that_are_followed_here():
    assert list(recipes()) == list(STEPS)
    for title, (files, commands) in recipes().items():
        assert files
        assert commands[-1].startswith("pytest "), title


@pytest.mark.slow
@pytest.mark.parametrize("title", STEPS)
def test_a_recipe_names_all_that_it_takes(tree, title):
    files, commands = recipes()[title]
    wrong = walked(tree, files, commands, STEPS[title])
    assert not wrong, wrong


@pytest.mark.slow
def test_a_recipe_that_forgets_a_file_is_caught(tree):
    files, commands = recipes()["Add a report format"]
    left = tuple(file for file in files if file != "docs/formats.md")
    assert walked(tree, left, commands, STEPS["Add a report format"])
