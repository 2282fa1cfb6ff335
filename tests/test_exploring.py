"""`--explore-seconds`, in a pytest of its own: what it leaves out, draws, finds, keeps and says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = (Path(__file__).parent / "conftest.py").read_text(encoding="utf-8")
CLOCK = """
import exploring

class Clock:
    now = 0.0

    def monotonic(self):
        self.now += 0.01
        return self.now

exploring.time = Clock()
"""
PROPERTIES = """
from hypothesis import given, settings, strategies as st

def test_of_no_property():
    raise AssertionError("it is not explored")

@settings(max_examples=20)
@given(st.data())
def test_holds(data):
    number = data.draw(st.integers())
    data.draw(st.lists(st.booleans()))
    with open("drawn", "a") as drawn:
        print(number, file=drawn)
"""
FALLS = """
import pytest
from hypothesis import assume, given, strategies as st

@pytest.mark.parametrize("least", [10_000])
@given(number=st.integers(0, 2**40))
def test_falls(least, number):
    assume(number % 2)
    with open("drawn", "a") as drawn:
        print(number, file=drawn)
    assert number < least
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on one test file, with the conftest of these tests; returns the result.

    Each look at the clock is a hundredth of a second, so that no load decides.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "support"), prepend=":")
    pytester.makeconftest(CONFTEST + CLOCK)

    def run(source, *arguments):
        pytester.makepyfile(test_it=source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    return run


def drawn(pytester):
    """What the examples since the last call were."""
    file = pytester.path / "drawn"
    lines = file.read_text().split()
    file.unlink()
    return [int(line) for line in lines]


def row(result, name):
    """The property's row of the table: examples, usual ones, times, seconds, and whether found."""
    (line,) = (line for line in result.outlines if line.endswith((f"::{name}", f"::{name}  FOUND")))
    return [float(part) for part in line.split()[:4]], line.endswith("FOUND")


def test_a_property_draws_anew_until_its_seconds_are_used(run, pytester):
    result = run(PROPERTIES, "--explore-seconds", "1")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=1)
    first = drawn(pytester)
    (examples, usual, times, seconds), found = row(result, "test_holds")
    assert (examples, usual, found) == (len(first), 20, False)
    assert 40 < examples <= 100  # each looks at the clock, and so do draws that come to nothing
    assert times == pytest.approx(examples / 20, abs=0.1)
    assert seconds >= 1
    run(PROPERTIES, "--explore-seconds", "1")
    again = drawn(pytester)
    assert len({tuple(each[:20]) for each in (first, first[20:], again)}) == 3


def test_what_falls_is_printed_with_its_reproduction_and_kept(run, pytester):
    result = run(FALLS, "--explore-seconds", "60")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["E*test_falls(", "E*number=10001,*"])
    result.stdout.re_match_lines([r".*@reproduce_failure\('[\d.]+', b'.+'\).*"])
    (examples, usual, _, seconds), found = row(result, "test_falls[10000]")
    assert (usual, found) == (100, True)
    assert examples == next(n for n, number in enumerate(drawn(pytester)) if number >= 10_000)
    assert seconds < 60
    again = run(FALLS, "--explore-seconds", "60")
    assert drawn(pytester)[0] == 10_001
    assert row(again, "test_falls[10000]")[0][0] == 0


@pytest.mark.parametrize("seconds", ["0", "nan", "soon"])
def test_seconds_are_a_number_above_zero(run, seconds):
    result = run(PROPERTIES, f"--explore-seconds={seconds}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--explore-seconds: invalid * value: '{seconds}'"])


# --- the usual tests ----------------------------------------------------------------------------


def test_without_it_the_same_is_drawn_each_time_and_everywhere(run, pytester, monkeypatch):
    variables = ("CI", "GITHUB_ACTIONS", "__TOX_ENVIRONMENT_VARIABLE_ORIGINAL_CI")
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    run(PROPERTIES)
    usual = drawn(pytester)
    assert len(usual) == 20
    # What exploration has kept is played by exploration alone.
    run(FALLS, "--explore-seconds", "60")
    drawn(pytester)
    for name in variables:
        monkeypatch.setenv(name, "true")
    run(PROPERTIES).assert_outcomes(passed=1, failed=1)
    assert drawn(pytester) == usual
    run(FALLS)
    assert drawn(pytester)[0] != 10_001


def test_the_only_question_for_continuous_integration_is_what_a_machine_lacks():
    """Tests ask for `CI` at one place: what is missing is an error there, and skipped elsewhere."""
    asked = [
        path.name
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if path != Path(__file__) and re.search(r"[\"']CI[\"']", path.read_text(encoding="utf-8"))
    ]
    assert asked == ["traced.py"]
