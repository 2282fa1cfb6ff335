"""The settings: one dataclass, checked before anything runs, and the run's `config.yaml`."""

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from typing import Any

from omegaconf import OmegaConf

NO_LIMITS = {"least": -math.inf, "above": -math.inf, "most": 2**32 - 1}
MAX_FILE_NAME = 255  # bytes, on Linux
LONGEST_REWARD = "-9999999800000000.0"  # of all that `str` prints for a float32


class TrainerError(Exception):
    """Training cannot start or go on."""

    exit_code = 1  # of the command line
    silent = False  # another rank says what happened


class SettingsError(TrainerError):
    """The settings are wrong, or cannot be met."""

    exit_code = 2


def _setting(default: object, text: str, **limits: float) -> Any:  # noqa: ANN401  # a field's
    """Return a field with a default, a text for `--help`, and limits: least, most, above."""
    return field(default=default, metadata={**NO_LIMITS, "help": text, **limits})


@dataclass(frozen=True)
class Settings:
    """All settings; the algorithm's have the names of IsaacGymEnvs and its values for Cartpole."""

    experiment: str = _setting("Cartpole", "the run's name: its folder is <root>/<experiment>/")
    root: str = _setting("runs", "the folder of all runs")
    max_iterations: int = _setting(100, "epochs to train, over all sessions of the run", least=1)
    save_freq: int = _setting(25, "epochs between periodic checkpoints; 0 for none", least=0)
    num_envs: int = _setting(512, "environments played side by side", least=1)
    seed: int = _setting(42, "of the weights, the starting states and the exploration", least=0)
    device: str = _setting("auto", "cpu, cuda, cuda:1, ...; auto is cuda where there is one")
    num_threads: int = _setting(1, "threads of torch on the CPU", least=1, most=1024)
    async_save: bool = _setting(
        True, "write checkpoints behind the training, not before it goes on"
    )
    checkpoint: str = _setting("", "go on from, or play: best, last or a path")
    test: bool = _setting(False, "play the checkpoint, by default the best, and write nothing")
    overwrite: bool = _setting(False, "start over: remove the run's checkpoints and logs")

    gamma: float = _setting(0.99, "discount", least=0, most=1)
    tau: float = _setting(0.95, "the lambda of GAE", least=0, most=1)
    learning_rate: float = _setting(3e-4, "the first one; then it is adapted on the KL", above=0)
    kl_threshold: float = _setting(0.008, "KL from the policy that played to aim at", above=0)
    e_clip: float = _setting(0.2, "clip range of the policy's ratio and of the value", above=0)
    critic_coef: float = _setting(4.0, "weight of the value loss (halved, as in rl_games)", least=0)
    entropy_coef: float = _setting(0.0, "weight of the entropy bonus", least=0)
    bounds_loss_coef: float = _setting(1e-4, "weight of the penalty on means beyond +-1.1", least=0)
    grad_norm: float = _setting(1.0, "gradients are cut to this norm", above=0)
    reward_scale: float = _setting(
        0.1, "rewards are multiplied by it, but not in the logs", above=0
    )
    value_bootstrap: bool = _setting(True, "an episode cut off is worth what would follow")
    horizon_length: int = _setting(16, "steps of each environment in an epoch", least=1)
    minibatch_size: int = _setting(8192, "samples of a gradient step, at most an epoch's", least=1)
    mini_epochs: int = _setting(8, "passes over an epoch's samples", least=1)
    units: list[int] = field(
        default_factory=lambda: [32, 32], metadata={"help": "widths of the hidden layers"}
    )


def check(settings: Settings, *, any_file_name: bool = False) -> None:
    """Raise SettingsError, with one line that says what to change, if a setting is wrong.

    Args:
        settings: what to look at.
        any_file_name: accept an experiment that only a shell, a glob or an override would misread.
    """
    for problem in chain(_wrong_texts(settings, any_file_name), _wrong_numbers(settings)):
        raise SettingsError(problem)


def _wrong_texts(settings: Settings, any_file_name: bool) -> Iterator[str]:  # noqa: C901  # a list
    name, shown = settings.experiment, f"experiment={settings.experiment!a}"
    if not name:
        yield f"{shown} is empty"
    if name[0] in "-." and not any_file_name:
        yield f"{shown} begins with {name[0]!r}"
    unsafe = re.search(r"[^\w.-]", name)
    if unsafe and not any_file_name:
        yield f"{shown} holds {unsafe[0]!a}; letters, digits, '_', '-' and '.' are safe"
    impossible = re.search(r"[/\0\ud800-\udfff]", name)
    if impossible:
        yield f"{shown} holds {impossible[0]!a}, which no file name can"
    if name in {".", ".."}:
        yield f"{shown} names no folder of its own"
    longest = f"last_{name}ep{settings.max_iterations}rew{LONGEST_REWARD}.pth"
    if len(longest.encode()) > MAX_FILE_NAME:
        yield f"{shown} is too long for the names of its checkpoints"
    for key, path in (("root", settings.root), ("checkpoint", settings.checkpoint)):
        if not path.isprintable():
            yield f"{key}={path!a} holds characters that cannot be printed"
    if not settings.root:
        yield "root is empty: '.' is the folder you are in"
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", settings.device, re.ASCII):
        yield f"device={settings.device!a} is none of auto, cpu, cuda and cuda:N"


def _wrong_numbers(settings: Settings) -> Iterator[str]:
    for item in fields(settings):
        value, limits = getattr(settings, item.name), item.metadata
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{item.name}={value} is not a finite number"
        if isinstance(value, (int, float)):
            if value < limits["least"]:
                yield f"{item.name}={value} is less than {limits['least']}"
            if value <= limits["above"]:
                yield f"{item.name}={value} is not above {limits['above']}"
            if value > limits["most"]:
                yield f"{item.name}={value} is more than {limits['most']}"
    if not settings.units or min(settings.units) < 1:
        yield f"units={settings.units} are not the widths of hidden layers"
    batch, minibatch = settings.num_envs * settings.horizon_length, settings.minibatch_size
    if batch < 2:
        yield "num_envs=1 with horizon_length=1 is too little to learn from"
    if batch % min(minibatch, batch):
        yield (
            f"minibatch_size={minibatch} does not divide an epoch's {batch} samples "
            f"(num_envs={settings.num_envs} x horizon_length={settings.horizon_length})"
        )


def not_looked_up(text: str) -> str:
    """Return a text in which OmegaConf takes `${...}` as it stands, and looks nothing up."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def run_config(settings: Settings) -> str:
    """Return the text of the run's `config.yaml`: flat, under the names that an audit reads."""
    values = {
        key: not_looked_up(value) if isinstance(value, str) else value
        for key, value in asdict(settings).items()
    }
    renamed = {"name": "experiment", "save_freq": "save_freq", "max_epochs": "max_iterations"}
    flat = {name: values.pop(key) for name, key in renamed.items()}
    return OmegaConf.to_yaml({**flat, **values})
