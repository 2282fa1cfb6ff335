"""Trainers that tell whether the harness can see: each with one defect, or none and an oddity.

Each is played as any other trainer is: `python:conformance.mutants:RewritesOnTie`.
"""

from __future__ import annotations

from conformance.mutants.crashes import CRASHES, SavesDurably
from conformance.mutants.defects import DEFECTS
from conformance.mutants.oddities import ODDITIES
from conformance.mutants.trainer import Trainer

globals().update({trainer.__name__: trainer for trainer in (*DEFECTS, *ODDITIES, *CRASHES)})

__all__ = ["CRASHES", "DEFECTS", "ODDITIES", "SavesDurably", "Trainer"]
