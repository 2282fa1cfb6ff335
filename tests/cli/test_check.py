"""`conformance check`: exit codes, options and where the reports go."""

from __future__ import annotations

import json
import os
import resource
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from referencing import Registry, Resource

from conformance import checks
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import RULES
from conformance.fixtures.play import Session, play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _document(text: str) -> dict[str, Any]:
    """The JSON report in a text, held against its schema."""
    document: dict[str, Any] = json.loads(text)
    folder = resources.files("conformance") / "schemas"
    report, scenario = (
        json.loads((folder / f"{stem}-1.schema.json").read_text(encoding="utf-8"))
        for stem in ("report", "scenario")
    )
    registry = Registry().with_resource(scenario["$id"], Resource.from_contents(scenario))
    jsonschema.Draft202012Validator(report, registry=registry).validate(document)
    return document


def _verdicts(document: dict[str, Any]) -> dict[str, str]:
    (run,) = document["runs"]
    return {finding["rule"]: finding["verdict"] for finding in run["findings"]}


def _is_one_line(text: str) -> bool:
    return text.startswith("conformance: ") and text.count("\n") == 1 and text.endswith("\n")


# --- exit codes -----------------------------------------------------------------------------


def test_a_conforming_run_exits_0(command: Callable[..., Any], conforming: Path) -> None:
    result = command("check", conforming)
    assert (result.code, result.err) == (0, "")
    assert "verdict: conforms" in result.out


def test_a_broken_must_rule_exits_1(command: Callable[..., Any], failing: Path) -> None:
    result = command("check", failing)
    assert (result.code, result.err) == (1, "")
    assert "MUST rules broken: BEST-001" in result.out


def test_a_broken_should_rule_warns_and_exits_0(
    command: Callable[..., Any], conforming: Path
) -> None:
    (conforming / "nn" / "notes.txt").write_text("mine")
    result = command("check", conforming)
    assert result.code == 0
    assert "warn" in result.out
    assert "LAYOUT-003" in result.out


def test_an_incomplete_run_exits_3_under_strict_alone(
    command: Callable[..., Any], incomplete: Path
) -> None:
    assert command("check", incomplete).code == 0
    assert command("check", "--strict", incomplete).code == 3
    assert "verdict: incomplete" in command("check", incomplete).out


def test_strict_does_not_hide_a_failure(
    command: Callable[..., Any], failing: Path, incomplete: Path
) -> None:
    assert command("check", "--strict", failing, incomplete).code == 1


@pytest.mark.parametrize("name", ["gone", "file.txt", "empty"])
def test_a_path_without_a_run_exits_2(command: Callable[..., Any], root: Path, name: str) -> None:
    (root / "empty").mkdir()
    (root / "file.txt").touch()
    result = command("check", root / name)
    assert (result.code, result.out) == (2, "")
    assert _is_one_line(result.err)
    assert name in result.err


def test_an_unusable_path_among_good_ones_exits_2_and_the_good_are_judged(
    command: Callable[..., Any], root: Path, failing: Path
) -> None:
    result = command("check", root / "gone", failing)
    assert result.code == 2
    assert "BEST-001" in result.out
    assert _is_one_line(result.err)


def test_a_run_that_cannot_be_listed_exits_2_and_is_blamed_for_nothing(
    process: Callable[..., Any], root: Path, conforming: Path
) -> None:
    (root / "closed").mkdir(mode=0)
    result = process("check", "--format", "json", root)
    assert result.code == 2
    assert "Permission denied" in result.err
    closed = next(
        run for run in _document(result.out)["runs"] if run["path"] == str(root / "closed")
    )
    verdicts = {finding["verdict"] for finding in closed["findings"]}
    assert verdicts == {"unobservable", "not-applicable"}
    assert conforming.name in result.out


@pytest.mark.parametrize(("hidden", "seen"), [("nn", "SUMMARY-001"), ("summaries", "LOAD-001")])
def test_a_folder_that_cannot_be_listed_is_unobservable(
    process: Callable[..., Any], conforming: Path, hidden: str, seen: str
) -> None:
    (conforming / hidden).chmod(0)
    try:
        result = process("check", "--format", "json", conforming)
    finally:
        (conforming / hidden).chmod(0o755)
    assert result.code == 0
    verdicts = _verdicts(_document(result.out))
    assert "fail" not in verdicts.values()
    assert (verdicts["BEST-002"], verdicts[seen]) == ("unobservable", "pass")
    assert f"'{hidden}' cannot be listed whole: Permission denied" in result.err


