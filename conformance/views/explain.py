"""Explains each file of a run: which session wrote it, in which epoch, why, and how that is known.

A checkpoint belongs to a session if the kind of its name, its epoch, its reward (as float32) and
what it stores all fit what the session's log makes due. The best belongs to the last session that
could have written it. What nothing explains is said to be unexplained, never guessed.

Proven is what would look different if it were something else: a number that the file tells and that
a session logged for the very epoch. All else that nothing contradicts is consistent, no more
(decisions.md: "A file is proven by a number").
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from conformance.checks.best import exists_iff_improved
from conformance.checks.diagnosis import diagnose
from conformance.convention.oracle import is_periodic
from conformance.convention.profile import (
    DEFAULT_PROFILE,
    Kind,
    builtin_layouts,
    load_profile,
)
from conformance.convention.rewards import is_rounding_of, reward_text, same_reward
from conformance.convention.rules import Verdict
from conformance.convention.strays import stray
from conformance.evidence.checkpoint import MISSING, FaultKind
from conformance.evidence.runs import EntryKind
from conformance.evidence.summaries import is_event_file_name
from conformance.run import weights
from conformance.run.explanation import (
    ExplainedFile,
    ExplainedSession,
    Explanation,
    Grade,
    Reason,
)
from conformance.run.files import is_temporary
from conformance.run.history import Start, is_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.convention.oracle import Epoch
    from conformance.evidence.runs import Entry
    from conformance.evidence.summaries import EventFile
    from conformance.run.files import CheckpointFile
    from conformance.run.history import Session
    from conformance.run.subject import Subject

_MOST_AGAINST = 3
_MOST_ENDS = 3


def explain(subject: Subject) -> Explanation:
    """Return the explanation of every file of the run, links and special files included.

    Sorted as a reader wants them: config, event logs, checkpoints by session and epoch, the rest.
    """
    explainer = _Explainer(subject)
    files = sorted(explainer.files(), key=_order)
    sessions = tuple(
        ExplainedSession(
            session.index + 1,
            session.first,
            session.last,
            tuple(start.value for start in Start if start in session.starts),
            session.files,
            tuple(explainer.missing(session)),
        )
        for session in subject.history.sessions
    )
    return Explanation(sessions, tuple(files))


_GROUPS = (
    {Reason.CONFIG},
    {Reason.EVENT_LOG},
    {Reason(kind.value) for kind in Kind} | {Reason.DUPLICATE, Reason.TORN},
    {Reason.TEMPORARY, Reason.FOREIGN},
    {Reason.UNEXPLAINED},
)


def _order(file: ExplainedFile) -> tuple[int, int, int, str]:
    group = next(number for number, group in enumerate(_GROUPS) if file.reason in group)
    return group, max(file.sessions, default=0), file.epoch or 0, file.path


@dataclass(frozen=True, slots=True)
class _Match:
    """The sessions that explain a checkpoint, or what speaks against each of them.

    `proven` says that what the file tells is what one of them logged, to the digit.
    """

    sessions: tuple[int, ...]
    against: tuple[str, ...]
    evidence: str = ""
    proven: bool = False


class _Explainer:
    """Explains the files of one run; what all of them need is worked out once."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._timelines = subject.expectation.timelines if subject.history.usable else ()
        self._guard_is_known = (
            not subject.profile.has_save_best_after
            or subject.given.save_best_after.value is not None
        )
        freq = subject.save_freq.value
        usable = subject.history.usable
        self._strays = set(subject.save_freq.strays(freq)) if freq and usable else set()
        # A journal is kept of sessions that were driven.
        self._journal = {name for each in subject.driven for name in each.writes.names or ()}

    def files(self) -> Iterator[ExplainedFile]:
        subject = self._subject
        logs = {
            entry.relative: file
            for entry, file in zip(subject.logs.entries, subject.logs.files, strict=True)
        }
        checkpoints = {file.path: file for file in subject.files.checkpoints}
        first = {path: self._checkpoint(file) for path, file in checkpoints.items()}
        explained = self._proven_by_weights(checkpoints, first)
        surplus = self._surplus(checkpoints, explained)
        for path, told in explained.items():
            if told.reason is Reason.UNEXPLAINED:
                yield self._twin(checkpoints[path], explained, surplus) or told
            elif path in surplus:  # one too many: which of them a session wrote nothing proves
                lesser = replace(told, grade=Grade.CONSISTENT)
                yield self._twin(checkpoints[path], explained, surplus) or lesser
            else:
                yield told
        proven = [told for told in explained.values() if told.grade is Grade.PROVEN]
        for entry in subject.folder.entries:
            if entry.relative in checkpoints or entry.kind is EntryKind.FOLDER:
                continue
            if entry.relative in logs:
                yield self._log(entry, logs[entry.relative], proven)
            elif entry.relative == subject.given.config_name:
                yield _consistent(entry.relative, Reason.CONFIG, "the run's settings")
            else:
                yield _other(entry)

    def missing(self, session: Session) -> Iterator[str]:
        """What the run's last session was due to write at its end and did not: final and latest.

        Nothing later can have replaced these; no rule asks for them.
        """
        subject, history = self._subject, self._subject.history
        last = history.usable and session is history.sessions[-1]
        if not last or subject.doubt.may_be_unsaved(session):
            return
        due = self._final_due(session)
        written = [file for file in subject.files.checkpoints if due in file.epochs]
        kinds = {file.name.kind for file in written}
        spelled = {template.template for template in subject.profile.templates(Kind.FINAL)}
        alike = spelled & {template.template for template in subject.profile.templates(Kind.LATEST)}
        # Some dialects spell it like the latest one, or like the periodic one of that epoch.
        shared = alike or (Kind.PERIODIC in kinds and subject.files.spells_finals_like_periodic)
        if due is not None and Kind.FINAL not in kinds and not shared:
            yield f"the final save of epoch {due}"
        latest = self._latest_due(session)
        if latest is not None and not any(
            file.name.kind is Kind.LATEST for file in subject.files.checkpoints
        ):
            yield f"the latest save, of epoch {latest}"

    def _final_due(self, session: Session) -> int | None:
        """The epoch in which the session reached its end, where the dialect saves then.

        A session that trained past the limit of a config file was not started with it: the file is
        of an older or a newer start, and proves nothing of this one.
        """
        profile, limit = self._subject.profile, self._subject.given.max_epochs
        if limit.value is None or not profile.saves_at_end:
            return None
        due = profile.last_epoch(limit.value)
        configured = limit.source == self._subject.given.config_name
        reached = session.last == due if configured else session.last >= due
        return due if reached else None

    def _latest_due(self, session: Session) -> int | None:
        """The last epoch in which the session saved its latest checkpoint, where that is known."""
        profile, freq = self._subject.profile, self._subject.save_freq.value
        if not freq or not profile.templates(Kind.LATEST):
            return None
        first = 1 if Kind.LATEST in profile.unrewarded else session.first
        multiple = session.last - session.last % freq
        found = [epoch for epoch in (multiple, self._final_due(session)) if epoch]
        return max((epoch for epoch in found if epoch >= first), default=None)

    # --- event files ------------------------------------------------------------------------

    def _log(self, entry: Entry, file: EventFile, proven: list[ExplainedFile]) -> ExplainedFile:
        grade = Grade.CONSISTENT
        sessions = [s for s in self._subject.history.sessions if file.path.name in s.files]
        numbers = tuple(session.index + 1 for session in sessions)
        if is_unreadable(file):
            reason, evidence = Reason.UNEXPLAINED, file.problem or "cannot be read"
            grade = Grade.UNEXPLAINED
        elif file.problem is not None:
            reason, evidence = Reason.TORN, f"{file.problem}, as a session killed at its start"
        elif not file.rewards:
            reason, evidence = Reason.EVENT_LOG, "whole; it logs no mean reward"
        else:
            steps = [reward.step for reward in file.rewards]
            reason = Reason.EVENT_LOG
            evidence = f"logs the rewards of the epochs {min(steps)} to {max(steps)}"
            witness = next((told for told in proven if self._only_in(told, sessions, steps)), None)
            if witness is not None:
                grade = Grade.PROVEN
                evidence += f", and alone that of {witness.path!a}"
        if file.torn and reason is Reason.EVENT_LOG:
            evidence += "; its last record is torn, as a kill leaves it"
        return ExplainedFile(entry.relative, reason, grade, numbers, None, evidence)

    def _only_in(self, told: ExplainedFile, sessions: list[Session], steps: list[int]) -> bool:
        """Whether these sessions alone logged the reward of a proven checkpoint, in this file."""
        if told.epoch is None or not told.sessions or told.epoch not in steps:
            return False
        history = self._subject.history
        reward = history.sessions[told.sessions[-1] - 1].rewards[told.epoch]
        logged = [
            session
            for session in history.sessions
            if told.epoch in session.rewards and same_reward(session.rewards[told.epoch], reward)
        ]
        return all(session in sessions for session in logged)

    # --- checkpoints ------------------------------------------------------------------------

    def _checkpoint(self, file: CheckpointFile) -> ExplainedFile:
        epoch = file.name.epoch if file.name.epoch is not None else file.epoch
        damage = _damage(file)
        if damage is not None:
            return self._damaged(file, epoch, *damage)
        if file is self._subject.best or file.name.kind is Kind.BEST:
            told = self._best(file)
        elif file.name.kind is None:
            told = _unexplained(file, epoch, "its name is none of the profile's")
        elif file in self._subject.files.unrewarded:
            told = self._unrewarded(file)
        else:
            told = self._numbered(file, file.name.kind, epoch)
        if file.misplaced:
            where = f"{told.evidence}; it stands outside {self._subject.files.place}"
            return replace(told, evidence=where)
        if told.grade is Grade.CONSISTENT and file.entry.name in self._journal:
            seen = f"{told.evidence}; the journal saw it written"
            return replace(told, grade=Grade.PROVEN, evidence=seen)
        return told

    def _damaged(
        self, file: CheckpointFile, epoch: int | None, reason: Reason, evidence: str
    ) -> ExplainedFile:
        sessions: tuple[int, ...] = ()
        if reason is Reason.TORN and file.name.kind is not None and epoch is not None:
            sessions = self._match(file, file.name.kind, epoch).sessions
        grade = Grade.UNEXPLAINED if reason is Reason.UNEXPLAINED else Grade.CONSISTENT
        return ExplainedFile(file.path, reason, grade, sessions, epoch, evidence)

    def _best(self, file: CheckpointFile) -> ExplainedFile:
        subject = self._subject
        if file is not subject.best or not subject.profile.has_best:
            return self._numbered(file, Kind.BEST, file.epoch)
        existence, diagnosis = exists_iff_improved(subject), diagnose(subject)
        if diagnosis.blame is not None:
            blame = diagnosis.blame
            return _unexplained(file, file.epoch, f"{blame.rule}: {blame.message}")
        if existence.verdict is Verdict.FAIL:
            return _unexplained(file, file.epoch, f"BEST-001: {existence.message}")
        if diagnosis.holder is None:
            why = diagnosis.unknown or "which session wrote it cannot be told"
            return _consistent(file.path, Reason.BEST, why, epoch=file.epoch)
        session, epoch = diagnosis.holder.timeline.session, diagnosis.holder.epoch
        reward = reward_text(session.rewards[epoch])
        evidence = f"epoch {epoch} is the last of its session to improve, to reward {reward}"
        proven = _tells(file, Kind.BEST, epoch, session.rewards[epoch])
        twin = next(
            (
                other
                for other in subject.files.periodic
                if other.epochs == {epoch} and weights.same(file, other)
            ),
            None,
        )
        if twin is not None:
            evidence += f"; the same weights as {twin.entry.name!a}"
        if file.name.kind is None:
            evidence += "; by its name it is none of the profile's"
        grade = Grade.PROVEN if proven else Grade.CONSISTENT
        numbers = (session.index + 1,)
        return ExplainedFile(file.path, Reason.BEST, grade, numbers, epoch, evidence)

    def _unrewarded(self, file: CheckpointFile) -> ExplainedFile:
        evidence = "its name says reward -inf: no episode had finished"
        reason = Reason.FINAL if file.name.kind is None else Reason(file.name.kind.value)
        return _consistent(file.path, reason, evidence, epoch=file.name.epoch)

    def _numbered(self, file: CheckpointFile, kind: Kind, epoch: int | None) -> ExplainedFile:
        """A checkpoint whose name tells an epoch, or that stores one."""
        history, reason = self._subject.history, Reason(kind.value)
        flaws = "".join(f"; its name breaks {flaw.value}" for flaw in file.name.flaws)
        if epoch is None:
            return _unexplained(file, None, "neither its name nor its contents tell an epoch")
        if file.name.epoch is not None and file.epoch not in (None, file.name.epoch):
            return _unexplained(
                file, epoch, f"its name says epoch {file.name.epoch}, and it stores {file.epoch}"
            )
        if not history.usable:
            why = "its name and what it stores agree" if file.epoch == epoch else "by its name"
            why = f"{why}; no rewards are logged to tell its session"
            return _consistent(file.path, reason, why, epoch=epoch)
        match = self._match(file, kind, epoch)
        if (
            match.against
            and kind is Kind.PERIODIC
            and self._subject.files.spells_finals_like_periodic
        ):
            final = self._match(file, Kind.FINAL, epoch)
            if not final.against:
                match, reason = final, Reason.FINAL
        if match.against:
            return _unexplained(file, epoch, "; ".join(match.against) + flaws)
        grade = Grade.PROVEN if match.proven else Grade.CONSISTENT
        return ExplainedFile(
            file.path, reason, grade, match.sessions, epoch, match.evidence + flaws
        )

    def _match(self, file: CheckpointFile, kind: Kind, epoch: int) -> _Match:
        """The sessions whose logs explain the checkpoint; else those whose logs end too early."""
        reached = [timeline for timeline in self._timelines if epoch in timeline.session.rewards]
        found = [
            timeline.session
            for timeline in reached
            if _says(file, kind, timeline.session.rewards[epoch])
            and self._problem(file, kind, timeline.session, timeline.at(epoch)) is None
        ]
        if found:
            numbers = tuple(session.index + 1 for session in found)
            proven = any(
                _tells(file, kind, epoch, timeline.session.rewards[epoch])
                and _stores_one_of(file, timeline.at(epoch))
                for timeline in reached
                if timeline.session in found
            )
            return _Match(numbers, (), _told(file, epoch, found[-1]), proven)
        own = any(_says(file, kind, timeline.session.rewards[epoch]) for timeline in reached)
        hidden = self._unrewarded_by(kind, epoch)
        if hidden is None:
            hidden = self._unlogged(epoch, logged=own)
        if hidden is not None:
            return hidden
        against = [
            f"session {timeline.session.index + 1}"
            f" {self._problem(file, kind, timeline.session, timeline.at(epoch))}"
            for timeline in reached[-_MOST_AGAINST:]
        ]
        if len(reached) > _MOST_AGAINST:
            against.append(f"and so on for {len(reached) - _MOST_AGAINST} earlier ones")
        return _Match((), tuple(against) or (f"no session logged epoch {epoch}",))

    def _problem(
        self, file: CheckpointFile, kind: Kind, session: Session, readings: tuple[Epoch, ...]
    ) -> str | None:
        """What speaks against a session that reached the epoch; None: nothing."""
        at = readings[0]
        if not _says(file, kind, at.reward):
            return f"logged reward {reward_text(at.reward)} for epoch {at.epoch}"
        if kind is Kind.PERIODIC:
            if file in self._strays:
                return f"saves at multiples of {self._subject.save_freq.value}"
            # What the cadence is was settled above; every epoch divides by 1.
            if (
                self._guard_is_known
                and not self._subject.doubt.may_have_improved_before(session, at.epoch)
                and not any(is_periodic(self._subject.profile, 1, reading) for reading in readings)
            ):
                return f"reached a new best in epoch {at.epoch}: no periodic checkpoint is due"
        if kind is Kind.FINAL and at.epoch != session.last:
            return f"went on to epoch {session.last}"
        if kind is Kind.LATEST and (later := self._saved_over(session, at.epoch)) is not None:
            return later
        watermark = file.watermark
        if watermark is not None and not _stores_one_of(file, readings):
            known = {value for reading in readings for value in (reading.before, reading.after)}
            if self._subject.doubt.may_have_reached_more(watermark, known):
                return None
            return (
                f"had the watermark {reward_text(at.before)} in epoch {at.epoch}, and the file"
                f" stores {reward_text(watermark)}"
            )
        return None

    def _saved_over(self, session: Session, epoch: int) -> str | None:
        """Who saved the latest checkpoint again after this epoch of the session; None: nobody."""
        history, doubt = self._subject.history, self._subject.doubt
        latest = self._latest_due(session)
        if latest is not None and epoch < latest and not doubt.may_be_unsaved(session, latest):
            return f"saved epoch {latest} over it"
        for other in history.sessions[session.index + 1 :]:
            later = self._latest_due(other)
            if later is not None and not doubt.may_be_unsaved(other):
                return f"wrote it before session {other.index + 1} saved epoch {later} over it"
        return None

    def _unrewarded_by(self, kind: Kind, epoch: int) -> _Match | None:
        """The sessions that save before any episode has finished, and had no reward by then."""
        if kind not in self._subject.profile.unrewarded:
            return None
        before = [s for s in self._subject.history.sessions if epoch < s.first]
        fresh = tuple(s.index + 1 for s in before if s.may_be_fresh)
        return _Match(fresh, (), f"no episode had finished by epoch {epoch}") if fresh else None

    def _unlogged(self, epoch: int, *, logged: bool) -> _Match | None:
        """The sessions that may have reached the epoch without a log of it."""
        behind = self._subject.doubt.unlogged_at(epoch, logged=logged)
        if behind is None:
            return None
        numbers = tuple(session.index + 1 for session in behind)
        if self._subject.history.silent:
            how = "a session that logged no reward wrote it"
            if behind:
                how += f", or one whose log ends before epoch {epoch}"
            return _Match(numbers, (), how)
        skipping = [str(session.index + 1) for session in behind if session.leaves_out(epoch)]
        if skipping:
            how = f"a writer that logs at intervals left epoch {epoch} out: session"
            return _Match(numbers, (), f"{how} {', '.join(skipping)}")
        ends = ", ".join(
            f"{session.index + 1} at epoch {session.last}" for session in behind[:_MOST_ENDS]
        )
        if len(behind) > _MOST_ENDS:
            ends += f" and {len(behind) - _MOST_ENDS} more"
        return _Match(
            numbers,
            (),
            f"the log ends before epoch {epoch}, as a killed session's does: session {ends}",
        )

    def _proven_by_weights(
        self,
        checkpoints: Mapping[str, CheckpointFile],
        explained: Mapping[str, ExplainedFile],
    ) -> dict[str, ExplainedFile]:
        """The same, where equal weights prove more: of one epoch, and of no other one."""
        proven = dict(explained)
        for path, told in explained.items():
            if told.grade is not Grade.CONSISTENT or told.epoch is None:
                continue
            if told.reason in (Reason.TORN, Reason.DUPLICATE) or not told.sessions:
                continue
            file = checkpoints[path]
            alike = [
                other
                for other in self._subject.files.readable
                if other is not file and weights.same(file, other)
            ]
            if any(other.epochs - {told.epoch} for other in (file, *alike)):
                continue  # weights that another epoch has as well tell no epoch
            for other in alike:
                witness = explained[other.path]
                shared = set(told.sessions) & set(witness.sessions)
                if witness.grade is Grade.PROVEN and shared:
                    same = f"; the same weights as {other.path!a}"
                    told_so = "" if told.reason is Reason.BEST else same  # of a best it is said
                    evidence = f"{told.evidence}{told_so}"
                    proven[path] = replace(told, grade=Grade.PROVEN, evidence=evidence)
                    break
        return proven

    def _surplus(
        self,
        checkpoints: Mapping[str, CheckpointFile],
        explained: Mapping[str, ExplainedFile],
    ) -> set[str]:
        """The paths of what the same sessions explain for an epoch beyond one file for each."""
        groups: dict[tuple[Reason, int | None, tuple[int, ...], bool], list[str]]
        groups = defaultdict(list)
        for path, told in explained.items():
            if told.sessions and told.reason in (Reason.PERIODIC, Reason.FINAL, Reason.WIN):
                # One epoch may reach both max_epochs and max_frames: a final save for each.
                by_frame = checkpoints[path].name.frame is not None
                groups[told.reason, told.epoch, told.sessions, by_frame].append(path)

        def plain_first(path: str) -> tuple[bool, int, str]:
            return checkpoints[path].misplaced, len(checkpoints[path].name.flaws), path

        return {
            path
            for (_, _, sessions, _), paths in groups.items()
            for path in sorted(paths, key=plain_first)[len(sessions) :]
        }

    def _twin(
        self,
        file: CheckpointFile,
        explained: Mapping[str, ExplainedFile],
        surplus: set[str],
    ) -> ExplainedFile | None:
        """The file as a duplicate of another one that is explained, where it holds the same."""
        if file.epoch is None or file.digest is None:
            return None
        for other in self._subject.files.readable:
            told = explained[other.path]
            if (
                other is not file
                and other.path not in surplus
                and told.reason is not Reason.UNEXPLAINED
                and other.epoch == file.epoch
                and _same_number(other.watermark, file.watermark)
                and weights.same(file, other)
            ):
                evidence = f"holds what {other.path!a} holds; {explained[file.path].evidence}"
                # A name that tells another reward is no proof of anything.
                alike = file.name.reward is None or explained[file.path].grade is Grade.PROVEN
                grade = told.grade if alike else Grade.CONSISTENT
                return ExplainedFile(
                    file.path, Reason.DUPLICATE, grade, told.sessions, file.epoch, evidence
                )
        return None


