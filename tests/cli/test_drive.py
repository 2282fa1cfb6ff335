"""`conformance test`: exit codes, options, what is told where, and what is kept."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import loud_trainers
import pytest
from loud_trainers import RUBBISH
from referencing import Registry, Resource

from conformance import checks
from conformance.convention.profile import load_profile
from conformance.evidence.journal import JournalError
from conformance.report.formats import FORMATS
from conformance.suite.probes import probes

SUPPORT = Path(loud_trainers.__file__).parent
# All fixed scenarios, and no other: they exercise all rules, whatever the seed.
FIXED = len(probes(load_profile("isaacgymenvs"), resume=True))
FEW = ("--max-examples", str(FIXED), "--seed", "1")
CONFORMING = "python:conformance.mutants:Trainer"
TIE = "python:conformance.mutants:RewritesOnTie"
WORKER = f"worker:{shlex.quote(sys.executable)} {shlex.quote(loud_trainers.__file__)}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the working directory: what is kept, is kept below it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def test(command):
    """Return `conformance test` with few examples, run in this process."""
    return lambda trainer, *arguments: command("test", trainer, *FEW, *arguments)


@pytest.fixture
def driven(process):
    """Return `conformance test`, run by a process of its own that finds the trainers of tests."""
    package = str(Path(checks.__file__).parents[2])

    def run(trainer, *arguments, **options):
        path = {"PYTHONPATH": f"{package}:{SUPPORT}"}
        return process("test", trainer, *arguments, environment=path, **options)

    return run


def validated(text):
    """The JSON report in a text, held against its schema."""
    document = json.loads(text)
    schemas = resources.files("conformance") / "schemas"
    report, scenario = (
        json.loads((schemas / f"{stem}-1.schema.json").read_text(encoding="utf-8"))
        for stem in ("report", "scenario")
    )
    registry = Registry().with_resource(scenario["$id"], Resource.from_contents(scenario))
    jsonschema.Draft202012Validator(report, registry=registry).validate(document)
    return document


def failing(document):
    """The rules that fail in a JSON report."""
    return {each["rule"] for each in document["runs"][0]["findings"] if each["verdict"] == "fail"}


def scenario(file, rewards, **changes):
    """A scenario's file."""
    fields = {"experiment": "A", "root": "/nowhere", "save_freq": 0, "max_epochs": len(rewards)}
    file.write_text(json.dumps({**fields, "rewards": rewards, **changes}))
    return file


# --- exit codes -----------------------------------------------------------------------------


def test_a_conforming_trainer_exits_0(test, folder):
    result = test(CONFORMING, "--strict")
    assert result.code == 0
    assert result.out.startswith(
        f"profile isaacgymenvs, seed 1: {FIXED} scenarios played ({FIXED} fixed)"
    )
    assert f"CONFORMS   {CONFORMING}  (" in result.out
    assert result.out.endswith("verdict: conforms\n")
    assert result.err == f"conformance: repeat with --seed 1 --max-examples {FIXED}\n"
    assert not (folder / ".conformance" / "failures").exists()


def test_a_broken_must_rule_exits_1_and_is_told_by_its_smallest_scenario(test):
    result = test(TIE)
    assert result.code == 1
    lines = [line.strip() for line in result.out.splitlines()]
    assert "scenario: rewards 0.0, 0.0; save_freq 0" in lines
    assert "nn/A.pth" in lines
    assert "fix: Compare strictly: mean_rewards > last_mean_rewards, not >=." in lines
    assert f"replay: conformance test {TIE} --replay .conformance/failures/BEST-003.json" in lines
    (left,) = (line for line in lines if line.startswith("it left "))
    assert "A/nn/A.pth" in left
    assert left.endswith("; kept in .conformance/failures/BEST-003")
    assert lines[-1] == "verdict: fail (MUST rules broken: BEST-003)"


def test_a_broken_should_rule_warns_and_exits_0(test):
    result = test("python:conformance.mutants:LeavesTemporaryFiles")
    assert result.code == 0
    assert "warn   LAYOUT-003" in result.out
    assert "scenario: rewards" in result.out


