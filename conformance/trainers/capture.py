"""Keeps what code in this process prints, at every level, off our own output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from typing import TYPE_CHECKING, TextIO

from conformance.trainers.errors import TAIL_BYTES, tail

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Buffer

_STDOUT, _STDERR = 1, 2


class Capture:
    """While inside `with`, all that is printed goes to an unlinked temporary file, from the start.

    Both `sys.stdout` and `sys.stderr`, whatever they are bound to, and the descriptors 1 and 2: C++
    and child processes write there. The process's, so what other threads print is captured too.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open until `close`
        self._descriptor = self._file.fileno()
        _append_only(self._descriptor)
        self._sink = _Sink(self._descriptor)
        self._flush_c = _c_flush()

    def __enter__(self) -> None:
        _flush(sys.stdout)
        _flush(sys.stderr)
        self._flush_c()
        os.ftruncate(self._descriptor, 0)
        self._streams = sys.stdout, sys.stderr
        self._saved = _copy_of(_STDOUT), _copy_of(_STDERR)
        os.dup2(self._descriptor, _STDOUT)
        os.dup2(self._descriptor, _STDERR)
        # One object for as long as we are open: a logger made in one session may keep it.
        sys.stdout = sys.stderr = self._sink.stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._flush_c()
        sys.stdout, sys.stderr = self._streams
        for descriptor, saved in zip((_STDOUT, _STDERR), self._saved, strict=True):
            if saved is None:
                os.close(descriptor)
            else:
                os.dup2(saved, descriptor)
                os.close(saved)

    def tail(self) -> str:
        """The end of what was printed since the last `with` began."""
        size = os.fstat(self._descriptor).st_size
        self._file.seek(max(size - TAIL_BYTES, 0))
        return tail(self._file.read(TAIL_BYTES))

    def close(self) -> None:
        """Delete what was captured; what still holds our stream writes into the void."""
        self._sink.descriptor = None
        self._file.close()


class _Sink(io.RawIOBase):
    """Writes straight to the capture's file while there is one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int | None = descriptor
        self.stream = io.TextIOWrapper(
            self,  # type: ignore[type-var]  # raw, as the interpreter's own streams are under -u
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.descriptor is None:
            raise io.UnsupportedOperation("the trainer is closed, and its output with it")
        return self.descriptor

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        if self.descriptor is not None:
            return os.write(self.descriptor, view)
        return view.nbytes


def _append_only(descriptor: int) -> None:
    """Let writers who share the file, also after it was truncated, always write at its end."""
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - POSIX only

        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


def _copy_of(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None  # we were started with it closed


def _flush(stream: TextIO | None) -> None:
    """Write out what our own streams still hold: it is not the trainer's."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe or file: ours to meet later
            stream.flush()


def _c_flush() -> Callable[[], object]:
    """`fflush(NULL)`: what C code printed must not surface in our output after the capture."""
    try:
        import ctypes  # noqa: PLC0415 - some builds lack it

        flush = ctypes.CDLL(None).fflush
    except (ImportError, OSError, TypeError, AttributeError):
        return lambda: None
    return lambda: flush(None)
