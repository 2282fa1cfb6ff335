"""The background saver: its files byte by byte, their order, its errors, its memory, its end."""

import errno
import gc
import io
import math
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.evidence.checkpoint import read_checkpoint
from reference_trainer.async_saver import Saver, SaverError, archive, disk, image, plan
from reference_trainer.async_saver import saver as saver_module
from reference_trainer.async_saver.plan import plan as plan_of

NAN = math.nan


def small(value: float = 1.0, epoch: int = 1) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), value)}, "epoch": epoch, "watermark": value}


def load(path: Path, **options: Any) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, **options)


def same(one: Any, other: Any) -> bool:
    """Tell whether two loaded states are equal, to the bit and to the type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and raw(one) == raw(other)
    if isinstance(one, dict):
        inside = list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        return inside and same(vars(one), vars(other)) if isinstance(one, OrderedDict) else inside
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)  # noqa: PLR0124  # NaN


def raw(tensor: torch.Tensor) -> bytes:
    whole = torch.empty(tensor.numel(), dtype=tensor.dtype)
    whole.view(tensor.shape).copy_(tensor)
    return bytes(whole.view(torch.uint8).tolist()) if whole.numel() else b""


def by_torch(state: Any, path: Path) -> Any:
    torch.save(state, path)
    return load(path)


def is_whole(path: Path) -> bool:
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
    checkpoint = read_checkpoint(path)
    assert checkpoint.faults == ()
    return True


def save_and_wait(saver: Saver, path: Path, state: Any) -> None:
    saver.save(path, state)
    saver.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=[True, False], ids=["background", "at once"])
def saver(request: pytest.FixtureRequest) -> Iterator[Saver]:
    with Saver(background=request.param) as opened:
        yield opened


# --- the files ---


def test_a_file_is_whole_and_loads_with_and_without_mmap(saver: Saver, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for epoch in (1, 300, 70_000):
        state = small(0.5 * epoch, epoch)
        saver.save(path, state)
        saver.wait()
        assert same(load(path), state)
        assert same(load(path, mmap=True), state)
        assert is_whole(path)
    assert (saver.plans, saver.fallbacks) == (1, 0)
    assert path.stat().st_size % archive.PAGE == 0
    assert names(tmp_path) == ["a.pth"]


@pytest.mark.as_locked
def test_the_archive_is_the_one_that_torch_writes(tmp_path: Path) -> None:
    """Same names, flags, alignment and data, record by record; torch adds three of its own."""
    state = {"w": torch.arange(5.0), "b": torch.ones(3, dtype=torch.bfloat16), "n": 3}
    with Saver(background=False) as saver:
        saver.save(tmp_path / "archive.pth", state)
    torch.save(state, tmp_path / "archive")
    records = {}
    for name in ("archive.pth", "archive"):
        with zipfile.ZipFile(tmp_path / name) as opened:
            records[name] = {
                item.filename: (item.flag_bits, item.CRC, item.file_size)
                for item in opened.infolist()
                if not item.filename.endswith("data.pkl")
            }
            for item in opened.infolist():
                opened.fp.seek(item.header_offset + 26)  # type: ignore[union-attr]
                lengths = opened.fp.read(4)  # type: ignore[union-attr]
                begin = item.header_offset + 30 + sum(lengths[::2]) + 256 * sum(lengths[1::2])
                assert begin % archive.ALIGNMENT == 0 or item.filename.endswith("version")
    own, torchs = records["archive.pth"], records["archive"]
    assert own.items() <= torchs.items()
    assert set(torchs) - set(own) == {
        "archive/.format_version",
        "archive/.storage_alignment",
        "archive/.data/serialization_id",
    }


def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
    optimizer = torch.optim.Adam(
        [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.5}]
    )
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_state_dicts_as_they_are_come_back_with_their_metadata(
    saver: Saver, tmp_path: Path
) -> None:
    model, optimizer = model_and_optimizer()
    for learning_rate in (0.25, 0.125):
        optimizer.param_groups[0]["lr"] = learning_rate
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        saver.save(tmp_path / "a.pth", state)
        saver.wait()
        loaded = load(tmp_path / "a.pth")
        assert same(loaded, by_torch(state, tmp_path / "b.pth"))
        assert loaded["model"]._metadata == model.state_dict()._metadata  # type: ignore[attr-defined]
        optimizer.load_state_dict(loaded["optimizer"])
    assert (saver.plans, saver.fallbacks) == (1, 0)


BASE = torch.arange(24.0).reshape(4, 6)
HALF = torch.arange(10.0)
TENSORS: dict[str, Callable[[], Any]] = {
    "a scalar": lambda: torch.tensor(2.5),
    "empty": lambda: torch.empty(0),
    "empty with room": lambda: torch.empty(8)[:0],
    "several empty": lambda: [torch.empty(0), torch.empty(0, 3, dtype=torch.int64)],
    "transposed": BASE.t,
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "a view of little": lambda: torch.arange(100_000.0)[5:8],
    "every other": lambda: HALF[::2],
    "two views of one": lambda: [BASE[0], BASE[1:, ::2]],
    "tied": lambda: [HALF, HALF],
    "expanded": lambda: torch.ones(1).expand(1000),
    "expanded twice": lambda: [torch.ones(2, 1).expand(2, 50)] * 2,
    "conjugated": lambda: torch.randn(3, dtype=torch.complex64).conj(),
    "negated": lambda: torch.randn(3, dtype=torch.complex64).conj().imag,
    "not a number": lambda: torch.tensor([NAN, math.inf, -0.0]),
    "a flag": lambda: [True, False, None, "text \ud800 \u2713", -(2**40), 2**31, 1.5, ()],
    "nested": lambda: {1: [{"a": ((),)}], -7: OrderedDict(b=[]), "": {}},
    **{str(kind): lambda kind=kind: torch.ones(3).to(kind) for kind in plan.STORAGE_TYPES},
}


@pytest.mark.parametrize("kind", TENSORS)
def test_what_is_laid_out_here_loads_as_from_torch(saver: Saver, tmp_path: Path, kind: str) -> None:
    state = {"x": TENSORS[kind](), "y": torch.arange(3)}
    saver.save(tmp_path / "a.pth", state)
    saver.wait()
    assert same(load(tmp_path / "a.pth"), by_torch(state, tmp_path / "b.pth"))
    assert same(load(tmp_path / "a.pth", mmap=True), load(tmp_path / "b.pth"))
    assert is_whole(tmp_path / "a.pth")
    assert saver.fallbacks == 0


def shared_list() -> list[Any]:
    one: list[Any] = [1]
    return [one, one]


def with_attribute() -> torch.Tensor:
    tensor = torch.ones(2)
    tensor.note = "kept"  # type: ignore[attr-defined]
    return tensor


LEFT_TO_TORCH: dict[str, Callable[[], Any]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "a parameter": lambda: torch.nn.Parameter(torch.ones(2)),
    "requires gradients": lambda: torch.ones(2, requires_grad=True),
    "float8": lambda: torch.ones(3).to(torch.float8_e5m2),
    "uint16": lambda: torch.ones(3, dtype=torch.uint16),
    "a conjugate beside its own": lambda: [
        value := torch.randn(3, dtype=torch.complex64),
        value.conj(),
    ],
    "a set": lambda: {1, 2},
    "bytes": lambda: b"bytes",
    "a large int": lambda: 2**64,
    "a size": lambda: torch.Size([1, 2]),
    "a list in two places": shared_list,
    "a key of another type": lambda: {(1, 2): 3},
    "an attribute": with_attribute,
}


@pytest.mark.filterwarnings("ignore:.*quantiz.*:UserWarning", "ignore:TypedStorage:UserWarning")
@pytest.mark.parametrize("kind", LEFT_TO_TORCH)
def test_anything_else_is_left_to_torch_and_counted(
    saver: Saver, tmp_path: Path, kind: str
) -> None:
    state = {"x": LEFT_TO_TORCH[kind]()}
    saver.save(tmp_path / "a.pth", state)
    saver.wait()
    assert saver.fallbacks == 1
    loaded, expected = (
        torch.load(path, weights_only=False)["x"]
        for path in (tmp_path / "a.pth", _saved(state, tmp_path / "b.pth"))
    )
    assert str(loaded) == str(expected)
    with zipfile.ZipFile(tmp_path / "a.pth") as opened:
        assert opened.testzip() is None


def _saved(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["model"].update(v=torch.ones(1)),
        lambda state: state["model"].update(w=torch.ones(4)),
        lambda state: state["model"].update(w=torch.ones(3, dtype=torch.float64)),
        lambda state: state["model"].update(w="text"),
        lambda state: state.update(epoch=2**31),
        lambda state: state.update(epoch=1.0),
        lambda state: state.update(epoch=True),
        lambda state: state.update(epoch=None),
        lambda state: state.update(watermark=[1.0]),
        lambda state: state.update({True: state.pop("watermark")}),
        lambda state: state.update(model=OrderedDict(state["model"])),
    ],
)
def test_a_change_of_structure_is_laid_out_anew(
    saver: Saver, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path, state = tmp_path / "a.pth", small()
    saver.save(path, state)
    change(state)
    saver.save(path, state)
    saver.wait()
    assert same(load(path), by_torch(state, tmp_path / "b.pth"))
    assert is_whole(path)
    assert saver.plans + saver.fallbacks == 2


def test_keys_that_are_equal_but_of_two_types_are_told_apart(saver: Saver, tmp_path: Path) -> None:
    for key in (1, True):
        saver.save(tmp_path / "a.pth", {key: torch.ones(1)})
        saver.wait()
        (loaded,) = load(tmp_path / "a.pth")
        assert type(loaded) is type(key)


@pytest.mark.parametrize("first", [True, False])
def test_tensors_that_begin_or_cease_to_share_memory_are_seen(
    saver: Saver, tmp_path: Path, first: bool
) -> None:
    def state(shared: bool) -> dict[str, torch.Tensor]:
        memory = torch.arange(12.0)
        return {"a": memory[:6], "b": memory[6:] if shared else torch.arange(6.0) + 50}

    for shared in (first, not first):
        saver.save(tmp_path / "a.pth", state(shared))
        saver.wait()
        loaded = load(tmp_path / "a.pth")
        assert same(loaded, state(shared))
        one, other = (tensor.untyped_storage().data_ptr() for tensor in loaded.values())
        assert (one == other) is shared


def test_a_part_of_a_large_tensor_brings_no_more_than_itself(saver: Saver, tmp_path: Path) -> None:
    saver.save(tmp_path / "a.pth", {"x": torch.ones(1_000_000)[7:10]})
    saver.wait()
    assert (tmp_path / "a.pth").stat().st_size == archive.PAGE


def test_large_tensors_are_cut_into_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver
) -> None:
    monkeypatch.setattr(plan, "STEP_BYTES", 3 * archive.PAGE)
    monkeypatch.setattr(plan, "STEP_RECORDS", 4)
    wide = torch.randn(50, 300)
    state = {
        "large": torch.randn(20_000),
        "transposed": torch.randn(100, 70).t(),
        "part": wide[:, :200],
        "shared": [wide[3], wide],
        "small": [torch.randn(5) for _ in range(20)],
        "doubles": torch.randn(5_000, dtype=torch.float64),
    }
    assert len(plan_of(state).steps) > 10
    for _ in range(2):
        state["large"].add_(1)
        saver.save(tmp_path / "a.pth", state)
        saver.wait()
        assert same(load(tmp_path / "a.pth"), by_torch(state, tmp_path / "b.pth"))
        assert is_whole(tmp_path / "a.pth")
    assert (saver.plans, saver.fallbacks) == (1, 0)


def test_a_large_tensor_that_lies_otherwise_in_memory_is_laid_out_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver
) -> None:
    monkeypatch.setattr(plan, "STEP_BYTES", archive.PAGE)
    square = torch.randn(100, 100)
    for tensor in (square, square.t(), torch.randn(101, 100)[1:]):
        saver.save(tmp_path / "a.pth", {"x": tensor})
        saver.wait()
        assert same(load(tmp_path / "a.pth"), {"x": tensor})
    assert saver.plans == 3


def test_files_too_large_for_32_bits_have_64(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the limit lowered, for want of room: some records wide, some not."""
    monkeypatch.setattr(archive, "ZIP64_FROM", 1000)
    state = {"a": torch.arange(3.0), "b": torch.randn(400), "c": torch.arange(4)}
    layout = plan_of(state)
    directory = b"".join(content for _, content in layout.constants)
    assert directory.count(b"\xff\xff\xff\xff") >= 3
    with Saver(background=False) as saver:
        saver.save(tmp_path / "a.pth", state)
    with zipfile.ZipFile(tmp_path / "a.pth") as opened:
        assert opened.testzip() is None
    assert same(load(tmp_path / "a.pth"), state)
    assert same(load(tmp_path / "a.pth", mmap=True), state)
    assert read_checkpoint(tmp_path / "a.pth").faults == ()