@pytest.mark.parametrize(
    ("trainer", "blamed"),
    [
        ("nonsense", "a trainer is python:MODULE:ATTRIBUTE"),
        ("python:no_such_module:X", "there is no module 'no_such_module'"),
        ("python:conformance.mutants:Nobody", "Nobody"),
        ("worker:/no/such/program", "'/no/such/program'"),
        ("command:true {nonsense}", "{nonsense}"),
        ("python:\x1b[31m:X", "there is no module"),
    ],
)
def test_a_trainer_that_names_nothing_exits_2_in_one_line(test, folder, trainer, blamed):
    result = test(trainer)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("conformance: ")
    assert result.err.count("\n") == 1
    assert result.err[:-1].isprintable()
    assert blamed in result.err
    assert not (folder / ".conformance" / "examples").exists()


@pytest.mark.parametrize(
    ("arguments", "blamed"),
    [
        (("--max-examples", "0"), "at least 1"),
        (("--seed", "-1"), "at least 0"),
        (("--time-limit", "0"), "above 0"),
        (("--time-limit", "nan"), "above 0"),
        (("--time-limit", "soon"), "above 0"),
        (("--profile", "nobody"), "nobody"),
        (("--select", "NOPE"), "NOPE"),
        (("--model", "nope"), "module:attribute"),
        (("--save-best-after", "3"), "has none"),
        (("--replay", "nothing.json"), "'nothing.json': No such file"),
        (("--save-failures", "file"), "no folder"),
        (("--output", "no/where.json"), "folder does not exist"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_played(command, folder, arguments, blamed):
    (folder / "file").write_text("")
    result = command("test", CONFORMING, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert blamed in result.err
    assert not (folder / ".conformance").exists()


def test_what_was_never_exercised_is_no_pass(test):
    """With save_freq 2 in all scenarios nothing can be said of save_freq 0."""
    arguments = (CONFORMING, "--save-freq", "2")
    result = test(*arguments)
    assert result.code == 0
    assert re.search(rf"\? +CADENCE-003 +never exercised in {FIXED} scenarios", result.out)
    assert "verdict: incomplete" in result.out
    assert test(*arguments, "--strict").code == 3


def test_a_defect_of_the_harness_exits_4_and_blames_nobody(test, monkeypatch):
    def broken(_):
        raise RuntimeError("a defect")

    monkeypatch.setitem(checks.CHECKS, "BEST-003", broken)
    result = test(CONFORMING)
    assert result.code == 4
    assert "ERROR  BEST-003" in result.out
    assert test("python:conformance.mutants:LowerIsBetter").code == 1


# --- a trainer that breaks ------------------------------------------------------------------


def test_a_trainer_that_breaks_exits_2_and_fails_no_rule(test, folder):
    result = test("python:loud_trainers:Breaks", "--format", "json")
    assert result.code == 2
    document = validated(result.out)
    assert document["verdict"] == document["runs"][0]["verdict"] == "error"
    assert failing(document) == set()
    assert document["counts"]["pass"] == document["counts"]["error"] == 0
    lines = result.err.splitlines()
    (first,) = (line for line in lines if "the trainer broke" in line)
    assert "train() raised RuntimeError: no GPU for " in first
    assert first.endswith("(raised, 10 times)")
    assert any(line.startswith("conformance:   scenario: rewards ") for line in lines)
    assert "conformance:   | loading\\x1b[2J the simulator" in lines
    kept = folder / ".conformance" / "failures"
    assert "no GPU" in (kept / "broke-raised.txt").read_text()
    assert json.loads((kept / "broke-raised.json").read_text())["root"] == "runs"


def test_a_trainer_that_cannot_be_started_exits_2(test):
    result = test("python:loud_trainers:CannotBeBuilt", "--format", "json")
    assert result.code == 2
    assert validated(result.out)["verdict"] == "error"
    assert "building it raised OSError: no licence (raised)" in result.err


def test_a_broken_rule_and_a_breakage_are_both_told(test):
    """Epoch 2 alone breaks it on a tie: a tie in epoch 3 shows the rule."""
    result = test("python:loud_trainers:BreaksOnTie", "--format", "json")
    assert result.code == 1
    document = validated(result.out)
    assert failing(document) == {"BEST-003"}
    assert document["failures"][0]["scenario"]["max_epochs"] == 3
    assert "division by zero (raised" in result.err
    assert "scenario: rewards 0.0, 0.0; save_freq 0" in result.err


def test_a_worker_that_ends_badly_is_told_although_all_rules_were_kept(test):
    result = test(f"{WORKER} Trainer 7")
    assert result.code == 2
    assert "the worker ended with exit code 7 when told to stop (exited)" in result.err
    assert " failed" not in result.out
    assert result.out.endswith("verdict: error\n")


def test_a_trainer_that_plays_nothing_is_not_green(test):
    result = test("python:loud_trainers:PlaysNothing")
    assert result.code == 2
    assert "plays none of the scenarios" in result.err
    assert result.out.endswith("verdict: error\n")


def test_a_trainer_that_hangs_is_given_up(test):
    result = test(
        "command:sh -c 'exec sleep 60' {scenario}", "--time-limit", "0.05", "--max-examples", "2"
    )
    assert result.code == 2
    assert "the command did not end within 0.05 s (hung" in result.err


# --- the forms ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mutant", "code"), [("Trainer", 0), ("RewritesOnTie", 1)])
def test_a_worker_is_driven_like_an_object(test, mutant, code):
    result = test(f"{WORKER} {mutant}", "--format", "json")
    assert result.code == code
    document = validated(result.out)
    assert document["runs"][0]["path"] == mutant
    assert failing(document) == ({"BEST-003"} if code else set())


def test_a_command_plays_its_scenarios(test, folder):
    script = folder / "train.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from conformance import Scenario\n"
        "from conformance.mutants import RewritesOnTie\n"
        "RewritesOnTie().train(Scenario.from_json(Path(sys.argv[1]).read_text()))\n"
    )
    python = shlex.quote(sys.executable)
    trainer = f"command:{python} train.py {{scenario}}"
    file = scenario(folder / "tie.json", [1.0, 1.0])
    result = test(trainer, "--replay", file, "--save-failures", "kept")
    assert result.code == 1
    replay = shlex.join(("conformance", "test", trainer, "--replay", "kept/BEST-003.json"))
    assert f"replay: {replay}\n" in result.out


# --- what is written where ------------------------------------------------------------------


def test_nothing_that_a_trainer_prints_reaches_standard_output(driven):
    result = driven("python:loud_trainers:PrintsEverywhere", *FEW, "--format", "json")
    assert result.code == 1
    assert failing(validated(result.out)) == {"BEST-003"}
    assert RUBBISH not in result.out
    assert f"{RUBBISH} at exit" in result.err


@pytest.mark.parametrize(("name", "code"), [("Net", 1), ("Fitting", 0)])
def test_a_model_is_held_against_the_checkpoints_and_keeps_its_prints(test, folder, name, code):
    (folder / "drive_net.py").write_text(
        "print('RUBBISH')\n"
        "class Net:\n"
        "    def load_state_dict(self, state, strict):\n"
        "        raise RuntimeError('not mine')\n"
        "class Fitting(Net):\n"
        "    def load_state_dict(self, state, strict):\n"
        "        pass\n"
    )
    options = ("--model", f"drive_net:{name}", "--max-examples", 1, "--format", "json")
    result = test(CONFORMING, *options)
    assert result.code == code
    document = validated(result.out)
    assert failing(document) == ({"LOAD-004"} if code else set())
    verdicts = {each["rule"]: each["verdict"] for each in document["runs"][0]["findings"]}
    assert verdicts["LOAD-004"] == ("fail" if code else "pass")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_shows_the_scenario_and_how_to_play_it_again(test, kind):
    result = test(TIE, "--format", kind)
    assert result.code == 1
    assert "BEST-003" in result.out
    if kind == "json":
        (failure,) = validated(result.out)["failures"]
        assert failure["scenario"]["rewards"] == [0.0, 0.0]
        assert failure["replay"] == ".conformance/failures/BEST-003.json"
        return
    shown = re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), result.out)
    assert "scenario: rewards 0.0, 0.0; save_freq 0" in shown
    assert "--replay .conformance/failures/BEST-003.json" in shown


def test_a_report_can_go_to_a_file_and_a_table_to_the_terminal(test, folder):
    result = test(TIE, "--format", "text", "--format", "json", "--output", "report.json")
    assert "verdict: fail" in result.out
    assert failing(validated((folder / "report.json").read_text())) == {"BEST-003"}


def test_code_scanning_is_led_to_the_replay_file(test):
    (run,) = json.loads(test(TIE, "--format", "sarif").out)["runs"]
    (result,) = run["results"]
    (location,) = result["locations"]
    artifact = location["physicalLocation"]["artifactLocation"]
    assert artifact["uri"] == ".conformance/failures/BEST-003.json"
    assert run["properties"]["seed"] == 1


def test_verbose_tells_how_often_each_rule_was_evaluated(test):
    plain, verbose = test(CONFORMING), test(CONFORMING, "--verbose")
    assert "evaluations" not in plain.out
    assert re.search(r"^  BEST-003 +[1-9]\d*$", verbose.out, re.MULTILINE)
    assert re.search(r"^  INTEGRITY-002 +0$", verbose.out, re.MULTILINE)
    assert "kept in" in verbose.out


def test_without_a_journal_the_order_of_writes_is_unobservable(test, monkeypatch):
    def refuse():
        raise JournalError("no inotify here")

    monkeypatch.setattr("conformance.suite.session.Watcher", refuse)
    result = test(CONFORMING)
    assert result.code == 0
    assert "conformance: writes are not watched: no inotify here" in result.err
    assert re.search(r"\? +CADENCE-004", result.out)
    assert test(CONFORMING, "--strict").code == 3


# --- options --------------------------------------------------------------------------------


def test_rules_can_be_selected_and_left_out(test):
    assert test(TIE, "--ignore", "BEST-003").code == 0
    result = test(TIE, "--select", "NAME,CADENCE", "--format", "json")
    assert result.code == 0
    groups = {each["rule"].split("-")[0] for each in validated(result.out)["runs"][0]["findings"]}
    assert groups == {"NAME", "CADENCE"}


def test_a_waived_rule_fails_nothing_and_is_told_as_waived(test, folder):
    waiver = '[[waiver]]\nrule = "BEST-003"\nreason = "known: #12"\nexpires = 2999-12-31\n'
    (folder / "waivers.toml").write_text(waiver)
    result = test(TIE, "--waivers", "waivers.toml")
    assert result.code == 0
    assert "waived BEST-003" in result.out
    assert "waived: known: #12" in result.out
    unused = test(CONFORMING, "--waivers", "waivers.toml")
    assert unused.code == 2
    assert "unused waiver(s), to be removed: BEST-003" in unused.err


def test_a_waiver_may_go_unused_where_not_all_was_played(test, folder):
    waiver = '[[waiver]]\nrule = "NAME-005"\nreason = "known: #12"\nexpires = 2999-12-31\n'
    (folder / "waivers.toml").write_text(waiver)
    arguments = ("--waivers", "waivers.toml")
    file = scenario(folder / "tie.json", [1.0, 1.0])
    assert "BEST-003" in test(TIE, "--replay", file, *arguments).out
    assert "the trainer broke" in test("python:loud_trainers:Breaks", *arguments).err


def test_a_waiver_does_not_hide_a_breakage(test, folder):
    waiver = '[[waiver]]\nrule = "BEST-003"\nreason = "known: #12"\nexpires = 2999-12-31\n'
    (folder / "waivers.toml").write_text(waiver)
    result = test("python:loud_trainers:BreaksOnTie", "--waivers", "waivers.toml")
    assert result.code == 2
    assert "division by zero" in result.err


def test_settings_are_the_same_in_all_scenarios(test, folder):
    fixed = (
        "--save-freq",
        "3",
        "--max-epochs",
        "4",
        "--profile",
        "rl_games-1.6",
        "--max-examples",
        "4",
    )
    result = test(TIE, *fixed, "--save-best-after", "1")
    assert result.code == 1
    for file in (folder / ".conformance" / "failures").glob("*.json"):
        played = json.loads(file.read_text())
        sessions = played if isinstance(played, list) else [played]
        assert {session["save_freq"] for session in sessions} == {3}
        assert {session["save_best_after"] for session in sessions} == {1}
        assert max(session["max_epochs"] for session in sessions) <= 4


def test_a_name_inside_the_files_may_differ_from_the_experiments(test):
    trainer = "python:conformance.mutants:CallsItBest"
    blamed = failing(validated(test(trainer, "--format", "json").out))
    assert "NAME-001" in blamed
    named = failing(validated(test(trainer, "--name", "best", "--format", "json").out))
    assert "NAME-001" not in named


def test_the_same_seed_plays_the_same_and_another_does_not(command):
    def summary(seed):
        result = command("test", CONFORMING, "--max-examples", "30", "--seed", seed, "--verbose")
        told = " ".join(result.out.split())  # the time that it took may wrap a line elsewhere
        return re.sub(r"; [\d.]+ s, \d+ scenarios/s", "", told)

    assert summary(5) == summary(5)
    assert summary(5).replace("seed 5", "") != summary(6).replace("seed 6", "")


def test_without_a_seed_one_is_drawn_and_told(command):
    errors = {command("test", CONFORMING, "--max-examples", "1").err for _ in range(3)}
    seeds = {re.search(r"--seed (\d+) --max-examples 1\n", error)[1] for error in errors}
    assert len(seeds) > 1


# --- replays --------------------------------------------------------------------------------


def test_a_replay_plays_one_scenario_and_shows_the_same_failure(test, folder):
    first = validated(test(TIE, "--format", "json").out)
    kept = sorted(folder.rglob("*"))
    again = test(TIE, "--replay", ".conformance/failures/BEST-003.json", "--format", "json")
    assert again.code == 1
    assert validated(again.out)["failures"] == first["failures"]
    assert "--seed" not in again.err
    text = test(TIE, "--replay", ".conformance/failures/BEST-003.json")
    assert text.out.startswith("profile isaacgymenvs: 1 scenario played (1 replayed)")
    assert "never exercised" not in text.out
    assert sorted(folder.rglob("*")) == kept


def test_a_replay_of_a_trainer_that_is_mended_conforms(test, folder):
    file = scenario(folder / "tie.json", [1.0, 1.0])
    assert test(TIE, "--replay", file).code == 1
    assert test(CONFORMING, "--replay", file, "--strict").code == 0


def test_a_replay_of_several_sessions(test, folder):
    first = json.loads(scenario(folder / "a.json", [5.0]).read_text())
    second = json.loads(scenario(folder / "b.json", [5.0, 1.0], resume="best").read_text())
    file = folder / "chain.json"
    file.write_text(json.dumps([first, second]))
    mutant = "python:conformance.mutants:LosesTheWatermarkOnResume"
    result = test(mutant, "--replay", file)
    assert result.code == 1
    assert "session 1: rewards 5.0; save_freq 0" in result.out
    assert "session 2, resumed from the best: rewards 5.0, 1.0; save_freq 0" in result.out


def test_a_replay_that_the_trainer_does_not_support_is_not_green(test, folder):
    file = scenario(folder / "tie.json", [1.0, 1.0])
    result = test("python:loud_trainers:PlaysNothing", "--replay", file)
    assert result.code == 2


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        ("", "not JSON"),
        ("[]", "an empty list"),
        ("[1]", "session 1 is no scenario"),
        ("3", "session 1 is no scenario"),
        ("{}", "missing fields"),
        ("[" * 100_000, "not JSON"),
        ("\x00", "not JSON"),
        ('{"experiment": "A", "root": "", "save_freq": 0, "max_epochs": 2, "rewards": [1]}', "2"),
        (
            '{"experiment": "../B", "root": "", "save_freq": 0, "max_epochs": 1, "rewards": [1]}',
            "'../B', cannot name a folder",
        ),
        (
            '{"experiment": "A", "root": "", "save_freq": 0, "max_epochs": 1, "rewards": [1],'
            ' "resume": "best"}',
            "no session before",
        ),
    ],
)
def test_a_file_that_is_no_scenario_exits_2_in_one_line(test, folder, text, blamed):
    (folder / "odd.json").write_text(text)
    result = test(CONFORMING, "--replay", "odd.json")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("conformance: --replay 'odd.json': ")
    assert result.err.count("\n") == 1
    assert blamed in result.err


