"""Where a save can break: its calls, and what may happen at each of them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.crash.aim import Aim, aim, is_steady
from conformance.crash.calls import COPIES, SYNCS, TRACED, WRITES
from conformance.crash.disk import Disk
from conformance.crash.held import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from conformance.convention.profile import Profile
    from conformance.crash.calls import Call
    from conformance.crash.disk import Change

KILL, CUT = "SIGKILL", "cut short"
FULL, QUOTA, BROKEN, INTERRUPTED = "ENOSPC", "EDQUOT", "EIO", "EINTR"
FAULTS = (KILL, CUT, FULL, BROKEN, QUOTA, INTERRUPTED)

_OPENS = frozenset({"open", "openat", "openat2", "creat"})
_REMOVES = frozenset({"unlink", "unlinkat", "rmdir"})
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a save, as it was recorded.

    Attributes:
        index: of the call in the recording.
        call: the call.
        path: the file or folder that it touches, as the log has it; of a rename the old name.
        shown: the call and what it touches, for a person: `write nn/A.pth`.
        key: the same, whatever the process's number: equal in each recording.
        turn: which one of the steps with this key it is, from 1.
        save: which save it belongs to, from 0.
        changes: what it did to the disk.
        span: where in the file it writes, from and to; None for what is no write.
    """

    index: int
    call: Call
    path: bytes
    shown: str
    key: tuple[str, str]
    turn: int
    save: int
    changes: tuple[Change, ...] = ()
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """The calls that write one checkpoint, or several at once.

    Attributes:
        steps: from the first open to the last call before the next save.
        targets: the names that it gives or rewrites, in order.
        best: whether the best is among them.
        start: the disk before it.
    """

    steps: tuple[Step, ...]
    targets: tuple[str, ...]
    best: bool
    start: Disk


@dataclass(frozen=True, slots=True)
class Recording:
    """What one undisturbed session did.

    Attributes:
        calls: all of them.
        saves: of its checkpoints.
        end: the disk after it.
        process: the number of the process that trained; None where it is not known.
    """

    calls: tuple[Call, ...]
    saves: tuple[Save, ...]
    end: Disk
    process: int | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calls of all saves, in order."""
        return tuple(step for save in self.saves for step in save.steps)


@dataclass(frozen=True, slots=True)
class Point:
    """One fault at one call.

    Attributes:
        step: the call.
        fault: `SIGKILL`, `cut short` or the name of an error.
        aim: how strace finds the call; of a cut, the call before it.
        inject: what strace is told.
        cut_at: for a cut, the size at which the file's growth ends.
    """

    step: Step
    fault: str
    aim: Aim
    inject: str
    cut_at: int | None = None


class Naming:
    """Names what calls touch the same way in each session: temporary names differ.

    Args:
        run: the run's folder.
        name: the run's name.
        profile: whose names count.
        folders: other folders where a save's files wait for their names.
    """

    def __init__(
        self, run: bytes, name: str, profile: Profile, folders: Iterable[bytes] = ()
    ) -> None:
        self.run = run
        self.folder = run + b"/" + os.fsencode(profile.checkpoints)
        self._name = name
        self._profile = profile
        self._temporary: dict[bytes, int] = {}
        self._folders = {self.folder, *folders}

    def is_ours(self, path: bytes) -> bool:
        """Whether a path is a save's: in the folder of checkpoints, or where files wait."""
        return path == self.folder or path.rpartition(b"/")[0] in self._folders

    def all_of(self, paths: Iterable[bytes]) -> str:
        """What several paths are called, in order."""
        return " -> ".join(map(self.of, paths))

    def kind(self, path: bytes) -> str | None:
        """Which kind of checkpoint a path is; None for none."""
        folder, _, entry = path.rpartition(b"/")
        if folder != self.folder:
            return None
        kind = kind_of(self._profile, self._name, os.fsdecode(entry))
        return None if kind is None else kind.value

    def of(self, path: bytes) -> str:
        """What a path is called: from the run's folder, a temporary file by its number alone."""
        if path == self.run:
            return "the run's folder"
        if path == self.folder:
            return f"{os.fsdecode(self.folder.rpartition(b'/')[2])}/"
        if self.kind(path) is not None:
            return os.fsdecode(path[len(self.run) + 1 :])
        number = self._temporary.setdefault(path, len(self._temporary) + 1)
        return "a temporary file" if number == 1 else f"temporary file {number}"