def test_check_sums_are_the_same_with_and_without_isal() -> None:
    content = memoryview(os.urandom(100_000))
    assert image.crc32(content, 5) == zlib.crc32(content, 5)  # type: ignore[arg-type]


# --- any state ---

dtypes = st.sampled_from(list(plan.STORAGE_TYPES))


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.randint(0, 2, [size + draw(st.integers(0, 1)) for size in shape])
    tensor = values.to(draw(dtypes))[tuple(slice(0, size) for size in shape)]
    if draw(st.booleans()) and len(shape) > 1:
        tensor = tensor.transpose(0, len(shape) - 1)
    return tensor


leaves = (
    tensors()
    | st.booleans()
    | st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
)
states = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.text(max_size=3) | st.integers(0, 300), inner, max_size=3)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(states, min_size=1, max_size=3))
def test_any_state_comes_back_through_one_saver(tmp_path: Path, several: list[Any]) -> None:
    with Saver(background=False) as saver:
        for state in [*several, several[0]]:
            saver.save(tmp_path / "a.pth", state)
            assert is_whole(tmp_path / "a.pth")
            assert same(load(tmp_path / "a.pth"), by_torch(state, tmp_path / "b.pth"))
        assert saver.fallbacks == 0


# --- in the background ---


class Gate:
    """Stands before the disk: files pass when they are let, in the order in which they came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed: list[str] = []
        self.arrived = threading.Semaphore(0)
        self._let = threading.Semaphore(0)
        self.failing: dict[str, Exception] = {}
        write = disk.write_file

        def gated(path: Path, *arguments: Any, **options: Any) -> None:
            self.arrived.release()
            self._let.acquire()
            if path.name in self.failing:
                raise self.failing[path.name]
            write(path, *arguments, **options)
            self.passed.append(path.name)

        monkeypatch.setattr(saver_module, "write_file", gated)

    def let(self, count: int) -> None:
        """Let so many files pass, now or when they come."""
        self._let.release(count)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", str(path))


def test_save_returns_before_the_file_is_written(gate: Gate, tmp_path: Path) -> None:
    state = small(1.0)
    with Saver() as saver:
        saver.save(tmp_path / "a.pth", state)
        assert gate.arrived.acquire(timeout=300)
        state["model"]["w"].zero_()  # the snapshot is taken
        assert names(tmp_path) == []
        gate.let(1)
        saver.wait()
        assert load(tmp_path / "a.pth")["model"]["w"].tolist() == [1.0] * 3


def test_files_are_written_in_order_and_a_third_save_waits(gate: Gate, tmp_path: Path) -> None:
    with Saver() as saver:
        saver.save(tmp_path / "0.pth", small(0))
        saver.save(tmp_path / "1.pth", small(1))
        third = threading.Thread(target=saver.save, args=(tmp_path / "2.pth", small(2)))
        third.start()
        assert gate.arrived.acquire(timeout=300)
        third.join(0.05)
        assert third.is_alive(), "two snapshots are all there is room for"
        gate.let(1)
        third.join(30)
        assert gate.passed[:1] == ["0.pth"]
        gate.let(2)
    assert gate.passed == ["0.pth", "1.pth", "2.pth"]
    assert [load(tmp_path / f"{n}.pth")["watermark"] for n in range(3)] == [0, 1, 2]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Have torch copy in the thread that asks, as the reference trainer does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("failing", [None, "caller", "saver"])
def test_a_large_state_is_copied_at_once_by_two_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str | None
) -> None:
    """Each waits for the other's first step; what either meets with is raised by `save`."""
    monkeypatch.setattr(plan, "STEP_BYTES", archive.PAGE)
    both = threading.Barrier(2, timeout=300)
    steps: dict[str, list[int]] = {}
    copy = image.Image.copy

    def together(self: image.Image, tensors: Any, step: int, **options: Any) -> None:
        main = threading.current_thread() is threading.main_thread()
        mine = steps.setdefault("caller" if main else "saver", [])
        mine.append(step)
        if len(mine) == 1:
            both.wait()
            if failing == ("caller" if main else "saver"):
                raise MemoryError(failing)
        copy(self, tensors, step, **options)

    state = {"a": torch.randn(20_000), "b": torch.randn(3_000)}
    with Saver() as saver:
        saver.prepare(state)
        with monkeypatch.context() as patch:
            patch.setattr(image.Image, "copy", together)
            if failing:
                with pytest.raises(MemoryError, match=failing):
                    saver.save(tmp_path / "a.pth", state)
            else:
                saver.save(tmp_path / "a.pth", state)
        if failing is None:
            total = len(saver._pipeline.layouts.plan.steps)  # type: ignore[union-attr]
            assert sorted(steps["caller"] + steps["saver"]) == list(range(total))
        saver.save(tmp_path / "b.pth", state)
    assert names(tmp_path) == (["b.pth"] if failing else ["a.pth", "b.pth"])
    for name in names(tmp_path):
        assert same(load(tmp_path / name), state)


