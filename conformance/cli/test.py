"""`conformance test`: drives a trainer, tells what broke, writes the reports."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.cli.exits import Exit, UsageError, of_verdict
from conformance.cli.options import model_of, profile_of, selected_of, waived, waivers_of
from conformance.cli.output import Outputs
from conformance.cli.streams import complain, only_results
from conformance.convention import DEFAULT_PROFILE
from conformance.convention.rules import RunVerdict, Verdict
from conformance.convention.scenario import ScenarioError
from conformance.report import Driven, Report
from conformance.report.driven import told
from conformance.report.printable import plural
from conformance.run.settings import Options
from conformance.suite.chains import chain_document, read_chain
from conformance.suite.session import FAILURES, Fixed, InterruptedSuite, SuiteError, run_suite
from conformance.trainers import TrainerSpecError
from conformance.version import __version__
from conformance.views.dialect import AUTO

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from conformance.checks import RunReport
    from conformance.suite.engine import Breakage
    from conformance.suite.session import SuiteResult

_HYPOTHESIS = Path(".conformance/hypothesis")
_REDRAW_S = 0.1


def test(options: argparse.Namespace) -> int:
    """Drive `options.trainer` and return the exit code."""
    if options.profile == AUTO:
        raise UsageError(
            "--profile auto chooses by what lies in a run; here name the dialect that"
            " the trainer is to keep"
        )
    profile = profile_of(options.profile)
    if options.save_best_after is not None and not profile.has_save_best_after:
        raise UsageError(f"--save-best-after: the profile {profile.name!a} has none")
    selected = selected_of(options.select, options.ignore)
    waivers = waivers_of(options.waivers)
    outputs = Outputs.plan(options.outputs)
    replay = None
    if options.replay is not None:
        try:
            replay = read_chain(Path(options.replay), profile)
        except ScenarioError as error:
            raise UsageError(f"--replay {error}") from error
    progress = _Progress()
    with only_results():
        known = Options(name=options.name, model=model_of(options.model))
        _keep_hypothesis_to_itself(generates=replay is None)
        try:
            result = run_suite(
                options.trainer,
                profile=profile,
                options=known,
                fixed=Fixed(options.save_freq, options.max_epochs, options.save_best_after),
                selected=selected,
                max_examples=options.max_examples,
                seed=options.seed,
                time_limit=options.time_limit,
                replay=replay,
                play=options.play,
                ranks=options.ranks,
                save_failures=_failures_folder(options),
                progress=progress.shows,
            )
        except InterruptedSuite as interrupted:
            result = interrupted.result
        except (TrainerSpecError, SuiteError) as error:
            raise UsageError(str(error)) from error
        finally:
            progress.ends()
    if replay is not None or result.result.breakages or result.result.interrupted:
        # Not all was looked at: only here may a waiver go unused.
        failing = {failure.rule for failure in result.result.failures}
        waivers = tuple(waiver for waiver in waivers if waiver.rule in failing)
    run = _judged(waived([result.run], waivers)[0], result)
    failures = result.failures
    if replay is not None and options.save_failures is None:
        failures = tuple(
            failure if failure["rule"] in result.again else {**failure, "replay": options.replay}
            for failure in failures
        )
    driven = _driven(options, result)
    report = Report(__version__, profile.name, (run,), failures, driven)
    _tell(result)
    outputs.write(report, verbose=options.verbose)
    if result.result.interrupted:
        complain("interrupted")
        return Exit.INTERRUPTED
    return _code(run, strict=options.strict)


def _failures_folder(options: argparse.Namespace) -> Path | None:
    if options.save_failures is not None:
        folder = Path(options.save_failures)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--save-failures {options.save_failures!a}: it is no folder")
        return folder
    return FAILURES if options.replay is None else None


def _keep_hypothesis_to_itself(*, generates: bool) -> None:
    """Let it keep its caches beside ours, not in a folder of its own in the working directory.

    Where it is loaded already, it is somebody else's too, and stays as it is.
    """
    if not generates or "hypothesis" in sys.modules:
        return
    try:
        from hypothesis import configuration  # noqa: PLC0415 - a replay does without
    except ImportError:
        return  # `run_suite` says what to do
    configuration.set_hypothesis_home_dir(_HYPOTHESIS)


def _judged(run: RunReport, result: SuiteResult) -> RunReport:
    """The run with what is not a finding: the trainer itself broke."""
    broken = result.result.breakages
    notes = tuple(f"the trainer broke: {_named(each)}" for each in broken)
    verdict = run.verdict
    if result.result.interrupted:
        notes = ("interrupted: this is what was found until then", *notes)
        verdict = verdict.in_part
    elif broken or not result.result.counts.total:
        verdict = verdict.with_an_error
    return replace(run, verdict=verdict, notes=(*run.notes, *notes))


def _code(run: RunReport, *, strict: bool) -> Exit:
    ours = any(finding.verdict is Verdict.ERROR for finding in run.findings)
    if run.verdict is RunVerdict.ERROR and not ours:
        return Exit.USAGE  # the trainer could not be judged: that is its, not the harness's
    return of_verdict(run.verdict, strict=strict)


def _driven(options: argparse.Namespace, result: SuiteResult) -> Driven:
    given = (
        ("--profile", options.profile if options.profile != DEFAULT_PROFILE else None),
        ("--name", options.name),
        ("--model", options.model),
    )
    return Driven(
        trainer=result.spec,
        options=tuple(part for name, value in given if value for part in (name, value)),
        seed=result.seed,
        summary=_summary(result),
        evaluations={} if options.replay is not None else result.result.evaluations,
        again=result.again,
        left={
            rule: (saved.files, str(saved.tree))
            for rule, saved in result.saved.items()
            if saved.tree is not None
        },
        unsteady=frozenset(each.rule for each in result.result.failures if not each.steady),
    )


def _summary(result: SuiteResult) -> str:
    counts = result.result.counts
    words = {
        "reuse": "of earlier failures",
        "probe": "fixed",
        "generate": "generated",
        "replay": "replayed",
    }
    phases = ", ".join(f"{number} {words[phase]}" for phase, number in counts.scenarios.items())
    parts = [
        f"{plural(counts.total, 'scenario')} played ({phases})" if phases else "no scenario played"
    ]
    parts.append(f"{plural(counts.sessions, 'session')}, {plural(counts.epochs, 'epoch')}")
    if counts.unsupported:
        parts.append(f"{counts.unsupported} that the trainer does not support")
    if counts.shrinking:
        parts.append(f"{counts.shrinking} more to shrink failures")
    speed = counts.total / counts.seconds if counts.seconds else 0.0
    return f"{'; '.join(parts)}; {counts.seconds:.1f} s, {speed:.0f} scenarios/s"


def _tell(result: SuiteResult) -> None:
    """What is no finding of a rule, on standard error."""
    if result.seed is not None:
        complain(f"repeat with --seed {result.seed} --max-examples {result.max_examples}")
    for note in result.notes:
        complain(note)
    for breakage in result.result.breakages:
        for line in _breakage(breakage):
            complain(line)
    nothing = not result.result.counts.total and not result.result.breakages
    if nothing and not result.result.interrupted:
        complain(
            f"{result.title} plays none of the scenarios: it says of each that it does not support"
            " it"
        )


def _breakage(breakage: Breakage) -> Iterator[str]:
    yield f"the trainer broke: {_named(breakage)}"
    if breakage.broke.hint:
        yield f"  hint: {breakage.broke.hint}"
    if breakage.chain:
        sessions = told(chain_document(breakage.chain))
        for line in sessions:
            yield f"  {'scenario: ' if len(sessions) == 1 else ''}{line}"
    if breakage.broke.output:
        yield "  the end of what it printed:"
        for line in breakage.broke.output.splitlines():
            yield f"  | {line}"


def _named(breakage: Breakage) -> str:
    times = f", {breakage.times} times" if breakage.times > 1 else ""
    return f"{breakage.broke.message} ({breakage.broke.code}{times})"


class _Progress:
    """One line on a terminal, redrawn ten times a second at most; silent elsewhere."""

    def __init__(self) -> None:
        self._wanted = sys.stderr.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0

    def shows(self, phase: str, done: int, of: int, failing: int) -> None:
        """So much is done."""
        now = time.monotonic()
        if not self._wanted or now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        number = f"{done}/{of}" if of else str(done)
        speed = f"  {done / (now - self._started):.0f}/s" if of else ""
        broken = f"  {plural(failing, 'rule')} failing" if failing else ""
        sys.stderr.write(f"\r\x1b[K{phase} {number}{speed}{broken}")
        sys.stderr.flush()

    def ends(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
