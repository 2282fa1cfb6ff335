"""A conforming trainer whose sessions are killed, with what a kill leaves of a log."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from hypothesis import strategies as st

from conformance.convention.brief import Brief
from conformance.convention.scenario import Scenario
from conformance.fixtures.events import Scalar
from conformance.mutants.trainer import Trainer


@dataclass(frozen=True, repr=False)
class Kill(Brief):
    """When a session dies, and how many of its last records its log then lacks."""

    epoch: int | None = None  # after this epoch
    save: int | None = None  # before this save, counted from 0
    log: int | None = None  # between the log of this epoch and its saves
    lost: int = 0


@dataclass(frozen=True, repr=False)
class Planned(Brief):
    """One session: a reward for each epoch, how it starts, how it dies, what it logs.

    Its number of each epoch, under `info/epochs`, tells a resumed one from one that starts late.
    """

    rewards: tuple[float | None, ...]
    resume: str | None
    kill: Kill | None
    counts: bool = False


class _KilledError(Exception):
    """The process is gone."""


class _Victim(Trainer):
    def __init__(self, plan, *, counts, spared):
        self.plan = plan
        self.counts = counts
        self.spared = spared  # the training's last epoch ends before the kill

    def train(self, scenario):
        plan, counts, spared = self.plan, self.counts, self.spared
        vars(self).clear()
        self.plan, self.counts, self.spared, self.saves, self.logged = plan, counts, spared, 0, []
        self.scenario = scenario
        self.name = scenario.experiment
        self.run = scenario.root / scenario.experiment
        lost = 0
        try:
            self.begin()
            if scenario.resume:
                self.resume(scenario.resume)
            while self.goes_on():
                self.epoch += 1
                if counts:
                    self.logged.append(Scalar(time.time(), "info/epochs", self.epoch, self.epoch))
                self.play_epoch(scenario.rewards[self.epoch - 1])
                self._dies(self.plan is not None and self.plan.epoch == self.epoch)
        except _KilledError:
            lost = 0 if self.epoch == scenario.max_epochs else self.plan.lost
        super().add_scalars(self.logged[: len(self.logged) - min(lost, len(self.logged))])

    def _dies(self, now):
        if now and not (self.spared and self.epoch == self.scenario.max_epochs):
            raise _KilledError

    def add_scalars(self, scalars):
        self.logged.extend(scalars)
        self._dies(self.plan is not None and self.plan.log == self.epoch)

    def save(self, name):
        self._dies(self.plan is not None and self.plan.save == self.saves)
        self.saves += 1
        super().save(name)


def train(root, save_freq, sessions):
    """Play the sessions in one folder and return it.

    The run's last session lives through the training's last epoch: of one that logged it and died
    before its saves, nothing tells that it was killed.
    """
    run = root / "A"
    for number, session in enumerate(sessions):
        saved = {path.name for path in (run / "nn").glob("*.pth")} if run.exists() else set()
        resume = session.resume if saved else None
        if resume == "best" and "A.pth" not in saved:
            resume = "last"
        rewards = tuple(0.5 if r is None and resume else r for r in session.rewards)
        scenario = Scenario("A", root, save_freq, len(rewards), rewards, resume=resume, seed=number)
        last = number == len(sessions) - 1
        _Victim(session.kill, counts=session.counts, spared=last).train(scenario)
    return run


@st.composite
def kills(draw, last):
    """When a session of so many epochs dies."""
    lost = draw(st.sampled_from([0, 0, 1, 2, 9]))
    epochs = st.integers(1, last)
    return draw(
        st.builds(Kill, epoch=epochs, lost=st.just(lost))
        | st.builds(Kill, save=st.integers(0, 6), lost=st.just(lost))
        | st.builds(Kill, log=epochs, lost=st.just(lost))
    )


@st.composite
def chains(draw, *, killed=True, late=False):
    """save_freq and one to five sessions, fresh and resumed, most of them killed."""
    last = draw(st.integers(3, 10))
    rewards = st.one_of(
        st.integers(0, 4).map(float), st.sampled_from([math.nan, -1.5, 1e-7, 1234567.0])
    )
    sessions = []
    for number in range(draw(st.integers(1, 5))):
        told = draw(st.lists(rewards, min_size=last, max_size=last))
        waits = draw(st.integers(0, last - 1)) if late else 0
        resume = draw(st.sampled_from([None, "best", "last"])) if number else None
        kill = draw(st.none() | kills(last)) if killed else None
        counts = draw(st.booleans())
        sessions.append(Planned((*[None] * waits, *told[waits:]), resume, kill, counts))
    return draw(st.integers(0, 4)), tuple(sessions)
