"""Trainers that are crashed: `python:crashing:InPlace`."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import threading
from pathlib import Path
from typing import ClassVar

import torch
from torch_trainer import TorchTrainer, state_of, work

from conformance.mutants import Trainer
from reference_trainer.adapter import ReferenceTrainer
from reference_trainer.config import Settings
from reference_trainer.session import train


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


class Large(ReferenceTrainer):
    """The reference trainer with a network whose checkpoints hold 100 MB."""

    overrides: ClassVar = {"units": [2860, 2860]}

    def train(self, scenario):
        """Play a session, an epoch being one step of two environments."""
        settings = Settings(
            experiment=scenario.experiment,
            root=str(scenario.root),
            max_iterations=scenario.max_epochs,
            save_freq=scenario.save_freq,
            device="cpu",
            num_envs=2,
            horizon_length=1,
            mini_epochs=1,
            **self.overrides,
        )
        train(settings, mean_reward=lambda epoch, _: scenario.rewards[epoch - 1])


class LargeInPlace(TorchTrainer):
    """Has torch write 100 MB straight to the checkpoint's own name."""

    def save(self, name):
        """Call `torch.save` with the path, as most do."""
        state = state_of(self.epoch, self.watermark)
        state["model"]["large"] = torch.full((25_000_000,), float(self.epoch))
        torch.save(state, str(self.path(name)))


class Waits(Trainer):
    """Waits for a disk that failed, for ever."""

    def write(self, path, data):
        """Ask nobody."""
        try:
            super().write(path, data)
        except OSError:
            signal.pause()


class Interrupter(Trainer):
    """Has the command that crashes it interrupted in its sixth session, and notes who was there.

    `CRASHING_NOTES` names a file for that, `CRASHING_SIGNAL` the signal's number.
    """

    def train(self, scenario):
        """Note the root and the process that forks."""
        notes = Path(os.environ["CRASHING_NOTES"])
        server = os.getppid()
        with notes.open("a", encoding="utf-8") as stream:
            stream.write(f"{server} {scenario.root}\n")
        if len(notes.read_text(encoding="utf-8").splitlines()) == 6:
            status = Path(f"/proc/{server}/stat").read_text(encoding="utf-8")
            command = int(status.rpartition(")")[2].split()[1])
            os.kill(command, int(os.environ["CRASHING_SIGNAL"]))
            while True:  # until it is ended as well
                signal.pause()
        super().train(scenario)


class Numbers(Trainer):
    """Numbers its temporary files on from session to session, and saves in a thread."""

    saves = itertools.count()

    def write(self, path, data):
        """Write in a thread, whose calls the main thread makes as well."""
        path.parent.joinpath(".here").write_bytes(b"")

        def write():
            temporary = path.with_name(f".saving-{next(self.saves)}.tmp")
            temporary.write_bytes(data)
            temporary.replace(path)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        path.parent.joinpath(".here").unlink()


if __name__ == "__main__":
    work(Numbers())
