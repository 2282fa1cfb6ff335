"""What a function in a pickle may ask of the walk that calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from conformance.evidence.checkpoint.values import Opaque, Storage


class Walk(Protocol):
    """One walk over one pickle, from inside: `Machine` is it.

    Attributes:
        allowed: the globals that torch would let through.
        names: the globals that were met, and whether torch lets each through.
        dtype_orders: the byte order of each NumPy dtype that says one.
    """

    allowed: frozenset[str]
    names: dict[str, bool]
    dtype_orders: dict[Opaque, str]

    @property
    def lenient(self) -> bool:
        """Whether torch has already refused, so that the walk goes on only to see more."""

    def spend(self, units: int) -> None:
        """Takes from the budget of memory and time, and refuses where it is used up."""

    def outgrow(self, storage: Storage, need: int) -> bool:
        """Whether a storage may grow to `need` bytes, as those of the legacy format do."""

    def check_key(self, key: object) -> None:
        """Lets through what torch could hash, and refuses the rest."""
