"""Proves that a trainer's checkpoints keep the convention."""

__version__ = "0.1.0"
