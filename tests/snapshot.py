"""What a user sees, written to a folder: taken before and after a change that should not show.

    python tests/snapshot.py BEFORE --real-runs RUNS
    python tests/snapshot.py AFTER --real-runs RUNS --against BEFORE

Each file holds the exit code and the JSON report of `check`, with what explains each file, for one
run in each dialect; or those of `test` for one mutant. Paths are relative, and there is no time.
`--quick` takes a part of it, and compares that part alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.cli import main as conformance
from conformance.convention.profile import builtin_profiles
from conformance.convention.scenario import Scenario
from conformance.mutants import CRASHES, DEFECTS, ODDITIES, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
EXAMPLES = 40  # the probes, and some that are generated
_SEED = 0
_DIALECTS = (*builtin_profiles(), "auto")
_FEW_DIALECTS = ("isaacgymenvs", "rl_games-1.6", "auto")
_EVERY = 7  # of the mutants and the fixtures, in a quick snapshot
_NAN, _INF = float("nan"), float("inf")
# Time, process and count in the name of an event file.
_EVENTS = re.compile(r"events\.out\.tfevents\.[\w.-]+")
_STAMPS = re.compile(r"\d{5,}")
_MOST_TOLD = 20


def _chain(
    experiment: str, save_freq: int, rewards: tuple[float | None, ...], *ends: tuple[int, str]
) -> tuple[Scenario, ...]:
    """A run's sessions: where each but the last ends, and what the next one resumes from."""
    starts = (None, *(resume or None for _, resume in ends))
    lasts = (*(last for last, _ in ends), len(rewards))
    return tuple(
        Scenario(experiment, Path("runs"), save_freq, last, rewards, resume=resume)
        for resume, last in zip(starts, lasts, strict=True)
    )


