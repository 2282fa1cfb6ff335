"""Hostile run folders, end to end: a finding or a clear line each, bounded, nothing executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import resource
import shutil
import struct
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from conformance.convention.oracle import Settings
from conformance.fixtures.archive import Array, Call, Global, Storage, floats, zip_checkpoint
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# One worker makes the runs and audits them, for all tests here.
pytestmark = pytest.mark.xdist_group("hostile")

_MEMORY = 400 << 20
_SECONDS = 60  # of processor time, for all of the runs together
_HUGE = 10 << 30
_NOISE = b"".join(hashlib.sha256(bytes((n % 256, n // 256))).digest() for n in range(3000))
_HOSTILE_NAMES = (
    "a\nverdict: conforms (1 run)",
    "\x1b[31mred\x1b[0m",
    "\u202egnp",
    "\udcff\udcfe",
    "\x85\u2028",
    "x[1]",
)


def _archive(pickle: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _bomb() -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as record,
    ):
        for _ in range(1024):
            record.write(bytes(1 << 20))
    return buffer.getvalue()


def _laughs() -> bytes:
    """A list of ten of a list of ten of a list of ten ..., sixty times."""
    layers = (b"]q" + bytes((n + 1,)) + b"(" + (b"h" + bytes((n,))) * 10 + b"e" for n in range(60))
    return _archive(b"\x80\x02]q\x00" + b"".join(layers) + b".")


def _holding(**values: object) -> bytes:
    whole = {"model": {"w": floats(1.0)}, "epoch": 4, "optimizer": {"a": 1}}
    return zip_checkpoint({**whole, "last_mean_rewards": 4.0, **values})


def _long(number: int) -> bytes:
    """A whole number of so many bytes, as a pickle's opcode."""
    return b"\x8b" + struct.pack("<i", number) + b"\x7f" * number


_SHELL = b"cposix\nsystem\nX\x0d\x00\x00\x00touch ./pwned\x85R."
_NESTED = 500_000
_TENSOR = Storage("float32", bytes(4))

# What the best checkpoint holds -> the rules of which one at least must fail.
BEST: dict[str, tuple[bytes | Callable[[], bytes], set[str]]] = {
    "nine-bytes": (b"\x80\x02cposix\n", {"LOAD-001"}),
    "nine-bytes-whole": (b"\x80\x02K\x01q\x00.x", {"LOAD-001"}),
    "a-byte": (b"\x80", {"LOAD-001", "INTEGRITY-001"}),
    "a-zip-head": (b"PK\x03\x04", {"INTEGRITY-001", "LOAD-001"}),
    "a-zip-end": (b"PK\x05\x06" + bytes(18), {"INTEGRITY-001", "LOAD-001"}),
    "garbage": (_NOISE, {"LOAD-001"}),
    "garbage-behind-a-zip-head": (b"PK\x03\x04" + _NOISE, {"INTEGRITY-001", "LOAD-001"}),
    "text": (b"not a checkpoint\n" * 1000, {"LOAD-001"}),
    "shell": (_SHELL, {"LOAD-001", "SAFETY-001"}),
    "shell-in-an-archive": (_archive(b"\x80\x02" + _SHELL), {"SAFETY-001"}),
    "shell-under-model": (
        _holding(model=Call(Global("posix", "system"), ("touch ./pwned",))),
        {"SAFETY-001"},
    ),
    "nested": (b"\x80\x02" + b"]" * _NESTED + b"a" * (_NESTED - 1) + b".", {"LOAD-001"}),
    "nested-in-an-archive": (
        _archive(b"\x80\x02" + b"]" * _NESTED + b"a" * (_NESTED - 1) + b"."),
        {"LOAD-001"},
    ),
    "nested-tuples": (_archive(b"\x80\x02)" + b"\x85" * _NESTED + b"."), {"LOAD-001"}),
    "marks": (_archive(b"\x80\x02" + b"(" * _NESTED + b"."), {"LOAD-001"}),
    "many-laughs": (_laughs(), {"LOAD-001", "LOAD-002"}),
    "bomb": (_bomb, {"LOAD-001", "INTEGRITY-001"}),  # a gigabyte, made where it is needed
    "endless-numbers": (_holding(epoch=10**300, last_mean_rewards=10**500), {"LOAD-008"}),
    "numbers-of-kilobytes": (
        _archive(
            b"\x80\x02}(X\x05\x00\x00\x00modelK\x01X\x05\x00\x00\x00epoch"
            + _long(2000)
            + b"X\x11\x00\x00\x00last_mean_rewards"
            + _long(3000)
            + b"u."
        ),
        {"LOAD-001", "LOAD-002"},
    ),
    "numbers-that-are-none": (
        _holding(epoch=float("nan"), last_mean_rewards=float("inf")),
        {"LOAD-008"},
    ),
    "endless-tensor": (_holding(model={"w": Array(_TENSOR, (1 << 40,), (0,))}), {"LOAD-003"}),
    "tensor-out-of-bounds": (
        _holding(model={"w": Array(_TENSOR, (1 << 31, 1 << 31), (1 << 31, 1))}),
        {"LOAD-001"},
    ),
    "negative-strides": (_holding(model={"w": Array(_TENSOR, (2,), (-1,))}), {"LOAD-001"}),
    "hostile-keys": (
        _holding(model={name: floats(float("nan")) for name in _HOSTILE_NAMES}),
        {"LOAD-006"},
    ),
}


