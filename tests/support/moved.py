"""Says what moved since the lock was made: `python tests/support/moved.py constraints.txt`."""

from __future__ import annotations

import sys
from pathlib import Path

from locked import installed, not_locked, read_lock

if __name__ == "__main__":
    moved = not_locked(installed(), read_lock(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("moved since the lock was made:", *(moved or ["nothing"]), sep="\n  ")  # noqa: T201  (a script)
