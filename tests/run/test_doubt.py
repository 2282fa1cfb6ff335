"""What the logs leave open, and what they do not."""

from __future__ import annotations

import math

import pytest
from event_logs import log
from played import Played

from conformance.checks import audit
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rules import Level, Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.events import event_file
from conformance.mutants import defects
from conformance.run.doubt import Gaps
from conformance.run.driven import DrivenSession, played_history
from conformance.run.history import build_history
from conformance.run.settings import Options

# --- what sessions may have done ------------------------------------------------------------


def logs(*sessions):
    """The history of sessions that logged these steps, one process each."""
    return build_history(
        log(steps, name=f"events.out.tfevents.1.host.{number}.0", at=float(number))
        for number, steps in enumerate(sessions)
    )


def gaps(*sessions, save_freq=None, max_epochs=None):
    return Gaps(logs(*sessions), save_freq, max_epochs)


def played(rewards):
    """The history of a session that was played."""
    given = dict(enumerate(rewards, start=1))
    return Gaps(played_history([DrivenSession(given, 1, len(rewards), 1)], []), 1, 9)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([[1, 2]], [True]),
        ([[1, (2, 0.5)], [3, 4]], [False, True]),  # the later one went on from its checkpoint
        ([[1, 2], [3, 4]], [True, True]),  # from its best, behind which more may have come
        ([[1, (2, 0.5)], [4, 5]], [True, True]),
        ([[1, (2, 0.5)], [1, 2], [3]], [True, True, True]),  # it went on from either
    ],
)
def test_a_killed_session_may_have_gone_on_unless_another_one_took_over(sessions, expected):
    found = gaps(*sessions)
    assert [found.may_have_gone_on(session) for session in found.history.sessions] == expected


def test_which_epochs_a_session_may_have_trained_without_a_log():
    found = gaps([1, (2, 0.5)], [3, 4])
    assert [found.may_have_reached(epoch) for epoch in (2, 3, 4, 5)] == [False, False, False, True]
    first, second = found.history.sessions
    assert not found.may_have_reached(3, [first])
    assert found.may_have_reached(5, [second])
    assert gaps([1, 2], []).may_have_reached(1)  # one that logged nothing may have


@pytest.mark.parametrize(
    ("sessions", "max_epochs", "expected"),
    [
        ([[1, 2]], 3, [True]),
        ([[1, 2, 3]], 3, [False]),  # it went on to the end
        ([[1, 2]], None, [False]),  # nothing says that it did not
        ([[1, 2], [3, 4]], 4, [False, False]),
        ([[1, 2], [1, 2, 3]], 3, [True, False]),
        ([[1, 2, 3], []], 3, [True]),  # the other one may have been the last
    ],
)
def test_a_session_may_lack_the_saves_of_its_last_epoch(sessions, max_epochs, expected):
    found = gaps(*sessions, max_epochs=max_epochs)
    assert [found.may_lack_saves(session) for session in found.history.sessions] == expected


@pytest.mark.parametrize(("save_freq", "expected"), [(2, True), (3, False), (0, False)])
def test_a_session_that_another_one_goes_on_from_may_lack_its_best_behind_a_periodic_save(
    save_freq, expected
):
    found = gaps([1, 2], [3, 4], save_freq=save_freq, max_epochs=4)
    assert found.may_lack_its_last_best(found.history.sessions[0]) == expected


def test_a_log_is_complete_where_each_session_logged():
    silent = gaps([1, 2], [])
    assert silent.between_sessions
    assert not silent.none_at(1)
    alone = gaps([1, 2])
    assert not alone.between_sessions
    assert [alone.none_at(epoch) for epoch in (0, 1, 2, 3)] == [False, True, True, False]
    assert not gaps().none_at(1)
    assert gaps([1, 2], [4, 5]).between_sessions


def test_of_a_session_that_was_played_nothing_is_left_open():
    found = played([1.0, 2.0])
    (session,) = found.history.sessions
    assert not found.may_have_reached(3)
    assert not found.may_lack_saves(session)
    assert not found.may_lack_its_last_best(session)
    assert not found.between_sessions
    assert found.none_at(7)


@pytest.mark.parametrize(
    ("rewards", "tell"),
    [
        ([*range(10)], True),
        ([*range(9)], False),  # so few may be unlike by chance
        ([*range(10), 3], False),
        ([*range(9), math.nan], True),
        ([*range(9), math.nan, math.nan], False),  # two of them are the same to a reader
    ],
)
def test_ten_rewards_that_are_all_unlike_tell_sessions_apart(rewards, tell):
    steps = [(step, float(reward)) for step, reward in enumerate(rewards, start=1)]
    assert gaps(steps).rewards_tell == tell
    assert not gaps(steps, []).rewards_tell


# --- what follows for saves -----------------------------------------------------------------


