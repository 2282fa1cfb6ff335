"""Tells what a bench measured: as text with bars, as a drawing, as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from conformance.bench.ways import LIMIT
from conformance.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.bench.saves import SizeResult
    from conformance.bench.training import TrainingResult

_BAR = 24
_WIDTH, _LINE, _LEFT, _RIGHT = 860, 20, 220, 130


def milliseconds(seconds: float) -> str:
    """Return a time for people: three significant digits, in ms."""
    value = seconds * 1e3
    if not math.isfinite(value):
        return "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 3)}f}"


def training_text(result: TrainingResult) -> str:
    """Return what was seen from outside, in lines."""
    lines = [f"{printable(result.trainer)}: sessions of {result.epochs} epochs"]
    if result.timed:
        lines.append(
            f"  {len(result.saves)} saves, from the first byte to the name: median"
            f" {milliseconds(result.save_seconds)} ms, longest {milliseconds(result.timed[-1])} ms"
        )
    if len(result.saves) > len(result.timed):
        lines.append(
            f"  {len(result.saves) - len(result.timed)} of {len(result.saves)} saves were over"
            " too soon to be timed"
        )
    if not result.saves:
        lines.append("  no file appeared")
    for what, seconds in (("with saves", result.with_saves), ("without", result.without)):
        middle = sorted(seconds)[len(seconds) // 2]
        lines.append(f"  an epoch {what}: {milliseconds(middle)} ms (of {len(seconds)} sessions)")
    if result.saves:
        lines.append(f"  so a save costs the session {milliseconds(result.cost_of_a_save)} ms")
    if result.unasked:
        why = "" if result.plays_rewards else "; its rewards are its own"
        lines.append(f"  {result.unasked} files appeared where none was due{why}")
    return "\n".join(lines) + "\n"


def saves_text(results: Sequence[SizeResult]) -> str:
    """Return the table of each size, with a bar for each time until a file was safe."""
    lines: list[str] = []
    for result in results:
        figures = result.figures()
        longest = max(figure.whole for figure in figures)
        rounds = len(result.rows[0].whole)
        lines.append(
            f"{result.size}: files of {result.file_bytes:,} bytes, medians of {rounds} rounds"
        )
        lines.append(f"  {'':24} {'stall ms':>9} {'safe ms':>9} {'safe/limit':>10} {'stall':>9}")
        for figure in figures:
            bar = "#" * max(1, round(_BAR * figure.whole / longest))
            lines.append(
                f"  {figure.name:24} {milliseconds(figure.stall):>9}"
                f" {milliseconds(figure.whole):>9} {figure.to_limit:>10.2f}"
                f" {_part(figure.to_torch):>9}  {bar}"
            )
        steps = [figure for figure in figures if figure.worst_step is not None]
        if steps:
            told = ", ".join(
                f"{figure.name} {milliseconds(figure.worst_step or 0)}" for figure in steps
            )
            quiet = milliseconds(result.quiet_step)
            lines.append(f"  worst training step, ms: without a save {quiet}; {told}")
        lines += [f"  left out: {text}" for text in result.unavailable]
        lines.append("")
    if lines:
        lines.append(
            f"safe/limit: beside '{LIMIT}' of as many bytes; stall: parts of a durable torch.save"
        )
    return "\n".join(lines) + "\n" if lines else ""


def _part(ratio: float) -> str:
    return f"T/{1 / ratio:.1f}" if 0 < ratio < 1 else f"{ratio:.2f} T"


def to_json(training: TrainingResult | None, results: Sequence[SizeResult]) -> str:
    """Return everything, with each round's values; times in seconds, None for NaN."""
    document: dict[str, Any] = {"bench": 1, "training": None, "saves": []}
    if training is not None:
        document["training"] = {
            "trainer": training.trainer,
            "epochs": training.epochs,
            "saves": [
                {"name": save.name, "began": save.began, "named": save.named}
                for save in training.saves
            ],
            "epoch_with_saves": list(training.with_saves),
            "epoch_without": list(training.without),
            "cost_of_a_save": _number(training.cost_of_a_save),
            "unasked": training.unasked,
        }
    for result in results:
        rows = {row.name: row for row in result.rows}
        document["saves"].append(
            {
                "size": result.size,
                "file_bytes": result.file_bytes,
                "worst_step_without": result.quiet_step,
                "unavailable": list(result.unavailable),
                "rows": [
                    {
                        "name": figure.name,
                        "stall": figure.stall,
                        "safe": figure.whole,
                        "safe_to_limit": figure.to_limit,
                        "stall_to_durable_torch_save": figure.to_torch,
                        "worst_step": figure.worst_step,
                        "rounds": {
                            "stall": list(rows[figure.name].stall),
                            "safe": list(rows[figure.name].whole),
                            "worst_step": list(rows[figure.name].worst_step),
                        },
                    }
                    for figure in result.figures()
                ],
            }
        )
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def to_svg(results: Sequence[SizeResult]) -> str:
    """Return a drawing: for each size and way two bars, the stall over the time until safe.

    Lengths are logarithmic, from a hundredth of a millisecond on.
    """
    longest = max((f.whole for result in results for f in result.figures()), default=1e-3)
    decades = math.log10(longest / 1e-5)
    parts: list[str] = []
    y = 10
    for result in results:
        y += _LINE
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{escape(result.size)}</text>')
        for figure in result.figures():
            y += _LINE
            parts.append(f'<text x="20" y="{y}">{escape(figure.name)}</text>')
            for value, top, height, colour in (
                (figure.whole, y - 11, 12, "#b0c4de"),
                (figure.stall, y - 8, 6, "#1f4e79"),
            ):
                share = max(math.log10(max(value, 1e-5) / 1e-5) / decades, 0.002)
                width = share * (_WIDTH - _LEFT - _RIGHT)
                parts.append(
                    f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{height}"'
                    f' fill="{colour}"/>'
                )
            text = f"{milliseconds(figure.stall)} / {milliseconds(figure.whole)} ms"
            parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{y}">{escape(text)}</text>')
        y += _LINE // 2
    y += _LINE
    parts.append(
        f'<text x="10" y="{y}">dark: the stall of the loop; light: until the file is safe'
        " (logarithmic)</text>"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 12}"'
    return "\n".join([f'{head} font-family="sans-serif" font-size="12">', *parts, "</svg>\n"])
