"""`conformance rules` and `conformance explain RULE`: the registry for people."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING

from conformance.cli.exits import Exit, UsageError
from conformance.cli.output import terminal_style
from conformance.convention.rules import BY_ID, RULES, Level, Rule

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_WIDTH = 100


def rules(options: argparse.Namespace) -> int:
    """List all rules."""
    if options.format == "json":
        listed = [_as_json(rule) for rule in RULES]
        sys.stdout.write(json.dumps({"rules": listed}, indent=2) + "\n")
        return Exit.CONFORMS
    style = terminal_style()
    for rule in RULES:
        level = style.paint(
            f"{rule.level.value:6}", "red" if rule.level is Level.MUST else "yellow"
        )
        sys.stdout.write(f"{rule.id:14} {level} {rule.text}\n")
    return Exit.CONFORMS


def explain(options: argparse.Namespace) -> int:
    """Print one rule with its text, source, evidence, an example and how to mend it."""
    rule = BY_ID.get(options.rule.strip().upper())
    if rule is None:
        near = [known for known in BY_ID if known.startswith(options.rule.strip().upper()[:4])]
        hint = f"; did you mean {', '.join(near[:9])}?" if near else "; see 'conformance rules'"
        raise UsageError(f"no rule is called {options.rule!a}{hint}")
    sys.stdout.write("\n".join(_page(rule)) + "\n")
    return Exit.CONFORMS


def _page(rule: Rule) -> Iterator[str]:
    driven = "; only a driven trainer can show it" if rule.driven else ""
    yield f"{rule.id} ({rule.level.value.upper()}{driven})"
    yield ""
    for label, text in (
        ("rule", rule.text),
        ("source", rule.source),
        ("evidence", ", ".join(need.value for need in rule.needs)),
        ("breaks it", rule.breaks),
        ("keeps it", rule.keeps),
        ("mend", rule.fix),
    ):
        lines = textwrap.wrap(text, _WIDTH - 12, break_on_hyphens=False)
        yield f"{label:11} {lines[0]}"
        yield from (" " * 12 + line for line in lines[1:])


def _as_json(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "level": rule.level.value,
        "text": rule.text,
        "source": rule.source,
        "evidence": [need.value for need in rule.needs],
        "breaks": rule.breaks,
        "keeps": rule.keeps,
        "fix": rule.fix,
        "driven": rule.driven,
    }