def turn_of_hit(
    calls: Iterable[Call], step: Step, hit: Callable[[Call], bool], naming: Naming
) -> int:
    """Which call of a step's kind a fault fell on, from 1; 0 where it fell on none of them.

    Args:
        calls: of the session that was broken.
        step: the call that the fault was meant for.
        hit: whether a call of that name is the one that it fell on.
        naming: a new one.
    """
    turn = 0
    for call in calls:
        touched = [path for path in call.paths if naming.is_ours(path)]
        if touched and (call.name, naming.all_of(touched)) == step.key:
            turn += 1
            if hit(call):
                return turn
    return 0


def fell_on(calls: Sequence[Call], point: Point, naming: Naming) -> bool:
    """Whether a point's fault fell on the call that it was meant for.

    Args:
        calls: of the session that was broken.
        point: what was to happen to which call.
        naming: a new one.
    """
    step = point.step

    def hit(call: Call) -> bool:
        if point.fault == KILL:
            return call.result is None
        if point.fault == CUT:
            asked = math.inf if step.span is None else step.span[1] - step.span[0]
            return bool(call.error) or (call.result or 0) < asked
        return call.injected

    if not point.aim.paths:
        return turn_of_hit(calls, step, hit, naming) == step.turn
    alike = [call for call in calls if call.name == step.call.name]  # of its paths, all there are
    if point.fault == CUT:
        return any(map(hit, alike))
    turns = [turn for turn, call in enumerate(alike, 1) if hit(call)]
    if point.fault == KILL:
        # Of a thread that is killed along, strace may tell the first one's call once more.
        turns = turns[:1]
    return turns == [point.aim.turn]


def record(
    calls: Sequence[Call],
    *,
    top: bytes,
    run: bytes,
    name: str,
    profile: Profile,
    process: int | None = None,
) -> Recording:
    """Find the saves among the calls of a session.

    Args:
        calls: of the whole session, in order.
        top: the folder below which it was to write.
        run: the run's own.
        name: of the run.
        profile: whose names count.
        process: the number of the process that trained.
    """
    naming = Naming(run, name, profile)
    ours = _of_saves(calls, naming)
    disk = Disk(top)
    saves: list[Save] = []
    steps: list[Step] = []
    targets: list[str] = []
    turns: dict[tuple[str, str], int] = {}
    start = _copy(disk)
    for index, call in enumerate(calls):
        touched = [path for path in call.paths if path in ours]
        writes = call.name in _OPENS and _writes(call)
        if touched and writes and targets and not call.error:
            saves.append(_save(steps, targets, start, naming))
            steps, targets = [], []
        if touched and not steps:
            start = _copy(disk)
        span = disk.position(call) if touched else None
        changes = disk.replay(call)
        if not touched or call.name not in TRACED:
            continue
        # Those that fail by themselves are no points, but are counted: so that each has its turn.
        key = call.name, naming.all_of(touched)
        turns[key] = turns.get(key, 0) + 1
        if call.error or call.result is None or (not steps and not writes):
            continue
        steps.append(
            Step(
                index,
                call,
                touched[0],
                f"{call.name} {key[1]}",
                key,
                turns[key],
                len(saves),
                tuple(changes),
                span,
            )
        )
        targets += [path for path in _completed(call, changes, disk, naming) if path not in targets]
    if steps:
        saves.append(_save(steps, targets, start, naming))
    return Recording(tuple(calls), tuple(saves), disk, process)


def _of_saves(calls: Iterable[Call], naming: Naming) -> set[bytes]:
    """The paths that are, or become, something in the folder of checkpoints; and that folder."""
    ours = {naming.folder}
    for call in calls:
        paths = call.paths
        ours.update(path for path in paths if path.rpartition(b"/")[0] == naming.folder)
        if len(paths) == 2 and paths[1].rpartition(b"/")[0] == naming.folder:
            ours.add(paths[0])
    return ours


def _writes(call: Call) -> bool:
    return call.name == "creat" or bool(call.flags & {"O_WRONLY", "O_RDWR"})


def _completed(call: Call, changes: Iterable[Change], disk: Disk, naming: Naming) -> Iterator[str]:
    """The checkpoints that are in place with this call."""
    for change in changes:
        if change.kind == "name" and call.name not in _OPENS:
            for path, inode in change.names:
                if inode is not None and naming.kind(path) is not None and disk.contents[inode]:
                    yield naming.of(path)
    if call.name == "close":
        for _, path in call.files:
            if naming.kind(path) is not None and disk.at(path):
                yield naming.of(path)


def _save(steps: Sequence[Step], targets: Sequence[str], start: Disk, naming: Naming) -> Save:
    folder = naming.run + b"/"
    best = any(naming.kind(folder + os.fsencode(target)) == "best" for target in targets)
    return Save(tuple(steps), tuple(targets), best, start)


