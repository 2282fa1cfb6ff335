"""Names from the oracle as trainers print them: finals of each end, wins, arrays, NumPy's texts."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from conformance.checks import audit
from conformance.convention.names import parse_name
from conformance.convention.oracle import Settings
from conformance.convention.profile import Ending, Kind, RewardForm, builtin_profiles, load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.play import FRAMES, Session, play
from conformance.run.explanation import Reason
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.explain import explain

REWARDS = (70.123456, 66.52648, 1234567.0, 12.000001, -0.25, 3.14159265)
SAVE_FREQ, LAST = 2, 6


def settings_of(**ends):
    given = {"max_epochs": LAST, "save_best_after": 0, **ends}
    return Settings("A", SAVE_FREQ, **given)


def judged(run, profile, root, max_epochs=LAST):
    """The MUST rules that the run breaks, and what each of its files is taken for."""
    folder = scan_run(run.write(root))
    known = Options(None, SAVE_FREQ, max_epochs, 0)
    report = audit(folder, profile, known)
    broken = {
        finding.rule
        for finding in report.findings
        if (finding.verdict.value, finding.level.value) == ("fail", "must")
    }
    told = explain(Subject(folder, profile, known))
    return broken, {file.path.rpartition("/")[2]: file.reason for file in told.files}


def played(profile, rewards=REWARDS, **ends):
    late = profile.ends_late and not ends
    return play(
        settings_of(**ends), [Session((*rewards, 2.5) if late else rewards)], profile=profile
    )


# --- the ends of a training -----------------------------------------------------------------

WITH = {
    ending: [
        name
        for name in builtin_profiles()
        if ending in {template.ending for template in load_profile(name).templates(Kind.FINAL)}
    ]
    for ending in Ending
}


@pytest.mark.parametrize("name", WITH[Ending.FRAMES])
def test_a_final_named_by_its_frame_is_explained(tmp_path, name):
    profile = load_profile(name)
    run = played(profile, REWARDS[:5], max_epochs=None, max_frames=5 * FRAMES)
    broken, reasons = judged(run, profile, tmp_path, max_epochs=None)
    finals = [path for path, reason in reasons.items() if reason is Reason.FINAL]
    assert [f"_frame_{5 * FRAMES}_" in path for path in finals] == [True]
    assert Reason.UNEXPLAINED not in reasons.values()
    assert broken == set()


@pytest.mark.parametrize("name", WITH[Ending.STOP])
def test_a_training_that_a_callback_stops_is_explained(tmp_path, name):
    profile = load_profile(name)
    run = played(profile, REWARDS[:5], custom_stop=5)
    broken, reasons = judged(run, profile, tmp_path)
    assert reasons["last_A_custom_stop_ep_5.pth"] is Reason.FINAL
    assert Reason.UNEXPLAINED not in reasons.values()
    assert broken == set()


@pytest.mark.parametrize("name", WITH[Ending.FRAMES])
def test_a_training_may_end_for_its_epochs_and_its_frames_at_once(tmp_path, name):
    profile = load_profile(name)
    run = played(profile, max_frames=LAST * FRAMES)
    broken, reasons = judged(run, profile, tmp_path)
    frame = f"last_A_frame_{LAST * FRAMES}_"
    assert [reason for path, reason in reasons.items() if path.startswith(frame)] == [Reason.FINAL]
    assert len([reason for reason in reasons.values() if reason is Reason.FINAL]) == (
        1 if profile.epoch_tag else 2  # SAC's other one is the periodic file of that epoch
    )
    assert broken == set()


@pytest.mark.parametrize("name", [name for name in WITH[Ending.EPOCHS] if name != "ase"])
def test_the_periodic_and_the_final_save_of_the_last_epoch_stand_side_by_side(tmp_path, name):
    profile = load_profile(name)
    if profile.ends_late:
        run = play(settings_of(max_epochs=5), [Session(REWARDS)], profile=profile)
        limit = 5
    else:
        run, limit = played(profile), LAST
    broken, reasons = judged(run, profile, tmp_path, max_epochs=limit)
    of_last = {file.kind for file in run.checkpoints.values() if file.epoch == LAST}
    assert Reason.UNEXPLAINED not in reasons.values()
    assert of_last & {Kind.FINAL, Kind.PERIODIC}
    assert broken == set()


@pytest.mark.parametrize(
    "name", [name for name in builtin_profiles() if load_profile(name).templates(Kind.WIN)]
)
def test_a_win_is_explained_and_ends_the_session(tmp_path, name):
    profile = load_profile(name)
    run = played(profile, rewards=(1.0, 2.0, 7.25), score_to_win=5.0)
    broken, reasons = judged(run, profile, tmp_path)
    won = [path for path, reason in reasons.items() if reason is Reason.WIN]
    assert len(won) == 1
    assert "7.25" in won[0]
    assert Reason.UNEXPLAINED not in reasons.values()
    assert broken == set()


def test_a_win_of_another_reward_is_unexplained(tmp_path):
    profile = load_profile("rl_games-1.5")
    run = played(profile, rewards=(1.0, 2.0, 7.25), score_to_win=5.0)
    won = next(file for file in run.checkpoints.values() if file.kind is Kind.WIN)
    wrong = run.storing(won, epoch=3).renamed(won, "A_ep_3_rew_8.25.pth")
    _, reasons = judged(wrong, profile, tmp_path)
    assert reasons["A_ep_3_rew_8.25.pth"] in (Reason.UNEXPLAINED, Reason.DUPLICATE)


# --- arrays -----------------------------------------------------------------------------------

PRINTING = [
    name
    for name in builtin_profiles()
    if any(
        form in (RewardForm.ARRAY, RewardForm.UNDERSCORED)
        for template in load_profile(name).names
        for form in template.rewards
    )
]


def as_printed(run, profile, *others, **options):
    """The run with its arrays as NumPy prints them, with the rewards of other heads."""
    late = profile.ends_late
    rewards = (*REWARDS, 2.5) if late else REWARDS
    for file in tuple(run.checkpoints.values()):
        forms = {form for template in profile.templates(file.kind) for form in template.rewards}
        name = file.path.rpartition("/")[2]
        with np.printoptions(**options):
            text = str(np.array([rewards[file.epoch - 1], *others], dtype=np.float32))
        if RewardForm.UNDERSCORED in forms:
            text = text.replace("[", "_").replace("]", "_")
        elif RewardForm.ARRAY not in forms:
            continue
        printed = re.sub(r"(rew[=_]?)[\[_].*[\]_](?=\.pth)", rf"\1{text}", name)
        assert parse_name(profile, "A", printed).flaws == (), printed
        if printed != name:
            run = run.renamed(file, printed)
    return run


@pytest.mark.parametrize("others", [(), (-1.5,), (1e9, 0.0), (np.nan, -np.inf)])
@pytest.mark.parametrize("precision", [2, 8])
@pytest.mark.parametrize("name", PRINTING)
def test_an_array_is_read_as_numpy_prints_it(tmp_path, name, precision, others):
    """`value_size` rewards, padded to one width, rounded to NumPy's print precision."""
    profile = load_profile(name)
    run = as_printed(played(profile), profile, *others, precision=precision)
    broken, reasons = judged(run, profile, tmp_path)
    assert Reason.UNEXPLAINED not in reasons.values(), reasons
    assert broken == set()


