"""Ranks: the processes that train one policy together, as `torchrun` starts them.

Each rank plays environments of its own and learns from them. What is averaged or gathered here is
the same on every rank, to the bit, so that their networks never part; the first rank alone decides
and writes. A process on its own agrees with itself and pays nothing.
"""

import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

from reference_trainer.config import SettingsError, TrainerError

T = TypeVar("T")


class LostRankError(TrainerError):
    """Another rank has gone without a word."""


class FailedElsewhereError(TrainerError):
    """Another rank cannot go on, and says why itself."""

    silent = True


@dataclass(frozen=True)
class Ranks:
    """One of `size` processes, `local_size` of them on this machine; numbers count from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Say that a rank has gone where a collective operation breaks off: on the first rank."""
        try:
            yield
        except RuntimeError as error:
            reason = f"another rank has gone: {error}".partition("\n")[0]
            raise (FailedElsewhereError if self.rank else LostRankError)(reason) from error

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the other ranks at the address in the environment; nothing below works before."""
        if self.size == 1:
            yield
            return
        # torch's optimizers import this module when they first step. Its functions take the group
        # of that moment as a default and would keep its threads beyond its end; a thread that
        # still works when Python ends aborts the process.
        importlib.import_module("torch.distributed.nn.functional")
        nccl = torch.cuda.is_available() and distributed.is_nccl_available()
        with self._together():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo")
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def each(self, action: Callable[[], T]) -> T:
        """Do `action` on each rank, and go on only where it worked on all of them.

        The lowest rank where it failed raises what it met with, the others FailedElsewhereError.
        """
        if self.size == 1:
            return action()
        failure = None
        try:
            result = action()
        except Exception as error:  # noqa: BLE001  # raised again below, once the others know
            failure = error
        failed = self.gather(torch.tensor(failure is not None)).tolist()
        if failure is not None and not any(failed[: self.rank]):
            raise failure
        if any(failed):
            raise FailedElsewhereError(f"rank {failed.index(True)} cannot go on")
        return result

    def first(self, action: Callable[[], T]) -> T:
        """Let the first rank alone do `action`; return what came of it, pickled for the others."""
        outcome: list[T | None] = [self.each(lambda: action() if self.rank == 0 else None)]
        if self.size > 1:
            with self._together():
                distributed.broadcast_object_list(outcome, src=0)
        return outcome[0]  # type: ignore[return-value]  # it is the first rank's by now

    def any(self, flag: bool) -> bool:
        """Tell whether `flag` is set on any rank."""
        return bool(self.gather(torch.tensor(flag)).any())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of `tensors`, in place, by its mean over the ranks."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with self._together():
            distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        """Return every rank's `tensor`, (ranks, ...), in the order of the ranks."""
        if self.size == 1:
            return tensor.unsqueeze(0)
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._together():
            distributed.all_gather(gathered, tensor.contiguous())
        return torch.stack(gathered)


ALONE = Ranks()


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process's rank, as `torchrun` says it in the environment; `ALONE` without."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [environment.get(name, "") for name in names]
    for name, value in zip(names, values, strict=True):
        if not re.fullmatch(r"\d+", value, re.ASCII):
            raise SettingsError(f"{name}={value!a} is no number: start several ranks with torchrun")
    return Ranks(*map(int, values))
