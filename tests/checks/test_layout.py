"""What stands in a run's folders, and what is said where one of them is not there."""

from __future__ import annotations

import pytest

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.case import ordinary, trained


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


STRAYS = {
    "._Cartpole.pth": ("AppleDouble", "dot_clean"),
    ".DS_Store": ("macOS", "dot_clean"),
    "Thumbs.db": ("Windows", "Windows"),
    "Cartpole.pth~": ("editor", "editor"),
    ".Cartpole.pth.Xa81bC": ("rsync", "synchroniser"),
    "Cartpole.sync-conflict-20260101-101429-ABCDEFG.pth": ("Syncthing", "conflicts"),
    ".nfs000000000123abcd00000001": ("NFS", "process"),
}


@pytest.mark.parametrize("name", STRAYS)
@pytest.mark.parametrize("folder", ["nn", "", "summaries"])
def test_what_a_system_or_a_tool_leaves_is_called_so_and_breaks_no_must(tmp_path, name, folder):
    run = ordinary()
    for content in (b"\x00\x05\x16\x07" + bytes(78), run.best.data):
        path = f"{folder}/{name}".lstrip("/")
        place = tmp_path / str(len(content))
        found = audit(scan_run(run.with_other(path, content).write(place)), load_profile())
        failed = {each.rule: each for each in found.findings if each.verdict is Verdict.FAIL}
        if folder != "nn":
            assert failed == {}
            continue
        assert set(failed) == {"LAYOUT-003"}
        what, remedy = STRAYS[name]
        assert failed["LAYOUT-003"].paths == (path,)
        assert what in failed["LAYOUT-003"].message
        assert remedy in failed["LAYOUT-003"].fix


def test_several_strays_are_each_told_once(tmp_path):
    run = ordinary().with_other("nn/._a.pth", b"").with_other("nn/._b.pth", b"")
    run = run.with_other("nn/Thumbs.db", b"").with_other("nn/notes.txt", b"")
    found = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (told,) = (each for each in found if each.verdict is Verdict.FAIL)
    assert told.message.startswith("nn/ holds 4 temporary or foreign file(s): ")
    assert told.message.count("AppleDouble") == 1
    assert told.evidence["files"] == 4
    assert "dot_clean" in told.fix
    assert "Windows" in told.fix
    assert "Remove temporary files" in told.fix


def test_a_run_may_be_called_like_a_stray(tmp_path):
    run = trained(1.0, 2.0, name="._Ant")
    found = audit(scan_run(run.write(tmp_path)), load_profile())
    assert found.verdict == "conforms"
    assert found.checkpoints == 2


def test_a_temporary_name_with_a_checkpoints_suffix_is_a_checkpoint(tmp_path):
    run = ordinary()
    run = run.with_other("nn/Cartpole.tmp.pth", run.best.data)
    found = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    assert {each.rule for each in found if each.verdict is Verdict.FAIL} == {"NAME-002"}
