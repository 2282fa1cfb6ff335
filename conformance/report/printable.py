"""Words for people: text from hostile files and names made fit for a terminal, and numbers."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""The text with all that a terminal would obey, or a reader not see, as escapes.

    >>> printable("x\x1b[31m\n")
    'x\\x1b[31m\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() and unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn")
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def plural(number: int, noun: str) -> str:
    """A number of things: `1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
