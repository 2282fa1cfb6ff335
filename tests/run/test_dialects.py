"""A run whose names are all another dialect's: that is said first, and the rest is left open."""

from __future__ import annotations

import pytest

from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import (
    DEFAULT_PROFILE,
    Kind,
    builtin_profiles,
    load_profile,
)
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import floats
from conformance.fixtures.case import ordinary
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options

# Epoch 2 is lower than epoch 1, which only save_best_after allows to be left out of the best.
REWARDS = (57.25, 56.5, 61.5, 61.25, 70.0, 65.0)
SETTINGS = Settings("Ant", 2, 6, save_best_after=3)
OTHERS = [name for name in builtin_profiles() if name != DEFAULT_PROFILE]


def whole(name):
    profile = load_profile(name)
    rewards = (*REWARDS, 64.0)[: len(REWARDS) + profile.ends_late]
    return play(SETTINGS, [Session(rewards)], profile=profile)


@pytest.fixture
def audited(tmp_path):
    """Return what audits a run under a profile, the default one unless another is named."""

    def judge(run, profile=DEFAULT_PROFILE, options=None):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        return audit(scan_run(run.write(root)), load_profile(profile), options)

    return judge


def musts(report):
    return {
        finding.rule
        for finding in report.findings
        if finding.verdict.value == "fail" and finding.level.value == "must"
    }


def of(report, rule):
    return next(finding for finding in report.findings if finding.rule == rule)


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "rl_games-1.0"])
def test_names_that_are_all_anothers_are_the_one_failure(audited, name):
    report = audited(whole(name))
    assert musts(report) == {"NAME-002"}
    assert name in of(report, "NAME-002").evidence["profiles"]
    assert report.hint.startswith("these names are those of ")
    assert report.hint.endswith(": use --profile auto")
    assert of(report, "NAME-002").message.startswith(report.hint)


def test_what_depends_on_the_dialect_is_open_and_says_why(audited):
    run = whole("rl_games-1.6").unconfigured()
    early = run.without(run.periodic(2))
    report = audited(early)
    loads = of(report, "LOAD-001")
    assert loads.verdict.value == "unobservable"
    assert "depends on the dialect, and the names are those of rl_games-1.6" in loads.message


def test_no_best_before_save_best_after_is_no_lower_reward(audited):
    """The false accusation: a best of epoch 3 beside a higher reward that came too early for it."""
    profile = load_profile("rl_games-1.6")
    rewards = (90.0, 56.5, 61.5, 61.25, 70.0, 65.0)
    report = audited(play(SETTINGS, [Session(rewards)], profile=profile))
    assert musts(report) == {"NAME-002"}
    assert of(report, "BEST-004").verdict.value == "unobservable"


@pytest.mark.parametrize("rule", ["INTEGRITY-001", "LAYOUT-004", "LOAD-006"])
def test_what_does_not_depend_on_the_dialect_is_blamed_all_the_same(audited, rule):
    run = whole("rl_games-1.6")
    file = run.periodic(2)
    nan = {**file.values["model"], "actor.bias": floats(float("nan"), 0.0, shape=(2,))}
    run = {
        "INTEGRITY-001": run.damaged(file, lambda data: data[:-40]),
        "LAYOUT-004": run.encoded(file, lambda _: b""),
        "LOAD-006": run.storing(file, model=nan),
    }[rule]
    assert musts(audited(run)) == {"NAME-002", rule}


def test_what_every_dialect_of_these_names_breaks_is_blamed(audited):
    run = whole("rl_games-1.6")
    broken = run.storing(run.periodic(2), epoch="two")
    assert musts(audited(broken)) == {"NAME-002", "LOAD-008"}


# --- near misses: a run of its own dialect with a defect --------------------------------------


def underscored(run, *epochs):
    for epoch in epochs:
        reward = {2: "2.0", 4: "3.0"}[epoch]
        run = run.renamed(run.periodic(epoch), f"last_Cartpole_ep_{epoch}_rew_{reward}.pth")
    return run


def test_names_that_are_anothers_in_part_are_a_defect_of_this_one(audited):
    run = underscored(ordinary(), 4)
    tied = run.storing(run.best, last_mean_rewards=3.5)
    report = audited(tied)
    assert report.hint == ""
    assert musts(report) == {"NAME-002", "BEST-007"}


def test_a_defect_besides_all_names_stays_one(audited):
    """The best holds a lower reward, which no dialect of these names excuses."""
    run = underscored(ordinary(), 2, 4)
    lower = run.holding(run.best, run.periodic(4).values)
    expected = musts(audited(ordinary().holding(ordinary().best, run.periodic(4).values)))
    report = audited(lower, options=Options(save_best_after=0))
    assert report.hint
    assert musts(report) == {"NAME-002"} | expected


def test_names_of_a_dialect_that_does_not_store_what_is_there_are_a_defect(audited):
    """`last_Aep=2rew=2.0.pth` is what rl_games 1.0 writes; it stores no last_mean_rewards."""
    run = ordinary()
    for epoch, reward in ((2, "2.0"), (4, "3.0")):
        run = run.renamed(run.periodic(epoch), f"last_Cartpoleep={epoch}rew={reward}.pth")
    assert audited(run).hint == ""
    stripped = run
    for file in run.checkpoints.values():
        values = {k: v for k, v in file.values.items() if k != "last_mean_rewards"}
        stripped = stripped.holding(file, values)
    assert "rl_games-1.0" in audited(stripped).hint


def test_names_of_a_dialect_whose_tags_are_not_logged_are_a_defect(audited):
    run = ordinary()
    for epoch in (2, 4):
        run = run.renamed(run.periodic(epoch), f"Cartpole_{epoch:08}.pth")
    assert audited(run).hint == ""
    assert "ase" in audited(run.with_logs(lambda _: None)).hint


def test_a_best_alone_tells_no_dialect(audited):
    run = whole("rl_games-1.6")
    others = [file for file in run.checkpoints.values() if file.kind is not Kind.BEST]
    assert audited(run.without(*others)).hint == ""


def test_a_hidden_stray_does_not_hide_whose_names_they_are(audited):
    run = whole("rl_games-1.6").with_other("nn/._Ant.pth", b"\0\5\x16\7")
    assert "rl_games-1.6" in audited(run).hint


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_run_under_its_own_profile_is_told_nothing(audited, name):
    assert audited(whole(name), name).hint == ""
