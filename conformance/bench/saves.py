"""A trainer's `save(state, path)` beside torch's ways to save, and a bare write of as many bytes.

Three times are taken of each save. The stall: how long `save` keeps the training loop, with what
`before_update` adds after a rollout. The whole: until the file is safe, as `wait` tells, or `save`
where there is none. And the longest of the training steps that are made meanwhile.

Each save comes in the middle of training steps, as it does in a training: a processor that has just
slept would take several times as long for the first thing that it is asked to do.
"""

from __future__ import annotations

import inspect
import random
import statistics
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from conformance.bench.ways import BUFFERED, DURABLE, LIMIT
from conformance.trainers import TrainerBroke, open_trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

_ROLLOUT_S, _ROLLOUT_COPIES = 0.01, 2.0  # a rollout: so long, and so many times as a copy takes
_STEPS, _STEPS_BEFORE = 40, 5


class NoSaveError(Exception):
    """The trainer offers no `save(state, path)` that could be timed."""


class Saves(Protocol):
    """What is timed: an object with `save`, and perhaps `wait` and `before_update`."""

    def save(self, state: Mapping[str, Any], path: Path, /) -> object:
        """Save; the state may change after it, or after `before_update` if there is one."""


@dataclass(frozen=True)
class Row:
    """What one way to save took for one size, in seconds, a value for each round.

    Attributes:
        name: of the way.
        stall: of the training loop.
        whole: until the file was safe.
        worst_step: the longest training step while the save went on; empty if not looked at.
    """

    name: str
    stall: tuple[float, ...]
    whole: tuple[float, ...]
    worst_step: tuple[float, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Medians of a row, and what they are beside others'."""

    name: str
    stall: float
    whole: float
    to_limit: float  # the whole, beside the raw write
    to_torch: float  # the stall, beside durable torch.save
    worst_step: float | None


@dataclass(frozen=True)
class SizeResult:
    """One size: its name, the bytes of its file, and all rows, the trainer's own first."""

    size: str
    file_bytes: int
    rows: tuple[Row, ...]
    quiet_step: float = 0.0  # the longest training step without a save, in the median
    unavailable: tuple[str, ...] = field(default=())  # ways that are not installed here

    def figures(self) -> tuple[Figure, ...]:
        """Return each row's medians and ratios.

        Ratios are taken round by round, and their median is told: what slows the machine down for
        a while slows down what stands beside it too.
        """
        rows = {row.name: row for row in self.rows}
        limit = rows.get(LIMIT) or rows[BUFFERED]
        return tuple(
            Figure(
                name=row.name,
                stall=statistics.median(row.stall),
                whole=statistics.median(row.whole),
                to_limit=_ratio(row.whole, limit.whole),
                to_torch=_ratio(row.stall, rows[DURABLE].whole),
                worst_step=statistics.median(row.worst_step) if row.worst_step else None,
            )
            for row in self.rows
        )


def _ratio(ones: tuple[float, ...], others: tuple[float, ...]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def _nothing() -> None:
    """Be what an object without `wait` or `before_update` does."""


@dataclass
class _Way:
    """One way to save, as it is called."""

    name: str
    save: Callable[[Mapping[str, Any], Path], object]
    wait: Callable[[], None] = _nothing
    before_update: Callable[[], None] = _nothing
    rolls_out: bool = False
    stall: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    worst_step: list[float] = field(default_factory=list)

    def time(
        self, state: Mapping[str, Any], here: Path, step: Callable[[], None], rollout: float
    ) -> None:
        """Save into the empty folder `here`; nothing is under way.

        Behind a rollout, a second save that waits at once tells how long the file takes.
        """
        if self.rolls_out:
            _steps(step)
            began = time.perf_counter()
            self.save(state, here / "behind.pth")
            stall = time.perf_counter() - began
            while time.perf_counter() - began < rollout:
                step()
            asked = time.perf_counter()
            self.before_update()
            self.stall.append(stall + time.perf_counter() - asked)
            self.wait()
        _steps(step)
        path = here / "new.pth"
        began = time.perf_counter()
        self.save(state, path)
        if not self.rolls_out:
            self.stall.append(time.perf_counter() - began)
        self.wait()
        self.whole.append(time.perf_counter() - began)
        self.before_update()

    def time_steps(self, state: Mapping[str, Any], path: Path, step: Callable[[], None]) -> None:
        """Save once while training steps are made."""
        _steps(step)
        self.save(state, path)
        self.worst_step.append(_worst(step))
        self.before_update()
        self.wait()

    def row(self) -> Row:
        """Return what was taken."""
        return Row(self.name, tuple(self.stall), tuple(self.whole), tuple(self.worst_step))


def _steps(step: Callable[[], None]) -> None:
    for _ in range(_STEPS_BEFORE):
        step()


def _worst(step: Callable[[], None]) -> float:
    """Return the seconds of the longest of some training steps."""
    worst = 0.0
    for _ in range(_STEPS):
        began = time.perf_counter()
        step()
        worst = max(worst, time.perf_counter() - began)
    return worst


def bench_saves(
    spec: str,
    sizes: Mapping[str, int],
    *,
    folder: Path,
    rounds: int = 15,
    steps: bool = True,
    progress: Callable[[str], None] = lambda _text: None,
) -> tuple[SizeResult, ...]:
    """Time a trainer's saves beside the others, all in turn in every round.

    Args:
        spec: a `python:` trainer whose object has `save(state, path)`, and may have `wait()` and
            `before_update()`.
        sizes: name and bytes of the states to save.
        folder: where they are saved; its disk is what is timed.
        rounds: saves of each kind and size that count, after one that does not.
        steps: look at training steps during saves too.
        progress: told the size that is being timed.

    Raises:
        NoSaveError: the object has no such `save`, or torch is not installed.
        TrainerSpecError: the spec is wrong.
        TrainerBroke: the trainer could not be built, or what is timed raised.
    """
    if not spec.startswith("python:"):
        raise NoSaveError(f"{spec}: only the object of a python: trainer can be asked to save")
    with open_trainer(spec) as trainer:
        # open_trainer returns a PythonTrainer for this form.
        saver = cast("Any", trainer).wrapped
        if not _takes_state_and_path(getattr(saver, "save", None)):
            raise NoSaveError(f"{trainer.title} has no save(state, path)")
        try:
            from conformance.bench import peers  # noqa: PLC0415 - imports torch
        except ModuleNotFoundError as error:
            raise NoSaveError(
                f"saves are timed on torch's tensors, and there is no module {error.name}"
            ) from None
        results = []
        for name, size in sizes.items():
            progress(name)
            with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as here:
                results.append(
                    _bench_size(
                        name, size, saver, peers, here=Path(here), rounds=rounds, steps=steps
                    )
                )
        return tuple(results)


def _clear(here: Path, peers: ModuleType) -> None:
    """Remove the files for good; else the next way's wait for the disk would be for this, too."""
    for path in here.glob("*.pth"):
        path.unlink()
    peers.force(here)


def _takes_state_and_path(save: object) -> bool:
    if not callable(save):
        return False
    try:
        inspect.signature(save).bind({}, Path())
    except TypeError:
        return False
    except ValueError:  # it does not say: it is asked
        pass
    return True


def _own(call: Callable[..., object], doing: str) -> Callable[..., None]:
    """Return a call of the trainer's, whose errors are its own."""

    def guarded(*arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:
            text = f"{doing} raised {type(error).__name__}: {error}"
            raise TrainerBroke("raised", text, output=traceback.format_exc()) from error

    return guarded


def _bench_size(
    name: str,
    size: int,
    saver: Saves,
    peers: ModuleType,
    *,
    here: Path,
    rounds: int,
    steps: bool,
) -> SizeResult:
    state = peers.state_of(size)
    wait, before_update = (getattr(saver, name, None) for name in ("wait", "before_update"))
    own = _Way(
        "trainer",
        _own(saver.save, "save()"),
        _own(wait, "wait()") if callable(wait) else _nothing,
        _own(before_update, "before_update()") if callable(before_update) else _nothing,
        rolls_out=callable(before_update),
    )
    with peers.opened(state, here) as others:
        ways = [own, *(_Way(*other) for other in others.ways)]
        orders = random.Random(0)  # noqa: S311  # of the ways: nobody always comes after the same
        in_background = [way for way in ways if way.wait is not _nothing]
        quiet: list[float] = []
        for turn in range(rounds + 1):
            rollout = _ROLLOUT_S + _ROLLOUT_COPIES * others.copy_seconds()
            for way in orders.sample(ways, len(ways)):
                way.time(state, here, others.step, rollout)
                _clear(here, peers)
            if steps:
                _worst(others.step)
                quiet.append(_worst(others.step))
                for way in in_background:
                    way.time_steps(state, here / "step.pth", others.step)
            if turn == 0:  # it warmed up
                quiet.clear()
                for way in ways:
                    way.stall.clear()
                    way.whole.clear()
                    way.worst_step.clear()
        return SizeResult(
            size=name,
            file_bytes=others.file_bytes,
            rows=tuple(way.row() for way in ways),
            quiet_step=statistics.median(quiet) if quiet else 0.0,
            unavailable=others.unavailable,
        )
