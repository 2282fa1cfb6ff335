"""What each session of a chain plays and writes, against a few lines that only keep the files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from conformance import Scenario
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rewards import as_float32
from conformance.convention.scenario import ScenarioError
from conformance.convention.sessions import played, resume_point
from conformance.strategies import chains

DEFAULT = load_profile()
OLDER = load_profile("rl_games-1.6")
GUARDED = load_profile("rl_games-1.5")
# What later rl_games does, and what older ones did at the end.
KEEPS = replace(OLDER, name="keeps", resume_keeps_watermark=True, initial_watermarks=(-math.inf,))
ENDS_LATER = replace(OLDER, name="ends-later", final_at="epoch > max_epochs")
PROFILES = (DEFAULT, OLDER, GUARDED, KEEPS, ENDS_LATER)


def session(*rewards: float | None, save_freq: int = 1, **fields) -> Scenario:
    values = {"experiment": "A", "root": Path("runs"), "max_epochs": len(rewards), **fields}
    return Scenario(save_freq=save_freq, rewards=rewards, **values)


# --- the model: a folder of files and a loop over epochs -----------------------------------------


@dataclass
class File:
    """A checkpoint; `counts` says whether its reward could move the watermark."""

    kind: str
    epoch: int
    reward: float
    stored: float
    counts: bool
    order: int


class Folder:
    """A run's files by name: a later write of the same name replaces the earlier one."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.order = 0

    def write(self, kind: str, epoch: int, reward: float, stored: float, *, counts: bool) -> None:
        """Each best replaces the one before, and so does a file of equal kind, epoch and reward."""
        name = "best" if kind == "best" else f"{kind}-{epoch}-{reward}"
        self.order += 1
        self.files[name] = File(kind, epoch, reward, stored, counts, self.order)

    def source(self, resume: str) -> File:
        """The file that a session is resumed from."""
        wanted = [file for file in self.files.values() if resume == "last" or file.kind == "best"]
        return max(wanted, key=lambda file: (file.epoch, file.order))

    def watermark(self, source: File) -> float:
        """What it then starts from."""
        highest = source.stored
        if source.counts and source.reward > highest:
            highest = source.reward
        best = self.files.get("best")
        return best.stored if best and best.stored > highest else highest


def simulated(profile, chain):
    """For each session its source, its first and last epoch, its watermark and its writes."""
    folder = Folder()
    found = []
    for scenario in chain:
        first, watermark = 1, profile.initial_watermarks[0]
        held = None
        if scenario.resume:
            source = folder.source(scenario.resume)
            held = (source.kind, source.epoch, repr(source.reward), repr(source.stored))
            first = source.epoch + 1
            if profile.resume_keeps_watermark:
                watermark = folder.watermark(source)
        last = scenario.max_epochs + (1 if profile is ENDS_LATER else 0)
        writes = train(profile, scenario, folder, range(first, last + 1), watermark)
        found.append((held, first, last, repr(watermark), writes))
    return found


def train(profile, scenario, folder, epochs, watermark):
    writes = []
    final = {"never": math.inf, "epoch >= max_epochs": 0, "epoch > max_epochs": 1}
    ends_at = scenario.max_epochs + final[profile.final_at]
    for epoch in epochs:
        reward = (*scenario.rewards, None)[epoch - 1]
        if reward is None:
            if epoch >= ends_at:
                folder.write("final", epoch, -math.inf, watermark, counts=True)
                writes.append(("final", epoch, "-inf", repr(watermark)))
            continue
        counts = not profile.has_save_best_after or epoch >= scenario.save_best_after
        better = as_float32(reward) > as_float32(watermark)
        guarded = profile.legacy_guard and (better or math.isnan(reward))
        due = []
        if scenario.save_freq and epoch % scenario.save_freq == 0 and not guarded:
            due.append(("periodic", watermark))
        if counts and better:
            watermark = reward
            due.append(("best", watermark))
        if epoch >= ends_at:
            due.append(("final", watermark))
        for kind, stored in due:
            folder.write(kind, epoch, reward, stored, counts=counts)
            writes.append((kind, epoch, repr(reward), repr(stored)))
    return writes


