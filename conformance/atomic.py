"""Write a file atomically: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomically(file: Path, text: str) -> None:
    """Put a file of this text in the place of what stands there, a link included.

    What UTF-8 cannot say is written as an escape.

    Raises:
        OSError: it cannot be written; what stood there still does.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".conformance-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
