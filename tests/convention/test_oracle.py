"""The oracle, by tables written by hand and by the trainers' own loops written out again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.convention.oracle import (
    Epoch,
    Save,
    Settings,
    epochs,
    expected_saves,
    first_best_epoch,
    is_periodic,
)
from conformance.convention.profile import Ending, Kind, load_profile

BEST, PERIODIC, FINAL = Kind.BEST, Kind.PERIODIC, Kind.FINAL
NAN, INF = math.nan, math.inf
DEFAULT = load_profile()
V15, V16 = load_profile("rl_games-1.5"), load_profile("rl_games-1.6")
AT_ONCE = 0  # save_best_after

quick = settings(deadline=None)


def _known(*rewards: float | None) -> dict[int, float]:
    return {epoch: reward for epoch, reward in enumerate(rewards, start=1) if reward is not None}


def _run(save_freq: int | None = 2, **others: int | None) -> Settings:
    return Settings("A", save_freq, **others)


# --- the default profile --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "save_freq", "expected"),
    [
        pytest.param((), 1, [], id="nothing known"),
        pytest.param((1.0,), 0, [(BEST, 1, 1.0)], id="save_freq 0 writes the best alone"),
        pytest.param((1.0,), None, [(BEST, 1, 1.0)], id="unknown save_freq counts as 0"),
        pytest.param((1.0,), 2, [(BEST, 1, 1.0)], id="before the first multiple"),
        pytest.param(
            (1.0, 3.0, 2.0, 4.0),
            2,
            [
                (BEST, 1, 1.0),
                (PERIODIC, 2, 1.0),
                (BEST, 2, 3.0),
                (PERIODIC, 4, 3.0),
                (BEST, 4, 4.0),
            ],
            id="the periodic one first, with the watermark from before",
        ),
        pytest.param((5.0, 5.0), 0, [(BEST, 1, 5.0)], id="a tie"),
        pytest.param((485.3, 485.29998779296875), 0, [(BEST, 1, 485.3)], id="a tie as float32"),
        pytest.param((5.0, 3.0, 4.0), 0, [(BEST, 1, 5.0)], id="lower"),
        pytest.param((5.0, 3.0, 6.0), 0, [(BEST, 1, 5.0), (BEST, 3, 6.0)], id="lower, then higher"),
        pytest.param(
            (1.0, 2.0, 3.0), 0, [(BEST, 1, 1.0), (BEST, 2, 2.0), (BEST, 3, 3.0)], id="each higher"
        ),
        pytest.param((NAN, NAN), 1, [(PERIODIC, 1, -INF), (PERIODIC, 2, -INF)], id="only NaN"),
        pytest.param(
            (1.0, NAN, 2.0),
            0,
            [(BEST, 1, 1.0), (BEST, 3, 2.0)],
            id="an improvement after a NaN",
        ),
        pytest.param((NAN, 1.0), 0, [(BEST, 2, 1.0)], id="NaN first"),
        pytest.param((-INF, -INF), 0, [], id="-inf never improves on -inf"),
        pytest.param((-INF, -5.0), 0, [(BEST, 2, -5.0)], id="-inf, then a number"),
        pytest.param((INF, 7.0, INF), 0, [(BEST, 1, INF)], id="+inf is never beaten"),
        pytest.param((1e39, INF), 0, [(BEST, 1, 1e39)], id="beyond float32 is inf"),
        pytest.param((0.0, -0.0), 0, [(BEST, 1, 0.0)], id="-0.0 ties with 0.0"),
        pytest.param((-0.0, 0.0), 0, [(BEST, 1, -0.0)], id="0.0 ties with -0.0"),
        pytest.param((-1e30,), 0, [(BEST, 1, -1e30)], id="any number improves on -inf"),
        pytest.param(
            (None, None, 1.0, 0.5),
            2,
            [(BEST, 3, 1.0), (PERIODIC, 4, 1.0)],
            id="no finished episode, no save",
        ),
        pytest.param((None, None), 1, [], id="no episode ever finished"),
    ],
)
def test_the_default_profile_saves(
    rewards: tuple[float | None, ...],
    save_freq: int | None,
    expected: list[tuple[Kind, int, float]],
) -> None:
    saves = expected_saves(DEFAULT, _run(save_freq), _known(*rewards))
    assert [(save.kind, save.epoch, save.watermark) for save in saves] == expected


def test_a_save_carries_its_own_epochs_reward() -> None:
    saves = expected_saves(DEFAULT, _run(1), _known(3.0, 2.0))
    assert saves == (
        Save(PERIODIC, 1, 3.0, -INF),
        Save(BEST, 1, 3.0, 3.0),
        Save(PERIODIC, 2, 2.0, 3.0),
    )


def test_the_default_profile_ignores_save_best_after_and_ends_without_a_save() -> None:
    rewards = _known(1.0, 2.0)
    plain = expected_saves(DEFAULT, _run(0), rewards)
    assert expected_saves(DEFAULT, _run(0, save_best_after=2, max_epochs=2), rewards) == plain
    assert first_best_epoch(DEFAULT, _run(0, save_best_after=9)) == 0


def test_a_resumed_session_starts_from_the_watermark_that_it_is_given() -> None:
    later = {4: 8.0, 5: 9.5}
    assert expected_saves(DEFAULT, _run(2), later, watermark=9.0) == (
        Save(PERIODIC, 4, 8.0, 9.0),
        Save(BEST, 5, 9.5, 9.5),
    )


def test_a_watermark_of_nan_is_never_beaten() -> None:
    assert expected_saves(DEFAULT, _run(0), _known(1.0, 2.0), watermark=NAN) == ()


def test_epochs_are_stepped_through_in_their_order() -> None:
    stepped = list(epochs(DEFAULT, _run(2), {2: 1.0, 1: 3.0}))
    assert stepped == [Epoch(1, 3.0, -INF, 3.0, True), Epoch(2, 1.0, 3.0, 3.0, False)]


# --- switches of other profiles -------------------------------------------------------------


def test_save_best_after_holds_the_best_and_the_watermark_back() -> None:
    run = _run(0, save_best_after=3)
    saves = expected_saves(V16, run, _known(9.0, 8.0, 7.0, 7.0, 8.0))
    assert [(save.epoch, save.watermark) for save in saves] == [(3, 7.0), (5, 8.0)]


@pytest.mark.parametrize(("given_value", "first"), [(None, 100), (0, 0), (7, 7)])
def test_save_best_after_has_a_default(given_value: int | None, first: int) -> None:
    assert first_best_epoch(V15, _run(0, save_best_after=given_value)) == first


def test_the_first_best_epoch_may_write_a_best_itself() -> None:
    rewards = dict.fromkeys(range(1, 101), 5.0)
    saves = expected_saves(V16, _run(0), rewards)
    assert [(save.kind, save.epoch) for save in saves] == [(BEST, 100)]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1.0, 2.0, 3.0), []),  # a new best each time
        ((3.0, 2.0, 3.0), [2, 3]),  # lower, equal
        ((3.0, NAN, 4.0), []),  # NaN <= 3.0 is False
        ((485.3, 485.29998779296875), [2]),  # a tie as float32
        ((-200000.0,), [1]),  # below the initial watermark
        ((-100500.0,), [1]),  # at the initial watermark
    ],
)
def test_the_legacy_guard_saves_no_periodic_at_a_new_best(
    rewards: tuple[float, ...], expected: list[int]
) -> None:
    saves = expected_saves(V15, _run(1, save_best_after=AT_ONCE), _known(*rewards))
    assert [save.epoch for save in saves if save.kind is PERIODIC] == expected


def test_the_legacy_guard_lets_nothing_through_before_the_first_best() -> None:
    """No best before save_best_after, so the watermark stays, and no reward is at or below it."""
    saves = expected_saves(V15, _run(1, save_best_after=3), _known(5.0, 4.0, 3.0, 2.0))
    assert [(save.kind, save.epoch) for save in saves] == [(BEST, 3), (PERIODIC, 4)]


def test_1_6_dropped_the_guard() -> None:
    saves = expected_saves(V16, _run(1, save_best_after=AT_ONCE), _known(1.0, 2.0))
    assert [save.epoch for save in saves if save.kind is PERIODIC] == [1, 2]


@pytest.mark.parametrize(("profile", "watermark"), [(DEFAULT, -INF), (V15, -100500.0), (V16, -1e9)])
def test_a_reward_at_the_initial_watermark_is_no_improvement(
    profile: object, watermark: float
) -> None:
    run = _run(0, save_best_after=AT_ONCE)
    above = float(np.nextafter(np.float32(watermark), np.float32(0)))
    assert expected_saves(profile, run, _known(watermark)) == ()
    assert expected_saves(profile, run, _known(above)) == (Save(BEST, 1, above, above),)


@pytest.mark.parametrize(
    ("final_at", "finals"),
    [("never", []), ("epoch >= max_epochs", [3, 4]), ("epoch > max_epochs", [4])],
)
def test_the_final_save(final_at: str, finals: list[int]) -> None:
    profile = replace(V16, final_at=final_at)
    run = _run(0, max_epochs=3, save_best_after=AT_ONCE)
    saves = expected_saves(profile, run, _known(1.0, 2.0, 5.0, 4.0))
    assert [save.epoch for save in saves if save.kind is FINAL] == finals


def test_the_final_save_comes_last_and_stores_the_new_watermark() -> None:
    run = _run(1, max_epochs=1, save_best_after=AT_ONCE)
    assert expected_saves(V16, run, _known(5.0)) == (
        Save(PERIODIC, 1, 5.0, -1e9),
        Save(BEST, 1, 5.0, 5.0),
        Save(FINAL, 1, 5.0, 5.0),
    )


def test_without_max_epochs_there_is_no_final_save() -> None:
    saves = expected_saves(V16, _run(0, save_best_after=AT_ONCE), _known(1.0, 2.0))
    assert {save.kind for save in saves} == {BEST}


@pytest.mark.parametrize(
    ("ends", "written"),
    [
        ({"max_frames": 1024}, [("max_frames", 2, 1024)]),
        ({"max_frames": 1025}, [("max_frames", 3, 1536)]),
        ({"max_frames": 1024, "max_epochs": 2}, [("max_epochs", 2, 1024), ("max_frames", 2, 1024)]),
        ({"max_frames": 1024, "frames": None}, []),
        ({"custom_stop": 3}, [("custom stop", 3, 1536)]),
        ({"custom_stop": 2, "max_frames": 1536}, [("custom stop", 2, 1024)]),
        ({}, []),
    ],
)
def test_a_training_ends_by_frames_or_a_callback(
    ends: dict[str, int | None], written: list[tuple[str, int, int]]
) -> None:
    rewards = _known(1.0, 3.0, 2.0, 4.0)
    given_settings = Settings("A", 0, save_best_after=0, **{"frames": 512, **ends})
    saves = expected_saves(load_profile("rl_games-2.0"), given_settings, rewards)
    finals = [save for save in saves if save.kind is FINAL]
    assert [(save.ending.value, save.epoch, save.frame) for save in finals] == written
    last = max([epoch for _, epoch, _ in written], default=4)
    assert max(save.epoch for save in saves) <= last  # nothing follows the end


@pytest.mark.parametrize("profile", ["isaacgymenvs", "rl_games-1.5", "amp"])
def test_a_dialect_without_a_name_for_an_end_does_not_end_so(profile: str) -> None:
    ends = Settings("A", 0, max_frames=512, frames=512, custom_stop=1, save_best_after=0)
    saves = expected_saves(load_profile(profile), ends, _known(1.0, 2.0))
    assert [save.kind for save in saves if save.kind is FINAL] == []


def test_a_final_save_by_frames_needs_no_finished_episode() -> None:
    ends = Settings("A", 0, max_frames=512, frames=512)
    (save,) = expected_saves(V16, ends, {}, span=[1])
    assert (save.ending, save.reward, save.rewarded) == (Ending.FRAMES, -INF, False)


def test_a_profile_without_a_best_writes_none_and_its_watermark_never_moves() -> None:
    saves = expected_saves(replace(DEFAULT, has_best=False), _run(2), _known(1.0, 2.0))
    assert saves == (Save(PERIODIC, 2, 2.0, -INF),)


@pytest.mark.parametrize(("epoch", "due"), [(1, False), (5, True), (6, False), (10, True)])
def test_periodic_epochs_are_multiples(epoch: int, due: bool) -> None:
    assert is_periodic(DEFAULT, 5, Epoch(epoch, 1.0, 2.0, 2.0, improved=False)) is due


# --- dialects, save by save -----------------------------------------------------------------

WIN, LATEST = Kind.WIN, Kind.LATEST
START = -100500.0


@pytest.mark.parametrize(
    ("profile", "rewards", "expected"),
    [
        # Three epochs and one more where the profile ends late; save_freq 2, a win above 9.
        pytest.param(
            "rl_games-1.0",
            (5.0, 4.0, 6.0, 3.0),
            [
                (BEST, 1, 5.0, 5.0),
                (PERIODIC, 2, 4.0, 5.0),
                (BEST, 3, 6.0, 6.0),
                (PERIODIC, 4, 3.0, 6.0),
                (FINAL, 4, 3.0, 6.0),
            ],
            id="1.0 ends one epoch late, and may spell two saves alike",
        ),
        pytest.param(
            "rl_games-1.1",
            (5.0, 4.0, 3.0, 10.0),
            [
                (BEST, 1, 5.0, 5.0),
                (PERIODIC, 2, 4.0, 5.0),
                (BEST, 4, 10.0, 10.0),
                (WIN, 4, 10.0, 10.0),
                (FINAL, 4, 10.0, 10.0),
            ],
            id="1.1 wins in its last epoch, which has a final save too",
        ),
        pytest.param(
            "rl_games-1.0",
            (5.0, 4.0, 3.0, 10.0),
            [
                (BEST, 1, 5.0, 5.0),
                (PERIODIC, 2, 4.0, 5.0),
                (BEST, 4, 10.0, 10.0),
                (WIN, 4, 10.0, 10.0),
            ],
            id="1.0 wins and writes nothing after it",
        ),
        pytest.param(
            "rl_games-1.1", (None,) * 4, [], id="1.1 stumbles over a missing mean at its end"
        ),
        pytest.param(
            "rl_games-1.5",
            (None,) * 3,
            [(FINAL, 3, -INF, START)],
            id="1.5 ends without an episode",
        ),
        pytest.param(
            "rl_games-1.5",
            (5.0, 10.0, 11.0),
            [(BEST, 1, 5.0, 5.0), (BEST, 2, 10.0, 10.0), (WIN, 2, 10.0, 10.0)],
            id="1.5 is won and trains no more",
        ),
        pytest.param(
            "rl_games-1.6.0",
            (5.0, 6.0, 4.0),
            [(BEST, 1, 5.0, 5.0), (BEST, 2, 6.0, 6.0), (FINAL, 3, 4.0, 6.0)],
            id="1.6.0 has the guard",
        ),
        pytest.param(
            "rl_games-1.6",
            (5.0, 10.0),
            [
                (BEST, 1, 5.0, 5.0),
                (PERIODIC, 2, 10.0, 5.0),
                (BEST, 2, 10.0, 10.0),
                (WIN, 2, 10.0, 10.0),
            ],
            id="1.6 has none",
        ),
        pytest.param(
            "rl_games-2.0",
            (None, -1e30, None),
            [(PERIODIC, 2, -1e30, -INF), (BEST, 2, -1e30, -1e30), (FINAL, 3, -INF, -1e30)],
            id="2.0 starts from -inf",
        ),
        pytest.param(
            "rl_games-sac-1.6",
            (None, None, None),
            [],
            id="older SAC never ends without an episode",
        ),
        pytest.param(
            "rl_games-sac-1.6",
            (None, 5.0, 4.0),
            [(PERIODIC, 2, 5.0, -1e9), (BEST, 2, 5.0, 5.0), (FINAL, 3, 4.0, 5.0)],
            id="older SAC writes in PPO's order",
        ),
        pytest.param(
            "rl_games-sac",
            (None, None, None),
            [(PERIODIC, 2, -INF, -INF), (FINAL, 3, -INF, -INF)],
            id="later SAC writes without an episode",
        ),
        pytest.param(
            "rl_games-sac",
            (5.0, 10.0, 11.0),
            [
                (BEST, 1, 5.0, 5.0),
                (BEST, 2, 10.0, 10.0),
                (WIN, 2, 10.0, 10.0),
                (PERIODIC, 2, 10.0, 10.0),
            ],
            id="later SAC writes the periodic one last, with the new watermark",
        ),
        pytest.param(
            "amp",
            (None, None, 5.0, 10.0),
            [(PERIODIC, 2, -INF, START), (PERIODIC, 4, 10.0, START), (FINAL, 4, 10.0, START)],
            id="AMP has no best, and its watermark never moves",
        ),
        pytest.param(
            "ase",
            (None, 6.0, 5.0, 4.0),
            [
                (LATEST, 2, 6.0, START),
                (PERIODIC, 2, 6.0, START),
                (LATEST, 4, 4.0, START),
                (PERIODIC, 4, 4.0, START),
                (FINAL, 4, 4.0, START),
            ],
            id="ASE rewrites its latest before each numbered one",
        ),
    ],
)
def test_each_dialect_saves(
    profile: str,
    rewards: tuple[float | None, ...],
    expected: list[tuple[Kind, int, float, float]],
) -> None:
    run = Settings("A", 2, max_epochs=3, save_best_after=AT_ONCE, score_to_win=9.0)
    span = range(1, len(rewards) + 1)
    saves = expected_saves(load_profile(profile), run, _known(*rewards), span=span)
    assert [(save.kind, save.epoch, save.reward, save.watermark) for save in saves] == expected


def test_a_score_to_win_that_is_not_known_ends_nothing() -> None:
    run = Settings("A", 0, save_best_after=AT_ONCE)
    assert [save.kind for save in expected_saves(V16, run, _known(1.0, 1e9))] == [BEST, BEST]
    at_score = replace(run, score_to_win=1e9)
    assert [save.kind for save in expected_saves(V16, at_score, _known(1.0, 1e9))] == [BEST, BEST]


def test_a_profile_without_a_win_is_never_won() -> None:
    run = Settings("A", 0, score_to_win=0.0)
    assert [save.kind for save in expected_saves(DEFAULT, run, _known(1.0, 2.0))] == [BEST, BEST]


def test_an_epoch_that_is_not_spanned_is_not_played() -> None:
    run = _run(1, max_epochs=1, save_best_after=AT_ONCE)
    assert expected_saves(V16, run, {}) == ()
    assert expected_saves(V16, run, {}, span=(1,)) == (Save(FINAL, 1, -INF, -1e9, rewarded=False),)


# --- the trainers' loops, written out again -------------------------------------------------


_Saved = list[tuple[str, int, bytes]]


def _train_as_the_source_text(rewards: list[float | None], save_freq: int) -> _Saved:
    """`CommonAgent.train()` as the convention's source text prints it, its saving alone."""
    last_mean_rewards = np.float32(-np.inf)
    saved = []
    for epoch_num, known in enumerate(rewards, start=1):
        if known is None:
            continue
        mean_rewards = np.float32(known)
        if save_freq and epoch_num % save_freq == 0:
            saved.append(("last_", epoch_num, last_mean_rewards.tobytes()))
        if mean_rewards > last_mean_rewards:
            last_mean_rewards = mean_rewards
            saved.append(("", epoch_num, last_mean_rewards.tobytes()))
    return saved


