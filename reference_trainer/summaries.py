"""The log of a session: an event file that TensorBoard shows."""

import io
import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]


class SummaryLog:
    """One session's event file. Unlike TensorBoard's writer it has no thread: it fails at once."""

    _sessions = itertools.count()  # of this process: two of them may start within one second

    def __init__(self, folder: Path) -> None:
        began = f"{int(time.time()):010d}.{socket.gethostname()}"
        name = f"events.out.tfevents.{began}.{os.getpid()}.{next(self._sessions)}"
        self._file = (folder / name).open("xb", buffering=0)
        self._records = io.BytesIO()  # not in the file yet
        self._writer = RecordWriter(self._records)
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        self._writer.write(version.SerializeToString())
        self.flush()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Log values by tag, at a step: a frame, an epoch or a second of the session."""
        for tag, value in scalars.items():
            entry = Summary.Value(tag=tag, simple_value=value)
            event = Event(wall_time=time.time(), step=step, summary=Summary(value=[entry]))
            self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        """Hand everything logged so far to the operating system; raise OSError if it refuses."""
        records = self._records.getvalue()
        try:
            while records:
                records = records[self._file.write(records) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error
        self._records.seek(0)
        self._records.truncate()

    def close(self) -> None:
        """End the event file."""
        self._file.close()
