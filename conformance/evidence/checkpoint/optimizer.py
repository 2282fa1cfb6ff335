"""Reads the state_dict of a torch optimizer: its groups, its state, and what is none of one.

`torch.optim.Optimizer.state_dict` returns `{"state": {parameter: {...}}, "param_groups": [{"lr":
..., "params": [parameter, ...]}]}`, where a parameter is its number, or its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint.errors import shown
from conformance.evidence.checkpoint.values import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

# A setting of each kind in torch.optim that keeps a state for each parameter from its first step
# on, whatever its value: Adam and its kin, Adadelta, Rprop, RMSprop, ASGD, LBFGS, Adafactor, Muon.
_KEEPS = ("betas", "rho", "etas", "alpha", "lambd", "history_size", "beta2_decay", "ns_steps")
_MOMENTUM = "momentum"  # SGD keeps one where it is not zero


def optimizer_problem(value: object) -> str | None:
    """Why a value is no state_dict of a torch optimizer, as the end of a sentence; None: it is."""
    if not isinstance(value, Mapping):
        return f"is a {type(value).__name__}, no state_dict of a torch optimizer"
    missing = [key for key in ("state", "param_groups") if key not in value]
    if missing:
        held = ", ".join(shown(str(key)) for key in list(value)[:4])
        return (
            f"is no state_dict of a torch optimizer: it lacks {' and '.join(missing)}"
            f" (it holds {held or 'nothing'})"
        )
    if not isinstance(value["state"], Mapping):
        return f"has a {type(value['state']).__name__} for its state, no dict"
    groups = value["param_groups"]
    if not isinstance(groups, (list, tuple)) or not groups:
        return "has no list of groups for its param_groups"
    known: set[int | str] = set()
    for group in groups:
        parameters = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(parameters, (list, tuple)):
            return "has a group without params among its param_groups"
        known.update(each for each in parameters if isinstance(each, (int, str)))
    strays = [key for key in value["state"] if not isinstance(key, (int, str)) or key not in known]
    if strays:
        first = shown(str(strays[0])) if isinstance(strays[0], str) else ascii(strays[0])[:40]
        return f"keeps a state for {first}, which is no parameter of its param_groups"
    return None


def kept_by(optimizer: Mapping[str, Any]) -> str:
    """The setting by which an optimizer's kind keeps a state for what it trains; empty: none."""
    for group in optimizer["param_groups"]:
        if not group["params"]:
            continue
        for key in _KEEPS:
            if key in group:
                return key
        momentum = group.get(_MOMENTUM)
        if isinstance(momentum, (int, float)) and momentum:
            return _MOMENTUM
    return ""


def numbers_of(optimizer: Mapping[str, Any]) -> Iterator[tuple[str, Tensor | float]]:
    """Yields the tensors and floats of the state and the settings, each with its place."""
    pending: list[tuple[str, object]] = [(key, optimizer[key]) for key in ("param_groups", "state")]
    while pending:
        place, value = pending.pop()
        if isinstance(value, (Tensor, float)):
            yield place, value
        elif isinstance(value, Mapping):
            pending.extend((f"{place}[{_key(key)}]", inner) for key, inner in value.items())
        elif isinstance(value, (list, tuple)):
            pending.extend((f"{place}[{index}]", inner) for index, inner in enumerate(value))


def _key(key: object) -> str:
    return shown(key) if isinstance(key, str) else ascii(key)[:40]
