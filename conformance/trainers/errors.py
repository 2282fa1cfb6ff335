"""What can go wrong with a trainer itself, apart from what its checkpoints say."""

from __future__ import annotations

# Of a trainer's output: enough for a traceback, little enough for a report.
TAIL_BYTES = 8 * 1024


class TrainerSpecError(ValueError):
    """TRAINER names nothing that could be driven; the message is one line."""


class UnsupportedScenario(Exception):  # noqa: N818 - no error: the scenario is left out
    """The trainer says that it cannot play this scenario; no failure of it."""


class TrainerBroke(Exception):  # noqa: N818 - said as it happened, to somebody else's program
    """The trainer broke: it reached no end that its checkpoints could be judged by.

    Attributes:
        code: `raised` (an exception), `exited` (a command's exit code), `died` (a worker's end that
            nobody asked for), `hung` (past the time limit), `rubbish` (answers that are not the
            protocol's), `refused` (a worker's own no), `not-started`.
        message: what happened, in one line.
        output: the end of what it printed, at most `TAIL_BYTES` bytes; what is no UTF-8 replaced.
        hint: what to do about it; may be empty.
    """

    def __init__(self, code: str, message: str, *, output: str = "", hint: str = "") -> None:
        self.code = code
        self.message = one_line(message)
        self.output = output
        self.hint = hint
        super().__init__(self.message)


def one_line(text: str, limit: int = 400) -> str:
    r"""The text on one line, cut at `limit` characters, what a terminal would obey as escapes.

    >>> one_line("a\n  b\x1b[2J")
    'a b\\x1b[2J'
    """
    line = " ".join(text[: 4 * limit].split())
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in line
    )
    return line if len(line) <= limit else line[: limit - 3] + "..."


def tail(output: bytes) -> str:
    """The end of an output as text, at most `TAIL_BYTES` bytes of it."""
    return output[-TAIL_BYTES:].decode("utf-8", errors="replace").strip("\n")