def summed_up(profile, chain):
    return [
        (
            one.resumed_from and held(one.resumed_from, one.resumed_from.stored),
            one.first,
            one.last,
            repr(one.watermark),
            [held(save, save.watermark) for save in one.saves],
        )
        for one in played(profile, chain)
    ]


def held(checkpoint, stored):
    return (checkpoint.kind.value, checkpoint.epoch, repr(checkpoint.reward), repr(stored))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_chain_plays_as_the_folder_of_its_files_has_it(profile) -> None:
    @settings(max_examples=150, deadline=None)
    @given(chains(profile=profile, save_best_after=True))
    def check(chain):
        assert summed_up(profile, chain) == simulated(profile, chain)

    check()


# --- by example ----------------------------------------------------------------------------------


def test_a_fresh_session_starts_at_epoch_one_from_the_initial_watermark() -> None:
    (one,) = played(DEFAULT, [session(None, 2.0, 1.0)])
    assert (one.first, one.last, one.watermark, one.resumed_from) == (1, 3, -math.inf, None)
    assert one.rewards == {2: 2.0, 3: 1.0}
    assert [(save.kind, save.epoch) for save in one.saves] == [
        (Kind.PERIODIC, 2),
        (Kind.BEST, 2),
        (Kind.PERIODIC, 3),
    ]


def test_rewards_after_max_epochs_are_not_played() -> None:
    (one,) = played(DEFAULT, [session(1.0, 2.0, 9.0, max_epochs=2)])
    assert one.rewards == {1: 1.0, 2: 2.0}


def test_last_is_the_highest_epoch_as_a_number_not_as_a_text() -> None:
    point = resume_point(DEFAULT, [session(*(float(-epoch) for epoch in range(10)))], "last")
    assert point is not None
    assert (point.kind, point.epoch) == (Kind.PERIODIC, 10)


def test_last_is_the_best_checkpoint_where_that_stores_the_highest_epoch() -> None:
    chain = [session(1.0, 2.0, 3.0, save_freq=2)]
    for resume in ("best", "last"):
        point = resume_point(DEFAULT, chain, resume)
        assert point is not None
        assert (point.kind, point.epoch) == (Kind.BEST, 3)


def test_of_one_epoch_the_newest_write_is_the_last() -> None:
    point = resume_point(DEFAULT, [session(1.0, 2.0)], "last")
    assert point is not None
    assert point.kind is Kind.BEST  # the periodic one of epoch 2 came before it
    assert resume_point(OLDER, [session(1.0, 2.0)], "last").kind is Kind.FINAL


def test_a_session_may_go_on_from_files_of_the_one_before_the_last() -> None:
    chain = [
        session(5.0, 1.0, 2.0, 3.0),
        session(5.0, 4.0, max_epochs=2, resume="best"),
    ]
    point = resume_point(DEFAULT, chain, "last")
    assert point is not None
    assert (point.session, point.epoch, point.reward, point.watermark) == (0, 4, 3.0, 5.0)


def test_the_newer_of_two_files_for_an_epoch_is_the_last() -> None:
    chain = [session(5.0, 1.0), session(5.0, 4.0, resume="best")]
    point = resume_point(DEFAULT, chain, "last")
    assert point is not None
    assert (point.session, point.reward) == (1, 4.0)


def test_a_best_of_a_later_session_is_newer_than_an_older_file_of_its_epoch() -> None:
    chain = [session(5.0, 4.0, 3.0), session(5.0, 6.0, 7.0, save_freq=0, resume="best")]
    point = resume_point(DEFAULT, chain, "last")
    assert point is not None
    assert (point.kind, point.epoch, point.session, point.reward) == (Kind.BEST, 3, 1, 7.0)


