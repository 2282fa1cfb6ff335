"""Trainers with one defect each, in a file for each group of rules that they break.

The class's name is the defect, the docstring says what it does.
"""

from __future__ import annotations

from conformance.mutants.defects import (
    best,
    cadence,
    integrity,
    layout,
    load,
    names,
    ranks,
    resume,
    safety,
    summary,
)
from conformance.mutants.defects.best import *
from conformance.mutants.defects.cadence import *
from conformance.mutants.defects.integrity import *
from conformance.mutants.defects.layout import *
from conformance.mutants.defects.load import *
from conformance.mutants.defects.names import *
from conformance.mutants.defects.ranks import *
from conformance.mutants.defects.resume import *
from conformance.mutants.defects.safety import *
from conformance.mutants.defects.summary import *
from conformance.mutants.trainer import Trainer

_MODULES = (layout, names, cadence, best, load, integrity, safety, summary, resume, ranks)

DEFECTS: tuple[type[Trainer], ...] = tuple(
    value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, Trainer)
    and value.__module__ == module.__name__
    and value.rule  # a class without a rule is a base of others
)
