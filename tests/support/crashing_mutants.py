"""Mutants that are crashed: `python:crashing_mutants:Waits`. Without torch, they start at once.

As a program it is a worker that numbers its files, or plays the scenario that it is given.
"""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path

from conformance.convention.scenario import Scenario
from conformance.mutants import Trainer
from conformance.trainers import serve


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


class WritesSlowly(Trainer):
    """Writes straight to the checkpoint's own name, half a file now and the other half later."""

    def write(self, path, data):
        """Be within a save nearly all of the time."""
        with path.open("wb") as stream:
            stream.write(data[: len(data) // 2])
            stream.flush()
            time.sleep(0.02)
            stream.write(data[len(data) // 2 :])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Trainer().train(Scenario.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        serve(Numbers)
