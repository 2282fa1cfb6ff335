"""The saver: takes a snapshot of a state at once, and writes it durably behind the training loop.

A snapshot is copied into an image of the file; one thread takes its check sums while another one
writes what they are known of. Files are written one after the other, in the order of the calls.
"""

import io
import os
import threading
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from reference_trainer.async_saver.disk import write_file
from reference_trainer.async_saver.image import Image
from reference_trainer.async_saver.pickling import UnplannedError
from reference_trainer.async_saver.plan import Plan, plan

IMAGES = 2  # one is written while the next is taken; a third save waits


class SaverError(Exception):
    """The saver was used wrongly: once closed, in a fork, or on a state that changed meanwhile."""


def _versions(tensors: list[Tensor]) -> list[int]:
    """Return how often each tensor was written to in place, where torch counts that."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]  # noqa: SLF001


def _devices(tensors: list[Tensor]) -> set[torch.device]:
    """Return the GPUs that the tensors stand on."""
    return {tensor.device for tensor in tensors if tensor.is_cuda}


class _Transfer:
    """Copies from GPUs, ordered behind what they were doing, on a stream of its own on each.

    Nothing here waits on the host but `wait`, which the saver's thread calls.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._events: list[tuple[torch.device, torch.cuda.Event]] = []

    def start(self, image: Image, steps: int, tensors: list[Tensor]) -> None:
        """Order the copies."""
        devices = _devices(tensors)
        for device in devices:
            if device not in self._streams:
                self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._streams[device].wait_stream(torch.cuda.current_stream(device))
        # Copies between a device and the host run on that device's current stream.
        previous = {device: torch.cuda.current_stream(device) for device in devices}
        for device in devices:
            torch.cuda.set_stream(self._streams[device])
        try:
            for step in range(steps):
                image.copy(tensors, step, non_blocking=True)
            self._events = [(device, self._streams[device].record_event()) for device in devices]
        finally:
            for device in devices:
                torch.cuda.set_stream(previous[device])

    def order_behind(self) -> None:
        """Let each GPU do what it is told next only once the copies are made."""
        for device, event in self._events:
            torch.cuda.current_stream(device).wait_event(event)

    def take(self) -> list[torch.cuda.Event]:
        """Return the events that the copies of the last `start` end with."""
        return [event for _, event in self._events]


@dataclass(eq=False, slots=True)
class _Job:
    """One file on its way to the disk.

    Attributes:
        tensors: what is still to be copied.
        copied: told when that is done; None where nothing is left to the background.
        versions: of the tensors when the snapshot was ordered.
        events: what the GPUs signal once their copies are made.
        ready: up to which byte the content is complete, rising; then None or what went wrong.
    """

    path: Path
    image: Image
    plan: Plan | None
    content: memoryview
    tensors: list[Tensor] = field(default_factory=list)
    copied: threading.Event | None = None
    versions: list[int] = field(default_factory=list)
    events: list[torch.cuda.Event] = field(default_factory=list)
    ready: "SimpleQueue[int | BaseException | None]" = field(default_factory=SimpleQueue)
    sealed: bool = False  # all that comes through `ready` has come

    def copy(self) -> None:
        """Take the part of the snapshot that was left to the background.

        Raises:
            SaverError: the state changed meanwhile.
        """
        for event in self.events:
            event.synchronize()
        if self.copied is None:
            return
        if self.plan is not None and not self.events:
            for step in range(len(self.plan.steps)):
                self.image.copy(self.tensors, step)
            if _versions(self.tensors) != self.versions:
                raise SaverError(
                    f"{self.path}: the state was changed while it was copied; call before_update() "
                    "before the optimizer steps, or save with overlap=False"
                )

    def seal(self, *, copying: bool = False) -> None:
        """Complete the content from front to back.

        Args:
            copying: copy each step first.
        """
        total = 0
        for number, step in enumerate(self.plan.steps if self.plan else ()):
            if copying:
                self.image.copy(self.tensors, number)
            total = self.image.seal(step, total)
            self.ready.put(step.end)

    def fill(self, *, copying: bool = False) -> None:
        """Copy what is to be copied and seal it; never raises, but says so in `ready`."""
        outcome: BaseException | None = None
        try:
            try:
                self.copy()
            finally:
                if self.copied is not None:
                    self.copied.set()
            self.seal(copying=copying)
        except BaseException as error:  # noqa: BLE001  # the thread that writes raises it again
            outcome = error
        self.tensors = []  # they may go
        self.ready.put(outcome)

    def ends(self) -> Iterator[int]:
        """Yield up to which byte the content is complete, waiting for it."""
        while isinstance(end := self.ready.get(), int):
            yield end
        self.sealed = True
        if end is not None:
            raise end

    def write(self) -> None:
        """Write the file, as far as it is ready, and wait for the rest."""
        write_file(self.path, self.content, self.ends(), direct=self.plan is not None)

    def drain(self) -> None:
        """Wait until nobody works on the image any more."""
        with suppress(BaseException):
            while not self.sealed:
                for _ in self.ends():
                    pass


