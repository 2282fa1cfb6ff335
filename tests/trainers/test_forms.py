"""What holds for each form of TRAINER in the registry."""

from __future__ import annotations

import pytest

from conformance.cli import main
from conformance.trainers import TrainerSpecError, open_trainer
from conformance.trainers.forms import FORMS, defaults, spellings


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_refused_without_what_it_takes(form):
    for spec in (form, f"{form}:"):
        with pytest.raises(TrainerSpecError) as raised:
            open_trainer(spec)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["test", "crash"])
def test_an_unknown_form_is_refused_with_all_that_there_are(command, capsys):
    assert main([command, "ssh:host"]) == 2
    assert spellings() in capsys.readouterr().err


def test_help_tells_of_each_form(capsys):
    with pytest.raises(SystemExit):
        main(["test", "--help"])
    told = capsys.readouterr().out
    for form in FORMS.values():
        assert f"  {form.spelling}  " in told
        assert all(line in told for line in form.is_what)


def test_a_default_is_told_with_what_differs_from_it():
    told = defaults(lambda form: form.max_points)
    assert told.startswith("400; ")
    assert told.endswith("; 40 for command:")
