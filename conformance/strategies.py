"""Hypothesis strategies for names, reward trajectories, scenarios and chains of sessions.

They are public: compose them with your own. Needs Hypothesis: `pip install
'checkpoint-conformance[suite]'`.

Rewards are not drawn as free floats, which hardly ever tie, but as moves relative to the highest
reward so far (improve, tie, one float32 step above or below, lower, NaN, repeat), from a palette
of moves and on a scale that are drawn once for each run. So what defects hide in is dense, and a
failing scenario shrinks to short rewards such as 1.0, 1.0.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hypothesis import strategies as st

from conformance.convention.profile import load_profile
from conformance.convention.rewards import as_float32
from conformance.convention.scenario import Scenario
from conformance.convention.sessions import next_session, resume_point_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn, SearchStrategy

    from conformance.convention.profile import Profile
    from conformance.convention.sessions import ExpectedSession, ResumePoint

__all__ = ["chains", "names", "reward_trajectories", "rewards", "scenarios"]

_MOST_EPOCHS = 14
_MOST_SESSIONS = 4
_RUNS = Path("runs")
_LARGEST = 3.4028234663852886e38  # of float32
_SMALLEST = 1.401298464324817e-45


@cache
def _bytes(least: int, most: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=least, max_size=most)


# --- names -----------------------------------------------------------------------------------

_PLAIN = ("A", "Ant", "Cartpole", "Ant-v2_seed.3", "humanoid_amp-run2")
# Legal and clean under NAME-008; each trips a reader that guesses the name from the string, looks
# for the last dot, or takes one name's pattern for another's.
_HARD = (
    "Aep12",
    "Aep1rew2.0",
    "Aep1rew2.0ep3",
    "rew3",
    "hold_rew3_ep12",
    "ep1rew1.0",
    "last_x",
    "last_",
    "last_Aep1rew2.0",
    "last_last_Aep1rew2.0",
    "best",
    "nn",
    "summaries",
    "A.pth",
    "A.B.C",
    ".hidden",
    "...A",
    "7",
    "007",
    "1e-05",
    "nan",
    "inf",
    "epNrewR",
    "ep_5_rew_1.0",
    "A_ep_5_rew_1.0",
    "A_14-09-26-53",
    "A--B",
    "A+B@C%D#E^F",
    "CONTROL",
    "Größe",
    "学習",
    "Łódź_ñandú",
    "x" * 100,
    "ж" * 100,
)
# NAME-008 warns of these: they trip a shell, a glob, a Hydra override, Windows or an upload.
_UNSAFE = (
    "two words",
    " leads and trails ",
    "x[1]",
    "x[!a]",
    "lr=3e-4",
    "-rf",
    "--help",
    "~",
    "$HOME",
    "a*b?",
    "it's",
    'say "A"',
    "a;b&c|d",
    "{name}",
    "%(name)s",
    "a\tb",
    "a\nb",
    "back\\slash",
    "Ant_10:14:29",
    "aux.v2",
    "A.",
    "...",
)
# What further names are composed of.
_PARTS = ("A", "ep", "rew", "last_", "1", "12", "0.5", ".", "_", "-", "nan", ".pth", "é", "β")
_UNSAFE_PARTS = (*_PARTS, " ", "=", "[", "]", "*", "'")


def names(*, hard: bool = True, unsafe: bool = False) -> SearchStrategy[str]:
    """Return a strategy for experiments' names: legal file names of at most 200 bytes of UTF-8.

    All are in Unicode's composed form (NFC).

    Args:
        hard: also names that end in `ep12`, hold `rew3`, look like a checkpoint or a folder of the
            run, are of digits or letters of any script, or are long. They all pass NAME-008.
        unsafe: also names with white space, brackets, quotes, `=`, `:`, glob characters, a leading
            `-` or a trailing dot, and Windows' devices: NAME-008 then warns.
    """
    fixed = [*_PLAIN, *(_HARD if hard else ()), *(_UNSAFE if unsafe else ())]
    if not hard and not unsafe:
        return st.sampled_from(fixed)
    parts = _UNSAFE_PARTS if unsafe else _PARTS
    # Most from the list: each of its names is there for a reason.
    listed = st.sampled_from(fixed)
    return st.one_of(st.sampled_from(_PLAIN), listed, listed, _composed(parts))


def _composed(parts: tuple[str, ...]) -> SearchStrategy[str]:
    # Bytes instead of a list of parts: one draw.
    return _bytes(1, 4).map(
        lambda drawn: _made_legal("".join(parts[byte % len(parts)] for byte in drawn))
    )


def _made_legal(text: str) -> str:
    """The text with a letter beside what would not be a name, or no safe one."""
    text = f"A{text}" if text.startswith("-") else text
    return f"{text}A" if text.endswith(".") else text


# --- rewards: where they lie -------------------------------------------------------------------


class _Scale(NamedTuple):
    """The first reward of an ordinary trajectory, and how far one ordinary move goes."""

    base: float
    step: float


# The simplest first, for shrinking; the plain scales are listed more than once to weigh more.
_SCALES = (
    _Scale(1.0, 1.0),
    _Scale(1.0, 1.0),
    _Scale(0.0, 1.0),
    _Scale(-0.0, 0.5),
    _Scale(-1000.0, 1.0),
    _Scale(-250_000.0, 12.5),  # below -100500, from which old versions of rl_games start
    _Scale(-3e9, 1e6),  # below -1e9, from which later ones start
    _Scale(66.52648, 0.3),  # float32 values that need seven digits
    _Scale(123456.79, 0.0234375),  # ... and eight or nine
    _Scale(1e16, 1e10),  # printed with an exponent
    _Scale(1.985146e-15, 1e-16),
    _Scale(1e-30, 1e-31),
    _Scale(3e38, 1e36),
    _Scale(_SMALLEST, _SMALLEST),  # denormal
)
_CONSTANTS = (
    0.0,
    -0.0,
    -1.0,
    485.3,
    -8461.007,
    1.2e-05,
    1.985146e-15,
    1e16,
    123456.79,
    16777216.0,
    -100500.0,
    -100501.0,
    -1e9,
    -2e9,
    1e-30,
    3e38,
    1.1754943508222875e-38,  # the smallest normal float32
    -_SMALLEST,
    _LARGEST,
    -_LARGEST,
)

# --- rewards: how they move ----------------------------------------------------------------------


class _At(NamedTuple):
    """Where a trajectory stands before a move.

    `best` is the highest reward so far, NaN left out; None before the first. `start` is what the
    trainer compares the first one with.
    """

    best: float | None
    previous: float | None
    start: float
    scale: _Scale


_Move: TypeAlias = "Callable[[_At], float] | None"  # None: any float32


def _has_begun(at: _At) -> bool:
    return at.best is not None and at.best != -math.inf


def _base(at: _At) -> float:
    return as_float32(at.scale.base)


def _best(at: _At) -> float:
    return at.start if at.best is None else at.best


def _improve(at: _At) -> float:
    if not _has_begun(at):
        return _base(at)
    return max(_rounded(_best(at) + at.scale.step), _above(at))


def _leap(at: _At) -> float:
    if not _has_begun(at):
        return _base(at)
    return max(_rounded(_best(at) + 1000.5 * at.scale.step), _above(at))


def _tie(at: _At) -> float:
    best = _best(at)
    return -best if best == 0 else best  # 0.0 and -0.0 are equal


def _above(at: _At) -> float:
    return _neighbour(_best(at), up=True)


def _below(at: _At) -> float:
    return _neighbour(_best(at), up=False)


def _lower(at: _At) -> float:
    if not _has_begun(at):
        return _base(at)
    return min(_rounded(_best(at) - at.scale.step), _below(at))


def _far_below(at: _At) -> float:
    if not _has_begun(at):
        return _base(at)
    return min(_rounded(_best(at) - 1000.5 * at.scale.step), _below(at))


def _fall(at: _At) -> float:
    if at.previous is None or not math.isfinite(at.previous):
        return _lower(at)
    return min(_rounded(at.previous - at.scale.step), _neighbour(at.previous, up=False))


def _recover(at: _At) -> float:
    """A little better than the epoch before, not than the best."""
    if at.previous is None or not math.isfinite(at.previous) or not _has_begun(at):
        return _lower(at)
    return min(max(_rounded(at.previous + at.scale.step), at.previous), _below(at))


def _repeat(at: _At) -> float:
    return _base(at) if at.previous is None else at.previous


def _zero(at: _At) -> float:
    """0.0, and after a zero the other one: they are equal, and their texts differ."""
    return -at.previous if at.previous == 0 else 0.0


def _constant(value: float) -> Callable[[_At], float]:
    single = as_float32(value)
    return lambda at: single  # noqa: ARG005 - a move, wherever the trajectory stands


def _rounded(value: float) -> float:
    """The float32; beyond their range the largest: infinities are moves of their own."""
    single = as_float32(value)
    if math.isinf(single) and math.isfinite(value):
        return math.copysign(_LARGEST, value)
    return single


def _neighbour(value: float, *, up: bool) -> float:
    """The next float32 in that direction; from an infinity or the largest, as far as it goes."""
    if math.isinf(value):
        return value if (value > 0) is up else math.copysign(_LARGEST, value)
    if value == 0:
        return _SMALLEST if up else -_SMALLEST
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    away = (value > 0) is up
    (found,) = struct.unpack("<f", struct.pack("<i", bits + (1 if away else -1)))
    return value if math.isinf(found) else float(found)


# Each palette is a weight for each of its moves, the simplest first. A byte picks the move.
_NAN, _MINUS_INF, _INF = map(_constant, (math.nan, -math.inf, math.inf))
_NEAR = ((_improve, 3), (_lower, 2), (_below, 3), (_tie, 4), (_repeat, 2), (_above, 4))
# What does not improve lies together: on its way down a byte crosses few moves of another kind.
_MIXED = (
    (_improve, 14),
    (_lower, 9),
    (_fall, 3),
    (_far_below, 3),
    (_below, 4),
    (_tie, 9),
    (_repeat, 5),
    (_recover, 3),
    (_above, 4),
    (_leap, 3),
    (_NAN, 8),
    (_MINUS_INF, 2),
    (_INF, 1),
    (None, 6),
)
_RISING = ((_improve, 12), (_above, 2), (_leap, 2))
_FALLING = ((_fall, 14), (_far_below, 1), (_recover, 1))
_PLATEAUS = ((_repeat, 14), (_improve, 2), (_lower, 1), (_tie, 2))
_AROUND_ZERO = ((_zero, 12), (_improve, 1), (_lower, 2), (_tie, 1), (_below, 1), (_above, 1))
_MOSTLY_NAN = ((_NAN, 40), (_improve, 3), (_lower, 1), (_tie, 1))
_MOSTLY_MINUS_INF = ((_MINUS_INF, 40), (_improve, 2), (_NAN, 1), (_lower, 1))
_EXTREMES = (
    (_improve, 3),
    (_NAN, 2),
    (_INF, 2),
    (_MINUS_INF, 2),
    (_lower, 2),
    (None, 8),
    *((_constant(value), 1) for value in _CONSTANTS),
)
_AFTER_RESUME = (
    (_improve, 6),
    (_lower, 8),
    (_far_below, 3),
    (_below, 3),
    (_tie, 6),
    (_above, 2),
    (_NAN, 2),
    (None, 1),
)


def _by_byte(palette: tuple[tuple[_Move, int], ...]) -> tuple[_Move, ...]:
    """The palette's move for each byte: low bytes, to which Hypothesis shrinks, are simple."""
    listed = [move for move, weight in palette for _ in range(weight)]
    return tuple(listed[byte * len(listed) // 256] for byte in range(256))


_PALETTES = tuple(
    _by_byte(palette)
    for palette in (
        *(_MIXED,) * 4,
        *(_NEAR,) * 2,
        _RISING,
        *(_FALLING,) * 2,
        _PLATEAUS,
        _AROUND_ZERO,
        _MOSTLY_NAN,
        _MOSTLY_MINUS_INF,
        *(_EXTREMES,) * 2,
    )
)
_RESUMED = _by_byte(_AFTER_RESUME)
_WHOLE_SESSION = 1_000
_UNFINISHED = st.sampled_from((*(0,) * 13, 1, 2, 3, _WHOLE_SESSION))
_STYLES = st.tuples(st.sampled_from(_SCALES), st.sampled_from(_PALETTES))
_ANY_FLOAT32 = st.floats(width=32)


def rewards(length: int) -> SearchStrategy[tuple[float | None, ...]]:
    """Return a strategy for the mean rewards of exactly so many epochs.

    Args:
        length: how many, at least 1. The rest is as in `reward_trajectories`.
    """
    return reward_trajectories(length, min_epochs=length)


@st.composite
def reward_trajectories(
    draw: DrawFn,
    max_epochs: int = _MOST_EPOCHS,
    *,
    min_epochs: int = 1,
    unfinished: bool = True,
    start: float = -math.inf,
) -> tuple[float | None, ...]:
    """Return a strategy for the mean rewards of a session's epochs, each a float32 or None.

    Args:
        draw: given by Hypothesis.
        max_epochs: the most epochs.
        min_epochs: the fewest.
        unfinished: whether no episode may have finished in the first epochs, or in all: None.
        start: the watermark that the session starts from; some rewards tie with it.
    """
    count = draw(_UNFINISHED) if unfinished else 0
    scale, palette = draw(_STYLES)
    moves = draw(_bytes(min_epochs, max_epochs))
    at = _At(None, None, start, scale)
    values = _moved(draw, at, [palette[byte] for byte in moves[count:]])
    return (*(None,) * min(count, len(moves)), *values)


def _moved(draw: DrawFn, at: _At, moves: list[_Move]) -> list[float]:
    """The rewards of a trajectory that makes these moves."""
    found = []
    best = at.best
    for move in moves:
        reward = draw(_ANY_FLOAT32) if move is None else move(at)
        found.append(reward)
        if best is None or reward > best:
            best = None if math.isnan(reward) else reward
        at = _At(best, reward, at.start, at.scale)
    return found


# --- scenarios and chains ------------------------------------------------------------------------

_LONGER_THAN_ANY = 50  # epochs
# 1 shows each epoch; 0 is the simplest, and comes first for shrinking.
_SAVE_FREQS = st.sampled_from((0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, _LONGER_THAN_ANY))
_NEW_SAVE_FREQS = st.sampled_from((None, None, None, None, 1, 2, 3, 0))  # None: as before
_SAVE_BEST_AFTER = st.sampled_from((0, 0, 0, 1, 2, 3, 5, _LONGER_THAN_ANY))
_SEEDS = st.integers(0, 3)
# The fewest epochs of a fresh session: left to itself Hypothesis draws one epoch every fourth time.
# From 10 on the order of epochs is not that of their texts.
_FEWEST = st.sampled_from((1, 1, 1, 2, 2, 3, 3, 4, 10))
_BEYOND = st.sampled_from((0, 0, 0, 0, 0, 0, 0, 2))
_RESUMES = st.sampled_from((0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3))
_MOST_NEW_EPOCHS = 5


@st.composite
def scenarios(
    draw: DrawFn,
    *,
    profile: Profile | None = None,
    root: Path = _RUNS,
    experiments: SearchStrategy[str] | None = None,
    max_epochs: int = _MOST_EPOCHS,
    save_best_after: bool = False,
) -> Scenario:
    """Return a strategy for one fresh session. Arguments are those of `chains`."""
    dialect = load_profile() if profile is None else profile
    style = draw(_STYLES)
    experiment = draw(_names() if experiments is None else experiments)
    return _fresh(
        draw,
        dialect,
        style,
        root=root,
        experiment=experiment,
        max_epochs=max_epochs,
        delayed=save_best_after,
    )


@st.composite
def chains(
    draw: DrawFn,
    *,
    profile: Profile | None = None,
    root: Path = _RUNS,
    experiments: SearchStrategy[str] | None = None,
    max_epochs: int = _MOST_EPOCHS,
    max_sessions: int = _MOST_SESSIONS,
    save_best_after: bool = False,
) -> tuple[Scenario, ...]:
    """Return a strategy for the sessions of one run: a fresh one, then up to three resumed ones.

    A session is only resumed from a checkpoint that a conforming trainer has written by then, and
    plays at least one epoch. One that is resumed from "last" goes beyond the epochs reached so far;
    one that is resumed from "best" may end before them. Where it replays epochs, it has rewards of
    its own for them, mostly others than the earlier session's.

    Args:
        draw: given by Hypothesis.
        profile: the dialect, which says which checkpoints there are to resume from; the default
            one without.
        root: the folder for runs.
        experiments: the runs' names; `names()` without.
        max_epochs: the most epochs, over all sessions.
        max_sessions: the most sessions, the fresh one included.
        save_best_after: whether to draw `save_best_after` too; else it is 0.
    """
    dialect = load_profile() if profile is None else profile
    resumes = min(draw(_RESUMES), max_sessions - 1)
    style = draw(_STYLES)
    experiment = draw(_names() if experiments is None else experiments)
    room = max(1, max_epochs - 2) if resumes else max_epochs
    fresh = _fresh(
        draw,
        dialect,
        style,
        root=root,
        experiment=experiment,
        max_epochs=room,
        delayed=save_best_after,
    )
    sessions: tuple[ExpectedSession, ...] = (next_session(dialect, (), fresh),)
    for _ in range(resumes):
        following = _resumed(draw, dialect, sessions, style, max_epochs)
        if following is None:
            break
        sessions = (*sessions, next_session(dialect, sessions, following))
    return tuple(session.scenario for session in sessions)


_Style: TypeAlias = "tuple[_Scale, tuple[_Move, ...]]"


@cache
def _names() -> SearchStrategy[str]:
    return names()


def _fresh(
    draw: DrawFn,
    profile: Profile,
    style: _Style,
    *,
    root: Path,
    experiment: str,
    max_epochs: int,
    delayed: bool,
) -> Scenario:
    save_freq = draw(_SAVE_FREQS)
    unfinished = draw(_UNFINISHED)
    # The same upper bound for all, so that a shrunken lower one still takes the same moves.
    moves = draw(_bytes(min(draw(_FEWEST), max_epochs), max_epochs))
    scale, palette = style
    at = _At(None, None, profile.initial_watermarks[0], scale)
    values = _moved(draw, at, [palette[byte] for byte in moves[unfinished:]])
    none = (None,) * min(unfinished, len(moves))
    return Scenario(
        experiment,
        root,
        save_freq,
        len(moves),
        (*none, *values, *_beyond(draw, profile, at, values)),
        save_best_after=draw(_SAVE_BEST_AFTER) if delayed else 0,
        seed=draw(_SEEDS),
    )


def _resumed(
    draw: DrawFn,
    profile: Profile,
    sessions: tuple[ExpectedSession, ...],
    style: _Style,
    max_epochs: int,
) -> Scenario | None:
    """A session that is resumed after these; None where no checkpoint or no epoch is left."""
    before = sessions[-1].scenario
    reached = max(session.last for session in sessions)
    last = resume_point_after(profile, sessions, "last")
    best = resume_point_after(profile, sessions, "best")
    points: dict[str, ResumePoint] = {}
    if last is not None and reached < max_epochs:
        points["last"] = last
    if best is not None and best.epoch < max_epochs:
        points["best"] = best
    if not points:
        return None
    resume = draw(_one_of(tuple(points)))
    point = points[resume]
    replayed = reached - point.epoch
    least = replayed + 1 if resume == "last" else 1
    most = min(max_epochs - point.epoch, replayed + _MOST_NEW_EPOCHS)
    moves = draw(_bytes(least, most))
    save_freq = draw(_NEW_SAVE_FREQS)
    scale, palette = style
    # Against the best file even where the profile forgets its watermark: there, too, a lower
    # reward is what shows it.
    highest = point.watermark if best is None else max(best.stored, point.watermark)
    at = _At(highest, point.reward, profile.initial_watermarks[0], scale)
    tables = (_RESUMED, *(palette,) * (len(moves) - 1))
    values = _moved(draw, at, [table[byte] for table, byte in zip(tables, moves, strict=True)])
    return Scenario(
        before.experiment,
        before.root,
        before.save_freq if save_freq is None else save_freq,
        point.epoch + len(moves),
        (*_known(sessions, point), *values, *_beyond(draw, profile, at, values)),
        save_best_after=before.save_best_after,
        resume=resume,
        seed=before.seed,
    )


@cache
def _one_of(resumes: tuple[str, ...]) -> SearchStrategy[str]:
    return st.sampled_from(resumes)


def _known(sessions: tuple[ExpectedSession, ...], point: ResumePoint) -> list[float | None]:
    """The mean reward of each epoch up to the checkpoint's, as the run last saw it."""
    latest: dict[int, float] = {}
    for session in sessions:
        latest.update(session.rewards)
    return [latest.get(epoch) for epoch in range(1, point.epoch + 1)]


def _beyond(draw: DrawFn, profile: Profile, at: _At, values: list[float]) -> list[float]:
    """Rewards of epochs after the session's last: a trainer that plays them writes a best."""
    count = draw(_BEYOND)
    if profile.ends_late:
        count = max(count, 1)  # this one is played
    seen = [value for value in (at.best, *values) if value is not None and not math.isnan(value)]
    return [_leap(_At(max(seen, default=None), None, at.start, at.scale))] * count
