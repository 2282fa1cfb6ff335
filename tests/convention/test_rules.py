"""The registry of rules against the convention's own table, and its selectors."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby

import pytest

from conformance.checks import CHECKS
from conformance.convention.rule import never
from conformance.convention.rules import (
    BY_ID,
    RULES,
    Level,
    Means,
    Needs,
    Rule,
    UnknownRuleError,
    select,
)
from conformance.crash.findings import crash_findings
from conformance.evidence.checkpoint import What
from conformance.suite.policy import INFERENCE
from conformance.suite.ranks import RANKS

# What the suite's sessions, kills, faults, inference or ranks show is read from a journal.
DRIVEN = {rule.id for rule in RULES if rule.driven}


def test_ids_are_unique_and_well_formed() -> None:
    assert [id_ for id_, count in Counter(rule.id for rule in RULES).items() if count > 1] == []
    assert [rule.id for rule in RULES if not re.fullmatch(r"[A-Z]+-[0-9]{3}", rule.id)] == []
    assert [rule.id for rule in RULES if BY_ID[rule.id] is not rule] == []


def test_groups_stand_together_and_count_from_one_without_a_gap() -> None:
    """An id is never used again, and never goes: `docs/rules.md` holds those that were given."""
    for group, rules in groupby(RULES, key=lambda rule: rule.group):
        numbers = [int(rule.id.partition("-")[2]) for rule in rules]
        assert numbers == list(range(1, len(numbers) + 1)), group
    groups = [group for group, _ in groupby(RULES, key=lambda rule: rule.group)]
    assert len(set(groups)) == len(groups)


def test_each_rule_has_a_check_but_those_that_are_shown_otherwise() -> None:
    assert set(CHECKS) == {rule.id for rule in RULES if not rule.shown_otherwise}


def shown_by(*means: Means) -> set[str]:
    return {rule.id for rule in RULES if not set(means).isdisjoint(rule.shown_by)}


def test_what_judges_a_rule_otherwise_is_what_its_entry_says() -> None:
    crashed = crash_findings((), best="nn/A.pth", folder="nn", causes=(), durable=False)
    assert {finding.rule for finding in crashed} == shown_by(Means.KILLS, Means.FAULTS)
    assert {INFERENCE} == shown_by(Means.INFERENCE)
    assert {RANKS} == shown_by(Means.RANKS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_facts_of_a_rule_agree(rule: Rule) -> None:
    causes = {cause for each in rule.symptom_of for cause in each.rules}
    assert causes | rule.more_general | rule.leaves <= BY_ID.keys()
    assert rule.id not in causes | rule.more_general
    assert (rule.matter is None) == (not rule.more_general)
    assert rule.of_writes or not rule.told_closely
    assert rule.shown_by
    assert len(set(rule.shown_by)) == len(rule.shown_by)
    assert rule.level is Level.MUST or rule.gated is never
    assert rule.played or rule.gated is never
    assert not (rule.driven and rule.tells_dialect)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_has_all_its_texts(rule: Rule) -> None:
    for text in (rule.text, rule.source, rule.breaks, rule.keeps, rule.fix):
        assert text.strip() == text != ""
        assert "\n" not in text
        assert "  " not in text
    assert rule.text.endswith(".")
    assert rule.fix.endswith(".")
    assert rule.breaks != rule.keeps
    assert rule.needs
    assert len(set(rule.needs)) == len(rule.needs)


def test_a_rule_that_needs_a_journal_is_driven() -> None:
    assert {rule.id for rule in RULES if Needs.JOURNAL in rule.needs} == DRIVEN


# --- selectors ------------------------------------------------------------------------------

RESUME = {rule.id for rule in RULES if rule.group == "RESUME"}


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ((), set()),
        (("BEST-003",), {"BEST-003"}),
        (("best-003",), {"BEST-003"}),
        ((" BEST-003 ",), {"BEST-003"}),
        (("RESUME",), RESUME),
        (("resume-",), RESUME),
        (("RESUME", "RANK-001", "RESUME-001"), RESUME | {"RANK-001"}),
    ],
)
def test_a_selector_is_an_id_or_a_group(selectors: tuple[str, ...], expected: set[str]) -> None:
    assert select(selectors) == expected


@pytest.mark.parametrize(
    "selector",
    ["", " ", "-", "B", "BES", "BEST-0", "BEST-00", "BEST-010", "BEST-003x", "*", "BEST_003", "\n"],
)
def test_a_selector_that_names_nothing_is_an_error_that_lists_the_groups(selector: str) -> None:
    with pytest.raises(UnknownRuleError, match=r"groups BEST, CADENCE, .*SUMMARY") as caught:
        select(("SAFETY", selector))
    assert "\n" not in str(caught.value)


def test_a_hostile_selector_is_quoted() -> None:
    with pytest.raises(UnknownRuleError) as caught:
        select(("\x1b[31m\u202e",))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.remedies], ids=lambda r: r.id)
def test_each_cause_has_one_remedy_that_is_not_the_rules_own_fix(rule: Rule) -> None:
    causes = [remedy.cause for remedy in rule.remedies]
    assert len(set(causes)) == len(causes)
    assert all(causes)
    assert rule.fix not in {remedy.fix for remedy in rule.remedies}


@pytest.mark.parametrize("what", What)
def test_whatever_a_file_is_has_its_remedy(what: What) -> None:
    load = {remedy.cause for remedy in BY_ID["LOAD-001"].remedies}
    assert what.value in load


def test_the_fix_of_several_causes_names_each_remedy_once() -> None:
    rule = BY_ID["LOAD-001"]
    module = rule.fix_for(["module"])
    assert rule.fix_for([""]) == rule.fix
    assert rule.fix_for(["module", "module"]) == module
    assert rule.fix_for(["module", ""]) == f"{module} {rule.fix}"