def _says(file: CheckpointFile, kind: Kind, reward: float) -> bool:
    """Whether the file's name tells this reward; a printed array or a final save rounds it."""
    if kind is Kind.BEST:
        return file.watermark is None or same_reward(file.watermark, reward)
    told = file.name.reward
    if told is None or same_reward(told, reward):
        return True
    rounds = kind is Kind.FINAL or file.name.rounds
    return rounds and is_rounding_of(file.name.number_text, reward)


def _tells(file: CheckpointFile, kind: Kind, epoch: int, reward: float) -> bool:
    """Whether the file tells the epoch and its reward to the digit: another one would tell others.

    No reward that is not finite proves anything: a NaN is like any other one, and -inf is what is
    printed before any episode has finished.
    """
    if file.epoch != epoch or file.name.epoch not in (None, epoch) or not math.isfinite(reward):
        return False
    if kind is Kind.BEST:
        return file.watermark is not None and same_reward(file.watermark, reward)
    told = file.name.reward
    rounded = file.name.rounds and is_rounding_of(file.name.number_text, reward)
    return told is not None and same_reward(told, reward) and not rounded


def _stores_one_of(file: CheckpointFile, readings: tuple[Epoch, ...]) -> bool:
    """Whether the file stores a watermark of its epoch, or none."""
    watermark = file.watermark
    return watermark is None or any(
        same_reward(value, watermark)
        for reading in readings
        for value in (reading.before, reading.after)
    )


