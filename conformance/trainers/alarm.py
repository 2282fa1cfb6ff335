"""A time limit for code in this process, by the alarm of the main thread."""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self

# An alarm can fall on a place that swallows exceptions (a finalizer, a callback from C): it rings
# again until somebody listens.
_AGAIN_S = 1.0


class TimeUp(BaseException):
    """The time is over. No `Exception`: a trainer's `except Exception` does not swallow it."""


class TimeLimit:
    """Raises `TimeUp` in the code inside `with`, after so many seconds.

    Kept in the main thread of a POSIX system only; elsewhere there is no limit. A call into C that
    never comes back is not interrupted. An alarm that somebody else had set is set again after it,
    for what was left of its time.

    Attributes:
        expired: whether the time was over at some moment, also where the code swallowed that.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._armed = False

    def __enter__(self) -> Self:
        if (
            math.isfinite(self.seconds)
            and hasattr(signal, "setitimer")
            and threading.current_thread() is threading.main_thread()
        ):
            self._started = time.monotonic()
            self._handler = signal.signal(signal.SIGALRM, self._ring)
            self._armed = True
            self._timer = signal.setitimer(signal.ITIMER_REAL, self.seconds, _AGAIN_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disarm()

    def disarm(self) -> None:
        """Ring no more. May be called again: `TimeUp` may have fallen into the first call."""
        if not self._armed:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._armed = False
        signal.signal(signal.SIGALRM, self._handler or signal.SIG_DFL)
        left, interval = self._timer
        if left:
            passed = time.monotonic() - self._started
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 1e-6), interval)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._armed:
            self.expired = True
            raise TimeUp
