"""Mean rewards as the convention compares and prints them: as float32, in the text of `str`."""

from __future__ import annotations

import math
import re
import struct
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal

# What `str` prints for a float (Python's or NumPy's), one number, no sign on nan.
SCALAR_TEXT = r"(?:-?(?:[0-9]+\.[0-9]+(?:e[+-][0-9]+)?|[0-9]+e[+-][0-9]+|inf)|nan)"
# One element of a printed NumPy array: it may end in its point (`1000.`, `1.e-05`).
ELEMENT_TEXT = r"(?:-?(?:[0-9]+\.[0-9]*(?:e[+-][0-9]+)?|inf)|nan)"

_SCALAR = re.compile(SCALAR_TEXT)
_SINGLE = struct.Struct("<f")
_LONGEST_TEXT = 64
_LARGE, _TINY = 1e38, 1e-44  # well within float32's range; beyond its smallest steps


def as_float32(value: float) -> float:
    """The value rounded to the nearest float32, as a Python float; beyond the range, infinite."""
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    except (OverflowError, struct.error):  # from halfway beyond the largest on
        return math.inf if value > 0 else -math.inf
    return rounded


def same_reward(first: float, second: float) -> bool:
    """Whether two rewards are the same float32; NaN is the same as NaN, 0.0 as -0.0."""
    if first == second:
        return True
    if first != first or second != second:  # noqa: PLR0124 - NaN, and twice as fast as isnan
        return first != first and second != second  # noqa: PLR0124 - see above
    # Two of one float32 are not that far apart, and most pairs are.
    if -_LARGE < first < _LARGE and abs(first - second) > abs(first) * 1e-6 + _TINY:
        return False
    return as_float32(first) == as_float32(second)


def improves(reward: float, watermark: float) -> bool:
    """Whether the reward is strictly better, as float32; a NaN on either side never is."""
    # Rounding keeps the order, so that most epochs need none.
    return reward > watermark and as_float32(reward) > as_float32(watermark)


def is_float32(value: float) -> bool:
    """Whether a float32 holds the value exactly (NaN counts as held)."""
    return math.isnan(value) or as_float32(value) == value


def reward_text(reward: float) -> str:
    """The shortest text that reads back as the same float32, as `str(numpy.float32)` prints it.

    >>> reward_text(485.29998779296875)
    '485.3'
    >>> reward_text(float("-inf"))
    '-inf'
    """
    single = as_float32(reward)
    if not math.isfinite(single) or single == 0.0:
        return repr(single)
    # Above a power of two the float's own interval is wider than below: rounding up may read back
    # where the nearest text of as many digits does not.
    candidates = (
        float(Context(prec=digits, rounding=rounding).plus(Decimal(single)))
        for digits in range(1, 10)
        for rounding in (ROUND_HALF_EVEN, ROUND_UP)
    )
    return repr(next(value for value in candidates if as_float32(value) == single))


def is_printed(text: str) -> bool:
    """Whether `str` of some float (Python, or NumPy of any version) prints this text."""
    if len(text) > _LONGEST_TEXT or not _SCALAR.fullmatch(text):
        return False
    if text in ("nan", "inf", "-inf"):
        return True
    value = float(text)
    if math.isinf(value):
        return False
    if text == repr(value):
        return True
    # Where Python prints plain text, NumPy's version and type may make it scientific. Its digits
    # are minimal all the same, and its range is the widest that was seen.
    in_range = abs(value) <= 1e-4 or abs(value) >= 1e3
    return in_range and Decimal(text) == Decimal(repr(value)) and not _padded(text)


def is_rounding_of(text: str, reward: float) -> bool:
    """Whether the text is the reward with fewer digits than it takes to read it back."""
    if not math.isfinite(reward) or len(text) > _LONGEST_TEXT:
        return False
    try:
        printed = Decimal(text)
        exact = Decimal(as_float32(reward))
        if same_reward(float(printed), reward):
            return False
        steps = [int(printed.as_tuple().exponent)]  # of what is not finite, a ValueError
        if text.endswith(".0"):  # rounded to a whole number before it was printed
            steps.append(0)
        return any(printed in _roundings(exact, step) for step in steps)
    except (ArithmeticError, ValueError):
        return False


def _roundings(exact: Decimal, exponent: int) -> tuple[Decimal, Decimal]:
    """The value cut off, and rounded to nearest, at ten to the exponent."""
    step = Decimal((0, (1,), exponent))
    down = exact.quantize(step, rounding=ROUND_DOWN, context=_WIDE)
    return down, exact.quantize(step, rounding=ROUND_HALF_UP, context=_WIDE)


_WIDE = Context(prec=400)


def _padded(text: str) -> bool:
    """Whether a scientific text has zeros that `str` does not print, or lacks one: 1.50e+05, 1e+5.

    An exponent of three digits is one that Python prints as well.
    """
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    return len(whole) != 1 or whole == "0" or fraction.endswith("0") or len(exponent) != 3
