"""Configs as real trainers write them, against OmegaConf itself, and made to hurt."""

from __future__ import annotations

import os
import re
import time
import warnings
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conformance.evidence.config import RunConfig, read_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(folder: Path, text: str | bytes) -> RunConfig:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(path)


def settings_of(file: RunConfig) -> tuple[object, ...]:
    return (file.name, file.save_freq, file.max_epochs, file.save_best_after)


# The two shapes


def test_the_flat_shape(tmp_path: Path) -> None:
    file = read(
        tmp_path, "name: Ant\nsave_freq: 50\nmax_epochs: 500\nsave_best_after: 0\nlr: 3.0e-4\n"
    )
    assert (file.shape, settings_of(file), file.problems) == ("flat", ("Ant", 50, 500, 0), ())


ISAACGYMENVS = """\
task:
  name: Spinner
  env:
    numEnvs: ${resolve_default:4096,${...num_envs}}
  sim:
    use_gpu_pipeline: ${eq:${...pipeline},"gpu"}
    physx:
      use_gpu: ${contains:"cuda",${....sim_device}}
train:
  params:
    seed: ${...seed}
    load_checkpoint: ${if:${...checkpoint},True,False}
    config:
      name: ${resolve_default:Spinner,${....experiment}}
      full_experiment_name: ${.name}
      num_actors: ${....task.env.numEnvs}
      max_epochs: ${resolve_default:500,${....max_iterations}}
      save_best_after: 200
      save_frequency: 50
task_name: ${task.name}
experiment: ''
num_envs: ''
seed: 42
max_iterations: ''
pipeline: gpu
sim_device: cuda:0
checkpoint: ''
wandb_name: ${train.params.config.name}
"""


def test_the_shape_of_isaacgymenvs(tmp_path: Path) -> None:
    file = read(tmp_path, ISAACGYMENVS)
    assert file.shape == "isaacgymenvs"
    assert settings_of(file) == ("Spinner", 50, 500, 200)
    assert file.problems == ()


def test_the_command_lines_overrides_are_followed(tmp_path: Path) -> None:
    text = ISAACGYMENVS.replace("experiment: ''", "experiment: mine").replace(
        "max_iterations: ''", "max_iterations: 1_000"
    )
    assert settings_of(read(tmp_path, text)) == ("mine", 50, 1000, 200)


def test_the_shape_of_rl_games_itself(tmp_path: Path) -> None:
    file = read(tmp_path, "params:\n  config:\n    name: Ant\n    max_epochs: -1\n")
    assert (file.shape, settings_of(file)) == ("isaacgymenvs", ("Ant", None, None, None))
    assert file.problems == ()


def test_a_config_of_something_else(tmp_path: Path) -> None:
    file = read(tmp_path, "agent:\n  name: Ant\ntrain: {params: 3}\n")
    assert (file.shape, settings_of(file)) == ("unknown", (None,) * 4)
    assert file.problems == ()


def test_absent_and_null_settings_are_none_without_a_problem(tmp_path: Path) -> None:
    file = read(tmp_path, "name:\nmax_epochs: null\nsave_freq: ~\n")
    assert (file.shape, settings_of(file), file.problems) == ("flat", (None,) * 4, ())


# Values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", 50),
        ("0", 0),
        ("+7", 7),
        ("1_000", 1000),
        ("0x10", 16),
        ("0b11", 3),
        ("017", 15),
        ("1:30", 90),
        ("!!int '12'", 12),
    ],
)
def test_whole_numbers_are_read_as_yaml_1_1_reads_them(
    tmp_path: Path, text: str, expected: int
) -> None:
    assert yaml.safe_load(f"save_freq: {text}") == {"save_freq": expected}
    file = read(tmp_path, f"save_freq: {text}\n")
    assert (file.save_freq, file.problems) == (expected, ())


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "abc",
        "''",
        "'50'",
        "true",
        "yes",
        "2.5",
        "1e3",
        "50.0",
        "[50]",
        "{a: 1}",
        "0o17",
        "???",
        "2024-01-01",
        "1" + "0" * 70,
        "9223372036854775808",
        "!!int abc",
        "!!int ''",
        "!!bool 1",
        "!!float x",
        "!!binary aGk=",
    ],
)
def test_what_is_no_whole_number_is_a_problem_of_that_key(tmp_path: Path, text: str) -> None:
    file = read(tmp_path, f"name: Ant\nsave_freq: {text}\nmax_epochs: 3\n")
    assert settings_of(file) == ("Ant", None, 3, None)
    (problem,) = file.problems
    assert problem.startswith("save_freq: ")


