"""The convention, written down once: rules, names, profiles and the oracle; pure values."""

from __future__ import annotations

DEFAULT_PROFILE = "isaacgymenvs"
"""The name of the profile that stands where nobody names one."""
