"""The saver: takes a snapshot of a state at once, and writes it durably behind the training loop.

A snapshot is copied into an image of the file. One thread writes, file after file in the order of
the calls; of a large one, another thread takes the check sums of what is written next.
"""

import io
import os
import threading
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from .disk import write_file
from .image import Image
from .pickling import UnplannedError
from .plan import Plan, plan

_NOTHING = memoryview(b"")
_DICTS = (dict, OrderedDict)
IMAGES = 2  # one is written while the next is taken; a third save waits


class SaverError(Exception):
    """The saver was used wrongly: once closed, in a fork, or on a state that changed meanwhile."""


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    """Return how often each tensor was written to in place, where torch counts that."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]  # noqa: SLF001


def _first_tensor(state: Mapping[str, Any]) -> Tensor | None:
    """Return the tensor that stands first: a weight, which each optimizer step changes."""
    value: Any = state
    while type(value) in _DICTS and value:
        value = next(iter(value.values()))
    return value if type(value) is Tensor and not value.is_inference() else None


def _devices(tensors: Sequence[Tensor]) -> set[torch.device]:
    """Return the GPUs that the tensors stand on."""
    return {tensor.device for tensor in tensors if tensor.is_cuda}


class _Transfer:
    """Copies from GPUs, ordered behind what they were doing, on a stream of its own on each.

    Nothing here waits on the host but `wait`, which the saver's thread calls.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._events: list[tuple[torch.device, torch.cuda.Event]] = []

    def start(self, image: Image, steps: int, tensors: Sequence[Tensor]) -> None:
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


