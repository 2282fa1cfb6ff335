"""What no name may do in any format of a report: hide, or look like structure to its reader."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import markdown_it
from reports import HOSTILE, a_finding

from conformance.checks.finding import RunReport
from conformance.convention.rules import Level, Verdict
from conformance.report import Driven, Report
from conformance.report.formats import Look, Syntax
from conformance.report.text import Style
from conformance.run.explanation import (
    ExplainedFile,
    ExplainedSession,
    Explanation,
    Grade,
    Reason,
)
from conformance.run.remark import Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.report.formats import Format

_PLAIN = "x"


def forged(kind: Format) -> list[str]:
    """The hostile names that mean something in a format, as Python writes them.

    Each stands in turn in all places that hold a name; the report must have the structure that it
    has with a plain name, and show nothing that a terminal would obey or a reader not see.
    """
    return [ascii(name) for name in HOSTILE if any(_differs(kind, *way, name) for way in _WAYS)]


def _differs(kind: Format, report: Callable[[str], Report], look: Look, name: str) -> bool:
    plain, text = kind.write(report(_PLAIN), look), kind.write(report(name), look)
    expected = list(_READERS[kind.syntax](plain))
    if not all(char == "\n" or char.isprintable() for char in text):
        return True
    try:
        return list(_READERS[kind.syntax](text)) != expected
    except (ValueError, ET.ParseError):
        return True


def _audit(name: str) -> Report:
    """Findings of all verdicts on one run, whose names and texts are the one given."""
    found = (
        _finding(name),
        _finding(name, rule="NAME-008", level=Level.SHOULD),
        _finding(name, rule="LOAD-001", waived=f"a{name}b"),
        _finding(name, rule="LOAD-002", verdict=Verdict.PASS, fix=""),
        _finding(name, rule="LOAD-003", verdict=Verdict.UNOBSERVABLE, fix=""),
        _finding(name, rule="LOAD-004", verdict=Verdict.ERROR, fix=""),
    )
    return Report("0.1.0", f"a{name}b", (_run(name, found),), chosen=f"a{name}b")


def _driven(name: str) -> Report:
    scenario = {
        "experiment": f"a{name}b",
        "root": "runs",
        "save_freq": 0,
        "max_epochs": 1,
        "rewards": [1.0],
        "save_best_after": 0,
        "resume": None,
        "seed": 0,
    }
    failure = {
        "rule": "BEST-003",
        "level": "must",
        "message": f"a{name}b",
        "scenario": scenario,
        "replay": f"a{name}b",
    }
    driven = Driven(
        trainer=f"python:a{name}b",
        options=("--name", f"a{name}b"),
        summary=f"a{name}b",
        evaluations={"BEST-003": 1},
        left={"BEST-003": ((f"a{name}b",), f"a{name}b")},
    )
    run = _run(name, (_finding(name),), driven=True)
    return Report("0.1.0", f"a{name}b", (run,), (failure,), driven)


def _run(name: str, found: tuple[Any, ...], *, driven: bool = False) -> RunReport:
    notes = (f"a{name}b",)
    path, profile = f"/runs/a{name}b", f"a{name}b"
    remarks = (Remark(f"a{name}b", (f"a{name}b",), {f"a{name}b": f"a{name}b"}),)
    return RunReport(
        path,
        "fail",
        1,
        3,
        found,
        notes=notes,
        driven=driven,
        profile=profile,
        remarks=remarks,
        explanation=None if driven else _explanation(name),
    )


def _explanation(name: str) -> Explanation:
    files = tuple(
        ExplainedFile(f"a{name}b", reason, grade, (1, 2, 3, 4), 2, f"a{name}b")
        for reason, grade in ((Reason.BEST, Grade.PROVEN), (Reason.UNEXPLAINED, Grade.UNEXPLAINED))
    )
    session = ExplainedSession(1, 1, 4, ("fresh",), (f"a{name}b",), (f"a{name}b",))
    return Explanation((session,), files)


def _finding(name: str, **changes: object) -> Any:
    paths, evidence = (f"nn/a{name}b.pth", f"a{name}b"), {f"a{name}b": [f"a{name}b"]}
    return a_finding(message=f"a{name}b", paths=paths, evidence=evidence, **changes)


# So wide that no line is wrapped: where one is, its name's length decides, not what it holds.
_UNWRAPPED = Style(width=10_000)
_WAYS = tuple(
    (report, Look(_UNWRAPPED, verbose=verbose))
    for report in (_audit, _driven)
    for verbose in (False, True)
)


# --- structure: what is left without the texts ----------------------------------------------


def _lines(text: str) -> Iterator[str]:
    """Each line by how far it is indented."""
    yield from (str(len(line) - len(line.lstrip(" "))) for line in text.split("\n"))


def _commands(text: str) -> Iterator[str]:
    """Each line as the runner takes it: a command, the names of what it is given, its message."""
    for line in text.split("\n"):
        if not line.startswith("::"):
            yield "a command" if line.startswith("##[") else "text"
            continue
        head, _, message = line[2:].partition("::")
        given = [part.partition("=")[0] for part in head.split(",")]
        yield f"{given} with {message.count('%0A')} lines"


def _document(text: str) -> Iterator[str]:
    if not text.isascii():
        raise ValueError("not ASCII")
    yield from _shape(json.loads(text))


def _shape(value: object) -> Iterator[str]:
    """A value by its types; a dictionary by its keys too, those of evidence aside."""
    yield type(value).__name__
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield "evidence" if key.startswith("a") and key.endswith("b") else key
        yield from _shape(inner)
    for inner in value if isinstance(value, list) else ():
        yield from _shape(inner)


def _elements(text: str) -> Iterator[str]:
    for element in ET.fromstring(text).iter():  # noqa: S314 - our own text, without a DTD
        yield f"{element.tag} {sorted(element.attrib)} {len(element)}"


def _rendered(text: str) -> Iterator[str]:
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    if any(sign in text for sign in ("@", "://", "www.")):
        raise ValueError("GitHub makes a link of it")
    yield from _page(parser.render(text))


def _page(text: str) -> Iterator[str]:
    page = _Page()
    page.feed(text)
    page.close()
    yield from page.seen


class _Page(HTMLParser):
    """What there is beside text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.seen.append(f"{tag} {[name for name, _ in attrs]}")

    def handle_endtag(self, tag: str) -> None:
        """Take its end."""
        self.seen.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        """Take a comment."""
        self.seen.append(f"comment {data}")

    def handle_pi(self, data: str) -> None:
        """Take an instruction."""
        self.seen.append(f"instruction {data}")


_READERS: dict[Syntax, Callable[[str], Iterator[str]]] = {
    Syntax.TEXT: _lines,
    Syntax.JSON: _document,
    Syntax.XML: _elements,
    Syntax.COMMANDS: _commands,
    Syntax.MARKDOWN: _rendered,
    Syntax.HTML: _page,
}
