"""How the reader's parts report a fault to each other, and how hostile text is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.evidence.checkpoint.values import Fault, FaultKind

if TYPE_CHECKING:
    from conformance.evidence.checkpoint.values import What

_SHOWN = 80


class RefusalError(Exception):
    """Reading cannot go on; carries the fault. Never leaves the package."""

    def __init__(self, kind: FaultKind, message: str, what: What | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(kind, message, what)


class CutShortError(RefusalError):
    """The pickle needs bytes behind the last one."""

    def __init__(self, message: str) -> None:
        super().__init__(FaultKind.DAMAGED, message)


def damaged(message: str) -> RefusalError:
    """Returns the refusal of a file that is not as it was written."""
    return RefusalError(FaultKind.DAMAGED, message)


def refused(message: str) -> RefusalError:
    """Returns the refusal of what `torch.load(weights_only=True)` refuses."""
    return RefusalError(FaultKind.REFUSED, message)


def too_large(message: str) -> RefusalError:
    """Returns the refusal of what is over one of the reader's limits."""
    return RefusalError(FaultKind.TOO_LARGE, message)


def shown(text: str | bytes) -> str:
    """Returns text from a file as printable ASCII, quoted and cut to a readable length."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
