"""Older versions of the real rl_games, each held against its own dialect and told by its runs.

They are installed from the package index as the tests run, so they have an environment of their
own: `tox -e older`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import conformance
from conformance import Scenario
from conformance.checks import Options, audit
from conformance.checks.dialect import choose
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run

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


def run(folder, here, *arguments):
    """Run Python with the rl_games that stands in the folder."""
    own = Path(conformance.__file__).parents[1]
    path = os.pathsep.join([str(folder), str(own), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", DIALECTS)
def test_each_version_keeps_its_own_dialect(installed, tmp_path, version):
    """Driven: names, order of writes, watermarks, contents and logs, resumed sessions too."""
    options = ["--profile", DIALECTS[version], "--max-examples", "25", "--seed", "1"]
    done = run(
        installed(version),
        tmp_path,
        *("-m", "conformance", "test", TRAINER, *options),
        *("--format", "text", "--output", "-", "--format", "json", "--output", "report.json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"CONFORMS   rl_games {version}  (" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "conforms"
    assert report["counts"]["pass"] > 35


PLAYS = """
import sys
from conformance import Scenario
from conformance.trainers.rl_games import RlGames
trainer = RlGames()
trainer.train(Scenario.from_json(sys.argv[1]))
print(trainer.version, trainer.profile, file=sys.stderr)
"""


@pytest.fixture
def written(installed, tmp_path):
    """A function that returns the run that a version leaves; it improves, falls and ends."""

    def write(version):
        rewards = (1.5, -2.0, 3.0, 3.25, 2.5, 4.0, 3.5)
        late = load_profile(DIALECTS[version]).final_at == "epoch > max_epochs"
        scenario = Scenario("Ant", tmp_path, 2, 6, rewards if late else rewards[:-1])
        done = run(installed(version), tmp_path, "-c", PLAYS, scenario.to_json())
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == f"{version} {DIALECTS[version]}"
        return scan_run(tmp_path / "Ant"), Options(None, 2, 6, 0)

    return write


def broken(folder, dialect, options):
    report = audit(folder, load_profile(dialect), options)
    return {
        finding.rule
        for finding in report.findings
        if (finding.verdict.value, finding.level.value) == ("fail", "must")
    }


@pytest.mark.parametrize("version", DIALECTS)
def test_its_runs_tell_the_dialect_and_break_another(written, version):
    folder, options = written(version)
    choice = choose(folder, options)
    alike = {"1.6.1": ("rl_games-2.0", "rl_games-1.6")}
    assert (choice.profile.name, *choice.equals) == alike.get(version, (DIALECTS[version],))
    assert broken(folder, DIALECTS[version], options) == set()
    other, rule = OTHERS[version]
    assert rule in broken(folder, other, options)
