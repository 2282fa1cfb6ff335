"""Each file of a run is explained by its session, or said to be unexplained."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import lagging, whole

from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, builtin_profiles, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.play import Session, play, weights
from conformance.fixtures.run import Link
from conformance.run.driven import DrivenSession, Writes
from conformance.run.explanation import Grade, Reason
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.explain import explain

ONE = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
TWO = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 2.5)), Session((1.0, 7.0, 5.0, 6.0))])


def explained(run, root, profile="isaacgymenvs", options=None):
    folder = run if hasattr(run, "exists") else run.write(root)
    return explain(Subject(scan_run(folder), load_profile(profile), options or Options()))


def rows(run, root, profile="isaacgymenvs"):
    return {
        file.path: (file.reason.value, file.sessions, file.epoch)
        for file in explained(run, root, profile).files
    }


def the_one(run, root, path):
    return next(file for file in explained(run, root).files if file.path == path)


def test_each_file_of_one_session_is_explained_by_it(tmp_path):
    assert rows(ONE, tmp_path) == {
        "config.yaml": ("config", (), None),
        ONE.logs[0].path: ("event log", (1,), None),
        "nn/last_Aep2rew3.0.pth": ("periodic", (1,), 2),
        "nn/last_Aep4rew4.0.pth": ("periodic", (1,), 4),
        "nn/A.pth": ("best", (1,), 4),
    }


def test_files_of_several_sessions_are_each_explained_by_their_own(tmp_path):
    found = rows(TWO, tmp_path)
    assert found["nn/last_Aep2rew3.0.pth"] == ("periodic", (1,), 2)
    assert found["nn/last_Aep4rew2.5.pth"] == ("periodic", (1,), 4)
    assert found["nn/last_Aep2rew7.0.pth"] == ("periodic", (2,), 2)
    assert found["nn/last_Aep4rew6.0.pth"] == ("periodic", (2,), 4)
    assert found["nn/A.pth"] == ("best", (2,), 2)


def test_sessions_with_equal_rewards_both_explain_a_file_and_the_best_is_the_last_ones(tmp_path):
    run = play(Settings("A", 2, 4), [Session((1.0, 3.0)), Session((1.0, 3.0))])
    found = rows(run, tmp_path)
    assert found["nn/last_Aep2rew3.0.pth"] == ("periodic", (1, 2), 2)
    assert found["nn/A.pth"] == ("best", (2,), 2)


def test_the_sessions_are_told_with_their_epochs_and_how_they_began(tmp_path):
    run = play(
        Settings("A", 2, 6),
        [Session((1.0, 3.0, 2.0)), Session((5.0, 6.0, 7.0), first=4, resumed=True)],
    )
    told = explained(run, tmp_path).sessions
    assert [(s.number, s.first, s.last, s.starts) for s in told] == [
        (1, 1, 3, ("fresh",)),
        (2, 4, 6, ("resumed",)),
    ]
    assert [s.files for s in told] == [(log.path.rpartition("/")[2],) for log in run.logs]


@pytest.mark.parametrize("rewards", [(66.526, 66.52648), (1000.0, 1000.0), (-1.5, math.nan)])
def test_a_final_with_a_rounded_reward_is_explained(tmp_path, rewards):
    profile = load_profile("rl_games-1.5")
    run = play(Settings("A", 2, 2, 0), [Session(rewards)], profile=profile)
    final = next(file for file in run.checkpoints.values() if file.kind.value == "final")
    rounded = run.renamed(final, f"last_Aep2rew[{rewards[1]:.2f}].pth")
    path = f"nn/last_Aep2rew[{rewards[1]:.2f}].pth"
    assert rows(rounded, tmp_path, "rl_games-1.5")[path] == ("final", (1,), 2)
    wrong = run.renamed(final, "last_Aep2rew[3.21].pth")
    found = rows(wrong, tmp_path / "wrong", "rl_games-1.5")
    assert found["nn/last_Aep2rew[3.21].pth"][0] in ("unexplained", "duplicate")


def test_the_legacy_guard_explains_no_periodic_checkpoint_at_a_new_best(tmp_path):
    """What another dialect writes: its name and contents fit, and it was not due."""
    guarded = load_profile("rl_games-1.5")
    free = replace(guarded, legacy_guard=False)
    run = play(Settings("A", 2, 8, 1), [Session((1.0, 3.0, 2.0, 2.5))], profile=free)
    found = rows(run, tmp_path, "rl_games-1.5")
    assert found["nn/last_A_ep_2_rew_3.0.pth"][0] == "unexplained"
    assert found["nn/last_A_ep_4_rew_2.5.pth"] == ("periodic", (1,), 4)


def test_what_speaks_against_each_session_is_told(tmp_path):
    file = TWO.periodic(2)
    run = TWO.renamed(file, "last_Aep2rew4.5.pth")
    told = the_one(run, tmp_path, "nn/last_Aep2rew4.5.pth")
    assert told.reason is Reason.UNEXPLAINED
    assert told.evidence == (
        "session 1 logged reward 3.0 for epoch 2; session 2 logged reward 7.0 for epoch 2"
    )


@pytest.mark.parametrize(
    ("change", "path", "evidence"),
    [
        (lambda r: r.renamed(r.periodic(2), "last_Aep4rew3.0.pth"), "nn/last_Aep4rew3.0.pth",
         "its name says epoch 4, and it stores 2"),
        (lambda r: r.storing(r.periodic(4), last_mean_rewards=9.0), "nn/last_Aep4rew4.0.pth",
         "had the watermark 3.0 in epoch 4, and the file stores 9.0"),
        (lambda r: r.storing(r.best, epoch=3, last_mean_rewards=2.0), "nn/A.pth", "BEST-004: "),
        (lambda r: r.configured(save_freq=4), "nn/last_Aep2rew3.0.pth",
         "saves at multiples of 4"),
        (lambda r: r.with_other("nn/last_Aep2rew3.0.pth", Link("gone")), "nn/last_Aep2rew3.0.pth",
         "a link that leads nowhere"),
    ],
    ids=["epoch", "watermark", "best", "cadence", "link"],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_unexplained(tmp_path, change, path, evidence):
    told = the_one(change(ONE), tmp_path, path)
    assert (told.reason, told.sessions) == (Reason.UNEXPLAINED, ())
    assert evidence in told.evidence


def test_a_copy_is_a_duplicate_of_what_it_holds(tmp_path):
    file = ONE.periodic(4)
    copies = {
        "nn/copy.pth": replace(file, path="nn/copy.pth"),
        "nn/last_Aep4rew9.0.pth": replace(file, path="nn/last_Aep4rew9.0.pth"),
        "old/A.pth": replace(ONE.periodic(2), path="old/last_Aep2rew3.0 (1).pth"),
    }
    run = ONE
    for copy in copies.values():
        run = run.with_checkpoint(copy)
    found = rows(run, tmp_path)
    assert found["nn/copy.pth"] == ("duplicate", (1,), 4)
    assert found["nn/last_Aep4rew9.0.pth"] == ("duplicate", (1,), 4)
    assert found["old/last_Aep2rew3.0 (1).pth"] == ("duplicate", (1,), 2)
    other = run.storing(run.checkpoints["nn/copy.pth"], model={})
    assert rows(other, tmp_path / "other")["nn/copy.pth"][0] == "unexplained"


def test_what_a_kill_leaves_is_explained(tmp_path):
    run = ONE.damaged(ONE.periodic(4), lambda data: data[:-40])
    run = run.with_other("nn/.saving-7.tmp", b"PK").with_other("nn/last_Aep6rew1.0.pth", b"")
    run = run.with_logs(lambda log: replace(log, tail=b"\x18\0\0"))
    run = run.with_other("summaries/events.out.tfevents.9.host.9.0", b"")
    told = {file.path: file for file in explained(run, tmp_path).files}
    assert told["nn/last_Aep4rew4.0.pth"].reason is Reason.TORN
    assert told["nn/last_Aep4rew4.0.pth"].sessions == (1,)
    assert told["nn/last_Aep6rew1.0.pth"].reason is Reason.TORN
    assert told["nn/.saving-7.tmp"].reason is Reason.TEMPORARY
    assert "torn" in told[ONE.logs[0].path].evidence
    assert told["summaries/events.out.tfevents.9.host.9.0"].reason is Reason.TORN
    assert explained(run, tmp_path / "again").explained == len(told)


def test_a_changed_byte_is_no_torn_file(tmp_path):
    run = ONE.damaged(ONE.best, lambda data: data.replace(b"\0\0\0\x3f", b"\0\0\0\x3e", 1))
    assert rows(run, tmp_path)["nn/A.pth"][0] == "unexplained"


def test_what_a_killed_session_did_not_log_is_explained_by_the_end_of_its_log(tmp_path):
    lagging = ONE.with_logs(
        lambda log: replace(log, scalars=tuple(s for s in log.scalars if s.step in (1, 2)))
    )
    told = the_one(lagging.configured(max_epochs=9), tmp_path, "nn/last_Aep4rew4.0.pth")
    assert (told.reason, told.sessions) == (Reason.PERIODIC, (1,))
    assert "session 1 at epoch 2" in told.evidence


def test_without_a_log_names_and_contents_alone_explain(tmp_path):
    told = the_one(ONE.with_logs(lambda _: None), tmp_path, "nn/last_Aep2rew3.0.pth")
    assert (told.reason, told.sessions, told.epoch) == (Reason.PERIODIC, (), 2)
    assert "no rewards are logged" in told.evidence


def test_free_files_are_foreign_and_names_that_break_a_rule_are_told(tmp_path):
    run = ONE.with_other("nn/notes.txt", b"x").with_other(".hydra/config.yaml", b"x")
    run = run.with_other("events.out.tfevents.1.host", b"x")
    run = run.renamed(ONE.periodic(2), "last_Aep02rew3.0.pth")
    found = {file.path: file for file in explained(run, tmp_path).files}
    for path in ("nn/notes.txt", ".hydra/config.yaml", "events.out.tfevents.1.host"):
        assert found[path].reason is Reason.FOREIGN
    assert "NAME-004" in found["nn/last_Aep02rew3.0.pth"].evidence
    assert found["nn/last_Aep02rew3.0.pth"].reason is Reason.PERIODIC


def test_a_file_that_is_no_checkpoint_and_one_of_a_wrong_name_are_unexplained(tmp_path):
    run = ONE.with_other("nn/last_Aep2rew3.0.pth", b"no checkpoint at all, but text" * 9)
    run = run.with_other("summaries/events.out.tfevents.5.host.5.0", b"no events" * 9)
    run = run.with_checkpoint(replace(ONE.periodic(4), path="nn/model.pth", values={"model": {}}))
    found = rows(run, tmp_path)
    assert found["nn/last_Aep2rew3.0.pth"][0] == "unexplained"
    assert found["summaries/events.out.tfevents.5.host.5.0"][0] == "unexplained"
    assert found["nn/model.pth"][0] == "unexplained"


# --- the end of a training: no rule asks for its saves ----------------------------------------

ENDING = [
    name
    for name in builtin_profiles()
    if load_profile(name).templates(Kind.FINAL) and name != "ase"
]
AT_END = Options(None, 2, 6, 0)


def ended(name, *kinds, sessions=1):
    """A run that trained to its end, and the same without these checkpoints of its last epoch."""
    profile = load_profile(name)
    late = profile.ends_late
    rewards = (1.0, 2.0, 3.0, 2.5, 2.0, 1.5, *((1.25,) if late else ()))
    whole = play(
        Settings("A", 2, 6, save_best_after=0), [Session(rewards)] * sessions, profile=profile
    )
    last = [f for f in whole.checkpoints.values() if f.epoch == len(rewards)]
    return whole, whole.without(*(file for file in last if file.kind in kinds))


def lacks(run, root, name, options=AT_END):
    return [session.missing for session in explained(run, root, name, options).sessions]


@pytest.mark.parametrize("name", ENDING)
def test_a_final_save_that_is_due_and_not_there_is_told(tmp_path, name):
    whole, cut = ended(name, Kind.FINAL)
    epoch = 7 if load_profile(name).ends_late else 6
    assert lacks(whole, tmp_path / "whole", name) == [()]
    assert lacks(cut, tmp_path / "cut", name) == [(f"the final save of epoch {epoch}",)]


@pytest.mark.parametrize("name", ["rl_games-1.5", "amp"])
def test_a_final_save_is_not_missed_before_the_end_or_of_an_unknown_one(tmp_path, name):
    _, cut = ended(name, Kind.FINAL)
    assert lacks(cut, tmp_path / "a", name, Options(None, 2, 9, 0)) == [()]
    assert lacks(cut.unconfigured(), tmp_path / "b", name, Options(None, 2, None, 0)) == [()]


@pytest.mark.parametrize(("limit", "missed"), [(4, False), (6, True), (9, False)])
def test_a_config_of_another_start_makes_no_final_save_due(tmp_path, limit, missed):
    """Of a session that trained past what it says, it is not the config."""
    profile = load_profile("rl_games-1.5")
    rewards = (1.0, 2.0, 3.0, 2.5, 2.0, 1.5)
    run = play(Settings("A", 2, 6, save_best_after=0), [Session(rewards)], profile=profile)
    run = run.without(*(file for file in run.checkpoints.values() if file.kind is Kind.FINAL))
    config = f"params: {{config: {{name: A, max_epochs: {limit}, save_best_after: 0}}}}".encode()
    run = replace(run, others={"config.yaml": config})
    due = ("the final save of epoch 6",) if missed else ()
    assert lacks(run, tmp_path, "rl_games-1.5", Options()) == [due]
    # Who gives the limit says what this training was to do.
    given_so = lacks(run, tmp_path / "given", "rl_games-1.5", Options(None, 2, 4, 0))
    assert given_so == [("the final save of epoch 4",)]


def test_an_earlier_session_s_final_save_may_have_been_replaced_or_cleaned(tmp_path):
    whole, cut = ended("rl_games-1.5", Kind.FINAL, sessions=2)
    assert lacks(whole, tmp_path / "whole", "rl_games-1.5") == [(), ()]
    assert lacks(cut, tmp_path / "cut", "rl_games-1.5") == [(), ("the final save of epoch 6",)]


def test_the_latest_is_missed_and_an_old_one_is_unexplained(tmp_path):
    whole, cut = ended("ase", Kind.LATEST, Kind.FINAL)
    assert lacks(whole, tmp_path / "whole", "ase") == [()]
    assert lacks(cut, tmp_path / "cut", "ase") == [("the latest save, of epoch 7",)]
    (latest,) = (file for file in whole.checkpoints.values() if file.path == "nn/A.pth")
    old = explained(whole.storing(latest, epoch=4), tmp_path / "old", "ase", AT_END)
    told = next(file for file in old.files if file.path == latest.path)
    assert told.reason is Reason.UNEXPLAINED
    assert told.evidence == "session 1 saved epoch 7 over it"


def test_the_latest_is_the_last_session_s(tmp_path):
    profile = load_profile("ase")
    sessions = [Session((1.0, 2.0, 3.0, 2.5, 2.0)), Session((5.0, 6.0, 7.0))]
    run = play(Settings("A", 2, 9, save_best_after=0), sessions, profile=profile)
    found = explained(run, tmp_path / "run", "ase", Options(None, 2, 9, 0))
    assert {file.path: file.sessions for file in found.files}["nn/A.pth"] == (2,)


def test_settings_of_another_layout_are_config(tmp_path):
    run = ONE.with_other("params/agent.yaml", b"x: 1").with_other("params/env.yaml", b"x: 1")
    run = run.with_other("params/deep/env.yaml", b"x").with_other("other/agent.yaml", b"x")
    found = {path: reason for path, (reason, _, _) in rows(run, tmp_path).items()}
    assert found["params/agent.yaml"] == found["params/env.yaml"] == "config"
    assert found["params/deep/env.yaml"] == found["other/agent.yaml"] == "foreign"
    isaaclab = play(
        Settings("A", 2, 2, 0), [Session((1.0, 2.0))], profile=load_profile("rl_games-1.6+isaaclab")
    )
    told = explained(isaaclab, tmp_path / "lab", "rl_games-1.6+isaaclab").files
    assert [(file.path, file.evidence) for file in told if file.reason is Reason.CONFIG] == [
        ("params/agent.yaml", "the run's settings")
    ]


@pytest.mark.parametrize("name", ["amp", "ase", "rl_games-sac"])
def test_saves_before_any_reward_is_logged_are_explained(tmp_path, name):
    late = load_profile(name).ends_late
    rewards = (None, None, None, 1.0, 2.0, 3.0, *((2.5,) if late else ()))
    run = play(Settings("A", 2, 6, 0), [Session(rewards)], profile=load_profile(name))
    told = explained(run, tmp_path, name, AT_END)
    assert told.explained == len(told.files)
    early = [file for file in told.files if file.epoch == 2]
    assert early
    assert all("no episode had finished" in file.evidence for file in early)


# --- how surely -------------------------------------------------------------------------------


def grades(run, root, profile="isaacgymenvs", options=None):
    told = explained(run, root, profile, options)
    assert all(
        (file.grade is Grade.UNEXPLAINED) == (file.reason is Reason.UNEXPLAINED)
        for file in told.files
    )
    return {file.path: file.grade.value for file in told.files}


def test_a_logged_reward_of_the_epoch_proves_and_the_rest_is_consistent(tmp_path):
    run = ONE.with_other("nn/notes.txt", b"x").with_other("nn/.saving.tmp", b"x")
    assert grades(run, tmp_path) == {
        "config.yaml": "consistent",
        ONE.logs[0].path: "proven",
        "nn/last_Aep2rew3.0.pth": "proven",
        "nn/last_Aep4rew4.0.pth": "proven",
        "nn/A.pth": "proven",
        "nn/notes.txt": "consistent",
        "nn/.saving.tmp": "consistent",
    }


@pytest.mark.parametrize(
    ("change", "path", "grade"),
    [
        (lambda r: r.renamed(r.periodic(2), "last_Aep2rew3.5.pth"), "nn/last_Aep2rew3.5.pth",
         "unexplained"),
        (lambda r: r.storing(r.periodic(2), epoch=None), "nn/last_Aep2rew3.0.pth", "consistent"),
        (lambda r: r.storing(r.best, last_mean_rewards=None), "nn/A.pth", "proven"),
        (lambda r: r.without(r.periodic(4)).storing(r.best, last_mean_rewards=None), "nn/A.pth",
         "consistent"),
        (lambda r: r.damaged(r.periodic(2), lambda data: data[:-40]), "nn/last_Aep2rew3.0.pth",
         "consistent"),
        (lambda r: r.moved(r.periodic(2), "old/last_Aep2rew3.0.pth"), "old/last_Aep2rew3.0.pth",
         "proven"),
    ],
    ids=["reward", "no epoch", "no watermark, but weights", "no watermark", "torn", "moved"],
)  # fmt: skip
def test_what_a_file_does_not_tell_proves_nothing(tmp_path, change, path, grade):
    assert grades(change(ONE), tmp_path)[path] == grade


def test_what_is_behind_the_end_of_a_log_is_consistent(tmp_path):
    cut = ONE.with_logs(lambda log: lagging(log, 2)).configured(max_epochs=9)
    found = grades(cut, tmp_path)
    assert found["nn/last_Aep2rew3.0.pth"] == "proven"
    assert found["nn/last_Aep4rew4.0.pth"] == "consistent"


def test_a_watermark_of_epochs_that_no_log_shows_proves_nothing(tmp_path):
    sessions = [Session((1.0, 3.0)), Session((2.0, 2.5), first=5, resumed=True, watermark=3.0)]
    run = play(Settings("A", 2, 6), sessions)
    path = "nn/last_Aep6rew2.5.pth"
    assert grades(run, tmp_path / "known")[path] == "proven"
    higher = run.storing(run.periodic(6), last_mean_rewards=9.0)
    assert grades(higher, tmp_path / "unknown")[path] == "consistent"


def test_a_copy_is_as_sure_as_what_it_holds_unless_its_name_says_something_else(tmp_path):
    file = ONE.periodic(4)
    run = ONE.with_checkpoint(replace(file, path="nn/copy.pth"))
    run = run.with_checkpoint(replace(file, path="nn/last_Aep4rew9.0.pth"))
    found = grades(run, tmp_path)
    assert found["nn/copy.pth"] == "proven"
    assert found["nn/last_Aep4rew9.0.pth"] == "consistent"


def test_one_file_too_many_for_an_epoch_is_not_proven(tmp_path):
    other = replace(ONE.periodic(4), path="nn/last_Aep04rew4.0.pth")
    run = ONE.with_checkpoint(other).storing(other, model=weights(9))
    found = grades(run, tmp_path)
    assert found["nn/last_Aep4rew4.0.pth"] == "proven"
    assert found[other.path] == "consistent"


def test_no_number_that_is_not_finite_proves_anything(tmp_path):
    run = play(Settings("A", 1, 4), [Session((1.0, math.nan, -math.inf, 3.0))])
    found = grades(run, tmp_path)
    assert [found[f"nn/last_Aep{n}rew{text}.pth"] for n, text in ((2, "nan"), (3, "-inf"))] == [
        "consistent",
        "consistent",
    ]
    assert found["nn/last_Aep4rew3.0.pth"] == "proven"


def test_a_rounded_reward_proves_nothing_without_equal_weights(tmp_path):
    profile = load_profile("rl_games-1.5")
    run = play(Settings("A", 2, 2, 0), [Session((67.0, 66.52648))], profile=profile)
    final = next(file for file in run.checkpoints.values() if file.kind is Kind.FINAL)
    rounded = run.renamed(final, "last_Aep2rew[66.53].pth")
    path = "nn/last_Aep2rew[66.53].pth"
    assert grades(rounded, tmp_path / "both", "rl_games-1.5")[path] == "proven"
    alone = rounded.without(rounded.periodic(2))
    assert grades(alone, tmp_path / "alone", "rl_games-1.5")[path] == "consistent"
    stuck = rounded.storing(rounded.best, model=weights(2))  # weights that two epochs have
    assert grades(stuck, tmp_path / "stuck", "rl_games-1.5")[path] == "consistent"


def test_a_log_is_proven_by_a_checkpoint_whose_reward_it_alone_holds(tmp_path):
    twice = play(Settings("A", 2, 4), [Session((1.0, 3.0)), Session((1.0, 3.0))])
    found = grades(twice, tmp_path / "twice")
    assert [found[log.path] for log in twice.logs] == ["consistent", "consistent"]
    assert found["nn/last_Aep2rew3.0.pth"] == "proven"
    unlike = grades(TWO, tmp_path / "unlike")
    assert [unlike[log.path] for log in TWO.logs] == ["proven", "proven"]
    bare = grades(ONE.without(*ONE.checkpoints.values()), tmp_path / "bare")
    assert bare[ONE.logs[0].path] == "consistent"


@pytest.mark.parametrize("name", ["amp", "ase"])
def test_names_without_a_reward_prove_nothing_and_a_journal_does(tmp_path, name):
    profile, rewards = load_profile(name), (1.0, 3.0, 2.0, 4.0)
    run = play(Settings("A", 2, 4, 0), [Session(rewards)], profile=profile)
    folder = run.write(tmp_path)
    assert "proven" not in grades(folder, None, name, Options(None, 2, 4, 0)).values()
    files = [path.rpartition("/")[2] for path in run.checkpoints]
    played = DrivenSession(
        dict(enumerate(rewards, start=1)), 1, 4, 2, writes=Writes(tuple(files[1:]))
    )
    told = explain(Subject(scan_run(folder), profile, Options(None, 2, 4, 0), (played,)))
    found = {file.path: file.grade for file in told.files if file.reason in KINDS}
    assert [path.rpartition("/")[2] for path in found if found[path] is Grade.PROVEN] == [
        name for name in (path.rpartition("/")[2] for path in found) if name in files[1:]
    ]
    assert len(found) == len(files) > 1


KINDS = {Reason(kind.value) for kind in Kind}
TELLING = ["isaacgymenvs", "rl_games-1.1", "rl_games-1.5", "rl_games-1.6.0", "rl_games-1.6"]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), profile=st.sampled_from(TELLING))
def test_a_whole_run_is_proven_without_its_logs_nothing_is_and_a_changed_reward_never(
    tmp_path_factory, data, profile
):
    """Of a run with its logs: all but the config, and logs that no checkpoint is left of."""
    run = data.draw(whole(load_profile(profile))).run
    root = tmp_path_factory.mktemp("runs")
    told = explained(run, root / "whole", profile)
    assert {file.grade for file in told.files if file.reason in KINDS} == {Grade.PROVEN}
    left = {number for file in told.files if file.reason in KINDS for number in file.sessions}
    logs = [file for file in told.files if file.reason is Reason.EVENT_LOG]
    assert {file.sessions[0] for file in logs if file.grade is Grade.PROVEN} == left
    silent = grades(run.with_logs(lambda _: None), root / "silent", profile)
    assert "proven" not in silent.values()
    file = data.draw(st.sampled_from(list(run.checkpoints.values())))
    if file.kind is Kind.BEST:
        changed, path = run.storing(file, last_mean_rewards=1000.25), file.path
    else:
        # 1000.25 is what no session logged; the text goes where the reward's stands.
        head, _, tail = file.path.rpartition("rew")
        text = re.sub(r"-?[0-9.]*[0-9.](?:e[+-][0-9]+)?(?=[\]_]*\.pth)", "1000.25", tail, count=1)
        path = f"{head}rew{text}"
        changed = run.moved(file, path)
    assert grades(changed, root / "changed", profile)[path] != "proven"


rewards = st.lists(
    st.sampled_from([1.0, 2.0, 3.5, -1e-7, 1e6, math.nan, -math.inf, math.inf]) | st.none(),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(rewards, min_size=1, max_size=4),
    save_freq=st.integers(0, 4),
    profile=st.sampled_from(["isaacgymenvs", "rl_games-1.5"]),
)
def test_what_the_oracle_writes_is_explained_completely(
    tmp_path_factory, parts, save_freq, profile
):
    run = play(
        Settings("A", save_freq, 8, 0),
        [Session(tuple(part)) for part in parts],
        profile=load_profile(profile),
    )
    told = explained(run, tmp_path_factory.mktemp("runs"), profile)
    assert [file for file in told.files if file.reason is Reason.UNEXPLAINED] == []
    assert told.explained == len(told.files) == len(run.files())