@pytest.mark.parametrize("name", ["/etc/evil", "..", ".", "a/b", "a\0b", "a" * 256, "\ud800"])
def test_a_scenario_cannot_lead_out_of_its_folder(test, folder, name):
    file = scenario(folder / "odd.json", [1.0], experiment=name)
    result = test(CONFORMING, "--replay", file)
    assert result.code == 2
    assert "cannot name a folder" in result.err


def test_a_replays_root_is_ignored(test, folder):
    file = scenario(folder / "odd.json", [1.0], root=str(folder / "mine"))
    assert test(CONFORMING, "--replay", file).code == 0
    assert not (folder / "mine").exists()


def test_a_folder_is_no_replay(test, folder):
    result = test(CONFORMING, "--replay", folder)
    assert result.code == 2
    assert "a folder" in result.err


# --- interrupted ----------------------------------------------------------------------------


def interrupts(folder, base, at):
    """A trainer in whose `at`-th session Ctrl-C is pressed, for the whole process."""
    (folder / "theirs.py").write_text(
        "import os, signal\nfrom conformance import mutants\n"
        f"class Trainer(mutants.{base}):\n"
        "    played = 0\n"
        "    def train(self, scenario):\n"
        "        type(self).played += 1\n"
        f"        if self.played == {at}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        super().train(scenario)\n"
    )
    return "python:theirs:Trainer"


