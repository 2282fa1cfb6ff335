"""The real rl_games, which tries a failed write again at once: `python:hasty_rl_games:Hasty`."""

from __future__ import annotations

from types import SimpleNamespace

from rl_games.algos_torch import torch_ext

from conformance.trainers.rl_games import RlGames


class Hasty(RlGames):
    """Waits 0 seconds instead of 1, 2, 4, 8 and 16."""

    def train(self, scenario):
        """Train."""
        torch_ext.time = SimpleNamespace(sleep=lambda _: None)
        super().train(scenario)
