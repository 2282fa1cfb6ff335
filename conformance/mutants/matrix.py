"""The kill matrix: each mutant driven as any trainer is, and the page that says what saw it.

The page is of the probes alone. Generated scenarios change with the release of Hypothesis; the
probes are the same everywhere, so that the page that is committed can be held against a run.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.convention.profile import load_profile
from conformance.convention.rewards import reward_text
from conformance.convention.rules import BY_ID, RULES, Level, Needs
from conformance.convention.sessions import played
from conformance.mutants import DEFECTS, ODDITIES
from conformance.run.settings import Options
from conformance.suite.probes import probes
from conformance.suite.session import run_suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from conformance.convention.rules import Rule
    from conformance.convention.scenario import Scenario
    from conformance.mutants import Trainer
    from conformance.suite.engine import Failure, Result

    Chain = tuple[Scenario, ...]

PROFILE = load_profile()
PROBES = len(probes(PROFILE, resume=True))
_GROUPS = tuple(dict.fromkeys(rule.group for rule in RULES))
_BY_NAME = {mutant.__name__: mutant for mutant in (*DEFECTS, *ODDITIES)}


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says of one mutant.

    Attributes:
        trainer: its name.
        probe: which probe its own rule failed in first, counted from 1; 0 for an oddity.
        epochs: how many the shrunken counterexample has, over all sessions; 0 for an oddity.
        counterexample: the shrunken scenario in short.
        others: the other rules that failed; of an oddity, all of them.
    """

    trainer: str
    probe: int
    epochs: int
    counterexample: str
    others: tuple[str, ...]


def drive(
    mutant: type[Trainer],
    *,
    max_examples: int = PROBES,
    seed: int = 0,
    replay: Chain | None = None,
) -> Result:
    """Drive a mutant through the suite.

    Args:
        mutant: of `conformance.mutants`.
        max_examples: how many scenarios to play, the probes first; the page is of them alone.
        seed: of those that are generated.
        replay: play this chain alone.
    """
    return run_suite(
        f"python:conformance.mutants:{mutant.__name__}",
        profile=PROFILE,
        options=Options(model=model) if asks_for_a_model(mutant) else None,
        max_examples=max_examples,
        seed=seed,
        replay=replay,
        database=None,
        save_failures=None,
    ).result


def asks_for_a_model(mutant: type[Trainer]) -> bool:
    """Tell whether the rule that a mutant breaks is judged only where a model is given."""
    return bool(mutant.rule) and Needs.MODEL in BY_ID[mutant.rule].needs


def model() -> Any:  # noqa: ANN401 - torch is not imported here, not even for a type
    """Return the `torch.nn.Module` whose state_dict the mutants save."""
    nn = importlib.import_module("torch.nn")  # where LOAD-004 is asked for, and there alone
    return nn.ModuleDict({"actor": nn.Linear(2, 2)})


def own_failure(mutant: type[Trainer], result: Result) -> Failure | None:
    """Return the failure by the rule that a defect is of; None where that rule did not fail."""
    return next((each for each in result.failures if each.rule == mutant.rule), None)


def epochs_of(chain: Chain) -> int:
    """Return how many epochs are trained, over all sessions."""
    return sum(session.last - session.first + 1 for session in played(PROFILE, chain))


def deviations(mutant: type[Trainer], result: Result) -> tuple[str, ...]:
    """Return a line for each thing that came otherwise than the mutant says of itself."""
    return tuple(f"{mutant.__name__}: {what}" for what in _deviations(mutant, result))


def _deviations(mutant: type[Trainer], result: Result) -> Iterator[str]:
    for breakage in result.breakages:
        yield f"it broke: {breakage.broke.message}"
    for failure in result.failures:
        expected = {mutant.rule} | mutant.also
        if failure.level is Level.SHOULD:
            expected |= mutant.warns
        if failure.rule not in expected:
            yield f"{failure.rule} failed too ({told(failure.chain)}): {failure.finding.message}"
        if not failure.steady:
            yield f"{failure.rule} did not fail again ({told(failure.chain)})"
    if not mutant.rule:
        if result.run.verdict != "conforms":
            yield f"it keeps the convention, and the verdict is {result.run.verdict}"
        return
    own = own_failure(mutant, result)
    if own is None:
        yield f"{mutant.rule} did not fail"
    elif epochs_of(own.chain) > mutant.epochs:
        yield (
            f"the counterexample has {epochs_of(own.chain)} epochs, not {mutant.epochs}"
            f" ({told(own.chain)})"
        )


# --- the page -------------------------------------------------------------------------------


def row(mutant: type[Trainer], result: Result) -> Row:
    """Return what the page says of a mutant that was driven through the probes."""
    own = own_failure(mutant, result)
    return Row(
        trainer=mutant.__name__,
        probe=own.number if own else 0,
        epochs=epochs_of(own.chain) if own else 0,
        counterexample=told(own.chain) if own else "",
        others=tuple(sorted(each.rule for each in result.failures if each is not own)),
    )


def told(chain: Chain) -> str:
    """Return a chain in short: `rewards 5, 5; save_freq 0`."""
    parts = []
    if chain[0].experiment != "A":
        parts.append(f"named {chain[0].experiment}")
    for scenario in chain:
        known = scenario.rewards[: scenario.max_epochs]
        resumed = f"resumed from {scenario.resume}: " if scenario.resume else ""
        parts.append(f"{resumed}rewards {', '.join(map(_number, known))}")
    freqs = [str(scenario.save_freq) for scenario in chain]
    parts.append(f"save_freq {', '.join(freqs if len(set(freqs)) > 1 else freqs[:1])}")
    return "; ".join(parts)


