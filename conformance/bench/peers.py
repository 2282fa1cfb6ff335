"""What a trainer's saves are timed beside: torch's own, safetensors, and bare writes. Needs torch.

The states are an MLP's with Adam's moments: 38 tensors, of equal sizes save the smallest ones.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import shutil
import threading
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from conformance.bench.ways import BUFFERED, DURABLE, LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_PAGE = 4096
_WEIGHTS = 6


def state_of(size: int) -> dict[str, Any]:
    """Return a training state whose tensors hold about `size` bytes."""
    count = max(size // (4 * 3 * _WEIGHTS), 1)
    names = [
        f"actor_mlp.{layer}.{kind}" for layer in range(_WEIGHTS) for kind in ("weight", "bias")
    ]
    model = {name: torch.randn(count if name.endswith("weight") else 8) for name in names}
    moments = {
        index: {
            "step": torch.tensor(7.0),
            "exp_avg": torch.randn_like(weight),
            "exp_avg_sq": torch.rand_like(weight),
        }
        for index, weight in enumerate(model.values())
    }
    group = {"lr": 3e-4, "betas": (0.9, 0.999), "eps": 1e-8, "params": list(moments)}
    optimizer = {"state": moments, "param_groups": [group]}
    return {
        "model": model,
        "optimizer": optimizer,
        "epoch": 7,
        "frame": 7 * 8192,
        "last_mean_rewards": 485.3,
    }


def _tensors(value: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{path}.{key}" if path else str(key))


@contextlib.contextmanager
def _durably(path: Path) -> Iterator[Path]:
    """Yield a temporary file's path; force what was written there to the disk, and rename it."""
    temporary = path.with_suffix(".tmp")
    yield temporary
    force(temporary)
    temporary.replace(path)
    force(path.parent)


def force(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _torch_plain(state: Mapping[str, Any], path: Path) -> None:
    torch.save(state, path)


def _torch_durable(state: Mapping[str, Any], path: Path) -> None:
    with _durably(path) as temporary:
        torch.save(state, temporary)


def _torch_without_crc(state: Mapping[str, Any], path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        _torch_durable(state, path)
    finally:
        torch.serialization.set_crc32_options(before)


class _TorchThread:
    """`torch.save` of a clone, in a thread: what many trainers do."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        clone = _cloned(state)
        self._thread = threading.Thread(target=_torch_durable, args=(clone, path))
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()


def _cloned(value: Any) -> Any:  # noqa: ANN401 - a state is anything
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return value


class _Dcp:
    """`torch.distributed.checkpoint.async_save`, into a folder."""

    def __init__(self) -> None:
        # Slow to import, and it does not export what it documents.
        self._async_save = import_module("torch.distributed.checkpoint").async_save
        self._future: Any = None
        self._folder: Path | None = None

    def save(self, state: Mapping[str, Any], path: Path) -> None:
        self._folder = path.with_suffix(".dcp")
        flat = dict(_tensors(dict(state)))
        self._future = self._async_save(flat, checkpoint_id=os.fspath(self._folder))

    def wait(self) -> None:
        if self._future is not None and self._folder is not None:
            self._future.result()
            shutil.rmtree(self._folder)
            self._future = None


def _safetensors() -> Callable[[Mapping[str, Any], Path], None]:
    import safetensors.torch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - optional

    def save(state: Mapping[str, Any], path: Path) -> None:
        with _durably(path) as temporary:
            safetensors.torch.save_file(dict(_tensors(dict(state))), temporary)

    return save


class _Raw:
    """A bare write of as many bytes as the file of `torch.save` has, from memory that is there."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, -(-size // _PAGE) * _PAGE)
        torch.frombuffer(self._memory, dtype=torch.uint8).random_()
        self._bytes = memoryview(self._memory)

    def direct(self, _state: Mapping[str, Any], path: Path) -> None:
        self._write(path, os.O_DIRECT)

    def buffered(self, _state: Mapping[str, Any], path: Path) -> None:
        self._write(path, 0)

    def _write(self, path: Path, flags: int) -> None:
        temporary = path.with_suffix(".tmp")
        flags |= os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(temporary, flags, 0o666)
        try:
            written = 0
            while written < len(self._bytes):
                written += os.write(descriptor, self._bytes[written:])
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        force(path.parent)


@dataclass
class Peers:
    """The ways to save one state: name, save, wait; and what goes with it."""

    ways: list[tuple[Any, ...]]
    file_bytes: int
    unavailable: tuple[str, ...]
    copy_seconds: Callable[[], float]
    step: Callable[[], None]


@contextlib.contextmanager
def opened(state: Mapping[str, Any], here: Path) -> Iterator[Peers]:
    """Yield the ways to save `state` into the folder `here`."""
    archive = io.BytesIO()
    torch.save(state, archive)
    size = archive.tell()
    del archive
    raw = _Raw(size)
    ways: list[tuple[Any, ...]] = [(BUFFERED, raw.buffered), (DURABLE, _torch_durable)]
    unavailable: list[str] = []
    try:
        raw.direct(state, here / "probe.pth")
        ways.insert(0, (LIMIT, raw.direct))
    except (OSError, AttributeError):
        unavailable.append(f"{LIMIT}: not on this disk")
    ways += [("torch.save, plain", _torch_plain), ("torch.save, no CRC", _torch_without_crc)]
    thread = _TorchThread()
    ways.append(("torch.save in a thread", thread.save, thread.wait))
    try:
        ways.append(("safetensors, durable", _safetensors()))
    except ModuleNotFoundError:
        unavailable.append("safetensors: not installed")
    dcp = _Dcp()
    ways.append(("DCP async_save", dcp.save, dcp.wait))
    copy = _cloned(dict(state))
    pairs = list(zip((t for _, t in _tensors(copy)), (t for _, t in _tensors(state)), strict=True))

    def copy_seconds() -> float:
        began = time.perf_counter()
        for target, source in pairs:
            target.copy_(source)
        return time.perf_counter() - began

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DCP: that there are no other ranks, in whatever thread
        yield Peers(ways, size, tuple(unavailable), copy_seconds, _training_step())


def _training_step() -> Callable[[], None]:
    """Return a training step of a small network, of about a millisecond."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ELU(), torch.nn.Linear(256, 8))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batches = itertools.cycle(torch.randn(4, 512, 64))

    def step() -> None:
        optimizer.zero_grad()
        model(next(batches)).square().mean().backward()
        optimizer.step()

    return step
