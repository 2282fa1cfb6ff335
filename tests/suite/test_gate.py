"""What a project's own tests are told of its trainer: as a whole, and rule by rule."""

from __future__ import annotations

import subprocess
import sys
import warnings

import odd_trainers
import pytest
from driving import PROFILE, session

import conformance
from conformance import mutants
from conformance.convention.rules import BY_ID, RULES
from conformance.suite.chains import chain_to_json
from conformance.suite.gate import check_trainer, parametrize_with_rules
from conformance.suite.probes import probes

PROBES = len(probes(PROFILE, resume=True))
REASON = "rl_games resets it on resume"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(trainer, **options):
    return check_trainer(trainer, **{"max_examples": 1, "seed": 0, **options})


# --- as a whole -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trainer", ["python:conformance.mutants:Trainer", mutants.Trainer, mutants.Trainer()]
)
def test_a_trainer_that_conforms_passes_in_each_form(trainer):
    result = check(trainer, max_examples=PROBES, strict=True)
    assert result.run.verdict == "conforms"
    assert result.seed == 0


def test_a_broken_rule_is_told_with_all_that_its_author_needs():
    with pytest.raises(conformance.ConformanceError) as caught:
        check(mutants.RewritesOnTie)
    text = str(caught.value)
    assert text.startswith(
        "python:conformance.mutants.defects.best:RewritesOnTie, profile isaacgymenvs"
    )
    assert "seed 0" in text
    assert "BEST-003: the best checkpoint holds epoch 2" in text
    assert "scenario: rewards 0.0, 0.0; save_freq 0" in text
    assert f"fix: {BY_ID['BEST-003'].fix}" in text
    assert (
        "replay: conformance test python:conformance.mutants.defects.best:RewritesOnTie"
        " --replay .conformance/failures/BEST-003.json" in text
    )
    assert not isinstance(caught.value, conformance.TrainerBrokeError)
    assert caught.value.result.run.verdict == "fail"


def test_a_trainer_that_no_import_finds_is_replayed_by_what_played_it(tmp_path):
    class Local(mutants.RewritesOnTie):
        pass

    with pytest.raises(conformance.ConformanceError) as caught:
        check(Local, save_failures=tmp_path / "kept", database=None)
    file = tmp_path / "kept" / "BEST-003.json"
    assert f"replay: check_trainer(..., replay={str(file)!r})" in str(caught.value)
    assert not (tmp_path / ".conformance").exists()
    with pytest.raises(conformance.ConformanceError, match="BEST-003"):
        check_trainer(Local, replay=file, save_failures=None)
    check_trainer(mutants.Trainer, replay=file, strict=False)


def test_failures_are_kept_nowhere_if_so_asked(tmp_path):
    with pytest.raises(conformance.ConformanceError) as caught:
        check(mutants.RewritesOnTie, save_failures=None, database=None)
    assert list(tmp_path.iterdir()) == []
    assert "replay" not in str(caught.value)


def test_a_should_rule_is_a_warning_that_points_at_its_caller():
    with pytest.warns(conformance.ConformanceWarning) as caught:
        check(mutants.LeavesTemporaryFiles)
    (warned,) = caught
    assert str(warned.message).startswith("LAYOUT-003: ")
    assert warned.filename == __file__


def test_where_warnings_are_errors_a_must_is_still_told_first():
    class Both(mutants.RewritesOnTie, mutants.LeavesTemporaryFiles):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(conformance.ConformanceError, match="warning: LAYOUT-003") as caught:
            check(Both)
        with pytest.raises(conformance.ConformanceWarning, match="LAYOUT-003"):
            check(mutants.LeavesTemporaryFiles)
    assert "BEST-003" in str(caught.value)


def test_a_trainer_that_broke_is_told_apart():
    with pytest.raises(conformance.TrainerBrokeError, match="no simulator found") as caught:
        check(odd_trainers.AlwaysRaises, max_examples=50)
    assert "| RuntimeError: no simulator found" in str(caught.value)


def test_a_trainer_that_broke_and_breaks_a_rule_is_told_both():
    with pytest.raises(conformance.ConformanceError, match="the loss is NaN") as caught:
        check(odd_trainers.RaisesAtNanAndRewritesOnTie, max_examples=120)
    assert type(caught.value) is conformance.ConformanceError
    assert "BEST-003: " in str(caught.value)


def test_incomplete_passes_unless_strict():
    assert check(mutants.Trainer).run.verdict == "incomplete"
    with pytest.raises(conformance.ConformanceError, match="RESUME-001: never exercised"):
        check(mutants.Trainer, strict=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"select": ["BEST-999"]}, ValueError, "BEST-999"),
        ({"select": ["BEST"], "ignore": ["BEST"]}, ValueError, "no rule to judge"),
        ({"max_examples": 0}, ValueError, "max_examples"),
        ({"model": 3}, TypeError, "model"),
        ({"max_exmaples": 3}, TypeError, "max_exmaples"),
        ({"profile": "rl-games"}, ValueError, "rl-games"),
        ({"replay": "none.json"}, ValueError, "none.json"),
        ({"expected_failures": {"BEST-03": "why"}}, ValueError, "there is no rule 'BEST-03'"),
        ({"expected_failures": {"BEST-003": " "}}, ValueError, "BEST-003 needs a reason"),
        ({"expected_failures": {"BEST-003": None}}, ValueError, "BEST-003 needs a reason"),
        (
            {"expected_failures": {"BEST-003": "why"}, "ignore": ["BEST"]},
            ValueError,
            "not among the rules",
        ),
    ],
)
def test_wrong_use_is_told_before_anything_is_played(options, error, message):
    odd_trainers.AlwaysRaises.asked = 0
    with pytest.raises(error, match=message):
        check(odd_trainers.AlwaysRaises, **options)
    assert odd_trainers.AlwaysRaises.asked == 0