@pytest.mark.parametrize(
    ("text", "rule"), [("[66.54]", "SUMMARY-002"), ("[66.5x]", "NAME-005"), ("[66.53", "NAME-005")]
)
def test_an_array_that_rounds_another_reward_is_blamed(tmp_path, text, rule):
    profile = load_profile("rl_games-1.0")
    run = as_printed(played(profile), profile, precision=2)
    name = f"last_Aep=2rew={text}.pth"
    broken, reasons = judged(run.renamed(run.periodic(2), name), profile, tmp_path)
    assert broken == {rule}
    if rule == "SUMMARY-002":
        assert reasons[name] is Reason.UNEXPLAINED


def test_a_scalar_may_not_be_rounded_as_an_array_is(tmp_path):
    profile = load_profile("rl_games-1.5")
    run = played(profile)
    wrong = run.renamed(run.periodic(2), "last_A_ep_2_rew_66.53.pth")
    broken, _ = judged(wrong, profile, tmp_path)
    assert broken == {"NAME-005"}


# --- the two texts of NumPy's versions ---------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "texts"),
    [
        (1234567.0, ("1234567.0", "1.234567e+06")),
        (16777216.0, ("16777216.0", "1.6777216e+07")),
        (1e16, ("1e+16", "1.e+16")),
        (1.985146e-15, ("1.985146e-15",)),
    ],
)
def test_each_version_of_numpy_prints_a_right_name(tmp_path, reward, texts):
    """Before NumPy 2.3 a scalar is printed plainly up to 1e16."""
    profile = load_profile("rl_games-1.6")
    run = play(settings_of(), [Session((1e17, reward, 0.5, 0.25, 0.5, 0.5))], profile=profile)
    for number, text in enumerate(texts):
        name = f"last_A_ep_2_rew_{text}.pth"
        file = run.periodic(2)
        printed = run if file.path.endswith(name) else run.renamed(file, name)
        broken, reasons = judged(printed, profile, tmp_path / str(number))
        wrong = text.endswith(".e+16")  # an array's text
        assert broken == ({"NAME-005"} if wrong else set())
        assert wrong or reasons[name] is Reason.PERIODIC


# --- watermarks and the first best -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("rl_games-1.5", (-100500.0, -100501.0, -100499.0)),
        ("rl_games-1.6", (-1e9, -2e9, -5e8)),
        ("rl_games-1.6", (-100500.0, -100501.0, -100499.0)),
        ("rl_games-2.0", (-np.inf, -np.inf, -3e38)),
    ],
)
@pytest.mark.parametrize("after", [0, 3])
def test_the_initial_watermark_and_the_first_best_epoch_are_kept(tmp_path, name, start, after):
    profile = load_profile(name)
    initial, below, above = start
    writer = replace(profile, initial_watermarks=(initial,))
    rewards = (above, below, below, below) if after else (below, below, above, below)
    run = play(
        Settings("A", 1, 4, save_best_after=after), [Session((*rewards, below))], profile=writer
    )
    bests = [file.epoch for file in run.checkpoints.values() if file.kind is Kind.BEST]
    assert bests == ([] if after else [3])
    broken, reasons = judged_at(run, profile, tmp_path, after)
    assert broken == set()
    assert Reason.UNEXPLAINED not in reasons.values()


def judged_at(run, profile, root, after):
    folder = scan_run(run.write(root))
    known = Options(None, 1, 4, after)
    report = audit(folder, profile, known)
    broken = {
        finding.rule
        for finding in report.findings
        if (finding.verdict.value, finding.level.value) == ("fail", "must")
    }
    told = explain(Subject(folder, profile, known))
    return broken, {file.path: file.reason for file in told.files}
