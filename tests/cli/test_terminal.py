"""Colours, widths and progress: on a terminal alone, and never against the user's will."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_COLUMNS = 70
_ENVIRONMENT = {"TERM": "xterm", "NO_COLOR": "", "PYTHONIOENCODING": "utf-8"}


class Terminal:
    """A terminal of `_COLUMNS` columns; `end` is what a process writes to."""

    def __init__(self) -> None:
        """Open it."""
        self.keeper, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, _COLUMNS, 0, 0))

    def read(self) -> str:
        """Return all that was written, once the process has ended."""
        os.close(self.end)
        self.end = -1
        parts = []
        while True:
            try:
                part = os.read(self.keeper, 65536)
            except OSError:  # the other end is closed and all is read
                break
            parts.append(part)
        return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Return a terminal."""
    opened = Terminal()
    yield opened
    os.close(opened.keeper)
    if opened.end >= 0:
        os.close(opened.end)


def test_a_terminal_gets_colours_and_lines_that_fit(
    process: Callable[..., Any], failing: Path, terminal: Terminal
) -> None:
    result = process("check", failing, stdout=terminal.end, environment=_ENVIRONMENT)
    shown = terminal.read()
    assert result.code == 1
    assert "\x1b[31mFAIL" in shown
    body = [line for line in shown.split("\n") if line.startswith(" " * 20)]
    assert body
    assert all(len(line) <= _COLUMNS for line in body)


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_refused(
    process: Callable[..., Any], failing: Path, terminal: Terminal, plain: dict[str, str]
) -> None:
    process("check", failing, stdout=terminal.end, environment={**_ENVIRONMENT, **plain})
    shown = terminal.read()
    assert "FAIL" in shown
    assert "\x1b" not in shown


def test_rules_are_coloured_too(process: Callable[..., Any], terminal: Terminal) -> None:
    process("rules", stdout=terminal.end, environment=_ENVIRONMENT)
    assert "\x1b[31mmust" in terminal.read()


def test_a_pipe_gets_neither_colours_nor_width(process: Callable[..., Any], failing: Path) -> None:
    result = process("check", failing, environment=_ENVIRONMENT)
    assert "\x1b" not in result.out + result.err
    assert max(map(len, result.out.split("\n"))) > _COLUMNS


def test_a_file_gets_no_colours_even_from_a_terminal(
    process: Callable[..., Any], failing: Path, tmp_path: Path, terminal: Terminal
) -> None:
    process(
        *("check", failing, "--output", tmp_path / "report.txt"),
        stdout=terminal.end,
        environment=_ENVIRONMENT,
    )
    assert terminal.read() == ""
    assert "\x1b" not in (tmp_path / "report.txt").read_text()


def test_progress_is_drawn_on_a_terminal_and_taken_away(
    process: Callable[..., Any],
    root: Path,
    conforming: Path,
    failing: Path,
    terminal: Terminal,
) -> None:
    failing.rename(root / "\x1b]0;hostile\x07")
    result = process("check", root, stderr=terminal.end, environment=_ENVIRONMENT)
    shown = terminal.read()
    assert result.code == 1
    assert "2/2 runs" in shown
    assert conforming.name in shown
    assert "\x1b]0" not in shown
    assert shown.endswith("\r\x1b[K")


def test_progress_is_silent_in_a_pipe(
    process: Callable[..., Any], root: Path, conforming: Path, failing: Path
) -> None:
    assert conforming.parent == failing.parent == root
    assert process("check", root).err == ""
