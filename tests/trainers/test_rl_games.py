"""The real rl_games, played by script and held against its own profile and the default one."""

from __future__ import annotations

import importlib.util
import math
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conformance import Scenario
from conformance.checks import audit
from conformance.convention.names import parse_name
from conformance.convention.profile import Kind, load_profile
from conformance.convention.rewards import as_float32, is_rounding_of, same_reward
from conformance.convention.rules import Level, Verdict
from conformance.convention.sessions import played
from conformance.evidence.checkpoint import read_item
from conformance.evidence.journal import Watcher, writes
from conformance.evidence.runs import scan_run
from conformance.evidence.summaries import read_event_file
from conformance.run.files import CheckpointFile
from conformance.run.settings import Options
from conformance.trainers import UnsupportedScenario, open_trainer, rl_games
from conformance.trainers.rl_games import RlGames, RlGamesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OWN, DEFAULT = load_profile("rl_games-1.6"), load_profile()
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def trainer() -> RlGames:
    return RlGames()


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    with Watcher() as watcher:
        yield watcher


def _chain(root: Path, *sessions: Scenario) -> tuple[Scenario, ...]:
    return tuple(replace(session, root=root) for session in sessions)


def _session(
    *rewards: float | None,
    save_freq: int = 2,
    after: int = 0,
    resume: str | None = None,
    experiment: str = "Ant",
) -> Scenario:
    """A session of as many epochs as there are rewards."""
    return Scenario(experiment, Path(), save_freq, len(rewards), rewards, after, resume)


def _play(trainer: RlGames, root: Path, *sessions: Scenario) -> tuple[Scenario, ...]:
    chain = _chain(root, *sessions)
    for scenario in chain:
        trainer.train(scenario)
    return chain


def _files(chain: Iterable[Scenario]) -> list[CheckpointFile]:
    first = next(iter(chain))
    return [
        CheckpointFile(entry, parse_name(OWN, first.experiment, entry.name), OWN)
        for entry in scan_run(first.root / first.experiment).at("nn")
    ]


def _names(chain: Iterable[Scenario]) -> set[str]:
    return {file.entry.name for file in _files(chain)}


def _logs(chain: Iterable[Scenario]) -> list[dict[int, float]]:
    """The rewards that each session logged, in order of their sessions."""
    first = next(iter(chain))
    folder = first.root / first.experiment / "summaries"
    logs = sorted(map(read_event_file, folder.iterdir()), key=lambda log: log.first_wall_time or 0)
    assert [log.problem for log in logs] == [None] * len(logs)
    return [{entry.step: entry.value for entry in log.rewards} for log in logs]


def _failures(
    chain: tuple[Scenario, ...], profile: str, verdict: Verdict = Verdict.FAIL
) -> set[str]:
    """The MUST rules that the run breaks under a profile, or that have another verdict."""
    last = chain[-1]
    options = Options(
        save_freq=last.save_freq, max_epochs=last.max_epochs, save_best_after=last.save_best_after
    )
    report = audit(scan_run(last.root / last.experiment), load_profile(profile), options)
    assert [finding for finding in report.findings if finding.verdict is Verdict.ERROR] == []
    return {
        finding.rule
        for finding in report.findings
        if finding.verdict is verdict and finding.level is Level.MUST
    }


# --- one session ----------------------------------------------------------------------------


