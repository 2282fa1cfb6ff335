"""`conformance ls`: runs with their best and latest checkpoint."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest

from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, builtin_profiles, load_profile
from conformance.evidence.checkpoint import read_checkpoint
from conformance.fixtures.archive import array
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.fixtures.run import Run


def test_the_best_and_the_latest_are_printed_alone(
    command: Callable[..., Any], conforming: Path
) -> None:
    best, latest = command("ls", conforming, "--best"), command("ls", conforming, "--latest")
    assert (best.code, best.out, best.err) == (0, f"{conforming}/nn/A.pth\n", "")
    assert (latest.code, latest.out) == (0, f"{conforming}/nn/last_Aep4rew4.0.pth\n")


@pytest.mark.parametrize("part", ["", "nn", "summaries"])
def test_a_path_into_the_run_is_enough(
    command: Callable[..., Any], conforming: Path, part: str
) -> None:
    assert command("ls", conforming / part, "--best").out == f"{conforming}/nn/A.pth\n"


def test_the_latest_is_by_epoch_not_by_name(command: Callable[..., Any], root: Path) -> None:
    rewards = tuple(float(epoch) for epoch in range(1, 1001))
    run = play(Settings("A", 50, 1000), [Session(rewards)]).write(root)
    (run / "nn" / "A.pth").unlink()
    assert command("ls", run, "--latest").out == f"{run}/nn/last_Aep1000rew1000.0.pth\n"


def test_the_latest_is_not_by_time(command: Callable[..., Any], conforming: Path) -> None:
    os.utime(conforming / "nn" / "last_Aep2rew3.0.pth", (2e9, 2e9))
    assert command("ls", conforming, "--latest").out.endswith("last_Aep4rew4.0.pth\n")


def test_of_equal_epochs_the_newest_write_is_the_latest(
    command: Callable[..., Any], conforming: Path
) -> None:
    os.utime(conforming / "nn" / "last_Aep4rew4.0.pth", (1e9, 1e9))
    os.utime(conforming / "nn" / "A.pth", (2e9, 2e9))
    assert command("ls", conforming, "--latest").out.endswith("nn/A.pth\n")


def test_a_torn_checkpoint_is_skipped_and_told(
    command: Callable[..., Any], conforming: Path
) -> None:
    latest = conforming / "nn" / "last_Aep4rew4.0.pth"
    latest.write_bytes(latest.read_bytes()[:-30])
    (conforming / "nn" / "A.pth").unlink()
    result = command("ls", conforming, "--latest")
    assert (result.code, result.out) == (0, f"{conforming}/nn/last_Aep2rew3.0.pth\n")
    assert "last_Aep4rew4.0.pth: skipped: " in result.err


@pytest.mark.parametrize("which", ["--best", "--latest"])
def test_a_run_without_checkpoints_exits_2(
    command: Callable[..., Any], root: Path, which: str
) -> None:
    (root / "A" / "nn").mkdir(parents=True)
    result = command("ls", root, which)
    assert (result.code, result.out) == (2, "")
    assert f"no loadable {which[2:]} checkpoint" in result.err


def test_one_path_needs_one_run(
    command: Callable[..., Any], root: Path, conforming: Path, failing: Path
) -> None:
    result = command("ls", root, "--best")
    assert (result.code, result.out) == (2, "")
    assert "2 runs found" in result.err
    assert conforming.parent == failing.parent == root


def test_an_unusable_path_beside_a_run_exits_2(
    command: Callable[..., Any], root: Path, conforming: Path
) -> None:
    result = command("ls", conforming, root / "gone", "--best")
    assert (result.code, result.out) == (2, f"{conforming}/nn/A.pth\n")
    assert command("ls", root / "gone", "--best").code == 2
    assert command("ls", root / "gone").code == 2


def test_a_table_lists_all_runs(
    command: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))]).write(root)
    play(Settings("B", 0, 4), [Session((None, None))]).write(root)
    monkeypatch.chdir(root)
    result = command("ls", ".")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["RUN", "FILES", "BEST", "LATEST"],
        ["A", "3", "A.pth", "(epoch", "4)", "last_Aep4rew4.0.pth", "(epoch", "4)"],
        ["B", "0", "-", "-"],
    ]


def test_json_lists_all_runs(
    command: Callable[..., Any], root: Path, conforming: Path, failing: Path
) -> None:
    listed = json.loads(command("ls", root, "--format", "json").out)
    best = {"path": f"{conforming}/nn/A.pth", "epoch": 4}
    latest = {"path": f"{conforming}/nn/last_Aep4rew4.0.pth", "epoch": 4}
    assert listed["runs"][0] == {
        "path": str(conforming),
        "name": "A",
        "checkpoints": 3,
        "best": best,
        "latest": latest,
        "remarks": [],
    }
    assert listed["runs"][1]["best"] is None
    assert listed["runs"][1]["path"] == str(failing)


def test_the_runs_name_and_profile_may_be_given(
    command: Callable[..., Any], conforming: Path
) -> None:
    assert command("ls", conforming, "--best", "--name", "B").code == 2
    assert command("ls", conforming, "--latest", "--profile", "rl_games-1.6").out.endswith(
        "nn/A.pth\n"
    )
    assert command("ls", conforming, "--profile", "gone").code == 2


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\u202e", "\udcff", "\x85"], ids=ascii)
def test_a_path_that_no_line_can_carry_is_refused(
    command: Callable[..., Any], root: Path, name: str
) -> None:
    run = play(Settings(name, 2, 4), [Session((1.0, 3.0))]).unconfigured().write(root)
    result = command("ls", run, "--best")
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert result.err[:-1].isprintable()
    table = command("ls", run).out
    assert table.count("\n") == 2
    assert table.replace("\n", "").isprintable()
    listed = json.loads(command("ls", run, "--format", "json").out)
    assert listed["runs"][0]["best"]["path"] == f"{run}/nn/{name}.pth"


@pytest.mark.parametrize("name", ["名前", "a b", "x[1]", "-rf", "it's", "Ünï"])
def test_a_path_that_a_line_can_carry_is_printed_as_it_is(
    command: Callable[..., Any], root: Path, name: str
) -> None:
    run = play(Settings(name, 2, 4), [Session((1.0, 3.0))]).unconfigured().write(root)
    assert command("ls", run, "--best").out == f"{run}/nn/{name}.pth\n"


def test_numpy_scalars_do_not_hide_a_checkpoint_and_a_shell_does(
    command: Callable[..., Any],
) -> None:
    """What rl_games has always written is listed; what would run something is not."""
    published = Path(__file__).parents[2] / "fixtures" / "violating"
    listed = command("ls", published / "LOAD-001-watermark-as-a-numpy-scalar", "--best")
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.endswith("nn/Cartpole.pth\n")
    refused = command("ls", published / "SAFETY-001-runs-a-shell", "--best")
    assert (refused.code, refused.out) == (2, "")
    assert "posix.system" in refused.err


# --- no best that is none ---------------------------------------------------------------------


def _poisoned(run: Run) -> Run:
    bad = array("float32", (2,), pack("<2f", 1.0, math.nan))
    return run.storing(run.best, model={"actor.bias": bad})


PLAIN = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])


def test_a_best_that_holds_a_nan_is_never_offered(command: Callable[..., Any], root: Path) -> None:
    run = _poisoned(PLAIN).write(root)
    result = command("ls", run, "--best")
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert "no loadable best checkpoint: 'A.pth' is not offered, its 'actor.bias' holds a" in line
    listed = command("ls", run, "--format", "json")
    assert json.loads(listed.out)["runs"][0]["best"] is None
    (line,) = listed.err.splitlines()
    assert "/nn/A.pth: not offered as the best: its 'actor.bias' holds a NaN" in line
    assert command("ls", run).out.splitlines()[1].split()[2] == "-"


def test_an_infinity_and_a_nan_elsewhere_are_no_reason(
    command: Callable[..., Any], root: Path
) -> None:
    odd = array("float32", (2,), pack("<2f", 1.0, math.inf))
    nan = array("float32", (1,), pack("<f", math.nan))
    run = PLAIN.storing(PLAIN.best, model={"actor.bias": odd}, running_mean_std={"mean": nan})
    result = command("ls", run.write(root), "--best")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("nn/A.pth\n")


def test_why_a_best_cannot_be_loaded_is_said_in_one_line(
    command: Callable[..., Any], conforming: Path
) -> None:
    best = conforming / "nn" / "A.pth"
    best.write_bytes(best.read_bytes()[:-30])
    result = command("ls", conforming, "--best")
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert "'A.pth' is not offered, " in line
    assert command("ls", conforming, "--latest").code == 0


def test_a_best_that_is_not_the_best_that_lies_there_is_told(
    command: Callable[..., Any], root: Path
) -> None:
    run = PLAIN.storing(PLAIN.best, epoch=1, last_mean_rewards=1.0).write(root)
    alone = command("ls", run, "--best")
    assert (alone.code, alone.out) == (0, f"{run}/nn/A.pth\n")
    (line,) = alone.err.splitlines()
    assert f"{run}: the best, 'nn/A.pth', is of reward 1.0; a file beside it carries a " in line
    (listed,) = json.loads(command("ls", run, "--format", "json").out)["runs"]
    assert [remark["evidence"]["file"]["reward"] for remark in listed["remarks"]] == [4.0]
    assert command("ls", run, "--latest").err == ""
    told = command("check", run)
    assert " ".join(told.out.split()).count("a file beside it carries a higher reward: 4.0") == 1


def test_many_that_are_skipped_for_one_reason_are_one_line(
    command: Callable[..., Any], root: Path
) -> None:
    for number in range(9):
        folder = root / f"run{number}"
        (folder / "nn").mkdir(parents=True)
        (folder / "nn" / f"run{number}.pth").write_bytes(b"")
    result = command("ls", root)
    (line,) = result.err.splitlines()
    assert "run0.pth and 8 more: skipped: no regular file with bytes in it" in line
    assert command("ls", root / "run0", root / "run1").err.count(": skipped: ") == 2


@pytest.mark.parametrize(
    "what", ["whole-module", "pointer-of-git-lfs", "page-of-a-failed-download"]
)
def test_what_stands_in_the_place_of_a_checkpoint_is_not_offered(
    command: Callable[..., Any], what: str
) -> None:
    published = Path(__file__).parents[2] / "fixtures" / "violating"
    refused = command("ls", published / f"LOAD-001-{what}", "--best")
    assert (refused.code, refused.out) == (2, "")
    assert "no loadable best checkpoint: 'Cartpole.pth' is not offered, " in refused.err


# --- where consumers broke --------------------------------------------------------------------


def _dialect(profile: str, rewards: tuple[float | None, ...], save_freq: int, **more: Any) -> Run:
    settings = Settings("A", save_freq, more.pop("max_epochs", len(rewards)), 0)
    session = Session(rewards, max_epochs=settings.max_epochs)
    return play(settings, [session], profile=load_profile(profile), **more)


@pytest.mark.parametrize("profile", builtin_profiles())
def test_the_latest_of_any_dialect_is_by_number(
    command: Callable[..., Any], root: Path, profile: str
) -> None:
    """Sorted as texts, ep_950 comes after ep_1000."""
    rewards = tuple(1000.0 - epoch for epoch in range(1000))
    run = _dialect(profile, rewards, 50).write(root)
    result = command("ls", run, "--latest", "--profile", profile, "--name", "A")
    assert result.code == 0, result.err
    (line,) = result.out.splitlines()
    contents = read_checkpoint(Path(line)).root
    assert isinstance(contents, dict)
    assert contents["epoch"] in (1000, 1001)  # one more where the training ends after it


@pytest.mark.parametrize("profile", ["isaacgymenvs", "rl_games-1.5", "rl_games-1.6"])
def test_rewards_of_any_text_change_neither_best_nor_latest(
    command: Callable[..., Any], root: Path, profile: str
) -> None:
    """Scientific, negative, NaN and infinite ones: a NaN poisons a max(), 1.98e-15 is not 1.98."""
    rewards = (-8461.007, 1.985146e-15, math.nan, -1e-7, -math.inf, 1e-16, -3.0, math.nan)
    run = _dialect(profile, rewards, 1).write(root)
    listed = json.loads(command("ls", run, "--profile", profile, "--format", "json").out)
    (found,) = listed["runs"]
    assert found["best"] == {"path": f"{run}/nn/A.pth", "epoch": 2}
    assert found["latest"]["epoch"] == 8


def test_a_final_before_any_episode_is_listed_as_the_latest_and_never_as_the_best(
    command: Callable[..., Any], root: Path
) -> None:
    run = _dialect("rl_games-1.6", (None, None, None), 2).write(root)
    assert "rew_-inf.pth" in command("ls", run, "--latest", "--profile", "rl_games-1.6").out
    result = command("ls", run, "--best", "--profile", "rl_games-1.6")
    assert (result.code, result.out) == (2, "")


def test_a_final_named_by_its_frame_is_ranked_by_the_epoch_that_it_stores(
    command: Callable[..., Any], root: Path
) -> None:
    run = _dialect("rl_games-1.6", (1.0, 3.0, 2.0), 2)
    final = next(file for file in run.checkpoints.values() if file.kind is Kind.FINAL)
    folder = run.renamed(final, "last_A_frame_98304000_rew__2._.pth").write(root)
    result = command("ls", folder, "--latest", "--profile", "rl_games-1.6")
    assert result.out.endswith("last_A_frame_98304000_rew__2._.pth\n")


@pytest.mark.parametrize("folder", ["x[1]", "a*b", "{x}", "[!a]", "a?b"])
def test_brackets_in_a_path_are_no_pattern(
    command: Callable[..., Any], root: Path, folder: str
) -> None:
    run = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))]).write(root / folder)
    assert command("ls", root, "--best").out == f"{run}/nn/A.pth\n"
    assert command("ls", run, "--latest").out == f"{run}/nn/last_Aep4rew4.0.pth\n"


def test_what_cannot_be_loaded_is_skipped_with_one_line_each(
    command: Callable[..., Any], conforming: Path
) -> None:
    nn = conforming / "nn"
    (nn / "last_Aep4rew4.0.pth").write_bytes(b"")
    (nn / "last_Aep8rew4.0.pth").mkdir()
    (nn / "last_Aep6rew4.0.pth").symlink_to("gone")
    os.mkfifo(nn / "last_Aep10rew4.0.pth")
    (nn / "A.pth").unlink()
    result = command("ls", conforming, "--latest")
    assert (result.code, result.out) == (0, f"{nn}/last_Aep2rew3.0.pth\n")
    skipped = [line for line in result.err.splitlines() if ": skipped: " in line]
    assert sorted(line.split("/nn/")[1].split(":")[0] for line in skipped) == [
        f"last_Aep{epoch}rew4.0.pth" for epoch in (10, 4, 6, 8)
    ]


def test_what_may_not_be_read_is_skipped(process: Callable[..., Any], conforming: Path) -> None:
    (conforming / "nn" / "last_Aep4rew4.0.pth").chmod(0)
    (conforming / "nn" / "A.pth").chmod(0)
    result = process("ls", conforming, "--latest")
    assert (result.code, result.out) == (0, f"{conforming}/nn/last_Aep2rew3.0.pth\n")
    assert result.err.count(": skipped: ") == 2


def test_a_renamed_file_is_ranked_by_what_it_stores(
    command: Callable[..., Any], conforming: Path
) -> None:
    nn = conforming / "nn"
    (nn / "last_Aep2rew3.0.pth").rename(nn / "last_Aep99rew3.0.pth")
    (nn / "A.pth").unlink()
    assert command("ls", conforming, "--latest").out.endswith("last_Aep4rew4.0.pth\n")


@pytest.mark.parametrize(("profile", "which"), [("amp", "best"), ("ase", "best")])
def test_a_dialect_without_a_best_says_so(
    command: Callable[..., Any], root: Path, profile: str, which: str
) -> None:
    run = _dialect(profile, (1.0, 3.0, 2.0, 4.0), 2).write(root)
    result = command("ls", run, f"--{which}", "--profile", profile, "--name", "A")
    assert (result.code, result.out) == (2, "")
    assert f"profile {profile} has no best checkpoint" in result.err


def test_one_path_as_json_carries_any_name(command: Callable[..., Any], root: Path) -> None:
    run = play(Settings("a\nb", 2, 4), [Session((1.0, 3.0))]).unconfigured().write(root)
    found = json.loads(command("ls", run, "--best", "--format", "json").out)
    assert found == {"path": f"{run}/nn/a\nb.pth", "epoch": 2}
    latest = json.loads(command("ls", run, "--latest", "--format", "json").out)
    assert latest["epoch"] == 2


def test_names_of_another_dialect_than_the_one_given_are_told_in_one_line(
    command: Callable[..., Any], root: Path
) -> None:
    """Else a run of twenty checkpoints reads as one that has none."""
    run = _dialect("rl_games-1.6", (1.0, 3.0, 2.0, 4.0), 2).write(root)
    result = command("ls", run)
    assert result.code == 0
    (line,) = result.err.splitlines()
    assert "passed over: 3 checkpoint name(s) are none of profile isaacgymenvs" in line
    assert "--profile auto" in line
    assert command("ls", run, "--profile", "rl_games-1.6").err == ""


def test_odd_folders_are_listed_and_no_line_is_forged(
    command: Callable[..., Any], root: Path
) -> None:
    """Links to nowhere, loops, pipes, folders and epochs beyond any number, under any name."""
    run = _dialect("rl_games-1.6", (1.0, 3.0), 2).write(root / "deep" / "er\n-")
    nn = run / "nn"
    (nn / "last_A_ep_9_rew_1.0.pth").symlink_to("gone.pth")
    (nn / "last_A_ep_8_rew_1.0.pth").mkdir()
    os.mkfifo(nn / "last_A_ep_7_rew_1.0.pth")
    (nn / f"last_A_ep_{'9' * 30}_rew_1.0.pth").write_bytes(b"x")
    (nn / "loop").symlink_to("../..")
    (root / "nothing" / "nn").mkdir(parents=True)
    (root / "nowhere").symlink_to("gone")
    result = command("ls", root, "--profile", "rl_games-1.6")
    assert result.code == 0
    rows = result.out.splitlines()[1:]
    assert len(rows) == 2
    assert sum("A.pth (epoch 2)" in row for row in rows) == 1
    assert len(result.err.splitlines()) == 4
    assert all(": skipped: " in line for line in result.err.splitlines())