def _copy(disk: Disk) -> Disk:
    return Disk(
        disk.top,
        dict(disk.names),
        {inode: bytearray(content) for inode, content in disk.contents.items()},
        list(disk.blind),
    )


# --- what may happen at a call ------------------------------------------------------------------


def points(recording: Recording, again: Recording) -> tuple[list[Point], list[Step]]:
    """Every fault at every call of a save, in the order of the calls.

    Args:
        recording: of the session.
        again: of the same session, once more: a path that is another one there is not counted by.

    Returns:
        The points; and the calls that cannot be told from another thread's, which have none.
    """
    found: list[Point] = []
    missed: list[Step] = []
    steady = _steady(recording, again)
    for step in recording.steps:
        aimed = aim(recording.calls, step.index, steady)
        if aimed is None:
            missed.append(step)
            continue
        name = step.call.name
        found.append(Point(step, KILL, aimed, f"{name}:signal=SIGKILL:when={aimed.when}"))
        found += [
            Point(step, error, aimed, f"{name}:error={error}:when={aimed.when}")
            for error in _errors(step.call)
        ]
        cut = _cut(recording.calls, step, steady)
        if cut is not None:
            found.append(cut)
    return found, missed


def _steady(recording: Recording, again: Recording) -> list[bytes]:
    """The paths that are the same in both sessions, but for their processes' numbers."""
    found: dict[bytes, None] = {}
    for step, other in zip(recording.steps, again.steps, strict=False):
        if is_steady(step.path, other.path, recording.process, again.process):
            found[step.path] = None
    return list(found)


def _errors(call: Call) -> tuple[str, ...]:
    """The errors that a disk, or a signal, may cause in a call."""
    if call.name in _REMOVES:
        return (BROKEN,)
    if call.name in _OPENS and not _writes(call):
        return (BROKEN, INTERRUPTED)
    if call.name in WRITES | COPIES | SYNCS | _OPENS | {"close", "ftruncate", "fallocate"}:
        return (FULL, BROKEN, QUOTA, INTERRUPTED)
    return (FULL, BROKEN, QUOTA)


def _cut(calls: Sequence[Call], step: Step, steady: Sequence[bytes]) -> Point | None:
    """A write that the disk takes half of: it is stopped before, and its file's size limited."""
    if step.span is None or step.span[1] - step.span[0] < 2:
        return None
    before = next(
        (
            index
            for index in range(step.index - 1, -1, -1)
            if calls[index].thread == step.call.thread and calls[index].name in TRACED
        ),
        None,
    )
    # The log of a path's calls alone has to show the write as well.
    aimed = None if before is None else aim(calls, before, [p for p in steady if p == step.path])
    if before is None or aimed is None:
        return None
    begin, end = step.span
    half = (begin + end) // 2
    if end - begin >= 2 * _BLOCK:
        half -= half % _BLOCK  # else a direct write is refused, not cut
    inject = f"{calls[before].name}:signal=SIGSTOP:when={aimed.when}"
    return Point(step, CUT, aimed, inject, max(half, begin + 1))


def choose(found: Sequence[Point], most: int, favourite: int) -> list[Point]:
    """At most so many of the points, spread evenly over the calls, each fault in its proportion.

    Kills come first where there is not room for each fault.

    Args:
        found: the points.
        most: how many.
        favourite: number of the save that half of them are to be of.
    """
    if len(found) <= most:
        return list(found)
    kept: list[Point] = []
    groups = {fault: [point for point in found if point.fault == fault] for fault in FAULTS}
    left, total = most, len(found)
    for group in groups.values():
        if not group or left <= 0:
            continue
        share = min(len(group), left, max(1, round(left * len(group) / total)))
        kept += _spread(group, share, favourite)
        left -= share
        total -= len(group)
    order = {id(point): number for number, point in enumerate(found)}
    return sorted(kept, key=lambda point: order[id(point)])


def _spread(group: Sequence[Point], number: int, favourite: int) -> list[Point]:
    """So many of them at even distances, half of them of the save that is to be looked at most."""
    best = [point for point in group if point.step.save == favourite]
    others = [point for point in group if point.step.save != favourite]
    many = min(len(best), max(number - len(others), (number + 1) // 2))
    return [*_even(best, many), *_even(others, number - many)]


def _even(group: Sequence[Point], number: int) -> list[Point]:
    return [group[(2 * turn + 1) * len(group) // (2 * number)] for turn in range(number)]
