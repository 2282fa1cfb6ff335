"""The house's arrows: who may import whom, and what nobody imports, read from the sources."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for package in ("conformance", "reference_trainer")
    for path in (ROOT / package).rglob("*.py")
    if "__pycache__" not in path.parts
)
HEAVY = {"torch", "numpy", "tensorboard", "tensorflow", "gym", "gymnasium", "hydra", "omegaconf"}
HEAVY |= {"rl_games", "tensorboardX"}

# Who may import whom inside `conformance`; each may import itself. Each arrow is in use.
ALLOWED = {
    "convention": set(),
    "evidence": {"convention"},
    "run": {"convention", "evidence"},
    "checks": {"convention", "evidence", "run"},
    "views": {"convention", "evidence", "run", "checks"},
    "report": {"convention", "run", "checks", "views"},
    "waivers": {"convention", "checks"},
    "audits": {"convention", "evidence", "run", "checks", "views", "report", "version"},
    "fixtures": {"convention", "evidence"},
    "mutants": {"convention", "evidence", "fixtures"},
    "strategies": {"convention"},
    "trainers": {"convention", "evidence"},  # the adapter of rl_games finds what to resume from
    "bench": {"convention", "trainers", "report"},
    "crash": {"convention", "evidence", "checks", "report", "trainers"},
    "suite": {"convention", "evidence", "run", "checks", "report", "trainers"}
    | {"strategies", "version", "atomic"},
    "pytest_plugin": {"convention", "trainers", "suite"},
}
# These drive the mutants that stand beside them, as any trainer is driven.
MATRIX = {"conformance/mutants/matrix.py", "conformance/mutants/__main__.py"}
# The one module that needs torch, imported by its check alone where a model is given.
TORCH_MODULE = "conformance/checks/model.py"
# What drives rl_games; imported only where its name is given as the trainer.
RL_GAMES_MODULE = "conformance/trainers/rl_games.py"
# Saves with torch what a trainer's saves are timed beside; imported only where some are timed.
PEERS_MODULE = "conformance/bench/peers.py"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """The modules that a source imports, wherever in it, as absolute dotted names."""
    for source, names in _statements(path):
        yield source
        yield from (f"{source}.{name}" for name in names)


def _statements(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each import: from where, and the names that are taken from there; of types too."""
    package = _module(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source, [alias.name for alias in node.names]


def _graph() -> dict[str, set[str]]:
    """What each module imports of the others: a name that is a module counts as that alone."""
    modules = {_module(path): path for path in SOURCES}
    return {
        module: {
            found
            for source, names in _statements(path)
            for found in (
                f"{source}.{name}" if f"{source}.{name}" in modules else source
                for name in (names or [""])
            )
            if found in modules and found != module
        }
        for module, path in modules.items()
    }


def _circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules each of which reaches all others of its group."""
    reached = {module: _reached(graph, module) for module in graph}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }
    return [set(group) for group in groups]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def _room(module: str) -> str | None:
    """The room of a module of `conformance`: `convention` of `conformance.convention.names`."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "conformance" and rest else None


def _in_room(room: str) -> list[Path]:
    return [path for path in SOURCES if _room(_module(path)) == room]


def test_the_sources_are_found() -> None:
    """Lest a moved folder make each test here pass on nothing."""
    for room in (*ALLOWED, "cli"):
        assert _in_room(room), room
    rooms = {_room(_module(path)) for path in SOURCES} - {None}
    assert rooms - ALLOWED.keys() == {"cli", "__main__", "version", "atomic"}
    assert "conformance.evidence.runs" in set(_imports(ROOT / "conformance/cli/options.py"))
    assert "torch" in set(_imports(ROOT / TORCH_MODULE))
    assert len(SOURCES) > 50


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_run_one_way(room: str) -> None:
    rooms = {_room(_module(path)) for path in SOURCES} - {None}
    wrong = {
        f"{_name(path)} imports {module}"
        for path in _in_room(room)
        if _name(path) not in MATRIX
        for module in _imports(path)
        if _room(module) in rooms - ALLOWED[room] - {room, "__init__"}
    }
    assert wrong == set()


@pytest.mark.parametrize("room", ALLOWED)
def test_each_arrow_that_is_allowed_is_in_use(room: str) -> None:
    used = {
        _room(module)
        for path in _in_room(room)
        if _name(path) not in MATRIX
        for module in _imports(path)
    }
    assert ALLOWED[room] - used == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """What only types need counts too: who reads one module of a circle reads them all."""
    graph = _graph()
    assert "conformance.run.doubt" in graph["conformance.run.subject"]
    assert _circles(graph) == []


@pytest.mark.parametrize(
    ("graph", "circles"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [{"a", "b"}]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [{"b", "c"}]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"d"}}, [{"a", "b", "c"}, {"d"}]),
    ],
)
def test_a_circle_would_be_seen(graph: dict[str, set[str]], circles: list[set[str]]) -> None:
    assert sorted(map(sorted, _circles(graph))) == sorted(map(sorted, circles))


def test_what_a_log_leaves_open_is_asked_of_doubt_and_put_together_nowhere_else() -> None:
    """A judge that combined what sessions may have done would think it through anew."""
    (gaps,) = (
        node
        for node in _tree(ROOT / "conformance/run/doubt.py").body
        if isinstance(node, ast.ClassDef) and node.name == "Gaps"
    )
    inside = {node.name for node in gaps.body if isinstance(node, ast.FunctionDef)}
    assert {"may_have_gone_on", "rewards_tell"} <= inside
    wrong = {
        f"{_name(path)}: {node.attr}"
        for path in (*_in_room("checks"), *_in_room("views"))
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and node.attr in inside
    }
    assert wrong == set()


