"""`conformance bench`: times a trainer's saves, tells the ratios, gates on one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.bench import NoSaveError, WatchError, bench_saves, bench_training
from conformance.bench.report import saves_text, to_json, to_svg, training_text
from conformance.cli.exits import Exit, UsageError
from conformance.cli.streams import complain, emit, only_results
from conformance.trainers import TrainerBroke, TrainerSpecError

if TYPE_CHECKING:
    import argparse

    from conformance.bench import SizeResult, TrainingResult

_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SIZES = "64KB,5MB,100MB"
_LARGE = "1GB"


def bench(options: argparse.Namespace) -> Exit:
    """Time `options.trainer` and return the exit code: 1 if a ratio is over `--max-ratio`."""
    sizes = _sizes_of(options.sizes or _SIZES)
    if options.large:
        sizes |= _sizes_of(_LARGE)
    folder = Path(options.folder)
    if not folder.is_dir():
        raise UsageError(f"--folder {options.folder!a} is no folder")
    with only_results():
        try:
            training, results = _timed(options, sizes, folder)
        except (TrainerSpecError, WatchError) as error:
            raise UsageError(str(error)) from error
        except TrainerBroke as broke:
            for line in broke.output.splitlines():
                complain(f"  | {line}")
            raise UsageError(f"the trainer broke: {broke.message} ({broke.code})") from broke
    if options.plot is not None:
        try:
            Path(options.plot).write_text(to_svg(results), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--plot {options.plot!a}: {error.strerror}") from error
    if options.format == "json":
        emit(to_json(training, results))
    else:
        emit((training_text(training) + "\n" if training else "") + saves_text(results))
    return _gated(results, options.max_ratio)


def _timed(
    options: argparse.Namespace, sizes: dict[str, int], folder: Path
) -> tuple[TrainingResult | None, tuple[SizeResult, ...]]:
    training = None
    if not options.saves_only:
        training = bench_training(
            options.trainer, folder=folder, epochs=options.epochs, rounds=options.sessions
        )
    try:
        results = bench_saves(
            options.trainer,
            sizes,
            folder=folder,
            rounds=options.rounds,
            progress=lambda size: complain(f"timing saves of {size}"),
        )
    except NoSaveError as error:
        if options.saves_only or options.max_ratio is not None:
            raise UsageError(str(error)) from error
        complain(f"its saves alone are not timed: {error}")
        results = ()
    return training, results


def _gated(results: tuple[SizeResult, ...], most: float | None) -> Exit:
    failed = False
    for result in results:
        own = result.figures()[0]
        if most is not None and own.to_limit > most:
            failed = True
            complain(
                f"{result.size}: a save takes {own.to_limit:.2f} times a bare write;"
                f" at most {most:g} is allowed"
            )
    sys.stdout.flush()
    return Exit.FAILED if failed else Exit.CONFORMS


def _sizes_of(text: str) -> dict[str, int]:
    sizes = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d{0,5})\s*([KMG]?B)\s*", part, re.ASCII)
        if match is None:
            raise UsageError(f"--sizes: {part!a} is no size such as 64KB, 5MB or 1GB")
        sizes[f"{match[1]} {match[2]}"] = int(match[1]) * _UNITS[match[2]]
    return sizes
