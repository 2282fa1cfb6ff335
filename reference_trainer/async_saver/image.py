"""Holds one file in memory, page-aligned and faulted in, as its plan lays it out.

The memory is kept from save to save: the constant parts are in place, and a save overwrites its
numbers, its tensors and, when they are known, its check sums.
"""

import mmap
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor

from .archive import PAGE
from .plan import Plan

try:  # several times as fast as zlib's; the same sums
    from isal.isal_zlib import crc32
except ImportError:
    crc32 = zlib.crc32

Crc32 = Callable[[memoryview, int], int]
_CRC = struct.Struct("<I")
_YIELD_EVERY = 128  # sums: other threads get Python's lock after so many, some 0.1 ms apart
_SLACK = 8  # an image is at most so many times larger than its file


def _map(size: int) -> tuple[Tensor, memoryview]:
    """Return zeroed memory that is there already: the first write to it faults no pages in."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A fork's child would have each page copied when it is next written to; and memory in large
    # pages is copied to a quarter faster.
    for advice in ("MADV_DONTFORK", "MADV_HUGEPAGE"):
        with suppress(AttributeError, OSError):  # kernels built without it refuse it
            memory.madvise(getattr(mmap, advice))
    tensor = torch.frombuffer(memory, dtype=torch.uint8)
    tensor[::PAGE] = 0
    return tensor, memoryview(memory)


def _pin(size: int) -> tuple[Tensor, memoryview]:
    """Return memory that a GPU copies to without help."""
    tensor = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    return tensor, memoryview(cast("Any", tensor.numpy()))


class Image:
    """The memory of one file, used again and again.

    Args:
        crc32: takes bytes and the sum so far, returns the sum.
    """

    def __init__(self, crc32: Crc32 = cast("Crc32", crc32)) -> None:  # noqa: B008  # a function
        self._crc32 = crc32
        self._plan: Plan | None = None
        self._pinned = False
        self._file = torch.empty(0, dtype=torch.uint8)
        self._bytes = memoryview(b"")
        self._targets: list[list[Tensor]] = []
        self._sums: list[list[tuple[memoryview, tuple[int, ...]]]] = []
        self._numbers: list[Any] = []

    @property
    def content(self) -> memoryview:
        """The file's bytes; its address and length are multiples of a page."""
        return self._bytes[: self._plan.size if self._plan else 0]

    def hold(self, plan: Plan) -> None:
        """Be a file of `plan` from now on."""
        if plan is not self._plan:
            with torch.inference_mode(False):  # what is made in it cannot be written to outside
                self._become(plan)

    def _become(self, plan: Plan) -> None:
        self._plan = None
        self._targets, self._sums = [], []
        held = len(self._bytes)
        if not plan.size <= held <= _SLACK * plan.size or plan.on_gpu != self._pinned:
            # Let go of the old memory first; some room, as states grow by and by.
            self._file, self._bytes = torch.empty(0, dtype=torch.uint8), memoryview(b"")
            size = plan.size + plan.size // 8 // PAGE * PAGE
            self._file, self._bytes = _pin(size) if plan.on_gpu else _map(size)
            self._pinned = plan.on_gpu
        for offset, constant in plan.constants:
            self._bytes[offset : offset + len(constant)] = constant
        self._targets = [[move.target(self._file) for move in step.moves] for step in plan.steps]
        self._sums = [
            [(self._bytes[part.begin : part.end], part.places) for part in step.sums]
            for step in plan.steps
        ]
        self._numbers = [None] * len(plan.slots)
        self._plan = plan

    def write_numbers(self, numbers: list[Any]) -> None:
        """Put the state's numbers in place: those that are not there from the save before."""
        if self._plan is None:
            return
        for slot, number, old in zip(self._plan.slots, numbers, self._numbers, strict=True):
            if number is not old:
                packed = slot.pack(number)
                self._bytes[slot.offset : slot.offset + len(packed)] = packed
        self._numbers = numbers

    def copy(self, tensors: Sequence[Tensor], step: int, *, non_blocking: bool = False) -> None:
        """Copy the tensors of a step; from a GPU, if `non_blocking`, without waiting for it."""
        targets = self._targets[step]
        if targets and self._plan is not None:
            # No tensor of a plan requires gradients, so none are recorded.
            torch._foreach_copy_(targets, self._plan.steps[step].sources(tensors), non_blocking)

    def seal(self, step: int, sum_before: int) -> int:
        """Take the check sums of a step and put those that are complete in place.

        Args:
            step: one whose tensors are copied, and after those before it.
            sum_before: of a record that began in the step before.

        Returns:
            The sum of a record that goes on in the next step, else 0.
        """
        content, crc32, pack, total = self._bytes, self._crc32, _CRC.pack_into, sum_before
        for number, (part, places) in enumerate(self._sums[step], 1):
            total = crc32(part, total)
            if places:
                for place in places:
                    pack(content, place, total)
                total = 0
            if not number % _YIELD_EVERY:
                time.sleep(0)
        return total
