"""Trainers that are crashed: `python:crashing:InPlace`."""

from __future__ import annotations

import mmap
import os

import torch
from torch_trainer import TorchTrainer, state_of

from conformance.mutants import Trainer


class InPlace(TorchTrainer):
    """Has torch write straight to the checkpoint's own name."""

    def save(self, name):
        """Call `torch.save` with the path, as most do."""
        torch.save(state_of(self.epoch, self.watermark), str(self.path(name)))


class Fickle(Trainer):
    """Has other calls and another temporary name in each session."""

    def write(self, path, data):
        """Open and close something a few times first."""
        for number in range(os.getpid() % 7):
            path.with_name(f".{number}").open("wb").close()
            path.with_name(f".{number}").unlink()
        temporary = path.with_name(f".{os.urandom(8).hex()}")
        temporary.write_bytes(data)
        temporary.replace(path)


class Maps(Trainer):
    """Writes through a mapping."""

    def write(self, path, data):
        """Map a temporary file, and rename it."""
        temporary = path.with_name(".mapped")
        with temporary.open("w+b") as stream:
            stream.truncate(len(data))
            with mmap.mmap(stream.fileno(), len(data)) as mapping:
                mapping[:] = data
        temporary.replace(path)
