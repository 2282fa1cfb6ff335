"""Each defect is seen by its own rule, each oddity by none; `docs/kill-matrix.md` says how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from driving import driver
from told_numbers import untold

from conformance import mutants
from conformance.convention.rules import RULES
from conformance.mutants import DEFECTS, ODDITIES, Trainer
from conformance.mutants.__main__ import main
from conformance.mutants.matrix import (
    PROBES,
    Row,
    asks_for_a_model,
    deviations,
    drive,
    model,
    own_failure,
    page,
    read_rows,
    row,
    told,
)
from conformance.run.settings import Options
from conformance.suite.engine import Engine

PAGE = Path(__file__).parents[2] / "docs" / "kill-matrix.md"
COMMITTED = PAGE.read_text("utf-8")
ROWS = read_rows(COMMITTED)
FEW = (20, 50)  # generated scenarios, tried before as many as a defect may need
# One for each group of rules, and for each kind of evidence: names, contents, order, logs, resume.
CHOSEN = (
    mutants.RewritesOnTie,
    mutants.BestIsLatest,
    mutants.PoisonedByNan,
    mutants.DefersTheBest,
    mutants.RewritesAndRestores,
    mutants.SavesStaleWeightsAsBest,
    mutants.CountsEpochsFromZero,
    mutants.SavesTheBestFirst,
    mutants.PadsTheEpoch,
    mutants.SavesInTheRunFolder,
    mutants.PicklesACommand,
    mutants.DragsTheStorageAlong,
    mutants.TruncatesTheFile,
    mutants.LogsEveryOther,
    mutants.RestartsAtOne,
    mutants.WritesInAThread,
)


def named(mutant):
    return mutant.__name__


# --- each mutant, driven --------------------------------------------------------------------


@pytest.mark.parametrize("mutant", CHOSEN, ids=named)
def test_the_probes_alone_see_it(mutant):
    assert deviations(mutant, drive(mutant)) == ()


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS, ids=named)
def test_a_defect_is_killed_by_its_own_rule_as_the_page_says(defect):
    result = drive(defect)
    assert deviations(defect, result) == ()
    assert row(defect, result) == ROWS[defect.__name__]
    assert [found.finding.message for found in result.failures if untold(found.finding)] == []
    shrunken = own_failure(defect, result).chain
    replayed = drive(defect, replay=shrunken)
    assert defect.rule in {failure.rule for failure in replayed.failures}


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS, ids=named)
def test_a_defect_is_killed_without_probes_within_its_examples(defect):
    """The bound has room for the draws of other releases of Hypothesis; today a few do for each."""
    options = Options(model=model) if asks_for_a_model(defect) else None
    for count in sorted({*(min(few, defect.examples) for few in FEW), defect.examples}):
        with driver(f"python:conformance.mutants:{defect.__name__}", options=options) as one:
            result = Engine(one).run(max_examples=count, seed=0, probing=False)
        assert result.counts.scenarios == {"generate": count}
        if not deviations(defect, result):
            break
    assert deviations(defect, result) == ()


@pytest.mark.slow
@pytest.mark.parametrize("oddity", [*ODDITIES, Trainer], ids=named)
def test_an_oddity_conforms_as_the_page_says(oddity):
    result = drive(oddity)
    assert deviations(oddity, result) == ()
    if oddity is not Trainer:
        assert set(row(oddity, result).others) == set(ROWS[oddity.__name__].others)
    with driver(f"python:conformance.mutants:{oddity.__name__}") as one:
        generated = Engine(one).run(max_examples=40, seed=0, probing=False)
    assert deviations(oddity, generated) == ()


@pytest.mark.slow  # it imports torch
def test_without_its_defect_the_given_model_is_accepted():
    """RenamesALayer is killed for its names, not because a model is given."""
    with driver("python:conformance.mutants:Trainer", options=Options(model=model)) as one:
        result = Engine(one).run(max_examples=PROBES, seed=0)
    assert result.failures == ()
    assert result.evaluations["LOAD-004"] > 0


# --- the page -------------------------------------------------------------------------------


def test_the_committed_page_is_what_its_rows_give():
    """With the tests above, which hold each row against a run, it is what the command writes."""
    assert ROWS.keys() == {mutant.__name__ for mutant in (*DEFECTS, *ODDITIES)}
    assert page(ROWS.values()) == COMMITTED


def test_each_rule_is_killed_but_for_those_that_playing_cannot_show():
    killed = {defect.rule for defect in DEFECTS if ROWS[defect.__name__].probe}
    assert killed == {rule.id for rule in RULES if rule.played}
    assert {named(defect) for defect in DEFECTS if not ROWS[named(defect)].probe} == set()


def test_oddities_warn_of_nothing_but_what_they_say():
    wrong = {named(odd) for odd in ODDITIES if not set(ROWS[named(odd)].others) <= odd.warns}
    assert wrong == set()
    assert all(oddity.warns == set(ROWS[named(oddity)].others) for oddity in ODDITIES)


def test_a_row_is_read_as_it_was_written():
    changed = replace(ROWS["RewritesOnTie"], probe=7, epochs=9, others=("BEST-001", "NAME-008"))
    rows = ROWS | {"RewritesOnTie": changed, "KeepsNotes": Row("KeepsNotes", 0, 0, "", ("A-1",))}
    assert read_rows(page(rows.values())) == rows


# --- what came otherwise is told ------------------------------------------------------------


def test_a_mutant_that_is_not_seen_is_told():
    (told_of,) = deviations(mutants.RewritesOnTie, drive(Trainer))
    assert told_of == "RewritesOnTie: BEST-003 did not fail"


def test_a_second_rule_and_a_long_counterexample_are_told():
    result = drive(mutants.WritesEqualsSigns)
    assert deviations(mutants.WritesEqualsSigns, result) == ()

    class Stricter(mutants.WritesEqualsSigns):
        also = frozenset()
        epochs = 0

    second, long = deviations(Stricter, result)
    assert second.startswith("Stricter: NAME-008 failed too (rewards 0; save_freq 1): ")
    assert long == "Stricter: the counterexample has 1 epochs, not 0 (rewards 0; save_freq 1)"


def test_an_oddity_that_fails_is_told():
    (first, *_, last) = deviations(Trainer, drive(mutants.RewritesOnTie))
    assert first.startswith("Trainer: BEST-003 failed too (rewards 0, 0; save_freq 0): ")
    assert last == "Trainer: it keeps the convention, and the verdict is fail"


def test_a_trainer_that_breaks_is_told():
    with driver("python:odd_trainers:AlwaysRaises") as one:
        result = Engine(one).run(max_examples=PROBES, seed=0)
    broke, verdict = deviations(Trainer, result)
    assert broke.startswith("Trainer: it broke: ")
    assert verdict == "Trainer: it keeps the convention, and the verdict is error"


def test_a_chain_is_told_in_a_line():
    failure = own_failure(mutants.SanitizesTheName, drive(mutants.SanitizesTheName))
    assert told(failure.chain).startswith("named ")
    resumed = own_failure(mutants.CleansUpOnResume, drive(mutants.CleansUpOnResume))
    assert "; resumed from last: rewards " in told(resumed.chain)


# --- the command ----------------------------------------------------------------------------


def test_one_mutant_alone_renews_its_row(tmp_path, capsys):
    file = tmp_path / "page.md"
    stale = ROWS | {"RewritesOnTie": replace(ROWS["RewritesOnTie"], probe=7)}
    file.write_text(page(stale.values()), "utf-8")
    assert main(["--only", "RewritesOnTie", "--write", str(file)]) == 0
    assert file.read_text("utf-8") == COMMITTED
    assert capsys.readouterr() == ("", "")


def test_mutants_alone_are_printed(capsys):
    assert (
        main(["--only", "RewritesOnTie", "--only", "WritesTwice", "--only", "PrintsAnArray"]) == 0
    )
    assert capsys.readouterr().out.splitlines() == [
        "RewritesOnTie: BEST-003 by probe 1, 2 epoch(s) (rewards 0, 0; save_freq 0)",
        "WritesTwice: clean",
        "PrintsAnArray: NAME-005 by probe 1, 1 epoch(s) (rewards 0; save_freq 1); also NAME-008",
    ]


def test_a_mutant_that_is_not_seen_as_it_says_fails_the_command(capsys, monkeypatch):
    monkeypatch.setattr(mutants.RewritesOnTie, "rule", "BEST-004")
    assert main(["--only", "RewritesOnTie"]) == 1
    out, err = capsys.readouterr()
    assert out == "RewritesOnTie: its own rule did not fail; also BEST-003\n"
    assert "RewritesOnTie: BEST-003 failed too" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "Nobody"], "no mutant is called 'Nobody'"),
        (["--only", "RewritesOnTie", "--write", "nowhere/page.md"], "nowhere/page.md"),
    ],
)
def test_wrong_usage_is_told(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_page_without_all_rows_cannot_be_renewed_in_part(tmp_path, capsys):
    file = tmp_path / "page.md"
    file.write_text("nothing\n", "utf-8")
    with pytest.raises(SystemExit):
        main(["--only", "RewritesOnTie", "--write", str(file)])
    assert "write it without --only" in capsys.readouterr().err
    assert file.read_text("utf-8") == "nothing\n"