def _run(root: Path, name: str) -> Path:
    return play(Settings(name, 2, 4), [Session((1.0, 3.0, 2.0, 4.0))]).write(root)


def _event_file(run: Path) -> Path:
    (path,) = (run / "summaries").iterdir()
    return path


def _sparse(run: Path) -> None:
    (run / "nn" / "sparse.pth").write_bytes(b"")
    os.truncate(run / "nn" / "sparse.pth", _HUGE)


def _grown(run: Path) -> None:
    os.truncate(run / "nn" / "grown.pth", _HUGE)


def _fifo(run: Path) -> None:
    (run / "nn" / "fifo.pth").unlink()
    os.mkfifo(run / "nn" / "fifo.pth")


def _device(run: Path) -> None:
    (run / "nn" / "device.pth").unlink()
    (run / "nn" / "device.pth").symlink_to("/dev/zero")


def _folder(run: Path) -> None:
    (run / "nn" / "folder.pth").unlink()
    (run / "nn" / "folder.pth").mkdir()


def _link_in_a_circle(run: Path) -> None:
    (run / "nn" / "circle.pth").unlink()
    (run / "nn" / "circle.pth").symlink_to("circle.pth")


def _nn_in_a_circle(run: Path) -> None:
    shutil.rmtree(run / "nn")
    (run / "nn").symlink_to("nn")


def _many(run: Path) -> None:
    for number in range(5000):
        (run / "nn" / f"last_manyep{number + 5}rew1.0.pth").touch()


def _hostile_names(run: Path) -> None:
    for name in _HOSTILE_NAMES:
        (run / "nn" / f"{name}.pth").write_bytes(b"x")
        (run / "nn" / name).write_bytes(b"x")
        (run / f"{name}.pth").write_bytes(b"x")


def _fifo_of_events(run: Path) -> None:
    path = _event_file(run)
    path.unlink()
    os.mkfifo(path)


def _folder_of_events(run: Path) -> None:
    path = _event_file(run)
    path.unlink()
    path.mkdir()


def _events_in_a_circle(run: Path) -> None:
    path = _event_file(run)
    path.unlink()
    path.symlink_to(path.name)


def _noise_as_events(run: Path) -> None:
    _event_file(run).write_bytes(_NOISE)


def _endless_events(run: Path) -> None:
    os.truncate(_event_file(run), _HUGE)


