"""Where a run's name and settings come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from played import Played, bare, trained

from conformance.convention.profile import load_profile
from conformance.mutants import defects
from conformance.run.settings import Options


def test_the_name_is_the_caller_s_else_the_config_s_else_the_folder_s(subject):
    files = trained()
    assert subject(files, options=Options(name="Other")).given.run_name == ("Other", "--name")
    assert subject(files).given.run_name == ("Ant", "config.yaml")
    renamed = subject(bare(files)).given
    assert renamed.run_name == ("Ant", "the names of the checkpoints")
    assert renamed.renamed_from == "Ant"
    assert subject(bare(files), experiment="Ant").given.run_name == ("Ant", "the folder's name")
    files["nn/last_Beeep2rew2.0.pth"] = files["nn/Ant.pth"]  # then they do not agree
    assert subject(bare(files)).given.run_name == ("Ant_01-02-03-04", "the folder's name")


@pytest.mark.parametrize(
    ("profile", "experiment", "name"),
    [
        ("rl_games-1.6", "Ant_01-02-03-04", "Ant"),
        ("isaacgymenvs", "Ant_01-02-03-04", "Ant"),  # its folders carry no stamp: renamed
        ("rl_games-1.6", "Bee_01-02-03-04", "Bee_01-02-03-04"),  # no best of that name
        ("rl_games-1.6", "Ant", "Ant"),
    ],
)
def test_a_time_stamp_is_taken_off_where_a_best_bears_the_rest(subject, profile, experiment, name):
    found = subject(bare(trained()), profile=profile, experiment=experiment)
    assert found.given.name == name


@pytest.mark.parametrize(
    ("summarised", "called", "name"),
    [
        (["Ant"], "Ant", "Ant"),
        (["Ant"], "Bee", "Ant"),  # its best is misnamed
        (["Ant", "Bee"], "Ant", "Ant"),
        (["Ant", "Bee"], "Bee", "Bee"),
        (["Ant", "Bee"], "Cat", "workspace"),
        (["Ant", "Bee"], "Ant.part", "workspace"),  # a name in no spelling of the dialect
        (["Ant", "Bee"], "last_Antep=3rew=1.0", "Ant"),
        (["Ant", "Bee"], "last_Antep=03rew=1.0", "workspace"),  # its epoch is misprinted
        ([], "best", "workspace"),  # it may be misnamed
    ],
)
def test_the_folder_of_the_event_files_tells_the_name_where_the_run_s_says_nothing(
    subject, summarised, called, name
):
    trained_files = bare(trained())
    log = next(data for path, data in trained_files.items() if "tfevents" in path)
    files = {f"nn/{called}.pth": trained_files["nn/Ant.pth"], "runs/Cow_07-10-33-20/notes": b"x"}
    for each in summarised:
        files[f"runs/{each}_07-10-33-20/events.out.tfevents.1.host"] = log
    found = subject(files, profile="rl_games-1.0", experiment="workspace")
    source = (
        "the folder's name" if name == "workspace" else "the name of the folder of its event files"
    )
    assert found.given.run_name == (name, source)


def test_where_any_folder_will_do_the_names_inside_tell_the_runs_name(subject):
    files = {"nn/Ant.pth": trained()["nn/Ant.pth"]}
    found = subject(files, profile="rl_games-1.0", experiment="workspace").given
    assert found.run_name == ("Ant", "the names of the checkpoints")
    assert found.renamed_from is None


def test_where_the_dialect_keeps_its_runs_in_folders_of_dates_the_path_tells_the_name(subject):
    found = subject(
        bare(trained()), profile="rl_games-1.6+isaaclab", experiment="Ant/2024-01-02_10-11-12"
    )
    assert found.given.run_name == ("Ant", "the path of the run's folder")
    other = subject(bare(trained()), profile="rl_games-1.6+isaaclab", experiment="Ant/some_day")
    assert other.given.name == "some_day"


def test_save_freq_is_the_caller_s_else_the_config_s_else_inferred(subject):
    files = trained()
    known = subject(files, options=Options(save_freq=0)).save_freq
    assert (known.value, known.source) == (0, "--save-freq")
    assert (subject(files).save_freq.value, subject(files).save_freq.source) == (2, "config.yaml")
    inferred = subject(bare(files), options=Options(name="Ant")).save_freq
    assert (inferred.value, inferred.source) == (2, "the names of the periodic checkpoints")
    assert subject(bare(trained(4)), options=Options(name="Ant")).save_freq.value is None


def test_save_best_after_shows_in_watermarks_that_moved_before_the_default(subject):
    files = trained()
    assert subject(files, profile="rl_games-1.6").save_best_after.value == 1
    assert subject(files).save_best_after.value is None  # the dialect has none
    told = subject(files, profile="rl_games-1.6", options=Options(save_best_after=3))
    assert told.save_best_after.value == 3


@pytest.mark.parametrize(("default", "value"), [(100, 1), (2, 1), (1, None)])
def test_watermarks_that_moved_from_the_default_on_tell_no_other_save_best_after(
    subject, default, value
):
    profile = replace(load_profile("rl_games-1.6"), default_save_best_after=default)
    assert subject(trained(), profile=profile).save_best_after.value == value


@pytest.mark.parametrize(("default", "value"), [(100, 4), (5, 4), (4, None)])
def test_where_no_watermark_is_stored_the_epoch_of_the_best_tells_it(subject, default, value):
    profile = replace(load_profile("rl_games-1.6"), default_save_best_after=default)
    without = replace(profile, absent_keys=frozenset({"last_mean_rewards"}))
    played = Played("Ant", 2, 4, trainer=defects.StoresNoWatermark)
    played.run([1.0, 2.0, 3.0, 4.0])
    assert subject(played.files, profile=profile).save_best_after.value is None
    assert subject(played.files, profile=without).save_best_after.value == value
