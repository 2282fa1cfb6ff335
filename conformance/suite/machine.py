"""A stateful machine of Hypothesis: train, resume, change save_freq; the oracle is its model."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conformance import strategies
from conformance.convention import DEFAULT_PROFILE
from conformance.convention.profile import Profile, load_profile
from conformance.convention.rules import Level, Verdict
from conformance.convention.scenario import Scenario
from conformance.convention.sessions import next_session, resume_point_after
from conformance.evidence.journal import JournalError, Watcher
from conformance.suite.driver import Driver
from conformance.suite.errors import ConformanceError, HarnessError, TrainerBrokeError
from conformance.trainers import open_object, open_trainer
from conformance.trainers.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from conformance.convention.sessions import ExpectedSession
    from conformance.suite.driver import Attempt

_RUNS = Path("runs")
_MOST_EPOCHS = 6  # of one session
_STEPS = 8


@dataclass(frozen=True, slots=True)
class _Opened:
    """A trainer with all that it takes to play it, held until nobody needs it any more."""

    driver: Driver
    close: Callable[[], object]


def trainer_machine(
    trainer: object,
    *,
    profile: str | Profile = DEFAULT_PROFILE,
    time_limit: float = 60.0,
) -> type[RuleBasedStateMachine]:
    """Return a machine that finds the shortest story in which the trainer breaks a MUST rule.

    Its steps train a first session, resume from the best or the last checkpoint for more epochs,
    and change `save_freq` for the sessions to come. After each session all that was written is
    held against the oracle. Use it as any machine of Hypothesis, and give its `TestCase` other
    settings if you like:

        TestResuming = conformance.trainer_machine("python:my_fork:Trainer").TestCase

    The trainer is opened once, when the first step is taken. One that cannot be resumed is trained
    afresh each time.

    Args:
        trainer: TRAINER as on the command line; or an object with `train(scenario)`; or a class or
            another callable that makes one.
        profile: the dialect: a name, a `.toml` file or a `Profile`.
        time_limit: seconds for each session.

    Raises (the machine's steps):
        ConformanceError: the session broke a MUST rule.
        TrainerBrokeError: the trainer itself broke.
        HarnessError: the harness itself failed.
    """
    dialect = profile if isinstance(profile, Profile) else load_profile(profile)
    opened: list[_Opened] = []

    def driver() -> Driver:
        if not opened:
            opened.append(_open(trainer, dialect, time_limit))
            weakref.finalize(TrainerMachine, opened[0].close)  # at the latest when Python ends
        return opened[0].driver

    class TrainerMachine(_TrainerMachine):
        open_driver = staticmethod(driver)

    TrainerMachine.TestCase.settings = hypothesis.settings(
        stateful_step_count=_STEPS,
        deadline=None,
        # What explains a failure is in the trainer, not in the lines of the harness.
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    return TrainerMachine


def _open(trainer: object, profile: Profile, time_limit: float) -> _Opened:
    with ExitStack() as stack:
        opened = stack.enter_context(
            open_trainer(trainer, time_limit=time_limit)
            if isinstance(trainer, str)
            else open_object(trainer, time_limit=time_limit)
        )
        workspace = stack.enter_context(Workspace())
        watcher, unwatched = None, ""
        try:
            watcher = stack.enter_context(Watcher())
        except JournalError as error:
            unwatched = str(error)
        driver = Driver(opened, profile, workspace, watcher, unwatched=unwatched)
        return _Opened(driver, stack.pop_all().close)
    raise AssertionError("an exit stack that swallows exceptions")


class _TrainerMachine(RuleBasedStateMachine):
    """One run, session after session. The model is the list of sessions as they should be."""

    open_driver: Callable[[], Driver]

    def __init__(self) -> None:
        super().__init__()
        self.driver = self.open_driver()
        self.profile = self.driver.profile
        self.sessions: tuple[ExpectedSession, ...] = ()
        self.save_freq = 0
        self.latest: Attempt | None = None
        self._stack = ExitStack()
        self._train = self._stack.enter_context(self.driver.run())

    @initialize(
        experiment=strategies.names(),
        save_freq=st.integers(0, 3),
        rewards=strategies.reward_trajectories(_MOST_EPOCHS),
    )
    def train(self, experiment: str, save_freq: int, rewards: tuple[float | None, ...]) -> None:
        """Train the first session of the run."""
        self.save_freq = save_freq
        self._session(Scenario(experiment, _RUNS, save_freq, len(rewards), rewards))

    @precondition(lambda self: self.can_resume("best"))
    @rule(rewards=st.runner().flatmap(lambda self: self.further("best")))
    def resume_best(self, rewards: tuple[float, ...]) -> None:
        """Go on from the best checkpoint, with these rewards from its epoch on."""
        self._resume("best", rewards)

    @precondition(lambda self: self.can_resume("last"))
    @rule(rewards=st.runner().flatmap(lambda self: self.further("last")))
    def resume_last(self, rewards: tuple[float, ...]) -> None:
        """Go on from the last checkpoint, with these rewards from its epoch on."""
        self._resume("last", rewards)

    @rule(save_freq=st.integers(0, 3))
    def change_save_freq(self, save_freq: int) -> None:
        """Let the sessions to come save at another pace."""
        self.save_freq = save_freq

    @invariant()
    def conforms(self) -> None:
        """What the latest session left breaks no MUST rule."""
        if self.latest is not None:
            _raise_for(self.latest)

    def teardown(self) -> None:
        """Clear the run away."""
        self._stack.close()

    # --- the model --------------------------------------------------------------------------

    def can_resume(self, which: str) -> bool:
        """Tell whether the run holds the checkpoint, and the trainer can be resumed."""
        if self.latest is None or self.latest.unsupported is not None:
            return False
        if "resume" not in self.driver.trainer.capabilities:
            return False
        return resume_point_after(self.profile, self.sessions, which) is not None

    def further(self, which: str) -> SearchStrategy[tuple[float | None, ...]]:
        """Return the rewards of the epochs after a checkpoint; after the last, new ones."""
        point = resume_point_after(self.profile, self.sessions, which)
        if point is None:
            raise AssertionError("the precondition lets nobody resume from nothing")
        reached = max(session.last for session in self.sessions)
        least = reached - point.epoch + 1 if which == "last" else 1
        return strategies.reward_trajectories(
            least + _MOST_EPOCHS - 1, min_epochs=least, unfinished=False, start=point.watermark
        )

    def _resume(self, which: str, rewards: tuple[float | None, ...]) -> None:
        point = resume_point_after(self.profile, self.sessions, which)
        if point is None:
            raise AssertionError("the precondition lets nobody resume from nothing")
        latest: dict[int, float] = {}
        for session in self.sessions:
            latest.update(session.rewards)
        known = tuple(latest.get(epoch) for epoch in range(1, point.epoch + 1))
        first = self.sessions[0].scenario
        self._session(
            replace(
                first,
                save_freq=self.save_freq,
                max_epochs=point.epoch + len(rewards),
                rewards=(*known, *rewards),
                resume=which,
            )
        )

    def _session(self, scenario: Scenario) -> None:
        if self.profile.ends_late:  # one more epoch is played
            scenario = replace(scenario, rewards=(*scenario.rewards, *scenario.rewards[-1:]))
        self.latest = self._train(scenario)
        if self.latest.reports:
            self.sessions = (
                *self.sessions,
                next_session(self.profile, self.sessions, scenario),
            )


def _raise_for(attempt: Attempt) -> None:
    if attempt.broke is not None:
        output = "".join(f"\n  | {line}" for line in attempt.broke.output.splitlines())
        raise TrainerBrokeError(f"the trainer broke: {attempt.broke}{output}")
    errors = [f.message for f in attempt.findings.values() if f.verdict is Verdict.ERROR]
    if errors:
        raise HarnessError("; ".join(errors))
    broken = [f for f in attempt.failing.values() if f.level is Level.MUST]
    if broken:
        raise ConformanceError(
            "\n".join(f"{each.rule}: {each.message}\n  fix: {each.fix}" for each in broken)
        )