class _Layouts:
    """The layout of the states so far, which the next one fits or not.

    Attributes:
        plan: the last one; None before the first.
        plans: how many there were.
        fallbacks: states that were left to `torch.save`.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.plans = 0
        self.fallbacks = 0
        self._lock = threading.Lock()  # the caller lays states out, and so does the background

    def fit(self, state: Mapping[str, Any]) -> tuple[Plan, list[Tensor], list[Any]] | None:
        """Return the plan that the state fits, its tensors and its numbers.

        Returns:
            None if the state is to be left to `torch.save`.

        Raises:
            SaverError: the state changes meanwhile.
        """
        with self._lock:
            fitted = None if self.plan is None else self.plan.fit(state)
            if fitted is None:
                if not self._lay_out(state):
                    self.fallbacks += 1
                    return None
                fitted = None if self.plan is None else self.plan.fit(state)
            if fitted is None or self.plan is None:
                raise SaverError("the state was changed by another thread")
            return self.plan, *fitted

    def prepare(self, state: Mapping[str, Any]) -> Plan | None:
        """Return the plan of a state; None if it is to be left to `torch.save`."""
        with self._lock:
            return self.plan if self._lay_out(state) else None

    def _lay_out(self, state: Mapping[str, Any]) -> bool:
        try:
            self.plan = plan(state)
        except UnplannedError:
            return False
        self.plans += 1
        return True


class _SharedCopy:
    """A copy made by two threads, for one alone does not use all of the memory's bandwidth.

    Each takes the next step that nobody copies yet, so that the second may come late or never.
    """

    def __init__(self, image: Image, tensors: Sequence[Tensor], steps: int) -> None:
        self._image = image
        self._tensors = tensors
        self._steps = deque(range(steps))
        self._helping = threading.Lock()
        self._failure: BaseException | None = None

    def make(self) -> None:
        """Copy, and wait until the other thread copies no more; raise what either met with."""
        try:
            self._copy()
        finally:
            self._steps.clear()
            with self._helping:
                pass
        if self._failure is not None:
            raise self._failure

    def help(self) -> None:
        """Copy in the other thread; never raises, but `make` does."""
        with self._helping:
            try:
                self._copy()
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                self._failure = error

    def _copy(self) -> None:
        while True:
            try:
                step = self._steps.popleft()
            except IndexError:  # there are no more
                return
            self._image.copy(self._tensors, step)


@dataclass(eq=False)
class _Job:
    """One file on its way to the disk.

    Attributes:
        image: what it is copied into.
        state: what is still to be laid out.
        plan: None where `torch.save` pickled the state.
        content: the file's.
        tensors: what is still to be copied.
        copying: held until that is done; None where nothing was left to the background.
        watched: a tensor whose version was `version` when the snapshot was ordered.
        events: what the GPUs signal once their copies are made.
        failure: why there is no content.
        ready: up to which byte the content is complete, rising; then None or what went wrong.
        begun: all but the tensors is laid out, and somebody fills the image.
        unwritten: held until the file is written, or was given up.
    """

    path: Path
    image: Image
    state: Mapping[str, Any] | None = field(default=None, init=False)
    plan: Plan | None = field(default=None, init=False)
    content: memoryview = field(default=_NOTHING, init=False)
    tensors: Sequence[Tensor] = field(default=(), init=False)
    copying: "threading.Lock | None" = field(default=None, init=False)  # no type before 3.13
    watched: Tensor | None = field(default=None, init=False)
    version: int = field(default=0, init=False)
    events: Sequence[torch.cuda.Event] = field(default=(), init=False)
    failure: BaseException | None = field(default=None, init=False)
    ready: "SimpleQueue[int | BaseException | None]" = field(
        default_factory=SimpleQueue, init=False
    )
    sealed: bool = field(default=False, init=False)  # all that comes through `ready` has come
    begun: bool = field(default=False, init=False)
    unwritten: "threading.Lock" = field(default_factory=threading.Lock, init=False)

    def leave(self, state: Mapping[str, Any]) -> None:
        """Leave the copying to the background, until which the caller changes no tensor."""
        self.watched = first = _first_tensor(state)
        if first is not None:
            self.version = first._version  # noqa: SLF001
        self.copying = threading.Lock()
        self.copying.acquire()

    def lay_out(self, layouts: _Layouts, state: Mapping[str, Any]) -> None:
        """Let the image be this file, with all but its tensors; or have torch pickle the state.

        Raises:
            SaverError: the state changes meanwhile.
            Exception: whatever `torch.save` raises.
        """
        try:
            fitted = layouts.fit(state)
        except SaverError as error:
            raise SaverError(f"{self.path}: {error}") from None
        if fitted is None:
            archive = io.BytesIO()
            torch.save(state, archive)
            self.content = archive.getbuffer()
            return
        layout, tensors, numbers = fitted
        self.image.hold(layout)
        self.image.write_numbers(numbers)
        self.plan, self.content, self.tensors = layout, self.image.content, tensors

    def begin(self, layouts: _Layouts) -> None:
        """Lay out what was left to the background; never raises, but `fill` says so."""
        if self.state is not None:
            try:
                self.lay_out(layouts, self.state)
            except BaseException as error:  # noqa: BLE001  # the thread that writes raises it again
                self.failure = error
            self.state = None
        self.begun = True

    @property
    def is_long(self) -> bool:
        """Whether some of it can be written while the rest is still filled."""
        return self.plan is not None and len(self.plan.steps) > 1

    def copy(self) -> None:
        """Take the part of the snapshot that was left to the background.

        Raises:
            SaverError: the state changed meanwhile.
        """
        if self.failure is not None:
            raise self.failure
        for event in self.events:
            event.synchronize()
        if self.copying is None or self.events:
            return
        for device in _devices(self.tensors):  # of a state that was on the CPU the time before
            torch.cuda.synchronize(device)
        versions = _versions(self.tensors)
        for step in range(len(self.plan.steps if self.plan else ())):
            self.image.copy(self.tensors, step)
        first = self.watched
        if _versions(self.tensors) != versions or (
            first is not None and first._version != self.version  # noqa: SLF001
        ):
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
            total = self.image.seal(number, total)
            self.ready.put(step.end)

    def fill(self, *, copying: bool = False) -> None:
        """Copy what is to be copied and seal it; never raises, but says so in `ready`."""
        outcome: BaseException | None = None
        try:
            try:
                self.copy()
            finally:
                if self.copying is not None:
                    self.copying.release()
            self.seal(copying=copying)
        except BaseException as error:  # noqa: BLE001  # the thread that writes raises it again
            outcome = error
        self.tensors, self.watched = (), None  # they may go
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

    One alone writes. It fills the image, too, where that is too little to be shared: to hand it on
    would take longer. All else is filled by the other one: long files, while they are written, and
    those that come while an earlier one is still written.

    They know the pipeline and not the saver, so that a saver which is forgotten goes away.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.closed = False
        self.layouts = _Layouts()
        self.free: SimpleQueue[Image] = SimpleQueue()
        for _ in range(IMAGES):
            self.free.put(Image())
        self.failure: BaseException | None = None
        self.given_up = 0  # saves behind one that failed
        self._last: _Job | None = None
        self._fills: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._writes: SimpleQueue[_Job | None] = SimpleQueue()
        self.started = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, once."""
        if not self.started:
            self.started = True
            for work in (self._fill_all, self._write_all):
                # The end of the process waits for them through `finish`, not by joining.
                thread = threading.Thread(target=work, name="saver", daemon=True)
                thread.start()
                self._threads.append(thread)

    def submit(self, job: _Job) -> None:
        """Let the threads do everything about `job`."""
        idle = self._last is None or not self._last.unwritten.locked()
        self._last = job
        if idle:
            self._writes.put(job)
        else:
            self._fills.put(partial(self._begin, job))

    def submit_write(self, job: _Job) -> None:
        """Let the thread that writes do so, while the caller fills the image."""
        self.start()
        self._last, job.begun = job, True
        self._writes.put(job)

    def wait(self) -> None:
        """Wait until everything submitted is written, or was given up."""
        if self._last is not None:
            with self._last.unwritten:
                pass

    def finish(self) -> None:
        """Wait, and end the threads. A fork's copy of the pipeline has none."""
        if self._threads and os.getpid() == self.process:
            self.wait()
            for queue in (self._fills, self._writes):
                queue.put(None)
            for thread in self._threads:
                thread.join()
            self._threads = []

    def help(self, task: Callable[[], None]) -> None:
        """Let the thread that fills do something that never raises, as soon as it can."""
        self._fills.put(task)

    def _begin(self, job: _Job) -> None:
        job.begin(self.layouts)
        self._writes.put(job)
        job.fill()

    def _fill_all(self) -> None:
        while (task := self._fills.get()) is not None:
            task()
            del task  # its tensors may go

    def _write_all(self) -> None:
        while (job := self._writes.get()) is not None:
            if not job.begun:
                job.begin(self.layouts)
                if job.is_long:
                    self._fills.put(job.fill)
                else:
                    job.fill()
            self.write(job)
            del job  # its image may go

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
            job.content = _NOTHING  # what torch pickled may go
            self.free.put(job.image)
            job.unwritten.release()


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

    """

    def __init__(self, *, background: bool = True) -> None:
        self._background = background
        self._pipeline = _Pipeline()
        self._transfer = _Transfer()
        self._copying: deque[_Job] = deque(maxlen=IMAGES)  # those before are written
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
            overlap: do everything in the background: the caller calls `before_update` before it
                changes the tensors, or the dicts and lists within `state`, in place.

        Raises:
            OSError: this save failed (if not in the background), or an earlier one did.
            SaverError: the saver is closed, or belongs to the process that forked this one.
        """
        pipeline = self._pipeline
        if pipeline.closed or os.getpid() != pipeline.process:
            self._check_usable()
        if self._background and not pipeline.started:
            pipeline.start()
        image = pipeline.free.get()
        try:
            if pipeline.failure is not None:
                self.check()
            job = _Job(path if isinstance(path, Path) else Path(os.fsdecode(path)), image)
            job.unwritten.acquire()
            self._take(job, state, overlap=overlap and self._background)
        except BaseException:
            pipeline.free.put(image)
            raise
        if self._background:
            pipeline.submit(job)
        else:
            self._write_now(job)

    def prepare(self, state: Mapping[str, Any]) -> None:
        """Make room for states such as this one, so that the first saves are as fast as any.

        Raises:
            OSError: an earlier save failed.
            SaverError: as in `save`.
        """
        self.wait()
        layout = self._pipeline.layouts.prepare(state)
        if layout is None:
            return
        for _ in range(IMAGES):
            image = self._pipeline.free.get()
            try:
                image.hold(layout)
            finally:
                self._pipeline.free.put(image)
        if self._background:
            self._pipeline.start()

    @property
    def fallbacks(self) -> int:
        """How many saves were left to `torch.save`."""
        return self._pipeline.layouts.fallbacks

    @property
    def plans(self) -> int:
        """How often a structure was laid out: once for each that differs from the one before."""
        return self._pipeline.layouts.plans

    @property
    def snapshot_done(self) -> bool:
        """Whether the tensors of the last save are copied, and may be changed."""
        return not any(job.copying and job.copying.locked() for job in self._copying)

    def before_update(self) -> None:
        """Wait until the tensors of the last save are copied; on a GPU, let the device wait.

        Does not raise what went wrong with a save: that waits for the next of the other calls.
        """
        for job in self._copying:
            if job.events:
                self._transfer.order_behind()
            elif job.copying is not None:
                with job.copying:
                    pass
        self._copying.clear()

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
        self._pipeline.closed = True
        self._pipeline.finish()
        self._raise_failure()

    def _check_usable(self) -> None:
        if os.getpid() != self._pipeline.process:
            raise SaverError(
                "this saver belongs to the process that forked this one: make another one here"
            )
        if self._pipeline.closed:
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

    def _take(self, job: _Job, state: Mapping[str, Any], *, overlap: bool) -> None:
        """Take a snapshot, or as much of it as cannot be left to the background."""
        layouts = self._pipeline.layouts
        known = layouts.plan
        if overlap and known is not None and not known.on_gpu:
            # The caller may well reuse the dict, but not what is in it.
            job.state = state.copy() if type(state) is dict else state
            job.leave(state)
            self._copying.append(job)
            return
        job.lay_out(layouts, state)
        if job.plan is None:
            return
        if job.plan.on_gpu:
            self._transfer.start(job.image, len(job.plan.steps), job.tensors)
            job.events = self._transfer.take()
            if not overlap and self._background:
                self._transfer.order_behind()
        elif self._background and not overlap:
            if job.is_long and torch.get_num_threads() == 1:
                shared = _SharedCopy(job.image, job.tensors, len(job.plan.steps))
                self._pipeline.help(shared.help)
                shared.make()
            else:
                for step in range(len(job.plan.steps)):
                    job.image.copy(job.tensors, step)
        if overlap:
            job.leave(state)
            self._copying.append(job)

    def _write_now(self, job: _Job) -> None:
        if job.is_long:
            self._pipeline.submit_write(job)
        job.fill(copying=not job.events)
        if job.is_long:
            self._pipeline.wait()
        else:
            self._pipeline.write(job)
        self._raise_failure()
