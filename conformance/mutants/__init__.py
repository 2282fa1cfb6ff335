"""Trainers that tell whether the harness can see: one without a defect."""

from conformance.mutants.trainer import Trainer

__all__ = ["Trainer"]
