"""Plays scenarios with the real rl_games: `python:conformance.trainers.rl_games:RlGames`.

The environment is a toy with episodes of one step, the network a tiny one; the update, the saves,
the logs and the resume are rl_games' own, in this process. Only the meter of finished episodes is
set, by an observer between rollout and update, so that the mean reward is the scenario's and one
that is not finite does not reach the weights.

Played are the versions 1.1.4 to 1.6.5, whichever is installed. Those before 1.6.5 import gym and,
before 1.6.1, ray; nothing here uses either, and where they are missing gymnasium and an empty
module stand in.
"""

from __future__ import annotations

import math
import sys
import warnings
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from conformance.convention.names import parse_name
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rewards import as_float32
from conformance.evidence.checkpoint import read_checkpoint
from conformance.evidence.runs import EntryKind, scan_run
from conformance.evidence.summaries import is_event_file_name
from conformance.trainers.errors import UnsupportedScenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conformance.convention.profile import Profile
    from conformance.convention.scenario import Scenario
    from conformance.evidence.runs import Entry, RunFolder


def _stand_ins() -> Mapping[str, ModuleType]:
    """Modules that old versions of rl_games import and nothing here uses, where they are missing.

    gymnasium took gym's place under the same names; ray runs environments in other processes.
    """
    found: dict[str, ModuleType] = {}
    if find_spec("gym") is None:
        import gymnasium  # noqa: PLC0415 - needed only where rl_games itself does not bring gym
        import gymnasium.wrappers  # noqa: PLC0415 - see above

        found |= {"gym": gymnasium, "gym.wrappers": gymnasium.wrappers}
    if find_spec("ray") is None:
        found["ray"] = ModuleType("ray")
    return found


@contextmanager
def _standing_in() -> Iterator[None]:
    """Let the stand-ins be imported, and nobody else find them afterwards."""
    modules = _stand_ins()
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


try:
    with warnings.catch_warnings(), _standing_in():
        warnings.simplefilter("ignore")  # its dependencies' own
        import numpy as np
        import torch
        from rl_games.common import a2c_common, env_configurations, vecenv
        from rl_games.common.algo_observer import AlgoObserver
        from rl_games.common.ivecenv import IVecEnv
        from rl_games.torch_runner import Runner
except ImportError as error:
    raise ImportError(
        f"this trainer plays with rl_games, which cannot be imported ({error});"
        " pip install rl_games==1.6.5"
    ) from error

# The dialect of each range of versions, by the first one after it.
_PROFILES = (
    ((1, 5), "rl_games-1.1"),
    ((1, 6), "rl_games-1.5"),
    ((1, 6, 1), "rl_games-1.6.0"),
    ((1, 7), "rl_games-1.6"),
)
_FIRST = (1, 1, 4)
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
        profile: the name of the dialect that this version writes.
        capabilities: what it can be asked for beyond a fresh session.
    """

    name = "rl_games"
    capabilities = ("resume", "save_best_after")

    def __init__(self) -> None:
        self.version = version("rl_games")
        self.profile = _profile_of(self.version)
        vecenv.register(_ENVIRONMENT, _OneStep)
        env_configurations.register(_ENVIRONMENT, {"vecenv_type": _ENVIRONMENT})

    def train(self, scenario: Scenario) -> None:
        """Play one session into `scenario.root / scenario.experiment`.

        rl_games prints a lot, and draws from the global generators of Python, NumPy and torch.

        Raises:
            RlGamesError: there is nothing to resume from, or no epoch left to train.
            UnsupportedScenario: this version plays one epoch more than it is asked for, and the
                scenario has no mean reward for it: without one it breaks.
        """
        profile = load_profile(self.profile)
        run = scan_run(scenario.root / scenario.experiment)
        checkpoint = "" if scenario.resume is None else str(_resumed(profile, run, scenario))
        if profile.ends_late and _lacks_reward(scenario):
            raise UnsupportedScenario(
                f"rl_games {self.version} also plays the epoch after max_epochs="
                f"{scenario.max_epochs}: give its mean reward too"
            )
        observer = _Scripted(scenario.rewards)
        # Under `-W error` rl_games takes NumPy's warnings for failures of the disk, and retries.
        with warnings.catch_warnings(), _own_event_file(run), _loading_numpy():
            warnings.simplefilter("ignore")
            runner = Runner(observer)
            runner.load({"params": _params(scenario) | _to_load(self.version, checkpoint)})
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
        box = a2c_common.gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
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


@contextmanager
def _loading_numpy() -> Iterator[None]:
    """Let torch load NumPy's scalars: versions up to 1.6.1 were written when it always did."""
    scalar = np.float32(0).__reduce__()[0]
    kinds = (type(np.dtype(np.float32)), type(np.dtype(np.float64)))
    with torch.serialization.safe_globals([scalar, np.dtype, *kinds]):
        yield


def _profile_of(version: str) -> str:
    """The dialect that a version of rl_games writes.

    Raises:
        ImportError: the version is not known, or writes into the working directory.
    """
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if _FIRST <= numbers < _PROFILES[-1][0]:
        return next(profile for end, profile in _PROFILES if numbers < end)
    raise ImportError(
        f"rl_games {version} is installed, and this trainer plays 1.1.4 to 1.6.5;"
        " pip install rl_games==1.6.5"
    )


def _lacks_reward(scenario: Scenario) -> bool:
    """Whether the epoch after the scenario's last has no mean reward."""
    beyond = scenario.rewards[scenario.max_epochs : scenario.max_epochs + 1]
    return beyond in ((), (None,))


def _to_load(version: str, checkpoint: str) -> dict[str, Any]:
    """What versions before 1.3 want to know of the checkpoint in their configuration."""
    if _profile_of(version) != "rl_games-1.1":
        return {}
    return {"load_checkpoint": bool(checkpoint), "load_path": checkpoint}


def _resumed(profile: Profile, run: RunFolder, scenario: Scenario) -> Path:
    """The checkpoint that the session goes on from; rl_games itself takes only a path.

    "last" is the one with the highest stored epoch; of equals the newest write.
    """
    found = []
    for entry in run.at(profile.checkpoints):
        name = parse_name(profile, scenario.experiment, entry.name)
        wanted = scenario.resume == "last" or name.kind is Kind.BEST
        epoch = _stored_epoch(profile, entry) if wanted else None
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


def _stored_epoch(profile: Profile, entry: Entry) -> int | None:
    """The epoch that a checkpoint stores; None where it cannot be read."""
    if entry.kind is not EntryKind.FILE:
        return None
    root = read_checkpoint(entry.path, allowed=profile.allowed_globals, verify=False).root
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
            "score_to_win": math.inf,  # no win; versions before 1.5 ask for it
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
