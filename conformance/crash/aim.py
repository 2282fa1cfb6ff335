"""Which call strace is to break: it counts calls, in each thread for itself, of paths or of all.

Of one path is better: what else a trainer does with files is then not counted. Where another
thread has made such a call before, two paths may tell them apart: the one that saves has by then
made one more. A temporary name often holds the process's number, which is another one in each
session; it is replaced.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.crash.calls import Call


@dataclass(frozen=True, slots=True)
class Aim:
    """How a call is told from all others.

    Attributes:
        when: which call of its name it is, in its thread, from 1.
        paths: only calls on these paths count; none: all.
        turn: which call of its name and paths it is, in all threads, from 1; 0 without a path.
    """

    when: int
    paths: tuple[str, ...] = ()
    turn: int = 0


def aim(calls: Sequence[Call], index: int, paths: Sequence[bytes]) -> Aim | None:
    """Find out how to reach a call.

    Args:
        calls: as they were recorded.
        index: of the call.
        paths: that are known to be the same in each session, but for the process's number.

    Returns:
        None where another thread comes to the same number of calls first.
    """
    target = calls[index]
    clear = [path for path in paths if _is_clear(calls, target, path)]
    own_paths = [path for path in clear if path in _first(target)]
    pairs = [(path, other) for path in own_paths for other in clear if other != path]
    for chosen in (*((path,) for path in own_paths), *pairs, ()):
        alike = [
            at
            for at, call in enumerate(calls)
            if call.name == target.name and (not chosen or not _first(call).isdisjoint(chosen))
        ]
        own = [at for at in alike if calls[at].thread == target.thread]
        when = own.index(index) + 1
        counts: dict[int, int] = {}
        for at in alike:
            if at >= index:
                break
            counts[calls[at].thread] = counts.get(calls[at].thread, 0) + 1
        counts.pop(target.thread, None)
        if all(count < when for count in counts.values()):
            if not chosen:
                return Aim(when)
            return Aim(when, tuple(map(os.fsdecode, chosen)), alike.index(index) + 1)
    return None


def renumbered(path: str, old: int | None, new: int | None) -> str:
    """The path with one process's number in its last part replaced by another's.

    >>> renumbered("/7/.saving-7.tmp", 7, 12)
    '/7/.saving-12.tmp'
    """
    if old is None or new is None:
        return path
    folder, slash, name = path.rpartition("/")
    return folder + slash + re.sub(rf"(?<![0-9]){old}(?![0-9])", str(new), name)


def is_steady(first: bytes, again: bytes, old: int | None, new: int | None) -> bool:
    """Whether two sessions used the same path, but for their processes' numbers."""
    return renumbered(os.fsdecode(first), old, new) == os.fsdecode(again)


def _first(call: Call) -> set[bytes]:
    """The paths by which strace's own filter finds a call; of two texts, the first for certain."""
    return {*call.texts[:1], *(path for number, path in call.files if number >= 0)}


def _is_clear(calls: Sequence[Call], target: Call, path: bytes) -> bool:
    """Whether no call of that name has the path for its second one: filters differ about that."""
    return not any(call.name == target.name and path in call.texts[1:] for call in calls)
