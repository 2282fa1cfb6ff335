"""The dialect of a run is chosen by what lies in it; what cannot be told is said to be so."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import check_run, check_runs
from conformance.checks import audit
from conformance.convention.names import parse_name
from conformance.convention.oracle import Settings
from conformance.convention.profile import DEFAULT_PROFILE, Kind, builtin_profiles, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import Side, ordinary
from conformance.fixtures.cases import CASES
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.views.dialect import Certainty, choose, settled

LAYOUTS = ("", "+isaaclab")
NAMES = [profile + layout for profile in builtin_profiles() for layout in LAYOUTS]
REWARDS = st.sampled_from((0.0, 1.0, 2.0, 485.3, -1.2e-05, -8461.007))

# Six epochs that improve, and one more where the dialect ends late.
TELLING = (None, None, 1.0, 2.0, 4.0, 3.0, 3.5)
# What even these do not tell apart: the two differ in the watermark before the first best, and in
# what they do when they are resumed.
ALIKE = {"rl_games-1.6": {"rl_games-2.0"}, "rl_games-2.0": {"rl_games-1.6"}}


def told(profile, *sessions, **kept):
    """The run that the dialect leaves; with a config only where it keeps one."""
    last = sessions[-1].span.stop - 1 - profile.ends_late
    configured = Settings("A", 2, last, save_best_after=0)
    return replace(play(configured, sessions, profile=profile), **kept)


def chosen(run, options=None):
    with tempfile.TemporaryDirectory() as root:
        return choose(scan_run(run.write(Path(root))), options)


def whole(profile):
    late = profile.ends_late
    return Session(TELLING if late else TELLING[:-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_tells_its_dialect(name):
    profile = load_profile(name)
    choice = chosen(told(profile, whole(profile)))
    plain, _, layout = name.partition("+")
    alike = {other + (f"+{layout}" if layout else "") for other in ALIKE.get(plain, ())}
    assert {choice.profile.name, *choice.equals} == {name, *alike}
    assert (choice.certainty is Certainty.OPEN) == bool(alike)
    assert choice.mixture == ()
    assert "\n" not in choice.told


@pytest.mark.parametrize("name", ["rl_games-1.6", "rl_games-2.0"])
def test_the_watermark_before_the_first_best_tells_1_6_from_later_ones(name):
    profile = load_profile(name)
    run = play(
        Settings("A", 2, 4, save_best_after=3), [Session((3.0, 4.0, 5.0, 6.0))], profile=profile
    )
    assert run.periodic(2).values["last_mean_rewards"] == profile.initial_watermarks[0]
    choice = chosen(run)
    assert (choice.profile.name, choice.equals) == (name, ())


def test_a_run_of_which_only_the_best_is_left_may_be_of_many_dialects():
    run = told(load_profile("rl_games-1.5"), Session((1.0, 2.0)))
    others = [file for file in run.checkpoints.values() if file.kind is not Kind.BEST]
    choice = chosen(run.without(*others).unconfigured(), Options(save_best_after=0))
    assert choice.certainty is Certainty.OPEN
    assert {choice.profile.name, *choice.equals} >= {"rl_games-1.1", "rl_games-1.6.0"}
    assert "equally well" in choice.told
    assert "the first of equally strict ones" in choice.told


def test_of_dialects_that_fit_alike_the_default_is_taken():
    run = ordinary()
    kept = [file for file in run.checkpoints.values() if file.kind is Kind.BEST]
    lone = replace(run, checkpoints={file.path: file for file in kept}, settings=None)
    choice = chosen(lone, Options(save_best_after=0))
    assert choice.profile.name == "isaacgymenvs"
    assert choice.told.endswith("the default is used")


def test_of_dialects_that_fit_alike_the_strictest_is_taken():
    profile = load_profile("rl_games-1.6")
    choice = chosen(told(profile, whole(profile)))
    assert (choice.profile.name, choice.equals) == ("rl_games-2.0", ("rl_games-1.6",))
    assert choice.told.endswith("the strictest is used")


@pytest.mark.parametrize(("name", "chosen_name"), [("amp-2022", "amp-2022"), ("isaacgymenvs", "")])
def test_the_last_save_of_amp_is_told_from_a_best_by_its_log(name, chosen_name):
    """`A.pth` alone: the default's best, or the last save of AMP as it was in 2022."""
    run = told(load_profile(name), whole(load_profile(name)))
    others = [file for file in run.checkpoints.values() if file.path != "nn/A.pth"]
    choice = chosen(run.without(*others).unconfigured(), Options(save_best_after=0))
    assert choice.profile.name == (chosen_name or DEFAULT_PROFILE)
    assert "amp-2022" not in choice.equals


def test_an_empty_run_is_held_against_the_default(tmp_path):
    (tmp_path / "A" / "nn").mkdir(parents=True)
    choice = choose(scan_run(tmp_path / "A"))
    assert choice.profile.name == "isaacgymenvs"
    assert choice.certainty is Certainty.OPEN
    assert "there is no checkpoint" in choice.told