def test_a_best_that_a_replay_raised_counts_where_an_older_file_is_resumed_from() -> None:
    chain = [session(5.0, 1.0, 2.0), session(5.0, 8.0, resume="best")]
    point = resume_point(DEFAULT, chain, "last")
    assert point is not None
    assert (point.session, point.epoch, point.stored, point.watermark) == (0, 3, 5.0, 8.0)


def test_a_fresh_best_that_is_worse_lowers_no_watermark_of_an_older_file() -> None:
    fresh = session(2.0, save_freq=0)
    stored = resume_point(DEFAULT, [session(9.0, 1.0), fresh], "last")
    assert stored is not None
    assert (stored.epoch, stored.reward, stored.watermark) == (2, 1.0, 9.0)
    # A periodic checkpoint at a new best stores the watermark from before it.
    own = resume_point(DEFAULT, [session(1.0, 9.0), fresh], "last")
    assert own is not None
    assert (own.epoch, own.stored, own.watermark) == (2, 1.0, 9.0)


def test_a_best_that_was_overwritten_is_no_longer_there() -> None:
    chain = [session(1.0, 2.0, 9.0, save_freq=0), session(1.0, save_freq=0)]
    point = resume_point(DEFAULT, chain, "last")
    assert point is not None
    assert (point.session, point.epoch, point.watermark) == (1, 1, 1.0)


def test_a_resumed_session_keeps_the_watermark_of_the_best_file() -> None:
    chain = [session(5.0, 1.0), session(5.0, 1.0, 4.0, resume="last")]
    one, two = played(DEFAULT, chain)
    assert one.saves[-1].watermark == 5.0
    assert (two.first, two.watermark) == (3, 5.0)
    assert {save.kind for save in two.saves} == {Kind.PERIODIC}
    # Where the profile does not, the worse epoch replaces the best.
    assert [save.kind for save in played(OLDER, chain)[1].saves] == [
        Kind.PERIODIC,
        Kind.BEST,
        Kind.FINAL,
    ]


def test_a_reward_that_is_not_a_number_is_no_watermark() -> None:
    point = resume_point(DEFAULT, [session(math.nan)], "last")
    assert point is not None
    assert math.isnan(point.reward)
    assert point.watermark == -math.inf


def test_a_reward_from_before_save_best_after_is_no_watermark() -> None:
    late = session(7.0, save_best_after=2)
    assert resume_point(KEEPS, [late], "last").watermark == -math.inf
    assert resume_point(KEEPS, [session(7.0)], "last").watermark == 7.0


def test_a_final_save_without_an_episode_can_be_resumed_from() -> None:
    chain = [session(None, None)]
    point = resume_point(OLDER, chain, "last")
    assert point is not None
    assert (point.kind, point.epoch, point.reward) == (Kind.FINAL, 2, -math.inf)
    assert resume_point(DEFAULT, chain, "last") is None


def test_there_may_be_no_best_to_resume_from() -> None:
    chain = [session(math.nan, -math.inf)]
    assert resume_point(DEFAULT, chain, "best") is None
    assert resume_point(DEFAULT, chain, "last").epoch == 2


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([session(1.0, resume="best")], 'session 1 is to be resumed from "best", and no session'),
        ([session(None), session(None, 1.0, resume="last")], 'session 2 is to be resumed from "l'),
        ([session(1.0), session(1.0, 2.0, experiment="B", resume="last")], "session 2 is of anoth"),
        ([session(1.0), session(1.0, 2.0, root=Path("x"), resume="last")], "session 2 is of anoth"),
    ],
    ids=["nothing before", "nothing written", "other name", "other root"],
)
def test_a_chain_that_cannot_be_played_is_refused(chain, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        played(DEFAULT, chain)


def test_another_word_than_best_or_last_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'newest'"):
        resume_point(DEFAULT, [session(1.0)], "newest")
