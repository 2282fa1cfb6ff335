"""What the command line takes from a terminal and shows on it: signals, results, complaints."""

import os
import signal
import sys
from types import FrameType


class Interruption:
    """Remembers the first SIGINT or SIGTERM, so that the epoch in progress and its saves end.

    The second one has its usual effect: the saves are atomic, so that it does no harm either. But
    nothing comes of it to one of several ranks, which gets each signal from the terminal and once
    more from `torchrun`; that kills what does not end within 30 seconds.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self.signal: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def asked(self) -> bool:
        """Tell whether a signal has come."""
        return self.signal is not None

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self._alone:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Console:
    """Standard output and standard error; on a terminal one line shows the progress."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._midline = False

    def tell(self, text: str, *, progress: bool = False) -> None:
        """Write one line of results, or on a terminal `progress` in place of that before it."""
        refreshed = progress and self.terminal
        before = "\n" if self._midline and not refreshed else ""
        self._midline = refreshed
        try:
            sys.stdout.write(f"\r{text}\x1b[K" if refreshed else f"{before}{text}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has gone: training goes on in silence
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def complain(self, text: str) -> None:
        """Write one line of what went wrong."""
        if self._midline:
            self.tell("")
        sys.stderr.write(f"reference_trainer: {text}\n")
