"""Trainings in any dialect as the oracle plays them: random sessions in one folder."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import assume
from hypothesis import strategies as st

from conformance.checks import judge
from conformance.convention.brief import Brief
from conformance.convention.oracle import Settings
from conformance.convention.profile import Kind
from conformance.convention.rules import Level, Verdict
from conformance.convention.scenario import Scenario
from conformance.convention.sessions import next_session, resume_point_after
from conformance.evidence.runs import scan_run
from conformance.fixtures.play import Session, play
from conformance.run.explanation import Reason
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.explain import explain

if TYPE_CHECKING:
    from conformance.convention.profile import Profile
    from conformance.fixtures.run import Run


def broken(report):
    """The MUST rules that a run breaks."""
    return {
        finding.rule
        for finding in report.findings
        if finding.level is Level.MUST and finding.verdict in (Verdict.FAIL, Verdict.ERROR)
    }


def explained(folder, profile, known=None):
    """The report on a run, with what explains each of its files."""
    subject = Subject(folder, profile, known or Options())
    return replace(judge(subject), explanation=explain(subject))


def unexplained(report):
    """The files that nothing explains."""
    return [file for file in report.explanation.files if file.reason is Reason.UNEXPLAINED]


@dataclass(frozen=True, repr=False)
class Training(Brief):
    """What a training left, the dialect and settings that it was played in, and its sessions."""

    profile: Profile
    run: Run
    save_freq: int
    max_epochs: int
    save_best_after: int
    sessions: tuple[Session, ...]

    def __repr__(self):
        told = ("save_freq", "max_epochs", "save_best_after")
        given = ", ".join(f"{name}={getattr(self, name)}" for name in told)
        first = f"<Training in {self.profile!r}, {given}:"
        return "\n".join((first, *map(repr, self.sessions), f"{self.run!r}>"))

    @property
    def number(self):
        """The number of the last session, from 0."""
        return len(self.sessions) - 1

    @property
    def known(self):
        """The last session's rewards."""
        return self.sessions[-1].known

    def judged(self):
        """Audited; where the dialect writes no config, the caller knows its settings."""
        known = None
        if not self.profile.config:
            known = Options(None, self.save_freq, self.max_epochs, self.save_best_after)
        with tempfile.TemporaryDirectory() as root:
            run = scan_run(self.run.write(Path(root)))
            return explained(run, self.profile, known)


def lagging(log, lost):
    """A log without what it had on its last epochs."""
    times = sorted({scalar.wall_time for scalar in log.scalars})
    left = set(times[: max(0, len(times) - lost)])
    return replace(log, scalars=tuple(s for s in log.scalars if s.wall_time in left))


def trained(profile, settings, sessions, lost):
    """The training of these sessions, each log without what it had on that many last epochs."""
    run = play(settings, sessions, profile=profile)
    logs = tuple(lagging(log, last) for log, last in zip(run.logs, lost, strict=True))
    run = replace(run, logs=logs)
    own = (settings.save_freq, settings.max_epochs, settings.save_best_after)
    return Training(profile, run, *own, tuple(sessions))


@st.composite
def trainings(draw, profile, *, killed):
    """Sessions of one run, fresh or resumed from its best or last checkpoint, the last one whole.

    Each session plays rewards of its own; one that is
    killed saves up to its last epoch, and its log may lack some of the last ones, or all.
    """
    save_freq, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    few = st.sampled_from([math.nan, 0.0, 1.0, 2.5, -1.5])
    # Where few rewards are drawn, sessions meet each other's more often.
    values = draw(st.sampled_from([few, few | st.floats(-1e6, 1e6, width=32)]))
    end = draw(st.integers(3, 10))
    played, sessions, lags = (), [], []
    count = draw(st.integers(1, 4))
    for number in range(count):
        last = number == count - 1
        dies = killed and not last and draw(st.booleans())
        limit = end if last else draw(st.integers(1, end))
        waits = draw(st.integers(0, 2))
        told = draw(st.lists(values, min_size=end + 1, max_size=end + 1))
        resume = draw(st.sampled_from([None, "best", "last"])) if number else None
        if resume and resume_point_after(profile, played, resume) is None:
            resume = None
        if resume is None:
            told = [None] * min(waits, limit - 1) + told[min(waits, limit - 1) :]
        scenario = Scenario("A", Path(), save_freq, limit, tuple(told), after, resume)
        session = next_session(profile, played, scenario)
        if session.first > session.last:
            assume(not last)
            continue
        if dies:  # nothing tells that it was to end here
            saves = tuple(save for save in session.saves if save.kind is not Kind.FINAL)
            session = replace(session, saves=saves)
        played = (*played, session)
        sessions.append(
            Session(
                tuple(told[session.first - 1 : session.last]),
                first=session.first,
                resumed=resume is not None,
                watermark=session.watermark,
                max_epochs=end + 1 if dies else limit,
            )
        )
        lags.append(draw(st.sampled_from([0, 0, 1, 2, 9])) if dies else 0)
    return trained(profile, Settings("A", save_freq, end, after), sessions, lags)


@st.composite
def whole(draw, profile):
    """Sessions that all reached their end, of rewards all different; some ten or more."""
    save_freq, end = draw(st.integers(1, 3)), draw(st.integers(10, 12))
    late = profile.ends_late
    values = draw(st.permutations([round(-9.75 + 1.5 * step, 2) for step in range(42)]))
    played, sessions = (), []
    for number in range(draw(st.integers(1, 3))):
        limit, told = draw(st.integers(2, end - 1)), tuple(values[14 * number :][: end + 1])
        resume = draw(st.sampled_from([None, "best", "last"])) if number else None
        if resume and resume_point_after(profile, played, resume) is None:
            resume = None
        session = next_session(
            profile, played, Scenario("A", Path(), save_freq, limit, told, 0, resume)
        )
        if session.first > session.last:
            continue
        played = (*played, session)
    # The last one goes on to the end of the training, so that its log is whole.
    scenario = replace(played[-1].scenario, max_epochs=end)
    played = (*played[:-1], next_session(profile, played[:-1], scenario))
    sessions = [
        Session(
            session.scenario.rewards[session.first - 1 : session.last],
            first=session.first,
            resumed=session.scenario.resume is not None,
            watermark=session.watermark,
            max_epochs=session.scenario.max_epochs,
        )
        for session in played
    ]
    assert sessions[-1].span[-1] == end + late
    settings = Settings("A", save_freq, end, 0)
    return trained(profile, settings, sessions, [0] * len(sessions))


_unlike = st.lists(
    st.floats(-1e6, 1e6, width=32).map(lambda value: round(value, 2)),
    min_size=12,
    max_size=12,
    unique=True,
)


@st.composite
def unlike(draw):
    """A run of whole sessions, resumed where the last one ended or fresh, of rewards all different.

    Returns it with the epochs of its last session.
    """
    told = [draw(_unlike) for _ in range(draw(st.integers(1, 3)))]
    assume(len({value for part in told for value in part}) == 12 * len(told))
    sessions, epoch = [], 0
    for number, part in enumerate(told):
        resumed = bool(number) and epoch < 12 and draw(st.booleans())
        first = epoch + 1 if resumed else 1
        # The last session reaches the end of the training, so that its log is whole.
        last = 12 if number == len(told) - 1 else draw(st.integers(first, 12))
        sessions.append(Session(tuple(part[first - 1 : last]), first=first, resumed=resumed))
        epoch = last
    run = play(Settings("A", draw(st.integers(1, 4)), 12), sessions)
    return run, len(sessions) - 1, sessions[-1]
