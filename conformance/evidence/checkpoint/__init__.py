"""The safe reader of checkpoints: parses what `torch.save` wrote, and runs none of it.

Nothing here imports torch or NumPy, or calls anything that a file names. `torch_loads` foresees
what `torch.load(path, map_location="cpu", weights_only=True)` does with the allowed globals; it is
held against torch 2.13 in the tests. Where the two may differ, and why:

- Globals are judged by the list given, by default that of torch 2.6: a newer torch lets a few more
  dtypes through (`safe_globals.ADDED_SINCE`).
- What is over one of our limits (`TOO_LARGE`) counts as not loading, save where only the tree as a
  whole is too deep, too large or contains itself.
- What `torch.save` never writes and `rebuild` and `legacy` say they do not model is refused.
- A record marked as a folder: torch takes for its bytes what its memory happens to hold. We read
  zeros, and report the damage.
- Below 2.13, torch may load what 2.13 refuses: a record longer than its storage, items set in
  something that is no dict.
"""

from conformance.evidence.checkpoint.optimizer import kept_by, numbers_of, optimizer_problem
from conformance.evidence.checkpoint.reader import looks_like_checkpoint, narrowed, read_checkpoint
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
    What,
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
    "What",
    "kept_by",
    "looks_like_checkpoint",
    "narrowed",
    "numbers_of",
    "optimizer_problem",
    "read_checkpoint",
    "read_item",
    "scan_non_finite",
    "weights_digest",
]
