"""`check_run` and `check_runs`, for programs, say what `conformance check` says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import conformance
from conformance.cli import main
from conformance.convention.oracle import Settings
from conformance.convention.profile import ProfileError, load_profile
from conformance.convention.rules import UnknownRuleError
from conformance.evidence.runs import NoRunError
from conformance.fixtures.play import Session, play
from conformance.mutants import RewritesOnTie, Trainer

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TIE = (1.0, 3.0, 3.0, 2.0)


def scenario(experiment, root, rewards=TIE):
    return conformance.Scenario(experiment, root, 2, len(rewards), rewards)


@pytest.fixture
def root(tmp_path):
    """A root with a run that conforms and one whose best a tie rewrote."""
    Trainer().train(scenario("Right", tmp_path / "runs"))
    RewritesOnTie().train(scenario("Tied", tmp_path / "runs"))
    return tmp_path / "runs"


def failed(run):
    return {finding.rule for finding in run.findings if finding.verdict == "fail"}


def test_one_run(root):
    right, tied = conformance.check_run(root / "Right"), conformance.check_run(str(root / "Tied"))
    assert (right.verdict, failed(right)) == ("conforms", set())
    assert (tied.verdict, failed(tied)) == ("fail", {"BEST-003"})


def test_a_root_of_runs(root):
    report = conformance.check_runs(root)
    assert report.verdict == "fail"
    assert {Path(run.path).name: run.verdict for run in report.runs} == {
        "Right": "conforms",
        "Tied": "fail",
    }
    # A run that two paths lead to is judged once.
    assert conformance.check_runs(root, root / "Tied" / "nn").runs == report.runs


@pytest.mark.parametrize("profile", ["isaacgymenvs", "auto", "rl_games-1.6"])
def test_it_says_what_the_command_says(root, profile, capsys):
    main(["check", str(root), "--profile", profile, "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    report = conformance.check_runs(root, profile=profile)
    assert (report.verdict, report.profile, report.counts) == (
        document["verdict"],
        document["profile"],
        document["counts"],
    )
    assert [
        [(finding.rule, finding.verdict, finding.message) for finding in run.findings]
        for run in report.runs
    ] == [
        [(finding["rule"], finding["verdict"], finding["message"]) for finding in run["findings"]]
        for run in document["runs"]
    ]


def test_rules_settings_and_profiles_are_those_of_the_command(root):
    tied = root / "Tied"
    assert failed(conformance.check_run(tied, ignore=["BEST-003"])) == set()
    assert failed(conformance.check_run(tied, select="NAME")) == set()
    assert failed(conformance.check_run(tied, save_freq=1)) == {"BEST-003", "CADENCE-002"}
    assert failed(conformance.check_run(tied, profile=load_profile())) == {"BEST-003"}
    assert conformance.check_run(tied, explain=True).explanation is not None
    assert conformance.check_run(tied).explanation is None


def test_a_model_is_held_against_the_checkpoints(tmp_path):
    class Model:
        """Takes no state_dict."""

        def load_state_dict(self, *_, **__):
            """Refuse it, as torch does."""
            raise RuntimeError("Missing key(s) in state_dict")

    play(Settings("A", 2, 2), [Session((1.0, 2.0))]).write(tmp_path)
    for model in (Model(), Model):
        run = conformance.check_run(tmp_path / "A", model=model, select=["LOAD-004"])
        assert failed(run) == {"LOAD-004"}
    with pytest.raises(TypeError, match=r"model: a torch\.nn\.Module, or a callable"):
        conformance.check_run(tmp_path / "A", model=3)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"profile": "rl_games-9"}, ProfileError, "rl_games-9"),
        ({"select": ["BEST-099"]}, UnknownRuleError, "BEST-099"),
        ({"select": ["BEST"], "ignore": ["BEST"]}, ValueError, "leave no rule"),
    ],
)
def test_what_makes_no_sense_is_refused(root, options, error, said):
    with pytest.raises(error, match=said):
        conformance.check_runs(root, **options)


def test_a_path_that_is_no_run_is_refused(root, tmp_path):
    with pytest.raises(NoRunError, match="No such file"):
        conformance.check_runs(tmp_path / "gone")
    with pytest.raises(NoRunError, match="holds 2 runs; check_runs takes a root"):
        conformance.check_run(root)
    with pytest.raises(NoRunError, match="no path was given"):
        conformance.check_runs()


def test_the_examples_of_the_readme_run(root, monkeypatch):
    (root / "Tied").rename(root / "Cartpole")
    monkeypatch.chdir(root.parent)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        exec(block, names)  # noqa: S102  (this project's own README)
    assert "BEST-003" in names["broken"]
    assert names["lost"] == [str(root / "Cartpole")]


def test_runs_that_are_alike_share_their_findings(root):
    first, second = conformance.check_runs(root).runs
    for one, other in zip(first.findings, second.findings, strict=True):
        assert (one is other) == (one == other)
    assert any(one is other for one, other in zip(first.findings, second.findings, strict=True))