def _train_as_rl_games_1_5(
    rewards: list[float | None], save_freq: int, max_epochs: int, save_best_after: int
) -> _Saved:
    """`ContinuousA2CBase.train()` of rl_games 1.5.2, its saving alone."""
    last_mean_rewards = np.float32(-100500)
    saved = []
    for epoch_num, known in enumerate(rewards, start=1):
        if known is not None:
            mean_rewards = [np.float32(known)]
            is_due = save_freq > 0 and epoch_num % save_freq == 0
            if is_due and mean_rewards[0] <= last_mean_rewards:
                saved.append(("last_", epoch_num, last_mean_rewards.tobytes()))
            if mean_rewards[0] > last_mean_rewards and epoch_num >= save_best_after:
                last_mean_rewards = mean_rewards[0]
                saved.append(("", epoch_num, last_mean_rewards.tobytes()))
        if epoch_num >= max_epochs:
            saved.append(("final", epoch_num, last_mean_rewards.tobytes()))
            break
    return saved


_PREFIX = {PERIODIC: "last_", BEST: "", FINAL: "final"}
_rewards = st.floats(width=32) | st.sampled_from([1.0, 2.0, 3.0, NAN, -INF, INF, 0.0, -0.0])


@st.composite
def _trainings(draw: st.DrawFn, *, all_silent: bool) -> list[float | None]:
    """Mean rewards per epoch: None only before the first number."""
    known = draw(st.lists(_rewards, min_size=0 if all_silent else 1, max_size=20))
    return [None] * draw(st.integers(0, 4)) + known


