"""Each file of a run is opened once, whichever profile is named, or none: `--profile auto`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest

from conformance.convention.oracle import Settings
from conformance.convention.profile import DEFAULT_PROFILE, builtin_profiles, load_profile
from conformance.convention.safe_globals import NUMPY_DATA, TORCH_DEFAULT
from conformance.evidence import regular_files
from conformance.evidence.checkpoint import narrowed, read_checkpoint
from conformance.evidence.summaries import read_event_file, read_rewards, rewards_in
from conformance.fixtures.archive import Call, Global, floats, zip_checkpoint
from conformance.fixtures.cases import CASES
from conformance.fixtures.play import Session, play

REWARDS = (57.25, 56.5, 61.5, 61.25, 70.0, 65.0)


def whole(name):
    profile = load_profile(name)
    rewards = (*REWARDS, 64.0)[: len(REWARDS) + profile.ends_late]
    return play(Settings("Ant", 2, 6, save_best_after=3), [Session(rewards)], profile=profile)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """How often each file of the test was opened for reading, by its name."""
    counted = Counter()
    really = os.open

    def count(path, *arguments, **keywords):
        if os.fspath(path).startswith(str(tmp_path)):
            counted[os.path.basename(os.fspath(path))] += 1  # noqa: PTH119 - as it was given
        return really(path, *arguments, **keywords)

    monkeypatch.setattr(regular_files.os, "open", count)
    return counted


@pytest.mark.parametrize("given", ["own", "auto"])
@pytest.mark.parametrize("name", builtin_profiles())
def test_each_file_is_opened_once(command, opened, tmp_path, name, given):
    run = whole(name)
    folder = run.write(tmp_path)
    command("check", folder, "--profile", name if given == "own" else "auto", "--explain-files")
    files = {path.rpartition("/")[2] for path in run.files()}
    assert dict(opened) == dict.fromkeys(files, 1)


def test_names_of_another_dialect_open_no_checkpoint_twice(command, opened, tmp_path):
    run = whole("rl_games-1.6")
    command("check", run.write(tmp_path), "--profile", DEFAULT_PROFILE)
    assert set(opened.values()) == {1}


def test_what_is_not_finite_is_seen_in_that_one_reading(command, opened, tmp_path):
    run = whole("rl_games-1.6")
    file = run.periodic(2)
    nan = {**file.values["model"], "actor.bias": floats(float("nan"), 0.0, shape=(2,))}
    found = command("check", run.storing(file, model=nan).write(tmp_path), "--profile", "auto")
    assert "LOAD-006" in found.out
    assert set(opened.values()) == {1}


# --- what is read once says what each reading of its own would --------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    return [case.build().write(root / case.id) for case in CASES]


def test_a_checkpoint_read_with_more_globals_is_told_as_with_fewer(published):
    told = 0
    for path in (path for folder in published for path in folder.rglob("*.pth")):
        own = read_checkpoint(path, allowed=TORCH_DEFAULT)
        wide = read_checkpoint(path, allowed=TORCH_DEFAULT | NUMPY_DATA)
        found = narrowed(wide, TORCH_DEFAULT)
        if found is not None:
            told += own.disallowed != wide.disallowed
            assert found == own
            assert repr(found.root) == repr(own.root)
        else:
            assert wide.faults
    assert told


def test_a_log_read_for_all_profiles_is_told_as_for_each(published):
    profiles = [load_profile(name) for name in builtin_profiles()]
    tags = {tag for each in profiles for tag in (each.reward_tag, each.epoch_tag)} - {""}
    logged = 0
    for path in (path for folder in published for path in folder.rglob("events.*")):
        together = read_event_file(path, also=tags)
        for profile in profiles:
            asked = {"tag": profile.reward_tag, "epoch_tag": profile.epoch_tag}
            found = rewards_in(together, **asked, read_for="rewards/iter")
            own = read_rewards(path, **asked)
            assert repr(replace(found, tags=own.tags)) == repr(own)  # a NaN equals nothing
            logged += bool(own.rewards)
    assert logged


def test_a_log_that_was_not_read_for_a_tag_says_nothing_of_it(published):
    path = next(published[0].rglob("events.*"))
    file = read_event_file(path)
    asked = {"tag": "rewards/step", "epoch_tag": "info/epochs", "read_for": "rewards/iter"}
    assert rewards_in(file, **asked) is None
    assert rewards_in(read_event_file(path, also=["rewards/step"]), **asked) is None


def test_a_class_that_is_allowed_no_more_takes_another_reading(tmp_path):
    """What a pickle is that names it, a whole module perhaps, only another reading tells."""
    path = tmp_path / "A.pth"
    path.write_bytes(zip_checkpoint({"model": Call(Global("our_fork.nets", "Policy"), ())}))
    wide = read_checkpoint(path, allowed=TORCH_DEFAULT | {"our_fork.nets.Policy"})
    assert "our_fork.nets.Policy" in wide.globals
    assert narrowed(wide, TORCH_DEFAULT) is None
