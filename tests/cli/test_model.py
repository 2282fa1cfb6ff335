"""`--model`: LOAD-004 with a real torch module, and what is wrong with what the user names."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MODULE = """
    import torch

    print("a banner")

    class Fitting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            print("built")
            self.actor = torch.nn.Linear(2, 2)

    class Wider(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.actor = torch.nn.Linear(2, 3)

    class Deeper(Fitting):
        def __init__(self):
            super().__init__()
            self.critic = torch.nn.Linear(2, 1)

    class Stubborn(Fitting):
        def load_state_dict(self, state, strict=True):
            raise KeyError("never")

    class Demanding(Fitting):
        def __init__(self, width):
            super().__init__()

    def make():
        return Fitting()

    def fail():
        raise ValueError("\\x1b[31mno\\nmodel")

    class inner:
        deep = Fitting

    fitting = Fitting()
    number = 7
"""


@pytest.fixture
def check(
    command: Callable[..., Any],
    conforming: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Any]]:
    """Return `check --model` in a folder that holds a module of models."""
    (tmp_path / "own_models.py").write_text(textwrap.dedent(_MODULE))
    (tmp_path / "own_script.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield lambda spec: command("check", conforming, "--model", spec, "--format", "json")
    assert sys.path == path
    sys.modules.pop("own_models", None)
    sys.modules.pop("own_script", None)


def _load_004(result: Any) -> dict[str, Any]:  # a Result of the conftest
    (run,) = json.loads(result.out)["runs"]
    return next(finding for finding in run["findings"] if finding["rule"] == "LOAD-004")


@pytest.mark.parametrize("attribute", ["Fitting", "make", "fitting", "inner.deep"])
def test_a_model_that_fits_passes(check: Callable[[str], Any], attribute: str) -> None:
    result = check(f"own_models:{attribute}")
    assert result.code == 0
    assert _load_004(result)["verdict"] == "pass"
    assert _load_004(result)["message"] == "the model accepts 3 checkpoint(s)"


def test_what_a_models_module_prints_is_kept_out_of_the_report(
    check: Callable[[str], Any],
) -> None:
    result = check("own_models:make")
    json.loads(result.out)
    assert "a banner\n" in result.err
    assert "built\n" in result.err


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        ("Wider", "size mismatch for actor.weight"),
        ("Deeper", "Missing key(s) in state_dict"),
        ("Stubborn", "never"),
    ],
)
def test_a_model_that_does_not_fit_fails(
    check: Callable[[str], Any], attribute: str, why: str
) -> None:
    result = check(f"own_models:{attribute}")
    assert result.code == 1
    finding = _load_004(result)
    assert finding["verdict"] == "fail"
    assert why in finding["message"]
    assert len(finding["paths"]) == 3


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("own_models:Demanding", "TypeError"),
        ("own_models:fail", "ValueError: \\x1b[31mno\\nmodel"),
        ("own_models:number", "neither a torch module nor what builds one"),
        ("own_models:Gone", "AttributeError"),
        ("own_script:main", "SystemExit"),
    ],
)
def test_what_is_no_model_exits_2(check: Callable[[str], Any], spec: str, why: str) -> None:
    result = check(spec)
    assert (result.code, result.out) == (2, "")
    assert why in result.err
    assert "\x1b" not in result.err


def test_without_a_model_the_rule_does_not_apply(
    command: Callable[..., Any], conforming: Path
) -> None:
    result = command("check", conforming, "--format", "json")
    assert _load_004(result)["verdict"] == "not-applicable"
