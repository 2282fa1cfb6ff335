"""`--profile auto`: each run is held against its own dialect; the reader is told which and why."""

import json
from dataclasses import astuple

import pytest

from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.fixtures.case import ordinary
from conformance.fixtures.play import Session, play


def written(root, profile, experiment):
    settings = Settings("Ant", 2, 4, save_best_after=0)
    sessions = [Session((57.25, 56.5, 61.5, 61.25))]
    return play(settings, sessions, profile=load_profile(profile), experiment=experiment).write(
        root
    )


@pytest.fixture
def run(command):
    """Return the command, which returns exit code, standard output and standard error."""
    return lambda *arguments: astuple(command(*arguments))


@pytest.fixture
def root(tmp_path):
    """A root with a run of rl_games 1.5, one of 1.6.0 and one of the default dialect."""
    written(tmp_path, "rl_games-1.5", "A_14-09-26-53")
    written(tmp_path, "rl_games-1.6.0", "B_14-09-26-54")
    ordinary().write(tmp_path)
    return tmp_path


def test_each_run_is_judged_by_its_own_dialect(run, root):
    code, out, err = run("check", str(root), "--profile", "auto", "--format", "json")
    assert code == 0
    report = json.loads(out)
    assert report["profile"] == "isaacgymenvs, rl_games-1.5, rl_games-1.6.0"
    assert {entry["verdict"] for entry in report["runs"]} == {"conforms"}
    assert {entry["profile"] for entry in report["runs"]} == set(report["profile"].split(", "))
    (line,) = err.splitlines()
    assert ": profiles chosen for 3 runs: rl_games-1.5 for 1 (likely), " in line
    assert "rl_games-1.6.0 for 1 (certain)" in line


def test_of_one_run_what_decided_is_told(run, root):
    _, _, err = run("check", str(root / "A_14-09-26-53"), "--profile", "auto")
    (line,) = err.splitlines()
    assert "A_14-09-26-53: profile rl_games-1.5, likely: " in line


@pytest.mark.parametrize("subcommand", ["check", "ls"])
def test_what_is_the_same_of_many_runs_is_one_line(run, tmp_path, subcommand):
    for number in range(12):
        folder = written(tmp_path, "rl_games-1.5", f"X_14-09-26-{number + 10}")
        (folder / "config.yaml").write_text("params: {config: {name: Ant, save_frequency: many}}")
    _, _, err = run(subcommand, str(tmp_path), "--profile", "auto")
    chosen, *others = err.splitlines()
    assert " and 11 more: profile rl_games-1." in chosen
    assert len(others) == (subcommand == "check")  # the config's problem
    assert all(" and 11 more: config.yaml: " in line for line in others)
    _, _, err = run("ls", str(tmp_path))
    (line,) = err.splitlines()
    assert " and 11 more: passed over: 24 checkpoint name(s) are none of profile isaac" in line


def test_under_one_profile_some_of_them_fail(run, root):
    code, _, _ = run("check", str(root), "--profile", "rl_games-1.5")
    assert code == 1


def test_the_heading_says_what_decided(run, root):
    code, out, _ = run("check", str(root / "A_14-09-26-53"), "--profile", "auto")
    assert code == 0
    assert out.splitlines()[0].startswith("profile rl_games-1.5 (auto: likely: ")
    _, several, _ = run("check", str(root), "--profile", "auto")
    assert several.splitlines()[0].endswith("(auto: each run by what lies in it)")


