"""A run's settings as they were given: by the caller, else by the run's config file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from conformance.convention.names import (
    has_checkpoint_suffix,
    named_run,
    parse_name,
    run_name_of,
    summarised_name,
)
from conformance.evidence.summaries import is_event_file_name
from conformance.run.files import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.convention.profile import Profile
    from conformance.evidence.config import RunConfig
    from conformance.evidence.runs import Entry, RunFolder
    from conformance.run.files import Readings


# What a trainer calls a checkpoint that does not name the run.
_NO_NAMES = ("best", "last", "final", "model", "checkpoint", "ckpt", "policy", "agent", "weights")
_MOST_NAMES = 3  # under which a run's checkpoints may all have been written


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller said of the run; None where the run's own evidence decides."""

    name: str | None = None
    save_freq: int | None = None
    max_epochs: int | None = None
    save_best_after: int | None = None
    model: Callable[[], Any] | None = None


def model_builder(model: Any) -> Callable[[], Any] | None:  # noqa: ANN401 - a torch.nn.Module
    """Return what makes the model that was given: a module is callable too, and makes none.

    Raises:
        TypeError: it is neither.
    """
    if model is None:
        return None
    if hasattr(model, "load_state_dict") and not isinstance(model, type):
        return lambda: model
    if not callable(model):
        raise TypeError(
            f"model: a torch.nn.Module, or a callable that returns one, not {type(model).__name__}"
        )
    made: Callable[[], Any] = model
    return made


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting with where it comes from; `value` None: not known."""

    value: int | None
    source: str


class Given:
    """The settings that were given; nothing here is guessed from the files that are judged.

    Args:
        folder: the run.
        profile: its dialect.
        options: what the caller said.
        readings: keeps what is read.
        played: whether the harness had the run played: the caller then quotes the scenario.
    """

    def __init__(
        self,
        folder: RunFolder,
        profile: Profile,
        options: Options,
        readings: Readings,
        *,
        played: bool,
    ) -> None:
        self._folder = folder
        self._profile = profile
        self._options = options
        self._readings = readings
        self._played = played

    @cached_property
    def config(self) -> RunConfig | None:
        """The run's config file, where it has one."""
        return None if self._config_entry is None else self._readings.config(self._config_entry)

    @property
    def config_name(self) -> str:
        """The path of the config file inside the run; empty where it has none."""
        return "" if self._config_entry is None else self._config_entry.relative

    @cached_property
    def _config_entry(self) -> Entry | None:
        entries = {entry.relative: entry for entry in self._folder.entries}
        return next((entries[path] for path in self._profile.config if path in entries), None)

    # --- the run's name ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The run's name, as its checkpoints should carry it."""
        return self.run_name[0]

    @cached_property
    def run_name(self) -> tuple[str, str]:
        """The run's name and where it comes from."""
        if self._options.name is not None:
            return self._options.name, "--name"
        if self.config is not None and self.config.name is not None:
            return self.config.name, self.config_name
        if self._folder.is_file:
            return self._name_by_itself, "its own name"
        name, source = self._folder_name
        if self._played or self._agreed_name in (None, name):
            return name, source
        return self._agreed_name or name, "the names of the checkpoints"

    @cached_property
    def _folder_name(self) -> tuple[str, str]:
        """The run's name as its folders tell it."""
        experiment = self._folder.experiment
        told = run_name_of(self._profile, self._folder.path.as_posix())
        if told is not None and told != experiment:
            if "{name}" not in self._profile.experiments:
                return told, "the path of the run's folder"
            if self._writes_under(told):
                return told, "the folder's name without its time stamp"
        for name in sorted(self._summarised):
            if len(self._summarised) == 1 or self._writes_under(name):
                return name, "the name of the folder of its event files"
        return experiment, "the folder's name"

    @cached_property
    def _summarised(self) -> frozenset[str]:
        """The names that the folders of the event files tell, where the profile's do."""
        told = (
            summarised_name(self._profile, entry.folder)
            for entry in self._folder.entries
            if is_event_file_name(entry.name)
        )
        return frozenset(filter(None, told))

    @cached_property
    def beside(self) -> frozenset[str]:
        """The names of other runs that log, and may save, in this one's folders.

        None where no folder of event files tells this run's name: they may be its own.
        """
        others = self._summarised - {self.name}
        return others if others < self._summarised else frozenset()

    def _writes_under(self, name: str) -> bool:
        """Whether a checkpoint's name is the profile's for a run that is called so."""
        return any(
            self._is_of(name, entry.name) for entry in self._folder.at(self._profile.checkpoints)
        )

    def _is_of(self, name: str, text: str) -> bool:
        """Whether a file's name is the profile's, without a flaw, for a run that is called so."""
        parsed = parse_name(self._profile, name, text)
        return parsed.kind is not None and not parsed.flaws

    @cached_property
    def _agreed_name(self) -> str | None:
        """The one name under which all checkpoints' names are the profile's, if not the folder's.

        None as well where any is the profile's under the folder's name. A best alone tells it,
        unless it may be one that is called wrongly, or event files tell another name.
        """
        if self._writes_under(self._folder_name[0]):
            return None
        texts = [
            entry.name
            for entry in self._folder.at(self._profile.checkpoints)
            if has_checkpoint_suffix(entry.name) and not is_temporary(entry.name)
        ]
        told = Counter(filter(None, (named_run(self._profile, text) for text in texts)))
        names = {name for name, _ in told.most_common(_MOST_NAMES)}
        if len(texts) == 1 and not (names or self._summarised) and self._profile.has_best:
            stem = texts[0].removesuffix(self._profile.suffix)
            names = set() if _may_be_misnamed(stem, self._folder_name[0]) else {stem}
        agreed = [name for name in names if all(self._is_of(name, text) for text in texts)]
        return agreed[0] if len(agreed) == 1 else None

    @property
    def renamed_from(self) -> str | None:
        """The run's name, where all names inside agree on it and its folder has another one.

        Where any folder will do for the profile, or a link of another name leads to the folder,
        nothing was renamed.
        """
        if self.run_name[1] != "the names of the checkpoints" or "*" in self._profile.experiments:
            return None
        target = self._folder.target
        if self.name in (target, run_name_of(self._profile, target)):
            return None
        return self.name

    @property
    def _name_by_itself(self) -> str:
        """The name of the run that a checkpoint by itself is of, as its own name tells it."""
        text = next((entry.name for entry in self._folder.entries), "")
        stem = text.removesuffix(self._profile.suffix)
        told = named_run(self._profile, text)
        # A best may be called anything, but what begins like a periodic one is none.
        return told or ("" if stem.startswith("last_") else stem)

    # --- numbers ----------------------------------------------------------------------------

    @cached_property
    def save_freq(self) -> Setting:
        """`save_freq`, as it was given; `SaveFreq` knows more."""
        return self._setting("save_freq")

    @cached_property
    def max_epochs(self) -> Setting:
        """`max_epochs`."""
        return self._setting("max_epochs")

    @cached_property
    def save_best_after(self) -> Setting:
        """`save_best_after`."""
        return self._setting("save_best_after")

    def _setting(self, key: str) -> Setting:
        option = getattr(self._options, key)
        if option is not None:
            source = "the scenario" if self._played else "--" + key.replace("_", "-")
            return Setting(option, source)
        configured = None if self.config is None else getattr(self.config, key)
        if configured is not None:
            return Setting(configured, self.config_name)
        return Setting(None, "not known")


def _may_be_misnamed(stem: str, name: str) -> bool:
    """Whether a lone checkpoint may be the best of a run called so, under a wrong name."""
    lowered = stem.casefold()
    return lowered == name.casefold() or any(word in lowered for word in _NO_NAMES)