def test_names_of_no_dialect_are_said_to_be_so(tmp_path):
    (tmp_path / "A" / "nn").mkdir(parents=True)
    (tmp_path / "A" / "nn" / "policy-5.pt").write_bytes(b"x")
    choice = choose(scan_run(tmp_path / "A"))
    assert choice.profile.name == "isaacgymenvs"
    assert "no profile spells names as here" in choice.told


def test_dialects_side_by_side_are_a_mixture():
    profile = load_profile("rl_games-1.5")
    run = told(profile, whole(profile))
    other = run.periodic(6)
    mixed = run.with_checkpoint(replace(other, path="nn/last_Aep=6rew=[3.].pth"))
    choice = chosen(mixed)
    assert choice.mixture == ("rl_games-1.5", "rl_games-1.0")
    assert "a mixture: names of rl_games-1.5 and of rl_games-1.0 stand side by side" in choice.told
    assert chosen(run).mixture == ()


# --- neighbours -------------------------------------------------------------------------------


def written_in(root, **runs):
    """Runs under their names, each with what is chosen for it by itself."""
    choices = {}
    for name, run in runs.items():
        path = replace(run, experiment=name).write(root)
        choices[path] = choose(scan_run(path), Options(save_best_after=0))
    return choices


def of_dialect(name):
    return told(load_profile(name), whole(load_profile(name)))


def only_the_best(name):
    run = of_dialect(name)
    others = [file for file in run.checkpoints.values() if file.kind is not Kind.BEST]
    return run.without(*others).unconfigured().configured(name="A")


def test_an_open_run_is_what_the_one_beside_it_is_for_certain(tmp_path):
    choices = written_in(
        tmp_path, open=only_the_best("rl_games-1.6.0"), sure=of_dialect("rl_games-1.6.0")
    )
    alone, sure = choices.values()
    assert (alone.certainty, sure.certainty) == (Certainty.OPEN, Certainty.CERTAIN)
    assert alone.profile.name != "rl_games-1.6.0"
    choice = settled(choices)[tmp_path / "open"]
    assert (choice.profile.name, choice.certainty) == ("rl_games-1.6.0", Certainty.LIKELY)
    assert choice.equals == ()
    assert choice.told.endswith("; 'sure' beside it is rl_games-1.6.0 for certain")
    assert settled(choices)[tmp_path / "sure"] == sure


def test_runs_of_other_roots_and_other_trainers_settle_nothing(tmp_path):
    apart = written_in(tmp_path / "a", open=only_the_best("rl_games-1.6.0"))
    apart |= written_in(tmp_path / "b", sure=of_dialect("rl_games-1.6.0"))
    assert settled(apart) == apart
    other = written_in(tmp_path / "c", open=only_the_best("rl_games-1.6.0"), sure=of_dialect("amp"))
    assert [choice.certainty for choice in other.values()] == [Certainty.OPEN, Certainty.CERTAIN]
    assert settled(other) == other


def test_neighbours_that_disagree_settle_nothing(tmp_path):
    choices = written_in(
        tmp_path, open=only_the_best("rl_games-1.6.0"), sure=of_dialect("rl_games-1.6.0")
    )
    alone, sure = choices.values()
    another = replace(sure, profile=load_profile(alone.profile.name))
    disagreeing = {**choices, tmp_path / "another": another}
    assert settled(disagreeing)[tmp_path / "open"] == alone


def test_a_settled_run_is_judged_by_what_it_was_settled_as(tmp_path):
    written_in(tmp_path, open=only_the_best("rl_games-1.6.0"), sure=of_dialect("rl_games-1.6.0"))
    together = check_runs(tmp_path, profile="auto", save_best_after=0)
    assert together.profile == "rl_games-1.6.0"
    alone = check_run(tmp_path / "open", profile="rl_games-1.6.0", save_best_after=0)
    assert together.runs[0] == alone


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.side is Side.CONFORMING and case.profile != DEFAULT_PROFILE],
    ids=lambda case: case.name,
)
def test_what_wrote_a_published_run_is_among_what_fits(case):
    choice = chosen(case.build(), Options(**case.options))
    assert case.profile in {choice.profile.name, *choice.equals}, choice.told


@st.composite
def histories(draw, profile):
    """One to three sessions, each fresh or resumed where the one before it ended."""
    sessions, end = [], 0
    for number in range(draw(st.integers(1, 3))):
        resumed = number > 0 and draw(st.booleans())
        waiting = 0 if resumed else draw(st.integers(0, 2))
        rewards = (*(None,) * waiting, *draw(st.lists(REWARDS, min_size=2, max_size=6)))
        first = end + 1 if resumed else 1
        end = first + len(rewards) - 1
        last = end - profile.ends_late
        sessions.append(Session(rewards, first=first, resumed=resumed, max_epochs=last))
    return sessions


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), save_freq=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_what_wrote_a_run_is_always_among_what_fits(name, data, save_freq):
    profile = load_profile(name)
    sessions = data.draw(histories(profile))
    last = sessions[-1].max_epochs
    run = play(Settings("A", save_freq, last, save_best_after=0), sessions, profile=profile)
    known = None if profile.config else Options(None, save_freq, last, 0)
    choice = chosen(run, known)
    assert name in {choice.profile.name, *choice.equals}, choice.told
    with tempfile.TemporaryDirectory() as root:
        report = audit(scan_run(run.write(Path(root))), choice.profile, known)
    assert report.verdict == "conforms", choice.told