def test_files_that_cannot_be_read_are_told_and_are_not_passed(
    process: Callable[..., Any], conforming: Path
) -> None:
    (conforming / "nn" / "A.pth").chmod(0)
    result = process("check", "--format", "json", conforming)
    assert result.code == 0
    verdicts = _verdicts(_document(result.out))
    assert verdicts["INTEGRITY-001"] == "unobservable"
    assert "fail" not in verdicts.values()
    assert "error" not in verdicts.values()
    assert "nn/A.pth" in result.err
    assert process("check", "--strict", conforming).code == 3


@pytest.mark.parametrize(
    ("arguments", "blamed"),
    [
        ((), "COMMAND"),
        (("chek",), "chek"),
        (("check",), "PATH"),
        (("check", ".", "--bogus"), "--bogus"),
        (("check", ".", "--format", "yaml"), "yaml"),
        (("check", ".", "--save-freq", "-1"), "-1"),
        (("check", ".", "--save-freq", "1.5"), "1.5"),
        (("check", ".", "--save-freq", "\u0661"), "\\u0661"),
        (("check", ".", "--max-epochs", "0"), "0"),
        (("check", ".", "--save-best-after", "x"), "x"),
        (("check", ".", "--profile", "gone"), "gone"),
        (("check", ".", "--profile", "gone.toml"), "gone.toml"),
        (("check", ".", "--select", "BEST-099"), "BEST-099"),
        (("check", ".", "--select", "BEST,NOPE"), "NOPE"),
        (("check", ".", "--select", ""), "no rule"),
        (("check", ".", "--select", ","), "no rule"),
        (("check", ".", "--ignore", "NOPE"), "NOPE"),
        (("check", ".", "--select", "BEST", "--ignore", "BEST"), "leave no rule"),
        (("check", ".", "--waivers", "gone.toml"), "gone.toml"),
        (("check", ".", "--model", "torch"), "module:attribute"),
        (("check", ".", "--model", ":x"), "module:attribute"),
        (("check", ".", "--model", "x:"), "module:attribute"),
        (("check", ".", "--model", "no_such_module:Model"), "no_such_module"),
        (("check", ".", "--model", "json:Gone"), "Gone"),
        (("check", ".", "--model", "json:JSONDecodeError"), "TypeError"),
        (("check", ".", "--model", "json:__doc__"), "neither a torch module"),
        (("check", ".", "--model", "json:JSONDecoder"), "neither a torch module"),
        (("check", ".", "--format", "json", "--format", "text"), "two reports"),
        (("check", ".", "--output", "gone/report.txt"), "its folder does not exist"),
        (("check", ".", "--output", "."), "it is a folder"),
        (("explain", "BEST-099"), "BEST-001"),
        (("explain", "\x1b[31m"), "\\x1b"),
        (("check", ".", "--\x1b[31m\nverdict:conforms"), "\\x1b"),
        (("ls", ".", "--best", "--latest"), "--best"),
        (("rules", "--format", "xml"), "xml"),
    ],
)
def test_wrong_usage_exits_2_with_one_clear_line(
    command: Callable[..., Any],
    conforming: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    blamed: str,
) -> None:
    monkeypatch.chdir(conforming)
    result = command(*arguments)
    assert (result.code, result.out) == (2, "")
    assert _is_one_line(result.err)
    assert blamed in result.err
    assert result.err[:-1].isprintable()


def _raise(subject: object) -> object:
    del subject
    raise RuntimeError("\x1b[31ma defect\nof the harness")


def test_a_check_that_breaks_exits_4_and_blames_nobody(
    command: Callable[..., Any], conforming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checks.CHECKS, "BEST-003", _raise)
    result = command("check", conforming, "--format", "json")
    assert result.code == 4
    document = _document(result.out)
    assert document["verdict"] == "error"
    verdicts = _verdicts(document)
    assert verdicts.pop("BEST-003") == "error"
    assert set(verdicts.values()) == {"pass", "not-applicable"}
    text = command("check", conforming)
    assert text.code == 4
    assert "the harness failed: RuntimeError" in text.out
    assert "\x1b" not in text.out


def test_a_broken_should_check_exits_4_too(
    command: Callable[..., Any], conforming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checks.CHECKS, "NAME-008", _raise)
    assert command("check", conforming).code == 4


def test_a_failure_is_not_hidden_by_a_broken_check(
    command: Callable[..., Any], failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checks.CHECKS, "BEST-003", _raise)
    assert command("check", failing).code == 1


