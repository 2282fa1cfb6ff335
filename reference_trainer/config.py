"""The settings: dataclasses, read from a Hydra command line and checked before anything runs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import yaml

MAX_FILE_NAME = 255  # bytes, on Linux
LONGEST_REWARD = len("-9999999800000000.0")  # of all that `str` prints for a float32


class SettingsError(Exception):
    """The settings are wrong, or cannot be met."""


T = TypeVar("T")


def _setting(default: T, text: str) -> T:
    """Return a dataclass field with a default and a text for `--help`."""
    made: T = field(default=default, metadata={"help": text})
    return made


@dataclass(frozen=True)
class PpoSettings:
    """The algorithm's settings, under their IsaacGymEnvs names and with its Cartpole values."""

    gamma: float = _setting(0.99, "discount")
    tau: float = _setting(0.95, "the lambda of GAE")
    learning_rate: float = _setting(3e-4, "the first one; then it is adapted on the KL")
    kl_threshold: float = _setting(0.008, "KL from the policy that played to aim at")
    e_clip: float = _setting(0.2, "clip range of the policy's ratio and of the value")
    critic_coef: float = _setting(4.0, "weight of the value loss (halved, as in rl_games)")
    entropy_coef: float = _setting(0.0, "weight of the entropy bonus")
    bounds_loss_coef: float = _setting(0.0001, "weight of the penalty on means beyond +-1.1")
    grad_norm: float = _setting(1.0, "gradients are cut to this norm")
    reward_scale: float = _setting(0.1, "rewards are multiplied by it, but not in the logs")
    value_bootstrap: bool = _setting(True, "an episode cut off is worth what would follow")
    horizon_length: int = _setting(16, "steps of each environment in an epoch")
    minibatch_size: int = _setting(8192, "samples of a gradient step, at most an epoch's")
    mini_epochs: int = _setting(8, "passes over an epoch's samples")
    units: list[int] = field(
        default_factory=lambda: [32, 32], metadata={"help": "widths of the hidden layers"}
    )


@dataclass(frozen=True)
class Settings(PpoSettings):
    """Everything that the command line can set."""

    experiment: str = _setting("Cartpole", "the run's name: its folder is <root>/<experiment>/")
    root: str = _setting("runs", "the folder of all runs")
    max_iterations: int = _setting(100, "epochs to train, over all sessions of the run")
    save_freq: int = _setting(25, "epochs between periodic checkpoints; 0 for none")
    num_envs: int = _setting(512, "environments played side by side")
    seed: int = _setting(42, "of the weights, the starting states and the exploration")
    device: str = _setting("auto", "cpu, cuda, cuda:1, ...; auto is cuda where there is one")
    num_threads: int = _setting(1, "threads of torch on the CPU")
    async_save: bool = _setting(
        True, "write checkpoints behind the training, not before it goes on"
    )
    checkpoint: str = _setting("", "go on from, or play: best, last or a path")
    test: bool = _setting(False, "play the checkpoint, by default the best, and write nothing")
    overwrite: bool = _setting(False, "start over: remove the run's checkpoints and logs")


def name_problem(experiment: str) -> str | None:
    """Return what makes `experiment` unsafe as a name of files, or None.

    Letters and digits of any script, `_`, `-` and `.` are safe in a shell, a glob and a Hydra
    override, unless a `-` or `.` comes first.
    """
    if not experiment:
        return "is empty"
    if experiment[0] in "-.":
        return f"begins with {experiment[0]!r}"
    for character in experiment:
        if not (character.isalnum() or character in "_-."):
            return f"holds {character!a}; letters, digits, '_', '-' and '.' are safe"
    return None


def file_name_problem(experiment: str, max_iterations: int) -> str | None:
    """Return why `experiment` cannot name a run's folder and checkpoints on any disk, or None."""
    if experiment in {"", ".", ".."}:
        return "names no folder of its own"
    for character in "/\0":
        if character in experiment:
            return f"holds {character!a}, which no file name can"
    try:
        longest = len(f"last_{experiment}ep{max_iterations}rew.pth".encode()) + LONGEST_REWARD
    except UnicodeEncodeError:
        return "is not Unicode text"
    if longest > MAX_FILE_NAME:
        return "is too long for the names of its checkpoints"
    return None


def _check_names(settings: Settings, *, any_file_name: bool) -> None:
    problem = None if any_file_name else name_problem(settings.experiment)
    problem = problem or file_name_problem(settings.experiment, settings.max_iterations)
    if problem:
        raise SettingsError(f"experiment={settings.experiment!a} {problem}")
    for key, path in (("root", settings.root), ("checkpoint", settings.checkpoint)):
        if not path.isprintable():
            raise SettingsError(f"{key}={path!a} holds characters that cannot be printed")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", settings.device, re.ASCII):
        raise SettingsError(f"device={settings.device!a} is none of auto, cpu, cuda and cuda:N")
    if not settings.root:
        raise SettingsError("root is empty: '.' is the folder you are in")


