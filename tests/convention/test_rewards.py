"""Rewards as float32 and their texts, held against NumPy."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.convention.rewards import (
    as_float32,
    improves,
    is_float32,
    is_printed,
    is_rounding_of,
    reward_text,
    same_reward,
)

_OVERFLOW = 2.0**128 - 2.0**103  # halfway between the largest float32 and the one beyond it
_SMALLEST = 2.0**-149
_EDGES = (
    *(0.0, 1.0, 485.3, 485.29998779296875, 66.52648, 1.985146e-15, 1e16, 1e22, 1e300),
    *(_OVERFLOW, math.nextafter(_OVERFLOW, 0), 3.4028234663852886e38, 3.40282356e38),
    *(_SMALLEST, _SMALLEST / 2, math.nextafter(_SMALLEST / 2, 1), 2.0**-126, 5e-324, math.inf),
)

quick = settings(deadline=None)
float32s = st.floats(width=32)
anything = st.floats() | float32s | st.sampled_from([*_EDGES, *(-edge for edge in _EDGES)])


def _bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


def _numpy_float32(value: float) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(value)


# --- as_float32 -----------------------------------------------------------------------------


@quick
@given(anything)
def test_rounds_as_numpy_does(value: float) -> None:
    assert _bits(as_float32(value)) == _bits(float(_numpy_float32(value)))


@pytest.mark.parametrize("value", [*_EDGES, *(-edge for edge in _EDGES), math.nan])
def test_rounds_edges_as_numpy_does(value: float) -> None:
    assert _bits(as_float32(value)) == _bits(float(_numpy_float32(value)))


def test_overflows_from_halfway_on() -> None:
    assert as_float32(math.nextafter(_OVERFLOW, 0)) == 3.4028234663852886e38
    assert as_float32(_OVERFLOW) == math.inf
    assert as_float32(-_OVERFLOW) == -math.inf


def test_a_whole_number_of_any_size_has_a_float32() -> None:
    assert as_float32(10**300) == math.inf
    assert as_float32(-(10**300)) == -math.inf
    assert as_float32(7) == 7.0


# --- comparing ------------------------------------------------------------------------------


@quick
@given(anything, anything)
def test_improves_is_float32s_strict_order(reward: float, watermark: float) -> None:
    assert improves(reward, watermark) == bool(
        _numpy_float32(reward) > _numpy_float32(watermark),
    )


@quick
@given(anything, anything)
def test_equal_rewards_never_improve_on_each_other(first: float, second: float) -> None:
    if same_reward(first, second):
        assert not improves(first, second)
        assert not improves(second, first)
    else:
        poisoned = math.isnan(first) or math.isnan(second)
        assert improves(first, second) + improves(second, first) == (0 if poisoned else 1)


def test_nan_is_the_same_reward_as_nan_alone() -> None:
    assert same_reward(math.nan, math.nan)
    assert not same_reward(math.nan, 0.0)
    assert not same_reward(0.0, math.nan)


def test_rewards_one_float32_apart_are_told_apart() -> None:
    above = float(np.nextafter(np.float32(485.3), np.float32(500)))
    assert same_reward(485.3, 485.29998779296875)
    assert not same_reward(485.3, above)
    assert improves(above, 485.3)
    assert same_reward(0.0, -0.0)


@quick
@given(anything)
def test_is_float32_asks_whether_rounding_changes_the_value(value: float) -> None:
    assert is_float32(value) == (math.isnan(value) or float(_numpy_float32(value)) == value)


# --- reward_text ----------------------------------------------------------------------------


def _assert_text_is_numpys(value: float) -> None:
    text, numpy_text = reward_text(value), str(_numpy_float32(value))
    # NumPy's versions differ in when they turn to scientific notation, not in the digits.
    assert text == repr(float(numpy_text))
    assert _bits(as_float32(float(text))) == _bits(as_float32(value))
    assert is_printed(text)


@quick
@given(anything)
def test_text_has_numpys_digits_and_reads_back(value: float) -> None:
    _assert_text_is_numpys(value)


@pytest.mark.parametrize("mantissa", [0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF])
def test_text_has_numpys_digits_around_every_power_of_two(mantissa: int) -> None:
    for exponent in range(255):
        (value,) = struct.unpack("<f", struct.pack("<I", exponent << 23 | mantissa))
        _assert_text_is_numpys(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (485.29998779296875, "485.3"),
        (485.3, "485.3"),
        (-1.2e-05, "-1.2e-05"),
        (1.985146e-15, "1.985146e-15"),
        (500.0, "500.0"),
        (-0.0, "-0.0"),
        (0.0, "0.0"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (1e39, "inf"),
        (2.0**-96, "1.2621775e-29"),
    ],
)
def test_texts_of_known_rewards(value: float, text: str) -> None:
    assert reward_text(value) == text


# --- is_printed -----------------------------------------------------------------------------


@quick
@given(anything)
def test_what_str_prints_is_printed(value: float) -> None:
    assert is_printed(str(value))
    assert is_printed(str(np.float64(value)))
    assert is_printed(str(_numpy_float32(value)))


@quick
@given(st.floats(width=16))
def test_what_str_prints_of_a_float16_is_printed(value: float) -> None:
    assert is_printed(str(np.float16(value)))


@pytest.mark.parametrize(
    "text",
    [
        *("485.3", "485.29998779296875", "-1.2e-05", "inf", "-inf", "nan", "0.0", "-0.0", "1e-05"),
        *("1234567.0", "1.234567e+06", "1e+07", "1e+16", "1.5e+300", "5e-324", "0.0001", "1e-04"),
        *("16777216.0", "1.6777216e+07", "6.55e+04", "123456790.0"),
        *("1e+03", "-1.5e+03", "9.9e-05", "-1e-04", "9999999999999998.0", "1e+100"),
    ],
)
def test_texts_of_all_numpy_versions_are_printed(text: str) -> None:
    assert is_printed(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "485.30",
            "485",
            "485.",
            ".5",
            "1e5",
            "1e+5",
            "1.5e-7",
            "+1.0",
            "007.0",
            "00.5",
            "-007.0",
        ),
        "1.23456789012345678e-05",  # more digits than it takes
        *("1.0e+05", "1e+005", "1E+05", "10e+05", "0.1e+05", "1.50e-05", "0e+00", "4.853e+02"),
        *("9.99e+02", "5e-01", "1.1e-04", "-9.99e+02", "-5e-01", "1.001e+03e", "1e+1000"),
        *("10000000000000000.0", "0.00009", "1e+0100", "2.00e+05"),
        *("0.00001", "100000000000000000000.0", "485.3000000000000001", "0.1000000000000000055"),
        *(
            "[485.3]",
            "_485.3_",
            "485,3",
            "4_8.5",
            " 485.3",
            "485.3 ",
            "485.3\n",
            "\n",
            "",
            "-",
            "e",
        ),
        *("Inf", "INF", "infinity", "+inf", "NaN", "-nan", "None", "1e+400", "-1e+999", "1e-400"),
        *("tensor(485.3)", "np.float32(485.3)", "0x1.8p+1", "\n"),
        "\u0664\u0668\u0665.\u0663",  # Arabic-Indic digits
        "\uff14\uff18\uff15.3",  # fullwidth digits
        "\u2212485.3",  # a typographer's minus
        pytest.param("1" * 10_000 + ".0", id="long whole part"),
        pytest.param("0." + "3" * 10_000, id="long fraction"),
        pytest.param("1.0e+" + "9" * 10_000, id="long exponent"),
        pytest.param("nan" * 1000, id="many nans"),
    ],
)
def test_what_str_never_prints_is_refused(text: str) -> None:
    assert not is_printed(text)


@quick
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 3))
def test_padding_zeros_are_refused(value: float, zeros: int) -> None:
    mantissa, e, exponent = repr(value).partition("e")
    dotted = mantissa if "." in mantissa else mantissa + "."
    assert not is_printed(dotted + "0" * zeros + e + exponent)


@quick
@given(st.text(alphabet="0123456789.e+-infa _[]\n٣²", max_size=80))
def test_a_printed_text_reads_back_as_the_float_that_prints_it(text: str) -> None:
    if is_printed(text):
        assert float(text) == float(repr(float(text))) or math.isnan(float(text))
        assert not any(char.isspace() for char in text)


# --- is_rounding_of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("66.53", 66.52648),
        ("66.52", 66.52648),  # cut off
        ("67.0", 66.52648),
        ("66.0", 66.52648),
        ("485.0", 485.3),
        ("-8461.0", -8461.007),
        ("0.0", 1e-05),
        ("1.99e-15", 1.985146e-15),
        ("0", 0.25),
    ],
)
def test_fewer_digits_than_needed_is_a_rounding(text: str, reward: float) -> None:
    assert is_rounding_of(text, reward)


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("66.52648", 66.52648),  # reads back
        ("485.3", 485.29998779296875),
        ("66.54", 66.52648),  # another number
        ("66.51", 66.52648),
        ("68.0", 66.52648),
        ("65.0", 66.52648),
        ("-66.53", 66.52648),
        ("nan", 1.0),
        ("inf", 1.0),
        ("1.0", math.nan),
        ("1.0", math.inf),
        ("", 1.0),
        ("sixty", 66.52648),
        ("1e+05", 66.52648),  # nothing of it left
        ("67.00", 66.52648),  # two decimals of another number
        ("67.5", 67.25),
        ("1e+999999", 66.52648),
        ("1e-999999", 66.52648),
        pytest.param("6" * 10_000, 66.52648, id="long"),
    ],
)
def test_another_number_is_no_rounding(text: str, reward: float) -> None:
    assert not is_rounding_of(text, reward)


@quick
@given(float32s.filter(math.isfinite), st.integers(0, 8))
def test_a_formatted_reward_reads_back_or_is_a_rounding(reward: float, digits: int) -> None:
    text = f"{reward:.{digits}f}"
    if len(text) <= 40:
        assert same_reward(float(text), reward) != is_rounding_of(text, reward)


@quick
@given(float32s.filter(math.isfinite))
def test_the_whole_text_is_never_a_rounding(reward: float) -> None:
    assert not is_rounding_of(reward_text(reward), reward)
