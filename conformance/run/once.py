"""What several ask of a run is worked out once, and let go of with the run."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable


class Keeps(Protocol):
    """What keeps the answers: a `Subject`, or a part of one."""

    @property
    def kept(self) -> dict[object, object]:
        """The answers, by question."""


_K = TypeVar("_K", bound=Keeps)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def once(ask: Callable[Concatenate[_K, _P], _T]) -> Callable[Concatenate[_K, _P], _T]:
    """Keep what a function says of a run in what it is asked of.

    A cache of the function's own would keep the whole run alive, with all that was read of it.
    """

    @wraps(ask)
    def kept(asked: _K, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = ask, args, tuple(kwargs.items())
        if key not in asked.kept:
            asked.kept[key] = ask(asked, *args, **kwargs)
        return cast("_T", asked.kept[key])

    return kept
