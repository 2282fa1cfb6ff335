"""Settings small enough for a test, and a warning collector."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reference_trainer.config import Settings


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Settings]:
    """Return a maker of settings whose epochs take milliseconds, in a root of the test's own."""

    def make(**changes: object) -> Settings:
        values: dict[str, Any] = {
            "experiment": "Small",
            "root": str(tmp_path / "runs"),
            "max_iterations": 4,
            "save_freq": 2,
            "num_envs": 16,
            "mini_epochs": 1,
            "device": "cpu",
            **changes,
        }
        return Settings(**values)

    return make