def test_mutants_take_nothing_from_what_judges_them() -> None:
    """Else a wrong oracle would be held against trainers that are wrong in the same way."""
    wrong = {
        f"{_name(path)} imports {module}"
        for path in _in_room("mutants")
        if _name(path) not in MATRIX
        for module in _imports(path)
        if module.startswith(("conformance.convention", "conformance.fixtures"))
        and module.split(".")[:3]
        not in (
            ["conformance", "convention", "scenario"],
            ["conformance", "fixtures", "archive"],
            ["conformance", "fixtures", "events"],
        )
    }
    assert wrong == set()


def test_nobody_imports_what_drives_the_mutants() -> None:
    """So that a mutant never comes to know what judges it."""
    assert "conformance.suite.session" in set(_imports(ROOT / "conformance/mutants/matrix.py"))
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if _name(path) not in MATRIX
        for module in _imports(path)
        if module.startswith(("conformance.mutants.matrix", "conformance.mutants.__main__"))
    }
    assert wrong == set()


def test_nobody_imports_the_command_line() -> None:
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        for module in _imports(path)
        if _room(module) == "cli" and _room(_module(path)) not in ("cli", "__main__")
    }
    assert wrong == set()


def test_the_harness_imports_nothing_heavy() -> None:
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "conformance")
        and _name(path) not in (TORCH_MODULE, RL_GAMES_MODULE, PEERS_MODULE)
        for module in _imports(path)
        if module.partition(".")[0] in HEAVY
    }
    assert wrong == set()


def test_only_its_own_check_imports_the_module_that_needs_torch() -> None:
    importers = {
        _name(path)
        for path in SOURCES
        for module in _imports(path)
        if module.endswith("checks.model")
    }
    assert importers == {"conformance/checks/load.py"}
    at_the_top = {
        node.module
        for node in _tree(ROOT / "conformance/checks/load.py").body
        if isinstance(node, ast.ImportFrom)
    }
    assert "conformance.checks.model" not in at_the_top


def test_saves_are_timed_with_torch_only_when_asked_for() -> None:
    importers = {
        _name(path)
        for path in SOURCES
        for module in _imports(path)
        if module.startswith("conformance.bench.peers")
    }
    assert importers == {"conformance/bench/saves.py"}
    tree = _tree(ROOT / "conformance/bench/saves.py")
    at_the_top = {
        alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert "peers" not in at_the_top


def test_nobody_imports_the_module_that_needs_rl_games() -> None:
    assert "rl_games.torch_runner" in set(_imports(ROOT / RL_GAMES_MODULE))
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        for module in _imports(path)
        if module.startswith("conformance.trainers.rl_games")
    }
    assert wrong == set()


def test_the_reference_trainer_knows_nothing_of_the_harness() -> None:
    """One adapter that plays scenarios may; it says so by its name."""
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "reference_trainer") and path.stem != "adapter"
        for module in _imports(path)
        if module.partition(".")[0] == "conformance"
    }
    assert wrong == set()


def test_the_harness_knows_nothing_of_the_reference_trainer() -> None:
    wrong = {
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "conformance")
        for module in _imports(path)
        if module.partition(".")[0] == "reference_trainer"
    }
    assert wrong == set()


# --- what nobody does -----------------------------------------------------------------------

_EXECUTES = {
    "yaml": {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
    | {"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"},
    "pickle": {"load", "loads", "Unpickler"},
    "_pickle": {"load", "loads", "Unpickler"},
    "dill": {"load", "loads"},
    "cloudpickle": {"load", "loads"},
    "joblib": {"load"},
    "marshal": {"load", "loads"},
    "shelve": {"open"},
}
_BUILTINS = {"eval", "exec", "compile", "__import__"}


def _uses(tree: ast.Module) -> Iterator[str]:
    """The uses of what executes or constructs what it reads, as `module.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in _EXECUTES.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name in _EXECUTES.get(node.module or "", ()):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _BUILTINS:
            yield ast.unparse(node.func)


def test_no_source_executes_what_it_reads() -> None:
    wrong = {f"{_name(path)}: {use}" for path in SOURCES for use in _uses(_tree(path))}
    assert wrong == set()


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.load(x)",
        "from yaml import UnsafeLoader",
        "import pickle\npickle.loads(x)",
        "from pickle import load",
        "eval(x)",
        "def f():\n    import yaml\n    yaml.full_load(x)",
    ],
)
def test_what_executes_would_be_seen(source: str) -> None:
    assert list(_uses(ast.parse(source)))


def test_torch_reads_checkpoints_with_weights_only() -> None:
    loads = [
        (_name(path), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    assert [name for name, options in loads if options.get("weights_only") != "True"] == []


def test_modules_say_what_they_are_for() -> None:
    silent = {
        _name(path)
        for path in SOURCES
        if not (ast.get_docstring(_tree(path)) or "").partition("\n")[0].strip()
    }
    assert silent == set()


def test_no_module_is_a_drawer_of_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
    folders = [path.parent.name for path in SOURCES]
    assert drawers.isdisjoint({*(path.stem for path in SOURCES), *folders})