def test_max_epochs_is_at_least_1(tmp_path: Path) -> None:
    for text in ("0", "-1"):
        (problem,) = read(tmp_path, f"max_epochs: {text}").problems
        assert problem == f"max_epochs: has to be at least 1, not '{text}'"


@pytest.mark.parametrize(
    "text", ["123", "007", "1e5", "0x10", "1_000", "yes", "2.50", "2024-01-01", "Ant", "-5", ".5"]
)
def test_a_name_is_the_text_as_written(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"name: {text}\n").name == text
    assert read(tmp_path, f"name: '{text}'\n").name == text
    assert read(tmp_path, f"name: ${{run}}\nrun: {text}\n").name == text


@pytest.mark.parametrize("text", ["''", "[a]", "{}", "x" * 300, '"\\ud800"', "???"])
def test_a_name_that_no_file_can_have_is_a_problem(tmp_path: Path, text: str) -> None:
    file = read(tmp_path, f"name: {text}\nsave_freq: 1\n")
    assert file.name is None
    assert len(file.problems) == 1


def test_a_key_that_stands_there_twice_is_a_problem_and_the_last_counts(tmp_path: Path) -> None:
    file = read(tmp_path, "save_freq: 1\nname: a\nsave_freq: 2\n")
    assert (file.name, file.save_freq) == ("a", 2)
    (problem,) = file.problems
    assert problem.startswith("save_freq: the key 'save_freq' stands there more than once")


def test_anchors_aliases_and_merge_keys(tmp_path: Path) -> None:
    text = "base: &base {name: Ant, save_freq: 5}\nother: &other {save_freq: 6, max_epochs: 7}\n"
    file = read(tmp_path, text + "<<: [*base, *other]\nsave_best_after: &n 8\nmore: *n\n")
    assert settings_of(file) == ("Ant", 5, 7, 8)
    assert settings_of(read(tmp_path, text + "<<: *other\nname: Bee\n")) == ("Bee", 6, 7, None)


# OmegaConf as the oracle


@pytest.fixture(autouse=True, scope="module")
def _resolvers() -> Iterator[None]:
    """Register what IsaacGymEnvs registers."""
    resolvers = {
        "eq": lambda x, y: x.lower() == y.lower(),
        "contains": lambda x, y: x.lower() in y.lower(),
        "if": lambda pred, a, b: a if pred else b,
        "resolve_default": lambda default, arg: default if arg == "" else arg,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver)
    yield
    for name in resolvers:
        OmegaConf.clear_resolver(name)


class _Rejected:
    """What OmegaConf refuses to resolve."""


