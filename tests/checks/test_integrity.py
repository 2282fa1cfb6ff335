"""Whole archives: what cannot be read at all is left open, and said once."""

from __future__ import annotations

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.checkpoint import read_checkpoint
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary
from conformance.run import files


def test_a_checkpoint_that_cannot_be_read_is_left_open_in_one_clause(tmp_path, monkeypatch):
    folder = scan_run(ordinary().write(tmp_path))

    def gone(path, **options):
        return read_checkpoint(path.with_name("gone"), **options)

    monkeypatch.setattr(files, "read_checkpoint", gone)
    report = audit(folder, load_profile())
    (found,) = (finding for finding in report.findings if finding.rule == "INTEGRITY-001")
    assert found.verdict is Verdict.UNOBSERVABLE
    assert found.message.count("cannot be read") == 1
    assert found.message.endswith("cannot be read: No such file or directory")