def test_a_defect_outside_the_checks_exits_4(
    command: Callable[..., Any], conforming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan_run(*_: object, **__: object) -> object:
        raise RuntimeError("\x1b[31ma defect")

    monkeypatch.setattr("conformance.audits.scan_run", scan_run)
    result = command("check", conforming)
    assert (result.code, result.out) == (4, "")
    assert "RuntimeError" in result.err
    assert result.err.endswith("conformance: the harness itself failed (above)\n")
    assert "\x1b" not in result.err


def test_an_interrupt_is_no_defect(
    command: Callable[..., Any], conforming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan_run(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("conformance.audits.scan_run", scan_run)
    assert command("check", conforming).code == 130


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("check", "--help")])
def test_help_exits_0(
    capsys: pytest.CaptureFixture[str], command: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*arguments)
    assert caught.value.code == 0
    assert "conformance" in capsys.readouterr().out


# --- settings and rules ---------------------------------------------------------------------


def test_settings_may_be_given(command: Callable[..., Any], incomplete: Path) -> None:
    assert (
        command("check", "--strict", incomplete, "--save-freq", "4", "--max-epochs", "4").code == 0
    )
    result = command("check", incomplete, "--save-freq", "2")
    assert result.code == 1
    assert "save_freq 2 (from --save-freq)" in result.out
    assert command("check", incomplete, "--save-freq", "0").code == 1


def test_an_option_outweighs_the_config(command: Callable[..., Any], conforming: Path) -> None:
    result = command("check", conforming, "--save-freq", "1")
    assert result.code == 1
    assert "(from --save-freq)" in result.out


def test_the_runs_name_may_be_given(command: Callable[..., Any], conforming: Path) -> None:
    result = command("check", conforming, "--name", "B")
    assert result.code == 1
    assert "--name" in result.out


def test_another_profile_may_be_given(command: Callable[..., Any], root: Path) -> None:
    profile = load_profile("rl_games-1.6")
    run = play(
        Settings("Ant", 2, 4, save_best_after=0),
        [Session((1.0, 3.0, 2.0, 4.0))],
        profile=profile,
    ).write(root)
    assert command("check", run).code == 1
    result = command("check", run, "--profile", "rl_games-1.6")
    assert (result.code, result.err) == (0, "")
    assert "rl_games-1.6" in result.out


def test_a_profile_of_ones_own_may_be_given(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'name = "own"\nsummary = "s"\nsource = "s"\nbase = "isaacgymenvs"\n'
        '[contents]\nrequired_keys = ["scaler"]\n'
    )
    result = command("check", conforming, "--profile", own)
    assert result.code == 1
    assert "it lacks scaler" in result.out


@pytest.mark.parametrize(
    ("options", "judged"),
    [
        ((), {rule.id for rule in RULES}),
        (("--select", "BEST-003"), {"BEST-003"}),
        (("--select", "best-003,RESUME"), {"BEST-003", "RESUME-001", "RESUME-002"}),
        (("--select", "SUMMARY", "--ignore", "SUMMARY-001"), {"SUMMARY-002"}),
        (("--ignore", "BEST"), {rule.id for rule in RULES if rule.group != "BEST"}),
        (("--ignore", ""), {rule.id for rule in RULES}),
    ],
)
def test_rules_are_selected(
    command: Callable[..., Any], conforming: Path, options: tuple[str, ...], judged: set[str]
) -> None:
    result = command("check", conforming, "--format", "json", *options)
    assert result.code == 0
    assert set(_verdicts(_document(result.out))) == judged


def test_ignored_rules_do_not_fail_a_run(command: Callable[..., Any], failing: Path) -> None:
    assert command("check", failing, "--ignore", "BEST-001").code == 0
    assert command("check", failing, "--select", "BEST-001").code == 1


def test_a_run_given_twice_is_judged_once(
    command: Callable[..., Any], root: Path, conforming: Path
) -> None:
    result = command("check", "--format", "json", root, conforming, conforming / "nn")
    assert len(_document(result.out)["runs"]) == 1


def test_verbose_lists_every_rule(command: Callable[..., Any], conforming: Path) -> None:
    out = command("check", "--verbose", conforming).out
    assert "LAYOUT-001" in out
    assert "LAYOUT-001" not in command("check", conforming).out


# --- where the reports go -------------------------------------------------------------------

TEXT, JSON = ("--format", "text"), ("--format", "json")


def _looks_like(text: str) -> str:
    return "json" if text.startswith("{") else "text" if "verdict: " in text else "nothing"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"-": "text"}),
        (TEXT, {"-": "text"}),
        (JSON, {"-": "json"}),
        (("--output", "-"), {"-": "text"}),
        (("--output", "a"), {"a": "text"}),
        ((*JSON, "--output", "a"), {"a": "json"}),
        (("--output", "a", *JSON), {"a": "json"}),
        ((*JSON, "--output", "-"), {"-": "json"}),
        ((*JSON, "--output", "a", *TEXT), {"a": "json", "-": "text"}),
        ((*TEXT, *JSON, "--output", "a"), {"a": "json", "-": "text"}),
        ((*JSON, "--output", "a", *TEXT, "--output", "b"), {"a": "json", "b": "text"}),
        (("--output", "a", *JSON, "--output", "b", *TEXT), {"a": "json", "b": "text"}),
        (("--output", "a", "--output", "b", *JSON), {"a": "text", "b": "json"}),
        (("--output", "a", *JSON, *JSON), {"a": "json", "-": "json"}),
    ],
)
def test_formats_and_outputs_come_in_pairs(  # noqa: PLR0917 - fixtures
    command: Callable[..., Any],
    conforming: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    result = command("check", conforming, *options)
    assert (result.code, result.err) == (0, "")
    written = {path.name: path.read_text() for path in set(tmp_path.iterdir()) - before}
    if result.out:
        written["-"] = result.out
    assert {name: _looks_like(text) for name, text in written.items()} == expected


def test_an_output_is_written_with_the_usual_permissions(
    process: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    process(
        "check", conforming, "--output", tmp_path / "r", prepare=lambda: os.umask(0o027) and None
    )
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o640


def test_an_output_that_is_a_link_is_written_through(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert command("check", conforming, "--output", tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert "verdict: conforms" in (tmp_path / "real").read_text()


def test_an_output_that_is_a_pipe_is_written_to_and_stays_one(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert command("check", conforming, "--output", pipe).code == 0
    reader.join(timeout=300)
    assert _looks_like(read[0]) == "text"
    assert pipe.is_fifo()


def test_an_output_that_cannot_be_written_exits_2_and_leaves_the_old_one(
    process: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    result = process(
        *("check", conforming, *JSON, "--output", out / "report.json"),
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert (result.code, result.out) == (2, "")
    assert _is_one_line(result.err)
    assert "report.json': File too large" in result.err
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("report.json", "old")]


def test_an_output_in_a_closed_folder_exits_2(
    process: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    result = process("check", conforming, "--output", out / "report.txt")
    assert (result.code, result.out) == (2, "")
    assert "report.txt': Permission denied" in result.err
    assert list(out.iterdir()) == []


def test_no_report_is_written_where_another_is_in_the_way(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    """The places are looked at before anything is read, so nothing is half done."""
    result = command(
        *("check", conforming, *JSON, "--output", tmp_path / "a"),
        *(*TEXT, "--output", tmp_path / "gone" / "b"),
    )
    assert result.code == 2
    assert not (tmp_path / "a").exists()


def test_one_file_takes_one_report(
    command: Callable[..., Any], conforming: Path, tmp_path: Path
) -> None:
    place = ("--output", tmp_path / "a")
    assert command("check", conforming, *JSON, *place, *TEXT, *place).code == 2


def test_a_full_disk_behind_stdout_exits_2(process: Callable[..., Any], conforming: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a file object for the process
        for arguments in (("check", conforming), ("rules",), ("ls", conforming)):
            result = process(*arguments, stdout=full)
            assert result.code == 2
            assert result.err == (
                "conformance: standard output cannot be written: No space left on device\n"
            )


@pytest.mark.parametrize(("run", "code"), [("conforming", 0), ("failing", 1)])
def test_a_reader_that_went_away_does_not_change_the_verdict(
    process: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path, run: str, code: int
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = process(
            *("check", request.getfixturevalue(run), *TEXT, *JSON, "--output", tmp_path / "r"),
            stdout=writing,
        )
    finally:
        os.close(writing)
    assert (result.code, result.err) == (code, "")
    assert _looks_like((tmp_path / "r").read_text()) == "json"


def test_complaints_that_nobody_reads_do_not_change_the_verdict(
    process: Callable[..., Any], root: Path, failing: Path
) -> None:
    (failing / "config.yaml").write_text("name: [")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert process("check", failing, stderr=writing).code == 1
        assert process("check", root / "gone", stderr=writing).code == 2
    finally:
        os.close(writing)


def test_an_ascii_stdout_takes_any_name(process: Callable[..., Any], root: Path) -> None:
    run = play(Settings("名前\udcff", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))]).unconfigured()
    path = run.write(root)
    result = process("check", path, environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert result.code == 0
    assert "\\u540d\\u524d\\udcff" in result.out


def test_an_empty_path_is_no_working_directory(command: Callable[..., Any], tmp_path: Path) -> None:
    """A script whose variable is not set would audit whatever lies there."""
    result = command("check", "", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err == "conformance: a path is empty: is a variable of the script not set?\n"
