"""rl_games up to 1.1.0 logs into one folder and saves into another: each may be found alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.checks import audit
from conformance.convention.names import summarised_name
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.dialect import choose

OLD = load_profile("rl_games-1.0")
KNOWN = Options(save_freq=2, max_epochs=4, save_best_after=0)
SESSION = Session((57.25, 56.5, 61.5, 61.25, 60.0))


def played(name="Ant", experiment="work"):
    """A working directory: `nn/` and `runs/<name>_<stamp>/`."""
    settings = Settings(name, 2, 4, save_best_after=0)
    return play(settings, [SESSION], profile=OLD, experiment=experiment)


def logs_alone(**changed):
    """What a search for runs finds in the folder `runs`."""
    run = replace(played(experiment="Ant_14-09-26-53"), checkpoints={}, **changed)
    return run.with_logs(lambda log: replace(log, path=log.path.rpartition("/")[2]))


def checkpoints_alone(folder):
    """Checkpoints that somebody moved, into a folder of the run's name: its own, or `nn/` in it."""
    run = played(experiment="Ant").with_logs(lambda _: None)
    return run.each(
        lambda run, file: run.moved(file, folder + file.path.rpartition("/")[2]),
    )


@pytest.fixture
def scanned(tmp_path):
    return lambda run: scan_run(run.write(tmp_path / "runs"))


def verdicts(report, verdict):
    return {f.rule for f in report.findings if f.verdict.value == verdict and f.level == "must"}


def test_event_files_alone_are_a_run_whose_checkpoints_stand_elsewhere(scanned):
    folder = scanned(logs_alone())
    subject = Subject(folder, OLD, KNOWN)
    assert subject.given.name == "Ant"
    assert [session.last for session in subject.history.sessions] == [5]
    report = audit(folder, OLD, KNOWN)
    assert report.verdict == "incomplete"
    assert verdicts(report, "unobservable") == {"BEST-001", "CADENCE-002"}


def test_checkpoints_in_the_runs_own_folder_are_in_their_place(scanned):
    report = audit(scanned(checkpoints_alone("")), OLD, KNOWN)
    assert verdicts(report, "fail") == set()
    assert report.checkpoints == len(played().checkpoints)
    assert "LAYOUT-002" in verdicts(report, "unobservable")


def test_checkpoints_in_nn_need_no_log_beside_them(scanned):
    report = audit(scanned(checkpoints_alone("nn/")), OLD, KNOWN)
    assert verdicts(report, "fail") == set()
    assert "LAYOUT-002" in verdicts(report, "unobservable")


def test_both_in_one_folder_are_a_whole_run(scanned):
    run = checkpoints_alone("")
    run = replace(run, logs=played().logs)
    flat = run.with_logs(lambda log: replace(log, path=log.path.rpartition("/")[2]))
    assert audit(scanned(flat), OLD, KNOWN).verdict == "conforms"


def test_of_two_runs_in_one_working_directory_one_is_judged(scanned, tmp_path):
    both, other = played(), played("Humanoid")
    both = replace(
        both,
        checkpoints={**both.checkpoints, **other.checkpoints},
        logs=(*both.logs, *other.logs),
    )
    folder = scanned(both)
    assert {summarised_name(OLD, log.path.rpartition("/")[0]) for log in both.logs} == {
        "Ant",
        "Humanoid",
    }
    for name in (None, "Ant", "Humanoid"):
        report = audit(folder, OLD, replace(KNOWN, name=name))
        assert report.verdict == "conforms", name
        assert (report.sessions, report.checkpoints) == (1, len(other.checkpoints))
    (note,) = audit(folder, OLD, KNOWN).notes
    assert note == "'Humanoid' logs and saves here too; --name says which run to judge"
    assert audit(scan_run(played().write(tmp_path)), OLD).notes == ()


# --- near misses ------------------------------------------------------------------------------


def test_event_files_elsewhere_in_a_run_are_misplaced_all_the_same(scanned):
    run = played(experiment="Ant").with_logs(lambda log: replace(log, path="tb/" + log.path))
    report = audit(scanned(run), OLD, KNOWN)
    assert verdicts(report, "fail") == {"LAYOUT-002"}


def test_a_missing_best_is_one_where_there_is_a_folder_for_it(scanned):
    run = played()
    assert "BEST-001" in verdicts(audit(scanned(run.without(run.best)), OLD, KNOWN), "fail")


@pytest.mark.parametrize("name", ["isaacgymenvs", "rl_games-1.6", "amp"])
def test_other_dialects_keep_both_in_one_folder(scanned, name):
    profile = load_profile(name)
    run = play(Settings("Ant", 2, 4, 0), [SESSION], profile=profile)
    without = run.with_logs(lambda _: None)
    assert verdicts(audit(scanned(without), profile), "fail") == {"LAYOUT-002"}


def test_checkpoints_of_another_dialect_in_the_runs_own_folder_are_misplaced(scanned):
    run = ordinary().each(
        lambda run, file: run.moved(file, file.path.rpartition("/")[2]),
    )
    folder = scanned(run)
    assert verdicts(audit(folder, load_profile()), "fail") == {"LAYOUT-001"}
    assert choose(folder).profile.name == "isaacgymenvs"


# --- chosen by the layout ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "run", [logs_alone(), checkpoints_alone(""), checkpoints_alone("nn/"), played()]
)
def test_the_old_layout_tells_the_old_dialect(scanned, run):
    choice = choose(scanned(run), KNOWN)
    assert choice.profile.name == "rl_games-1.0", choice.told
    assert choice.equals == ()


def test_event_files_in_summaries_are_none_of_the_old_dialects(scanned):
    """No checkpoint was saved yet: the old dialect, which expects no log there, lacked nothing."""
    run = play(Settings("Ant", 50, 400), [SESSION], profile=load_profile("rl_games-1.5"))
    choice = choose(scanned(replace(run, checkpoints={})))
    assert choice.profile.name != "rl_games-1.0"
    assert "rl_games-1.0" not in choice.equals
    assert "the event files stand in summaries/" in choice.told


def test_event_files_in_the_folder_of_another_name_are_not_the_old_dialects(scanned):
    choice = choose(scanned(replace(logs_alone(), experiment="tensorboard")))
    assert choice.profile.name == "isaacgymenvs"


def test_a_folder_with_another_name_does_not_name_the_run(scanned):
    """Somebody moved the checkpoints: their own names say whose they are."""
    run = replace(checkpoints_alone(""), experiment="collected")
    report = audit(scanned(run), OLD, KNOWN)
    assert verdicts(report, "fail") == set()
    choice = choose(scan_run(report.path), KNOWN)
    assert choice.profile.name == "rl_games-1.0"
