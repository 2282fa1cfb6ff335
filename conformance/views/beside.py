"""Whether the best of a run is the best that lies there: what beside it is, or was, higher.

That is told and never judged. A fresh session may replace the best by a worse one, dialects lose
their watermark on a resume, a kill takes a save: each is a rule's matter, or nobody's. Who takes
the best for the best should know in every case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.checks.diagnosis import diagnose
from conformance.convention.oracle import first_best_epoch
from conformance.convention.profile import Kind
from conformance.convention.rewards import improves, is_rounding_of, reward_text
from conformance.run import weights
from conformance.run.remark import Remark
from conformance.views.picks import not_loadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.run.files import CheckpointFile
    from conformance.run.history import Session
    from conformance.run.subject import Subject

_COMPARED = (Kind.PERIODIC, Kind.WIN, Kind.FINAL, Kind.BEST)


@dataclass(frozen=True, slots=True)
class _Higher:
    """A checkpoint beside the best that says more: by its name, or by the watermark it stores."""

    file: CheckpointFile
    reward: float
    by_name: bool


def remarks(subject: Subject, offered: CheckpointFile | None = None) -> tuple[Remark, ...]:
    """Return what a reader of a run's report should know beside the findings.

    A file that vanishes is remarked on no more. Where the harness itself fails, that is the remark:
    the other runs of a root are told all the same.

    Args:
        subject: the run.
        offered: the best that a consumer takes; None: the one that the rules judge.
    """
    try:
        best = offered or subject.best
        found = None if best is None else _higher_than_best(subject, best)
    except OSError:
        return ()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the harness's own failure
        why = f"the harness failed to compare the best: {type(error).__name__}: {error}"
        return (Remark(why, (), {}),)
    return () if found is None else (found,)


def _higher_than_best(subject: Subject, best: CheckpointFile) -> Remark | None:
    """The remark that something beside the best is higher; None where nothing is.

    A reward of an epoch before `save_best_after` counts for nothing, nor does a NaN, nor -inf, nor
    a name that only rounds the best's own reward.
    """
    reward = _own_reward(subject, best)
    if reward is None:
        return None
    first = first_best_epoch(subject.profile, subject.settings)
    if best.epoch is not None:  # it shows that epochs from there on count
        first = min(first, best.epoch)
    file = max(
        _files_above(subject, best, reward, first),
        key=lambda other: (other.by_name, other.reward, other.file.path),
        default=None,
    )
    logged = max(
        _logged_above(subject, reward, first), key=lambda found: (found[0], -found[1]), default=None
    )
    if file is None and logged is None:
        return None
    parts: list[str] = []
    evidence: dict[str, Any] = {"best": best.path, "epoch": best.epoch, "reward": reward}
    paths = [best.path]
    if file is not None:
        how = "by its name" if file.by_name else "by the watermark that it stores"
        parts.append(
            f"a file beside it carries a higher reward: {reward_text(file.reward)} {how},"
            f" {file.file.path!a}"
        )
        paths.append(file.file.path)
        evidence["file"] = {
            "path": file.file.path,
            "epoch": _epoch(file.file),
            "reward": file.reward,
            "by": "name" if file.by_name else "watermark",
        }
    if logged is not None:
        higher, epoch, session = logged
        of = f" of session {session.index + 1}" if len(subject.history.sessions) > 1 else ""
        parts.append(f"a higher reward is logged: {reward_text(higher)} in epoch {epoch}{of}")
        parts.extend(_began_afresh(subject, session))
        evidence["logged"] = {"epoch": epoch, "reward": higher, "session": session.index + 1}
    own = f"the best, {best.path!a}, is of reward {reward_text(reward)}"
    return Remark("; ".join((own, *parts)), tuple(paths), evidence)


def _began_afresh(subject: Subject, earlier: Session) -> Iterator[str]:
    """That a later session may have begun afresh, and replaced the best: so it is its right."""
    holder = diagnose(subject).holder
    if holder is None:
        return
    session = holder.timeline.session
    if session.may_be_fresh and session.index > earlier.index:
        may = "may have begun" if session.may_be_resumed else "began"
        yield f"session {session.index + 1}, which the best is of, {may} afresh"


def _own_reward(subject: Subject, best: CheckpointFile) -> float | None:
    """The reward of the best: as it stores it, else as its epoch logged it; None: not known.

    What stores a watermark of nothing, or an older one, may be better than it says: a file of the
    same epoch and weights speaks for it, or the log of its epoch.
    """
    if not best.is_file or best.values is None:
        return None
    stored = best.watermark
    if stored is not None and math.isnan(stored):
        return None
    told = [
        file.name.reward
        for file in subject.files.readable
        if file is not best
        and file.name.reward is not None
        and file.epochs == best.epochs
        and weights.same(file, best)
    ]
    if stored is not None and stored not in subject.profile.initial_watermarks:
        told.append(stored)
    elif best.epoch is not None:
        told += subject.history.rewards_at(best.epoch)
    return max((value for value in told if not math.isnan(value)), default=None)


def _files_above(
    subject: Subject, best: CheckpointFile, reward: float, first: int
) -> Iterator[_Higher]:
    for file in subject.files.readable:
        epoch = _epoch(file)
        if file is best or file.name.kind not in _COMPARED or not_loadable(file) is not None:
            continue
        if epoch is None or epoch < first:
            continue
        named, stored = file.name.reward, file.watermark
        rounded = is_rounding_of(file.name.number_text, reward)
        if named is not None and improves(named, reward) and not rounded:
            yield _Higher(file, named, by_name=True)
        elif stored is not None and improves(stored, reward):
            yield _Higher(file, stored, by_name=False)


def _logged_above(
    subject: Subject, reward: float, first: int
) -> Iterable[tuple[float, int, Session]]:
    history = subject.history
    if not history.usable:
        return
    for session in history.sessions:
        for epoch, value in session.rewards.items():
            if epoch >= first and improves(value, reward):
                yield value, epoch, session


def _epoch(file: CheckpointFile) -> int | None:
    return file.name.epoch if file.name.epoch is not None else file.epoch
