"""`conformance check --format X --output F`: each format from a real run with a hostile name."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from conformance.cli import main
from conformance.convention.oracle import Settings
from conformance.convention.rules import BY_ID, Level
from conformance.fixtures.play import Session, play
from conformance.report.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("a\n::error::x", "\x1b[31m\u202e", "\udcff\"']]>", "<b>&|`%0A", "[x](x){0}")


@pytest.fixture(params=NAMES, ids=ascii)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a run with hostile names, without its best checkpoint: BEST-001 fails."""
    played = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
    (tmp_path / "runs").mkdir()
    plain = played.without(played.best).write(tmp_path / "runs")
    next((plain / "nn").iterdir()).rename(plain / "nn" / f"{request.param}.pth".replace("/", "_"))
    return plain.rename(plain.with_name(request.param.replace("/", "_")))


def _junit(text: str) -> set[str]:
    root = ET.fromstring(text)  # noqa: S314 - our own text, without a DTD
    return {failure.attrib["type"] for failure in root.iter("failure")}


def _sarif(text: str) -> set[str]:
    (run,) = json.loads(text)["runs"]
    return {result["ruleId"] for result in run["results"] if result["level"] == "error"}


def _github(text: str) -> set[str]:
    return set(re.findall(r"^::error file=[^,]+,title=([A-Z0-9-]+)::", text, re.MULTILINE))


def _markdown(text: str) -> set[str]:
    return set(re.findall(r"^\| \*\*FAIL\*\* \| ([A-Z0-9-]+) \|", text, re.MULTILINE))


def _html(text: str) -> set[str]:
    return set(re.findall(r">fail</span></td><td><abbr title=\"[^\"]*\">([A-Z0-9-]+)<", text))


READERS: dict[str, Callable[[str], set[str]]] = {
    "junit": _junit,
    "sarif": _sarif,
    "github": _github,
    "markdown": _markdown,
    "html": _html,
}


def _broken(text: str) -> set[str]:
    """The MUST rules that the JSON report says are broken."""
    (run,) = json.loads(text)["runs"]
    return {
        finding["rule"]
        for finding in run["findings"]
        if (finding["verdict"], finding["level"]) == ("fail", "must")
    }


def _told(kind: str, text: str) -> set[str]:
    """The MUST rules that a report says are broken; without a reader, those that it names."""
    named = {rule for rule in re.findall(r"\b[A-Z]+-[0-9]{3}\b", text) if rule in BY_ID}
    broken = {rule for rule in named if BY_ID[rule].level is Level.MUST}
    return READERS[kind](text) if kind in READERS else broken


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("text", "json")])
def test_each_format_tells_of_the_rules_that_the_json_report_tells_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    report, plain = tmp_path / "report", tmp_path / "report.json"
    code = main(
        [
            *("check", str(run), "--format", kind, "--output", str(report)),
            *("--format", "json", "--output", str(plain)),
        ]
    )
    assert (code, capsys.readouterr().out) == (1, "")
    expected = _broken(plain.read_text(encoding="utf-8"))
    assert "BEST-001" in expected
    assert _told(kind, report.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_goes_to_standard_output_too(
    run: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert main(["check", str(run), "--format", kind]) == 1
    assert "BEST-001" in _told(kind, capsys.readouterr().out)


def test_the_text_format_imports_no_other(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in set(FORMATS) - {"text"}:
        monkeypatch.setitem(sys.modules, f"conformance.report.{kind}", None)
    assert main(["check", str(run)]) == 1
    assert "BEST-001" in capsys.readouterr().out
