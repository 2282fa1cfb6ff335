"""Folders as they lie on real disks: strays, twins, renamed runs, and checkpoints by themselves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import conformance
from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, load_profile
from conformance.evidence.runs import NoRunError
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.fixtures.run import Run

REWARDS = (1.0, 3.0, 2.0, 4.0)


def of(name: str = "Ant", profile: str = "isaacgymenvs", experiment: str | None = None) -> Run:
    """Return a conforming run."""
    settings = Settings(name, 2, 4, save_best_after=0 if profile != "isaacgymenvs" else None)
    return play(settings, [Session(REWARDS)], profile=load_profile(profile), experiment=experiment)


@pytest.fixture
def judged(command: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Return what audits a path: each run of the JSON report by its path."""

    def audit(path: Path, *options: str) -> dict[str, Any]:
        document = json.loads(command("check", path, "--format", "json", *options).out)
        return {run["path"]: run for run in document["runs"]}

    return audit


def failed(run: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in run["findings"] if finding["verdict"] == "fail"}


def unobservable(run: dict[str, Any]) -> dict[str, str]:
    return {
        finding["rule"]: finding["message"]
        for finding in run["findings"]
        if finding["verdict"] == "unobservable"
    }


# --- strays, and where one starts -----------------------------------------------------------


@pytest.mark.parametrize("stray", ["model.pth", "config.yaml"])
def test_a_stray_beside_the_runs_is_told_once_and_judged_nowhere(
    command: Callable[..., Any], root: Path, stray: str
) -> None:
    first, second = of("Ant").write(root), of("Bee").write(root)
    (root / stray).write_bytes(b"x")
    result = command("check", root)
    assert result.code == 0
    assert result.out.count("CONFORMS") == 2
    assert result.err.count(stray) == 1
    assert "passed over: 1 file(s) beside the runs" in result.err
    assert command("check", first).err == ""
    assert command("ls", root).out.count("Ant.pth") == 1
    assert str(second.name) in command("ls", root).out


def test_a_stray_alone_makes_a_run_of_its_folder(command: Callable[..., Any], root: Path) -> None:
    (root / "model.pth").write_bytes(b"x")
    result = command("check", root)
    assert result.code == 1
    assert "LAYOUT-001" in result.out


def test_each_run_has_one_verdict_from_wherever_one_starts(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    """Twins by case, an empty folder of a rank, a renamed run: all depend on what lies beside."""
    logs = root / "logs" / "rl_games"
    of("Ant").write(logs)
    of("ant").write(logs)
    of("Bee").unconfigured().write(logs).rename(logs / "Renamed")
    of("Cat", "rl_games-1.6", "Cat_28-10-15-20").write(logs)
    for part in ("nn", "summaries"):
        (logs / "Cat_28-10-15-21" / part).mkdir(parents=True)
    (logs / "videos").mkdir()
    (logs / "Ant" / "videos").mkdir()
    whole = judged(root, "--profile", "auto")
    assert len(whole) == 5
    starts = [Path(folder) for folder, _, _ in os.walk(root)]
    starts.remove(logs / "videos")  # no run lies there, nor around it
    for start in starts:
        seen = judged(start, "--profile", "auto")
        assert seen
        assert seen.items() <= whole.items()
        assert {path for path in whole if Path(path).is_relative_to(start)} <= seen.keys()


def test_a_folder_inside_a_run_means_the_run(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    run = of().write(root)
    (run / "params").mkdir()
    for inside in ("", "nn", "summaries", "params"):
        assert set(judged(run / inside)) == {str(run)}


# --- runs that left nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (("config.yaml",), "the run left nothing but config.yaml"),
        (("summaries",), "the run left nothing but event files"),
        (("config.yaml", "summaries"), "the run left nothing but event files and config.yaml"),
    ],
)
def test_a_run_without_a_checkpoint_is_incomplete_in_one_line(
    judged: Callable[..., dict[str, Any]], root: Path, kept: tuple[str, ...], said: str
) -> None:
    run = of().write(root)
    for name in {"config.yaml", "summaries", "nn"} - {*kept}:
        path = run / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (found,) = judged(root).values()
    assert (found["verdict"], failed(found)) == ("incomplete", set())
    assert list(unobservable(found).values()) == [said]


