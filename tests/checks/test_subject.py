"""Where a run's name and settings come from, and which of its files is which."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count

import pytest
from played import Played

from conformance.checks import Options, Subject
from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.events import event_file
from conformance.fixtures.play import Session, play
from conformance.mutants import defects


@pytest.fixture
def subject(tmp_path):
    """A function that returns the subject of a run of these files."""
    numbers = count()

    def of(files, *, profile="isaacgymenvs", options=None, experiment="Ant_01-02-03-04"):
        trainer = Played(experiment, 0, 0, files=dict(files))
        return Subject(
            scan_run(trainer.write(tmp_path / str(next(numbers)))),
            load_profile(profile) if isinstance(profile, str) else profile,
            options or Options(),
        )

    return of


def trained(save_freq=2, size=4):
    trainer = Played("Ant", save_freq, size)
    trainer.run([float(epoch) for epoch in range(1, size + 1)])
    return trainer.files


def bare(files):
    return {path: data for path, data in files.items() if path != "config.yaml"}


def test_the_name_is_the_caller_s_else_the_config_s_else_the_folder_s(subject):
    files = trained()
    assert subject(files, options=Options(name="Other")).run_name == ("Other", "--name")
    assert subject(files).run_name == ("Ant", "config.yaml")
    renamed = subject(bare(files))
    assert renamed.run_name == ("Ant", "the names of the checkpoints")
    assert renamed.renamed_from == "Ant"
    assert subject(bare(files), experiment="Ant").run_name == ("Ant", "the folder's name")
    files["nn/last_Beeep2rew2.0.pth"] = files["nn/Ant.pth"]  # then they do not agree
    assert subject(bare(files)).run_name == ("Ant_01-02-03-04", "the folder's name")


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
    assert found.name == name


def test_a_save_that_was_due_anyway_is_periodic_also_at_the_end_of_the_log(tmp_path):
    profile = load_profile("rl_games-sac-1.6")
    session = Session((1.0, 3.0, 2.0, 4.0), max_epochs=4)
    folder = play(Settings("A", 2, None, 1), [session], profile=profile).write(tmp_path)
    periodic = Subject(scan_run(folder), profile, Options()).periodic
    assert {file.name.epoch for file in periodic} == {2, 4}


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
        ([], "Ant", "Ant"),
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
        "the names of the checkpoints"
        if not summarised and name == called
        else "the folder's name"
        if name == "workspace"
        else "the name of the folder of its event files"
    )
    assert found.run_name == (name, source)
    assert found.renamed_from is None  # any folder will do for this dialect


def test_a_final_save_that_is_named_like_a_periodic_one_is_told_by_where_a_log_ends(tmp_path):
    profile = load_profile("rl_games-sac-1.6")
    run = play(
        Settings("A", 2, None, 1),
        [Session((1.0, 3.0, 2.0, 4.0, 2.5), max_epochs=5)],
        profile=profile,
    )
    silent = ("summaries/events.out.tfevents.1700000009.host", event_file((), started=1.7e9 + 9))
    early = ("nn/last_A_ep_3_rew_2.0.pth", run.periodic(2).data)
    for number, (changed, expected) in enumerate(
        (
            (run, {2, 4}),
            (run.with_other(*silent), {2, 4}),
            (run.with_other(*early), {2, 3, 4}),
        )
    ):
        folder = changed.write(tmp_path / str(number))
        periodic = Subject(scan_run(folder), profile, Options()).periodic
        assert {file.name.epoch for file in periodic} == expected
        for config in profile.config:
            (folder / config).unlink(missing_ok=True)
        # What is saved at the end is then no proof of another save_freq.
        unknown = Subject(scan_run(folder), profile, Options(name="A"))
        assert {file.name.epoch for file in unknown.periodic} == expected


def test_where_the_dialect_keeps_its_runs_in_folders_of_dates_the_path_tells_the_name(subject):
    found = subject(
        bare(trained()), profile="rl_games-1.6+isaaclab", experiment="Ant/2024-01-02_10-11-12"
    )
    assert found.run_name == ("Ant", "the path of the run's folder")
    other = subject(bare(trained()), profile="rl_games-1.6+isaaclab", experiment="Ant/some_day")
    assert other.name == "some_day"


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


@pytest.mark.parametrize(
    ("called", "found"),
    [
        ("nn/Ant.pth", True),
        ("nn/best.pth", True),
        ("nn/ANT.pth", True),
        ("nn/Ant.pt", True),
        ("nn/model.pth", True),  # the only candidate
        ("nn/last.pth", False),
        ("nn/Ant_ep_3.pth", False),
        ("nn/deep/Ant.pth", True),
    ],
)
def test_which_file_can_only_be_the_best(subject, called, found):
    files = trained()
    files[called] = files.pop("nn/Ant.pth")
    best = subject(files, options=Options(name="Ant")).best
    assert (None if best is None else best.path) == (called if found else None)


def test_a_file_that_is_called_best_is_it_even_where_a_periodic_save_is_missing(subject):
    files = trained()
    del files["nn/last_Antep4rew4.0.pth"]
    files["nn/model_best.pth"] = files.pop("nn/Ant.pth")
    assert subject(files).best.path == "nn/model_best.pth"


@pytest.mark.parametrize(
    ("epoch", "logged", "lacks"),
    [
        (2, {3: 1.0, 4: 2.0}, True),  # no episode had finished yet
        (3, {3: 1.0, 4: 2.0}, False),  # one had: the name is wrong
        (4, {3: 1.0, 5: 2.0}, False),
        (2, {}, True),
        (2, {2: -math.inf, 3: 1.0}, False),  # the reward it logged
        (2, None, True),
    ],
)
def test_a_name_in_minus_inf_stands_for_no_episode_only_before_the_first_one(
    subject, epoch, logged, lacks
):
    """Some dialects save from the first epoch on, under a name that ends so."""
    name = f"nn/last_Antep{epoch}rew-inf.pth"
    files = {name: trained()["nn/last_Antep2rew2.0.pth"]}
    if logged is not None:
        trainer = Played("Ant", 0, 5)
        trainer.run([None] * 5)
        trainer.relog(logged.items())
        files |= {path: data for path, data in trainer.files.items() if "tfevents" in path}
    found = subject(files, profile=replace(load_profile(), unrewarded=(Kind.PERIODIC,)))
    assert [file.path for file in found.unrewarded] == ([name] if lacks else [])


def test_of_several_candidates_the_one_that_is_called_best_is_it(subject):
    files = trained()
    data = files.pop("nn/Ant.pth")
    files |= {"nn/model.pth": data, "nn/model_best.pth": data}
    assert subject(files).best.path == "nn/model_best.pth"
    files["nn/ANT.pth"] = data  # so is one that is called by the run
    assert subject(files).best is None
    del files["nn/model_best.pth"]
    assert subject(files, options=Options(name="Ant")).best.path == "nn/ANT.pth"
    files |= {"nn/model_best.pth": data}
    del files["nn/ANT.pth"]
    files |= {"nn/other_best.pth": data}
    assert subject(files, experiment="another").best is None


def test_a_file_for_a_missing_periodic_save_is_not_taken_for_the_best(subject):
    files = trained()
    del files["nn/Ant.pth"]
    files["nn/model.pth"] = files.pop("nn/last_Antep2rew2.0.pth")
    assert subject(files).best is None


# --- what the log lacks ---------------------------------------------------------------------


def restarted(*, first=3, size=6):
    """A run of two sessions that saves in each epoch, and the log of the first one."""
    trainer = Played("Ant", 1, size)
    rewards = [float(epoch) for epoch in range(1, size + 1)]
    trainer.run(rewards, last=first)
    (log,) = (path for path in trainer.files if "tfevents" in path)
    trainer.resume(f"last_Antep{first}rew{first}.0")
    trainer.run(rewards)
    return trainer, log


def test_checkpoints_older_than_the_first_log_show_that_event_files_are_missing(subject):
    trainer, log = restarted()
    assert not subject(trainer.files).starts_before_the_log
    rest = {path: data for path, data in trainer.files.items() if path != log}
    assert subject(rest).starts_before_the_log
    for epoch in (1, 2):  # that of epoch 3 is enough
        del rest[f"nn/last_Antep{epoch}rew{epoch}.0.pth"]
    assert subject(rest).starts_before_the_log
    del rest["nn/last_Antep3rew3.0.pth"]  # epoch 4 was logged
    assert not subject(rest).starts_before_the_log


def test_so_does_one_of_the_first_epoch_alone(subject):
    trainer, log = restarted(first=1)
    del trainer.files[log]
    assert subject(trainer.files).starts_before_the_log


def test_a_log_that_begins_late_lacks_nothing_where_nothing_was_saved_before(subject):
    trainer = Played("Ant", 1, 4)
    trainer.run([None, 1.0, 2.0, 3.0])
    assert not subject(trainer.files).starts_before_the_log


def test_a_checkpoint_of_the_last_epoch_tells_that_the_log_stops_short(subject):
    trainer, log = restarted()
    assert subject(trainer.files).unlogged_end is None
    trainer.relog([(4, 4.0), (5, 5.0)])
    behind = subject(trainer.files)
    assert behind.unlogged_end.epoch == 6
    assert behind.sessions_are_unclear
    torn = {**trainer.files, log: trainer.files[log][:-3]}  # a kill may have cut the other one too
    assert subject(torn).unlogged_end is None
    assert not subject(torn).sessions_are_unclear


def test_a_stored_epoch_that_the_name_contradicts_tells_nothing_of_the_log(subject):
    trainer = Played("Ant", 1, 4)
    trainer.run([1.0, 2.0, 3.0, 4.0])
    trainer.relog([(1, 1.0), (2, 2.0), (3, 3.0)])
    assert subject(trainer.files).unlogged_end.epoch == 4
    assert not subject(trainer.files).sessions_are_unclear  # there is one alone
    trainer.files["nn/last_Antep3rew3.0.pth"] = trainer.files.pop("nn/last_Antep4rew4.0.pth")
    del trainer.files["nn/Ant.pth"]
    assert subject(trainer.files).unlogged_end is None
