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


def wrapped(text: str, first: int, later: int) -> list[str]:
    """The text as lines of at most so many columns: the first one, and all later ones.

    A word that is longer than a line keeps its beginning and its end.
    """
    if len(text) <= first:
        return [text]
    lines, room, current = [], first, ""
    for word in text.split(" "):
        longer = f"{current} {word}" if current else word
        if len(longer) <= room:
            current = longer
            continue
        if current:
            lines.append(current)
            room = later
        current = shortened(word, room)
    return [*lines, current]


def shortened(word: str, room: int) -> str:
    """The word in so many columns: where it is too long, its beginning and its end.

    >>> shortened("events.out.tfevents.1675455336.server-1", 20)
    'events.ou...server-1'
    """
    if len(word) <= room:
        return word
    kept = max(room - 3, 2)
    return f"{word[: kept - kept // 2]}...{word[-(kept // 2) :]}"