@pytest.mark.parametrize(("at", "played"), [(1, "no scenario played"), (4, "3 scenarios played")])
def test_ctrl_c_exits_130_after_what_was_found_is_told(driven, folder, at, played):
    trainer = interrupts(folder, "Trainer", at)
    formats = ("--format", "text", "--format", "json", "--output", "report.json")
    result = driven(trainer, *FEW, *formats, cwd=folder)
    assert result.code == 130
    assert result.err.splitlines()[-1] == "conformance: interrupted"
    assert "Traceback" not in result.err
    assert "plays none" not in result.err
    assert f"seed 1: {played}" in result.out
    assert "interrupted: this is what was found until then" in result.out
    assert "verdict: incomplete" in result.out.splitlines()[-1]
    assert validated((folder / "report.json").read_text())["verdict"] == "incomplete"


def test_ctrl_c_while_a_failure_is_shrunk_keeps_it(driven, folder):
    trainer = interrupts(folder, "RewritesOnTie", FIXED + 12)
    result = driven(trainer, *FEW, "--format", "json", cwd=folder)
    assert result.code == 130
    document = validated(result.out)
    assert document["verdict"] == "fail"
    (failure,) = document["failures"]
    assert failure["rule"] == "BEST-003"
    kept = json.loads((folder / failure["replay"]).read_text())
    assert kept == failure["scenario"]
    again = driven("python:conformance.mutants:RewritesOnTie", "--replay", failure["replay"])
    assert again.code == 1
    assert "BEST-003" in again.out


