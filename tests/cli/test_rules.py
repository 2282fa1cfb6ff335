"""`conformance rules`, `explain` and `fixtures`, and what the command imports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from conformance.convention.rules import RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_all_rules_are_listed_one_a_line(command: Callable[..., Any]) -> None:
    result = command("rules")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[:2] for line in lines] == [[r.id, r.level.value] for r in RULES]
    assert all(line.endswith(rule.text) for line, rule in zip(lines, RULES, strict=True))


def test_json_lists_all_that_a_rule_has(command: Callable[..., Any]) -> None:
    listed = json.loads(command("rules", "--format", "json").out)["rules"]
    assert [rule["id"] for rule in listed] == [rule.id for rule in RULES]
    assert set(listed[0]) == {
        *("id", "level", "text", "source", "evidence", "breaks", "keeps", "fix", "driven"),
        "remedies",
    }
    assert "git-lfs-pointer" in next(r for r in listed if r["id"] == "LOAD-001")["remedies"]
    assert listed[0]["evidence"] == ["file names"]
    assert {rule["level"] for rule in listed} == {"must", "should"}


def test_markdown_has_a_section_for_each_rule(command: Callable[..., Any]) -> None:
    result = command("rules", "--format", "markdown")
    assert result.code == 0
    assert [rule.id for rule in RULES if rule.id not in result.out] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_explained(command: Callable[..., Any], rule: Rule) -> None:
    result = command("explain", rule.id)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{rule.id} ({rule.level.value.upper()}")
    assert all(len(line) <= 100 for line in result.out.splitlines())
    words = " ".join(result.out.split())
    remedies = (remedy.fix for remedy in rule.remedies)
    for text in (rule.text, rule.source, rule.breaks, rule.keeps, rule.fix, *remedies):
        assert text in words
    assert ("only a driven trainer" in words) == rule.driven


@pytest.mark.parametrize("spelling", ["best-003", " BEST-003 "])
def test_a_rule_is_found_in_any_case(command: Callable[..., Any], spelling: str) -> None:
    assert command("explain", spelling).out.startswith("BEST-003")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("BEST-099", "did you mean BEST-001, "), ("nope", "see 'conformance rules'")],
)
def test_an_unknown_rule_exits_2_with_a_hint(
    command: Callable[..., Any], wrong: str, hint: str
) -> None:
    result = command("explain", wrong)
    assert (result.code, result.out) == (2, "")
    assert hint in result.err


def test_fixtures_are_written_into_a_new_folder_alone(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    result = command("fixtures", tmp_path / "vectors")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "vectors" / "manifest.json").is_file()
    (tmp_path / "file").touch()
    refused = command("fixtures", tmp_path / "file")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.count("\n") == 1


_WHAT_IS_IMPORTED = """
import sys
from conformance.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "numpy", "tensorboard", "tensorflow", "hypothesis", "pytest", "jsonschema"}
if sys.argv[1] in ("rules", "explain"):
    heavy |= {"conformance.checks", "conformance.evidence", "conformance.suite", "yaml"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", ["rules", "explain BEST-003", "check", "ls"])
def test_nothing_heavy_is_imported(
    process: Callable[..., Any], conforming: Path, arguments: str
) -> None:
    words = arguments.split()
    paths = [conforming] if words[0] in ("check", "ls") else []
    result = process(*words, *paths, python=("-c", _WHAT_IS_IMPORTED))
    assert (result.code, result.err) == (0, "[]\n")


def test_the_package_is_a_command(process: Callable[..., Any]) -> None:
    result = process("--version")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("conformance ")
