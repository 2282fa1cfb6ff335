"""Subjects of runs that a test writes file by file."""

from __future__ import annotations

from itertools import count

import pytest
from played import Played

from conformance.convention.profile import load_profile
from conformance.evidence.runs import scan_run
from conformance.run.settings import Options
from conformance.run.subject import Subject


@pytest.fixture
def subject(tmp_path):
    """A function that returns the subject of a run of these files."""
    numbers = count()

    def of(files, *, profile="isaacgymenvs", options=None, experiment="Ant_01-02-03-04"):
        trainer = Played(experiment, 0, 0, files=dict(files))
        return Subject(
            scan_run(trainer.write(tmp_path / str(next(numbers)))),
            load_profile(profile) if isinstance(profile, str) else profile,
            options or Options(),
        )

    return of