@pytest.mark.parametrize("name", ["amp", "ase", "rl_games-1.6", "rl_games-sac"])
def test_a_run_in_which_no_episode_finished_is_not_blamed_for_its_log(tmp_path, name):
    """Its saves are due all the same, and nothing says that a reward was there to log."""
    profile = load_profile(name)
    late = profile.ends_late
    run = play(Settings("A", 2, 6, 0), [Session((None,) * (6 + late))], profile=profile)
    assert any(file.kind is not Kind.BEST for file in run.checkpoints.values())
    report = audit(scan_run(run.write(tmp_path)), profile)
    assert {found.rule for found in report.findings if found.verdict.value == "fail"} == set()
    assert report.verdict == "incomplete"


# What is told apart by more than its own kind of file: see the table in docs/profiles.md.
TOLD_APART = [
    (name, other)
    for name in builtin_profiles()
    for other in builtin_profiles()
    if name != other and {name, other} != {"rl_games-1.6", "rl_games-2.0"}
]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_run_with_periodic_and_final_saves_and_settings_is_named_alone(layout, data):
    """Where the last epoch is the training's and both kinds of save are there, one fits alone."""
    name = data.draw(st.sampled_from(builtin_profiles()))
    profile = load_profile(name + layout)
    late = profile.ends_late
    # A first improvement, a fall below it at a multiple of save_freq, and any end.
    rewards = (None, 5.0, 7.0, 6.0, *data.draw(st.lists(REWARDS, min_size=3, max_size=5)))
    last = len(rewards) - late
    run = play(Settings("A", 2, last, save_best_after=0), [Session(rewards)], profile=profile)
    choice = chosen(run, None if profile.config else Options(None, 2, last, 0))
    alike = {other + layout for other in ALIKE.get(name, ())}
    assert {choice.profile.name, *choice.equals} <= {profile.name, *alike}, choice.told
    assert choice.mixture == ()


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_run_of_two_dialects_is_a_mixture_of_profiles_that_spell_all_of_it(data):
    first, second = data.draw(st.sampled_from(TOLD_APART))
    run = told(load_profile(first), whole(load_profile(first)))
    other = told(load_profile(second), whole(load_profile(second)))
    strange = [
        file
        for file in other.checkpoints.values()
        if parse_name(load_profile(first), "A", file.path.rpartition("/")[2]).flaws
    ]
    mixed = run
    for file in strange:
        mixed = mixed.with_checkpoint(file)
    choice = chosen(mixed, Options(None, 2, 6, 0))
    names = {path.rpartition("/")[2] for path in mixed.checkpoints}
    spelled = {
        text
        for name in (choice.profile.name, *choice.mixture)
        for text in names
        if not parse_name(load_profile(name), "A", text).flaws
    }
    assert spelled == names, choice.told
    if len(choice.mixture) > 1:
        assert "a mixture: names of " in choice.told


# --- one deviation is found and named under the chosen profile ------------------------------


def _numbered(run):
    return next(file for file in run.checkpoints.values() if file.kind is Kind.PERIODIC)


DEVIATIONS = {
    "NAME-006": lambda run: run.storing(_numbered(run), epoch=_numbered(run).epoch + 1),
    "LOAD-008": lambda run: run.storing(_numbered(run), epoch="two"),
    "INTEGRITY-001": lambda run: run.damaged(_numbered(run), lambda data: data[:-40]),
    "LAYOUT-001": lambda run: run.moved(_numbered(run), "B.pth"),
    "LAYOUT-002": lambda run: run.with_logs(lambda log: replace(log, path="nn2/" + log.path)),
}


@pytest.mark.parametrize("rule", DEVIATIONS)
@pytest.mark.parametrize("name", builtin_profiles())
def test_one_deviation_is_found_and_named(name, rule):
    profile = load_profile(name)
    run = told(profile, whole(profile))
    known = None if profile.config else Options(None, 2, 6, 0)
    with tempfile.TemporaryDirectory() as root:
        folder = scan_run(DEVIATIONS[rule](run).write(Path(root)))
        choice = choose(folder, known)
        report = audit(folder, choice.profile, known)
    broken = {
        finding.rule
        for finding in report.findings
        if finding.verdict.value == "fail" and finding.level.value == "must"
    }
    assert broken == {rule}, choice.told
