"""Plays scenarios with the real rl_games: `python:conformance.trainers.rl_games:RlGames`.

The environment is a toy with episodes of one step, the network a tiny one; the update, the saves,
the logs and the resume are rl_games' own, in this process. Only the meter of finished episodes is
set, by an observer between rollout and update, so that the mean reward is the scenario's and one
that is not finite does not reach the weights.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from conformance.convention.names import parse_name
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rewards import as_float32
from conformance.evidence.checkpoint import read_checkpoint
from conformance.evidence.runs import EntryKind, scan_run
from conformance.evidence.summaries import is_event_file_name

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies' own
        import numpy as np
        import torch
        from gymnasium import spaces
        from rl_games.common import a2c_common, env_configurations, vecenv
        from rl_games.common.algo_observer import AlgoObserver
        from rl_games.common.ivecenv import IVecEnv
        from rl_games.torch_runner import Runner
except ImportError as error:
    raise ImportError(
        f"this trainer plays with rl_games, which cannot be imported ({error});"
        " pip install rl_games==1.6.5"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.convention.scenario import Scenario
    from conformance.evidence.runs import Entry, RunFolder

_PROFILE = "rl_games-1.6"
_ENVIRONMENT = "conformance-one-step"
_ACTORS = 4
_MOST_SEEDS = 2**32 - 1
# Of checkpoints of one epoch whose files are equally old: the order in which rl_games writes them.
_WRITTEN = (Kind.PERIODIC, Kind.BEST, Kind.WIN, Kind.FINAL)


class RlGamesError(RuntimeError):
    """A session that rl_games cannot play; nothing was written. The message says why."""


class RlGames:
    """A trainer: rl_games' continuous PPO.

    Attributes:
        name: what reports call it.
        version: of the rl_games that is installed.
        capabilities: what it can be asked for beyond a fresh session.
    """

    name = "rl_games"
    capabilities = ("resume", "save_best_after")

    def __init__(self) -> None:
        self.version = version("rl_games")
        vecenv.register(_ENVIRONMENT, _OneStep)
        env_configurations.register(_ENVIRONMENT, {"vecenv_type": _ENVIRONMENT})

    def train(self, scenario: Scenario) -> None:
        """Play one session into `scenario.root / scenario.experiment`.

        rl_games prints a lot, and draws from the global generators of Python, NumPy and torch.

        Raises:
            RlGamesError: there is nothing to resume from, or no epoch left to train.
        """
        run = scan_run(scenario.root / scenario.experiment)
        checkpoint = "" if scenario.resume is None else str(_resumed(run, scenario))
        observer = _Scripted(scenario.rewards)
        # Under `-W error` rl_games takes NumPy's warnings for failures of the disk, and retries.
        with warnings.catch_warnings(), _own_event_file(run):
            warnings.simplefilter("ignore")
            runner = Runner(observer)
            runner.load({"params": _params(scenario)})
            try:
                runner.run({"train": True, "play": False, "checkpoint": checkpoint})
            finally:
                observer.algo = None  # the agent, its optimizer and its buffers go now, by count


class _OneStep(IVecEnv):  # type: ignore[misc]
    """Environments whose episodes end with each step; the reward asks for small actions."""

    def __init__(self, _config_name: str, num_actors: int, **_options: object) -> None:
        self._observations = np.zeros((num_actors, 1), dtype=np.float32)
        self._dones = np.ones(num_actors, dtype=np.uint8)

    def reset(self) -> np.ndarray[Any, Any]:
        return self._observations

    def step(self, actions: np.ndarray[Any, Any]) -> tuple[Any, ...]:
        rewards = 1.0 - np.abs(actions[:, 0])
        return self._observations, rewards.astype(np.float32), self._dones, {}

    def get_env_info(self) -> dict[str, Any]:
        box = spaces.Box(-1.0, 1.0, (1,), np.float32)
        return {"observation_space": box, "action_space": box}


class _Scripted(AlgoObserver):  # type: ignore[misc]
    """Sets what the finished episodes brought: after epoch k the k-th of the rewards given."""

    def __init__(self, rewards: tuple[float | None, ...]) -> None:
        super().__init__()
        self.algo: Any = None
        self._rewards = rewards

    def after_init(self, algo: object) -> None:
        self.algo = algo

    def after_clear_stats(self) -> None:
        """Has no statistics of its own."""

    def after_steps(self) -> None:
        meter = self.algo.game_rewards
        reward = self._rewards[self.algo.epoch_num - 1]
        if reward is None:
            meter.clear()
            return
        # Set, not added: the meter's own sum would turn -0.0 into 0.0, and a NaN would stay in it.
        meter.mean = torch.full((1, 1), as_float32(reward), dtype=torch.float32)
        meter.current_size = 1


@contextmanager
def _own_event_file(run: RunFolder) -> Iterator[None]:
    """Give the session an event file of its own, and close it, which rl_games never does.

    tensorboardX names event files by second and host: two sessions of one second would write into
    the same file. The suffix tells no process, so that the files are not taken for one session's.
    """
    number = sum(is_event_file_name(entry.name) for entry in run.at("summaries"))
    original = a2c_common.SummaryWriter
    writers = []

    def summary_writer(logdir: str) -> object:
        writers.append(original(logdir, filename_suffix=f".session-{number}"))
        return writers[-1]

    a2c_common.SummaryWriter = summary_writer
    try:
        yield
    finally:
        a2c_common.SummaryWriter = original
        for writer in writers:
            writer.close()


def _resumed(run: RunFolder, scenario: Scenario) -> Path:
    """The checkpoint that the session goes on from; rl_games itself takes only a path.

    "last" is the one with the highest stored epoch; of equals the newest write.
    """
    profile = load_profile(_PROFILE)
    found = []
    for entry in run.at(profile.checkpoints):
        name = parse_name(profile, scenario.experiment, entry.name)
        wanted = scenario.resume == "last" or name.kind is Kind.BEST
        epoch = _stored_epoch(entry) if wanted else None
        if name.kind is not None and not name.flaws and epoch is not None:
            found.append((epoch, entry.modified, _WRITTEN.index(name.kind), entry.path))
    if not found:
        raise RlGamesError(
            f"{str(run.path)!a} has no {scenario.resume} checkpoint to resume from;"
            " train it first, with resume null"
        )
    epoch, *_, path = max(found)
    if epoch >= scenario.max_epochs:
        raise RlGamesError(
            f"{str(path)!a} is of epoch {epoch} already: to train on, raise"
            f" max_epochs={scenario.max_epochs} (rl_games itself would train one epoch too many)"
        )
    return path


def _stored_epoch(entry: Entry) -> int | None:
    """The epoch that a checkpoint stores; None where it cannot be read."""
    if entry.kind is not EntryKind.FILE:
        return None
    allowed = load_profile(_PROFILE).allowed_globals
    root = read_checkpoint(entry.path, allowed=allowed, verify=False).root
    epoch = root.get("epoch") if isinstance(root, dict) else None
    return epoch if isinstance(epoch, int) else None


def _params(scenario: Scenario) -> dict[str, Any]:
    """The scenario as rl_games' own configuration: its smallest continuous PPO."""
    return {
        "seed": scenario.seed % _MOST_SEEDS + 1,  # it takes 0 for no seed
        "torch_threads": 0,  # leave the process's own number alone
        "algo": {"name": "a2c_continuous"},
        "model": {"name": "continuous_a2c_logstd"},
        "network": {
            "name": "actor_critic",
            "separate": False,
            "space": {
                "continuous": {
                    "mu_activation": "None",
                    "sigma_activation": "None",
                    "mu_init": {"name": "default"},
                    "sigma_init": {"name": "const_initializer", "val": 0},
                    "fixed_sigma": True,
                }
            },
            "mlp": {
                "units": [4],
                "activation": "elu",
                "d2rl": False,
                "initializer": {"name": "default"},
                "regularizer": {"name": "None"},
            },
        },
        "config": {
            "name": scenario.experiment,
            "full_experiment_name": scenario.experiment,
            "train_dir": str(scenario.root),
            "save_frequency": scenario.save_freq,
            "save_best_after": scenario.save_best_after,
            "max_epochs": scenario.max_epochs,
            "env_name": _ENVIRONMENT,
            "num_actors": _ACTORS,
            "horizon_length": 1,
            "minibatch_size": _ACTORS,
            "mini_epochs": 1,
            "seq_length": 1,
            "games_to_track": 1,
            "device": "cpu",
            "torch_compile": False,
            "ppo": True,
            "reward_shaper": {},
            # Both are scripted modules: each takes torch 10 ms to compile, and is never freed.
            "normalize_input": False,
            "normalize_value": False,
            "normalize_advantage": True,
            "gamma": 0.99,
            "tau": 0.95,
            "learning_rate": 1e-3,
            "lr_schedule": "None",
            "critic_coef": 2.0,
            "bounds_loss_coef": 1e-4,
            "entropy_coef": 0.0,
            "e_clip": 0.2,
            "clip_value": True,
            "truncate_grads": True,
            "grad_norm": 1.0,
        },
    }
