"""Trainers that tell whether the harness can see: each with one defect, or none and an oddity.

Each is driven as any other trainer is: `python:conformance.mutants:RewritesOnTie`.
"""

from __future__ import annotations

from conformance.mutants.crashes import *
from conformance.mutants.crashes import CRASHES
from conformance.mutants.defects import *
from conformance.mutants.defects import DEFECTS
from conformance.mutants.oddities import *
from conformance.mutants.oddities import ODDITIES
from conformance.mutants.trainer import Trainer

__all__ = ["CRASHES", "DEFECTS", "ODDITIES", "Trainer"]
