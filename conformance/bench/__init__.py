"""Times a trainer's saves: from outside, as they appear; from inside, beside what others cost."""

from conformance.bench.saves import Figure, NoSaveError, Row, SizeResult, bench_saves
from conformance.bench.training import TrainingResult, bench_training
from conformance.bench.watch import WatchError

__all__ = [
    "Figure",
    "NoSaveError",
    "Row",
    "SizeResult",
    "TrainingResult",
    "WatchError",
    "bench_saves",
    "bench_training",
]