class _Pipeline:
    """The two threads of a saver, and what they share with it.

    They know the pipeline and not the saver, so that a saver which is forgotten goes away.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.free: SimpleQueue[Image] = SimpleQueue()
        for _ in range(IMAGES):
            self.free.put(Image())
        self.failure: BaseException | None = None
        self.given_up = 0  # saves behind one that failed
        self._jobs: SimpleQueue[_Job | threading.Event | None] = SimpleQueue()
        self._writes: SimpleQueue[_Job | threading.Event | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, once."""
        if not self._threads:
            for work in (self._fill_all, self._write_all):
                # The end of the process waits for them through `finish`, not by joining.
                thread = threading.Thread(target=work, name="saver", daemon=True)
                thread.start()
                self._threads.append(thread)

    def submit(self, job: _Job) -> None:
        """Let the threads do everything about `job`."""
        self._jobs.put(job)

    def submit_write(self, job: _Job) -> None:
        """Let the thread that writes do so, while the caller fills the image."""
        self.start()
        self._writes.put(job)

    def wait(self) -> None:
        """Wait until everything submitted is written, or was given up."""
        if self._threads:
            passed = threading.Event()
            self._jobs.put(passed)
            passed.wait()

    def finish(self) -> None:
        """Wait, and end the threads. A fork's copy of the pipeline has none."""
        if self._threads and os.getpid() == self.process:
            self._jobs.put(None)
            for thread in self._threads:
                thread.join()
            self._threads = []

    def _fill_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._writes.put(job)
            if isinstance(job, _Job):
                job.fill()
        self._writes.put(None)

    def _write_all(self) -> None:
        while (job := self._writes.get()) is not None:
            if isinstance(job, _Job):
                self.write(job)
            else:
                job.set()
            del job  # its tensors and its image may go

    def write(self, job: _Job) -> None:
        """Write one file, note what went wrong, and give its image back."""
        try:
            if self.failure is None:
                job.write()
            else:
                self.given_up += 1
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            self.failure = error
        finally:
            job.drain()
            self.free.put(job.image)


def _finish(pipeline: _Pipeline) -> None:
    """End a saver that was never closed: at the end of the process, or when it is forgotten."""
    pipeline.finish()
    if pipeline.failure is not None and os.getpid() == pipeline.process:
        warnings.warn(f"a save failed: {pipeline.failure}", RuntimeWarning, stacklevel=2)


