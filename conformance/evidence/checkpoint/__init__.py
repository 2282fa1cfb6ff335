"""The safe reader of checkpoints: parses what `torch.save` wrote, and runs none of it."""

from conformance.evidence.checkpoint.reader import looks_like_checkpoint, read_checkpoint
from conformance.evidence.checkpoint.tensors import (
    NonFinite,
    read_item,
    scan_non_finite,
    weights_digest,
)
from conformance.evidence.checkpoint.values import (
    MISSING,
    Checkpoint,
    Fault,
    FaultKind,
    Opaque,
    Scalar,
    Storage,
    Tensor,
)

__all__ = [
    "MISSING",
    "Checkpoint",
    "Fault",
    "FaultKind",
    "NonFinite",
    "Opaque",
    "Scalar",
    "Storage",
    "Tensor",
    "looks_like_checkpoint",
    "read_checkpoint",
    "read_item",
    "scan_non_finite",
    "weights_digest",
]
