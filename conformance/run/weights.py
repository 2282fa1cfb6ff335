"""Which checkpoints hold the same weights: told by digests, without loading a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject


def same(first: CheckpointFile, second: CheckpointFile) -> bool:
    """Whether two checkpoints hold the same weights, as far as digests tell."""
    own = first.digest
    return own is not None and own == second.digest


def twin(subject: Subject, best: CheckpointFile) -> CheckpointFile | None:
    """The one periodic checkpoint with the best's weights, where the weights tell them apart."""
    own = best.digest
    digests = [(file.digest, file) for file in subject.files.periodic if not file.damaged]
    known = [found for found, _ in digests if found is not None]
    if own is None or len(known) < 2 or len(set(known)) != len(known):
        return None
    return next((file for found, file in digests if found == own), None)


def contradiction(subject: Subject, best: CheckpointFile, epoch: int) -> CheckpointFile | None:
    """The periodic checkpoint whose weights say that the best does not hold the epoch's.

    Either it is of the same epoch and differs, or it is of another one and is the same. Judged in
    runs of one session only, also none without a log: a restart may repeat an epoch with other
    weights.
    """
    own, history = best.digest, subject.history
    if own is None or history.silent or len(history.sessions) != 1:
        return None
    same_epoch = [
        file
        for file in subject.files.periodic
        if file.epochs == {epoch} and file.digest is not None
    ]
    if same_epoch:
        differs = len(same_epoch) == 1 and same_epoch[0].digest != own
        return same_epoch[0] if differs and _have_one_layout(same_epoch[0], best) else None
    other = twin(subject, best)
    return other if other is not None and len(other.epochs) == 1 else None


def _have_one_layout(first: CheckpointFile, second: CheckpointFile) -> bool:
    """Whether two state_dicts agree in keys, shapes and dtypes; LOAD-003 judges if they do not."""
    if first.model is None or second.model is None or first.model.keys() != second.model.keys():
        return False
    return all(
        (tensor.dtype, tensor.shape) == (second.model[key].dtype, second.model[key].shape)
        for key, tensor in first.model.items()
    )