def killed_after(logged, rewards=(1.0, 3.0, 2.0, 2.5), *, size=6, save_freq=1):
    """A run that was killed: its log is cut short."""
    trainer = Played("Ant", save_freq, size)
    trainer.run([*rewards, *[0.0] * size][:size], last=len(rewards))
    trainer.relog(list(enumerate(rewards[:logged], start=1)))
    return trainer.files


@pytest.mark.parametrize(
    ("kind", "epoch", "watermark", "expected"),
    [
        (Kind.PERIODIC, 2, None, False),  # it was logged
        (Kind.PERIODIC, 3, None, True),
        (Kind.PERIODIC, 3, 3.0, True),
        (Kind.PERIODIC, 3, 1.0, False),  # a watermark never falls
        (Kind.BEST, 3, 3.0, False),  # and rises with a best
        (Kind.BEST, 3, 3.5, True),
        (Kind.BEST, 2, 3.5, False),
    ],
)
def test_a_save_may_be_of_an_epoch_that_a_killed_session_did_not_log(
    subject, kind, epoch, watermark, expected
):
    doubt = subject(killed_after(2)).doubt
    assert doubt.may_be_unlogged(kind, epoch, watermark) == expected


def test_where_rewards_tell_a_save_is_of_the_session_that_logged_it(subject):
    rewards = [float(number) for number in range(12)]
    for logged, expected in ((10, False), (9, True)):  # nine are too few to tell
        doubt = subject(killed_after(logged, rewards, size=12)).doubt
        assert doubt.may_be_unlogged(Kind.PERIODIC, 11)
        assert doubt.may_be_unlogged(Kind.PERIODIC, 11, logged=True) == expected
        assert (doubt.unlogged_at(11, logged=True) is None) != expected


@pytest.mark.parametrize(("watermark", "expected"), [(None, True), (5.0, True), (-math.inf, False)])
def test_a_best_where_none_was_due_may_be_of_an_unlogged_epoch(subject, watermark, expected):
    doubt = subject(killed_after(1, [math.nan, 2.0])).doubt
    assert doubt.may_be_first_best(2, watermark, -math.inf) == expected
    assert not doubt.may_be_first_best(1, watermark, -math.inf)


def test_the_sessions_that_may_have_saved_at_an_epoch_are_those_that_ended_before(subject):
    trainer, _ = restarted()
    doubt = subject(trainer.files).doubt
    numbers = [
        None if found is None else [session.index for session in found]
        for found in map(doubt.unlogged_at, (3, 4, 7))
    ]
    assert numbers == [None, [0], [0, 1]]
    assert [doubt.most_saves_at(epoch) for epoch in (1, 3, 4, 7)] == [1, 1, 2, 2]
    trainer.files["summaries/events.out.tfevents.1.host.9.0"] = event_file((), started=2e9)
    silent = subject(trainer.files).doubt
    assert silent.unlogged_at(1) == ()
    assert silent.most_saves_at(1) == 2


@pytest.mark.parametrize(
    ("epoch", "why"),
    [
        (5, "the log ends at epoch 4"),
        (6, "the log ends at epoch 4"),
        (7, None),  # the training ends at 6
        (0, None),
    ],
)
def test_why_an_epoch_is_not_logged(subject, epoch, why):
    doubt = subject(killed_after(4)).doubt
    assert doubt.why_unlogged(epoch) == why
    assert doubt.is_behind_the_log(epoch) == (epoch > 4)


def test_why_an_epoch_between_two_sessions_is_not_logged(subject):
    trainer = Played("Ant", 1, 6)
    rewards = [float(epoch) for epoch in range(1, 7)]
    trainer.run(rewards, last=3)
    trainer.relog([(1, 1.0)])
    trainer.resume("last_Antep3rew3.0")
    trainer.run(rewards)
    doubt = subject(trainer.files).doubt
    assert doubt.why_unlogged(2) == "a killed session's log ends before"
    assert doubt.may_have_reached_more(4.0, {3.0, 5.0})
    assert not doubt.may_have_reached_more(3.0, {3.0, 5.0})


def test_why_an_epoch_before_the_first_log_is_not_logged(subject):
    trainer, log = restarted()
    del trainer.files[log]
    assert subject(trainer.files).doubt.why_unlogged(2) == "earlier event files are missing"


def test_the_saves_of_the_last_logged_epoch_alone_may_be_missing(subject):
    found = subject(killed_after(4))
    (session,) = found.history.sessions
    doubt = found.doubt
    assert [doubt.may_be_unsaved(session, epoch) for epoch in (3, 4)] == [False, True]
    assert doubt.may_be_unsaved(session)