@pytest.mark.usefixtures("one_thread")
def test_save_waits_for_the_thread_that_helps_it_to_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan, "STEP_BYTES", archive.PAGE)
    helping, let = threading.Event(), threading.Event()
    copy = image.Image.copy

    def slow(*arguments: Any) -> None:
        if threading.current_thread().name == "saver":
            helping.set()
            let.wait()
        else:
            helping.wait(30)
        copy(*arguments)

    state = {"a": torch.randn(20_000)}
    with Saver() as saver:
        saver.prepare(state)
        monkeypatch.setattr(image.Image, "copy", slow)
        caller = threading.Thread(target=saver.save, args=(tmp_path / "a.pth", state))
        caller.start()
        assert helping.wait(30)
        caller.join(0.05)
        assert caller.is_alive()
        let.set()
        caller.join(30)
    assert same(load(tmp_path / "a.pth"), state)


def test_the_newest_of_one_path_is_what_stays(tmp_path: Path) -> None:
    with Saver() as saver:
        for epoch in range(30):
            saver.save(tmp_path / "a.pth", small(epoch, epoch))
    assert same(load(tmp_path / "a.pth"), small(29, 29))
    assert names(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("how", ["save", "wait", "check", "close"])
def test_a_failure_comes_up_at_the_next_call_once(gate: Gate, tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.pth"
    gate.failing["a.pth"] = full(path)
    gate.let(9)
    saver = Saver()
    saver.save(path, small())
    saver._pipeline.wait()
    calls: Mapping[str, Callable[[], None]] = {
        "save": lambda: saver.save(tmp_path / "b.pth", small()),
        "wait": saver.wait,
        "check": saver.check,
        "close": saver.close,
    }
    with pytest.raises(OSError, match="No space left") as caught:
        calls[how]()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    if how != "close":
        saver.save(tmp_path / "c.pth", small())
    saver.close()
    assert names(tmp_path) == ([] if how == "close" else ["c.pth"])


def test_saves_behind_a_failed_one_are_given_up(gate: Gate, tmp_path: Path) -> None:
    """A best checkpoint that was due after a periodic one is not there without it."""
    saver = Saver()
    gate.failing["periodic.pth"] = full(tmp_path / "periodic.pth")
    saver.save(tmp_path / "periodic.pth", small())
    saver.save(tmp_path / "best.pth", small())
    gate.let(2)
    with pytest.raises(OSError, match="No space left on device, and of the saves behind it 1 give"):
        saver.close()
    assert names(tmp_path) == []


def test_a_save_that_waits_for_room_hears_of_the_failure(gate: Gate, tmp_path: Path) -> None:
    saver = Saver()
    gate.failing["0.pth"] = full(tmp_path / "0.pth")
    for number in range(2):
        saver.save(tmp_path / f"{number}.pth", small())
    gate.let(9)
    with pytest.raises(OSError, match="No space left"):
        saver.save(tmp_path / "2.pth", small())
    saver.save(tmp_path / "3.pth", small())
    saver.close()
    assert names(tmp_path) == ["3.pth"]


def test_a_failure_to_save_at_once_is_raised_at_once(tmp_path: Path) -> None:
    with Saver(background=False) as saver:
        with pytest.raises(FileNotFoundError) as caught:
            saver.save(tmp_path / "none" / "a.pth", small())
        assert caught.value.filename == str(tmp_path / "none" / "a.pth")
        saver.save(tmp_path / "a.pth", small())
    assert names(tmp_path) == ["a.pth"]


def test_what_the_background_stumbles_over_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stumble(*_: object) -> int:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(image.Image, "seal", stumble)
    saver = Saver()
    saver.save(tmp_path / "a.pth", small())
    with pytest.raises(ZeroDivisionError, match="a defect"):
        saver.close()
    assert names(tmp_path) == []


# --- behind the rollout ---


class Hold(image.Image):
    """An image whose copies wait until they are let."""

    begun = threading.Event()
    let = threading.Event()

    def copy(self, *arguments: Any, **options: Any) -> None:
        """Wait, then copy."""
        self.begun.set()
        self.let.wait()
        super().copy(*arguments, **options)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> type[Hold]:
    monkeypatch.setattr(Hold, "begun", threading.Event())
    monkeypatch.setattr(Hold, "let", threading.Event())
    monkeypatch.setattr(saver_module, "Image", Hold)
    return Hold


known = pytest.mark.parametrize("known", [True, False], ids=["known structure", "first save"])


def opened(*, known: bool) -> Saver:
    """Return a saver; one that knows the structure leaves laying out to the background too."""
    saver = Saver()
    if known:
        saver.prepare(small())
    return saver


@known
def test_before_update_waits_for_the_copy(hold: type[Hold], tmp_path: Path, known: bool) -> None:
    with opened(known=known) as saver:
        state = small(4.0)
        saver.save(tmp_path / "a.pth", state, overlap=True)
        assert hold.begun.wait(30)
        assert not saver.snapshot_done
        update = threading.Thread(target=saver.before_update)
        update.start()
        update.join(0.05)
        assert update.is_alive()
        hold.let.set()
        update.join(30)
        assert saver.snapshot_done
        state["model"]["w"].zero_()
    assert load(tmp_path / "a.pth")["model"]["w"].tolist() == [4.0] * 3


def test_before_update_waits_for_the_copies_of_two_saves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The best and the periodic file of one epoch: the second is copied while the first is held."""
    let, first, second = threading.Event(), threading.Event(), threading.Event()
    copy = image.Image.copy

    def copied(*arguments: Any) -> None:
        if first.is_set():
            copy(*arguments)
            second.set()
        else:
            first.set()
            let.wait()
            copy(*arguments)

    with opened(known=True) as saver:
        monkeypatch.setattr(image.Image, "copy", copied)
        saver.save(tmp_path / "0.pth", small(0), overlap=True)
        assert first.wait(30)
        saver.save(tmp_path / "1.pth", small(1), overlap=True)
        assert second.wait(30)
        assert not saver.snapshot_done
        update = threading.Thread(target=saver.before_update)
        update.start()
        update.join(0.05)
        assert update.is_alive()
        assert names(tmp_path) == [], "the second is not written before the first"
        let.set()
        update.join(30)
        assert saver.snapshot_done
    assert [load(tmp_path / f"{number}.pth")["watermark"] for number in range(2)] == [0, 1]


@known
def test_a_state_that_changes_while_it_is_copied_is_not_saved(
    hold: type[Hold], tmp_path: Path, known: bool
) -> None:
    saver = opened(known=known)
    state = small(4.0)
    saver.save(tmp_path / "a.pth", state, overlap=True)
    assert hold.begun.wait(30)
    state["model"]["w"].zero_()
    hold.let.set()
    with pytest.raises(SaverError, match=r"a\.pth: the state was changed .* before_update\(\)"):
        saver.close()
    assert names(tmp_path) == []


class Busy(Saver):
    """A saver whose background does nothing until it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.let = threading.Event()
        begin = saver_module._Job.begin

        def late(job: Any, *arguments: Any) -> None:
            self.let.wait()
            begin(job, *arguments)

        monkeypatch.setattr(saver_module._Job, "begin", late)
        self.prepare(small())


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    return Busy(monkeypatch)


def test_a_state_that_changes_before_it_is_copied_is_not_saved(busy: Busy, tmp_path: Path) -> None:
    state = small(4.0)
    busy.save(tmp_path / "a.pth", state, overlap=True)
    state["model"]["w"].zero_()
    busy.let.set()
    with pytest.raises(SaverError, match=r"a\.pth: the state was changed"):
        busy.close()
    assert names(tmp_path) == []


def test_what_the_caller_puts_into_the_dict_next_is_not_saved(busy: Busy, tmp_path: Path) -> None:
    state = small(4.0, epoch=3)
    busy.save(tmp_path / "a.pth", state, overlap=True)
    state["epoch"] = 4
    state["model"] = {"w": torch.zeros(3)}
    busy.let.set()
    busy.close()
    assert same(load(tmp_path / "a.pth"), small(4.0, epoch=3))


def test_a_new_structure_is_laid_out_in_the_background(busy: Busy, tmp_path: Path) -> None:
    state = {"model": {"w": torch.arange(5.0), "b": torch.zeros(2, dtype=torch.int64)}, "epoch": 1}
    busy.save(tmp_path / "a.pth", state, overlap=True)
    busy.save(tmp_path / "b.pth", small(2.0), overlap=True)
    assert busy.plans == 1
    busy.let.set()
    busy.close()
    assert busy.plans > 1
    assert same(load(tmp_path / "a.pth"), state)
    assert same(load(tmp_path / "b.pth"), small(2.0))


@pytest.mark.parametrize("changing", [True, False])
def test_torch_pickles_in_the_background_what_is_not_laid_out(
    busy: Busy, tmp_path: Path, changing: bool
) -> None:
    weight = torch.ones(3)
    state = {"w": weight, "odd": {1, 2}}
    busy.save(tmp_path / "a.pth", state, overlap=True)
    assert busy.fallbacks == 0
    if changing:
        weight.zero_()
    busy.let.set()
    if changing:
        with pytest.raises(SaverError, match="the state was changed"):
            busy.close()
    else:
        busy.close()
        assert load(tmp_path / "a.pth")["odd"] == {1, 2}
    assert busy.fallbacks == 1


def test_what_torch_refuses_in_the_background_is_raised(busy: Busy, tmp_path: Path) -> None:
    busy.save(tmp_path / "a.pth", {"lambda": lambda: None}, overlap=True)
    busy.let.set()
    busy.before_update()
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        busy.close()
    assert names(tmp_path) == []


def test_a_state_that_came_to_a_gpu_is_copied_once_the_gpu_is_done(
    busy: Busy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On fakes: the saver knew the state on the CPU, so nothing was ordered on the GPU."""
    told: list[str] = []
    device = torch.device("cuda:0")
    monkeypatch.setattr(saver_module, "_devices", lambda _tensors: {device})
    monkeypatch.setattr(torch.cuda, "synchronize", lambda at: told.append(f"{at} is done"))
    copy = image.Image.copy

    def noted(self: image.Image, *arguments: Any) -> None:
        told.append("copy")
        copy(self, *arguments)

    monkeypatch.setattr(image.Image, "copy", noted)
    busy.save(tmp_path / "a.pth", small(2.0), overlap=True)
    busy.let.set()
    busy.close()
    assert told == ["cuda:0 is done", "copy"]


@known
def test_numbers_are_taken_at_once(hold: type[Hold], tmp_path: Path, known: bool) -> None:
    with opened(known=known) as saver:
        state = small(4.0, epoch=3)
        saver.save(tmp_path / "a.pth", state, overlap=True)
        state["epoch"] = 4
        hold.let.set()
    assert load(tmp_path / "a.pth")["epoch"] == 3


def test_before_update_does_not_wait_for_the_disk(gate: Gate, tmp_path: Path) -> None:
    """Nor does it for that of an earlier save, which is under way still."""
    with Saver() as saver:
        for number in range(2):
            saver.save(tmp_path / f"{number}.pth", small(number), overlap=True)
            saver.before_update()
            assert names(tmp_path) == []
        gate.let(2)
    assert names(tmp_path) == ["0.pth", "1.pth"]


def test_one_thread_alone_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What crashes a trainer at its calls counts them by thread."""
    writers: set[int] = set()
    write = disk.write_file

    def noted(*arguments: Any, **options: Any) -> None:
        writers.add(threading.get_ident())
        write(*arguments, **options)

    monkeypatch.setattr(saver_module, "write_file", noted)
    monkeypatch.setattr(plan, "STEP_BYTES", archive.PAGE)
    large = {"a": torch.randn(20_000)}
    with Saver() as saver:
        for number in range(6):
            for state in (small(number), large, {"odd": {1, 2}}):
                saver.save(tmp_path / f"{number}.pth", state, overlap=number % 2 == 0)
                saver.before_update()
            if number > 3:
                saver.wait()
    assert len(writers) == 1


def test_a_copy_that_fails_lets_the_update_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a copy failed")

    saver = Saver()
    monkeypatch.setattr(image.Image, "copy", fail)
    saver.save(tmp_path / "a.pth", small(), overlap=True)
    saver.before_update()
    with pytest.raises(RuntimeError, match="a copy failed"):
        saver.close()


class FakeStream:
    """Notes, in one list for all of them, what a stream is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def wait_stream(self, other: "FakeStream") -> None:
        """Work behind another stream."""
        self.told.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> "FakeStream":
        """Signal when this is reached."""
        self.told.append(f"{self.name} signals")
        return self

    def wait_event(self, event: "FakeStream") -> None:
        """Work behind a signal."""
        self.told.append(f"{self.name} waits for the signal of {event.name}")

    def synchronize(self) -> None:
        """Have the host wait."""
        self.told.append(f"host waits for the signal of {self.name}")


@pytest.mark.parametrize("overlap", [True, False])
def test_a_gpu_is_told_to_copy_beside_its_work_and_nobody_waits_but_the_saver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, overlap: bool
) -> None:
    """On fakes: the order of what the streams are told. It was never run on a real GPU."""
    told: list[str] = []
    device = torch.device("cuda:0")
    current = [FakeStream("training", told)]
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: FakeStream("side", told))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: current[0])
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: current.__setitem__(0, stream))
    monkeypatch.setattr(saver_module, "_devices", lambda _tensors: {device})
    monkeypatch.setattr(image, "_pin", image._map)
    monkeypatch.setattr(saver_module, "plan", lambda state: _on_gpu(plan_of(state)))
    copy = image.Image.copy

    def noted(self: image.Image, *arguments: Any, **options: Any) -> None:
        told.append(f"{current[0].name} copies{', not blocking' * options['non_blocking']}")
        copy(self, *arguments, **options)

    monkeypatch.setattr(image.Image, "copy", noted)
    with Saver() as saver:
        saver.save(tmp_path / "a.pth", small(2.0), overlap=overlap)
        saver.before_update()
    assert same(load(tmp_path / "a.pth"), small(2.0))
    assert current[0].name == "training"
    host = told.index("host waits for the signal of side")
    assert [line for line in told if line != told[host]] == [
        "side waits for training",
        "side copies, not blocking",
        "side signals",
        "training waits for the signal of side",
    ]


def _on_gpu(layout: plan.Plan) -> plan.Plan:
    object.__setattr__(layout, "on_gpu", True)
    return layout


# --- the disk ---


@pytest.mark.parametrize("refused", ["open", "write", "neither"])
def test_where_direct_writes_are_refused_others_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver, refused: str
) -> None:
    direct, opened, write = os.O_DIRECT, os.open, os.pwrite
    asked: list[str] = []

    def picky_open(path: Any, flags: int, *mode: int) -> int:
        if flags & direct and refused == "open":
            asked.append("open")
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return opened(path, flags, *mode)

    def picky_write(descriptor: int, content: memoryview, offset: int) -> int:
        import fcntl  # noqa: PLC0415  # of this fake alone

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & direct and refused == "write":
            asked.append("write")
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(descriptor, content, offset)

    monkeypatch.setattr(os, "open", picky_open)
    monkeypatch.setattr(os, "pwrite", picky_write)
    saver.save(tmp_path / "a.pth", small(3.0))
    saver.wait()
    assert same(load(tmp_path / "a.pth"), small(3.0))
    assert asked == ([] if refused == "neither" else [refused])


@pytest.mark.parametrize("step", ["open", "pwrite", "fdatasync", "replace", "fsync"])
def test_a_step_that_fails_leaves_the_old_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver, step: str
) -> None:
    path = tmp_path / "a.pth"
    saver.save(path, small(1.0))
    saver.wait()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        if step == "fdatasync":
            patch.setattr(disk, "_sync", fail)
        else:
            patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            save_and_wait(saver, path, small(2.0))
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["a.pth"]
    expected = 2.0 if step == "fsync" else 1.0
    assert load(path)["watermark"] == expected


def test_a_write_that_is_cut_short_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver
) -> None:
    write = os.pwrite

    def little(descriptor: int, content: memoryview, offset: int) -> int:
        return write(descriptor, content[: archive.PAGE], offset)

    monkeypatch.setattr(os, "pwrite", little)
    state = {"x": torch.randn(5000)}
    saver.save(tmp_path / "a.pth", state)
    saver.wait()
    assert same(load(tmp_path / "a.pth"), state)


def test_a_file_has_the_mode_that_others_have(tmp_path: Path, saver: Saver) -> None:
    saver.save(tmp_path / "a.pth", small())
    saver.wait()
    (tmp_path / "b.pth").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("a.pth", "b.pth")}
    assert len(modes) == 1


# --- memory, forks, ends ---


def test_images_are_used_again_and_follow_the_size_of_the_states(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mapped: list[int] = []
    map_ = image._map
    monkeypatch.setattr(image, "_map", lambda size: (mapped.append(size), map_(size))[1])
    sizes = [1_000, 1_010, 1_000, 1_000_000, 1_000_000, 1_000, 1_000, 1_000]
    with Saver() as saver:
        for size in sizes:
            state = {"x": torch.randn(size)}
            saver.save(tmp_path / "a.pth", state)
            saver.wait()
            assert same(load(tmp_path / "a.pth"), state)
        held = [len(saver._pipeline.free.get()._bytes) for _ in range(saver_module.IMAGES)]
    assert saver.plans == 5
    assert len(mapped) <= 6
    assert max(held) < 100_000, "the large ones are given back"


@pytest.mark.parametrize("overlap", [True, False])
def test_saves_within_inference_mode_and_outside_take_turns(
    tmp_path: Path, saver: Saver, overlap: bool
) -> None:
    for number, within in enumerate([True, True, True, False, False, True, False]):
        with torch.inference_mode(within):
            state = small(number)
            saver.save(tmp_path / "a.pth", state, overlap=overlap)
            saver.before_update()
            saver.wait()
        assert same(load(tmp_path / "a.pth"), state)


def test_prepare_makes_the_room_beforehand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saver: Saver
) -> None:
    saver.prepare(small())
    monkeypatch.setattr(image, "_map", lambda _size: pytest.fail("mapped later"))
    for epoch in range(3):
        saver.save(tmp_path / "a.pth", small(epoch=epoch))
    saver.wait()
    assert saver.plans == 1


def test_memory_stays_what_two_images_take(tmp_path: Path) -> None:
    state = {"x": torch.randn(1_000_000)}
    with Saver() as saver:
        for _ in range(4):
            saver.save(tmp_path / "a.pth", state)
        saver.wait()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(40):
            saver.save(tmp_path / "a.pth", state)
        saver.wait()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < 2 * 4_000_000


def test_the_state_is_let_go_of(tmp_path: Path) -> None:
    with Saver() as saver:
        tensor = torch.ones(3)
        counted = sys.getrefcount(tensor)
        saver.save(tmp_path / "a.pth", {"x": tensor}, overlap=True)
        saver.wait()
        saver.before_update()
        gc.collect()
        assert sys.getrefcount(tensor) == counted


def test_what_torch_pickled_is_let_go_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archives: list[weakref.ref[io.BytesIO]] = []

    class Noted(io.BytesIO):
        def __init__(self, *initial: Any) -> None:
            super().__init__(*initial)
            archives.append(weakref.ref(self))

    monkeypatch.setattr(io, "BytesIO", Noted)
    with Saver() as saver:
        saver.save(tmp_path / "a.pth", {"odd": {1, 2}})
        saver.wait()
        gc.collect()
        assert archives
        assert all(archive() is None for archive in archives)


def _in_child(saver: Saver, path: Path, answers: Any) -> None:
    said = []
    for call in (lambda: saver.save(path, small()), saver.wait, saver.check):
        try:
            call()
        except SaverError as error:  # noqa: PERF203  # each of them refuses
            said.append(str(error))
    saver.close()
    own = Saver()
    own.save(path, small(7.0))
    own.close()
    answers.send(said)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_cannot_use_the_saver_and_does_it_no_harm(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    received, sent = context.Pipe()
    with Saver() as saver:
        saver.save(tmp_path / "a.pth", small(1.0))
        child = context.Process(target=_in_child, args=(saver, tmp_path / "child.pth", sent))
        child.start()
        assert received.poll(60)
        said = received.recv()
        child.join(60)
        assert child.exitcode == 0
        saver.save(tmp_path / "a.pth", small(2.0))
    assert len(said) == 3
    assert all("make another one here" in line for line in said)
    assert load(tmp_path / "a.pth")["watermark"] == 2.0
    assert load(tmp_path / "child.pth")["watermark"] == 7.0


def test_a_closed_saver_says_so(tmp_path: Path) -> None:
    saver = Saver()
    saver.close()
    saver.close()
    with pytest.raises(SaverError, match="closed"):
        saver.save(tmp_path / "a.pth", small())
    with pytest.raises(SaverError, match="closed"):
        saver.wait()


def test_a_forgotten_saver_finishes_and_its_threads_end(gate: Gate, tmp_path: Path) -> None:
    gate.let(1)
    before = threading.active_count()
    saver = Saver()
    saver.save(tmp_path / "a.pth", small())
    del saver
    gc.collect()
    assert gate.passed == ["a.pth"]
    assert threading.active_count() == before


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_a_process_that_just_ends_finishes_its_saves(tmp_path: Path) -> None:
    done = run(
        """
        import sys, torch
        from reference_trainer.async_saver import Saver
        saver = Saver()
        for number in range(2):
            saver.save(f"{sys.argv[1]}/{number}.pth", {"x": torch.ones(1_000_000)})
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path) == ["0.pth", "1.pth"]
    assert is_whole(tmp_path / "1.pth")


@pytest.mark.slow
def test_a_process_that_just_ends_says_what_failed(tmp_path: Path) -> None:
    done = run(
        """
        import sys, torch
        from reference_trainer.async_saver import Saver
        saver = Saver()
        saver.save(f"{sys.argv[1]}/none/a.pth", {"x": torch.ones(3)})
        """,
        tmp_path,
    )
    assert "a save failed: [Errno 2] No such file or directory" in done.stderr


KILLED = """
import os, sys, torch
from reference_trainer.async_saver import Saver
path = sys.argv[1]
for _ in sys.stdin:
    child = os.fork()  # before torch has any thread
    if child:
        os.waitpid(child, 0)
        print("gone", flush=True)
        continue
    state = {"x": torch.zeros(300_000), "epoch": 0}
    with Saver() as saver:
        for epoch in range(1, 1_000_000):
            state["x"].fill_(epoch)
            state["epoch"] = epoch
            saver.save(path, state)
            if epoch == 3:
                saver.wait()
                print(os.getpid(), flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_time_the_file_is_the_old_one_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for attempt in range(12):
            process.stdin.write("save\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            time.sleep(0.003 * attempt)  # where in a save it is by then is up to chance
            os.kill(child, signal.SIGKILL)
            assert process.stdout.readline() == "gone\n"
            assert is_whole(path)
            loaded = load(path)
            assert loaded["epoch"] >= 3
            assert (loaded["x"] == loaded["epoch"]).all()
        process.stdin.close()
        assert process.wait(300) == 0
