"""Comments that name a paragraph of docs/decisions.md name one that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
NAMED = re.compile(r'decisions\.md[:,] "([^"]+)"')


def test_each_paragraph_that_a_source_names_is_there():
    titles = re.findall(r"^(?:\*\*|## )(.*?)(?:\*\*|$)", PAGE, re.MULTILINE)
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "conformance").rglob("*.py")
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    gone = {pair for pair in named if not any(title.startswith(pair[1]) for title in titles)}
    assert gone == set()


def test_the_modules_that_the_page_names_are_there():
    rooms = "|".join(path.name for path in (ROOT / "conformance").iterdir() if path.is_dir())
    named = set(re.findall(rf"`((?:{rooms})/\w+\.py)`", PAGE))
    assert "run/doubt.py" in named
    assert {name for name in named if not (ROOT / "conformance" / name).exists()} == set()
