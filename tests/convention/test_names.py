"""Names of checkpoints: what is formatted parses back, and each flaw is blamed alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.convention.names import (
    Flaw,
    format_name,
    has_checkpoint_suffix,
    holds_event_files,
    parse_name,
    run_name_of,
    summarised_name,
)
from conformance.convention.profile import Ending, Kind, Profile, builtin_profiles, load_profile
from conformance.convention.rewards import reward_text, same_reward

quick = settings(deadline=None)
DEFAULT = load_profile()
UNDERSCORED = load_profile("rl_games-1.5")
WRITTEN = [
    (profile, kind)
    for profile in map(load_profile, builtin_profiles())
    for kind in Kind
    if profile.templates(kind)
]

HARD_NAMES = (
    *("A", "Cartpole", "last_Aep9rew9.0", "Aep12", "Arew3", "ep", "rew", "last_", "a.b", "A.pth"),
    *("7", "007", "_", "__", "ep5rew1.0", "_ep_5_rew_1.0", "last_A_ep_5_rew_1.0", "A_frame_5"),
    *("{epoch}", "{name}", "{}", "{", "%s", "\\1", r"\g<name>", "a+b", "(a|b)*", "x[1]", "$^", "."),
    *("Ünïcode", "名前", "e\u0301", "\U0001f916", "a b", "a\nb", "-rf", "=", "\udcff"),
)
run_names = st.sampled_from(HARD_NAMES) | st.text(min_size=1, max_size=20).filter(
    lambda name: "/" not in name and "\0" not in name
)
parts = st.lists(
    st.sampled_from(["last_", "ep", "rew", "_", "1", "12", "9.0", ".pth", "A", "[", "]", "e-05"]),
    min_size=1,
    max_size=6,
).map("".join)
epochs = st.integers(1, 10**12)
rewards = st.floats(width=32) | st.floats()


# --- round trips ----------------------------------------------------------------------------


@quick
@given(st.sampled_from(WRITTEN), run_names | parts, epochs, rewards)
def test_a_formatted_name_parses_back(
    written: tuple[Profile, Kind], name: str, epoch: int, reward: float
) -> None:
    profile, kind = written
    text = format_name(profile, kind, name, epoch=epoch, reward=reward)
    parsed = parse_name(profile, name, text)
    assert (parsed.text, parsed.kind, parsed.flaws) == (text, _first_spelled(profile, kind), ())
    fields = profile.templates(kind)[0].template
    assert parsed.epoch == (epoch if "{epoch" in fields else None)
    assert bool(parsed.stamp) == ("{stamp}" in fields)
    assert (parsed.reward is None) == ("{reward}" not in fields)
    if parsed.reward is not None:
        assert same_reward(parsed.reward, reward)


def _first_spelled(profile: Profile, kind: Kind) -> Kind:
    """The kind that a name of this one is read as: the first that is spelled alike.

    A final save of SAC reads like a periodic one, and ASE's is its latest.
    """
    own = profile.templates(kind)[0]
    return next(
        template.kind
        for template in profile.names
        if template.template == own.template and own.rewards[:1] == template.rewards[:1]
    )


@pytest.mark.parametrize("name", HARD_NAMES)
@pytest.mark.parametrize("profile_name", builtin_profiles())
def test_hard_names_parse_back_in_every_profile(profile_name: str, name: str) -> None:
    profile = load_profile(profile_name)
    for kind in Kind:
        if profile.templates(kind):
            text = format_name(profile, kind, name, epoch=12, reward=-1.2e-05)
            parsed = parse_name(profile, name, text)
            assert (parsed.kind, parsed.flaws) == (_first_spelled(profile, kind), ())


@pytest.mark.parametrize(
    ("profile_name", "kind", "text"),
    [
        ("isaacgymenvs", Kind.BEST, "Ant.pth"),
        ("isaacgymenvs", Kind.PERIODIC, "last_Antep250rew4203.595.pth"),
        ("rl_games-1.5", Kind.BEST, "Ant.pth"),
        ("rl_games-1.5", Kind.PERIODIC, "last_Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-1.5", Kind.FINAL, "last_Antep250rew[4203.595].pth"),
        ("rl_games-1.5", Kind.WIN, "Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-1.6", Kind.PERIODIC, "last_Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-1.6", Kind.FINAL, "last_Ant_ep_250_rew__4203.595_.pth"),
        ("rl_games-1.6", Kind.WIN, "Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-1.0", Kind.PERIODIC, "last_Antep=250rew=[4203.595].pth"),
        ("rl_games-1.0", Kind.FINAL, "last_Antep=250rew=[4203.595].pth"),
        ("rl_games-1.0", Kind.WIN, "Antep=250rew=[4203.595].pth"),
        ("rl_games-1.1", Kind.PERIODIC, "last_Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-1.1", Kind.FINAL, "last_Antep250rew[4203.595].pth"),
        ("rl_games-1.6.0", Kind.FINAL, "last_Ant_ep_250_rew__4203.595_.pth"),
        ("rl_games-2.0", Kind.FINAL, "last_Ant_ep_250_rew__4203.595_.pth"),
        ("rl_games-sac", Kind.PERIODIC, "last_Ant_ep_250_rew_4203.595.pth"),
        ("rl_games-sac", Kind.FINAL, "last_Ant_ep_250_rew_4203.595.pth"),
        ("amp", Kind.PERIODIC, "Ant_14-09-26-53_250.pth"),
        ("amp", Kind.FINAL, "Ant_14-09-26-53.pth"),
        ("amp-2022", Kind.PERIODIC, "Ant_250.pth"),
        ("amp-2022", Kind.FINAL, "Ant.pth"),
        ("ase", Kind.LATEST, "Ant.pth"),
        ("ase", Kind.PERIODIC, "Ant_00000250.pth"),
    ],
)
def test_names_as_real_trainers_write_them(profile_name: str, kind: Kind, text: str) -> None:
    profile = load_profile(profile_name)
    stamp = "14-09-26-53"
    assert format_name(profile, kind, "Ant", epoch=250, reward=4203.595, stamp=stamp) == text


@pytest.mark.parametrize(
    ("profile_name", "name", "text", "kind", "reward"),
    [
        ("rl_games-1.5", "Ant", "last_Antep501rew[5718.81].pth", Kind.FINAL, 5718.81),
        ("rl_games-1.5", "Ant", "last_Antep501rew[1000.].pth", Kind.FINAL, 1000.0),
        ("rl_games-1.5", "Ant", "last_Antep501rew[1.e-05].pth", Kind.FINAL, 1e-05),
        ("rl_games-1.5", "Ant", "last_Antep501rew[ -1.5 2. ].pth", Kind.FINAL, -1.5),
        ("rl_games-1.5", "Ant", "last_Antep501rew-inf.pth", Kind.FINAL, -math.inf),
        ("rl_games-1.6", "Humanoid", "last_Humanoid_ep_1000_rew__-91.1_.pth", Kind.FINAL, -91.1),
        ("rl_games-1.6", "A", "last_A_frame_32000_rew__-91.1_.pth", Kind.FINAL, -91.1),
        (
            *("rl_games-1.6", "PegInHole", "last_PegInHole_ep_1000_rew_1.985146e-15.pth"),
            *(Kind.PERIODIC, 1.985146e-15),
        ),
        ("rl_games-1.6", "jz_bi", "last_jz_bi_ep_5_rew_-inf.pth", Kind.PERIODIC, -math.inf),
        ("rl_games-1.6", "drone_PPO", "drone_PPO_ep_162_rew_689.0455.pth", Kind.WIN, 689.0455),
        ("rl_games-1.0", "Aliengo", "last_Aliengoep=6250rew=[5714.33].pth", Kind.PERIODIC, 5714.33),
        ("rl_games-1.0", "A", "last_Aep=5rew=5714.33.pth", Kind.PERIODIC, 5714.33),
        ("rl_games-2.0", "A", "last_A_custom_stop_ep_7.pth", Kind.FINAL, None),
        ("rl_games-sac", "A", "last_A_frame_512_rew_-inf.pth", Kind.FINAL, -math.inf),
        ("rl_games-sac", "A", "last_A_ep_7_rew_-inf.pth", Kind.PERIODIC, -math.inf),
        ("rl_games-1.6", "A", "last_A_ep_9_rew__1000. -1.e-05_.pth", Kind.FINAL, 1000.0),
        ("amp", "A_07-12-30-00", "A_07-12-30-00_07-12-30-01.pth", Kind.FINAL, None),
        ("amp", "A_07-12-30-00", "A_07-12-30-00_07-12-30-01_50.pth", Kind.PERIODIC, None),
        ("ase", "A_00000001", "A_00000001_00000050.pth", Kind.PERIODIC, None),
        ("ase", "A", "A_123456789.pth", Kind.PERIODIC, None),
    ],
)
def test_names_that_real_trainers_wrote(
    profile_name: str, name: str, text: str, kind: Kind, reward: float | None
) -> None:
    parsed = parse_name(load_profile(profile_name), name, text)
    assert (parsed.kind, parsed.reward, parsed.flaws) == (kind, reward, ())


@pytest.mark.parametrize(
    ("profile_name", "known", "unknown"),
    [
        ("rl_games-1.5", "last_Aep3rew[-inf].pth", "last_Aep3rew-inf.pth"),
        ("rl_games-1.6", "last_A_ep_3_rew__-inf_.pth", "last_A_ep_3_rew_-inf.pth"),
        ("rl_games-sac", "last_A_ep_3_rew_-inf.pth", "last_A_ep_3_rew_-inf.pth"),
    ],
)
def test_an_infinite_mean_is_not_printed_like_a_missing_one(
    profile_name: str, known: str, unknown: str
) -> None:
    profile = load_profile(profile_name)
    names = [
        format_name(profile, Kind.FINAL, "A", epoch=3, reward=-math.inf, rewarded=rewarded)
        for rewarded in (True, False)
    ]
    assert names == [known, unknown]


def test_a_frame_is_no_epoch() -> None:
    parsed = parse_name(load_profile("rl_games-1.6"), "A", "last_A_frame_32000_rew__-91.1_.pth")
    assert (parsed.epoch, parsed.frame) == (None, 32000)


def test_the_trainers_own_text_of_a_reward_is_kept() -> None:
    text = format_name(DEFAULT, Kind.PERIODIC, "A", epoch=3, reward="485.29998779296875")
    assert text == "last_Aep3rew485.29998779296875.pth"
    assert parse_name(DEFAULT, "A", text).reward_text == "485.29998779296875"


def test_a_kind_that_the_profile_does_not_write_is_an_error() -> None:
    with pytest.raises(ValueError, match="isaacgymenvs has no final checkpoint"):
        format_name(DEFAULT, Kind.FINAL, "A", epoch=3, reward=1.0)


def test_the_runs_name_is_compared_whole() -> None:
    text = "last_Aep12ep100rew5.0.pth"
    assert parse_name(DEFAULT, "Aep12", text).epoch == 100
    assert parse_name(DEFAULT, "Aep12", text).flaws == ()
    assert parse_name(DEFAULT, "A", text).flaws != ()


# --- each flaw is blamed alone --------------------------------------------------------------


@pytest.mark.parametrize("name", ["A", "last_Aep9rew9.0", "Arew3", "x[1]", "a.b"])
@pytest.mark.parametrize(
    ("epoch_text", "epoch"),
    [
        *(("0002", 2), ("+2", 2), ("-5", -5), ("2.0", 2), ("", None), ("0", 0), ("00", 0)),
        *(("1e3", 1000), ("1,000", 1000), ("five", None), (" 5", 5), ("5 ", 5), ("nan", None)),
        *(("inf", None), ("\u0665", 5), ("0x5", None), ("2.5", None), ("1" * 19, None)),
    ],
)
def test_a_wrong_epoch_alone_is_blamed(name: str, epoch_text: str, epoch: int | None) -> None:
    parsed = parse_name(DEFAULT, name, f"last_{name}ep{epoch_text}rew5.0.pth")
    assert (parsed.kind, parsed.flaws) == (Kind.PERIODIC, (Flaw.EPOCH,))
    assert (parsed.epoch, parsed.epoch_text, parsed.reward) == (epoch, epoch_text, 5.0)


@pytest.mark.parametrize("epoch_text", ["1", "10", "100", "999999999999999999"])
def test_a_plain_epoch_is_not_blamed(epoch_text: str) -> None:
    parsed = parse_name(DEFAULT, "A", f"last_Aep{epoch_text}rew5.0.pth")
    assert (parsed.flaws, parsed.epoch) == ((), int(epoch_text))


@pytest.mark.parametrize("name", ["A", "last_Aep9rew9.0", "Arew3", "x[1]"])
@pytest.mark.parametrize(
    ("text", "reward"),
    [
        *(("485.30", 485.3), ("485", 485.0), ("[485.3]", 485.3), ("_485.3_", 485.3)),
        *(("1e5", 1e5), ("+1.0", 1.0), ("1.0e+05", 1e5), ("tensor(1.5)", 1.5), ("None", None)),
        *(("", None), ("5.0rew6.0", 5.0), ("5.0 (copy)", 5.0), ("5.0.pth", 5.0), ("Inf", None)),
    ],
)
def test_a_wrong_reward_alone_is_blamed(name: str, text: str, reward: float | None) -> None:
    parsed = parse_name(DEFAULT, name, f"last_{name}ep7rew{text}.pth")
    assert (parsed.kind, parsed.flaws) == (Kind.PERIODIC, (Flaw.REWARD,))
    assert (parsed.epoch, parsed.reward_text, parsed.reward) == (7, text, reward)


@pytest.mark.parametrize("other", ["B", "a", "AA", "", "Aep3", "A ", "Bep12", "Brew3", "last_A"])
def test_another_runs_name_alone_is_blamed(other: str) -> None:
    parsed = parse_name(DEFAULT, "A", f"last_{other}ep7rew5.0.pth")
    assert (parsed.kind, parsed.flaws) == (Kind.PERIODIC, (Flaw.RUN_NAME,))
    assert (parsed.other_run, parsed.epoch, parsed.reward) == (other, 7, 5.0)


def test_a_name_in_another_normalisation_is_another_name() -> None:
    parsed = parse_name(DEFAULT, "\u00e9", "last_e\u0301ep7rew5.0.pth")
    assert parsed.flaws == (Flaw.RUN_NAME,)


def test_bytes_that_are_no_utf8_are_another_name() -> None:
    parsed = parse_name(DEFAULT, "\u00e9", "last_\udce9ep7rew5.0.pth")
    assert parsed.flaws == (Flaw.RUN_NAME,)


@pytest.mark.parametrize(
    "text",
    [
        "last_A_ep_5_rew_1.0.pth",
        "last_Aep=5rew=1.0.pth",
        "last_Aep=5rew=[1.0].pth",
        "A_ep_5_rew_1.0.pth",
        "A_07-12-30-00_5.pth",
        "A_00000005.pth",
        "A5.pth",
        "best.pth",
        "a.pth",
        "A.pt",
        "A.pth.tmp",
        "last_Aep5rew1.0.pt",
        "last_Aep5rew1.0.ckpt",
        "last_Aep5rew1.0",
        "last_Aep5rew1.0.PTH",
        "Last_Aep5rew1.0.pth",
        "last-Aep5rew1.0.pth",
        "xlast_Aep5rew1.0.pth",
        "last_Aep5.pth",
        ".pth",
        "",
    ],
)
def test_other_dialects_and_suffixes_are_misspelled(text: str) -> None:
    parsed = parse_name(DEFAULT, "A", text)
    assert (parsed.kind, parsed.flaws) == (None, (Flaw.SPELLING,))


@pytest.mark.parametrize("text", ["last_Aep5rew1.0.pth", "last_Aep=5rew=1.0.pth", "A_5.pth"])
def test_the_default_dialect_is_misspelled_in_an_underscored_one(text: str) -> None:
    parsed = parse_name(load_profile("rl_games-1.6"), "A", text)
    assert (parsed.kind, parsed.flaws) == (None, (Flaw.SPELLING,))


@pytest.mark.parametrize(
    ("profile_name", "text", "flaw"),
    [
        ("ase", "A_50.pth", Flaw.EPOCH),
        ("ase", "A_00000000.pth", Flaw.EPOCH),
        ("ase", "A_000000050.pth", Flaw.EPOCH),
        ("ase", "B_00000050.pth", Flaw.RUN_NAME),
        ("amp", "A_07-12-30-00_050.pth", Flaw.EPOCH),
        ("amp", "B_07-12-30-00_50.pth", Flaw.RUN_NAME),
        ("rl_games-1.0", "last_Aep=050rew=[5.].pth", Flaw.EPOCH),
        ("rl_games-1.0", "last_Aep=50rew=[5].pth", Flaw.REWARD),
        ("ase", "A_best.pth", Flaw.SPELLING),
        ("amp", "A_07-12-30-60_50.pth", Flaw.SPELLING),
        ("amp", "A_32-12-30-00.pth", Flaw.SPELLING),
        ("amp", "A.pth", Flaw.SPELLING),
        ("rl_games-1.6", "last_A_custom_stop_ep_7.pth", Flaw.SPELLING),
    ],
)
def test_flaws_of_each_dialect_are_blamed_alone(profile_name: str, text: str, flaw: Flaw) -> None:
    assert parse_name(load_profile(profile_name), "A", text).flaws == (flaw,)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("last_A_ep_0002_rew_5.0.pth", Flaw.EPOCH),
        ("last_A_ep_5_rew_5.00.pth", Flaw.REWARD),
        ("last_A_ep_5_rew_[5.0].pth", Flaw.REWARD),
        ("last_B_ep_5_rew_5.0.pth", Flaw.RUN_NAME),
    ],
)
def test_flaws_of_the_underscored_dialect_are_blamed_alone(text: str, flaw: Flaw) -> None:
    parsed = parse_name(UNDERSCORED, "A", text)
    assert (parsed.kind, parsed.flaws) == (Kind.PERIODIC, (flaw,))


def test_two_flaws_are_both_blamed() -> None:
    parsed = parse_name(DEFAULT, "A", "last_Bep007rew5.pth")
    assert parsed.flaws == (Flaw.RUN_NAME, Flaw.EPOCH, Flaw.REWARD)


@quick
@given(st.integers(1, 10**6), st.floats(width=32))
def test_the_periodic_name_is_the_seeds_expression(epoch: int, reward: float) -> None:
    config = {"name": "Cartpole"}
    text = "last_" + config["name"] + "ep" + str(epoch) + "rew" + reward_text(reward) + ".pth"
    assert format_name(DEFAULT, Kind.PERIODIC, "Cartpole", epoch=epoch, reward=reward) == text
    assert parse_name(DEFAULT, "Cartpole", text).flaws == ()


# --- hostile names --------------------------------------------------------------------------

_LONG = 10_000


@quick
@given(run_names | parts, st.text(max_size=60) | parts, st.sampled_from(builtin_profiles()))
def test_any_text_parses_to_something(name: str, text: str, profile_name: str) -> None:
    parsed = parse_name(load_profile(profile_name), name, text)
    assert parsed.text == text
    assert (parsed.kind is None) == (Flaw.SPELLING in parsed.flaws)


@pytest.mark.parametrize(
    "text",
    [
        "last_Aep" + "1" * _LONG + "rew5.0.pth",
        "last_Aep5rew" + "1" * _LONG + ".pth",
        "last_Aep5rew" + "1" * _LONG,
        "last_Bep" + "1" * _LONG + "rew" + "1" * _LONG,
        "last_A" + "ep1" * (_LONG // 3) + "rew5.0.pth",
        "last_A" + "ep1rew1" * (_LONG // 7),
        "last_Aep" + "rew" * (_LONG // 3),
        "ep" * (_LONG // 2),
        "last_" * (_LONG // 5),
        "last_A_ep_5_rew_[" + "1. " * (_LONG // 3),
        "last_Aep5rew[" + "1. " * (_LONG // 3) + "x].pth",
        "last_A_ep_5_rew__" + "1 " * (_LONG // 2) + ".pth",
        "\0" * _LONG,
    ],
    ids=lambda text: f"{text[:20]!a}...{text[-8:]!a}",
)
@pytest.mark.parametrize("profile_name", builtin_profiles())
def test_endless_names_end(profile_name: str, text: str) -> None:
    profile = load_profile(profile_name)
    parsed = parse_name(profile, "A", text)
    assert parsed.flaws
    assert parsed.epoch is None or parsed.epoch < 10**18
    kind = Kind.BEST if profile.has_best else Kind.PERIODIC
    assert parse_name(profile, text, format_name(profile, kind, text, epoch=1)).kind is kind


@pytest.mark.parametrize("name", ["A\n", "\n", "A\0", "\udc80", "A\u202e", "\x1b[31m", "A\r"])
def test_control_characters_are_compared_like_any_other(name: str) -> None:
    text = format_name(DEFAULT, Kind.PERIODIC, name, epoch=7, reward=5.0)
    assert parse_name(DEFAULT, name, text).flaws == ()
    assert parse_name(DEFAULT, "A", text).flaws == (Flaw.RUN_NAME,)
    assert parse_name(DEFAULT, name, text + "\n").kind is None


def test_a_line_break_behind_a_whole_name_is_not_overlooked() -> None:
    assert parse_name(DEFAULT, "A", "A.pth\n").kind is None
    assert parse_name(DEFAULT, "A", "last_Aep5rew1.0\n.pth").flaws == (Flaw.REWARD,)
    assert parse_name(DEFAULT, "A", "last_Aep5\nrew1.0.pth").flaws == (Flaw.EPOCH,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("A.pth", True), ("A.pt", True), ("A.ckpt", True), (".pth", True)),
        *(("A.pth.tmp", False), ("A.PTH", False), ("Apth", False), ("A.pth\n", False), ("", False)),
    ],
)
def test_checkpoint_suffixes(text: str, *, expected: bool) -> None:
    assert has_checkpoint_suffix(text) is expected


# --- the run's name, as its folders tell it -------------------------------------------------


@pytest.mark.parametrize(
    ("profile_name", "path", "name"),
    [
        ("isaacgymenvs", "/runs/A", "A"),
        ("isaacgymenvs", "/runs/A_14-09-26-53", "A_14-09-26-53"),
        ("rl_games-1.5", "/runs/A", "A"),
        ("rl_games-1.5", "/runs/A_14-09-26-53", "A"),
        ("rl_games-1.5", "/runs/A_pbt_07_14-09-26-53", "A"),
        ("rl_games-1.5", "/runs/A_32-09-26-53", "A_32-09-26-53"),
        ("rl_games-1.5", "/runs/A_14-09-26-53_14-09-26-54", "A_14-09-26-53"),
        ("rl_games-1.5", "/runs/x[1]_14-09-26-53", "x[1]"),
        ("rl_games-1.0", "/somewhere", None),
        ("rl_games-1.6+isaaclab", "/logs/rl_games/A/2024-01-31_14-09-26", "A"),
        ("rl_games-1.6+isaaclab", "/logs/rl_games/A/2024-13-31_14-09-26", None),
        ("rl_games-1.6+isaaclab", "/logs/rl_games/A", None),
    ],
)
def test_a_run_s_folder_tells_its_name(profile_name: str, path: str, name: str | None) -> None:
    assert run_name_of(load_profile(profile_name), path) == name


def test_the_folder_of_event_files_may_tell_the_run_s_name() -> None:
    early = load_profile("rl_games-1.0")
    assert holds_event_files(early, "runs/A_14-09-26-53")
    assert not holds_event_files(early, "runs")
    assert not holds_event_files(early, "summaries")
    assert summarised_name(early, "runs/A_14-09-26-53") == "A"
    assert holds_event_files(DEFAULT, "summaries")
    assert summarised_name(DEFAULT, "summaries") is None


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (1000.0, "1000."),
        (66.5, "66.5"),
        (-5.0, "-5."),
        (10.0, "10."),
        (1e-05, "1.e-05"),
        (1.5e-05, "1.5e-05"),
        (1e20, "1.e+20"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_the_reward_of_a_final_save_is_printed_as_inside_an_array(reward: float, text: str) -> None:
    old, new = load_profile("rl_games-1.5"), load_profile("rl_games-1.6")
    assert format_name(old, Kind.FINAL, "A", epoch=7, reward=reward) == f"last_Aep7rew[{text}].pth"
    assert (
        format_name(new, Kind.FINAL, "A", epoch=7, reward=reward) == f"last_A_ep_7_rew__{text}_.pth"
    )


@pytest.mark.parametrize(
    ("profile_name", "ending", "text"),
    [
        ("rl_games-1.6", Ending.EPOCHS, "last_A_ep_7_rew__3.25_.pth"),
        ("rl_games-1.6", Ending.FRAMES, "last_A_frame_3584_rew__3.25_.pth"),
        ("rl_games-2.0", Ending.STOP, "last_A_custom_stop_ep_7.pth"),
        ("rl_games-sac", Ending.STOP, "last_A_custom_stop_ep_7.pth"),
        ("rl_games-sac", Ending.FRAMES, "last_A_frame_3584_rew_3.25.pth"),
    ],
)
def test_each_end_of_a_training_has_its_name(profile_name: str, ending: Ending, text: str) -> None:
    profile = load_profile(profile_name)
    kept = {"epoch": 7, "reward": 3.25, "frame": 3584}
    assert format_name(profile, Kind.FINAL, "A", ending=ending, **kept) == text
    parsed = parse_name(profile, "A", text)
    frame = 3584 if ending is Ending.FRAMES else None
    assert (parsed.flaws, parsed.frame) == ((), frame)


def test_an_end_that_the_profile_has_no_name_for_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"rl_games-1\.5 has no final checkpoint"):
        format_name(load_profile("rl_games-1.5"), Kind.FINAL, "A", epoch=7, ending=Ending.FRAMES)


@pytest.mark.parametrize(
    ("reward", "rounds", "number"),
    [
        ("66.53", False, "66.53"),
        ("nan", False, "nan"),
        ("-inf", False, "-inf"),
        ("_66.53_", True, "66.53"),
        ("_ 3.1415927 -1.5      _", True, "3.1415927"),
        ("__", True, ""),
        ("_" + "9" * 300 + "_", True, ""),
    ],
)
def test_the_number_in_a_reward_s_text(reward: str, *, rounds: bool, number: str) -> None:
    parsed = parse_name(load_profile("rl_games-1.6"), "A", f"last_A_ep_5_rew_{reward}.pth")
    assert (parsed.rounds, parsed.number_text) == (rounds, number)
