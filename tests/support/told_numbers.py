"""Which numbers of a finding's message its evidence does not hold."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.checks.finding import Finding

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\d)")
# What is quoted is a name; and these hold digits that are no numbers.
_NAMES = re.compile(
    r"'[^']*'|\"[^\"]*\"|CRC-32C?|10\^18|\b[A-Z]+-0\d\d\b|torch >= [\d.]+|\$\{?\d"
    r"|\b(?:rl_games|amp)-[\w.-]+"
)


def untold(finding: Finding) -> list[str]:
    """Return the numbers that stand in the message and nowhere in the evidence.

    A count may stand there as the number of things listed.
    """
    known: set[float] = set()
    pending: list[Any] = [json.loads(json.dumps(finding.evidence, default=str))]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values(), len(value)]
        elif isinstance(value, list):
            pending += [*value, len(value), len(value) - 1]
        elif isinstance(value, str):
            known.update(map(float, re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", value)))
        elif isinstance(value, (int, float)):
            known.add(float(value))
    numbers = _NUMBER.findall(_NAMES.sub(" ", finding.message))
    return [number for number in numbers if float(number) not in known]
