"""Several ranks: they learn one policy to the bit, the first one alone writes, none is left alone.

What two ranks are said to do here they do, under torchrun, over Gloo.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import reference_trainer
from conformance.cli import main as conformance
from conformance.evidence.journal import Watcher, writes
from reference_trainer.checkpoints import load_checkpoint
from reference_trainer.config import Settings, SettingsError
from reference_trainer.ppo import EpisodeStatistics, Ppo, RunningMeanStd
from reference_trainer.ranks import ALONE, Ranks, from_environment
from reference_trainer.train import device_of

REPOSITORY = Path(reference_trainer.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
STORY = Path(__file__).parents[1] / "support" / "rank_story.py"
SMALL = ["num_envs=64", "mini_epochs=1", "device=cpu"]
ENDLESS = "max_iterations=1000000"

# --- one process that stands in for several ---


class Recited(Ranks):
    """Ranks whose other members say what they were given beforehand."""

    def __init__(self, *others: torch.Tensor) -> None:
        super().__init__(rank=0, size=1 + len(others))
        object.__setattr__(self, "others", others)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the own tensor and the others' recited ones."""
        return torch.stack([tensor, *self.others])  # type: ignore[attr-defined]


def test_statistics_of_ranks_are_those_of_all_their_samples() -> None:
    batches = [torch.randn(200, 3, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    batches[1] = batches[1] * 4.0 + 2.0
    together, merged = RunningMeanStd(3), RunningMeanStd(3)
    for shift in (0.0, 3.0):
        first, second = (batch + shift for batch in batches)
        other = torch.stack(torch.var_mean(second.double(), dim=0, correction=0))
        merged.update(first, Recited(other))
        together.update(torch.cat([first, second]))
    assert merged.count == together.count == 800
    torch.testing.assert_close(merged.running_mean, together.running_mean)
    torch.testing.assert_close(merged.running_var, together.running_var)


def test_episodes_of_all_ranks_count() -> None:
    ppo = Ppo(Settings(num_envs=2, horizon_length=2), torch.device("cpu"))
    ppo.rollout.rewards.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    ppo.ranks = Recited(torch.tensor([[10.0, 20.0], [30.0, 40.0]]))
    rewards = ppo.ranks.gather(ppo.rollout.rewards).transpose(0, 1).flatten(1)
    assert rewards.tolist() == [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    statistics = EpisodeStatistics(4)
    statistics.add(rewards, torch.tensor([[False] * 4, [True, False, True, False]]))
    assert list(statistics.returns) == [4.0, 40.0]
    assert ppo.frames_per_epoch == 8


def test_one_process_agrees_with_itself() -> None:
    tensor = torch.ones(3)
    ALONE.average([tensor])
    assert tensor.tolist() == [1.0, 1.0, 1.0]
    assert ALONE.gather(tensor).shape == (1, 3)
    assert (ALONE.first(lambda: 5), ALONE.each(lambda: 6)) == (5, 6)
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    with ALONE.joined():
        assert not torch.distributed.is_initialized()


def test_ranks_start_alike_and_explore_apart() -> None:
    first, second = (
        Ppo(Settings(num_envs=8, seed=3), torch.device("cpu"), Ranks(rank, 2)) for rank in range(2)
    )
    assert torch.equal(first.model.mu.weight, second.model.mu.weight)
    for ppo in (first, second):
        ppo.collect()
    assert not torch.equal(first.rollout.actions, second.rollout.actions)


TORCHRUN = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_the_environment_says_which_rank_this_is() -> None:
    assert from_environment(TORCHRUN) == Ranks(rank=3, size=4, local_rank=1, local_size=2)
    assert from_environment({}) is ALONE
    assert from_environment({"WORLD_SIZE": "1", "RANK": "0"}) is ALONE


@pytest.mark.parametrize(
    "changes", [{"RANK": ""}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}, {"LOCAL_WORLD_SIZE": "\u0662"}]
)
def test_an_environment_that_leaves_the_rank_unsaid_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(changes))}=.*with torchrun"):
        from_environment({**TORCHRUN, **changes})