def test_rules_are_selected():
    check(mutants.RewritesOnTie, ignore=["BEST-003"])
    check(mutants.RewritesOnTie, select=["NAME", "LAYOUT-001"])
    check(mutants.RewritesOnTie, select="NAME")


def test_an_expected_failure_passes_and_an_unexpected_pass_fails():
    expected = {"BEST-003": REASON}
    check(mutants.RewritesOnTie, expected_failures=expected)
    with pytest.raises(conformance.ConformanceError, match=f"BEST-003: .*{REASON}.*was kept"):
        check(mutants.Trainer, expected_failures=expected)
    with pytest.raises(conformance.ConformanceError, match="BEST-004"):
        check(mutants.BestIsLatest, expected_failures=expected)


def test_an_expected_failure_that_was_not_exercised_is_no_unexpected_pass():
    check(mutants.Trainer, expected_failures={"RESUME-001": "it cannot be resumed"})


def test_an_expected_warning_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(mutants.LeavesTemporaryFiles, expected_failures={"LAYOUT-003": "a lock file"})


# --- rule by rule ---------------------------------------------------------------------------


def by_rule(trainer, **options):
    mark = parametrize_with_rules(trainer, **{"max_examples": 1, "seed": 0, **options}).mark
    name, params = mark.args
    assert name == "rule"
    return {param.id: param.values[0] for param in params}


def outcome(test):
    """What pytest makes of a test: the reason where it was expected to fail."""
    try:
        test.check()
    except conformance.ConformanceError:
        return "failed"
    except pytest.skip.Exception:
        return "skipped"
    except pytest.xfail.Exception as expected:
        return str(expected)
    return "passed"


def outcomes(tests):
    return {rule: outcome(test) for rule, test in tests.items()}


def test_there_is_a_test_for_each_rule_and_the_trainer_is_driven_once():
    odd_trainers.SharesWhatItIs.sessions = 0
    tests = by_rule(odd_trainers.SharesWhatItIs)
    assert list(tests) == [rule.id for rule in RULES]
    assert repr(tests["BEST-003"]) == "BEST-003"
    assert odd_trainers.SharesWhatItIs.sessions == 0
    found = outcomes(tests)
    assert odd_trainers.SharesWhatItIs.sessions == 1
    assert set(found.values()) == {"passed", "skipped"}
    assert (found["BEST-003"], found["LOAD-004"], found["RESUME-001"]) == (
        "passed",
        "skipped",
        "skipped",
    )


def test_each_rule_has_its_own_outcome():
    assert outcomes(by_rule(mutants.RewritesOnTie))["BEST-003"] == "failed"
    expected = by_rule(mutants.RewritesOnTie, expected_failures={"BEST-003": REASON})
    assert outcomes(expected)["BEST-003"] == REASON
    unexpected = by_rule(mutants.Trainer, expected_failures={"BEST-003": REASON})
    assert outcomes(unexpected)["BEST-003"] == "failed"
    strict = outcomes(by_rule(mutants.Trainer, strict=True))
    assert (strict["RESUME-001"], strict["LOAD-004"]) == ("failed", "skipped")
    with pytest.warns(conformance.ConformanceWarning, match="LAYOUT-003"):
        by_rule(mutants.LeavesTemporaryFiles)["LAYOUT-003"].check()


def test_a_skip_says_why():
    with pytest.raises(pytest.skip.Exception, match="LOAD-004: no model was given"):
        by_rule(mutants.Trainer)["LOAD-004"].check()


def test_only_selected_rules_are_tested():
    assert set(by_rule(mutants.Trainer, select=["LAYOUT"])) == {
        rule.id for rule in RULES if rule.group == "LAYOUT"
    }


def test_no_rule_of_a_trainer_that_broke_passes():
    tests = by_rule(odd_trainers.AlwaysRaises, select=["NAME"])
    for test in tests.values():
        with pytest.raises(conformance.TrainerBrokeError, match="no simulator found"):
            test.check()


def test_a_spec_of_nothing_is_told_by_each_test():
    tests = by_rule("python:no_such_module:Trainer", select=["NAME-001", "NAME-002"])
    for test in tests.values():
        with pytest.raises(ValueError, match="there is no module"):
            test.check()


def test_what_is_replayed_is_a_file_that_anyone_can_write(tmp_path):
    file = tmp_path / "tie.json"
    file.write_text(chain_to_json((session((5.0, 5.0)),)))
    with pytest.raises(conformance.ConformanceError, match=r"rewards 5\.0, 5\.0; save_freq 1"):
        check_trainer(mutants.RewritesOnTie, replay=file, save_failures=None)


# --- what it costs who does not use it ------------------------------------------------------


def test_the_package_and_its_plugin_are_light_until_they_are_used():
    code = (
        "import sys, conformance, conformance.pytest_plugin\n"
        "heavy = {'hypothesis', 'torch', 'numpy', 'conformance.suite', 'conformance.checks'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert issubclass(conformance.TrainerBrokeError, conformance.ConformanceError)\n"
        "assert set(conformance.__all__) <= set(dir(conformance))\n"
        "for name in conformance.__all__: getattr(conformance, name)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_there_is_no_other_name():
    with pytest.raises(AttributeError, match="no_such_name"):
        conformance.no_such_name  # noqa: B018 - to be refused
