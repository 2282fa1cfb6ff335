"""Two runs compared: what a consumer of the first one would trip over in the second."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace

import pytest

from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import (
    Array,
    Call,
    Global,
    array,
    floats,
    numpy_scalar,
    zip_checkpoint,
)
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject
from conformance.views.compare import Severity, compare

REWARDS = (1.0, 3.0, 2.0, 4.0)
UPSTREAM = play(Settings("A", 2, 4), [Session(REWARDS)])


def subject(run, root, profile="isaacgymenvs", name=None):
    return Subject(scan_run(run.write(root)), load_profile(profile), Options(name=name))


@pytest.fixture
def compared(tmp_path):
    """A function that compares a fork with the upstream run."""

    def judge(fork, profile="isaacgymenvs", *, upstream=UPSTREAM, name=None):
        a = subject(upstream, tmp_path / "a")
        return compare(a, subject(fork, tmp_path / "b", profile, name))

    return judge


def told(comparison, *severities):
    wanted = severities or tuple(Severity)
    return {(d.topic, d.severity.value) for d in comparison.differences if d.severity in wanted}


def messages(comparison):
    return "\n".join(f"{d.message} -> {d.consequence}" for d in comparison.differences)


def test_equal_runs_do_not_differ(compared):
    found = compared(UPSTREAM)
    assert (found.differences, found.compared, found.trips) == ((), 3, False)


def test_another_runs_name_in_all_names_is_no_difference(compared):
    fork = play(Settings("Fork3", 2, 4), [Session(REWARDS)])
    assert compared(fork).differences == ()


def test_another_spelling_breaks_what_looks_for_names_and_files_still_match(compared):
    fork = play(Settings("A", 2, 9, 0), [Session(REWARDS)], profile=load_profile("rl_games-1.6"))
    found = compared(fork, "rl_games-1.6")
    spelled = next(d for d in found.differences if d.topic == "names")
    assert spelled.severity is Severity.BREAKS
    assert spelled.message == (
        "periodic: 'last_{name}ep{epoch}rew{reward}.pth' in A,"
        " 'last_{name}_ep_{epoch}_rew_{reward}.pth' in B"
    )
    assert found.compared == 3
    assert not any(d.topic == "files" for d in found.differences)


def _each(**values):
    return UPSTREAM.each(lambda run, file: run.storing(file, **values))


def _model(change):
    def changed(run, file):
        return run.storing(file, model=OrderedDict(change(dict(file.values["model"]))))

    return UPSTREAM.each(changed)


def _without(key):
    def changed(run, file):
        return run.holding(file, {k: v for k, v in file.values.items() if k != key})

    return UPSTREAM.each(changed)


def _adam(change):
    def changed(run, file):
        optimizer = file.values["optimizer"]
        return run.storing(file, optimizer=change(optimizer))

    return UPSTREAM.each(changed)


def _group(optimizer, **changes):
    (group,) = optimizer["param_groups"]
    merged = {**group, **changes}
    return {**optimizer, "param_groups": [{k: v for k, v in merged.items() if v is not ...}]}


def _moments(optimizer, **changes):
    merged = {**optimizer["state"][0], **changes}
    return {**optimizer, "state": {0: {k: v for k, v in merged.items() if v is not ...}}}


def _on(location):
    """A form of checkpoints whose storages lay on another device."""

    def moved(value):
        if isinstance(value, Array):
            return replace(value, storage=replace(value.storage, location=location))
        if isinstance(value, dict):
            return type(value)((key, moved(inner)) for key, inner in value.items())
        return value

    return lambda values: zip_checkpoint(moved(values))


NAN = floats(math.nan, 0.5, 0.25, 0.125, shape=(2, 2))
WIDE = array("float32", (2,), b"\0" * 8)
DOUBLE = array("float64", (2,), b"\0" * 16)


@pytest.mark.parametrize(
    ("fork", "topic", "severity", "text"),
    [
        (UPSTREAM.without(UPSTREAM.best), "files", "breaks", "A has a best checkpoint, B none"),
        (UPSTREAM.without(UPSTREAM.periodic(4)), "files", "misleads", "epoch(s) 4"),
        (UPSTREAM.without(UPSTREAM.periodic(2), UPSTREAM.periodic(4)), "files", "breaks",
         "epoch(s) 2, 4"),
        (UPSTREAM.storing(UPSTREAM.best, epoch=3), "epochs", "misleads",
         "the best checkpoint stores epoch 4 in A, 3 in B"),
        (UPSTREAM.storing(UPSTREAM.best, last_mean_rewards=2.5), "rewards", "misleads",
         "last_mean_rewards is 4.0 in A, 2.5 in B"),
        (UPSTREAM.renamed(UPSTREAM.periodic(2), "last_Aep2rew3.5.pth"), "rewards", "misleads",
         "the name says 3.0 in A, 3.5 in B"),
        (_without("frame"), "contents", "breaks", "B lacks the key(s) 'frame'"),
        (_each(epoch_note="x"), "contents", "harmless", "only B has the key(s) 'epoch_note'"),
        (_each(frame=7.5), "contents", "misleads", "'frame' is int in A, float in B"),
        (_model(lambda m: {k: v for k, v in m.items() if "bias" not in k}), "model", "breaks",
         "B lacks 1 key(s) of 'model': 'actor.bias'"),
        (_model(lambda m: {**m, "extra": WIDE}), "model", "breaks", "only B has 1 key(s)"),
        (_model(lambda m: {**m, "actor.weight": WIDE}), "model", "breaks",
         "model['actor.weight'] has shape (2, 2) in A, (2) in B"),
        (_model(lambda m: {**m, "actor.bias": DOUBLE}), "model", "misleads",
         "is float32 in A, float64 in B"),
        (_model(lambda m: {f"_orig_mod.{k}": v for k, v in m.items()}), "model", "breaks",
         "begin with '_orig_mod.' in B alone"),
        (_each(model=[1]), "model", "breaks", "a state_dict in A alone"),
        (_adam(lambda o: _group(o, params=[0, 1])), "optimizer", "breaks",
         "param_groups[0].params: 1 parameter(s) in A, 2 parameter(s) in B"),
        (_adam(lambda o: {**o, "param_groups": o["param_groups"] * 2}), "optimizer", "breaks",
         "param_groups: 1 group(s) in A, 2 group(s) in B"),
        (_adam(lambda o: {**o, "state": {}}), "optimizer", "breaks", "empty in B alone"),
        (_adam(lambda o: _moments(o, exp_avg=...)), "optimizer", "breaks", "nothing in B"),
        (_adam(lambda o: _moments(o, step=3)), "optimizer", "harmless", "'int' in B"),
        (_adam(lambda o: _moments(o, step="3")), "optimizer", "breaks", "str in B"),
        (_adam(lambda o: _moments(o, exp_avg=NAN)), "optimizer", "misleads", "of B alone holds"),
        (_adam(lambda o: _group(o, amsgrad=...)), "optimizer", "harmless", "torch fills in"),
        (_adam(lambda o: _group(o, foreach=...)), "optimizer", "harmless", "torch fills in"),
        (_model(lambda m: {**m, "actor.weight": NAN}), "model", "misleads",
         "weights of B alone hold NaN: 'actor.weight'"),
        (UPSTREAM.each(lambda run, file: run.encoded(file, _on("cuda:3"))), "contents", "breaks",
         "storages of B lie on 'cuda:3', those of A on 'cpu'"),
        (_adam(lambda o: _group(o, betas=...)), "optimizer", "misleads", "B lacks"),
        (_adam(lambda o: _group(o, novel=1)), "optimizer", "harmless", "only B has"),
        (_each(hook=Call(Global("posix", "system"), ("true",))), "globals", "breaks",
         "B needs 'posix.system' to be loaded"),
        (_each(last_mean_rewards=numpy_scalar(4.0)), "globals", "breaks", "numpy"),
        (UPSTREAM.damaged(UPSTREAM.best, lambda data: data[:-50]), "contents", "breaks",
         "cannot be read"),
        (UPSTREAM.with_logs(lambda _: None), "logs", "breaks", "A logs 'rewards/iter', B does not"),
        (UPSTREAM.with_logs(lambda log: replace(log, scalars=tuple(
            s for s in log.scalars if s.tag != "info/epochs"))), "logs", "misleads",
         "B lacks the tag(s) 'info/epochs'"),
        (UPSTREAM.with_logs(lambda log: replace(log, scalars=(
            *log.scalars, replace(log.scalars[0], tag="more")))), "logs", "harmless",
         "only B logs 'more'"),
    ],
)  # fmt: skip
def test_each_difference_is_told_with_what_it_does(compared, fork, topic, severity, text):
    found = compared(fork)
    assert (topic, severity) in told(found)
    assert text in messages(found)
    assert found.trips == (severity != "harmless")
    for difference in found.differences:
        assert bool(difference.consequence) == (difference.severity is not Severity.HARMLESS)
    order = [list(Severity).index(difference.severity) for difference in found.differences]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("upstream", "text"),
    [
        (_adam(lambda o: {**o, "state": {}}), "empty in A alone"),
        (_adam(lambda o: _moments(o, step=3)), "'int' in A"),
        (UPSTREAM.each(lambda run, file: run.encoded(file, _on("cuda:0"))), "'cuda:0'"),
    ],
)  # fmt: skip
def test_what_only_a_has_trips_nobody(compared, upstream, text):
    found = compared(UPSTREAM, upstream=upstream)
    assert text in messages(found)
    assert not found.trips


def test_nan_in_both_is_no_difference(compared):
    run = _model(lambda m: {**m, "actor.weight": NAN})
    assert compared(run, upstream=run).differences == ()


def test_a_flag_that_was_on_is_missed(compared):
    upstream = _adam(lambda o: _group(o, amsgrad=True))
    found = compared(_adam(lambda o: _group(o, amsgrad=...)), upstream=upstream)
    assert ("optimizer", "misleads") in told(found)


# --- what could not be compared -----------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n"
POINTERS = UPSTREAM.each(lambda run, file: run.encoded(file, lambda _: POINTER))
TORN = UPSTREAM.each(lambda run, file: run.damaged(file, lambda data: data[: len(data) // 2]))


@pytest.mark.parametrize(
    ("upstream", "fork", "why", "unread"),
    [
        (POINTERS, POINTERS, "no checkpoint of A", "a Git LFS pointer"),
        (TORN, TORN, "no checkpoint of A", "torn"),
        (UPSTREAM, TORN, "no checkpoint of B", "torn"),
        (POINTERS, UPSTREAM, "no checkpoint of A", "a Git LFS pointer"),
        (UPSTREAM, UPSTREAM.without(*UPSTREAM.checkpoints.values()), "B holds no checkpoint", ""),
        (
            UPSTREAM.without(UPSTREAM.periodic(2), UPSTREAM.periodic(4)),
            UPSTREAM.without(UPSTREAM.best), "no checkpoint of A has its like", ""
        ),
    ],
)  # fmt: skip
def test_where_nothing_can_be_compared_it_is_said(compared, upstream, fork, why, unread):
    found = compared(fork, upstream=upstream)
    assert found.compared == 0
    assert why in found.nothing
    assert bool(found.unread) == bool(unread)
    assert all(unread in left.why for left in found.unread)


def test_two_runs_without_a_checkpoint_of_the_profile_are_not_the_same(tmp_path):
    run = of("rl_games-1.6")
    a, b = subject(run, tmp_path / "a"), subject(run, tmp_path / "b")
    found = compare(a, b)
    assert found.compared == 1  # the best alone is called alike
    assert {left.run for left in found.unread} == {"A", "B"}
    assert all("none of profile isaacgymenvs" in left.why for left in found.unread)
    run = run.without(run.best)
    a, b = subject(run, tmp_path / "c"), subject(run, tmp_path / "d")
    assert compare(a, b).nothing == "A holds no checkpoint that profile isaacgymenvs names"


def test_what_cannot_be_read_is_listed_and_the_rest_compared(compared):
    found = compared(UPSTREAM.encoded(UPSTREAM.best, lambda _: POINTER))
    assert (found.compared, found.nothing) == (2, "")
    (left,) = found.unread
    assert (left.run, left.path) == ("B", UPSTREAM.best.path)
    assert "Git LFS pointer" in left.why


def test_a_difference_that_all_checkpoints_show_is_told_once(compared):
    found = compared(_model(lambda m: {**m, "actor.weight": WIDE}))
    assert [d.topic for d in found.differences] == ["model"]


def test_a_later_periodic_checkpoint_in_b_misleads_and_one_in_between_does_not(compared, tmp_path):
    fork = play(Settings("A", 2, 6), [Session((*REWARDS, 0.0, 0.5))])
    assert ("files", "misleads") in told(compared(fork))
    fork = play(Settings("A", 1, 4), [Session(REWARDS)])
    a, b = subject(UPSTREAM, tmp_path / "c"), subject(fork, tmp_path / "d")
    assert told(compare(a, b)) == {("files", "harmless")}


def test_of_runs_of_other_rewards_what_follows_from_them_trips_nobody(compared):
    fork = play(Settings("A", 2, 4), [Session((1.0, 5.0, 2.0, 4.5))])
    found = compared(fork)
    assert told(found) == {("rewards", "harmless"), ("epochs", "harmless")}
    assert "did not play one scenario" in messages(found)
    assert not found.trips


def test_equal_rewards_that_are_nan_are_equal(compared):
    run = play(Settings("A", 2, 4), [Session((1.0, math.nan, 2.0, math.nan))])
    assert compared(run, upstream=run).differences == ()


@pytest.mark.parametrize(
    "values",
    [None, [], {}, {"model": None, "optimizer": 3}, {1: 2}, {"optimizer": {"state": 1}}],
    ids=repr,
)
def test_hostile_contents_are_no_error(compared, values):
    fork = UPSTREAM.each(lambda run, file: run.holding(file, values))
    assert compared(fork).trips


# --- what a dialect adds that no file of A has --------------------------------------------------


def of(dialect, rewards=REWARDS, save_freq=2, **ends):
    settings = Settings("A", save_freq, ends.pop("max_epochs", len(rewards)), 0, **ends)
    return play(settings, [Session(rewards)], profile=load_profile(dialect))


def test_a_final_save_misleads_what_reads_numbered_names(tmp_path):
    """Upstream ends without one: it is later, its reward no number, its epoch may stand twice."""
    a = subject(play(Settings("A", 2, 5), [Session((*REWARDS, 5.0))]), tmp_path / "a")
    found = compare(a, subject(of("rl_games-1.6", (*REWARDS, 5.0)), tmp_path / "b", "rl_games-1.6"))
    assert "the highest epoch in a name is 4 in A, 5 in B" in messages(found)
    assert "'last_A_ep_5_rew__5._.pth'" in messages(found)
    assert "several numbered checkpoints" not in messages(found)
    a = subject(UPSTREAM, tmp_path / "c")
    found = compare(a, subject(of("rl_games-1.6"), tmp_path / "d", "rl_games-1.6"))
    assert "B has several numbered checkpoints for epoch(s) 4, A never" in messages(found)
    assert "the highest epoch in a name" not in messages(found)


def test_brackets_in_names_mislead_unless_a_has_them_too(tmp_path):
    a = subject(of("rl_games-1.6"), tmp_path / "a", "rl_games-1.6")
    b = subject(of("rl_games-1.5"), tmp_path / "b", "rl_games-1.5")
    assert "1 name(s) of B trip a shell, a glob, a Hydra override or Windows" in messages(
        compare(a, b)
    )
    assert "trip a shell" not in messages(compare(b, a))
    again = subject(of("rl_games-1.5"), tmp_path / "c", "rl_games-1.5")
    assert compare(b, again).differences == ()


@pytest.mark.parametrize(("last", "trips"), [(math.nan, True), (-math.inf, True), (2.5, False)])
def test_a_reward_that_is_no_finite_number_misleads_what_ranks_by_names(tmp_path, last, trips):
    runs = [play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, r))]) for r in (0.5, last)]
    a, b = (subject(run, tmp_path / str(n)) for n, run in enumerate(runs))
    text = "reads as no finite number, none of A does"
    assert (text in messages(compare(a, b))) is trips
    assert text not in messages(compare(b, a))
