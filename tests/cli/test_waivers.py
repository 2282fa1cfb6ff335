"""Waivers: findings accepted for a while, each named, reasoned, and ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_RIGHT = '[[waiver]]\nrule = "BEST-001"\nreason = "known: #12"\nexpires = 2999-12-31\n'


@pytest.fixture
def check(command: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return `check` with a waiver file of the given text."""

    def run(text: str, *arguments: object) -> Any:  # a Result of the conftest
        path = tmp_path / "waivers.toml"
        path.write_text(text)
        return command("check", "--waivers", path, *arguments)

    return run


def test_a_waived_failure_does_not_fail_the_run(check: Callable[..., Any], failing: Path) -> None:
    result = check(_RIGHT, failing)
    assert (result.code, result.err) == (0, "")
    assert "waived: known: #12 (until 2999-12-31)" in result.out
    assert "verdict: conforms" in result.out


def test_json_says_why_a_failure_is_waived(check: Callable[..., Any], failing: Path) -> None:
    (run,) = json.loads(check(_RIGHT, failing, "--format", "json").out)["runs"]
    waived = {finding["rule"]: finding["waived"] for finding in run["findings"]}
    assert waived.pop("BEST-001") == "known: #12 (until 2999-12-31)"
    assert set(waived.values()) == {None}
    assert run["verdict"] == "conforms"


def test_a_waiver_covers_its_own_rule_alone(check: Callable[..., Any], failing: Path) -> None:
    (failing / "nn" / "last_Failingep0002rew3.0.pth").write_bytes(b"x")
    result = check(_RIGHT, failing)
    assert result.code == 1
    assert "NAME-004" in result.out


def test_a_waiver_may_name_the_runs(
    check: Callable[..., Any], root: Path, failing: Path, conforming: Path
) -> None:
    assert check(_RIGHT + 'run = "Fail*"\n', root).code == 0
    assert conforming.name == "A"
    assert check(_RIGHT + 'run = "A"\n', root).code == 2
    assert check(_RIGHT + 'run = "fail*"\n', failing).code == 2


def test_a_waiver_lasts_through_its_last_day(
    check: Callable[..., Any], failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conformance import waivers  # noqa: PLC0415 - beside its patch

    load = waivers.load_waivers

    def on(day: str) -> None:
        today = waivers.date.fromisoformat(day)
        monkeypatch.setattr(waivers, "load_waivers", lambda path, **_: load(path, today=today))

    on("2999-12-31")
    assert check(_RIGHT, failing).code == 0
    on("3000-01-01")
    result = check(_RIGHT, failing)
    assert result.code == 2
    assert "the waiver of BEST-001 expired on 2999-12-31" in result.err


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        (_RIGHT.replace("BEST-001", "BEST-002"), "unused waiver(s), to be removed: BEST-002"),
        (_RIGHT.replace("BEST-001", "BEST-099"), "no rule is called 'BEST-099'"),
        (_RIGHT.replace("BEST-001", "BEST"), "no rule is called 'BEST'"),
        (_RIGHT.replace('"BEST-001"', "[]"), "no rule is called []"),
        (_RIGHT.replace('"BEST-001"', "7"), "no rule is called 7"),
        (_RIGHT.replace('reason = "known: #12"\n', ""), "lacking ['reason']"),
        (_RIGHT.replace("known: #12", "  "), "the waiver of BEST-001 gives no reason"),
        (_RIGHT.replace('"known: #12"', "7"), "the waiver of BEST-001 gives no reason"),
        (_RIGHT.replace("expires = 2999-12-31\n", ""), "lacking ['expires']"),
        (_RIGHT.replace("2999-12-31", '"2999-12-31"'), "must be a date"),
        (_RIGHT.replace("2999-12-31", "12:00:00"), "must be a date"),
        (_RIGHT.replace("2999-12-31", "2001-01-01"), "expired on 2001-01-01"),
        (_RIGHT.replace("2999-12-31", "2001-01-01T00:00:00Z"), "expired on 2001-01-01"),
        (_RIGHT + "run = 7\n", "run of BEST-001 must be a text"),
        (_RIGHT + 'until = "x"\n', "unknown ['until']"),
        (_RIGHT + "[other]\n", "expected [[waiver]] tables"),
        ("", "expected [[waiver]] tables"),
        ("waiver = 7", "expected [[waiver]] tables"),
        ("waiver = [7]", "expected [[waiver]] tables, found 7"),
        ("waiver = [[]]", "expected [[waiver]] tables, found []"),
        ("[waiver]\nrule = 'BEST-001'\n", "expected [[waiver]] tables"),
        ("[[waiver]", "cannot be read"),
    ],
)
def test_a_wrong_or_unused_waiver_exits_2(
    check: Callable[..., Any], failing: Path, text: str, blamed: str
) -> None:
    result = check(text, failing)
    assert (result.code, result.out) == (2, "")
    assert blamed in result.err
    assert result.err.count("\n") == 1


def test_a_waiver_of_a_failure_that_is_gone_exits_2(
    check: Callable[..., Any], conforming: Path
) -> None:
    assert check(_RIGHT, conforming).code == 2


def test_what_cannot_be_seen_is_not_waived(check: Callable[..., Any], incomplete: Path) -> None:
    text = _RIGHT.replace("BEST-001", "CADENCE-001")
    result = check(text, incomplete, "--strict")
    assert result.code == 2
    assert "unused" in result.err
