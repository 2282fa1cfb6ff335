"""`--explore-seconds N`: each property draws anew for so long, and says what it drew and found.

What falls is printed with its reproduction and kept in a database, which the next exploration plays
first. All other tests are left out.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import asdict, dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import StopTest, UnsatisfiedAssumption

FOLDER = ".hypothesis/explored"
_KEY = "explored"


class _TimeIsUsed(KeyboardInterrupt):
    """Ends a property between two examples, as Ctrl-C does: any other way, Hypothesis minds it."""


@dataclass
class _Explored:
    """What one property ran: examples, those of the usual tests, seconds."""

    examples: int
    usual: int
    seconds: float
    found: bool = False


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def pytest_addoption(parser):
    parser.addoption(
        "--explore-seconds",
        type=_seconds,
        metavar="N",
        help="run the properties alone, each with new draws for N seconds",
    )


def pytest_configure(config):
    if config.option.explore_seconds is None:
        return
    settings.register_profile(
        "explore",
        settings.get_profile("default"),
        deadline=None,
        derandomize=False,
        database=DirectoryBasedExampleDatabase(config.rootpath / FOLDER),
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("explore")


def pytest_collection_modifyitems(config, items):
    if config.option.explore_seconds is None:
        return
    properties = [item for item in items if hasattr(getattr(item, "obj", None), "hypothesis")]
    config.hook.pytest_deselected(items=[item for item in items if item not in properties])
    items[:] = properties


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Play one property until its seconds are used, or until it falls."""
    seconds = pyfuncitem.config.option.explore_seconds
    if seconds is None:
        return None
    play, handle = pyfuncitem.obj, pyfuncitem.obj.hypothesis
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    explored = _Explored(0, play._hypothesis_internal_use_settings.max_examples, 0.0)
    begun, inner = time.monotonic(), handle.inner_test

    @functools.wraps(inner)
    def timed(*args, **kwargs):
        __tracebackhide__ = True
        # What has fallen is shrunk, however long that takes.
        if not explored.found and time.monotonic() - begun >= seconds:
            raise _TimeIsUsed
        try:
            inner(*args, **kwargs)
        except (StopTest, UnsatisfiedAssumption, pytest.skip.Exception):
            raise
        except BaseException:
            explored.found = True
            raise
        explored.examples += not explored.found

    handle.inner_test = timed
    try:
        while time.monotonic() - begun < seconds:
            play(**arguments)
    except _TimeIsUsed:
        pass
    finally:
        handle.inner_test = inner
        explored.seconds = round(time.monotonic() - begun, 1)
        pyfuncitem.user_properties.append((_KEY, asdict(explored)))
    return True


def pytest_terminal_summary(terminalreporter, config):
    if config.option.explore_seconds is None:
        return
    terminalreporter.section("explored")
    terminalreporter.line("examples  usually    times  seconds  property")
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for key, ran in report.user_properties:
            if key == _KEY:
                times = ran["examples"] / ran["usual"]
                terminalreporter.line(
                    f"{ran['examples']:8}  {ran['usual']:7}  {times:7.1f}  {ran['seconds']:7.1f}"
                    f"  {report.nodeid}{'  FOUND' if report.failed else ''}"
                )