_LARGE = 2**32 - 1
_RANGES: dict[str, tuple[float, float]] = {
    "gamma": (0, 1),
    "tau": (0, 1),
    "critic_coef": (0, math.inf),
    "entropy_coef": (0, math.inf),
    "bounds_loss_coef": (0, math.inf),
    "horizon_length": (1, _LARGE),
    "minibatch_size": (1, _LARGE),
    "mini_epochs": (1, _LARGE),
    "max_iterations": (1, _LARGE),
    "save_freq": (0, _LARGE),
    "num_envs": (1, _LARGE),
    "seed": (0, _LARGE),
    "num_threads": (1, 1024),
}
_POSITIVE = ("learning_rate", "kl_threshold", "e_clip", "grad_norm", "reward_scale")


def _check_numbers(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{key}={value} is not a finite number")
    for key, (lowest, highest) in _RANGES.items():
        if values[key] < lowest:
            raise SettingsError(f"{key}={values[key]} is less than {lowest}")
        if values[key] > highest:
            raise SettingsError(f"{key}={values[key]} is more than {highest}")
    for key in _POSITIVE:
        if values[key] <= 0:
            raise SettingsError(f"{key}={values[key]} is not above 0")


def _check_sizes(settings: Settings) -> None:
    if not settings.units or min(settings.units) < 1:
        raise SettingsError(f"units={settings.units} are not the widths of hidden layers")
    batch = settings.num_envs * settings.horizon_length
    if batch < 2:
        raise SettingsError("num_envs=1 with horizon_length=1 is too little to learn from")
    if batch % min(settings.minibatch_size, batch):
        raise SettingsError(
            f"minibatch_size={settings.minibatch_size} does not divide an epoch's {batch} samples "
            f"(num_envs={settings.num_envs} x horizon_length={settings.horizon_length})"
        )


def check(settings: Settings, *, any_file_name: bool = False) -> None:
    """Raise SettingsError, with one line that says what to change, if a setting is wrong.

    Args:
        settings: what to look at.
        any_file_name: accept an experiment that only a shell, a glob or an override would misread.
    """
    _check_names(settings, any_file_name=any_file_name)
    _check_numbers(asdict(settings))
    _check_sizes(settings)


def _one_line(error: Exception) -> str:
    """Return what a Hydra or OmegaConf error says, with the key it is about, in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = (str(cause).strip() or str(error)).partition("\n")[0]
    about = getattr(error, "override", None) or getattr(cause, "full_key", None)
    return f"{about}: {text}" if about and str(about) not in text else text


def from_command_line(overrides: Sequence[str]) -> Settings:
    """Return the settings that Hydra reads from `key=value` overrides, checked.

    Hydra only composes here: it makes no folder, writes no log and does not change directory.

    Raises:
        SettingsError: a key is unknown, a value is of the wrong type or out of range.
    """
    from hydra import compose, initialize  # noqa: PLC0415  # slow to import: only where needed
    from hydra.core.config_store import ConfigStore  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    for override in overrides:
        if override.startswith("-") or "=" not in override:
            raise SettingsError(f"{override!a} is not a setting: key=value is")
    schema = OmegaConf.structured(Settings)
    OmegaConf.set_readonly(schema, False)  # Hydra fills it in; a Settings again is frozen
    ConfigStore.instance().store(name="settings", node=schema)
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose("settings", overrides=list(overrides))
        for key in {str(key) for key in composed} ^ {item.name for item in fields(Settings)}:
            raise SettingsError(f"{key!a} can neither be added nor removed")
        settings = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(_one_line(error)) from error
    if not isinstance(settings, Settings):
        raise SettingsError("the settings are not this trainer's")
    check(settings)
    return settings


class _Text(str):
    """A text to be written in quotes, so that no reader of YAML takes it for a number."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes plain values, and each `_Text` in quotes."""


_Dumper.add_representer(
    _Text,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'),
)


def _text(value: str) -> _Text:
    """Return `value` such that OmegaConf, too, reads it as it is: `${` would be looked up."""
    return _Text(re.sub(r"(\\*)\$\{", r"\1\1\\${", value))


def run_config(settings: Settings) -> str:
    """Return the text of the run's `config.yaml`: flat, under the names that an audit reads."""
    values = asdict(settings)
    flat = {
        "name": values.pop("experiment"),
        "save_freq": values.pop("save_freq"),
        "max_epochs": values.pop("max_iterations"),
        **values,
    }
    quoted = {key: _text(value) if isinstance(value, str) else value for key, value in flat.items()}
    return yaml.dump(quoted, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