def _told(file: CheckpointFile, epoch: int, session: Session) -> str:
    parts = [f"reward {reward_text(session.rewards[epoch])} is logged for epoch {epoch}"]
    if file.epoch is not None:
        parts.append("it stores that epoch")
    if file.watermark is not None:
        parts.append(f"watermark {reward_text(file.watermark)}")
    return "; ".join(parts)


def _damage(file: CheckpointFile) -> tuple[Reason, str] | None:
    """Why the file's contents explain nothing; None where they can be read."""
    if file.entry.kind is EntryKind.BROKEN_LINK:
        return Reason.UNEXPLAINED, "a link that leads nowhere"
    if file.entry.kind is not EntryKind.FILE:
        return Reason.UNEXPLAINED, f"a {file.entry.kind.value}, and no file"
    if not file.entry.size:
        return Reason.TORN, "empty: a save that was cut short at its start"
    fault = next(iter(file.contents.faults), None) if file.contents is not None else None
    if fault is None or file.contents is None:
        return None
    if not file.damaged and fault.kind is not FaultKind.NOT_A_CHECKPOINT:
        return None
    if fault.kind is FaultKind.DAMAGED and file.contents.root is MISSING:
        return Reason.TORN, fault.message
    return Reason.UNEXPLAINED, fault.message