class Saver:
    """Saves states as `torch.save` would, durably, and without the training loop waiting for it.

    A file is whole, under its old content or its new, at any instant, and loads with plain
    `torch.load(path, weights_only=True)`, with and without `mmap=True`, on torch 2.6 and later.
    Its tensors load to the CPU, wherever they were, and a view brings no more than itself along.
    What the saver does not lay out itself (`fallbacks` counts it) is pickled by `torch.save`
    before `save` returns, and written in the background too.

    If a save fails in the background, those behind it are not written, and the next call raises
    what happened: an OSError that names the file, once. `wait` and `close` raise it too.

    Use it from one thread. It is a context manager, closed at the end of the block; one that is
    forgotten finishes its saves all the same, also when the process ends by itself.

    Args:
        background: write behind the caller. If False, `save` returns when the file is safe.

    Attributes:
        fallbacks: saves that were left to `torch.save`.
        plans: how often a structure was laid out: once for each that differs from the one before.
    """

    def __init__(self, *, background: bool = True) -> None:
        self.fallbacks = 0
        self.plans = 0
        self._background = background
        self._plan: Plan | None = None
        self._pipeline = _Pipeline()
        self._transfer = _Transfer()
        self._copying: _Job | None = None
        self._finalizer = weakref.finalize(self, _finish, self._pipeline)

    def __enter__(self) -> "Saver":  # noqa: PYI034  # Self came with Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def save(
        self, path: str | os.PathLike[str], state: Mapping[str, Any], *, overlap: bool = False
    ) -> None:
        """Take a snapshot of `state` and have it written to `path`.

        Waits only if two earlier snapshots are still on their way to the disk.

        Args:
            path: the file; its folder exists.
            state: nested dicts, lists and tuples of tensors, numbers and texts.
            overlap: copy the tensors in the background too: the caller calls `before_update`
                before it changes them in place.

        Raises:
            OSError: this save failed (if not in the background), or an earlier one did.
            SaverError: the saver is closed, or belongs to the process that forked this one.
        """
        self.check()
        fitted = None if self._plan is None else self._plan.fit(state)
        if fitted is None:
            try:
                self._plan = plan(state)
            except UnplannedError:
                self._fall_back(Path(path), state)
                return
            self.plans += 1
            fitted = self._plan.fit(state)
            if fitted is None:
                raise SaverError(f"{path}: the state was changed by another thread")
        if self._plan is not None:
            self._snapshot(Path(path), self._plan, *fitted, overlap=overlap)

    def prepare(self, state: Mapping[str, Any]) -> None:
        """Make room for states such as this one, so that the first saves are as fast as any.

        Raises:
            OSError: an earlier save failed.
            SaverError: as in `save`.
        """
        self.wait()
        try:
            self._plan = plan(state)
        except UnplannedError:
            return
        self.plans += 1
        for _ in range(IMAGES):
            image = self._pipeline.free.get()
            try:
                image.hold(self._plan)
            finally:
                self._pipeline.free.put(image)
        if self._background:
            self._pipeline.start()

    @property
    def snapshot_done(self) -> bool:
        """Whether the tensors of the last save are copied, and may be changed."""
        copying = self._copying
        return copying is None or copying.copied is None or copying.copied.is_set()

    def before_update(self) -> None:
        """Wait until the tensors of the last save are copied; on a GPU, let the device wait.

        Does not raise what went wrong with a save: that waits for the next of the other calls.
        """
        if self._copying is not None:
            if self._copying.events:
                self._transfer.order_behind()
            elif self._copying.copied is not None:
                self._copying.copied.wait()
            self._copying = None

    def wait(self) -> None:
        """Wait until every save is safe on the disk.

        Raises:
            OSError: one of them failed.
            SaverError: as in `save`.
        """
        self._check_usable()
        self._pipeline.wait()
        self._raise_failure()

    def check(self) -> None:
        """Raise what went wrong with an earlier save, if that is known by now; wait for nothing.

        Raises:
            OSError: an earlier save failed.
            SaverError: as in `save`.
        """
        self._check_usable()
        if self._pipeline.failure is not None:
            self._pipeline.wait()  # for those behind it to be given up
            self._raise_failure()

    def close(self) -> None:
        """Wait until every save is safe on the disk, and end. May be called again.

        Raises:
            OSError: one of them failed.
        """
        self._finalizer.detach()
        self._pipeline.finish()
        self._raise_failure()

    def _check_usable(self) -> None:
        if os.getpid() != self._pipeline.process:
            raise SaverError(
                "this saver belongs to the process that forked this one: make another one here"
            )
        if not self._finalizer.alive:
            raise SaverError("this saver is closed")

    def _raise_failure(self) -> None:
        failure, given_up = self._pipeline.failure, self._pipeline.given_up
        if failure is None or os.getpid() != self._pipeline.process:
            return
        self._pipeline.failure, self._pipeline.given_up = None, 0
        if isinstance(failure, OSError) and given_up:
            reason = f"{failure.strerror}, and of the saves behind it {given_up} given up"
            raise OSError(failure.errno, reason, failure.filename) from failure
        raise failure

    def _image(self) -> Image:
        """Return an image to use, once there is one.

        Raises:
            OSError: the save that it was used for failed.
        """
        if self._background:
            self._pipeline.start()
        image = self._pipeline.free.get()
        try:
            self.check()
        except BaseException:
            self._pipeline.free.put(image)
            raise
        return image

    def _snapshot(
        self, path: Path, plan: Plan, tensors: list[Tensor], numbers: list[Any], *, overlap: bool
    ) -> None:
        image = self._image()
        try:
            image.hold(plan)
            image.write_numbers(numbers)
            job = _Job(path, image, plan, image.content, tensors)
            if plan.on_gpu:
                self._transfer.start(image, len(plan.steps), tensors)
                job.events = self._transfer.take()
            elif self._background and not overlap:
                for step in range(len(plan.steps)):
                    image.copy(tensors, step)
        except BaseException:
            self._pipeline.free.put(image)
            raise
        if not self._background:
            self._write_now(job)
        elif overlap:
            job.copied = threading.Event()
            job.versions = _versions(tensors)
            self._copying = job
            self._pipeline.submit(job)
        else:
            if job.events:
                self._transfer.order_behind()
            self._pipeline.submit(job)

    def _write_now(self, job: _Job) -> None:
        streamed = job.plan is not None and len(job.plan.steps) > 1
        if streamed:
            self._pipeline.submit_write(job)
        job.fill(copying=not job.events)
        if streamed:
            self._pipeline.wait()
        else:
            self._pipeline.write(job)
        self._raise_failure()

    def _fall_back(self, path: Path, state: Mapping[str, Any]) -> None:
        """Let torch pickle the state here and now; the rest is as ever."""
        self.fallbacks += 1
        archive = io.BytesIO()
        torch.save(state, archive)
        job = _Job(path, self._image(), None, archive.getbuffer())
        if self._background:
            self._pipeline.submit(job)
        else:
            self._write_now(job)
