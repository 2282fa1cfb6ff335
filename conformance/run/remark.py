"""What a reader should know of a run and no rule judges, with the values behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.convention.brief import Brief

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, repr=False)
class Remark(Brief):
    """One remark: it changes no verdict.

    Attributes:
        message: one line for a person.
        paths: paths from the run's folder that it speaks of.
        evidence: the values behind it, fit for JSON.
    """

    message: str
    paths: tuple[str, ...]
    evidence: Mapping[str, Any]
