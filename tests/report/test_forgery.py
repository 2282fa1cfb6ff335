"""No name forges anything in any format of the registry, and a format that lets one is caught."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forgery import forged

from conformance.cli import main
from conformance.report.formats import FORMATS, Format, Look, Syntax
from conformance.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.report import Report


@pytest.mark.parametrize("kind", FORMATS)
def test_no_name_means_anything(kind: str) -> None:
    assert forged(FORMATS[kind]) == []


def _filled(shape: str, whole: str = "{}") -> Callable[[Report, Look], str]:
    """A writer that fills findings into a shape, with no other escapes than those for terminals."""

    def write(report: Report, _: Look) -> str:
        found = [finding for run in report.runs for finding in run.findings]
        return whole.format(
            "".join(shape.format(rule=each.rule, message=printable(each.message)) for each in found)
        )

    return write


def _bare(report: Report, _: Look) -> str:
    """Findings with no escapes at all."""
    return "".join(f"{each.message}\n" for run in report.runs for each in run.findings)


UNESCAPED = {
    Syntax.TEXT: _bare,
    Syntax.JSON: _filled('"{message}", ', "[{}0]"),
    Syntax.XML: _filled("<case>{message}</case>", "<cases>{}</cases>"),
    Syntax.COMMANDS: _filled("::error title={rule}::{message}\n"),
    Syntax.MARKDOWN: _filled("- {rule}: {message}\n"),
    Syntax.HTML: _filled("<p>{rule}: {message}</p>\n"),
}


@pytest.mark.parametrize("syntax", Syntax)
def test_a_format_without_escaping_is_caught(
    syntax: Syntax, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "toy", Format("toy", syntax, UNESCAPED[syntax]))
    with pytest.raises(AssertionError):
        test_no_name_means_anything("toy")


def test_a_format_of_the_registry_is_one_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conforming = Path(__file__).parents[2] / "fixtures" / "conforming" / "plain" / "Cartpole"
    assert main(["check", str(conforming), "--format", "toy"]) == 2
    capsys.readouterr()
    monkeypatch.setitem(FORMATS, "toy", Format("toy", Syntax.TEXT, _filled("{rule}\n")))
    assert main(["check", str(conforming), "--format", "toy"]) == 0
    assert "\nBEST-003\n" in capsys.readouterr().out
