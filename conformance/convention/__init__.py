"""The convention, written down once: rules, names, profiles and the oracle; pure values."""
