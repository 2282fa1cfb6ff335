"""Waivers: findings that a project accepts for a while, each with a rule, a reason and an end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.checks.finding import Finding, RunReport, run_verdict
from conformance.convention import toml
from conformance.convention.rules import BY_ID, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYS = {"rule", "reason", "expires", "run"}


class WaiverError(ValueError):
    """A waiver file that is wrong, or a waiver that is expired or unused; says which and why."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted finding: a rule id, the reason, the last day, and a glob of experiments."""

    rule: str
    reason: str
    expires: date
    run: str = "*"


def load_waivers(path: Path, *, today: date) -> tuple[Waiver, ...]:
    """Read a TOML file of `[[waiver]]` tables with `rule`, `reason`, `expires` and maybe `run`.

    Raises:
        WaiverError: it cannot be read, names an unknown rule, lacks a key, or one has expired.
    """
    try:
        raw = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, toml.TOMLDecodeError) as error:
        raise WaiverError(f"waivers {str(path)!a} cannot be read: {error}") from error
    entries = raw.get("waiver")
    if set(raw) != {"waiver"} or not isinstance(entries, list):
        raise WaiverError(f"waivers {str(path)!a}: expected [[waiver]] tables and nothing else")
    return tuple(_waiver(entry, path, today) for entry in entries)


def _waiver(entry: object, path: Path, today: date) -> Waiver:
    where = f"waivers {str(path)!a}"
    if not isinstance(entry, dict):
        raise WaiverError(f"{where}: expected [[waiver]] tables, found {entry!a}")
    unknown = set(entry) - _KEYS
    lacking = {"rule", "reason", "expires"} - set(entry)
    if unknown or lacking:
        raise WaiverError(
            f"{where}: a waiver takes rule, reason, expires and run;"
            f" unknown {sorted(unknown)}, lacking {sorted(lacking)}"
        )
    rule, reason, expires = entry["rule"], entry["reason"], entry["expires"]
    if not isinstance(rule, str) or rule not in BY_ID:
        raise WaiverError(f"{where}: no rule is called {rule!a}")
    if not isinstance(reason, str) or not reason.strip():
        raise WaiverError(f"{where}: the waiver of {rule} gives no reason")
    if isinstance(expires, datetime):
        expires = expires.date()
    if not isinstance(expires, date):
        raise WaiverError(f"{where}: expires of {rule} must be a date such as 2030-12-31, unquoted")
    if expires < today:
        raise WaiverError(f"{where}: the waiver of {rule} expired on {expires}: fix it or renew it")
    run = entry.get("run", "*")
    if not isinstance(run, str):
        raise WaiverError(f"{where}: run of {rule} must be a text")
    return Waiver(rule, reason, expires, run)


def apply_waivers(runs: Iterable[RunReport], waivers: tuple[Waiver, ...]) -> tuple[RunReport, ...]:
    """Mark the waived findings, and judge the runs anew.

    Raises:
        WaiverError: a waiver matches no failure: it outlived its reason.
    """
    used: set[Waiver] = set()
    waived = tuple(_waive(run, waivers, used) for run in runs)
    unused = [waiver for waiver in waivers if waiver not in used]
    if unused:
        raise WaiverError(
            "unused waiver(s), to be removed: "
            + ", ".join(f"{waiver.rule} for {waiver.run!a}" for waiver in unused)
        )
    return waived


def _waive(run: RunReport, waivers: tuple[Waiver, ...], used: set[Waiver]) -> RunReport:
    experiment = run.path if run.driven else Path(run.path).name
    findings: list[Finding] = []
    for finding in run.findings:
        match = next(
            (
                waiver
                for waiver in waivers
                if waiver.rule == finding.rule and fnmatchcase(experiment, waiver.run)
            ),
            None,
        )
        if match is None or finding.verdict is not Verdict.FAIL:
            findings.append(finding)
            continue
        used.add(match)
        findings.append(replace(finding, waived=f"{match.reason} (until {match.expires})"))
    return replace(run, findings=tuple(findings), verdict=run_verdict(findings))