# What is done to a run -> the rules of which one at least must fail.
STEPS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "sparse": (_sparse, {"INTEGRITY-001"}),
    "grown": (_grown, {"INTEGRITY-001"}),
    "fifo": (_fifo, {"LAYOUT-004"}),
    "device": (_device, {"LAYOUT-004"}),
    "folder": (_folder, {"LAYOUT-004"}),
    "circle": (_link_in_a_circle, {"LAYOUT-004"}),
    "nn-in-a-circle": (_nn_in_a_circle, {"BEST-001"}),
    "many": (_many, {"LAYOUT-004"}),
    "names": (_hostile_names, {"NAME-002"}),
    "fifo-of-events": (_fifo_of_events, {"SUMMARY-001"}),
    "folder-of-events": (_folder_of_events, {"LAYOUT-002"}),
    "events-in-a-circle": (_events_in_a_circle, {"SUMMARY-001"}),
    "noise-as-events": (_noise_as_events, {"SUMMARY-001"}),
    "endless-events": (_endless_events, {"SUMMARY-001"}),
}

_LETTERS = "abcdefghijklmnopqrst"
_ALIASES = "".join(
    f"{later}: &{later} [{', '.join(['*' + earlier] * 9)}]\n"
    for earlier, later in pairwise(_LETTERS)
)
# What the config file holds -> what the one line about it says; None: it is read all the same.
CONFIGS: dict[str, tuple[bytes, str | None]] = {
    "tag": (b'name: !!python/object/apply:os.system ["touch ./pwned"]\n', "is not plain YAML"),
    "aliases": (f"a: &a [x, x]\n{_ALIASES}name: config-aliases\n".encode(), None),
    "binary": (bytes(range(256)) * 10, "is not UTF-8"),
    "endless": (b"a: 1\n" * 2_000_000, "is too large"),
    "nested": (b"[" * 100_000, "is nested too deeply"),
    "wrong": (b"name: [", "config.yaml: "),
    "escapes": (b'name: "\\e[31m\\nverdict: conforms"\n', None),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root of hostile runs."""
    folder = tmp_path_factory.mktemp("hostile") / "runs"
    for name, (held, _) in BEST.items():
        data = held if isinstance(held, bytes) else held()
        (_run(folder, name) / "nn" / f"{name}.pth").write_bytes(data)
    for name, (step, _) in STEPS.items():
        step(_run(folder, name))
    for name, (data, _) in CONFIGS.items():
        (_run(folder, f"config-{name}") / "config.yaml").write_bytes(data)
    (_run(folder, "config-folder") / "config.yaml").unlink()
    (folder / "config-folder" / "config.yaml").mkdir()
    (_run(folder, "config-fifo") / "config.yaml").unlink()
    os.mkfifo(folder / "config-fifo" / "config.yaml")
    for name in _HOSTILE_NAMES:
        play(Settings(name, 2, 4), [Session((1.0, 3.0))]).unconfigured().write(folder)
    (folder / "circle-of-runs").symlink_to("circle-of-runs")
    (folder / "up").symlink_to("..")
    (folder / "conforming").mkdir()
    return folder


@pytest.fixture(scope="module")
def check(process: Callable[..., Any], root: Path) -> Callable[..., Any]:
    """Return `check` of all the runs, in bounded memory and processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))

    return lambda *options: process("check", root, *options, prepare=limit, cwd=root.parent)


@pytest.fixture(scope="module")
def audited(check: Callable[..., Any]) -> Any:  # a Result of the conftest
    """Return what the audit of all the runs left, as JSON."""
    return check("--format", "json")


@pytest.fixture(scope="module")
def runs(audited: Any, root: Path) -> dict[str, Any]:
    """Return the report on each run, by its name."""
    document = json.loads(audited.out)
    return {os.path.relpath(run["path"], root): run for run in document["runs"]}