def oracle(text: str, key: str) -> object:
    """What OmegaConf finds under `train.params.config`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty arguments
        try:
            loaded = OmegaConf.create(text)
            return loaded.train.params.config.get(key)
        except OmegaConfBaseException:
            return _Rejected()


def check_number(folder: Path, document: dict[str, object]) -> None:
    text = yaml.safe_dump(document)
    file, number = read(folder, text), oracle(text, "max_epochs")
    wrong = any(problem.startswith("train.params.config.max_epochs: ") for problem in file.problems)
    if type(number) is int and number >= 1:
        assert (file.max_epochs, wrong) == (number, False)
    else:
        fine = number is None or (type(number) is int and number == -1)
        assert (file.max_epochs, wrong) == (None, not fine)


def check_name(folder: Path, document: dict[str, object]) -> None:
    text = yaml.safe_dump(document)
    file, name = read(folder, text), oracle(text, "name")
    wrong = any(problem.startswith("train.params.config.name: ") for problem in file.problems)
    if isinstance(name, str) and 0 < len(name) <= 255:
        assert (file.name, wrong) == (name, False)
    elif name is None or isinstance(name, (_Rejected, str)) or OmegaConf.is_config(name):
        assert (file.name, wrong) == (None, name is not None)
    else:  # a number or a bool: as written
        assert file.name is not None
        assert not wrong


_words = st.sampled_from(
    ["Ant", "a-b", "x_1", "gpu", "GPU", "cuda:0", "5", "-3", "1_0", "2.5", "1e3"]
)
_literals = _words | st.sampled_from(
    ["True", "false", "NULL", "''", '"gpu"', "'a b'", "a b", "c:/d", "$x", "007", "inf", ""]
)
_references = st.sampled_from(
    [
        "${experiment}",
        "${....experiment}",
        "${....max_iterations}",
        "${ task.name }",
        "${.other}",
        "${.max_epochs}",
        "${.name}",
        "${...config.other}",
        "${task[name]}",
        "${....list.1}",
        "${none}",
        "${....nothing.there}",
        "${.....experiment}",
        "${......experiment}",
    ]
)


def _calls(arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    blank = st.sampled_from(["", "", " "])

    def call(name: str, count: int) -> st.SearchStrategy[str]:
        spaced = st.tuples(blank, arguments, blank).map("".join)
        return st.lists(spaced, min_size=count, max_size=count).map(
            lambda given: f"${{{name}:{','.join(given)}}}"
        )

    calls = [("eq", 2), ("contains", 2), ("if", 3), ("resolve_default", 2), ("resolve_default", 3)]
    quoted = arguments.filter(lambda text: "'" not in text).map(lambda text: f"'{text}'")
    return st.one_of(*[call(name, count) for name, count in calls], quoted)


_expressions = st.recursive(_literals | _references, _calls, max_leaves=6)
_plain = st.sampled_from(
    ["", "Ant", "mine", "gpu", 0, 5, 700, 2.5, True, False, None, "${task.name}"]
)


@_same_folder
@given(_expressions, st.lists(_expressions | _words, min_size=1, max_size=3), _plain, _plain)
@example("${resolve_default:500,${....max_iterations}}", ["${resolve_default:A,}"], "", "")
def test_interpolations_are_resolved_as_omegaconf_resolves_them(
    tmp_path: Path, number: str, name: list[str], experiment: object, iterations: object
) -> None:
    run = {"name": "".join(name), "max_epochs": number, "other": 12}
    document: dict[str, object] = {
        "train": {"params": {"config": run}},
        "task": {"name": "Spinner"},
        "experiment": experiment,
        "max_iterations": iterations,
        "list": [3, 4],
        "none": None,
    }
    check_number(tmp_path, document)
    check_name(tmp_path, document)


_characters = st.text(alphabet="${}.:,'\"\\ ab01[]\t=-", max_size=14)


@_same_folder
@given(_characters, _characters)
def test_any_text_is_resolved_as_omegaconf_resolves_it(
    tmp_path: Path, number: str, name: str
) -> None:
    around = {"a": 1, "b": "two", "ab": ""}
    for check, setting in (
        (check_name, {"name": f"${{{name}"}),
        (check_number, {"max_epochs": f"${{if:a,5,{number}"}),
    ):
        run = {**around, **setting}
        check(tmp_path, {"train": {"params": {"config": run}}, "a": "A b", "b": 3})


@_same_folder
@given(st.one_of(_plain, st.integers(-5, 5), st.floats(), st.text(max_size=5)))
def test_any_value_is_read_as_omegaconf_reads_it(tmp_path: Path, value: object) -> None:
    run = {"name": value, "max_epochs": value, "other": 1}
    document = {"train": {"params": {"config": run}}, "task": {"name": "Spinner"}}
    check_number(tmp_path, document)
    check_name(tmp_path, document)


# Interpolations that hurt


def problems_of(folder: Path, text: str) -> tuple[str, ...]:
    """The problems of a config whose `save_freq` cannot be resolved, all else fine."""
    file = read(folder, "name: Ant\n" + text)
    assert (file.name, file.save_freq) == ("Ant", None)
    for problem in file.problems:
        assert problem.isascii()
        assert "\n" not in problem
        assert len(problem) < 300
    return file.problems


@pytest.mark.parametrize("name", ["oc.env", "oc.decode", "oc.create", "eval", "now", "hydra"])
def test_unknown_resolvers_are_never_run(tmp_path: Path, name: str) -> None:
    (problem,) = problems_of(tmp_path, f"save_freq: ${{{name}:HOME}}\n")
    assert problem == f"save_freq: the resolver '{name}' is not known; it was not run"
    assert os.environ["HOME"] not in problem


def test_a_value_that_refers_to_itself(tmp_path: Path) -> None:
    assert "refers to itself" in problems_of(tmp_path, "save_freq: ${save_freq}\n")[0]
    assert "refers to itself" in problems_of(tmp_path, "save_freq: ${a}\na: ${b}\nb: ${a}\n")[0]


def test_a_long_chain_of_references(tmp_path: Path) -> None:
    chain = "".join(f"a{i}: ${{a{i + 1}}}\n" for i in range(1000))
    assert "refers on and on" in problems_of(tmp_path, f"save_freq: ${{a0}}\n{chain}a1000: 1\n")[0]


def test_references_that_double_at_each_step(tmp_path: Path) -> None:
    bomb = "".join(f"a{i}: '${{a{i + 1}}}${{a{i + 1}}}'\n" for i in range(25))
    begun = time.thread_time()
    (problem,) = problems_of(tmp_path, f"save_freq: ${{a0}}\n{bomb}a25: xxxxxxxx\n")
    assert "steps to resolve" in problem or "text of more than" in problem
    assert time.thread_time() - begun < 1


def test_interpolations_nested_too_deeply(tmp_path: Path) -> None:
    nested = "${if:" * 200 + "1" + ",1,1}" * 200
    assert "nested too deeply" in problems_of(tmp_path, f"save_freq: {nested}\n")[0]


@pytest.mark.parametrize("text", ["${list}", "x${list}", "${if:'${list}',1,2}", "${if:[1],1,2}"])
def test_lists_are_not_values(tmp_path: Path, text: str) -> None:
    assert len(problems_of(tmp_path, f'save_freq: "{text}"\nlist: [1]\n')) == 1


def test_an_expression_that_is_too_long(tmp_path: Path) -> None:
    assert "characters" in problems_of(tmp_path, f"save_freq: '${{a}}{'x' * 5000}'\na: 1\n")[0]


@pytest.mark.parametrize(
    "text", ["${", "${}", "${a", "${if:", "${if:1,2", "${a.}", "${a[}", "${'a'}"]
)
def test_an_interpolation_that_is_not_closed(tmp_path: Path, text: str) -> None:
    assert (
        len(problems_of(tmp_path, f"save_freq: '{text.replace(chr(39), chr(39) * 2)}'\na: 1\n"))
        == 1
    )


# Documents that hurt


def unreadable(folder: Path, text: str | bytes) -> str:
    file = read(folder, text)
    assert (file.shape, settings_of(file)) == ("unknown", (None,) * 4)
    (problem,) = file.problems
    assert problem.isascii()
    assert "\n" not in problem
    assert len(problem) < 300
    return problem


@pytest.mark.parametrize(
    "payload",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:os.PathLike {{}}",
        "!!python/tuple [1, 2]",
        "!mine x",
    ],
)
def test_object_tags_are_told_and_nothing_is_constructed(tmp_path: Path, payload: str) -> None:
    trace = tmp_path / "trace"
    payload = payload.format(trace)
    file = read(tmp_path, f"name: Ant\nsave_freq: 5\nother: {payload}\n")
    assert not trace.exists()
    assert settings_of(file) == ("Ant", 5, None, None)
    (problem,) = file.problems
    assert problem.startswith("line 3: the tag ")
    assert len(read(tmp_path, f"save_freq: {payload}\n").problems) == 2
    assert len(read(tmp_path, payload).problems) == 1


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("count", [65, 900, 1100, 50_000])
@pytest.mark.parametrize(
    "opening", ["[", "{", "{a: ", "- ", "? ", "a: [", "[[{", '["#", [', "[ # [\n"]
)
def test_deep_nesting_is_told_in_the_same_words_by_each_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: str, count: int, loader: str
) -> None:
    if loader == "SafeLoader":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    problem = unreadable(tmp_path, (opening * count)[: 200 << 10])
    line = 1 if "\n" not in opening else 65
    assert problem == f"is nested too deeply: more than 64 levels (line {line})"


@pytest.mark.parametrize("limit", [65, 100, 1000])
def test_a_parsers_own_limit_of_depth_changes_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """PyYAML 6.0.4 has one of 1000, in words of its own, and another version may have another."""

    def parse(text: str, Loader: object) -> None:  # noqa: N803  (PyYAML's name)
        del Loader
        mark = yaml.Mark("config", limit, 0, limit, None, None)
        raise yaml.scanner.ScannerError(None, None, f"too deep for {text[:1]}", mark)

    monkeypatch.setattr(yaml, "parse", parse)
    problem = unreadable(tmp_path, "[" * 1500)
    assert problem == "is nested too deeply: more than 64 levels (line 1)"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 64,
        "name: '" + "[" * 100 + "'\nb: [\n",
        "# " + "[" * 100 + "\nb: [\n",
        'name: "\\"' + "[" * 100 + '"\nb: [\n',
        "[], " * 100 + "\n",
        "a[" * 100 + ": b: c\n",
    ],
)
def test_what_is_not_deep_but_broken_is_told_by_its_place(tmp_path: Path, text: str) -> None:
    assert re.fullmatch(r"is not YAML \(line \d+, column \d+\)", unreadable(tmp_path, text))


@pytest.mark.parametrize("quote", ["'{}'", '"{}"', "|\n  {}"])
def test_brackets_in_texts_are_no_nesting(tmp_path: Path, quote: str) -> None:
    text = "name: Ant\nnote: " + quote.format("[" * 1500) + "\n"
    assert (read(tmp_path, text).name, read(tmp_path, text).problems) == ("Ant", ())


def test_an_alias_bomb(tmp_path: Path) -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    begun = time.thread_time()
    file = read(tmp_path, "name: Ant\na0: &a0 lol\n" + levels)
    assert (file.name, file.problems) == ("Ant", ())
    assert time.thread_time() - begun < 1


def test_merge_keys_that_refer_to_themselves_or_fan_out(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &a\n  <<: *a\n<<: *a\nname: Ant\n").name == "Ant"
    fan = "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    file = read(tmp_path, "a0: &a0 {x: 1}\n" + fan + "<<: *a29\nname: Ant\n")
    assert file.name == "Ant"
    assert any("steps to resolve" in problem for problem in file.problems)


def test_an_alias_of_itself_can_be_walked_only_as_far_as_the_path_goes(tmp_path: Path) -> None:
    file = read(tmp_path, "train: &t\n  params: *t\n  config: {name: Ant}\n")
    assert (file.shape, file.name) == ("isaacgymenvs", "Ant")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a mapping"),
        ("just text", "not a mapping"),
        ("- a\n- b\n", "not a mapping"),
        ("name: [Ant\n", "not YAML"),
        ("name: *nothing\n", "undefined alias"),
        ("a: b: c\n", "not YAML"),
        ("name: a\n---\nname: b\n", "more than one document"),
        ("\x00\x01", "not YAML"),
        (b"name: \xff\xfe\n", "not UTF-8"),
        (b"PK\x03\x04" + bytes(range(256)), "not UTF-8"),
        ('a: "\\q\u2028"\n', "not YAML"),
        ("x" * 300_000, "too large"),
        ("[" + "1," * 60_000 + "]", "too large"),
    ],
)
def test_what_is_no_config(tmp_path: Path, text: str | bytes, what: str) -> None:
    assert what in unreadable(tmp_path, text)


def test_a_sparse_file_of_10_gb(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    (problem,) = read_config(path).problems
    assert "too large" in problem


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    assert read_config(fifo).problems == ("not a regular file but a FIFO",)
    assert read_config(tmp_path).problems == ("not a regular file but a folder",)
    (problem,) = read_config(loop).problems
    assert problem.startswith("not a regular file: ")
    for path in (tmp_path / "none", tmp_path / "a\0b"):
        (problem,) = read_config(path).problems
        assert problem.startswith("cannot be read: ")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.touch()

    def refuse(*_: object) -> int:  # as for any user but root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    assert read_config(path).problems == ("cannot be read: Permission denied",)


@_same_folder
@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_give_a_config_or_a_problem(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data).problems or data


@_same_folder
@given(st.text(alphabet="ab:-&*!<>[]{}|'\"\\ \n\t?%#,0", max_size=40))
def test_without_libyaml_the_same_is_read(tmp_path: Path, text: str) -> None:
    text = "name: Ant\n" + text
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        slow = read(tmp_path, text)
    fast = read(tmp_path, text)
    if not any("not YAML" in problem for problem in (*slow.problems, *fast.problems)):
        assert slow == fast
