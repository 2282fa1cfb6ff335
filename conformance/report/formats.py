"""The formats of a report: the command line, the pages and the tests read all of them here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.report import Report
    from conformance.report.text import Style


class Syntax(str, Enum):
    """What a reader takes a format for: no name in a report may mean anything in it."""

    TEXT = "lines for a terminal"
    JSON = "one JSON document"
    XML = "one XML document"
    COMMANDS = "lines, of which those that begin with :: are GitHub's workflow commands"
    MARKDOWN = "GitHub's Markdown"
    HTML = "one HTML page"


@dataclass(frozen=True, slots=True)
class Look:
    """How a report for people looks.

    Attributes:
        style: colours and width; None: plain.
        verbose: also list the rules that passed or were not applicable, with their evidence.
        head: text that comes before.
    """

    style: Style | None = None
    verbose: bool = False
    head: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One format of a report.

    Attributes:
        name: as `--format` takes it.
        syntax: that its output is read by.
        write: returns the report in it.
        explains: whether it shows the explanation of the files.
    """

    name: str
    syntax: Syntax
    write: Callable[[Report, Look], str]
    explains: bool = False


def _text(report: Report, look: Look) -> str:
    from conformance.report.text import to_text  # noqa: PLC0415 - start-up is short without it

    return look.head + to_text(report, look.style, verbose=look.verbose)


def _module(name: str) -> Callable[[Report, Look], str]:
    """The writer of a format's module; only what is asked for is imported: start-up is short."""

    def write(report: Report, _: Look) -> str:
        module = importlib.import_module(f"conformance.report.{name}")
        writer: Callable[[Report], str] = getattr(module, f"to_{name}")
        return writer(report)

    return write


DEFAULT = "text"
FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(DEFAULT, Syntax.TEXT, _text, explains=True),
        Format("json", Syntax.JSON, _module("json")),
        Format("junit", Syntax.XML, _module("junit")),
        Format("sarif", Syntax.JSON, _module("sarif")),
        Format("github", Syntax.COMMANDS, _module("github")),
        Format("markdown", Syntax.MARKDOWN, _module("markdown"), explains=True),
        Format("html", Syntax.HTML, _module("html"), explains=True),
    )
}
EXPLANATION = Format("explanation", Syntax.JSON, _module("explanation"), explains=True)
"""What `--explanation` writes: the explanation of the files alone."""
