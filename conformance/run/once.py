"""What several judges ask of a run is worked out once, and let go of with the run."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.run.subject import Subject

_P = ParamSpec("_P")
_T = TypeVar("_T")


def once(
    judge: Callable[Concatenate[Subject, _P], _T],
) -> Callable[Concatenate[Subject, _P], _T]:
    """Keep what a function says of a run in its `Subject`.

    A cache of the function's own would keep the whole run alive, with all that was read of it.
    """

    @wraps(judge)
    def kept(subject: Subject, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = judge, args, tuple(kwargs.items())
        if key not in subject.kept:
            subject.kept[key] = judge(subject, *args, **kwargs)
        return cast("_T", subject.kept[key])

    return kept
