"""Proves that a trainer's checkpoints keep the convention."""
