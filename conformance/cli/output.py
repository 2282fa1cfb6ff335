"""Where results go: reports to their files or stdout, progress and complaints to stderr."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.cli.exits import UsageError
from conformance.cli.streams import emit
from conformance.report.formats import DEFAULT, EXPLANATION, FORMATS, Format, Look
from conformance.report.printable import printable
from conformance.report.text import WIDEST, Style

if TYPE_CHECKING:
    from conformance.report import Report

_BAR = 24


@dataclass(frozen=True, slots=True)
class Outputs:
    """Pairs of a format and a file; None is stdout."""

    pairs: tuple[tuple[Format, Path | None], ...]

    @classmethod
    def plan(cls, pairs: list[list[str | None]] | None, explanation: str | None = None) -> Outputs:
        """Check the pairs of --format and --output before anything is read.

        Args:
            pairs: as the command line gives them.
            explanation: where the explanation of the files goes; - is stdout, which then shows it
                in the place of the default report.

        Raises:
            UsageError: two reports for one place, or a file in a folder that is not there.
        """
        default: list[list[str | None]] = [] if explanation == "-" else [[DEFAULT, None]]
        planned = tuple(
            (FORMATS[kind or DEFAULT], None if file in (None, "-") else Path(str(file)))
            for kind, file in pairs or default
        )
        if explanation is not None:
            planned += ((EXPLANATION, None if explanation == "-" else Path(explanation)),)
        places = [file for _, file in planned]
        if len(set(places)) != len(places):
            raise UsageError("two reports for one place: give each --format its --output FILE")
        for file in places:
            if file is not None and not file.absolute().parent.is_dir():
                raise UsageError(f"--output {str(file)!a}: its folder does not exist")
            if file is not None and file.is_dir():
                raise UsageError(f"--output {str(file)!a}: it is a folder")
        return cls(planned)

    @property
    def explains(self) -> bool:
        """Whether some format of a report can show the explanation of the files."""
        return any(kind.explains for kind, _ in self.pairs if kind is not EXPLANATION)

    def write(
        self, report: Report, *, verbose: bool, explained: bool = False, head: str = ""
    ) -> None:
        """Write each report, files whole or not at all.

        Args:
            report: what to write.
            verbose: also list what passed, where people read it.
            explained: with the files' explanation.
            head: what comes before, in the text.

        Raises:
            UsageError: a file cannot be written.
        """
        shown = report if explained else _without_explanation(report)
        for kind, file in self.pairs:
            style = terminal_style() if file is None else Style()
            look = Look(style, verbose=verbose, head=head)
            text = kind.write(report if kind is EXPLANATION else shown, look)
            if file is None:
                emit(text)
            else:
                write_report(file, text)


def _without_explanation(report: Report) -> Report:
    return replace(report, runs=tuple(replace(run, explanation=None) for run in report.runs))


def write_report(file: Path, text: str) -> None:
    """Write a report so that it is there whole or not at all.

    A link is followed; a pipe or a device is written to, not replaced.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            return
        from conformance.atomic import write_atomically  # noqa: PLC0415 - only --output pays for it

        write_atomically(Path(os.path.realpath(file)), text)
    except OSError as error:
        raise UsageError(f"--output {str(file)!a}: {error.strerror}") from error


def terminal_style() -> Style:
    """Colours and the terminal's width on a terminal; plain in a pipe, or with NO_COLOR set."""
    if not sys.stdout.isatty():
        return Style()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    columns = os.get_terminal_size(sys.stdout.fileno()).columns or WIDEST
    return Style(colour=not plain, width=min(columns, WIDEST))


class Progress:
    """A bar on a terminal while there is much to read; silent elsewhere."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0
        self._name = ""
        self._shown = False
        self._wanted = sys.stderr.isatty()

    def starts(self, name: str) -> None:
        """The next run is at hand."""
        self._name = name
        self._done += 1
        if self._runs > 1:
            self._draw(self._done - 1, self._runs, f"{self._done}/{self._runs} runs")

    def reads(self, done: int, total: int) -> None:
        """So many of the run's checkpoints are read."""
        if self._runs == 1 and total > _BAR and done % (total // _BAR) == 0:
            self._draw(done, total, f"{done}/{total} checkpoints")

    def ends(self) -> None:
        """Take the bar away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self, done: int, total: int, what: str) -> None:
        if not self._wanted:
            return
        self._shown = True
        filled = _BAR * done // total
        bar = "#" * filled + "." * (_BAR - filled)
        sys.stderr.write(f"\r\x1b[K[{bar}] {what}  {printable(self._name)[:40]}")
        sys.stderr.flush()
