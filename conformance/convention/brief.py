"""Values whose text is short, so that an example that fails is read in one screen."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class _Printer(Protocol):
    def text(self, text: str) -> None: ...


class Brief:
    """A dataclass (made with `repr=False`) whose text is its `__repr__`, for Hypothesis too.

    Without one of its own it is the call that makes it, without what has its default.
    """

    __slots__ = ()

    def __repr__(self: DataclassInstance) -> str:
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        usual: dict[str, Any] = {field.name: field.default for field in fields(self)}
        given = ", ".join(f"{name}={told[name]!r}" for name in told if told[name] != usual[name])
        return f"{type(self).__name__}({given})"

    def _repr_pretty_(self, printer: _Printer, cycle: bool) -> None:
        """Print it as IPython and Hypothesis ask for; each would print all fields else."""
        del cycle
        printer.text(repr(self))