def _as_tuples(saves: tuple[Save, ...]) -> _Saved:
    return [
        (_PREFIX[save.kind], save.epoch, np.float32(save.watermark).tobytes()) for save in saves
    ]


@quick
@given(_trainings(all_silent=True), st.integers(0, 6))
def test_the_oracle_saves_what_the_source_text_saves(
    rewards: list[float | None], save_freq: int
) -> None:
    saves = expected_saves(DEFAULT, _run(save_freq), _known(*rewards))
    assert _as_tuples(saves) == _train_as_the_source_text(rewards, save_freq)


@quick
@given(_trainings(all_silent=True), st.integers(1, 6), st.integers(0, 20))
def test_sessions_that_keep_the_watermark_save_what_one_long_session_saves(
    rewards: list[float | None], save_freq: int, cut: int
) -> None:
    known = _known(*rewards)
    first = {epoch: reward for epoch, reward in known.items() if epoch <= cut}
    second = {epoch: reward for epoch, reward in known.items() if epoch > cut}
    run = _run(save_freq)
    watermark = max((at.after for at in epochs(DEFAULT, run, first)), default=-INF)
    halves = (
        *expected_saves(DEFAULT, run, first),
        *expected_saves(DEFAULT, run, second, watermark=watermark),
    )
    assert _as_tuples(halves) == _as_tuples(expected_saves(DEFAULT, run, known))


@quick
@given(_trainings(all_silent=False), st.integers(0, 6), st.integers(0, 12))
def test_the_oracle_saves_what_rl_games_1_5_saves(
    rewards: list[float | None], save_freq: int, save_best_after: int
) -> None:
    run = _run(save_freq, max_epochs=len(rewards), save_best_after=save_best_after)
    saves = expected_saves(V15, run, _known(*rewards))
    saved = _train_as_rl_games_1_5(rewards, save_freq, len(rewards), save_best_after)
    assert _as_tuples(saves) == saved


@quick
@given(_trainings(all_silent=True))
def test_the_last_best_is_the_first_epoch_of_the_highest_reward(
    rewards: list[float | None],
) -> None:
    numbers = {
        epoch: np.float32(reward)
        for epoch, reward in _known(*rewards).items()
        if not math.isnan(reward) and reward != -INF
    }
    bests = expected_saves(DEFAULT, _run(0), _known(*rewards))
    if not numbers:
        assert bests == ()
    else:
        highest = max(numbers.values())
        first = min(epoch for epoch, reward in numbers.items() if reward == highest)
        assert bests[-1].epoch == first
        assert np.float32(bests[-1].watermark) == highest
