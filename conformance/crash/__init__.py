"""Proves that a save survives: kills, failing calls and short writes at each of its calls."""

from __future__ import annotations

from conformance.crash.findings import Tried
from conformance.crash.kills import KillsResult, run_kills
from conformance.crash.session import CrashError, CrashResult, run_crash
from conformance.crash.tracing import NoTracingError

__all__ = [
    "CrashError",
    "CrashResult",
    "KillsResult",
    "NoTracingError",
    "Tried",
    "run_crash",
    "run_kills",
]
