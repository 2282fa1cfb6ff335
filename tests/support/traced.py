"""Tests that trace processes: whether that can be done here, and calls written by hand."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from conformance.crash.calls import read_log


def needs_strace():
    """Skip where there is no strace; in continuous integration, fail."""
    if sys.platform == "linux" and shutil.which("strace"):
        return
    why = "crashes are played with strace, which is not here: apt-get install strace"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def hexed(data):
    """Bytes as `strace -xx` writes them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


class Script:
    """A log of strace's, written call by call; each returns the script.

    Args:
        folder: that all paths stand in.
        thread: the number of who calls.
    """

    def __init__(self, folder=b"/r/A/nn", thread=7):
        self.folder = folder
        self.thread = thread
        self.lines = []

    def line(self, text):
        """Any line of this thread's."""
        self.lines.append(f"{self.thread} {text}\n")
        return self

    def _text(self, name):
        return f'"{hexed(self._path(name))}"'

    def _path(self, name):
        return self.folder + b"/" + name if name else self.folder

    def opens(self, name, descriptor=3, flags="O_WRONLY|O_CREAT|O_TRUNC"):
        """Open a file, or with an empty name the folder."""
        path = hexed(self._path(name))
        return self.line(
            f'openat(AT_FDCWD<{hexed(b"/")}>, "{path}", {flags}, 0666) = {descriptor}<{path}>'
        )

    def writes(self, name, data, descriptor=3, taken=None):
        """Write at the descriptor's position."""
        size = len(data) if taken is None else taken
        return self.line(
            f'write({descriptor}<{hexed(self._path(name))}>, "{hexed(data)}", {len(data)}) = {size}'
        )

    def does(self, call, name=b"", descriptor=3, rest="", result="0"):
        """`fsync`, `close`, `ftruncate`: what takes a descriptor first."""
        return self.line(f"{call}({descriptor}<{hexed(self._path(name))}>{rest}) = {result}")

    def renames(self, old, new):
        """Rename within the folder."""
        return self.line(f"rename({self._text(old)}, {self._text(new)}) = 0")

    def unlinks(self, name):
        """Remove a name."""
        return self.line(f"unlink({self._text(name)}) = 0")

    @property
    def calls(self):
        """What the log is read as."""
        return list(read_log(self.lines))
