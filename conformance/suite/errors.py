"""What a test suite is told of a trainer: an error where it breaks a MUST rule, else a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.suite.session import SuiteResult


class ConformanceError(AssertionError):
    """A trainer does not keep the convention; the text says how, and what to do.

    Attributes:
        result: what the driven suite found; None where a single run was looked at.
    """

    def __init__(self, message: str, *, result: SuiteResult | None = None) -> None:
        self.result = result
        super().__init__(message)


class TrainerBrokeError(ConformanceError):
    """The trainer itself broke, apart from what its checkpoints say: it raised, died or hung."""


class HarnessError(RuntimeError):
    """The harness itself failed; nothing is said of the trainer."""


class ConformanceWarning(UserWarning):
    """A trainer breaks a SHOULD rule. The text begins with the rule's id."""
