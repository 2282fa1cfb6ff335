"""What holds for all tests: they draw the same examples each time, and no example is timed.

A test judges the change and not the day's luck, on each machine alike: nothing is taken over from
the profile that Hypothesis chooses by `CI`, nor from what failed before. New examples are drawn by
`tox -e explore` (see `exploring`). A busy machine is no defect, so that nothing is timed.

And Ctrl-C reaches what tests start: a script's background (`tox &`) ignores it, and passes that on.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["exploring"]

settings.register_profile(
    "the same everywhere",
    settings.get_profile("default"),
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("the same everywhere")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
