"""Proves that a trainer's checkpoints keep the convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.convention.scenario import Scenario

__version__ = "0.1.0"
__all__ = ["Scenario"]


def __getattr__(name: str) -> object:
    """Import the public names when they are asked for: the command line starts without them."""
    if name == "Scenario":
        from conformance.convention.scenario import Scenario  # noqa: PLC0415 - see above

        return Scenario
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
