"""Profiles: built-in ones load, a user's own builds on them, a wrong file says what is wrong."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.convention import toml
from conformance.convention.names import Flaw, format_name, parse_name
from conformance.convention.profile import (
    Kind,
    Profile,
    ProfileError,
    RewardForm,
    builtin_profiles,
    load_profile,
)
from conformance.convention.safe_globals import NUMPY_DATA, TORCH_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = 'name = "mine"\nsummary = "my own"\nsource = "my trainer"\n'
BASED = HEAD + 'base = "isaacgymenvs"\n'


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str | bytes], Profile]:
    """Return a loader of a profile's text, from a file of its own."""

    def from_text(text: str | bytes) -> Profile:
        path = tmp_path / "mine.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_profile(str(path))

    return from_text


# --- built-in -------------------------------------------------------------------------------


def test_the_default_profile_comes_first() -> None:
    assert builtin_profiles()[0] == "isaacgymenvs"
    assert len(set(builtin_profiles())) == len(builtin_profiles()) >= 3


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_builtin_profile_loads_and_says_what_it_is(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.summary
    assert profile.source
    assert profile.allowed_globals >= TORCH_DEFAULT
    assert (Kind.BEST in {template.kind for template in profile.names}) == profile.has_best
    assert profile.final_at == "never" or profile.templates(Kind.FINAL)


def test_each_builtin_profile_has_its_row_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert sorted(rows) == sorted(builtin_profiles())


def test_the_default_profile_is_the_source_text() -> None:
    profile = load_profile()
    assert [(template.kind, template.template) for template in profile.names] == [
        (Kind.BEST, "{name}"),
        (Kind.PERIODIC, "last_{name}ep{epoch}rew{reward}"),
    ]
    assert (profile.checkpoints, profile.summaries, profile.suffix) == ("nn", "summaries", ".pth")
    assert (profile.has_best, profile.legacy_guard, profile.has_save_best_after) == (
        True,
        False,
        False,
    )
    assert profile.initial_watermarks == (-math.inf,)
    assert profile.resume_keeps_watermark
    assert profile.final_at == "never"
    assert profile.allowed_globals == TORCH_DEFAULT
    assert profile.required_keys == ()


def test_rl_games_1_5_differs_as_its_sources_do() -> None:
    profile = load_profile("rl_games-1.5")
    assert profile.legacy_guard
    assert profile.initial_watermarks == (-100500.0,)
    assert (profile.has_save_best_after, profile.default_save_best_after) == (True, 100)
    assert not profile.resume_keeps_watermark
    assert profile.final_at == "epoch >= max_epochs"
    assert profile.allowed_globals == TORCH_DEFAULT | NUMPY_DATA
    assert profile.templates(Kind.FINAL)[0].rewards[0] is RewardForm.ARRAY


def test_rl_games_1_6_is_1_5_without_the_guard() -> None:
    profile = load_profile("rl_games-1.6")
    assert not profile.legacy_guard
    assert profile.initial_watermarks == (-1e9, -100500.0)
    assert profile.templates(Kind.PERIODIC) == load_profile("rl_games-1.5").templates(Kind.PERIODIC)
    assert profile.templates(Kind.FINAL)[0].rewards[0] is RewardForm.UNDERSCORED


def test_an_unknown_profile_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ProfileError, match=r"'rl_games'; known are isaacgymenvs, .*rl_games-1\.5"):
        load_profile("rl_games")


# --- a user's own ---------------------------------------------------------------------------


def test_a_profile_of_ones_own_takes_the_rest_from_its_base(load: Callable[[str], Profile]) -> None:
    profile = load(
        BASED
        + '[names]\nsuffix = ".pt"\nperiodic = [{ template = "{name}-{epoch}", rewards = [] }]\n'
        + '[behaviour]\nhas_save_best_after = true\n[contents]\nrequired_keys = ["frame"]\n'
    )
    assert (profile.name, profile.suffix, profile.checkpoints) == ("mine", ".pt", "nn")
    assert profile.required_keys == ("frame",)
    assert profile.has_save_best_after
    text = format_name(profile, Kind.PERIODIC, "A", epoch=7)
    assert text == "A-7.pt"
    assert parse_name(profile, "A", text).epoch == 7
    assert parse_name(profile, "A", "A-007.pt").flaws == (Flaw.EPOCH,)
    assert parse_name(profile, "A", "B-7.pt").flaws == (Flaw.RUN_NAME,)


def test_names_may_number_frames_alone(load: Callable[[str], Profile]) -> None:
    profile = load(
        BASED
        + '[names]\nperiodic = [{ template = "{name}_f{frame}_r{reward}", rewards = ["scalar"] }]\n'
    )
    assert parse_name(profile, "A", "A_f512_r5.0.pth").frame == 512
    assert parse_name(profile, "A", "A_f512_r5.pth").flaws == (Flaw.REWARD,)
    assert parse_name(profile, "A", "B_f512_r5.0.pth").flaws == (Flaw.RUN_NAME,)


