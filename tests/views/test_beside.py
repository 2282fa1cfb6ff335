"""Is the best the best that lies there? What is higher is told, and nothing else is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import whole

from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.play import Session, play, weights
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.beside import remarks

ONE = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])


def told(run, root, profile="isaacgymenvs", options=None):
    subject = Subject(scan_run(run.write(root)), load_profile(profile), options or Options())
    return remarks(subject)


def held(run, epoch, reward):
    """The run with a best of another epoch and reward than is right."""
    return run.storing(run.best, epoch=epoch, last_mean_rewards=reward)


def test_a_file_beside_the_best_and_the_log_that_are_higher_are_told_in_one_line(tmp_path):
    (found,) = told(held(ONE, 1, 1.0), tmp_path)
    assert found.message == (
        "the best, 'nn/A.pth', is of reward 1.0; a file beside it carries a higher reward: 4.0 by"
        " its name, 'nn/last_Aep4rew4.0.pth'; a higher reward is logged: 4.0 in epoch 4"
    )
    assert found.paths == ("nn/A.pth", "nn/last_Aep4rew4.0.pth")
    assert found.evidence == {
        "best": "nn/A.pth",
        "epoch": 1,
        "reward": 1.0,
        "file": {"path": "nn/last_Aep4rew4.0.pth", "epoch": 4, "reward": 4.0, "by": "name"},
        "logged": {"epoch": 4, "reward": 4.0, "session": 1},
    }


def test_the_best_that_is_the_best_is_not_remarked_on(tmp_path):
    """Its periodic twin has the same reward in its name, and stores an older watermark."""
    assert told(ONE, tmp_path) == ()


def test_without_a_log_the_files_alone_tell(tmp_path):
    silent = held(ONE, 1, 1.0).with_logs(lambda _: None)
    (found,) = told(silent, tmp_path / "higher")
    assert "carries a higher reward: 4.0" in found.message
    assert "logged" not in found.evidence
    assert told(ONE.with_logs(lambda _: None), tmp_path / "best") == ()


def test_a_stored_watermark_tells_as_well(tmp_path):
    """In dialects whose names carry no reward: what a file stores was reached by then."""
    lower = held(ONE, 1, 1.0).with_logs(lambda _: None)
    first = lower.without(*(file for file in lower.checkpoints.values() if file.epoch == 4))
    run = first.with_checkpoint(lower.best).storing(lower.periodic(2), last_mean_rewards=14.95)
    run = run.renamed(run.periodic(2), "last_Aep2rew0.5.pth")
    (found,) = told(run, tmp_path)
    assert "carries a higher reward: 14.95 by the watermark that it stores" in found.message
    assert found.evidence["file"]["by"] == "watermark"


def test_where_only_the_log_is_higher_that_is_told_with_its_session(tmp_path):
    sessions = [Session((1.0, 9.0, 2.0)), Session((3.0, 5.0), first=4, resumed=True, watermark=2.0)]
    run = play(Settings("A", 0, 5), sessions)
    (found,) = told(run, tmp_path)
    assert found.message.endswith("; a higher reward is logged: 9.0 in epoch 2 of session 1")


def test_a_fresh_session_that_replaced_the_best_is_said_to_be_one(tmp_path):
    run = play(Settings("A", 2, 4), [Session((1.0, 9.0)), Session((1.0, 3.0))])
    (found,) = told(run, tmp_path / "replaced")
    assert "9.0 by its name, 'nn/last_Aep2rew9.0.pth'" in found.message
    assert found.message.endswith("of session 1; session 2, which the best is of, began afresh")
    better = play(Settings("A", 2, 4), [Session((1.0, 3.0)), Session((1.0, 9.0))])
    assert told(better, tmp_path / "better") == ()


@pytest.mark.parametrize("text", ["nan", "-inf", "1.0", "0.5"])
def test_no_name_that_is_not_higher_is_remarked_on(tmp_path, text):
    run = held(ONE, 1, 1.0).with_logs(lambda _: None).storing(ONE.periodic(2), epoch=2)
    run = run.without(run.periodic(4)).renamed(run.periodic(2), f"last_Aep2rew{text}.pth")
    assert told(run, tmp_path) == ()


@pytest.mark.parametrize("reward", [math.nan, None])
def test_a_best_of_no_reward_is_compared_with_nothing_but_the_log_of_its_epoch(tmp_path, reward):
    run = ONE.storing(ONE.best, last_mean_rewards=reward)
    assert told(run, tmp_path) == ()


def test_a_best_that_stores_the_watermark_from_before_it_is_of_its_epoch_s_reward(tmp_path):
    assert told(ONE.storing(ONE.best, last_mean_rewards=-math.inf), tmp_path / "right") == ()
    bare = ONE.storing(ONE.best, last_mean_rewards=3.0)
    assert told(bare, tmp_path / "twin") == ()  # the weights of the periodic one of reward 4.0


def test_epochs_before_save_best_after_do_not_count(tmp_path):
    profile, rewards = load_profile("rl_games-1.6"), (9.0, 8.0, 7.0, 3.0, 2.0, 4.0)
    run = play(Settings("A", 1, 6, 4), [Session(rewards)], profile=profile)
    known = {"profile": "rl_games-1.6", "options": Options(None, 1, 6, 4)}
    assert told(run, tmp_path / "none", **known) == ()
    lower = run.storing(run.best, epoch=5, last_mean_rewards=2.0)
    (found,) = told(lower, tmp_path / "lower", **known)
    assert found.evidence["file"]["epoch"] == 6
    # A best from before it shows that the setting is of another start.
    early = run.storing(run.best, epoch=2, last_mean_rewards=8.0)
    assert told(early, tmp_path / "early", **known) == ()
    first = run.storing(run.best, epoch=1, last_mean_rewards=5.0)
    (found,) = told(first, tmp_path / "first", **known)
    assert found.evidence["file"]["reward"] == 9.0


def test_a_rounded_print_of_the_best_s_own_reward_is_not_higher(tmp_path):
    profile = load_profile("rl_games-1.5")
    run = play(Settings("A", 0, 2, 0), [Session((60.0, 66.52648))], profile=profile)
    final = next(file for file in run.checkpoints.values() if file.kind is Kind.FINAL)
    run = run.storing(final, model=weights(9)).with_logs(lambda _: None)
    final = run.checkpoints[final.path]
    printed = run.renamed(final, "last_Aep2rew[66.53].pth")
    assert told(printed, tmp_path / "own", "rl_games-1.5", Options(None, 0, 2, 0)) == ()
    higher = run.renamed(final, "last_Aep2rew[66.54].pth")
    (found,) = told(higher, tmp_path / "higher", "rl_games-1.5", Options(None, 0, 2, 0))
    assert "66.54 by its name" in found.message


def test_a_file_that_cannot_be_loaded_and_one_of_no_kind_carry_nothing(tmp_path):
    run = held(ONE, 1, 1.0).with_logs(lambda _: None)
    run = run.renamed(run.periodic(2), "other_rew99.0.pth")
    run = run.damaged(run.periodic(4), lambda data: data[:-40])
    assert told(run, tmp_path) == ()


@pytest.mark.parametrize(("error", "said"), [(OSError("gone"), []), (KeyError("x"), ["KeyError"])])
def test_one_run_that_cannot_be_compared_stops_no_other(tmp_path, monkeypatch, error, said):
    def fails(*_):
        raise error

    monkeypatch.setattr("conformance.views.beside.not_loadable", fails)
    found = told(held(ONE, 1, 1.0), tmp_path)
    assert [each.message.split(": ")[1] for each in found] == said


def test_dialects_without_a_best_and_runs_without_one_are_not_remarked_on(tmp_path):
    run = play(Settings("A", 2, 4, 0), [Session((1.0, 4.0, 2.0))], profile=load_profile("ase"))
    assert told(run, tmp_path / "ase", "ase") == ()
    assert told(ONE.without(ONE.best), tmp_path / "none") == ()


@settings(deadline=None, max_examples=40)
@given(data=st.data(), profile=st.sampled_from(["isaacgymenvs", "rl_games-1.5", "rl_games-2.0"]))
def test_what_one_session_wrote_whole_is_never_remarked_on(tmp_path_factory, data, profile):
    training = data.draw(whole(load_profile(profile)).filter(lambda each: each.number == 0))
    assert told(training.run, tmp_path_factory.mktemp("runs"), profile) == ()
