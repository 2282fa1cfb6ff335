"""docs/saver.md: its examples run as they stand there, and its table names what there is."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reference_trainer import async_saver
from reference_trainer.async_saver import Saver

PAGE = (Path(__file__).parents[2] / "docs" / "saver.md").read_text(encoding="utf-8")
FOLDER = Path(async_saver.__file__).parent
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 2
    first = [line for line in EXAMPLES[0].splitlines() if line]
    assert len(first) == 3, "three lines"


@pytest.mark.parametrize("example", EXAMPLES, ids=["three lines", "behind the rollout"])
def test_an_example_saves_what_it_says(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nn").mkdir()
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())

    def update() -> None:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    names = {
        "model": model,
        "optimizer": optimizer,
        "epoch": 3,
        "epochs": 3,
        "reward": 1.5,
        "rollout": lambda: None,
        "update": update,
    }
    exec(example, names)  # noqa: S102  # the page's own
    saved = sorted(path.name for path in Path("nn").iterdir())
    expected = [f"last_Antep{epoch}rew1.5.pth" for epoch in (1, 2, 3)]
    assert saved == (["Ant.pth"] if "rollout" not in example else expected)
    loaded = torch.load(Path("nn") / saved[-1], weights_only=True)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["model"]["weight"], model.state_dict()["weight"])


def test_the_table_names_what_there_is() -> None:
    rows = re.findall(r"^\| `([^|]+) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\b([a-z_]+)\b(?=[(`])", row)}
    own = {name for name in vars(Saver()) if not name.startswith("_")}
    own |= {name for name in vars(Saver) if not name.startswith("_")}
    assert named == own


README = (FOLDER / "README.md").read_text(encoding="utf-8")
(COPIED,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", ["my_fork.saver", "elsewhere.deep.down", "async_saver"])
def test_the_folder_copied_under_any_name_saves(name: str, tmp_path: Path) -> None:
    """As the folder's own README says, in a process that cannot see the original."""
    copy = tmp_path.joinpath(*name.split("."))
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for package in copy.relative_to(tmp_path).parents:
        if package.name:
            (tmp_path / package / "__init__.py").touch()
    (tmp_path / "nn").mkdir()
    blocked = "import sys; sys.modules['reference_trainer'] = None\n"
    setup = "import torch; model = torch.nn.Linear(2, 2); epoch = 3\n"
    example = COPIED.replace("my_fork.saver", name)
    overlapped = "with Saver() as saver:\n    saver.save('nn/b.pth', {'a': [1]}, overlap=True)\n"
    shows = f"print(sys.modules[{name!r}].__file__, saver.fallbacks)"
    done = subprocess.run(
        [sys.executable, "-c", blocked + setup + example + overlapped + shows],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{copy / '__init__.py'} 0\n", "the copy, and it fell back on nothing"
    assert torch.load(tmp_path / "nn/Ant.pth", weights_only=True)["epoch"] == 3
    assert torch.load(tmp_path / "nn/b.pth", weights_only=True) == {"a": [1]}
    assert sorted(path.name for path in (tmp_path / "nn").iterdir()) == ["Ant.pth", "b.pth"]


def test_the_folder_s_readme_names_its_modules() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(2).to_sparse(),
        torch.nn.Parameter(torch.ones(2)),
        {1, 2},
    ],
    ids=["sparse", "Parameter", "set"],
)
def test_what_the_page_says_falls_back_does_so(value: object, tmp_path: Path) -> None:
    with Saver() as saver:
        saver.save(tmp_path / "a.pth", {"value": value})
        saver.save(tmp_path / "b.pth", {"value": value}, overlap=True)
    assert saver.fallbacks == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "b.pth"]