def test_a_profile_may_have_no_best(load: Callable[[str], Profile]) -> None:
    profile = load(BASED + '[names]\nbest = ""\n[behaviour]\nhas_best = false\n')
    assert profile.templates(Kind.BEST) == ()
    assert parse_name(profile, "A", "A.pth").kind is None


def test_a_profile_without_a_base_gives_everything(load: Callable[[str], Profile]) -> None:
    profile = load(
        HEAD
        + '[layout]\ncheckpoints = "ckpt"\nsummaries = "tb"\nconfig = []\n'
        + 'experiments = ["{name}"]\napart = false\n'
        + '[names]\nsuffix = ".pt"\nbest = "{name}"\nlatest = ""\n'
        + "periodic = []\nfinal = []\nwin = []\n"
        + "[behaviour]\nhas_best = true\nlegacy_guard = false\nhas_save_best_after = false\n"
        + "periodic_is_optional = false\nresume_takes_stored = false\nwin_ends_at_once = false\n"
        + "default_save_best_after = 0\ninitial_watermarks = [-1, 2.5]\n"
        + 'resume_keeps_watermark = true\nfinal_at = "never"\norder = ["best"]\nunrewarded = []\n'
        + '[events]\nreward_tag = "reward"\nepoch_tag = ""\nlogged_tags = []\n'
        + '[contents]\nallow_globals = ["numpy-data", "my.Class"]\nrequired_keys = []\n'
        + 'models = ["policy"]\nabsent_keys = ["optimizer"]\n'
    )
    assert profile.resume_keys == ("epoch", "last_mean_rewards")
    assert (profile.checkpoints, profile.summaries) == ("ckpt", "tb")
    assert profile.initial_watermarks == (-1.0, 2.5)
    assert profile.allowed_globals == TORCH_DEFAULT | NUMPY_DATA | {"my.Class"}