def test_ctrl_c_leaves_no_worker_behind(driven, folder):
    (folder / "worker.py").write_text(
        "import os, signal, sys\nfrom pathlib import Path\n"
        "Path('pid').write_text(str(os.getpid()))\n"
        "sys.stdin.readline()\n"
        'print(\'{"ok": true, "protocol": 1, "trainer": {"name": "W", "version": "1"},'
        ' "capabilities": []}\', flush=True)\n'
        "sys.stdin.readline()\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "sys.stdin.readline()\n"
    )
    command = f"worker:{shlex.quote(sys.executable)} worker.py"
    result = driven(command, *FEW, cwd=folder)
    assert result.code == 130, result.err
    assert "the trainer broke" not in result.err
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


# --- terminals ------------------------------------------------------------------------------


def test_progress_is_drawn_on_a_terminal_and_taken_away(driven):
    keeper, end = pty.openpty()
    try:
        result = driven(CONFORMING, "--max-examples", 60, "--seed", 1, stderr=end)
        shown = os.read(keeper, 65536).decode()
    finally:
        os.close(keeper)
        os.close(end)
    assert result.code == 0
    drawn = re.findall(r"\r\x1b\[K(probe|generate) \d+/60  \d+/s", shown)
    assert drawn
    assert shown.rindex("\r\x1b[K") > shown.rindex("/60")
    assert "\x1b" not in result.out


def test_progress_is_silent_in_a_pipe(driven, folder):
    result = driven(CONFORMING, "--max-examples", 20, "--seed", 1)
    assert result.code == 0
    assert {path.name for path in folder.iterdir()} <= {".conformance"}
    assert "\r" not in result.err
    assert "\x1b" not in result.out + result.err
