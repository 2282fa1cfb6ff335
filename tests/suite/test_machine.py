"""The stateful machine lets a conforming trainer pass, and tells the story that breaks another."""

from __future__ import annotations

import odd_trainers
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import conformance
from conformance import mutants
from conformance.convention.rules import BY_ID


def run(trainer, max_examples=60, **rest):
    machine = conformance.trainer_machine(trainer, **rest)
    run_state_machine_as_test(
        machine,
        settings=settings(
            machine.TestCase.settings, max_examples=max_examples, database=None, derandomize=True
        ),
    )


def steps_of(error):
    """The steps of the story that Hypothesis tells with an error."""
    lines = [line for note in error.__notes__ for line in note.splitlines()]
    return [
        line.partition("(")[0].removeprefix("state.")
        for line in lines
        if line.startswith("state.") and not line.startswith(("state.conforms", "state.teardown"))
    ]


@pytest.mark.slow
def test_a_trainer_that_conforms_passes():
    run(mutants.Trainer)


def test_an_oddity_passes():
    run("python:conformance.mutants:WritesTheLegacyFormat", max_examples=15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "rules", "steps"),
    [
        (mutants.RestartsAtOne, {"RESUME-001"}, 2),
        (mutants.LosesTheWatermarkOnResume, {"BEST-003", "BEST-008"}, 2),
        (mutants.CleansUpOnResume, {"CADENCE-002"}, 2),
        (mutants.ResumesTheOldest, {"RESUME-001"}, 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_trainer_that_resumes_wrongly_is_shown_by_a_short_story(trainer, rules, steps):
    with pytest.raises(conformance.ConformanceError) as caught:
        run(trainer, max_examples=150)
    rule = str(caught.value).partition(":")[0]
    assert rule in rules
    assert f"fix: {BY_ID[rule].fix}" in str(caught.value)
    story = steps_of(caught.value)
    assert story[0] == "train"
    assert {"resume_best", "resume_last"}.intersection(story)
    assert len(story) <= steps


class ForgetsSaveFreq(mutants.Trainer):
    """Keeps to the save_freq of the first session."""

    def is_periodic(self):
        """Look into the config of the session before."""
        return self.first_freq > 0 and self.epoch % self.first_freq == 0

    def write_config(self):
        """Read the old config before the new one is written."""
        config = self.run / "config.yaml"
        self.first_freq = self.scenario.save_freq
        if config.exists():
            lines = dict(line.split(": ") for line in config.read_text().splitlines())
            self.first_freq = int(lines["save_freq"])
            return
        super().write_config()


@pytest.mark.slow
def test_a_change_of_save_freq_is_part_of_the_story():
    with pytest.raises(conformance.ConformanceError) as caught:
        run(ForgetsSaveFreq, max_examples=150)
    assert str(caught.value).startswith("CADENCE-00")
    assert "change_save_freq" in steps_of(caught.value)


@pytest.mark.parametrize("trainer", ["CannotResume", "SaysThatItCannotResume"])
def test_a_trainer_that_cannot_resume_is_trained_afresh_alone(trainer):
    odd_trainers.SharesWhatItIs.sessions = 0
    run(f"python:odd_trainers:{trainer}", max_examples=10)


def test_a_trainer_that_breaks_is_told_apart_from_one_that_breaks_a_rule():
    with pytest.raises(conformance.TrainerBrokeError, match="no simulator found"):
        run(odd_trainers.AlwaysRaises, max_examples=5)


def test_nothing_is_opened_before_the_first_step():
    machine = conformance.trainer_machine("python:no_such_module:Trainer")
    with pytest.raises(ValueError, match="there is no module"):
        machine()


def test_the_machine_s_test_case_has_settings_that_suit_a_trainer():
    machine = conformance.trainer_machine(mutants.Trainer)
    assert machine.TestCase.settings.deadline is None
    assert machine.TestCase.settings.stateful_step_count < 50
