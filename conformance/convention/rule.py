"""What is known of a rule of the convention: the facts that its one entry in the registry holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.convention.profile import Profile


class Level(str, Enum):
    """How binding a rule is: a failed MUST fails the run, a failed SHOULD warns."""

    MUST = "must"
    SHOULD = "should"


class Verdict(str, Enum):
    """What a rule says of one run."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    UNOBSERVABLE = "unobservable"
    ERROR = "error"


class RunVerdict(str, Enum):
    """What a report says of a run as a whole; of several, the first one here is the worst."""

    FAIL = "fail"
    ERROR = "error"
    INCOMPLETE = "incomplete"
    CONFORMS = "conforms"

    def __str__(self) -> str:
        return self.value

    @property
    def with_an_error(self) -> RunVerdict:
        """What is left of it where not all could be judged: a rule that failed has failed."""
        return self if self is RunVerdict.FAIL else RunVerdict.ERROR

    @property
    def in_part(self) -> RunVerdict:
        """What is left of it where somebody ended it too early."""
        return RunVerdict.INCOMPLETE if self is RunVerdict.CONFORMS else self


class Needs(str, Enum):
    """A kind of evidence that a rule reads."""

    NAMES = "file names"
    CONTENTS = "checkpoint contents"
    EVENTS = "event files"
    CONFIG = "the run's config or options"
    JOURNAL = "a journal of writes"
    MODEL = "a model"


class Means(str, Enum):
    """What can show that a rule is broken; the value says so where nothing else can."""

    FILES = "only an audit of files can show it: no session that is played leads there"
    DRIVEN = "only a driven trainer can show it"
    KILLS = "only a trainer that is killed in the middle of a save can show it"
    FAULTS = "only a trainer whose writes are made to fail can show it"
    INFERENCE = "only inference, started by the experiment's name, can show it"
    RANKS = "only a training with several ranks can show it"


class Place(str, Enum):
    """A part of a run's folder that a rule lists beside the folders of its evidence."""

    SUMMARIES = "the event files' folder"
    EVERYWHERE = "every folder of the run"


class When(str, Enum):
    """What a scenario must hold for a broken rule to be a symptom of another one."""

    ALWAYS = "in any scenario"
    RESUMED = "it has several sessions"
    NAN = "some reward is NaN"
    NO_TIE = "no reward ties with the highest before it"


@dataclass(frozen=True, slots=True)
class Cause:
    """Rules whose breaking explains a rule's, so that it is not reported beside them.

    Attributes:
        rules: any of them is the cause.
        when: in which scenarios.
        evidence: a key that the explained finding's evidence then holds; empty: any finding.
    """

    rules: tuple[str, ...]
    when: When = When.ALWAYS
    evidence: str = ""


class Matter(str, Enum):
    """What a rule is about, where a scenario can be played again without it."""

    TIES = "ties"
    NAN = "NaN"
    RESUME = "a resume"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to change where a rule is broken from one cause; its own fix speaks of the usual one."""

    cause: str
    fix: str


# The groups of rules on what a checkpoint holds, each by itself.
_OF_CONTENTS = ("LOAD", "INTEGRITY", "SAFETY")


def never(_: Profile) -> bool:
    """Say that no profile's trainers must have exercised a rule."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the convention, with all that is known of it.

    Attributes:
        id: never used again for another rule.
        level: how binding it is.
        text: what it says.
        source: where that comes from.
        needs: the evidence that it reads.
        breaks: an example of a run that breaks it.
        keeps: an example of a near miss.
        fix: what to change where it is broken.
        remedies: the same by cause, where the fix would be beside the point.
        shown_by: what can show that it is broken.
        lists: which folders it lists beside those of its evidence; a folder that cannot be listed
            whole makes it unobservable.
        gated: whether trainers of a profile conform only if they have exercised it.
        leaves: the rules that a later session is still judged by, once an earlier one of the same
            run broke this MUST rule.
        tells_dialect: whether keeping it tells dialects apart.
        symptom_of: the rules that explain it.
        matter: what a scenario is played again without.
        more_general: the rules that explain it if they break without the matter too.
        of_writes: whether it is about single writes of the best or their order: it explains a rule
            that is told closely.
        told_closely: whether a periodic checkpoint in every epoch shows it more closely.
        one_at_a_time: whether it depends on the order of the saves, which event files do not tell
            where two processes train at once.
        by_itself: whether a checkpoint without its run can be held against it; all rules on what
            one holds are of this kind.
    """

    id: str
    level: Level
    text: str
    source: str
    needs: tuple[Needs, ...]
    breaks: str
    keeps: str
    fix: str
    remedies: tuple[Remedy, ...] = ()
    shown_by: tuple[Means, ...] = (Means.FILES, Means.DRIVEN)
    lists: Place | None = None
    gated: Callable[[Profile], bool] = never
    leaves: frozenset[str] = frozenset({"RESUME-001", "BEST-008"})
    tells_dialect: bool = False
    symptom_of: tuple[Cause, ...] = ()
    matter: Matter | None = None
    more_general: frozenset[str] = frozenset()
    of_writes: bool = False
    told_closely: bool = False
    one_at_a_time: bool = False
    by_itself: bool = False

    @property
    def of_one_file(self) -> bool:
        """Whether a checkpoint without its run can be held against it."""
        return self.by_itself or self.group in _OF_CONTENTS

    @property
    def group(self) -> str:
        """The part of the id before the number: `BEST` of `BEST-003`."""
        return self.id.partition("-")[0]

    @property
    def driven(self) -> bool:
        """Whether no audit of files can show it."""
        return Means.FILES not in self.shown_by

    @property
    def played(self) -> bool:
        """Whether sessions that are played to their end can show it."""
        return Means.DRIVEN in self.shown_by

    def fix_for(self, causes: Iterable[str]) -> str:
        """What to change where these causes broke it: the remedy of each, else the fix."""
        remedies = {remedy.cause: remedy.fix for remedy in self.remedies}
        return " ".join(dict.fromkeys(remedies.get(cause, self.fix) for cause in causes))

    def explained_by(self, evidence: str) -> tuple[str, ...]:
        """The rules that explain a finding of it with this in its evidence."""
        causes = (cause.rules for cause in self.symptom_of if cause.evidence == evidence)
        return tuple(rule for rules in causes for rule in rules)

    @property
    def shown_otherwise(self) -> bool:
        """Whether neither files nor sessions that are played can show it."""
        return self.driven and not self.played
