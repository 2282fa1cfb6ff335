"""The one check that needs torch: whether a given model accepts a checkpoint's state_dict."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def strict_load_error(build: Callable[[], Any], path: Path, allowed: frozenset[str]) -> str | None:
    """Load the state_dict under `model` into a new model, strictly.

    Args:
        build: returns a `torch.nn.Module`.
        path: a checkpoint that the safe reader found loadable.
        allowed: the globals that the profile allows; those of NumPy are passed on to torch.

    Returns:
        What torch says against it, in one line; None where the model takes it.
    """
    with torch.serialization.safe_globals(_numpy_globals(allowed)):
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    model = build()
    try:
        model.load_state_dict(state, strict=True)
    except Exception as error:  # noqa: BLE001 - a model's own hooks may raise anything
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _numpy_globals(allowed: frozenset[str]) -> list[Any]:
    found = []
    for name in sorted(allowed):
        if name.partition(".")[0] == "numpy":
            found += [(value, name) for value in _numpy_values(name)]
    return found


def _numpy_values(name: str) -> list[Any]:
    """What a global of NumPy's is in this NumPy, which may have it under its other name.

    NumPy 2 renamed `numpy.core` to `numpy._core`; a file may be of either and so may the NumPy
    that is here.
    """
    core, private = "numpy.core.", "numpy._core."
    other = name.replace(private, core) if name.startswith(private) else name.replace(core, private)
    # The private name first: NumPy 2 warns of the public one.
    for spelling in sorted({name, other}):
        module, _, attribute = spelling.rpartition(".")
        try:
            return [getattr(importlib.import_module(module), attribute)]
        except (ImportError, AttributeError):
            continue
    return []
