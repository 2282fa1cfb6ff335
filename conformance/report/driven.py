"""What a report tells of a driven trainer: the smallest scenario that breaks each rule."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.convention.rewards import is_float32, reward_text
from conformance.report import Driven

if TYPE_CHECKING:
    from conformance.report import Report

_PLAIN_NAME = "A"
_MOST_FILES = 8


@dataclass(frozen=True, slots=True)
class Shrunken:
    """The smallest scenario that breaks a rule, for a reader.

    Attributes:
        sessions: a line for each session.
        file: what `--replay` takes; empty where it was not written.
        command: what plays it again; empty where nothing does.
        steady: whether it breaks the rule each time that it is played.
        left: which files it left, and where they are kept; empty where they are not.
    """

    sessions: tuple[str, ...]
    file: str
    command: str
    steady: bool
    left: str

    @property
    def about(self) -> tuple[str, ...]:
        """What it is, a line each."""
        single = len(self.sessions) == 1
        lines = [f"scenario: {self.sessions[0]}"] if single else list(self.sessions)
        if not self.steady:
            lines.append("flaky: the same scenario also passed")
        if self.left:
            lines.append(self.left)
        return tuple(lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """What it is and how to play it again, a line each."""
        return (*self.about, f"replay: {self.command}") if self.command else self.about


def shrunken(report: Report) -> Mapping[str, Shrunken]:
    """Return the failures' scenarios by rule; empty for an audit."""
    driven = report.driven or Driven("")
    return {
        failure["rule"]: Shrunken(
            sessions=told(failure["scenario"]),
            file=failure["replay"],
            command=_command(driven, failure["rule"], failure["replay"]),
            steady=failure["rule"] not in driven.unsteady,
            left=_left(*driven.left.get(failure["rule"], ((), ""))),
        )
        for failure in report.failures
    }


def told(scenario: Mapping[str, Any] | list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return a scenario as a person reads it, or several, a line for each session.

    >>> told({"experiment": "A", "save_freq": 0, "max_epochs": 2, "rewards": [5.0, "nan"]})
    ('rewards 5.0, nan; save_freq 0',)
    """
    if isinstance(scenario, Mapping):
        return (_session(scenario),)
    if len(scenario) == 1:
        return (_session(scenario[0]),)
    return tuple(
        f"session {number}{_start(session, number)}: {_session(session)}"
        for number, session in enumerate(scenario, start=1)
    )


def _start(session: Mapping[str, Any], number: int) -> str:
    if session.get("resume"):
        return f", resumed from the {session['resume']}"
    return ", fresh" if number > 1 else ""


def _session(session: Mapping[str, Any]) -> str:
    rewards = ", ".join(map(_reward, session["rewards"]))
    parts = [f"rewards {rewards}", f"save_freq {session['save_freq']}"]
    if session["max_epochs"] != len(session["rewards"]):
        parts.append(f"max_epochs {session['max_epochs']}")
    others = ("save_best_after", "seed")
    parts += [f"{name} {session[name]}" for name in others if session.get(name)]
    if session["experiment"] != _PLAIN_NAME:
        parts.append(f"experiment {session['experiment']!a}")
    return "; ".join(parts)


def _reward(reward: float | str | None) -> str:
    if reward is None:
        return "none"
    if isinstance(reward, str):
        return reward
    # In the digits that its name has in a checkpoint's; beyond float32, all of them.
    return reward_text(reward) if is_float32(reward) else repr(float(reward))


def _left(files: tuple[str, ...], folder: str) -> str:
    if not folder:
        return ""
    more = f" and {len(files) - _MOST_FILES} more" if len(files) > _MOST_FILES else ""
    return f"it left {', '.join(files[:_MOST_FILES]) or 'no file'}{more}; kept in {folder}"


def _command(driven: Driven, rule: str, file: str) -> str:
    again = driven.again.get(rule) or (("--replay", file) if file else ())
    if not driven.trainer or not again:
        return ""
    return shlex.join(("conformance", "test", driven.trainer, *driven.options, *again))
