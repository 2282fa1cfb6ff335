"""Folders of many sessions: none is blamed for what a kill explains, and one deviation is found."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from killed import Kill, Planned, chains, train
from trainings import broken, explained, lagging, trained, trainings, unexplained, unlike

from conformance.checks import audit
from conformance.convention.names import format_name
from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind, builtin_profiles, load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.events import Scalar
from conformance.fixtures.play import Session, play
from conformance.run.explanation import Reason
from conformance.run.settings import Options

PROFILE = load_profile()
many = settings(deadline=None, max_examples=60)


def judged(folder):
    return explained(scan_run(folder), PROFILE)


def judge_chain(chain):
    save_freq, sessions = chain
    with tempfile.TemporaryDirectory() as root:
        report = judged(train(Path(root), save_freq, sessions))
    return broken(report), unexplained(report)


@many
@given(chains(killed=False))
def test_whole_sessions_conform_and_are_explained(chain):
    assert judge_chain(chain) == (set(), [])


@many
@given(chains(killed=False, late=True))
def test_sessions_whose_first_episodes_take_long_conform_and_are_explained(chain):
    """A fresh one that starts right behind a best by chance is no resumed one that lost it."""
    assert judge_chain(chain) == (set(), [])


@pytest.mark.slow
@settings(deadline=None, max_examples=600)
@given(chains())
def test_killed_sessions_conform_and_are_explained(chain):
    assert judge_chain(chain) == (set(), [])


@pytest.mark.parametrize(
    ("save_freq", "sessions"),
    [
        # Killed between the log and the save of the last epoch, then started anew.
        (2, [Planned((3.0, 1.0, 2.0, 9.0), None, Kill(log=4)),
             Planned((1.0, 2.0, 0.0, 0.0), None, None)]),
        # All of a log is lost; its best is of an epoch that another session logged.
        (0, [Planned((1.0, 5.0, 1.0, 4.0), None, None),
             Planned((8.0, 1.0, 1.0, 1.0), None, Kill(epoch=2, lost=9))]),
        # The only log is lost.
        (2, [Planned((1.0, 0.0, 2.0, 3.0), None, Kill(epoch=3, lost=9))]),
        # Killed between periodic and best; the resumed one knows the reward of its checkpoint.
        (2, [Planned((1.0, 3.0, 0.0, 0.0), None, Kill(save=1)),
             Planned((0.0, 0.0, 2.0, 1.0), "last", None)]),
        # Resumed from a session that logged nothing.
        (2, [Planned((1.0, 7.0, 0.0, 0.0), None, Kill(epoch=2, lost=9)),
             Planned((0.0, 0.0, 2.0, 3.0), "last", None)]),
        # Two sessions go on from one epoch, and only the second one's source reached it whole.
        (2, [Planned((1.0, 2.0, 2.0, 4.0, 2.0, 6.0, 0.0), None, Kill(log=6)),
             Planned((0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 3.0), "last", None),
             Planned((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0), "last", None)]),
        # Resumed from its best, behind which it had saved what it did not log.
        (1, [Planned((0.0, 0.0, 0.0), None, None),
             Planned((1.0, 0.0, 0.0), None, Kill(epoch=2, lost=1)),
             Planned((0.0, 1.0, 0.0), "best", None)]),
        # Resumed behind the end of one session, from another one's checkpoint.
        (3, [Planned((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), None, None),
             Planned((0.0, 0.0, 0.0, 5.0, 0.0, 4.0, 0.0), "best", Kill(save=2)),
             Planned((0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), "last", None)]),
        # The checkpoint that it is resumed from stores the watermark from before its own reward.
        (1, [Planned((0.0, 0.0, 0.0), None, Kill(save=1, lost=1)),
             Planned((0.0, 0.0, 0.0), "last", None)]),
        # Nothing logged improves, and a session without a log wrote the best.
        (2, [Planned((math.nan, 0.0, 0.0), None, Kill(save=0, lost=1)),
             Planned((0.0, 0.0, 0.0), None, Kill(log=2, lost=2))]),
        # A session without a log replaced the best by its own, of a reward that was logged once.
        (0, [Planned((0.0, 0.0, 0.0, 0.0), None, Kill(epoch=1)),
             Planned((0.0, 1.0, 2.0, math.nan), None, None),
             Planned((0.0, 0.0, 0.0, 0.0), None, Kill(epoch=1, lost=1))]),
        # What a session without a log saved looks like another one's reward, logged too late.
        (3, [Planned((0.0, 0.0, 4.0, 0.0, 0.0), None, Kill(epoch=4, lost=9)),
             Planned((0.0, 0.0, 0.0, 4.0, 0.0), "last", None)]),
        # Of its log the number of its only epoch is left, and the reward of it is lost.
        (0, [Planned((0.0, 0.0, 0.0), None, Kill(epoch=1, lost=1), counts=True)]),
        # A fresh one whose first episodes take long starts behind one that did not save its end.
        (1, [Planned((0.0,) * 7, None, Kill(log=6)),
             Planned((0.0,) * 7, None, Kill(epoch=4)),
             Planned((*[None] * 6, 0.0), None, None)]),
        # A fresh one replaced the best in an epoch that it did not log; the resumed one found that.
        (0, [Planned((1.0, math.nan, math.nan, math.nan), None, None),
             Planned((math.nan, 0.0, 2.0, 2.0), None, Kill(epoch=2, lost=1)),
             Planned((0.0, 0.0, math.nan, 1.0), "best", None, counts=True)]),
        # The same, and that one logged nothing at all.
        (0, [Planned((1.0, math.nan, math.nan, math.nan), None, None),
             Planned((math.nan, 0.0, 2.0, 2.0), None, Kill(epoch=2, lost=9)),
             Planned((0.0, 0.0, 0.5, math.nan), "best", None, counts=True)]),
        # Two such, and the resumed one found the second one's, lower than all that is logged.
        (0, [Planned((3.0, 4.0, 5.0, 5.0), None, None),
             Planned((math.nan, 2.0, 2.0, 2.0), None, Kill(epoch=2, lost=1)),
             Planned((math.nan, -2.0, 2.0, 2.0), None, Kill(epoch=2, lost=1)),
             Planned((0.0, 0.0, -1.0, -1.5), "best", None, counts=True)]),
    ],
)  # fmt: skip
def test_what_a_kill_explains_is_held_against_nobody(tmp_path, save_freq, sessions):
    report = judged(train(tmp_path, save_freq, sessions))
    assert (broken(report), unexplained(report)) == (set(), [])


@pytest.mark.parametrize(("counted", "rules"), [(2, set()), (3, {"SUMMARY-001"})])
def test_a_log_that_counts_on_behind_a_checkpoint_has_no_lost_reward(tmp_path, counted, rules):
    """The near miss: killed in the epoch of the best, or a trainer that logs no reward."""
    run = play(Settings("A", 0, 4), [Session((1.0, 3.0))])
    counts = tuple(
        Scalar(1700000000.0 + epoch, "info/epochs", epoch, epoch) for epoch in range(1, counted + 1)
    )
    run = replace(run, logs=(replace(run.logs[0], scalars=counts),))
    folder = scan_run(run.write(tmp_path))
    assert broken(audit(folder, PROFILE, Options(None, 0, 4, 0))) == rules


def test_a_single_session_that_logged_its_end_saved_it_too(tmp_path):
    """The near miss: nothing tells that it was killed, and a lost save looks the same."""
    run = play(Settings("A", 2, 4), [Session((3.0, 1.0, 2.0, 0.0))])
    assert broken(judged(run.without(run.periodic(4)).write(tmp_path))) == {"CADENCE-002"}


nan = math.nan


@pytest.mark.parametrize(
    ("sessions", "lost", "last"),
    [
        # Nothing was killed.
        ([Session((1.0, nan, nan))], 0, Session((nan, 1.0), first=4, resumed=True)),
        # What was killed is a resumed one: its watermark was 1.0 all the time.
        ([Session((1.0, nan)), Session((nan, nan), first=3, resumed=True)],
         1, Session((nan, 1.0), first=5, resumed=True)),
        # It is a fresh one, which logged that it had replaced the best.
        ([Session((1.0, nan)), Session((2.0, nan, nan))],
         1, Session((nan, 2.0), first=4, resumed=True)),
    ],
    ids=["whole", "resumed", "logged"],
)  # fmt: skip
def test_a_rewrite_on_a_tie_that_no_kill_explains_is_found(tmp_path, sessions, lost, last):
    """The near misses of a best that was replaced in an epoch that is not logged."""
    conforming = play(Settings("A", 0, last.span[-1]), [*sessions, last])
    tied = play(Settings("A", 0, last.span[-1]), [*sessions, replace(last, watermark=0.0)])
    for run, rules in ((conforming, set()), (tied, {"BEST-003"})):
        logs = (*run.logs[:-2], lagging(run.logs[-2], lost), run.logs[-1])
        report = judged(replace(run, logs=logs).write(tmp_path / "-".join(sorted(rules))))
        assert broken(report) == rules


# --- every dialect ----------------------------------------------------------------------------

DIALECTS = [*builtin_profiles(), f"{PROFILE.name}+isaaclab"]


@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_sessions_of_each_dialect_conform_and_are_explained(name, data):
    profile = load_profile(name)
    report = data.draw(trainings(profile, killed=False)).judged()
    assert (broken(report), unexplained(report)) == (set(), [])


@pytest.mark.slow
@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_killed_sessions_of_each_dialect_conform_and_are_explained(name, data):
    profile = load_profile(name)
    report = data.draw(trainings(profile, killed=True)).judged()
    assert (broken(report), unexplained(report)) == (set(), [])


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("after", [0, 2])
def test_a_best_that_was_replaced_in_an_unlogged_epoch_is_what_a_resumed_one_found(name, after):
    """It then saves what ties with, or is lower than, the best that is logged."""
    profile = load_profile(name)
    killed = Session((0.5 if after else nan, 0.0))
    resumed = Session((*[nan] * 7, 1.0), first=3, resumed=True, watermark=0.0)
    for reward in (1.0, 4.0):
        sessions = [Session((nan, reward)), killed, resumed]
        report = trained(profile, Settings("A", 0, 10, after), sessions, (0, 1, 0)).judged()
        assert (broken(report), unexplained(report)) == (set(), [])


@pytest.mark.parametrize(
    ("name", "save_freq", "end", "sessions", "lost"),
    [
        # The periodic file is of a session without a log, and holds other weights than the best.
        ("rl_games-1.0", 1, 4,
         [Session((nan, nan, 0.0, 0.0), max_epochs=5), Session((nan, nan, nan, 0.0, nan))],
         (9, 0)),
        # Its reward was logged by another session, and ten NaN before it: they are not unlike.
        ("rl_games-1.5", 1, 6,
         [Session((nan, nan, nan, nan, 0.0, 0.0), max_epochs=7), Session((*[nan] * 5, 0.0))],
         (2, 0)),
    ],
)  # fmt: skip
def test_what_a_kill_explains_in_a_dialect_is_held_against_nobody(
    name, save_freq, end, sessions, lost
):
    settings = Settings("A", save_freq, end, 0)
    report = trained(load_profile(name), settings, sessions, lost).judged()
    assert (broken(report), unexplained(report)) == (set(), [])


def test_a_best_without_a_watermark_may_be_of_an_epoch_that_was_not_logged(tmp_path):
    """rl_games 1.0 stores none: a session killed behind its log may have written the best."""
    profile = load_profile("rl_games-1.0")
    killed, fresh = Session((math.nan, math.nan, math.nan, 2.0)), Session((math.nan,) * 4)
    run = play(Settings("A", 0, 3, save_best_after=0), [killed, fresh], profile=profile)
    assert run.best.session == 0
    lost = tuple(scalar for scalar in run.logs[0].scalars if scalar.wall_time < 1700000004.0)
    assert len(lost) < len(run.logs[0].scalars)
    cut = replace(run, logs=(replace(run.logs[0], scalars=lost), *run.logs[1:]))
    found = [
        broken(audit(scan_run(each.write(tmp_path / name)), profile, Options(None, 0, 3, 0)))
        for name, each in (("whole", run), ("cut", cut))
    ]
    assert found == [set(), set()]


# --- one deviation ----------------------------------------------------------------------------


def periodic(run, session):
    return [f for f in run.checkpoints.values() if f.kind is Kind.PERIODIC and f.session == session]


def found(run):
    with tempfile.TemporaryDirectory() as root:
        return judged(run.write(Path(root)))


@many
@given(unlike(), st.data())
def test_a_due_file_that_is_gone_is_missed(drawn, data):
    run, session, _ = drawn
    files = periodic(run, session)
    assume(files)
    assert broken(found(run)) == set()
    gone = data.draw(st.sampled_from(files))
    assert broken(found(run.without(gone))) == {"CADENCE-002"}


@many
@given(unlike(), st.data())
def test_a_best_rewritten_from_a_worse_epoch_is_found(drawn, data):
    run, session, last = drawn
    best = run.best
    assume(best.session == session)
    others = [epoch for epoch in last.known if epoch != best.epoch]
    assume(others)
    epoch = data.draw(st.sampled_from(others))
    wrong = run.storing(best, epoch=epoch, last_mean_rewards=last.known[epoch])
    report = found(wrong)
    (rule,) = broken(report)
    assert rule in {"BEST-002", "BEST-004", "BEST-006", "BEST-008"}
    assert [file.path for file in unexplained(report)] == ["nn/A.pth"]


@many
@given(unlike(), st.data(), st.integers(1, 20))
def test_a_renamed_epoch_is_found(drawn, data, by):
    run, session, last = drawn
    files = periodic(run, session)
    assume(files)
    file = data.draw(st.sampled_from(files))
    name = format_name(
        PROFILE, Kind.PERIODIC, "A", epoch=file.epoch + by, reward=last.known[file.epoch]
    )
    report = found(run.renamed(file, name))
    assert "NAME-006" in broken(report)
    assert [other.path for other in unexplained(report)] == [f"nn/{name}"]


@many
@given(unlike(), st.data())
def test_another_reward_in_a_name_is_found_where_every_session_logged_the_epoch(drawn, data):
    run, session, last = drawn
    files = periodic(run, session)
    assume(files)
    file = data.draw(st.sampled_from(files))
    name = format_name(
        PROFILE, Kind.PERIODIC, "A", epoch=file.epoch, reward=last.known[file.epoch] + 7.25e6
    )
    changed = run.renamed(file, name)
    report = found(changed)
    # Where an earlier session's log ends before, it may have gone on and been killed.
    sure = all(
        any(s.tag == "rewards/iter" and s.step == file.epoch for s in log.scalars)
        for log in run.logs
    )
    if sure:
        assert broken(report) & {"SUMMARY-002", "CADENCE-002", "NAME-005"}
        assert [other.path for other in unexplained(report)] == [f"nn/{name}"]


@many
@given(unlike(), st.data())
def test_a_copy_is_told_to_be_one(drawn, data):
    run, session, _ = drawn
    files = periodic(run, session)
    assume(files)
    file = data.draw(st.sampled_from(files))
    path = file.path.replace(".pth", " (1).pth")
    copied = run.with_checkpoint(run.moved(file, path).checkpoints[path])
    report = found(copied)
    assert {"NAME-005", "NAME-007"} & broken(report)
    told = {other.path: other for other in report.explanation.files}
    assert told[path].reason is Reason.DUPLICATE
    assert session + 1 in told[path].sessions


# --- what is left open ------------------------------------------------------------------------


def of(report, rule):
    (verdict,) = (finding.verdict for finding in report.findings if finding.rule == rule)
    return verdict


@pytest.mark.parametrize(
    ("kept", "counted", "verdict"),
    [
        (False, False, Verdict.UNOBSERVABLE),  # it may as well have been started afresh
        (False, True, Verdict.FAIL),  # its log counts from epoch 3: it was resumed
        (True, False, Verdict.PASS),
        (True, True, Verdict.PASS),
    ],
)
def test_a_watermark_that_starts_anew_passes_nowhere(tmp_path, kept, counted, verdict):
    sessions = [
        Session((1.0, 3.0, 2.0)),
        Session((1.0, 2.0, 2.5), first=3, resumed=True, watermark=3.0 if kept else -math.inf),
    ]
    run = play(Settings("A", 1, 5), sessions)
    if not counted:
        run = run.with_logs(
            lambda log: replace(
                log, scalars=tuple(s for s in log.scalars if s.tag != "info/epochs")
            )
        )
    assert of(judged(run.write(tmp_path)), "BEST-008") is verdict


@pytest.mark.parametrize("torn", [0, 12], ids=["on a record's border", "torn"])
def test_a_log_that_ends_before_the_final_save_is_no_failure_from_files(tmp_path, torn):
    """11 of 11 finished trainings of Omniverse end it 1 to 49 epochs before."""
    run = play(Settings("A", 2, 8), [Session(tuple(float(at) for at in range(8)))])
    run = run.with_logs(lambda log: replace(lagging(log, 3), tail=b"\0" * torn))
    report = judged(run.write(tmp_path))
    assert broken(report) == set()
    assert of(report, "SUMMARY-001") is Verdict.UNOBSERVABLE
    assert of(report, "BEST-002") is Verdict.UNOBSERVABLE


@pytest.mark.parametrize("restarted", [True, False], ids=["in a container", "by one process"])
def test_a_resume_with_the_same_host_and_process_id_is_no_rotation(tmp_path, restarted):
    """rl_games 1.6 resets the watermark on resume: the best may become worse."""
    profile = load_profile("rl_games-1.6")
    sessions = [
        Session((1.0, 9.0, 2.0, 4.0), max_epochs=9),
        Session((3.0, 7.0, 6.0, 5.0), first=5, resumed=True),
    ]
    run = play(Settings("A", 2, 8, save_best_after=0), sessions, profile=profile)
    logs = [
        replace(
            log, path=f"summaries/events.out.tfevents.{number}.node.1.{0 if restarted else number}"
        )
        for number, log in enumerate(run.logs)
    ]
    found = audit(scan_run(replace(run, logs=tuple(logs)).write(tmp_path)), profile)
    assert broken(found) == set()


@pytest.mark.parametrize("kept", [True, False])
def test_without_the_log_of_an_earlier_session_its_best_is_not_known_to_be_beaten(tmp_path, kept):
    """A file of reward 14.5 lies beside a best of 1.75, and nothing else tells of it."""
    sessions = [
        Session((1.0, 14.5, 3.0, 2.0)),
        Session((1.25, 1.75, 1.0, 0.5), first=5, resumed=True, watermark=-math.inf),
    ]
    run = play(Settings("A", 2, 8), sessions)
    run = run if kept else replace(run, logs=run.logs[1:])
    report = judged(run.write(tmp_path))
    verdict = Verdict.FAIL if kept else Verdict.UNOBSERVABLE
    assert of(report, "BEST-008") is verdict
    assert broken(report) == ({"BEST-008"} if kept else set())
    assert (of(report, "BEST-002") is Verdict.UNOBSERVABLE) is not kept
