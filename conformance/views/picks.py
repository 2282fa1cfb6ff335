"""Which of a run's checkpoints a consumer takes: what loadable, best and latest mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.checks.load import unsafe_globals
from conformance.convention.profile import Kind
from conformance.evidence.checkpoint import FaultKind

if TYPE_CHECKING:
    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject


@dataclass(frozen=True, slots=True)
class Picks:
    """What a consumer takes of a run.

    Attributes:
        best: the first loadable checkpoint with the name of a best, and no NaN in its state_dict;
            None where there is none.
        latest: the loadable checkpoint of the highest epoch, of equal ones the newest write; the
            best may be the only one.
        skipped: why each other checkpoint that the profile names cannot be loaded.
        poisoned: why each loadable one with the name of a best is none to take.
    """

    best: CheckpointFile | None
    latest: CheckpointFile | None
    skipped: tuple[tuple[CheckpointFile, str], ...]
    poisoned: tuple[tuple[CheckpointFile, str], ...] = ()


def picks(subject: Subject) -> Picks:
    """Return what a consumer takes of the run."""
    named = [f for f in subject.files.checkpoints if f.name.kind is not None and not f.misplaced]
    told = [(file, not_loadable(file)) for file in named]
    loadable = [file for file, why in told if why is None]
    bests = [(file, _poison(file)) for file in loadable if file.name.kind is Kind.BEST]
    return Picks(
        best=next((file for file, why in bests if why is None), None),
        latest=max(loadable, key=_age, default=None),
        skipped=tuple((file, why) for file, why in told if why is not None),
        poisoned=tuple((file, why) for file, why in bests if why is not None),
    )


def _poison(file: CheckpointFile) -> str | None:
    """The NaN in the file's state_dict, which makes whatever it plays a NaN; None: there is none.

    (decisions.md: "`ls --best` offers the best or nothing".)
    """
    key = next((key for key, bad in file.non_finite.items() if bad.nan), None)
    return None if key is None else f"its {key!a} holds a NaN"


def not_loadable(file: CheckpointFile) -> str | None:
    """Why a consumer cannot load the file; None where it can.

    NumPy's plain data runs nothing: rl_games' users have always loaded it.
    """
    if not file.is_file or file.contents is None:
        return "no regular file with bytes in it"
    fault = next(iter(file.contents.faults), None)
    unsafe = unsafe_globals(file) or file.contents.modules
    if fault is None or (fault.kind is FaultKind.UNSAFE and not unsafe):
        return None
    return fault.message


def _age(file: CheckpointFile) -> tuple[int, int, str]:
    epoch = file.epoch if file.epoch is not None else file.name.epoch
    return (-1 if epoch is None else epoch, file.entry.modified, file.path)
