"""The command line as a process: exit codes, one clear line, signals, and nothing written."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reference_trainer
from reference_trainer import __main__ as command_line
from reference_trainer.checkpoints import load_checkpoint
from reference_trainer.config import Settings
from reference_trainer.train import train

REPOSITORY = Path(reference_trainer.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
COMMAND = [sys.executable, "-m", "reference_trainer"]
SMALL = ["num_envs=64", "mini_epochs=1", "device=cpu"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with this process's own signal handlers left alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path


def test_train_refuse_resume_and_play(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = subprocess.run(
        [*COMMAND, "experiment=Pole", "max_iterations=6", "save_freq=3", *SMALL],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert first.stderr == ""
    lines = first.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-2]] == ["3/6", "6/6"]
    assert all("mean reward" in line and "steps/s" in line for line in lines[:-2])
    assert lines[-2].startswith("6,144 steps in ")
    assert lines[-1].startswith("best checkpoint: runs/Pole/nn/Pole.pth (mean reward ")
    assert [path.name for path in here.iterdir()] == ["runs"], "no outputs of Hydra's"

    assert command_line.main(["experiment=Pole", *SMALL]) == 2
    refused = capsys.readouterr()
    assert (refused.out, len(refused.err.splitlines())) == ("", 1)
    assert "checkpoint=last" in refused.err

    assert (
        command_line.main(["experiment=Pole", "checkpoint=best", "max_iterations=7", *SMALL]) == 0
    )
    resumed = capsys.readouterr()
    assert resumed.err == ""
    assert "epoch 7/7" in resumed.out

    assert command_line.main(["experiment=Pole", "test=True", *SMALL]) == 0
    played = capsys.readouterr()
    assert played.err == ""
    assert played.out.startswith("runs/Pole/nn/Pole.pth: mean reward ")
    assert played.out.endswith(" over 64 episodes\n")


def test_an_empty_checkpoint_is_a_fresh_start(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = (
        "root={root} experiment={experiment} save_freq=0 max_iterations=1 checkpoint={resume}"
    )
    filled = template.format(root=here / "runs", experiment="Pole", resume="").split()
    assert command_line.main([*filled, "num_envs=512", *SMALL[1:]]) == 0
    assert capsys.readouterr().err == ""
    assert (here / "runs/Pole/nn/Pole.pth").exists()


def test_given_only_the_name_last_goes_on_counting_and_test_loads_the_best(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best is of epoch 2, the last of epoch 4: their weights differ, and so does their play."""
    rewards = (5.0, 9.0, 3.0, 4.0, 8.0, 2.0)
    settings = Settings(
        experiment="Pole", max_iterations=4, save_freq=4, num_envs=64, mini_epochs=1, device="cpu"
    )
    train(settings, mean_reward=lambda epoch, _statistics: rewards[epoch - 1])
    nn = here / "runs/Pole/nn"
    best, last = load_checkpoint(nn / "Pole.pth"), load_checkpoint(nn / "last_Poleep4rew4.0.pth")
    assert (best["epoch"], last["epoch"]) == (2, 4)

    shown = []
    for checkpoint in ([], ["checkpoint=best"], ["checkpoint=last"]):
        assert command_line.main(["experiment=Pole", "test=True", *checkpoint, *SMALL]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
    assert shown[0].startswith("runs/Pole/nn/Pole.pth: ")
    assert shown[2].startswith("runs/Pole/nn/last_Poleep4rew4.0.pth: ")
    (nn / "last_Poleep4rew4.0.pth").rename(here / "kept.pth")
    assert command_line.main(["experiment=Pole", "test=True", *SMALL]) == 0
    assert capsys.readouterr().out == shown[0], "nothing but the best was needed"
    (here / "kept.pth").rename(nn / "last_Poleep4rew4.0.pth")

    goes_on = ["experiment=Pole", "checkpoint=last", "save_freq=6", "max_iterations=6", *SMALL]
    assert command_line.main(goes_on) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 6/6")
    assert load_checkpoint(next(nn.glob("last_Poleep6rew*.pth")))["frame"] == 6 * 64 * 16
    again = load_checkpoint(nn / "Pole.pth")
    assert again["last_mean_rewards"] >= 9.0, "the watermark was kept"


def test_sigterm_ends_after_the_epoch_in_progress(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "max_iterations=1000000", "save_freq=1", *SMALL],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/")
    process.terminate()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 143
    assert errors.startswith("reference_trainer: stopped by SIGTERM after epoch ")
    assert len(errors.splitlines()) == 1
    nn = tmp_path / "runs/Cartpole/nn"
    epochs = {load_checkpoint(path)["epoch"] for path in nn.iterdir()}
    assert max(epochs) == int(errors.split()[-1])


def test_a_killed_process_leaves_whole_checkpoints(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "max_iterations=1000000", "save_freq=1", *SMALL],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    checkpoints = list((tmp_path / "runs/Cartpole/nn").glob("*.pth"))
    assert len(checkpoints) >= 20
    for path in checkpoints:
        load_checkpoint(path)


def test_on_a_terminal_one_line_is_refreshed(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "max_iterations=3", *SMALL],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=secondary,
        stderr=subprocess.PIPE,
    )
    os.close(secondary)
    shown = b""
    try:
        while chunk := os.read(primary, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(primary)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    progress, speed, result, end = shown.decode().split("\r\n")
    assert progress.count("\repoch ") == 3
    assert speed.endswith(" steps/s")
    assert result.startswith("best checkpoint: ")
    assert end == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["save_freq=-1"], "save_freq=-1 is less than 0"),
        (["experiment="], "experiment='' is empty"),
        (["experiment=a/b"], "holds '/'"),
        (["speed=9"], "'speed'"),
        (["checkpoint=best"], "runs/Cartpole/nn/Cartpole.pth cannot be read"),
        (["checkpoint=no.pth"], "no.pth cannot be read: No such file"),
        (["test=True"], "runs/Cartpole/nn/Cartpole.pth cannot be read"),
        (["device=tpu"], "device='tpu' is none of auto, cpu, cuda and cuda:N"),
        (["device=cuda:99"], "device=cuda:99 is not possible"),
    ],
)
def test_bad_settings_end_with_one_line_and_nothing_written(
    arguments: list[str],
    message: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert list(here.iterdir()) == []


def test_a_failure_while_running_ends_with_one_line_and_code_1(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs").write_text("a file where the folder should be")
    assert command_line.main(SMALL) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("reference_trainer: stopped: ")
    assert len(errors.splitlines()) == 1


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for key in ("experiment=Cartpole", "save_freq=25", "units=[32,32]", "value_bootstrap=True"):
        assert f"  {key}" in shown


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("reference_trainer, reference_trainer.config", "torch"),
        ("reference_trainer, reference_trainer.train", "hydra"),
    ],
)
def test_what_is_heavy_is_imported_where_it_is_needed_alone(modules: str, heavy: str) -> None:
    code = f"import sys, {modules}; sys.exit({heavy!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, timeout=300, check=True)
