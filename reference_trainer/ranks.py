"""Ranks: the processes that train one policy together, as `torchrun` starts them.

Each rank plays environments of its own and learns from them. What is averaged or gathered here is
the same on every rank, to the bit, so that their networks never part; the first rank alone decides
and writes. A process without ranks is `ALONE`: it agrees with itself and pays nothing.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

from reference_trainer.config import SettingsError

T = TypeVar("T")


class FailedElsewhereError(Exception):
    """Another rank cannot go on, and says why itself."""


class LostRankError(Exception):
    """Another rank has gone without a word."""


@dataclass(frozen=True)
class Ranks:
    """One process on its own, and what several would have to agree on.

    Attributes:
        rank: which of them this is, from 0.
        size: how many there are.
        local_rank: which of those on this machine.
        local_size: how many are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the other ranks; nothing below works before.

        Raises:
            LostRankError: they did not all come.
        """
        yield

    def first(self, action: Callable[[], T]) -> T:
        """Let the first rank alone do `action`; return on every rank what came of it.

        Raises:
            FailedElsewhereError: it failed, and this is another rank; the first rank itself raises
                what `action` raised.
        """
        return action()

    def each(self, action: Callable[[], T]) -> T:
        """Do `action` on each rank, and go on only where it worked on all of them.

        Raises:
            FailedElsewhereError: it failed on another rank; the lowest rank that failed raises what
                `action` raised there.
        """
        return action()

    def any(self, flag: bool) -> bool:
        """Tell whether `flag` is set on any rank."""
        return flag

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of `tensors`, in place, by its mean over the ranks."""

    def gather(self, tensor: Tensor) -> Tensor:
        """Return every rank's `tensor`, (ranks, ...)."""
        return tensor.unsqueeze(0)


ALONE = Ranks()


@contextmanager
def _together() -> Iterator[None]:
    """Say that a rank has gone where a collective operation breaks off."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise LostRankError(f"another rank has gone: {reason}") from error


class Group(Ranks):
    """One of several processes, through `torch.distributed`: Gloo on CPUs, NCCL between GPUs."""

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the other ranks at the address that `torchrun` put into the environment."""
        # torch's optimizers import this module when they first step. Its functions take the group
        # of that moment as a default and would keep its threads beyond its end; a thread that
        # still works when Python ends aborts the process.
        importlib.import_module("torch.distributed.nn.functional")
        nccl = torch.cuda.is_available() and distributed.is_nccl_available()
        with _together():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo")
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def first(self, action: Callable[[], T]) -> T:
        """Send what came of `action`, pickled, to the other ranks."""
        outcome: list[tuple[T] | None] = [None]
        failure = None
        if self.rank == 0:
            try:
                outcome = [(action(),)]
            except Exception as error:  # noqa: BLE001  # raised again below, once the others know
                failure = error
        with _together():
            distributed.broadcast_object_list(outcome, src=0)
        if failure is not None:
            raise failure
        if outcome[0] is None:
            raise FailedElsewhereError("the first rank cannot go on")
        return outcome[0][0]

    def each(self, action: Callable[[], T]) -> T:
        """Do `action`, then compare who failed."""
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

    def any(self, flag: bool) -> bool:
        """Compare every rank's flag."""
        return bool(self.gather(torch.tensor(flag)).any())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Average all `tensors` at once, through one flat buffer."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _together():
            distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        """Exchange the tensors: all ranks get the same ones, in the order of the ranks."""
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with _together():
            distributed.all_gather(gathered, tensor.contiguous())
        return torch.stack(gathered)


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process's rank, as `torchrun` says it in the environment; `ALONE` without.

    Raises:
        SettingsError: there are several ranks, and which one this is remains unsaid.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [environment.get(name, "") for name in names]
    for name, value in zip(names, values, strict=True):
        if not (value.isascii() and value.isdigit()):
            raise SettingsError(
                f"{name}={value!a} beside WORLD_SIZE={environment['WORLD_SIZE']!a} is no number: "
                "start several ranks with torchrun"
            )
    rank, size, local_rank, local_size = map(int, values)
    return Group(rank, size, local_rank, local_size)