# --- wrong files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        ("name = [", "not TOML"),
        (b"name = '\xff'", "cannot be read"),
        ("", "name must be a text"),
        ("name = 'x'\n", "summary must be a text"),
        ("name = 'x'\nsummary = 'x'\n", "source must be a text"),
        (HEAD.replace('"mine"', "7"), "name must be a text"),
        (HEAD, "without a base, these are needed: layout.checkpoints, "),
        (HEAD + "[layout]\ncheckpoints = 'nn'\n", "needed: layout.summaries, "),
        (HEAD + 'base = "mine"\n', "base 'mine' is not a built-in profile"),
        (HEAD + "base = 7\n", "base 7 is not a built-in profile"),
        (BASED + "colour = 1\n", "unknown key 'colour'"),
        (BASED + "names = 1\n", "unknown key 'names'"),
        (BASED + "[names]\nworst = 'x'\n", "unknown key names.worst"),
        (BASED + "[names]\nsuffix = 7\n", "names.suffix has the wrong type"),
        (BASED + "[names]\nperiodic = '{name}'\n", "names.periodic has the wrong type"),
        (BASED + "[names]\nperiodic = ['{name}']\n", "names.periodic needs template and rewards"),
        (
            BASED + "[names]\nperiodic = [{ template = '{name}' }]\n",
            "names.periodic needs template and rewards",
        ),
        (
            BASED + "[names]\nwin = [{ template = 7, rewards = [] }]\n",
            "names.win: template must be a text",
        ),
        (
            BASED + "[names]\nwin = [{ template = '{name}', rewards = 7 }]\n",
            "names.win: template must be a text and rewards a list",
        ),
        (
            BASED + "[names]\nwin = [{ template = '{name}{reward}', rewards = ['hex'] }]\n",
            "names.win: 'hex'",
        ),
        (
            BASED + "[names]\nwin = [{ template = '{name}{reward}', rewards = [['scalar']] }]\n",
            "names.win: ",
        ),
        (
            BASED + "[names]\nwin = [{ template = 'ep{epoch}', rewards = [] }]\n",
            "'ep{epoch}' needs {name}",
        ),
        (
            BASED + "[names]\nwin = [{ template = '{name}{step}', rewards = [] }]\n",
            "'{name}{step}' needs {name} and takes",
        ),
        (BASED + "[names]\nbest = '{name}{}'\n", "'{name}{}' needs {name} and takes"),
        (BASED + "[names]\nbest = '{name}{name}'\n", "'{name}{name}' repeats a field"),
        (
            BASED + "[names]\nwin = [{ template = '{name}{reward}', rewards = [] }]\n",
            "names.win: '{name}{reward}' and its rewards disagree",
        ),
        (
            BASED + "[names]\nwin = [{ template = '{name}', rewards = ['scalar'] }]\n",
            "names.win: '{name}' and its rewards disagree",
        ),
        (BASED + "[names]\nbest = '{name}{reward}'\n", "and its rewards disagree"),
        (BASED + "[behaviour]\nhas_best = 1\n", "behaviour.has_best has the wrong type"),
        (
            BASED + "[behaviour]\ndefault_save_best_after = true\n",
            "behaviour.default_save_best_after has the wrong type",
        ),
        (
            BASED + "[behaviour]\ndefault_save_best_after = false\n",
            "behaviour.default_save_best_after has the wrong type",
        ),
        (BASED + "[behaviour]\nfinal_at = 'end'\n", "behaviour.final_at is 'end'; use one of"),
        (BASED + "[behaviour]\ninitial_watermarks = []\n", "initial_watermarks must hold a number"),
        (BASED + "[behaviour]\ninitial_watermarks = [nan]\n", "initial_watermarks must hold num"),
        (BASED + "[behaviour]\ninitial_watermarks = ['0']\n", "initial_watermarks must hold num"),
        (BASED + "[behaviour]\ninitial_watermarks = [true]\n", "initial_watermarks must hold num"),
        (
            BASED + f"[behaviour]\ninitial_watermarks = [1{'0' * 400}]\n",
            "initial_watermarks must hold numbers: int too large",
        ),
        (BASED + "[contents]\nallow_globals = ['numpy']\n", "contents.allow_globals takes"),
        (BASED + "[contents]\nallow_globals = [7]\n", "contents.allow_globals takes"),
        (BASED + "[layout]\nexperiments = 'no'\n", "layout.experiments has the wrong type"),
        (BASED + "[layout]\nexperiments = [7]\n", "layout.experiments must hold texts, not 7"),
        (
            BASED + "[layout]\nexperiments = ['{name}{epoch}']\n",
            "'{name}{epoch}' takes {name}, {st",
        ),
        (BASED + "[layout]\nexperiments = ['{name}{name}']\n", "'{name}{name}' takes {name}, {st"),
        (BASED + "[layout]\nconfig = ['']\n", "layout.config must hold texts, not ''"),
        (BASED + "[layout]\ncheckpoints = ''\n", "layout.checkpoints must be a folder inside"),
        (BASED + "[layout]\ncheckpoints = '../nn'\n", "layout.checkpoints must be a folder inside"),
        (BASED + "[layout]\nsummaries = '/tb'\n", "layout.summaries must be a folder inside"),
        (BASED + "[layout]\nsummaries = 'tb/{epoch}'\n", "'tb/{epoch}' takes {name}, {stamp}"),
        (BASED + "[names]\nbest = ''\n", "behaviour.has_best and names.best disagree"),
        (BASED + "[behaviour]\nhas_best = false\n", "behaviour.has_best and names.best disagree"),
        (BASED + "[names]\nbest = '{name}/best'\n", "'{name}/best' is no file's name"),
        (
            BASED + "[names]\nwin = [{ template = '{name}{epoch}{epoch:08}', rewards = [] }]\n",
            "repeats a field",
        ),
        (
            BASED + "[behaviour]\nfinal_at = 'epoch > max_epochs'\n",
            "behaviour.final_at asks for a name in names.final",
        ),
        (BASED + "[behaviour]\norder = ['best']\n", "behaviour.order lacks periodic"),
        (
            BASED + "[behaviour]\norder = ['best', 'worst']\n",
            "behaviour.order takes best, periodic, final, win, latest: 'worst'",
        ),
        (
            BASED + "[behaviour]\norder = ['best', 'periodic', 'best']\n",
            "behaviour.order names a kind twice",
        ),
        (BASED + "[behaviour]\nunrewarded = [7]\n", "behaviour.unrewarded takes best, "),
        (BASED + "[events]\nreward_tag = 7\n", "events.reward_tag has the wrong type"),
        (BASED + "[events]\nlogged_tags = [7]\n", "events.logged_tags must hold texts, not 7"),
        (BASED + "[contents]\nmodels = []\n", "contents.models must name a key"),
        (
            BASED + "[contents]\nabsent_keys = ['frame']\n",
            "contents.absent_keys takes epoch, optimizer, last_mean_rewards, not 'frame'",
        ),
        (BASED + "[contents]\nrequired_keys = [7]\n", "contents.required_keys must hold texts"),
    ],
)
def test_a_wrong_file_says_which_key(
    load: Callable[[str | bytes], Profile], text: str | bytes, blamed: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(text)
    message = str(caught.value)
    assert blamed in message
    assert "mine.toml" in message
    assert "\n" not in message


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"gone\.toml' cannot be read: .*No such file"):
        load_profile(str(tmp_path / "gone.toml"))


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ProfileError, match=r"folder\.toml' cannot be read"):
        load_profile(str(tmp_path / "folder.toml"))


def test_toml_is_read_alike_on_every_python() -> None:
    assert toml.loads("a = -inf\nb = 2030-12-31\n")["a"] == -math.inf
    with pytest.raises(toml.TOMLDecodeError):
        toml.loads("a = ")
