"""Proves that a trainer's checkpoints keep the convention."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from conformance.version import __version__ as __version__

if TYPE_CHECKING:
    from conformance.audits import check_run, check_runs
    from conformance.convention.scenario import Scenario
    from conformance.suite.errors import (
        ConformanceError,
        ConformanceWarning,
        HarnessError,
        TrainerBrokeError,
    )
    from conformance.suite.gate import check_trainer, parametrize_with_rules
    from conformance.suite.machine import trainer_machine

__all__ = [
    "ConformanceError",
    "ConformanceWarning",
    "HarnessError",
    "Scenario",
    "TrainerBrokeError",
    "check_run",
    "check_runs",
    "check_trainer",
    "parametrize_with_rules",
    "trainer_machine",
]

# Imported when they are asked for: the command line starts without them.
_HOMES = {
    "ConformanceError": "conformance.suite.errors",
    "ConformanceWarning": "conformance.suite.errors",
    "HarnessError": "conformance.suite.errors",
    "Scenario": "conformance.convention.scenario",
    "TrainerBrokeError": "conformance.suite.errors",
    "check_run": "conformance.audits",
    "check_runs": "conformance.audits",
    "check_trainer": "conformance.suite.gate",
    "parametrize_with_rules": "conformance.suite.gate",
    "trainer_machine": "conformance.suite.machine",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
