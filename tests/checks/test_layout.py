"""What stands in a run's folders, and what is said where one of them is not there."""

from __future__ import annotations

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary


def test_where_there_is_no_folder_of_checkpoints_none_is_clean(tmp_path):
    """A folder that is not there holds nothing foreign, and shows nothing either."""
    run = ordinary().write(tmp_path)
    for file in (run / "nn").iterdir():
        file.unlink()
    found = {finding.rule: finding for finding in audit(scan_run(run), load_profile()).findings}
    assert found["LAYOUT-003"].verdict is Verdict.PASS
    (run / "nn").rmdir()
    found = {finding.rule: finding for finding in audit(scan_run(run), load_profile()).findings}
    assert found["LAYOUT-003"].verdict is Verdict.NOT_APPLICABLE


def test_event_files_that_are_not_there_are_told_from_a_folder_that_is_not(tmp_path):
    run = ordinary().write(tmp_path)
    for file in (run / "summaries").iterdir():
        file.unlink()
    messages = []
    for step in (lambda: None, (run / "summaries").rmdir, (run / "summaries").touch):
        step()
        found = audit(scan_run(run), load_profile()).findings
        (told,) = (finding for finding in found if finding.rule == "LAYOUT-002")
        assert told.verdict is Verdict.FAIL
        messages.append(told.message)
    assert messages == [
        "summaries/ holds no events.out.tfevents.* file",
        "summaries/ is missing",
        "summaries/ is missing",
    ]
