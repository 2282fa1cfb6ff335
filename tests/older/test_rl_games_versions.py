"""Older versions of the real rl_games, each held against its own dialect and told by its runs.

They are installed from the package index as the tests run, so they have an environment of their
own: `tox -e older`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import conformance
from conformance import Scenario
from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.run.settings import Options
from conformance.views.dialect import choose

TRAINER = "python:conformance.trainers.rl_games:RlGames"
# The version that the other tests play, 1.6.5, is the one that is installed.
DIALECTS = {
    "1.1.4": "rl_games-1.1",
    "1.4.0": "rl_games-1.1",
    "1.5.2": "rl_games-1.5",
    "1.6.0": "rl_games-1.6.0",
    "1.6.1": "rl_games-1.6",
}
# The dialect that the same runs break, by the rules that say so.
OTHERS = {
    "1.1.4": ("rl_games-1.6.0", "NAME-002"),
    "1.4.0": ("rl_games-1.6.0", "NAME-002"),
    "1.5.2": ("rl_games-1.6.0", "NAME-002"),
    "1.6.0": ("rl_games-1.6", "CADENCE-002"),
    "1.6.1": ("rl_games-1.5", "NAME-005"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that installs a version into a folder of its own, without what it depends on."""

    @cache
    def install(version):
        folder = tmp_path_factory.mktemp(version)
        # It asks for an older Python than it needs, and is not the version that is pinned.
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]
        pip += ["--ignore-requires-python", "--target", str(folder), f"rl_games=={version}"]
        free = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
        done = subprocess.run(pip, env=free, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"rl_games {version} cannot be installed: {done.stderr.strip()[-300:]}")
        return folder

    return install


PLAYS = """
import sys
from conformance import Scenario
from conformance.cli import main
from conformance.trainers.rl_games import RlGames
trainer = RlGames()
trainer.train(Scenario.from_json(sys.argv[1]))
print(trainer.version, trainer.profile, file=sys.stderr)
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Played:
    """What a version left: the run in which it improved, fell and ended, and how it was driven."""

    folder: Path
    scenario: Scenario
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def played(installed, tmp_path_factory):
    """A function that has a version play a run and be driven, in one process for both tests."""

    @cache
    def play(version):
        here = tmp_path_factory.mktemp("here")
        rewards = (1.5, -2.0, 3.0, 3.25, 2.5, 4.0, 3.5)
        late = load_profile(DIALECTS[version]).ends_late
        scenario = Scenario("Ant", here, 2, 6, rewards if late else rewards[:-1])
        options = ["--profile", DIALECTS[version], "--max-examples", "25", "--seed", "1"]
        formats = ["--format", "text", "--output", "-", "--format", "json"]
        path = (installed(version), Path(conformance.__file__).parents[1])
        done = subprocess.run(
            [
                *(sys.executable, "-c", PLAYS, scenario.to_json()),
                *("test", TRAINER, *options, *formats, "--output", "report.json"),
            ],
            cwd=here,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"{version} {DIALECTS[version]}" in done.stderr.splitlines(), done.stderr
        return Played(here, scenario, done)

    return play


versions = pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=pytest.mark.xdist_group(f"rl_games {version}"))
        for version in DIALECTS
    ],
)


@versions
def test_each_version_keeps_its_own_dialect(played, version):
    """Driven: names, order of writes, watermarks, contents and logs, resumed sessions too."""
    here, done = played(version).folder, played(version).done
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"CONFORMS   rl_games {version}  (" in done.stdout
    report = json.loads((here / "report.json").read_text())
    assert report["verdict"] == "conforms"
    assert report["counts"]["pass"] > 35


def broken(folder, dialect, options):
    report = audit(folder, load_profile(dialect), options)
    return {
        finding.rule
        for finding in report.findings
        if (finding.verdict.value, finding.level.value) == ("fail", "must")
    }


@versions
def test_its_runs_tell_the_dialect_and_break_another(played, version):
    scenario = played(version).scenario
    folder = scan_run(scenario.root / scenario.experiment)
    options = Options(None, scenario.save_freq, scenario.max_epochs, 0)
    choice = choose(folder, options)
    alike = {"1.6.1": ("rl_games-2.0", "rl_games-1.6")}
    assert (choice.profile.name, *choice.equals) == alike.get(version, (DIALECTS[version],))
    assert broken(folder, DIALECTS[version], options) == set()
    other, rule = OTHERS[version]
    assert rule in broken(folder, other, options)
