"""What one rank does in the story of `test_ranks.py`; each rank writes down what it saw.

Run by torchrun, with the folder of the runs and the folder for what was seen as arguments.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reference_trainer import checkpoints
from reference_trainer import train as session
from reference_trainer.config import Settings, SettingsError
from reference_trainer.ranks import from_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_trainer.ppo import EpisodeStatistics, Ppo

REWARDS = (1.0, 9.0, 3.0, 4.0, 9.0, 9.5, 2.0)
ROOT, SEEN = map(Path, sys.argv[1:])
RANKS = from_environment()
TOUCHED: list[str] = []
AGENTS: list[Ppo] = []


def note_writes(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down what this process changes below the folder of the runs."""
    if event == "open":
        path, mode, flags = arguments
        if not (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or "w" in str(mode)):
            return
    elif event in {"os.mkdir", "os.rename", "os.remove", "os.truncate", "os.link", "os.symlink"}:
        path = arguments[0]
    else:
        return
    if str(path).startswith(str(ROOT)):
        TOUCHED.append(f"{event} {Path(str(path)).name}")


def scripted(epoch: int, _statistics: EpisodeStatistics) -> float:
    return REWARDS[epoch - 1]


def train(
    mean_reward: session.MeanReward = lambda _epoch, statistics: statistics.mean_reward,
    **changes: object,
) -> dict[str, Any]:
    """Train a session; return its reports, and how its agent and its writes ended."""
    settings = Settings(**{"root": str(ROOT), "device": "cpu", "mini_epochs": 2, **changes})
    reports: list[session.EpochReport] = []
    TOUCHED.clear()
    AGENTS.clear()
    failure = ""
    try:
        session.train(settings, on_epoch=reports.append, mean_reward=mean_reward, ranks=RANKS)
    except Exception as error:  # noqa: BLE001 - which one is what the test looks at
        failure = f"{type(error).__name__}: {error}"
    return {
        "epochs": [report.epoch for report in reports],
        "rewards": [report.mean_reward for report in reports],
        "watermarks": [report.watermark for report in reports],
        "frames": [report.frames for report in reports],
        "failure": failure,
        "touched": list(TOUCHED),
        **({"agent": fingerprint(AGENTS[-1])} if AGENTS else {}),
    }


def fingerprint(ppo: Ppo) -> dict[str, Any]:
    """Return what has to be the same on all ranks, and what has to differ."""
    state = hashlib.sha256()
    for key, tensor in sorted(ppo.model.state_dict().items()):
        state.update(key.encode() + tensor.numpy().tobytes())
    for moment in ppo.optimizer.state_dict()["state"].values():
        state.update(moment["exp_avg"].numpy().tobytes())
    return {
        "state": state.hexdigest(),
        "learning_rate": ppo.learning_rate,
        "frame": ppo.frame,
        "played": float(ppo.rollout.observations.double().sum()),
    }


def remember_agents() -> None:
    make = session.Ppo

    def kept(*arguments: Any) -> Ppo:
        AGENTS.append(make(*arguments))
        return AGENTS[-1]

    session.Ppo = kept


def with_a_failing(owner: Any, name: str, error: Exception, play: Callable[[], Any]) -> Any:
    """Return what `play` returns while `owner.name` fails."""
    working = getattr(owner, name)

    def fail(*_arguments: object) -> None:
        raise error

    setattr(owner, name, fail)
    try:
        return play()
    finally:
        setattr(owner, name, working)


def story() -> dict[str, Any]:
    remember_agents()
    told = {
        "measured": train(experiment="Measured", max_iterations=8, save_freq=4, num_envs=256),
        "first": train(scripted, experiment="Pole", max_iterations=3, save_freq=3, num_envs=16),
        "last": train(
            scripted,
            experiment="Pole",
            max_iterations=7,
            save_freq=3,
            num_envs=16,
            checkpoint="last",
        ),
        "refused": train(experiment="Pole", num_envs=16),
    }
    unlucky = {"experiment": "Unlucky", "max_iterations": 2, "num_envs": 16}

    def unlucky_train() -> dict[str, Any]:
        return train(scripted, **unlucky)

    def untouched() -> dict[str, Any]:
        return train(scripted, **{**unlucky, "experiment": "Untouched"})

    full = OSError(errno.ENOSPC, "No space left on device")
    if RANKS.rank == 0:
        told["full"] = with_a_failing(checkpoints.os, "fsync", full, unlucky_train)
    else:
        told["full"] = unlucky_train()
    small = SettingsError("this device is too small")
    if RANKS.rank == 1:
        told["small"] = with_a_failing(session, "make_agent", small, untouched)
    else:
        told["small"] = untouched()
    (ROOT / "Held").mkdir(exist_ok=True)
    descriptor = os.open(ROOT / "Held", os.O_RDONLY)
    if RANKS.rank == 1:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    RANKS.any(False)  # both are here
    told["held"] = train(scripted, experiment="Held", max_iterations=2, num_envs=16)
    os.close(descriptor)
    return told


def main() -> None:
    torch.set_num_threads(1)
    sys.addaudithook(note_writes)
    with RANKS.joined():
        told = story()
    told["threads"] = sorted(path.read_text() for path in Path("/proc/self/task").glob("*/comm"))
    (SEEN / f"rank{RANKS.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