def test_event_files_in_the_runs_own_folder_are_incomplete_too(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    run = of().write(root)
    (log,) = (run / "summaries").iterdir()
    log.rename(run / log.name)
    for path in (run / "config.yaml", *(run / "nn").iterdir()):
        path.unlink()
    (run / "nn").rmdir()
    (run / "summaries").rmdir()
    (found,) = judged(root).values()
    assert (found["verdict"], failed(found)) == ("incomplete", set())
    assert list(unobservable(found).values()) == ["the run left nothing but event files"]


def test_a_run_that_made_place_for_checkpoints_and_logged_has_failed_to_save(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    run = of().write(root)
    for path in (run / "nn").iterdir():
        path.unlink()
    (found,) = judged(root).values()
    assert failed(found) == {"BEST-001", "CADENCE-002"}


@pytest.mark.parametrize("start", ["", "Ant_28-10-15-22"])
def test_the_empty_folder_of_another_rank_is_named_as_such(
    judged: Callable[..., dict[str, Any]], root: Path, start: str
) -> None:
    of("Ant", "rl_games-1.6", "Ant_28-10-15-20").write(root)
    twin = root / "Ant_28-10-15-22"
    for part in ("nn", "summaries"):
        (twin / part).mkdir(parents=True)
    found = judged(root / start, "--profile", "rl_games-1.6")[str(twin)]
    assert found["verdict"] == "incomplete"
    (said,) = unobservable(found).values()
    assert "another rank of the training in 'Ant_28-10-15-20' made its empty folder" in said


@pytest.mark.parametrize("name", ["Ant_28-11-45-20", "Bee_28-10-15-22", "Ant"])
def test_an_empty_folder_of_another_time_or_name_is_nobodys_twin(
    judged: Callable[..., dict[str, Any]], root: Path, name: str
) -> None:
    of("Ant", "rl_games-1.6", "Ant_28-10-15-20").write(root)
    for part in ("nn", "summaries"):
        (root / name / part).mkdir(parents=True)
    found = judged(root, "--profile", "rl_games-1.6")[str(root / name)]
    assert list(unobservable(found).values()) == ["the run left nothing"]


# --- renamed folders, and names that differ by case only ------------------------------------


@pytest.mark.parametrize("profile", ["isaacgymenvs", "rl_games-1.6", "rl_games-1.5"])
def test_a_renamed_folder_is_one_finding_and_its_best_is_listed(
    command: Callable[..., Any],
    judged: Callable[..., dict[str, Any]],
    root: Path,
    profile: str,
) -> None:
    run = of("Ant", profile).unconfigured().write(root).rename(root / "good")
    (found,) = judged(run, "--profile", profile).values()
    must = {f["rule"] for f in found["findings"] if f["verdict"] == "fail" and f["level"] == "must"}
    assert must == {"NAME-001"}
    (said,) = (f["message"] for f in found["findings"] if f["rule"] == "NAME-001")
    assert "the folder was renamed from 'Ant'?" in said
    assert command("ls", run, "--best", "--profile", profile).out == f"{run}/nn/Ant.pth\n"


def test_a_renamed_folder_that_holds_a_best_alone_is_one_finding(
    command: Callable[..., Any], judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    made = of().unconfigured()
    run = made.without(*made.checkpoints.values()).with_checkpoint(made.best).write(root)
    run = run.rename(root / "good")
    (found,) = judged(run).values()
    assert "NAME-001" in failed(found)
    assert command("ls", run, "--best").out == f"{run}/nn/Ant.pth\n"


def test_names_that_do_not_agree_are_no_renamed_folder(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    made = of().unconfigured()
    run = made.renamed(made.periodic(2), "last_Beeep2rew3.0.pth").write(root)
    (found,) = judged(run.rename(root / "good")).values()
    (said,) = (f["message"] for f in found["findings"] if f["rule"] == "NAME-001")
    assert "renamed" not in said


def test_what_the_config_says_is_the_name(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    run = of().write(root).rename(root / "good")
    (found,) = judged(run).values()
    assert (found["verdict"], failed(found)) == ("conforms", set())
    (run / "config.yaml").write_text("name: Bee\nsave_freq: 2\nmax_epochs: 4\n")
    (found,) = judged(run).values()
    assert {"NAME-001", "NAME-003"} <= failed(found)


def test_a_link_of_another_name_renames_nothing(
    judged: Callable[..., dict[str, Any]], root: Path, tmp_path: Path
) -> None:
    run = of().unconfigured().write(tmp_path / "disk")
    (root / "good").symlink_to(run)
    assert set(judged(root)) == {str(root / "good")}
    assert failed(judged(root)[str(root / "good")]) == set()


@pytest.mark.parametrize(("other", "warned"), [("ant", {"NAME-008"}), ("Ant2", set())])
def test_two_runs_that_differ_by_case_only_are_warned_of(
    judged: Callable[..., dict[str, Any]], root: Path, other: str, warned: set[str]
) -> None:
    runs = [of().write(root), of(other).write(root)]
    for start in (root, runs[0]):
        found = judged(start)[str(runs[0])]
        assert (found["verdict"], failed(found)) == ("conforms", warned)


def test_a_folder_that_is_no_run_is_no_namesake(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    run = of().write(root)
    (root / "ANT").mkdir()
    assert failed(judged(run)[str(run)]) == set()


# --- a checkpoint by itself -----------------------------------------------------------------


def test_a_checkpoint_by_itself_is_held_against_what_needs_no_run(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    for file in sorted((of().write(root) / "nn").iterdir()):
        (found,) = judged(file).values()
        assert (found["path"], found["verdict"]) == (str(file), "conforms")
        passed = {f["rule"] for f in found["findings"] if f["verdict"] == "pass"}
        assert {"LOAD-001", "LOAD-002", "INTEGRITY-001", "SAFETY-001"} <= passed
        assert {rule.partition("-")[0] for rule in passed} <= {
            "LOAD",
            "INTEGRITY",
            "SAFETY",
            "NAME",
            "LAYOUT",
        }
        assert not any(rule.startswith("LAYOUT") and rule != "LAYOUT-004" for rule in passed)
        assert all(f["paths"] == [] for f in found["findings"])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("last_Antep2rew3.0.pth", set()),
        ("last_Antep02rew3.0.pth", {"NAME-004"}),
        ("last_Antep3rew3.0.pth", {"NAME-006"}),
        ("last_Ant_ep_2_rew_3.0.pth", {"NAME-002"}),
        ("anything.pth", set()),
    ],
)
def test_its_name_is_read_by_the_profile(
    judged: Callable[..., dict[str, Any]], root: Path, name: str, wrong: set[str]
) -> None:
    run = of().write(root)
    file = (run / "nn" / "last_Antep2rew3.0.pth").rename(root / name)
    (found,) = judged(file).values()
    assert failed(found) == wrong


def test_its_dialect_can_be_chosen_by_its_name(command: Callable[..., Any], root: Path) -> None:
    made = of("Ant", "rl_games-1.6")
    final = next(file for file in made.checkpoints.values() if file.kind is Kind.FINAL)
    result = command("check", made.write(root) / final.path, "--profile", "auto")
    assert result.code == 0
    assert "NAME-002" not in result.out


def test_damage_in_a_checkpoint_by_itself_is_found(
    judged: Callable[..., dict[str, Any]], root: Path
) -> None:
    file = of().write(root) / "nn" / "Ant.pth"
    file.write_bytes(file.read_bytes()[:-30])
    (found,) = judged(file).values()
    assert failed(found) == {"INTEGRITY-001"}
    file.write_bytes(b"")
    (found,) = judged(file).values()
    assert failed(found) == {"LAYOUT-004"}


def test_a_program_may_audit_a_checkpoint_by_itself(root: Path) -> None:
    file = of().write(root) / "nn" / "Ant.pth"
    run = conformance.check_run(file)
    assert (run.path, run.verdict, run.checkpoints) == (str(file), "conforms", 1)
    with pytest.raises(NoRunError, match="an event file; give the run's folder"):
        conformance.check_run(next((root / "Ant" / "summaries").iterdir()))


def test_what_takes_no_checkpoint_by_itself_says_so_in_one_line(
    command: Callable[..., Any], root: Path
) -> None:
    file = of().write(root) / "nn" / "Ant.pth"
    listed = command("ls", file)
    assert (listed.code, listed.err.count("\n")) == (2, 1)
    assert "a checkpoint by itself; give the run's folder" in listed.err
    compared = command("diff", file, root)
    assert compared.code == 2
    assert "a checkpoint by itself; give the run's folder" in compared.err
    explained = command("check", file, "--explain-files")
    assert (explained.code, explained.err.count("\n")) == (0, 1)
    assert "is not explained: give its run's folder" in explained.err


@pytest.mark.parametrize("name", ["runs.zip", "runs.tar.gz", "notes.txt", "pipe.pth"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(
    command: Callable[..., Any], root: Path, name: str
) -> None:
    if name == "pipe.pth":
        os.mkfifo(root / name)
    else:
        (root / name).write_bytes(b"PK\x03\x04")
    result = command("check", root / name)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
