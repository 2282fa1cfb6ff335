"""A run played session by session by a mutant; its files are in memory for a test to change."""

from __future__ import annotations

import tempfile
from pathlib import Path

from conformance.convention.scenario import Scenario
from conformance.evidence.summaries import read_event_file
from conformance.fixtures.events import Scalar, event_file
from conformance.mutants.trainer import TAG, Trainer


class Played:
    """The files of a run, in memory between its sessions; `max_epochs` is over all of them."""

    def __init__(self, name, save_freq, max_epochs, *, trainer=Trainer, files=None):
        self.trainer = trainer
        self.name = name
        self.save_freq = save_freq
        self.max_epochs = max_epochs
        self.files = dict(files or {})
        self.kept = {}  # the epoch of each checkpoint, by the name that it was given
        self._resumed_from = None
        self._newest_log = None

    def run(self, rewards, *, last=None):
        """Train one session, killed after epoch `last`; `rewards` are over all sessions."""
        start, self._resumed_from = self._resumed_from, None
        kept = self.kept

        class Killed(self.trainer):
            def goes_on(self):
                return super().goes_on() and (last is None or self.epoch < last)

            def resume(self, which):  # noqa: ARG002 - the test says which
                self.restore(self.path(start))

            def save(self, name):
                kept[name] = self.epoch
                super().save(name)

        with tempfile.TemporaryDirectory() as root:
            folder = self.write(Path(root))
            scenario = Scenario(
                self.name,
                Path(root),
                self.save_freq,
                self.max_epochs,
                tuple(rewards),
                resume="last" if start else None,
            )
            Killed().train(scenario)
            earlier = set(self.files)
            self.files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        self._newest_log = next(
            (path for path in self.files.keys() - earlier if "tfevents" in path), None
        )

    def resume(self, name):
        """Let the next session go on from that checkpoint; without this, it starts afresh."""
        self._resumed_from = name

    def relog(self, rewards):
        """Let the log of the latest session hold these rewards, as pairs of epoch and value."""
        with tempfile.TemporaryDirectory() as root:
            path = Path(root, "log")
            path.write_bytes(self.files[self._newest_log])
            started = read_event_file(path).first_wall_time
        scalars = tuple(
            Scalar(started + epoch * 1e-6, TAG, epoch, value) for epoch, value in rewards
        )
        self.files[self._newest_log] = event_file(scalars, started=started)

    def write(self, root):
        """Write the run under `root`; returns its folder."""
        folder = root / self.name
        for path, data in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (folder / "nn").mkdir(parents=True, exist_ok=True)
        return folder


def trained(save_freq=2, size=4):
    """The files of a run that improves in each epoch."""
    trainer = Played("Ant", save_freq, size)
    trainer.run([float(epoch) for epoch in range(1, size + 1)])
    return trainer.files


def bare(files):
    """The same files without the config."""
    return {path: data for path, data in files.items() if path != "config.yaml"}