def test_a_session_writes_what_rl_games_writes(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(trainer, tmp_path, _session(None, 1.5, -2.0, NAN, 3.25, save_freq=2))
    stored = {file.entry.name: (file.epoch, file.watermark) for file in _files(chain)}
    assert stored == {
        "last_Ant_ep_2_rew_1.5.pth": (2, -1e9),
        "last_Ant_ep_4_rew_nan.pth": (4, 1.5),
        "Ant.pth": (5, 3.25),
        "last_Ant_ep_5_rew__3.25_.pth": (5, 3.25),
    }
    assert _failures(chain, "rl_games-1.6") == set()


def test_the_mean_rewards_are_the_given_float32(trainer: RlGames, tmp_path: Path) -> None:
    given_rewards = (0.1, 1e-45, -0.0, NAN, INF, -INF, 3.4028234663852886e38, 16777217.0, 1e39)
    chain = _play(trainer, tmp_path, _session(*given_rewards, save_freq=1))
    logged = _logs(chain)[0]
    assert list(logged) == list(range(1, 10))
    assert [repr(value) for value in logged.values()] == [
        repr(as_float32(reward)) for reward in given_rewards
    ]


def test_rewards_that_are_not_finite_do_not_reach_the_weights(
    trainer: RlGames, tmp_path: Path
) -> None:
    chain = _play(trainer, tmp_path, _session(NAN, INF, -INF, 1e38, NAN, save_freq=1))
    weights = {}
    for file in _files(chain):
        assert file.contents is not None
        assert file.model is not None
        assert not file.non_finite
        mu = file.model["a2c_network.mu.bias"]
        weights[file.epoch] = read_item(file.contents, mu)
    assert len(set(weights.values())) == 5  # and each epoch learns something


def test_without_a_finished_episode_only_the_end_is_saved(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(trainer, tmp_path, _session(None, None, None, save_freq=1))
    assert _names(chain) == {"last_Ant_ep_3_rew_-inf.pth"}
    assert _logs(chain) == [{}]


def test_equal_seeds_give_equal_weights_and_others_do_not(trainer: RlGames, tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((0, 0, 1, -1)):
        chain = _play(trainer, tmp_path / str(number), replace(_session(1.0), seed=seed))
        file = next(file for file in _files(chain) if file.name.kind is Kind.BEST)
        assert file.contents is not None
        assert file.model is not None
        mu = file.model["a2c_network.mu.bias"]
        weights.append(read_item(file.contents, mu))
    assert weights[0] == weights[1]
    assert len(set(weights)) == 3


def test_no_thread_and_no_patch_is_left(trainer: RlGames, tmp_path: Path) -> None:
    writer, threads = rl_games.a2c_common.SummaryWriter, threading.active_count()
    for number in range(3):
        _play(trainer, tmp_path / str(number), _session(1.0, 2.0))
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    with pytest.raises(FileExistsError):
        _play(trainer, blocked, _session(1.0))
    assert rl_games.a2c_common.SummaryWriter is writer
    # A queue's feeder ends by itself once its pipe is empty.
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert threading.active_count() == threads


def test_it_is_opened_by_its_name_and_keeps_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_trainer("python:conformance.trainers.rl_games:RlGames") as opened:
        opened.train(replace(_session(1.0, NAN), root=tmp_path))
        assert opened.title == "rl_games 1.6.5"
        assert opened.capabilities == {"resume", "save_best_after"}
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "Ant" / "nn" / "Ant.pth").is_file()


# --- several sessions -----------------------------------------------------------------------


def test_a_resumed_session_counts_on_and_forgets_the_watermark(
    trainer: RlGames, tmp_path: Path
) -> None:
    chain = _play(
        trainer,
        tmp_path,
        _session(5.0, 9.0, 1.0),
        _session(5.0, 9.0, 1.0, 2.0, 1.5, resume="last"),
    )
    assert _logs(chain) == [{1: 5.0, 2: 9.0, 3: 1.0}, {4: 2.0, 5: 1.5}]
    best = next(file for file in _files(chain) if file.name.kind is Kind.BEST)
    assert (best.epoch, best.watermark) == (4, 2.0)
    assert _failures(chain, "rl_games-1.6") == set()


def test_best_means_the_best_checkpoint(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(
        trainer,
        tmp_path,
        _session(5.0, 9.0, 1.0, 1.0),
        _session(5.0, 9.0, 7.0, resume="best"),
    )
    assert _logs(chain)[1] == {3: 7.0}


def test_last_means_the_highest_epoch_of_all_sessions(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(
        trainer,
        tmp_path,
        _session(9.0, 1.0, 1.0, 1.0, 1.0),
        _session(9.0, 7.0, 7.0, resume="best"),
        _session(9.0, 7.0, 7.0, 7.0, 7.0, 3.0, resume="last"),
    )
    assert _logs(chain)[1:] == [{2: 7.0, 3: 7.0}, {6: 3.0}]


def test_of_equal_epochs_the_newest_write_is_the_last(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(trainer, tmp_path, _session(1.0, 2.0, save_freq=2))
    run = scan_run(tmp_path / "Ant")
    assert {file.epoch for file in _files(chain)} == {2}
    found = rl_games._resumed(
        OWN, run, replace(chain[0], max_epochs=3, rewards=(1.0,) * 3, resume="last")
    )
    assert found.name == "last_Ant_ep_2_rew__2._.pth"


def test_a_torn_checkpoint_is_no_last_one(trainer: RlGames, tmp_path: Path) -> None:
    _play(trainer, tmp_path, _session(1.0, 2.0, 0.0, save_freq=2))
    torn = tmp_path / "Ant" / "nn" / "last_Ant_ep_3_rew__0._.pth"
    torn.write_bytes(torn.read_bytes()[:100])
    chain = _play(trainer, tmp_path, _session(1.0, 2.0, 0.0, 1.0, resume="last"))
    assert _logs(chain)[1] == {3: 0.0, 4: 1.0}


def test_sessions_of_one_second_keep_their_own_event_files(
    trainer: RlGames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("tensorboardX.event_file_writer.time.time", lambda: now)
    _play(trainer, tmp_path, _session(1.0, 2.0), _session(1.0, 2.0, 3.0, resume="last"))
    assert len(list((tmp_path / "Ant" / "summaries").iterdir())) == 2


@pytest.mark.parametrize("resume", ["best", "last"])
def test_without_a_checkpoint_nothing_is_resumed(
    trainer: RlGames, tmp_path: Path, resume: str
) -> None:
    with pytest.raises(RlGamesError, match=f"no {resume} checkpoint to resume from"):
        _play(trainer, tmp_path, _session(1.0, resume=resume))
    assert list(tmp_path.iterdir()) == []


def test_a_complete_run_is_not_resumed(trainer: RlGames, tmp_path: Path) -> None:
    chain = _play(trainer, tmp_path, _session(1.0, 2.0))
    before = _names(chain)
    with pytest.raises(RlGamesError, match="is of epoch 2 already"):
        _play(trainer, tmp_path, _session(1.0, 2.0, resume="last"))
    assert _names(chain) == before
    assert len(_logs(chain)) == 1


def test_rl_games_is_said_to_be_missing_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rl_games.common", None)
    spec = importlib.util.spec_from_file_location("without_rl_games", rl_games.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"^[^\n]*pip install rl_games==1\.6\.5$"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# --- held against the oracle and the profile ------------------------------------------------

_REWARDS = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 485.3, 1e-45, 1.985146e-15, 1e16, 1234567.0, 3.4e38]),
    st.sampled_from([NAN, INF, -INF, -1e9, -999999936.0, -1000000064.0, -100500.0, -8461.007]),
).map(as_float32)
_EXPERIMENTS = ("Ant", "last_rew3ep12.v2", "x[1]", "a b", "{name}", "Über_ep_3_rew_1.0")


@st.composite
def _chains(draw: st.DrawFn) -> tuple[Scenario, ...]:
    """Up to three sessions, each of which finishes an episode."""
    experiment = draw(st.sampled_from(_EXPERIMENTS))
    save_freq, after = draw(st.integers(0, 3)), draw(st.sampled_from([0, 0, 1, 3]))
    sessions: list[Scenario] = []
    epochs = 0
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        waits = draw(st.sampled_from([0, 0, 1, 2]))
        known = draw(st.lists(_REWARDS, min_size=1, max_size=4))
        # The best may be of an early epoch: what is before the first reward is played again.
        rewards = ((None,) * (epochs + waits) if waits else (0.0,) * epochs) + tuple(known)
        bests = any(save.kind is Kind.BEST for past in played(OWN, sessions) for save in past.saves)
        resume = draw(st.sampled_from(["best", "last"] if bests else ["last"]))
        sessions.append(
            _session(
                *rewards,
                save_freq=save_freq,
                after=after,
                resume=resume if sessions else None,
                experiment=experiment,
            )
        )
        epochs = len(rewards)
    return tuple(sessions)


def _key(kind: Kind | None, epoch: int | None, reward: float | None) -> tuple[object, ...]:
    """What tells one checkpoint of a run from another: the best overwrites the one before."""
    if kind is Kind.BEST:
        return (kind,)
    if kind is Kind.FINAL:  # its name rounds
        return kind, epoch
    assert reward is not None
    return kind, epoch, repr(as_float32(reward) + 0.0)  # 0.0 and -0.0 are one reward


def _holds(trainer: RlGames, watcher: Watcher, root: Path, sessions: tuple[Scenario, ...]) -> None:
    """Play a chain: it writes what the oracle foresees, in that order, and breaks no MUST rule."""
    chain = _chain(root, *sessions)
    due = {}
    for scenario, session in zip(chain, played(OWN, chain), strict=True):
        with watcher.record(root) as recording:
            trainer.train(scenario)
        journal = recording.stop()
        assert (journal.problem, journal.late) == (None, ())
        written = [
            parse_name(OWN, scenario.experiment, name)
            for name in writes(journal, f"{scenario.experiment}/nn")
        ]
        assert [(name.kind, name.epoch) for name in written] == [
            (save.kind, None if save.kind is Kind.BEST else save.epoch) for save in session.saves
        ]
        due.update({_key(save.kind, save.epoch, save.reward): save for save in session.saves})
    found = {
        _key(file.name.kind, file.name.epoch, file.name.reward): file for file in _files(chain)
    }
    assert found.keys() == due.keys()
    for key, save in due.items():
        file = found[key]
        assert file.epoch == save.epoch
        assert file.watermark is not None
        assert same_reward(file.watermark, save.watermark), key
        if file.name.kind is Kind.FINAL:
            # NumPy prints an element of an array with at most eight digits after the point.
            assert is_rounding_of(file.name.reward_text.strip("_"), save.reward) or same_reward(
                file.name.reward or 0.0, save.reward
            )
    assert _failures(chain, "rl_games-1.6") == set()


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sessions=_chains())
@example(sessions=(_session(1.0, 1.0, 1.0000001, save_freq=1),))
@example(sessions=(_session(0.001953125, save_freq=1),))  # its final name ends in _0.00195312_
@example(sessions=(_session(-2e9, -3e9, save_freq=1),))
@example(sessions=(_session(-5e8, save_freq=0),))
@example(sessions=(_session(NAN, NAN, save_freq=2),))
@example(sessions=(_session(9.0, 8.0, 7.0, after=3),))
@example(sessions=(_session(9.0, 1.0, after=5, save_freq=2),))
@example(sessions=(_session(None, None, 1.0, save_freq=3),))
@example(sessions=(_session(1.0), _session(1.0, 0.5, resume="best")))
def test_rl_games_conforms_to_its_own_profile(
    trainer: RlGames,
    watcher: Watcher,
    tmp_path_factory: pytest.TempPathFactory,
    sessions: tuple[Scenario, ...],
) -> None:
    _holds(trainer, watcher, tmp_path_factory.mktemp("runs"), sessions)


@pytest.mark.parametrize(
    "sessions",
    [
        pytest.param([_session(None, None, None)], id="no-multiple-of-save-freq"),
        pytest.param([_session(None, save_freq=0)], id="without-save-freq"),
        pytest.param(
            [_session(None, None, None), _session(None, None, None, 1.0, resume="last")],
            id="before-a-session-with-rewards",
        ),
        pytest.param(
            [_session(1.0, 2.0), _session(None, None, None, resume="last")],
            id="after-a-session-with-rewards",
        ),
    ],
)
def test_an_end_before_any_episode_finished_conforms(
    trainer: RlGames, tmp_path: Path, sessions: list[Scenario]
) -> None:
    assert _failures(_play(trainer, tmp_path, *sessions), "rl_games-1.6") == set()


# What rl_games does otherwise than the default profile, in the smallest run that shows it. All
# names are its own: they are told, and the rest depends on the dialect.
_NAMES = "NAME-002"
_WATERMARK = "LOAD-001"  # a NumPy scalar, once a best has been saved


@pytest.mark.parametrize(
    ("sessions", "otherwise"),
    [
        pytest.param([_session(NAN)], set(), id="names"),
        pytest.param([_session(1.0)], {_WATERMARK}, id="watermark-of-numpy"),
        pytest.param([_session(1.0, 3.0, 2.0, 2.0)], {_WATERMARK}, id="usual"),
        pytest.param([_session(-2e9)], {"BEST-001"}, id="below-the-initial-watermark"),
        pytest.param([_session(3.0, 1.0, 2.0, after=2)], {_WATERMARK, "BEST-004"}, id="best-after"),
        pytest.param([_session(3.0, 1.0, 3.0, after=2)], {_WATERMARK, "BEST-003"}, id="tie-after"),
        pytest.param([_session(3.0, after=2)], {"BEST-001"}, id="never-best-after"),
        pytest.param(
            [_session(5.0, 1.0), _session(5.0, 1.0, 2.0, resume="last")],
            {_WATERMARK, "BEST-008"},
            id="resume-forgets-the-watermark",
        ),
        pytest.param(
            [_session(1.0, 2.0), _session(1.0, 2.0, 3.0, resume="last")],
            {_WATERMARK},
            id="resume-with-an-improvement",
        ),
    ],
)
def test_the_differences_from_the_default_profile_are_left_to_the_names(
    trainer: RlGames, tmp_path: Path, sessions: list[Scenario], otherwise: set[str]
) -> None:
    chain = _play(trainer, tmp_path, *sessions)
    assert _failures(chain, "isaacgymenvs") == {_NAMES}
    assert otherwise <= _failures(chain, "isaacgymenvs", Verdict.UNOBSERVABLE)


def test_what_is_wrong_in_each_dialect_that_fits_is_blamed_all_the_same(
    trainer: RlGames, tmp_path: Path
) -> None:
    """Something is saved and nothing logged before any episode has finished."""
    chain = _play(trainer, tmp_path, _session(None, None))
    assert _failures(chain, "isaacgymenvs") == {_NAMES, "SUMMARY-001"}


# --- versions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "profile"),
    [
        ("1.1.4", "rl_games-1.1"),
        ("1.4.0", "rl_games-1.1"),
        ("1.5.0", "rl_games-1.5"),
        ("1.5.2", "rl_games-1.5"),
        ("1.6.0", "rl_games-1.6.0"),
        ("1.6.1", "rl_games-1.6"),
        ("1.6.5", "rl_games-1.6"),
        ("1.6.5.post1", "rl_games-1.6"),
    ],
)
def test_a_version_tells_its_dialect(version: str, profile: str) -> None:
    assert rl_games._profile_of(version) == profile


@pytest.mark.parametrize("version", ["1.0.2", "1.1.3", "1.7.0", "2.0.0", "main"])
def test_a_version_that_is_not_played_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(ImportError, match=rf"^rl_games {version} is installed[^\n]*==1\.6\.5$"):
        rl_games._profile_of(version)


def test_what_stands_in_for_a_missing_module_is_found_only_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rl_games, "find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    before = set(sys.modules)
    with rl_games._standing_in():
        assert {"gym", "gym.wrappers", "ray"} <= set(sys.modules)
    assert set(sys.modules) - before <= {"gymnasium.wrappers"}


def test_where_a_version_plays_one_epoch_more_its_reward_is_asked_for(
    trainer: RlGames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "profile", "rl_games-1.1")
    for beyond in ((), (None,)):
        rewards = (None, None, *beyond)
        scenario = replace(_session(*rewards[:2]), root=tmp_path, rewards=rewards)
        with pytest.raises(UnsupportedScenario, match="give its mean reward too"):
            trainer.train(scenario)
    assert list(tmp_path.iterdir()) == []
