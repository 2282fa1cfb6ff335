"""The settings: read by Hydra, refused in one line, written where an audit reads them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from reference_trainer.config import (
    Settings,
    SettingsError,
    check,
    run_config,
)
from reference_trainer.overrides import from_command_line


def test_without_overrides_the_settings_are_the_published_ones() -> None:
    settings = from_command_line([])
    assert settings == Settings()
    published = {
        "gamma": 0.99,
        "tau": 0.95,
        "e_clip": 0.2,
        "critic_coef": 4,
        "learning_rate": 3e-4,
        "kl_threshold": 0.008,
        "grad_norm": 1.0,
        "reward_scale": 0.1,
        "horizon_length": 16,
        "minibatch_size": 8192,
        "mini_epochs": 8,
        "units": [32, 32],
        "num_envs": 512,
        "max_iterations": 100,
        "save_freq": 25,
        "seed": 42,
    }
    assert {key: getattr(settings, key) for key in published} == published


def test_overrides_are_hydra_s() -> None:
    settings = from_command_line(
        ["experiment=007", "test=yes", "units=[8,16]", "gamma=1", "checkpoint='runs/a b/x.pth'"]
    )
    assert settings.experiment == "007"
    assert settings.test is True
    assert settings.units == [8, 16]
    assert settings.gamma == 1.0
    assert settings.checkpoint == "runs/a b/x.pth"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo=1", "'foo'"),
        ("+foo=1", "'foo' can neither be added nor removed"),
        ("~seed=42", "'seed' can neither be added nor removed"),
        ("--multirun", "'--multirun' is not a setting"),
        ("gamma", "'gamma' is not a setting"),
        ("experiment=[", "experiment='[' holds '['"),
        ("seed=1,2", "seed=1,2"),
        ("max_iterations=ten", "max_iterations: Value 'ten'"),
        ("max_iterations=0", "max_iterations=0 is less than 1"),
        ("save_freq=-1", "save_freq=-1 is less than 0"),
        ("save_freq=1.5", "save_freq: Value '1.5'"),
        ("num_envs=0", "num_envs=0 is less than 1"),
        ("num_envs=600", "minibatch_size=8192 does not divide"),
        ("num_envs=1024 minibatch_size=5000", "minibatch_size=5000 does not divide"),
        ("num_envs=1 horizon_length=1", "too little to learn from"),
        ("seed=-1", "seed=-1 is less than 0"),
        ("seed=99999999999", "seed=99999999999 is more than"),
        ("gamma=nan", "gamma=nan is not a finite number"),
        ("gamma=1.1", "gamma=1.1 is more than 1"),
        ("learning_rate=0", "learning_rate=0.0 is not above 0"),
        ("critic_coef=inf", "critic_coef=inf is not a finite number"),
        ("units=[]", "units=[] are not"),
        ("units=[32,0]", "units=[32, 0] are not"),
        ("experiment=null", "experiment"),
        ("root=", "root is empty"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_command_line(override.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


UNSAFE = [
    "",
    ".",
    "..",
    ".x",
    "-x",
    "a/b",
    "a\0b",
    "a b",
    "a\nb",
    "a\tb",
    "a=b",
    "a[1]",
    "a*",
    "a,b",
]
UNSAFE += ["a'b", "a\\b", "$a", "a:b"]
# A decomposed letter, a byte that is not UTF-8, a mark that turns the text around.
UNSAFE += ["caf\u0065\u0301", "\udce9", "a\u202eb"]


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"^experiment=.*$") as caught:
        check(Settings(experiment=name))
    str(caught.value).encode("ascii")


@pytest.mark.parametrize(
    "name", ["Cartpole", "a-b_c.d", "_x", "ep12", "x" * 200, "Gr\u00f6\u00dfe", "1"]
)
def test_a_safe_name_is_taken(name: str) -> None:
    check(Settings(experiment=name))


def test_a_name_may_be_as_long_as_its_longest_checkpoint_s_name_allows() -> None:
    room = 255 - len("last_ep100rew-9999999800000000.0.pth")
    check(Settings(experiment="x" * room))
    with pytest.raises(SettingsError, match="too long"):
        check(Settings(experiment="x" * (room + 1)))
    with pytest.raises(SettingsError, match="too long"):
        check(Settings(experiment="\u00f6" * (room // 2 + 1)))
    with pytest.raises(SettingsError, match="too long"):
        check(Settings(experiment="x" * room, max_iterations=1000))


@pytest.mark.parametrize("name", ["Cartpole", "123", "null", "1e5", "on", "Gr\u00f6\u00dfe", "0x1"])
def test_the_run_s_config_reads_back(name: str) -> None:
    values = yaml.safe_load(run_config(Settings(experiment=name, save_freq=7, max_iterations=9)))
    assert list(values)[:3] == ["name", "save_freq", "max_epochs"]
    assert (values["name"], values["save_freq"], values["max_epochs"]) == (name, 7, 9)
    assert values["units"] == [32, 32]


@pytest.mark.parametrize(
    "name", ["1e5", "${save_freq}", "a\\\\${b}", "\\\\", "a: b", "x\ty", "\U0001f40d", "w " * 99]
)
def test_the_run_s_config_reads_back_through_omegaconf(name: str) -> None:
    values = OmegaConf.create(run_config(Settings(experiment=name)))
    assert (values.name, values.learning_rate) == (name, 3e-4)


@pytest.mark.parametrize("name", ["two words", "x=[1]", "-dash", ".hidden", "it's"])
def test_names_that_only_a_shell_misreads_are_accepted_on_request(name: str) -> None:
    check(Settings(experiment=name), any_file_name=True)
    with pytest.raises(SettingsError, match="experiment="):
        check(Settings(experiment=name))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "\ud800", "n" * 250])
def test_names_that_no_file_can_have_are_refused_on_any_request(name: str) -> None:
    with pytest.raises(SettingsError, match="experiment="):
        check(Settings(experiment=name), any_file_name=True)


def test_reading_a_command_line_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from_command_line(["experiment=x"])
    assert list(tmp_path.iterdir()) == []


@example("${seed}")
@settings(max_examples=30)  # Hydra takes its time
@given(st.text(alphabet="abü \\'\"=[]{}:,$()/", max_size=12))
def test_a_path_that_hydra_s_grammar_has_no_word_for_is_taken_as_it_stands(text: str) -> None:
    path = f"/ü/{text}"
    assert from_command_line([f"root={path}"]).root == path


def test_a_path_in_quotes_and_one_that_names_another_setting_are_hydra_s() -> None:
    assert from_command_line(["root='a b'"]).root == "a b"
    assert from_command_line(["root=a/${seed}", "seed=7"]).root == "a/7"


def test_what_is_no_text_and_cannot_be_read_is_told_in_one_line() -> None:
    with pytest.raises(SettingsError, match=r"^Hydra has no word for: seed=ü$"):
        from_command_line(["seed=ü"])