_CHAINS = (
    _chain("Aep12", 2, (None, 1.5, -2.0, 1.5, _NAN, 1234567.0, 66.52648162841797, _INF)),
    _chain("Cartpole", 1, (1.5, 2.5, 2.0, 2.5, 3.0, 1.0), (3, "last")),
    _chain("Cartpole", 0, (5.0, 5.0, 3.0)),
    _chain("x.y", 1, (9.0, 1.0, 8.5, 7.0, 10.0), (2, "best"), (4, "")),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One file of the snapshot.

    Attributes:
        name: of the file, without its suffix.
        kind: `check` or `test`.
        run: of `check`: the run, or the name of the mutant that emits it; of `test`: a mutant.
        chain: which sessions the mutant plays; None where the run lies there already.
        options: more for the command line.
        dialects: to check it in.
    """

    name: str
    kind: str
    run: str
    chain: int | None = None
    options: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()


def tasks(real_runs: Path | None, *, quick: bool) -> Iterator[Task]:
    """All that is in the snapshot; those that take longest first."""
    step = _EVERY if quick else 1
    dialects = _FEW_DIALECTS if quick else _DIALECTS
    # `crash` alone shows what is wrong with those of CRASHES.
    played = (*DEFECTS, *ODDITIES, *CRASHES, Trainer)[::step]
    for number, mutant in enumerate(played):
        place = _place(mutant)
        model = ("--model", "conformance.mutants.matrix:model")
        options = model if mutant.rule == "LOAD-004" else ()
        yield Task(f"test/{_titled(place)}", "test", place, options=options)
        chains = (number % len(_CHAINS),) if quick else range(len(_CHAINS))
        for chain in chains:
            name = f"check/mutants/{_titled(place)}-{chain}"
            yield Task(name, "check", place, chain, dialects=dialects)
    cases = json.loads((ROOT / "fixtures/manifest.json").read_bytes())["cases"]
    for case in cases[::step]:
        given = case["options"].items()
        options = tuple(f"--{key.replace('_', '-')}={value}" for key, value in given)
        run = str(ROOT / "fixtures" / case["path"])
        own = tuple(dict.fromkeys((case["profile"], *dialects)))
        yield Task(f"check/fixtures/{case['id']}", "check", run, options=options, dialects=own)
    for run in () if real_runs is None else sorted(real_runs.glob("**/summaries")):
        name = run.parent.relative_to(real_runs).as_posix()
        yield Task(f"check/real-runs/{name}", "check", str(run.parent), dialects=dialects)


def _place(mutant: type[Trainer]) -> str:
    """How TRAINER names a mutant, wherever its module stands; two of one name by their modules."""
    name = mutant.__name__
    module = "conformance.mutants"
    is_found = getattr(sys.modules[module], name) is mutant
    return f"{module if is_found else mutant.__module__}:{name}"


def _titled(place: str) -> str:
    return place.removeprefix("conformance.mutants").strip(".:").replace(":", "-")


# --- one file -------------------------------------------------------------------------------


def taken(task: Task) -> tuple[str, str]:
    """A task's name, and its file's text."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            seen = _tested(task) if task.kind == "test" else _checked(task)
        finally:
            os.chdir(before)
    text = json.dumps(seen, indent=1, sort_keys=True, ensure_ascii=True)
    text = text.replace(f"{folder}/", "")
    return task.name, _EVENTS.sub(lambda name: _STAMPS.sub("N", name[0]), text) + "\n"


def _tested(task: Task) -> object:
    generated = ("--seed", str(_SEED), "--max-examples", str(EXAMPLES))
    return _command("test", f"python:{task.run}", *generated, *task.options)


def _checked(task: Task) -> object:
    if task.chain is None:
        run = Path(task.run)
        Path("runs").mkdir()
        Path("runs", run.name).symlink_to(run)
        path = f"runs/{run.name}"
    else:
        path = _emitted(task.run, _CHAINS[task.chain])
    return {
        dialect: _command("check", path, "--profile", dialect, *task.options, explaining=True)
        for dialect in task.dialects
    }


def _emitted(place: str, chain: tuple[Scenario, ...]) -> str:
    """Where a mutant that plays the sessions leaves its run."""
    module, _, name = place.partition(":")
    trainer = getattr(sys.modules[module], name)()
    with contextlib.suppress(OSError):  # a mutant may trip over what it left itself
        for scenario in chain:
            trainer.train(replace(scenario, root=Path("runs")))
    return f"runs/{chain[0].experiment}"


def _command(*arguments: str, explaining: bool = False) -> dict[str, Any]:
    if explaining:
        arguments = (*arguments, "--explanation", "explanation.json")
    outputs = ("--format", "json", "--output", "report.json")
    with contextlib.redirect_stderr(io.StringIO()):
        code = conformance([*arguments, *outputs])
    seen: dict[str, Any] = {"code": code}
    for name in ("report", "explanation"):
        file = Path(f"{name}.json")
        if file.exists():
            seen[name] = json.loads(file.read_bytes())
            file.unlink()
    shutil.rmtree(".conformance", ignore_errors=True)
    return seen


# --- all of them ----------------------------------------------------------------------------


def take(folder: Path, real_runs: Path | None, *, quick: bool) -> list[str]:
    """Write the snapshot and return the names of its files."""
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    names = []
    wanted = sorted(tasks(real_runs, quick=quick), key=lambda task: task.kind, reverse=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name, text in pool.map(taken, wanted):
            file = folder / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            names.append(name)
    return names


def differences(
    before: Path, after: Path, names: list[str], *, quick: bool
) -> Iterator[tuple[str, str]]:
    """Where two snapshots differ: the file, and each value that is another one there."""
    if not quick:
        held = {path.relative_to(before).with_suffix("").as_posix() for path in _files(before)}
        yield from ((name, "it is gone") for name in sorted(held - set(names)))
    for name in sorted(names):
        old = before / f"{name}.json"
        if not old.exists():
            yield name, "it is new"
            continue
        was, now = (json.loads((at / f"{name}.json").read_bytes()) for at in (before, after))
        if quick and "report" not in now:
            was = {dialect: was.get(dialect) for dialect in now}
        yield from ((name, change) for change in _changes("", was, now))


def _files(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.json")


def _changes(where: str, was: object, now: object) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from _changes(f"{where}/{key}", was.get(key), now.get(key))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, pair in enumerate(zip(was, now, strict=True)):
            at = pair[1].get("rule", index) if isinstance(pair[1], dict) else index
            yield from _changes(f"{where}/{at}", *pair)
    elif was != now:
        yield f"{where}: {json.dumps(was)[:300]} -> {json.dumps(now)[:300]}"


def main() -> int:
    """Take a snapshot, and hold it against an earlier one: 1 where they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where it is written to: empty, or not there")
    parser.add_argument("--real-runs", type=Path, help="a folder that holds runs of real trainers")
    parser.add_argument("--quick", action="store_true", help="a part of it")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an earlier snapshot")
    options = parser.parse_args()
    real_runs = options.real_runs and options.real_runs.resolve()
    names = take(options.folder, real_runs, quick=options.quick)
    if options.against is None:
        return 0
    found = list(differences(options.against, options.folder, names, quick=options.quick))
    for name, change in found[:_MOST_TOLD]:
        sys.stdout.write(f"{name}{change if change.startswith('/') else f': {change}'}\n")
    files = len({name for name, _ in found})
    sys.stdout.write(f"{len(found)} differences in {files} of {len(names)} files\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