@pytest.mark.parametrize(
    ("device", "gpus", "given"),
    [
        ("auto", 2, "cuda:1"),
        ("auto", 1, "cpu"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda:1"),
        ("cuda", 1, None),
        ("cuda:0", 2, None),
    ],
)
def test_each_rank_has_a_gpu_of_its_own_or_none(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, given: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    settings, ranks = Settings(device=device), Ranks(1, 2, 1, 2)
    if given is None:
        with pytest.raises(SettingsError, match=f"2 ranks here need as many GPUs.*are {gpus}"):
            device_of(settings, ranks)
    else:
        assert device_of(settings, ranks) == torch.device(given)


# --- two ranks ---


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def torchrun(*arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return [*launcher, "--master-port", str(free_port()), *arguments]


def own(errors: str) -> list[str]:
    """Return what the trainer said on standard error, without what torchrun adds."""
    return [line for line in errors.splitlines() if line.startswith("reference_trainer: ")]


Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """Let two ranks play the story once; return the folder of the runs and what each rank saw."""
    root, told = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("seen")
    done = subprocess.run(
        torchrun(str(STORY), str(root), str(told)),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root, [json.loads((told / f"rank{rank}.json").read_text()) for rank in range(2)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("session", ["measured", "first", "last"])
def test_ranks_learn_one_policy_to_the_bit(seen: tuple[Path, Told], session: str) -> None:
    first, second = (told[session] for told in seen[1])
    assert first["failure"] == second["failure"] == ""
    for same in ("state", "learning_rate", "frame"):
        assert first["agent"][same] == second["agent"][same]
    assert first["agent"]["played"] != second["agent"]["played"], "each has its own environments"
    for same in ("epochs", "rewards", "watermarks", "frames"):
        assert first[same] == second[same]


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_the_mean_reward_is_over_the_episodes_of_all_ranks(seen: tuple[Path, Told]) -> None:
    root, told = seen
    session = told[0]["measured"]
    assert session["frames"] == [2 * 256 * 16] * 8
    rewards = [reward for reward in session["rewards"] if reward is not None]
    best = load_checkpoint(root / "Measured/nn/Measured.pth")
    assert best["last_mean_rewards"] == torch.tensor(max(rewards)).item()
    (last,) = (root / "Measured/nn").glob("last_Measuredep8rew*.pth")
    returns = load_checkpoint(last)["episodes"]["returns"]
    assert returns.mean().item() == pytest.approx(session["rewards"][-1])


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_only_the_first_rank_writes(seen: tuple[Path, Told]) -> None:
    root, (first, second) = seen
    for session in ("measured", "first", "last"):
        assert any("os.rename" in touched for touched in first[session]["touched"])
        assert second[session]["touched"] == []
    assert names(root / "Pole") == ["config.yaml", "nn", "summaries"]
    assert names(root / "Pole/nn") == [
        "Pole.pth",
        "last_Poleep3rew3.0.pth",
        "last_Poleep6rew9.5.pth",
    ]
    assert len(names(root / "Pole/summaries")) == 2
    for run in ("Pole", "Measured"):
        assert conformance(["check", "--strict", str(root / run)]) == 0


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_ranks_resume_together_and_keep_the_watermark(seen: tuple[Path, Told]) -> None:
    root, told = seen
    for rank in told:
        assert rank["last"]["epochs"] == [4, 5, 6, 7]
        assert rank["last"]["watermarks"] == [9.0, 9.0, 9.5, 9.5]
        assert rank["last"]["agent"]["frame"] == 7 * 16 * 16 * 2
    assert load_checkpoint(root / "Pole/nn/Pole.pth")["epoch"] == 6


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize(
    ("session", "failing", "reason"),
    [
        ("refused", 0, "SettingsError: .*holds checkpoints of an earlier session"),
        ("full", 0, "OSError: .*No space left on device"),
        ("small", 1, "SettingsError: this device is too small"),
        ("held", 0, "TrainingError: another session is training"),
    ],
)
def test_a_failure_on_one_rank_ends_all(
    seen: tuple[Path, Told], session: str, failing: int, reason: str
) -> None:
    root, told = seen
    assert re.match(reason, told[failing][session]["failure"])
    assert told[1 - failing][session]["failure"].startswith("FailedElsewhereError: ")
    assert told[0][session]["epochs"] == told[1][session]["epochs"] == []
    assert not (root / "Untouched").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_no_thread_of_the_group_outlives_it(seen: tuple[Path, Told]) -> None:
    """One that does may abort the process while Python ends."""
    for told in seen[1]:
        assert told["threads"]
        assert [name for name in told["threads"] if "gloo" in name] == []


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_torchrun_trains_and_resumes_in_one_folder(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            torchrun("-m", "reference_trainer", "experiment=Pole", *arguments, *SMALL),
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, own(done.stderr)) == (0, []), done.stderr
        return done.stdout

    with Watcher() as watcher, watcher.record(tmp_path) as recording:
        shown = run("max_iterations=8", "save_freq=2")
        journal = recording.stop()
    assert [line.split()[1] for line in shown.splitlines()[:-2]] == ["2/8", "4/8", "6/8", "8/8"]
    assert shown.splitlines()[-2].startswith("16,384 steps in ")
    assert journal.problem is None
    written = [
        name for name in writes(journal, "runs/Pole/nn") if re.fullmatch(r"last_.*\.pth", name)
    ]
    assert written == sorted(set(written)), "each once, in order"
    assert 1 <= len(written) <= 4
    assert names(tmp_path) == ["runs"]
    assert names(tmp_path / "runs") == ["Pole"]
    assert len(names(tmp_path / "runs/Pole/summaries")) == 1

    shown = run("max_iterations=10", "save_freq=2", "checkpoint=last")
    assert "epoch 10/10" in shown
    assert names(tmp_path / "runs") == ["Pole"]
    assert len(names(tmp_path / "runs/Pole/summaries")) == 2
    assert conformance(["check", "--strict", str(tmp_path / "runs")]) == 0
    assert run("test=True").startswith("runs/Pole/nn/Pole.pth: mean reward ")


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_a_signal_to_torchrun_ends_all_ranks_after_the_epoch(tmp_path: Path) -> None:
    process = subprocess.Popen(
        torchrun("-m", "reference_trainer", "save_freq=1", *SMALL, ENDLESS),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/")
    process.terminate()
    shown, errors = process.communicate(timeout=300)
    (said,) = own(errors)
    assert said.startswith("reference_trainer: stopped by SIGTERM after epoch ")
    assert process.returncode != 0
    last = int(said.split()[-1])
    assert all(int(line.split()[1].partition("/")[0]) <= last for line in shown.splitlines())
    nn = tmp_path / "runs/Cartpole/nn"
    assert all(name.endswith(".pth") for name in names(nn))
    assert max([load_checkpoint(path)["epoch"] for path in nn.iterdir()], default=last) == last


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["speed=9"], "'speed'"), (["checkpoint=best"], "Cartpole.pth cannot be read")],
)
def test_what_all_ranks_are_told_wrongly_is_said_once(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = subprocess.run(
        torchrun("-m", "reference_trainer", *arguments, *SMALL),
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    (said,) = own(done.stderr)
    assert message in said
    assert done.returncode != 0
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_a_rank_that_is_killed_ends_the_other_with_one_line(tmp_path: Path) -> None:
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    place["MASTER_PORT"] = str(free_port())
    first, second = (
        subprocess.Popen(
            [sys.executable, "-m", "reference_trainer", "save_freq=1", *SMALL, ENDLESS],
            cwd=tmp_path,
            env={**ENVIRONMENT, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    assert first.stdout is not None
    assert first.stdout.readline().startswith("epoch 1/")
    second.kill()
    assert second.wait(timeout=300) == -signal.SIGKILL
    second.communicate()
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 1
    (said,) = own(errors)
    assert said.startswith("reference_trainer: stopped: another rank has gone")
    for path in (tmp_path / "runs/Cartpole/nn").iterdir():
        load_checkpoint(path)
