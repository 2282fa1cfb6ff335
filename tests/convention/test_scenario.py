"""Scenarios: what they refuse, and that their JSON is what the published schema says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conformance
from conformance import Scenario
from conformance.convention.scenario import ScenarioError

SCHEMA = json.loads(
    (Path(conformance.__file__).parent / "schemas" / "scenario-1.schema.json").read_text()
)
RIGHT = {
    "experiment": "Cartpole",
    "root": "runs",
    "save_freq": 2,
    "max_epochs": 3,
    "rewards": [None, 1.5, "nan"],
}


@st.composite
def scenarios(draw):
    silent = draw(st.integers(0, 3))
    known = draw(st.lists(st.floats(width=32), min_size=1, max_size=8))
    rewards = (None,) * silent + tuple(known)
    return Scenario(
        experiment=draw(st.text(min_size=1).filter(lambda text: text.isprintable())),
        root=Path("runs"),
        save_freq=draw(st.integers(0, 5)),
        max_epochs=draw(st.integers(1, len(rewards))),
        rewards=rewards,
        save_best_after=draw(st.integers(0, 5)),
        resume=draw(st.sampled_from([None, "best", "last"])),
        seed=draw(st.integers(0, 9)),
    )


@given(scenario=scenarios())
def test_json_keeps_a_scenario_and_the_schema(scenario):
    text = scenario.to_json()
    jsonschema.validate(json.loads(text), SCHEMA)
    again = Scenario.from_json(text)
    assert again.to_json() == text
    same = [
        one == other or (math.isnan(one) and math.isnan(other))
        for one, other in zip(again.rewards, scenario.rewards, strict=True)
        if one is not None and other is not None
    ]
    assert all(same)


def test_fields_with_a_default_may_be_left_out():
    scenario = Scenario.from_mapping(RIGHT)
    assert scenario.save_best_after == 0
    assert scenario.resume is None
    assert scenario.rewards[:2] == (None, 1.5)
    assert math.isnan(scenario.rewards[2])


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("experiment", "", "experiment"),
        ("experiment", 5, "experiment"),
        ("root", 5, "root"),
        ("save_freq", -1, "save_freq"),
        ("save_freq", True, "save_freq"),
        ("save_freq", 2.0, "save_freq"),
        ("max_epochs", 0, "max_epochs"),
        ("rewards", [1.0, 2.0], "rewards"),
        ("rewards", "nan", "rewards"),
        ("rewards", [1.0, None, 2.0], "rewards"),
        ("rewards", [1.0, True, 2.0], "rewards"),
        ("rewards", [1.0, "NaN", 2.0], "rewards"),
        ("rewards", [1.0, 10**400, 2.0], "reward"),
        ("rewards", [10**400, 1.0, 2.0], "is no float"),
        ("save_best_after", -1, "save_best_after"),
        ("resume", "first", "resume"),
        ("seed", 1.5, "seed"),
        ("epochs", 3, "epochs"),
    ],
)
def test_a_wrong_field_is_named(field, value, names):
    with pytest.raises(ScenarioError, match=names):
        Scenario.from_mapping({**RIGHT, field: value})


@pytest.mark.parametrize("text", ["", "[]", "5", '{"experiment": "A"}', "[" * 100_000])
def test_what_is_no_scenario_is_refused(text):
    with pytest.raises(ScenarioError):
        Scenario.from_json(text)


def test_the_package_has_no_other_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        _ = conformance.nothing
