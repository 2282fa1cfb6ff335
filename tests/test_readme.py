"""What the README and the pages beside it promise is what the program does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.convention.scenario import Scenario
from conformance.mutants import RewritesOnTie, Trainer
from conformance.report.formats import FORMATS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return [
        match[1]
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def console_commands():
    pages = [
        README,
        *(
            (ROOT / "docs" / page).read_text()
            for page in (
                "waivers.md",
                "profiles.md",
                "formats.md",
                "testing.md",
                "explanation.md",
                "diff.md",
            )
        ),
    ]
    found = [
        line.removeprefix("$ ").strip()
        for page in pages
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    return sorted({command for command in found if command.startswith("conformance ")})


def test_one_block_holds_the_two_commands_and_nothing_else():
    fenced = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert [len(block.splitlines()) == 2 for block in fenced].count(True) == 1
    main_job, tests = fenced[0].splitlines()
    assert "python -m reference_trainer" in main_job
    assert main_job.endswith("conformance check runs/Cartpole")
    assert tests.endswith("tox")


@pytest.mark.parametrize("command", console_commands())
def test_a_command_of_the_pages_runs(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Trainer().train(Scenario("Cartpole", tmp_path / "runs", 2, 4, (1.0, 3.0, 2.0, 5.0)))
    profile = next(iter(blocks((ROOT / "docs" / "profiles.md").read_text(), "toml")))
    (tmp_path / "our-fork.toml").write_text(profile)
    (tmp_path / "waivers.toml").write_text("waiver = []\n")
    failures = tmp_path / ".conformance" / "failures"
    tie = Scenario("A", failures / "BEST-003", 0, 2, (0.0, 0.0))
    RewritesOnTie().train(tie)
    (failures / "BEST-003.json").write_text(tie.to_json())
    code = main(shlex.split(command)[1:])
    captured = capsys.readouterr()
    # Another dialect's profile finds fault with this run, which is what it is for; so does a tie
    # with a mutant, and with what it leaves.
    finds_fault = any(word in command for word in ("--profile", "RewritesOnTie", "BEST-003"))
    finds_fault = finds_fault and "explain" not in command and "--profile auto" not in command
    assert code == finds_fault, captured.err
    assert captured.out or "--output" in command


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_the_commands_of_the_reference_trainer_run_in_the_order_in_which_they_stand(tmp_path):
    (block,) = (text for text in blocks(README, "console") if "torchrun" in text)
    commands = [line.removeprefix("$ ") for line in block.splitlines()]
    assert [command.partition(" ")[0] for command in commands] == [*["python"] * 3, "torchrun"]
    # `python` and `torchrun` are those of the environment that the tests run in.
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": found, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = []
    for command in commands:
        done = subprocess.run(
            shlex.split(command),
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    # It balances the pole within 100 epochs; 500 is the most.
    (balances,) = re.findall(r"^epoch 100/100  mean reward (\S+)", said[0], re.MULTILINE)
    (plays,) = re.findall(r"mean reward (\S+)", said[2])
    assert min(float(balances), float(plays)) > 485
    runs = tmp_path / "runs"
    assert sorted(path.name for path in runs.iterdir()) == ["Cartpole", "Ranks"]
    assert main(["check", "--strict", str(runs)]) == 0
    for run, last in (("Cartpole", 150), ("Ranks", 100)):
        assert list((runs / run / "nn").glob(f"last_{run}ep{last}rew*.pth"))


def test_the_commands_and_options_of_the_readme_are_all_there():
    mentioned = set(re.findall(r"`conformance (\w+)", README))
    commands = {"bench", "check", "test", "crash", "ls", "diff", "rules", "explain", "fixtures"}
    assert mentioned == commands
    parser = (ROOT / "conformance" / "cli" / "__init__.py").read_text(encoding="utf-8")
    options = set(re.findall(r"`(--[a-z][a-z-]*)", README))
    assert "--strict" in options
    assert [option for option in sorted(options) if f'"{option}"' not in parser] == []


def test_the_rules_page_is_what_the_registry_generates(capsys):
    assert main(["rules", "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_formats_of_the_command_are_the_sections_of_their_page():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(FORMATS)
    for name in FORMATS:
        assert f"--format {name}" in page
        assert f"`{name}`" in README


def test_links_between_the_pages_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