def test_json_names_the_profile_alone(run, root):
    _, out, _ = run("check", str(root / "A_14-09-26-53"), "--profile", "auto", "--format", "json")
    assert json.loads(out)["profile"] == "rl_games-1.5"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("conformance.toml", 'profile = "auto"\n'),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.conformance]\nprofile = "auto"\n'),
    ],
)
def test_a_project_says_its_profile_once(  # noqa: PLR0917 - fixtures
    run, root, tmp_path, monkeypatch, file, text
):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    audited = str(root / "B_14-09-26-54")
    assert run("check", audited)[0] == 1
    (project / file).write_text(text)
    code, out, _ = run("check", audited)
    assert (code, out.splitlines()[0][:35]) == (0, "profile rl_games-1.6.0 (auto: certain"[:35])
    assert "Ant.pth" in run("ls", audited)[1]
    # An option outweighs it.
    assert run("check", audited, "--profile", "isaacgymenvs")[0] == 1


def test_conformance_toml_outweighs_what_a_project_shares(run, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.conformance]\nprofile = "auto"\n')
    (tmp_path / "conformance.toml").write_text('profile = "rl_games-1.5"\n')
    _, out, _ = run("check", str(root / "A_14-09-26-53"))
    assert out.splitlines()[0] == "profile rl_games-1.5"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("conformance.toml", "profil = 'auto'\n", "unknown key 'profil'; known is profile"),
        ("conformance.toml", "profile = 7\n", "profile must be a text, not 7"),
        ("conformance.toml", "profile = \n", "conformance.toml cannot be read"),
        ("conformance.toml", "profile = 'nobody'\n", "no profile is called 'nobody'"),
        ("pyproject.toml", "tool.conformance = 3\n", "[tool.conformance] is no table"),
    ],
)
def test_a_wrong_configuration_is_an_error_of_one_line(  # noqa: PLR0917 - fixtures
    run, root, tmp_path, monkeypatch, file, text, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(text)
    code, out, err = run("check", str(root))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line


def test_another_tools_pyproject_says_nothing(run, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    _, out, _ = run("check", str(root / "Cartpole"))
    assert out.splitlines()[0] == "profile isaacgymenvs"


def test_names_of_another_dialect_are_told_before_any_finding(run, root):
    """The default stays the default; the first line under the run says how to change it."""
    code, out, _ = run("check", str(root / "B_14-09-26-54"))
    assert (code, out.splitlines()[0]) == (1, "profile isaacgymenvs")
    assert 0 < out.index("  hint ") < out.index("  FAIL ")
    assert "these names are those of rl_games-1.6.0: use --profile auto" in " ".join(out.split())
    assert "MUST rules broken: NAME-002)" in out
    _, own, _ = run("check", str(root / "Cartpole"))
    assert "hint" not in own


def test_a_violation_is_found_under_the_chosen_profile(run, root):
    torn = root / "A_14-09-26-53" / "nn" / "Ant.pth"
    torn.write_bytes(torn.read_bytes()[:-30])
    code, out, _ = run("check", str(torn.parents[1]), "--profile", "auto")
    assert code == 1
    assert "INTEGRITY-001" in out


def test_ls_lists_each_run_by_its_own_dialect(run, root):
    code, out, err = run("ls", str(root), "--profile", "auto")
    assert code == 0
    assert err.count("\n") == 1
    assert out.count("Ant.pth") == 2
    code, out, _ = run("ls", str(root / "B_14-09-26-54"), "--profile", "auto", "--latest")
    assert (code, out.rpartition("/")[2]) == (0, "last_Ant_ep_4_rew__61.25_.pth\n")


def test_test_needs_a_dialect_to_hold_the_trainer_against(run):
    code, out, err = run("test", "python:conformance.mutants:Trainer", "--profile", "auto")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "name the dialect that the trainer is to keep" in err


def test_crash_needs_a_dialect_to_hold_what_is_left_against(run):
    code, out, err = run("crash", "python:conformance.mutants:Trainer", "--profile", "auto")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.endswith("nothing lies there yet to choose by; name the profile")


@pytest.mark.parametrize("subcommand", ["check", "ls"])
def test_a_path_without_a_run_is_an_error_of_one_line(run, tmp_path, subcommand):
    code, _, err = run(subcommand, str(tmp_path), "--profile", "auto")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "no run found" in err