def _number(reward: float | None) -> str:
    return "none" if reward is None else reward_text(reward).removesuffix(".0")


def line(held: Row) -> str:
    """Return what the page says of one mutant, in a line for a terminal."""
    others = ", ".join(held.others)
    rule = _BY_NAME[held.trainer].rule
    if not rule:
        return f"{held.trainer}: {others or 'clean'}"
    seen = "its own rule did not fail"
    if held.probe:
        seen = f"{rule} by probe {held.probe}, {held.epochs} epoch(s) ({held.counterexample})"
    return f"{held.trainer}: {seen}{'; also ' if others else ''}{others}"


def page(rows: Iterable[Row]) -> str:
    """Return the page in Markdown, from the rows of all mutants."""
    by_name = {each.trainer: each for each in rows}
    return (
        "\n".join([*_preamble(), *_matrix(by_name), *_rules(by_name), *_oddities(by_name)]) + "\n"
    )


def read_rows(text: str) -> dict[str, Row]:
    """Return the rows of a page, by the trainers' names."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        name, _, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        last = cells.pop()
        others = tuple(last.split(", ")) if last else ()
        name = name.strip("`")
        if cells:
            probe, _, epochs, counterexample = cells
            found[name] = Row(name, int(probe), int(epochs), counterexample, others)
        else:
            found[name] = Row(name, 0, 0, "", others)
    return found


def _preamble() -> Iterator[str]:
    yield from (
        "# Kill matrix",
        "",
        "Written by `python -m conformance.mutants --write docs/kill-matrix.md`; a test holds each"
        " row against a run.",
        "",
        f"`conformance.mutants` has {len(DEFECTS)} trainers with one deliberate defect each, and"
        f" {len(ODDITIES)} that keep the convention in odd ways. Here each is driven as any trainer"
        f" is, `conformance test python:conformance.mutants:NAME`, through the {PROBES} scenarios"
        " that every run begins with (`conformance/suite/probes.py`). Generated scenarios are left"
        " out: they differ from one release of Hypothesis to the next.",
        "",
    )


def _matrix(rows: Mapping[str, Row]) -> Iterator[str]:
    yield from (
        "## Rules by mutants",
        "",
        "How many defects each rule sees, by the group of the rule that a defect is of. In a rule's"
        " own group `3+1` are three of its own and one of another rule. The last column counts"
        " oddities.",
        "",
        "| rule | level | " + " | ".join(_GROUPS) + " | oddities |",
        "| --- | --- |" + " --: |" * (len(_GROUPS) + 1),
    )
    for rule in RULES:
        seen = [mutant for mutant in DEFECTS if rule.id in _failing(mutant, rows)]
        odd = sum(rule.id in _failing(mutant, rows) for mutant in ODDITIES)
        cells = [_cell(rule, group, seen) for group in _GROUPS]
        listed = " | ".join([*cells, str(odd or "")])
        yield f"| {rule.id} | {rule.level.value.upper()} | {listed} |"
    yield from (
        "",
        "No session that is played to its end breaks these.",
        "",
        *(f"- {rule.id}: {rule.shown_by[0].value}." for rule in RULES if not rule.played),
        "",
        "RANK-001 has mutants that make a second run folder in one process; training by several"
        " processes is judged by a command of its own.",
        "",
    )


def _failing(mutant: type[Trainer], rows: Mapping[str, Row]) -> frozenset[str]:
    """Return the rules that a mutant's row says failed."""
    held = rows[mutant.__name__]
    return frozenset(held.others) | ({mutant.rule} if held.probe else frozenset())


def _cell(rule: Rule, group: str, seen: list[type[Trainer]]) -> str:
    """Return how many defects of the group a rule sees, its own and others apart."""
    own = sum(mutant.rule == rule.id for mutant in seen) if rule.group == group else 0
    others = sum(BY_ID[mutant.rule].group == group for mutant in seen) - own
    return "+".join(str(number) for number in (own, others) if number)


def _rules(rows: Mapping[str, Row]) -> Iterator[str]:
    yield from (
        "## Defects",
        "",
        "- **probe**: in which of the probes its rule failed first.",
        "- **generated**: within so many generated scenarios its rule fails where no probe is"
        " played; at least twice what the slowest of five seeds needed.",
        "- **epochs**: of the shrunken counterexample, over all sessions.",
        "- **other rules**: which failed as well; the mutant's source says why.",
        "",
    )
    for rule in RULES:
        mutants = [mutant for mutant in DEFECTS if mutant.rule == rule.id]
        if not mutants:
            continue
        yield from (
            f"### {rule.id} ({rule.level.value.upper()})",
            "",
            _escaped(rule.text),
            "",
            "| trainer | what it does | probe | generated | epochs | counterexample |"
            " other rules |",
            "| --- | --- | --: | --: | --: | --- | --- |",
        )
        for mutant in mutants:
            held = rows[mutant.__name__]
            yield (
                f"| `{held.trainer}` | {_escaped(mutant.__doc__ or '')} | {held.probe} |"
                f" {mutant.examples} | {held.epochs} | {held.counterexample} |"
                f" {', '.join(held.others)} |"
            )
        yield ""


def _oddities(rows: Mapping[str, Row]) -> Iterator[str]:
    yield from (
        "## Oddities",
        "",
        "Each conforms: no MUST rule fails. A SHOULD rule may warn.",
        "",
        "| trainer | what it does | warns |",
        "| --- | --- | --- |",
    )
    for mutant in ODDITIES:
        held = rows[mutant.__name__]
        yield (
            f"| `{held.trainer}` | {_escaped(mutant.__doc__ or '')} | {', '.join(held.others)} |"
        )


def _escaped(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", text)


def by_name(name: str) -> type[Trainer]:
    """Return the mutant of that name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]
