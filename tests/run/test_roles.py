"""Which of a run's files is which: the best, the periodic ones, final saves, what is none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from played import Played, trained

from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.events import event_file
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject


def test_a_save_that_was_due_anyway_is_periodic_also_at_the_end_of_the_log(tmp_path):
    profile = load_profile("rl_games-sac-1.6")
    session = Session((1.0, 3.0, 2.0, 4.0), max_epochs=4)
    folder = play(Settings("A", 2, None, 1), [session], profile=profile).write(tmp_path)
    periodic = Subject(scan_run(folder), profile, Options()).files.periodic
    assert {file.name.epoch for file in periodic} == {2, 4}


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
        periodic = Subject(scan_run(folder), profile, Options()).files.periodic
        assert {file.name.epoch for file in periodic} == expected
        for config in profile.config:
            (folder / config).unlink(missing_ok=True)
        # What is saved at the end is then no proof of another save_freq.
        unknown = Subject(scan_run(folder), profile, Options(name="A"))
        assert {file.name.epoch for file in unknown.files.periodic} == expected


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
    assert [file.path for file in found.files.unrewarded] == ([name] if lacks else [])


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
