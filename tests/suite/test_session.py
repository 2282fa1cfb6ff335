"""`run_suite`: trainers of all kinds, what is kept between runs, and what a hostile disk does."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import loud_trainers
import pytest

from conformance import Scenario, mutants
from conformance.convention.profile import load_profile
from conformance.convention.scenario import ScenarioError
from conformance.suite import saving
from conformance.suite.chains import chain_from_json, chain_to_json
from conformance.suite.session import Fixed, SuiteError, run_suite
from conformance.trainers import TrainerSpecError

PROFILE = load_profile("isaacgymenvs")
TIE = "python:conformance.mutants:RewritesOnTie"
FEW = 4  # the second probe shows a tie


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suite(trainer, *, max_examples=FEW, **options):
    """Drive a trainer through few examples."""
    given = {"profile": PROFILE, "seed": 1, "max_examples": max_examples, **options}
    return run_suite(trainer, **given)


def rules(result):
    """The rules that broke."""
    return {failure.rule for failure in result.result.failures}


def entries(folder):
    """The files of the database."""
    return {path.name: path for path in (folder / ".conformance" / "examples").glob("*/*")}


def _made():
    return mutants.RewritesOnTie()


# --- trainers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trainer",
    [TIE, mutants.RewritesOnTie, mutants.RewritesOnTie(), _made],
)
def test_a_spec_a_class_an_object_and_a_function_are_driven_alike(trainer):
    result = suite(trainer)
    assert rules(result) == {"BEST-003"}
    assert result.run.verdict == "fail"
    assert result.run.driven
    assert result.form == "python"


def test_a_class_is_known_by_the_spec_that_would_name_it():
    result = suite(mutants.RewritesOnTie)
    assert result.spec == "python:conformance.mutants.defects.best:RewritesOnTie"


@pytest.mark.parametrize("trainer", [object(), 3, None])
def test_what_does_not_train_is_no_trainer(trainer):
    with pytest.raises(TrainerSpecError, match=r"train\(scenario\)"):
        suite(trainer)


@pytest.mark.parametrize("options", [{"max_examples": 0}, {"time_limit": 0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"at least 1|more than 0"):
        suite(TIE, **options)


def test_without_hypothesis_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SuiteError, match=r"pip install 'checkpoint-conformance\[suite\]'"):
        suite(TIE)
    (session,) = chain_from_json(_tie(), PROFILE)
    assert rules(suite(TIE, replay=(session,))) == {"BEST-003"}


@pytest.mark.parametrize(
    ("trainer", "expected"), [(mutants.Trainer, 200), ("command:true {root}", 20)]
)
def test_a_command_plays_fewer_scenarios_unless_told(monkeypatch, trainer, expected):
    asked = []

    def run(engine, *, max_examples, **_):
        asked.append(max_examples)
        return engine.replay(chain_from_json(_tie(), PROFILE))

    monkeypatch.setattr("conformance.suite.engine.Engine.run", run)
    run_suite(trainer, profile=PROFILE)
    assert asked == [expected]


# --- the database of earlier failures -------------------------------------------------------


def test_a_failure_is_played_first_the_next_time_and_forgotten_once_mended(folder, monkeypatch):
    first = suite(loud_trainers.Mended)
    assert "reuse" not in first.result.counts.scenarios
    assert set(entries(folder)) == {"BEST-003.json"}

    again = suite(loud_trainers.Mended)
    assert again.result.counts.scenarios["reuse"] == 1
    assert again.result.failures[0].found_by == "reuse"
    assert set(entries(folder)) == {"BEST-003.json"}

    monkeypatch.setattr(loud_trainers.Mended, "is_mended", True)
    mended = suite(loud_trainers.Mended)
    assert mended.result.counts.scenarios["reuse"] == 1
    assert not mended.result.failures
    assert entries(folder) == {}


def test_failures_of_one_trainer_and_profile_are_not_played_with_another(folder):
    suite(TIE)
    assert "reuse" not in suite("python:conformance.mutants:Trainer").result.counts.scenarios
    other = suite(TIE, profile=load_profile("rl_games-1.6"))
    assert "reuse" not in other.result.counts.scenarios
    assert len({path.parent for path in entries(folder).values()}) == 2


def test_an_entry_of_a_rule_that_is_not_judged_stays(folder):
    suite(TIE)
    assert not suite(TIE, selected=frozenset({"NAME-001"})).result.failures
    assert set(entries(folder)) == {"BEST-003.json"}


def test_entries_stay_while_the_trainer_breaks(folder, monkeypatch):
    suite(loud_trainers.Mended)

    def broken(*_):
        raise RuntimeError("no GPU")

    monkeypatch.setattr(loud_trainers.Mended, "train", broken)
    result = suite(loud_trainers.Mended)
    assert result.run.verdict == "error"
    assert set(entries(folder)) == {"BEST-003.json", "broke-raised.json"}
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    suite(loud_trainers.Mended)
    assert set(entries(folder)) == {"BEST-003.json"}


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04K\x01.", b"{}", b'[{"experiment": "../x"}]', b"[" * 100_000]
)
def test_a_corrupt_entry_is_ignored_and_removed(folder, content):
    suite(TIE)
    place = entries(folder)["BEST-003.json"].parent
    (place / "BEST-004.json").write_bytes(content)
    (place / "notes.txt").write_bytes(content)
    result = suite(TIE)
    assert result.result.counts.scenarios["reuse"] == 1
    assert set(entries(folder)) == {"BEST-003.json", "notes.txt"}


def test_an_entry_that_is_a_pipe_is_not_waited_for(folder):
    suite(TIE)
    place = entries(folder)["BEST-003.json"].parent
    os.mkfifo(place / "BEST-004.json")
    (place / "BEST-005.json").mkdir()
    assert suite(TIE).result.counts.scenarios["reuse"] == 1
    assert set(entries(folder)) == {"BEST-003.json", "BEST-005.json"}


def test_a_disk_that_refuses_is_noted_and_the_suite_goes_on(folder):
    (folder / ".conformance").write_text("a file is in the way")
    result = suite(TIE)
    assert rules(result) == {"BEST-003"}
    assert result.failures[0]["replay"] == ""
    assert [note.partition(": ")[0] for note in result.notes] == [
        "failures cannot be kept in '.conformance/examples'",
        "failures cannot be written to '.conformance/failures'",
    ]


def test_nothing_is_written_where_nothing_is_to_be_kept(folder):
    suite(TIE, database=None, save_failures=None)
    assert not (folder / ".conformance").exists()


def test_a_replay_leaves_the_database_alone(folder):
    suite(TIE)
    before = {path: path.stat().st_mtime_ns for path in entries(folder).values()}
    suite(mutants.Trainer, replay=chain_from_json(_tie(), PROFILE))
    suite(TIE, replay=chain_from_json(_tie(), PROFILE), save_failures=None)
    assert {path: path.stat().st_mtime_ns for path in entries(folder).values()} == before


# --- failures on disk -----------------------------------------------------------------------


def test_a_failure_is_kept_with_the_run_that_it_left():
    result = suite(TIE)
    saved = result.saved["BEST-003"]
    assert saved.replay == Path(".conformance/failures/BEST-003.json")
    chain = chain_from_json(saved.replay.read_text(), PROFILE)
    assert chain == result.result.failures[0].chain
    assert {"A/nn/A.pth", "A/config.yaml"} <= set(saved.files)
    on_disk = {
        str(path.relative_to(saved.tree)) for path in saved.tree.rglob("*") if path.is_file()
    }
    assert on_disk == set(saved.files)
    assert [path.name for path in saved.replay.parent.iterdir() if path.name.startswith(".")] == []
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(saved.replay.stat().st_mode) == 0o666 & ~umask


def test_what_was_kept_before_is_replaced_whole(folder):
    place = folder / ".conformance" / "failures"
    (place / "BEST-003" / "old").mkdir(parents=True)
    (place / "BEST-003.json").symlink_to(folder / "mine")
    suite(TIE)
    assert not (place / "BEST-003" / "old").exists()
    assert not (folder / "mine").exists()
    assert (place / "BEST-003" / "A").is_dir()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    (place / "BEST-003").rename(place / "x")
    (place / "BEST-003").symlink_to(elsewhere)
    suite(TIE)
    assert not (place / "BEST-003").is_symlink()
    assert (elsewhere / "mine").exists()


def test_a_hostile_tree_is_kept_in_bounds_and_says_what_is_missing():
    result = suite(loud_trainers.LeavesOddThings, selected=frozenset({"BEST-003"}))
    saved = result.saved["BEST-003"]
    run = saved.tree / "A"
    assert (run / "link").is_symlink()
    assert (run / "link").readlink() == Path("/etc/passwd")
    assert not (run / "pipe").exists()
    assert not (run / "core").exists()
    assert (run / "nn" / "A.pth").is_file()
    missing = "\n".join(saved.missing)
    assert "'pipe' is no regular file" in missing
    assert "more than 64 MiB" in missing
    assert "deeper than 32 folders" in missing
    assert all(line.startswith("'.conformance/failures/BEST-003': ") for line in result.notes)


@pytest.mark.parametrize(("room", "whole"), [(5, True), (4, False)])
def test_a_tree_of_too_many_entries_is_cut(folder, room, whole):
    for name in ("a", "b", "c", "d/e"):
        (folder / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "run" / name).write_text(name)
    copy = saving._Copy(folder / "copy", entries_left=room)
    copy.folder(folder / "run", copy.top, 0)
    assert copy.files == ["a", "b", "c", *(["d/e"] if whole else [])]
    cut = ["the copy is not whole: it has more than 10000 entries"]
    assert copy.missing == ([] if whole else cut)


def test_a_breakage_is_kept_with_its_scenario_and_its_output(folder):
    result = suite(loud_trainers.BreaksOnTie, max_examples=17)
    (breakage,) = result.result.breakages
    place = folder / ".conformance" / "failures"
    kept = chain_from_json((place / "broke-raised.json").read_text(), PROFILE)
    assert kept == breakage.chain
    text = (place / "broke-raised.txt").read_text()
    assert text.startswith("train() raised RuntimeError: division by zero\n")
    assert "play_epoch" in text


# --- settings that are fixed ----------------------------------------------------------------


def chain(*sessions):
    """Sessions of one run, as rewards and what to resume from."""
    return tuple(
        Scenario("A", Path("runs"), 1, len(rewards), rewards, resume=resume)
        for rewards, resume in sessions
    )


def test_fixed_settings_hold_in_all_sessions():
    sessions = chain(((1.0, 2.0), None), ((1.0, 2.0, 3.0), "last"))
    fixed = Fixed(save_freq=5, save_best_after=2).applied(sessions, PROFILE)
    assert [(s.save_freq, s.save_best_after, s.max_epochs) for s in fixed] == [(5, 2, 2), (5, 2, 3)]


def test_a_session_that_would_have_no_epoch_left_is_left_out():
    sessions = chain(((1.0, 2.0), None), ((1.0, 2.0, 3.0), "last"))
    assert len(Fixed(max_epochs=3).applied(sessions, PROFILE)) == 2
    assert Fixed(max_epochs=2).applied(sessions, PROFILE) == sessions[:1]
    (cut,) = Fixed(max_epochs=1).applied(sessions, PROFILE)
    assert (cut.max_epochs, cut.rewards) == (1, (1.0,))


def test_a_session_whose_checkpoint_is_not_written_any_more_is_left_out():
    sessions = chain(((-float("inf"),), None), ((-float("inf"), 3.0), "last"))
    assert len(Fixed().applied(sessions, PROFILE)) == 2
    assert len(Fixed(save_freq=0).applied(sessions, PROFILE)) == 1


# --- chains as files ------------------------------------------------------------------------


def _tie():
    return chain_to_json(chain(((1.0, 1.0), None)))


def test_a_chain_comes_back_as_it_was():
    nan = float("nan")
    sessions = chain(((nan, -0.0, 1e-45), None), ((nan, -0.0, 1e-45, float("inf")), "best"))
    back = chain_from_json(chain_to_json(sessions), PROFILE)
    assert repr(back) == repr(sessions)
    assert isinstance(json.loads(chain_to_json(sessions)), list)
    assert isinstance(json.loads(chain_to_json(sessions[:1])), dict)


def test_a_session_without_an_epoch_is_no_chain():
    text = chain_to_json(chain(((1.0,), None), ((1.0,), "best")))
    with pytest.raises(ScenarioError, match="session 2 has no epoch left"):
        chain_from_json(text, PROFILE)


def test_sessions_of_two_runs_are_no_chain():
    first, second = json.loads(chain_to_json(chain(((1.0,), None), ((1.0, 2.0), "best"))))
    second["experiment"] = "B"
    with pytest.raises(ScenarioError, match="of another run"):
        chain_from_json(json.dumps([first, second]), PROFILE)
