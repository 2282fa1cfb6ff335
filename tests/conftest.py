"""What holds for all tests: no example of Hypothesis is timed; a busy machine is no defect.

Continuous integration draws the same examples each time, so that it judges the change and not the
day's luck; everywhere else they are drawn anew.

And Ctrl-C reaches what tests start: a script's background (`tox &`) ignores it, and passes that on.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "untimed",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
