"""The registry of rules against the convention's own table, and its selectors."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from conformance.checks import CHECKS
from conformance.convention.rules import (
    BY_ID,
    RULES,
    Level,
    Needs,
    Rule,
    UnknownRuleError,
    select,
)

_MUST = """
LAYOUT-001 LAYOUT-002 LAYOUT-004
NAME-001 NAME-002 NAME-003 NAME-004 NAME-005 NAME-006 NAME-007
CADENCE-001 CADENCE-002 CADENCE-003 CADENCE-004 CADENCE-005
BEST-001 BEST-002 BEST-003 BEST-004 BEST-005 BEST-006 BEST-007 BEST-008
LOAD-001 LOAD-002 LOAD-003 LOAD-004 LOAD-006 LOAD-008
INTEGRITY-001 INTEGRITY-002 INTEGRITY-003
SAFETY-001 SUMMARY-001 SUMMARY-002 RESUME-001 RESUME-002 RANK-001
"""
_SHOULD = """
LAYOUT-003 LAYOUT-005 NAME-008 BEST-009 LOAD-005 LOAD-007 LOAD-009 INTEGRITY-004
"""
EXPECTED = {
    **dict.fromkeys(_MUST.split(), Level.MUST),
    **dict.fromkeys(_SHOULD.split(), Level.SHOULD),
}
DRIVEN = {
    *("CADENCE-004", "CADENCE-005", "INTEGRITY-002", "INTEGRITY-003"),
    *("RESUME-001", "RESUME-002", "RANK-001"),
}


def test_the_registry_holds_the_conventions_rules_and_levels() -> None:
    assert {rule.id: rule.level for rule in RULES} == EXPECTED


def test_ids_are_unique_and_well_formed() -> None:
    assert [id_ for id_, count in Counter(rule.id for rule in RULES).items() if count > 1] == []
    assert [rule.id for rule in RULES if not re.fullmatch(r"[A-Z]+-[0-9]{3}", rule.id)] == []
    assert {id_: rule.id for id_, rule in BY_ID.items()} == {id_: id_ for id_ in EXPECTED}


def test_groups_stand_together_in_the_order_of_their_numbers() -> None:
    groups = list(dict.fromkeys(rule.group for rule in RULES))
    assert [rule.id for rule in RULES] == sorted(
        EXPECTED, key=lambda id_: (groups.index(id_.partition("-")[0]), id_)
    )


def test_rules_that_only_a_driven_trainer_shows_are_marked() -> None:
    assert {rule.id for rule in RULES if rule.driven} == DRIVEN


def test_each_rule_has_a_check_but_those_that_no_session_shows() -> None:
    assert set(CHECKS) == set(EXPECTED) - {"INTEGRITY-002", "INTEGRITY-003", "RESUME-002"}


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


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ((), set()),
        (("BEST-003",), {"BEST-003"}),
        (("best-003",), {"BEST-003"}),
        ((" BEST-003 ",), {"BEST-003"}),
        (("RESUME",), {"RESUME-001", "RESUME-002"}),
        (("resume-",), {"RESUME-001", "RESUME-002"}),
        (("RESUME", "RANK-001", "RESUME-001"), {"RESUME-001", "RESUME-002", "RANK-001"}),
        (("SAFETY",), {"SAFETY-001"}),
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