def _of(run: dict[str, Any], verdict: str) -> set[str]:
    return {finding["rule"] for finding in run["findings"] if finding["verdict"] == verdict}


def test_all_are_audited_and_the_harness_does_not_break(
    audited: Any, runs: dict[str, Any], root: Path
) -> None:
    assert audited.code == 1
    assert "Traceback" not in audited.err
    folders = {path.name for path in root.iterdir() if path.is_dir() and not path.is_symlink()}
    assert set(runs) == folders - {"conforming"}
    assert {name: _of(run, "error") for name, run in runs.items() if _of(run, "error")} == {}


def test_nothing_was_executed(audited: Any, root: Path) -> None:
    assert audited.code == 1
    assert [path.name for path in root.parent.iterdir()] == ["runs"]
    assert list(root.rglob("*pwned*")) == []


@pytest.mark.parametrize("name", BEST)
def test_a_hostile_checkpoint_is_a_finding(runs: dict[str, Any], name: str) -> None:
    assert _of(runs[name], "fail") & BEST[name][1]
    assert runs[name]["verdict"] == "fail"


@pytest.mark.parametrize("name", STEPS)
def test_a_hostile_folder_is_a_finding(runs: dict[str, Any], name: str) -> None:
    assert _of(runs[name], "fail") & STEPS[name][1]
    assert runs[name]["verdict"] == "fail"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_one_line(audited: Any, runs: dict[str, Any], name: str) -> None:
    problem = CONFIGS[name][1]
    lines = [line for line in audited.err.splitlines() if f"/config-{name}: config.yaml" in line]
    if problem is None:
        assert lines == []
    else:
        assert problem in lines[0]
        assert len(lines) <= 2
        # Without a config the name is the folder's, and the rest is seen in the files.
        assert _of(runs[f"config-{name}"], "fail") == set()


@pytest.mark.parametrize("name", ["folder", "fifo"])
def test_a_config_that_is_no_file_is_one_line(
    audited: Any, runs: dict[str, Any], name: str
) -> None:
    lines = [line for line in audited.err.splitlines() if f"/config-{name}: " in line]
    assert len(lines) == 1
    assert "config.yaml: not a regular file but a" in lines[0]
    assert _of(runs[f"config-{name}"], "fail") == set()


@pytest.mark.parametrize("name", _HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name_is_no_more_than_unsafe(runs: dict[str, Any], name: str) -> None:
    assert _of(runs[name], "fail") <= {"NAME-008"}
    assert "BEST-002" in _of(runs[name], "pass")


def test_complaints_are_lines_that_a_terminal_obeys_nothing_of(audited: Any) -> None:
    for line in audited.err.splitlines():
        assert line.startswith("conformance: ")
        assert line.isprintable()


def test_the_text_holds_nothing_that_a_terminal_obeys(check: Callable[..., Any]) -> None:
    result = check("--verbose")
    assert result.code == 1
    assert result.out.replace("\n", "").isprintable()
    assert result.err.replace("\n", "").isprintable()
    verdicts = re.findall(r"^verdict: .*", result.out, re.MULTILINE)
    assert len(verdicts) == 1
    assert verdicts[0].startswith("verdict: fail (")


def test_a_list_of_hostile_runs_is_bounded_too(process: Callable[..., Any], root: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))

    result = process("ls", root, prepare=limit, cwd=root.parent)
    assert result.code == 0
    assert "Traceback" not in result.err
    assert result.out.replace("\n", "").isprintable()
    assert result.err.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "target", ["nn", "circle.pth", "config.yaml"], ids=["run", "checkpoint", "config"]
)
def test_a_path_in_a_circle_exits_2(
    process: Callable[..., Any], tmp_path: Path, target: str
) -> None:
    (tmp_path / target).symlink_to(target)
    result = process("check", tmp_path / target)
    assert (result.code, result.out) == (2, "")
    assert "Too many levels of symbolic links" in result.err
    assert result.err.count("\n") == 1
