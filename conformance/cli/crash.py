"""`conformance crash`: kills a trainer and fails its writes, tells what was left."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from conformance.cli.exits import Exit, UsageError, of_verdict
from conformance.cli.options import profile_of
from conformance.cli.output import Outputs
from conformance.cli.streams import complain
from conformance.crash import (
    CrashError,
    KillsResult,
    NoTracingError,
    run_crash,
    run_kills,
)
from conformance.crash.table import kills_summary, summary, to_kills_table, to_table
from conformance.report import Driven, Report
from conformance.trainers import TrainerBroke, TrainerSpecError
from conformance.trainers.opening import form_of
from conformance.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from conformance.convention.profile import Profile
    from conformance.crash import CrashResult

_REDRAW_S = 0.1


def crash(options: argparse.Namespace) -> Exit:
    """Crash `options.trainer` at each call of its saves and return the exit code."""
    if options.profile == "auto":
        raise UsageError("--profile auto: nothing lies there yet to choose by; name the profile")
    profile = profile_of(options.profile)
    if not profile.has_best:
        raise UsageError(f"--profile {profile.name}: it has no best checkpoint that could be lost")
    outputs = Outputs.plan(options.outputs)
    progress = _Progress("points" if options.random_kills is None else "kills")
    try:
        form_of(options.trainer)  # a wrong one is told also where nothing can be traced
        with _ended_by_sigterm():
            result = _played(options, profile, progress)
    except (TrainerSpecError, NoTracingError, CrashError) as error:
        raise UsageError(str(error)) from error
    except TrainerBroke as broke:
        for line in broke.output.splitlines():
            complain(f"  | {line}")
        raise UsageError(f"the trainer broke: {broke.message} ({broke.code})") from broke
    finally:
        progress.ends()
    told, table = _shown(result, verbose=options.verbose)
    driven = Driven(trainer=result.spec, summary=told.partition(";")[0])
    report = Report(__version__, profile.name, (result.run,), driven=driven)
    outputs.write(report, verbose=options.verbose, head=f"{table}\n")
    if result.interrupted:
        complain("interrupted")
        return Exit.INTERRUPTED
    return of_verdict(report.verdict, strict=options.strict)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for a Ctrl-C: what plays is ended, and nothing is left in memory or on disks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _played(
    options: argparse.Namespace, profile: Profile, progress: _Progress
) -> CrashResult | KillsResult:
    """What came of the faults, or of the kills at random instants."""
    if options.random_kills is not None:
        for option in ("max_points", "durable"):
            if getattr(options, option):
                raise UsageError(f"--{option.replace('_', '-')} does not go with --random-kills")
        return run_kills(
            options.trainer,
            profile=profile,
            kills=options.random_kills,
            time_limit=options.time_limit,
            save_freq=options.save_freq,
            max_epochs=options.max_epochs,
            name=options.name,
            progress=progress.shows,
        )
    return run_crash(
        options.trainer,
        profile=profile,
        max_points=options.max_points,
        time_limit=options.time_limit,
        save_freq=options.save_freq,
        max_epochs=options.max_epochs,
        name=options.name,
        durable=options.durable,
        progress=progress.shows,
    )


def _shown(result: CrashResult | KillsResult, *, verbose: bool) -> tuple[str, str]:
    """The result in one line, and its table."""
    if isinstance(result, KillsResult):
        return kills_summary(result), to_kills_table(result)
    return summary(result), to_table(result, verbose=verbose)


class _Progress:
    """One line on a terminal, redrawn ten times a second at most; silent elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._wanted = sys.stderr.isatty()
        self._began = time.monotonic()
        self._drawn = 0.0

    def shows(self, done: int, of: int, failing: int) -> None:
        """So many points are done."""
        now = time.monotonic()
        if not self._wanted or now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        failed = f"  {failing} not survived" if failing else ""
        speed = done / (now - self._began)
        sys.stderr.write(f"\r\x1b[K{done}/{of} {self._what}  {speed:.1f}/s{failed}")
        sys.stderr.flush()

    def ends(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
