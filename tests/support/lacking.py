"""What a machine lacks for a test: the test is skipped, and fails in continuous integration."""

from __future__ import annotations

import os

import pytest


def lacking(why):
    """Skip with one line that says what is missing; with `CI` set, fail with it."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