def test_multiples_between_the_log_and_the_last_checkpoint_were_reached(subject):
    files = killed_after(1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], save_freq=2)
    found = subject(files)
    (session,) = found.history.sessions
    assert list(found.doubt.saved_behind_the_log(session, 2)) == [2, 4]
    # A checkpoint behind the end of the training tells nothing.
    assert not subject(files, options=Options(max_epochs=5)).doubt.saved_behind_the_log(session, 2)
    assert not subject(restarted()[0].files).doubt.saved_behind_the_log(session, 2)


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
    assert not subject(trainer.files).doubt.earlier_logs_are_lost
    rest = {path: data for path, data in trainer.files.items() if path != log}
    assert subject(rest).doubt.earlier_logs_are_lost
    for epoch in (1, 2):  # that of epoch 3 is enough
        del rest[f"nn/last_Antep{epoch}rew{epoch}.0.pth"]
    assert subject(rest).doubt.earlier_logs_are_lost
    del rest["nn/last_Antep3rew3.0.pth"]  # epoch 4 was logged
    assert not subject(rest).doubt.earlier_logs_are_lost


def test_so_does_one_of_the_first_epoch_alone(subject):
    trainer, log = restarted(first=1)
    del trainer.files[log]
    assert subject(trainer.files).doubt.earlier_logs_are_lost


def test_a_log_that_begins_late_lacks_nothing_where_nothing_was_saved_before(subject):
    trainer = Played("Ant", 1, 4)
    trainer.run([None, 1.0, 2.0, 3.0])
    assert not subject(trainer.files).doubt.earlier_logs_are_lost


def test_a_checkpoint_of_the_last_epoch_tells_that_the_log_stops_short(subject):
    trainer, log = restarted()
    assert subject(trainer.files).doubt.unlogged_end is None
    trainer.relog([(4, 4.0), (5, 5.0)])
    behind = subject(trainer.files)
    assert behind.doubt.unlogged_end.epoch == 6
    assert behind.doubt.sessions_are_unclear
    torn = {**trainer.files, log: trainer.files[log][:-3]}  # whether a record is torn or gone
    assert subject(torn).doubt.unlogged_end.epoch == 6
    assert subject(torn).doubt.sessions_are_unclear


def test_a_stored_epoch_that_the_name_contradicts_tells_nothing_of_the_log(subject):
    trainer = Played("Ant", 1, 4)
    trainer.run([1.0, 2.0, 3.0, 4.0])
    trainer.relog([(1, 1.0), (2, 2.0), (3, 3.0)])
    assert subject(trainer.files).doubt.unlogged_end.epoch == 4
    assert not subject(trainer.files).doubt.sessions_are_unclear  # there is one alone
    trainer.files["nn/last_Antep3rew3.0.pth"] = trainer.files.pop("nn/last_Antep4rew4.0.pth")
    del trainer.files["nn/Ant.pth"]
    assert subject(trainer.files).doubt.unlogged_end is None


# --- whole runs -----------------------------------------------------------------------------


def broken(trainer, root):
    found = audit(scan_run(trainer.write(root)), load_profile())
    return {
        finding.rule
        for finding in found.findings
        if finding.level is Level.MUST and finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    }


def killed(trainer, rewards, last, *, logged):
    """Train to `last` and lose what was logged behind `logged`."""
    trainer.run(rewards, last=last)
    trainer.relog(list(enumerate(rewards[:logged], start=1)))


@pytest.mark.parametrize(
    ("rewards", "logged", "save_freq"),
    [
        ([1.0, 2.0, 0.0, 0.0], 0, 3),  # its log was never flushed; the best is older than all logs
        ([1.0, 2.0, 0.0, 0.0], 1, 3),
        ([1.0, 2.0, 3.0, 0.0], 0, 3),  # a stored watermark that no log shows
        ([1.0, 2.0, 3.0, 0.0], 1, 3),
        ([1.0, 2.0, math.nan, math.nan], 0, 3),  # no logged reward improves on anything
        ([-math.inf, 2.0, math.nan, math.nan], 1, 3),
    ],
)
def test_what_a_killed_session_did_not_log_is_held_against_nobody(
    tmp_path, rewards, logged, save_freq
):
    trainer = Played("A", save_freq, 4)
    killed(trainer, rewards, 2, logged=logged)
    trainer.resume("A")
    trainer.run(rewards)
    assert broken(trainer, tmp_path) == set()


def test_a_best_of_an_epoch_that_no_session_can_have_reached_is_wrong(tmp_path):
    trainer = Played("A", 0, 4, trainer=defects.StoresFrames)
    killed(trainer, [1.0, 2.0, 3.0, 0.0], 2, logged=1)
    trainer.resume("A")
    trainer.run([1.0, 2.0, 3.0, 0.0])
    assert broken(trainer, tmp_path) == {"BEST-002"}


def test_a_session_that_logged_nothing_may_have_saved_an_epoch_again(tmp_path):
    for count, rules in ((1, set()), (2, {"NAME-007"})):
        trainer = Played("A", 2, 4)
        trainer.run([1.0, 2.0, 3.0, 4.0])
        trainer.files["summaries/events.out.tfevents.1.host.9.0"] = event_file((), started=2e9)
        saved = trainer.files["nn/last_Aep2rew2.0.pth"]
        for number in range(count):
            trainer.files[f"nn/last_Aep2rew{number}.5.pth"] = saved
        assert broken(trainer, tmp_path / str(count)) == rules
