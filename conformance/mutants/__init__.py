"""Trainers that tell whether the harness can see: one that keeps the convention, many that do not.

Each is played as any other trainer is: `python:conformance.mutants:RewritesOnTie`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.mutants import defects
from conformance.mutants.trainer import Trainer

if TYPE_CHECKING:
    from typing import Any

DEFECTS = defects.DEFECTS

__all__ = ["DEFECTS", "Trainer"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds
    """Return a defect by its name."""
    for trainer in DEFECTS:
        if trainer.__name__ == name:
            return trainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