def _unexplained(file: CheckpointFile, epoch: int | None, evidence: str) -> ExplainedFile:
    return ExplainedFile(file.path, Reason.UNEXPLAINED, Grade.UNEXPLAINED, (), epoch, evidence)


def _consistent(
    path: str, reason: Reason, evidence: str, *, epoch: int | None = None
) -> ExplainedFile:
    """A file that nothing contradicts, and that no session in particular explains."""
    return ExplainedFile(path, reason, Grade.CONSISTENT, (), epoch, evidence)


@cache
def _configs() -> frozenset[str]:
    """The paths of the config file in every layout."""
    names = (DEFAULT_PROFILE, *(f"{DEFAULT_PROFILE}+{layout}" for layout in builtin_layouts()))
    return frozenset(path for name in names for path in load_profile(name).config)


@cache
def _config_folders() -> frozenset[str]:
    """The folders that hold nothing but settings: IsaacLab keeps the task's there too."""
    return frozenset(path.rpartition("/")[0] for path in _configs()) - {""}


def _other(entry: Entry) -> ExplainedFile:
    """A file that is neither checkpoint nor the run's config, nor an event file in its place."""
    path = entry.relative
    if path in _configs() or (entry.folder and entry.folder in _config_folders()):
        return _consistent(path, Reason.CONFIG, "settings, which this profile does not read")
    if is_temporary(entry.name):
        known = stray(entry.name)
        why = "its name says so" if known is None else f"it is {known.what}"
        return _consistent(path, Reason.TEMPORARY, why)
    if is_event_file_name(entry.name):
        return _consistent(path, Reason.FOREIGN, "an event file outside the folder of event files")
    return _consistent(path, Reason.FOREIGN, "the convention says nothing of it")


def _same_number(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return same_reward(first, second)
