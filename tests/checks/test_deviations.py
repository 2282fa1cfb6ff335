"""One deviation in a conforming run of any dialect is found, and its file is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trainings import broken, whole

from conformance.convention.names import format_name
from conformance.convention.profile import Kind, builtin_profiles, load_profile
from conformance.fixtures.play import state
from conformance.run.explanation import Reason

DIALECTS = [*builtin_profiles(), "isaacgymenvs+isaaclab"]
STAMP = "14-22-13-20"


def due(training):
    """The periodic checkpoints of the last session that no other save of the epoch stands for."""
    files = training.run.checkpoints.values()
    twice = {file.epoch for file in files if file.kind in (Kind.FINAL, Kind.WIN)}
    own = [f for f in files if f.kind is Kind.PERIODIC and f.session == training.number]
    return [file for file in own if file.epoch not in twice]


def loses_a_due_file(training, pick):
    files, profile = due(training), training.profile
    # Where a setting may switch them off, only the others tell that they are on.
    assume(len(files) > profile.periodic_is_optional)
    gone = pick(files)
    if not profile.templates(Kind.PERIODIC)[0].rewards:
        # A name without a reward does not tell which of several sessions wrote it.
        assume(sum(other.epoch == gone.epoch for other in training.run.checkpoints.values()) == 1)
    return training.run.without(gone), {"CADENCE-002"}, None


def stores_another_epoch(training, pick):
    files = due(training)
    assume(files)
    file = pick(files)
    return training.run.storing(file, epoch=file.epoch + 1), {"NAME-006"}, file.path


def holds_another_epoch_in_the_best(training, pick):
    run, known = training.run, training.known
    others = [epoch for epoch in known if epoch != run.best.epoch]
    assume(run.best.session == training.number and others)
    # Without a watermark the epoch alone does not tell which of several sessions wrote it.
    assume(training.number == 0 or "last_mean_rewards" in run.best.values)
    epoch = pick(others)
    values = state(epoch, known[epoch], session=training.number, profile=training.profile)
    rules = {"BEST-002", "BEST-004", "BEST-006", "BEST-008"}
    return run.holding(run.best, values), rules, run.best.path


def stores_a_watermark_that_was_never_reached(training, pick):
    files = due(training)
    assume(files and "last_mean_rewards" in files[0].values)
    file = pick(files)
    changed = training.run.storing(file, last_mean_rewards=5000.25)
    return changed, {"SUMMARY-002"}, file.path


def saves_at_an_epoch_that_is_not_due(training, pick):
    files, known, profile = due(training), training.known, training.profile
    assume(training.save_freq > 1 and len(files) > 1)
    file = pick(files)
    epoch = file.epoch - 1
    # At an earlier session's end it may be that one's final save, where both are called so.
    ends = {
        max(s.value for s in log.scalars if s.tag == "info/epochs") for log in training.run.logs
    }
    assume(epoch in known and epoch not in ends)
    told = format_name(profile, Kind.PERIODIC, "A", epoch=epoch, reward=known[epoch], stamp=STAMP)
    path = f"{profile.checkpoints}/{told}"
    values = state(epoch, known[epoch], session=training.number, profile=profile)
    stray = replace(file, path=path, epoch=epoch, values=values)
    return training.run.with_checkpoint(stray), {"CADENCE-001"}, path


def is_called_by_no_name_of_the_dialect(training, pick):
    files = due(training)
    assume(len(files) > 1)
    file = pick(files)
    path = f"{training.profile.checkpoints}/A{file.epoch}x.pth"
    return training.run.moved(file, path), {"NAME-002"}, path


def is_torn(training, pick):
    file = pick(sorted(training.run.checkpoints.values(), key=lambda file: file.path))
    torn = training.run.damaged(file, lambda data: data[: len(data) // 2])
    return torn, {"INTEGRITY-001"}, file.path


# A dialect without a best has no watermark that could move.
_OF_THE_BEST = (holds_another_epoch_in_the_best, stores_a_watermark_that_was_never_reached)
DEVIATIONS = [
    (name, deviation)
    for name in DIALECTS
    for deviation in (
        loses_a_due_file,
        stores_another_epoch,
        holds_another_epoch_in_the_best,
        stores_a_watermark_that_was_never_reached,
        saves_at_an_epoch_that_is_not_due,
        is_called_by_no_name_of_the_dialect,
        is_torn,
    )
    if (load_profile(name).has_best or deviation not in _OF_THE_BEST)
    and (
        deviation is not stores_a_watermark_that_was_never_reached
        or "last_mean_rewards" not in load_profile(name).absent_keys
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "deviation"), DEVIATIONS, ids=[f"{name}-{how.__name__}" for name, how in DEVIATIONS]
)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_one_deviation_in_any_dialect_is_found_and_named(name, deviation, data):
    training = data.draw(whole(load_profile(name)))
    run, rules, path = deviation(training, lambda files: data.draw(st.sampled_from(files)))
    report = replace(training, run=run).judged()
    assert broken(report) & rules
    if path is not None:
        told = next(file for file in report.explanation.files if file.path == path)
        assert told.reason in (Reason.UNEXPLAINED, Reason.TORN, Reason.DUPLICATE)
