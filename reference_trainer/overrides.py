"""The settings as Hydra reads them from a command line: `key=value`, one after the other."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import cast

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reference_trainer.config import Settings, SettingsError, check, not_looked_up


def _quoted(override: str) -> str:
    """Return an override with its text in quotes, where Hydra's grammar has no word for it.

    A path may hold what Hydra reads as grammar, or cannot read at all: `=`, `[`, `ü`.
    """
    key, _, value = override.partition("=")
    if key not in {item.name for item in fields(Settings) if item.type in {str, "str"}}:
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        # In quotes a backslash stands for itself but before a quote, which it escapes.
        value = not_looked_up(value)
        escaped = re.sub(r"\\+(?='|$)", lambda found: 2 * found[0], value).replace("'", r"\'")
        return f"{key}='{escaped}'"
    return override


def from_command_line(overrides: Sequence[str]) -> Settings:
    """Return the settings that Hydra reads from `key=value` overrides, checked.

    Hydra only composes here: it makes no folder, writes no log and does not change directory.

    Raises:
        SettingsError: a key is unknown, a value is of the wrong type or out of range.
    """
    for override in overrides:
        if override.startswith("-") or "=" not in override:
            raise SettingsError(f"{override!a} is not a setting: key=value is")
    schema = OmegaConf.structured(Settings)
    OmegaConf.set_readonly(schema, False)  # Hydra fills it in; a Settings again is frozen
    ConfigStore.instance().store(name="settings", node=schema)
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose("settings", overrides=[_quoted(each) for each in overrides])
        for key in {str(key) for key in composed} ^ {item.name for item in fields(Settings)}:
            raise SettingsError(f"{key!a} can neither be added nor removed")
        settings = cast("Settings", OmegaConf.to_object(composed))
    except (HydraException, OmegaConfBaseException) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        text = (str(cause).strip() or str(error)).partition("\n")[0]
        text = text.replace("LexerNoViableAltException", "Hydra has no word for")
        about = str(getattr(error, "override", None) or getattr(cause, "full_key", None) or "")
        raise SettingsError(text if about in text else f"{about}: {text}") from error
    check(settings)
    return settings
