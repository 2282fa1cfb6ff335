"""The harness's own readers on a fake disk that forbids, fails, or changes under their hands.

What `pyfakefs` cannot fake: a FIFO or a device (tests/evidence/test_checkpoint_hostile.py has real
ones), and an I/O error, for which a file object is put in between that fails as the kernel would.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from fake_disk import EscapedWriteError, guarded

from conformance.checks import audit
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence import regular_files
from conformance.evidence.checkpoint import FaultKind, read_checkpoint, scan_non_finite
from conformance.evidence.checkpoint.source import WHOLE
from conformance.evidence.config import read_config
from conformance.evidence.runs import EntryKind, NoRunError, find_runs, scan_run
from conformance.evidence.summaries import read_event_file
from conformance.fixtures.archive import floats, zip_checkpoint
from conformance.fixtures.play import Session, play
from conformance.run.settings import Options
from conformance.run.subject import Subject

pytest_plugins = ["fake_disk"]

PROFILE = load_profile()
RUN = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])
BEST, PERIODIC = "nn/A.pth", "nn/last_Aep2rew3.0.pth"


@pytest.fixture
def run(fake_disk):
    """A run on the fake disk that conforms: best of epoch 4, periodic ones of epochs 2 and 4."""
    root = fake_disk.folder / "runs"
    root.mkdir()
    return RUN.write(root)


@pytest.fixture
def log(run):
    (path,) = (run / "summaries").iterdir()
    return path


def judged(folder):
    """The findings on a run that was listed, by rule, and what is noted beside them."""
    report = audit(folder, PROFILE)
    assert not [finding for finding in report.findings if finding.verdict is Verdict.ERROR]
    return {finding.rule: finding for finding in report.findings}, report.notes


def failing(folder):
    findings, _ = judged(folder)
    return {rule for rule, finding in findings.items() if finding.verdict is Verdict.FAIL}


def test_a_run_is_read_from_the_fake_disk(run, log):
    """The faults below are faults: without them all is well."""
    assert find_runs(run.parent) == (run,)
    findings, notes = judged(scan_run(run))
    assert {finding.verdict for finding in findings.values()} == {
        Verdict.PASS,
        Verdict.NOT_APPLICABLE,
    }
    assert notes == ()
    assert len(read_event_file(log).rewards) == 4


# --- permission denied ----------------------------------------------------------------------
# On this fake disk a file or a folder that may not be read cannot even be looked at; on a real one
# it can, and tests/cli/test_check.py has real ones. So files are forbidden after they were listed.


@pytest.mark.parametrize("checkpoint", [BEST, PERIODIC])
def test_a_forbidden_checkpoint_is_unreadable_and_no_defect(fake_disk, run, checkpoint):
    folder = scan_run(run)
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run / checkpoint, 0)
    (fault,) = read_checkpoint(run / checkpoint).faults
    assert (fault.kind, fault.message) == (
        FaultKind.UNREADABLE,
        "cannot be read: Permission denied",
    )
    findings, notes = judged(folder)
    assert notes == (f"'{checkpoint}': cannot be read: Permission denied",)
    assert failing(folder) == set()
    assert findings["INTEGRITY-001"].verdict is Verdict.UNOBSERVABLE
    assert checkpoint in findings["INTEGRITY-001"].message


def test_a_forbidden_log_is_unreadable_and_no_defect(fake_disk, run, log):
    folder = scan_run(run)
    fake_disk.become_nobody()
    fake_disk.fs.chmod(log, 0)
    found = read_event_file(log)
    assert (found.problem, found.unreadable) == ("cannot be read: Permission denied", True)
    assert (found.size, found.rewards, found.torn) == (0, (), False)
    findings, notes = judged(folder)
    assert notes == (f"'{log.name}': cannot be read: Permission denied",)
    assert failing(folder) == set()
    assert findings["SUMMARY-001"].verdict is Verdict.UNOBSERVABLE


def test_a_forbidden_config_is_noted(fake_disk, run):
    folder = scan_run(run)
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run / "config.yaml", 0)
    config = read_config(run / "config.yaml")
    assert (config.shape, config.save_freq) == ("unknown", None)
    assert config.problems == ("cannot be read: Permission denied",)
    assert judged(folder)[1] == ("config.yaml: cannot be read: Permission denied",)
    assert failing(folder) == set()


@pytest.mark.parametrize("name", ["nn", "nn/A.pth", "summaries", "config.yaml"])
def test_what_may_not_even_be_looked_at_leaves_its_folder_unlisted(fake_disk, run, name):
    """It might be anything: neither a special file nor absent."""
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run / name, 0)
    folder = scan_run(run)
    parent, _, own = name.rpartition("/")
    assert folder.unlisted == (parent,)
    assert folder.problems == (
        f"'{parent or '.'}' cannot be listed whole: '{own}': Permission denied",
    )
    assert failing(folder) == set()
    assert judged(folder)[0]["BEST-001"].verdict is Verdict.UNOBSERVABLE


def test_many_that_may_not_be_looked_at_are_one_line(fake_disk, run):
    fake_disk.become_nobody()
    for name in (BEST, PERIODIC):
        fake_disk.fs.chmod(run / name, 0)
    assert scan_run(run).unlisted == ("nn",)
    assert len(scan_run(run).problems) == 1


def test_a_root_that_may_not_be_listed_is_told(fake_disk, run):
    fake_disk.become_nobody()
    fake_disk.fs.chmod(run.parent, 0)
    with pytest.raises(NoRunError, match=r"'.*/runs': (cannot be listed: )?Permission denied"):
        find_runs(run.parent)


# --- what is there when listed and not when read -------------------------------------------


@pytest.mark.parametrize("gone", [BEST, PERIODIC, "config.yaml", "summaries"])
def test_what_vanishes_after_listing_is_no_defect(fake_disk, run, gone):
    folder = scan_run(run)
    fake_disk.fs.remove_object(str(run / gone))
    findings, notes = judged(folder)
    assert failing(folder) == set()
    (note,) = notes
    assert note.endswith("cannot be read: No such file or directory")
    unseen = {rule for rule, each in findings.items() if each.verdict is Verdict.UNOBSERVABLE}
    assert bool(unseen) == (gone != "config.yaml")  # what it says is inferred from the names


@pytest.mark.parametrize("gone", [PERIODIC, "nn/.saving-17.tmp"])
def test_what_vanishes_while_it_is_listed_is_not_there(fake_disk, run, monkeypatch, gone):
    """The name is listed; by the time that it is looked at, a trainer has renamed the file."""
    (run / gone).write_bytes(b"half a checkpoint")
    scandir = os.scandir

    class Listing:
        def __init__(self, folder):
            self._listing = list(scandir(folder))

        def __enter__(self):
            if fake_disk.fs.exists(run / gone) and any(e.name in gone for e in self._listing):
                fake_disk.fs.remove_object(str(run / gone))
            return iter(self._listing)

        def __exit__(self, *_):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", Listing)
        folder = scan_run(run)
    names = [entry.relative for entry in folder.entries]
    assert BEST in names
    assert gone not in names
    assert folder.problems == ()


def test_a_folder_that_becomes_a_file_is_told(fake_disk, run):
    folder = scan_run(run)
    fake_disk.fs.remove_object(str(run / "summaries"))
    fake_disk.fs.create_file(str(run / "summaries"), contents="not any more")
    _, notes = judged(folder)
    assert failing(folder) == set()
    (note,) = notes
    assert note.endswith("cannot be read: Not a directory")
    assert "LAYOUT-002" in failing(scan_run(run))  # looked at anew, it is a defect
    with pytest.raises(NoRunError, match=r"summaries': not a folder; give the run's folder"):
        find_runs(run / "summaries")


def test_a_checkpoint_that_becomes_a_folder_is_told(fake_disk, run):
    fake_disk.fs.remove_object(str(run / BEST))
    fake_disk.fs.makedirs(run / BEST)
    (fault,) = read_checkpoint(run / BEST).faults
    assert (fault.kind, fault.message) == (
        FaultKind.NOT_REGULAR,
        "not a regular file but a folder",
    )


# --- links ----------------------------------------------------------------------------------


def test_a_loop_of_links_ends(fake_disk, run):
    for name, target in (("nn/a.pth", "b.pth"), ("nn/b.pth", "a.pth"), ("nn/self", "self")):
        fake_disk.fs.create_symlink(str(run / name), target)
    fake_disk.fs.create_symlink(str(run / "up"), "..")
    fake_disk.fs.create_symlink(str(run.parent / "again"), "again")
    kinds = {entry.relative: entry.kind for entry in scan_run(run).entries}
    assert kinds["nn/a.pth"] is kinds["nn/self"] is EntryKind.BROKEN_LINK
    assert kinds["up"] is EntryKind.FOLDER
    assert not any(name.startswith("up/") for name in kinds)
    assert find_runs(run.parent) == (run,)
    (fault,) = read_checkpoint(run / "nn/a.pth").faults
    assert fault.kind is FaultKind.NOT_REGULAR
    assert "Too many levels of symbolic links" in fault.message
    assert read_config(run / "nn/self").problems
    assert "LAYOUT-004" in failing(scan_run(run))


# --- I/O errors -----------------------------------------------------------------------------


class Failing:
    """An open file whose medium fails after so many bytes, or seems to end there."""

    def __init__(self, file, limit, error):
        self._file, self._left, self._error = file, limit, error

    def read(self, size=-1):
        """As the file's own, up to the limit."""
        if not self._left:
            if self._error is None:
                return b""
            raise OSError(self._error, os.strerror(self._error))
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@pytest.fixture
def failing_medium(monkeypatch):
    """A function that has files fail after so many bytes; returns those that were opened."""

    def fails(after, error=errno.EIO):
        opened = []

        def opening(*arguments, **options):
            opened.append(open(*arguments, **options))  # noqa: PTH123, SIM115 - what it stands for
            return Failing(opened[-1], after, error)

        monkeypatch.setattr(regular_files, "open", opening, raising=False)
        return opened

    return fails


@pytest.mark.parametrize("after", [0, 1, 30, 700])
def test_an_io_error_in_a_checkpoint_is_told_and_the_file_closed(run, failing_medium, after):
    opened = failing_medium(after)
    (fault,) = read_checkpoint(run / BEST).faults
    assert (fault.kind, fault.message) == (
        FaultKind.UNREADABLE,
        "cannot be read: Input/output error",
    )
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize("after", [0, 1, 30, 100])
def test_an_io_error_in_a_log_keeps_what_was_read(log, failing_medium, after):
    opened = failing_medium(after)
    found = read_event_file(log)
    assert (found.problem, found.unreadable) == ("cannot be read: Input/output error", True)
    assert not found.torn
    assert all(file.closed for file in opened)


def test_an_io_error_in_a_config_is_told(run, failing_medium):
    failing_medium(3)
    assert read_config(run / "config.yaml").problems == ("cannot be read: Input/output error",)


def test_an_io_error_everywhere_is_no_defect(run, failing_medium):
    failing_medium(20)
    folder = scan_run(run)
    findings, notes = judged(folder)
    assert failing(folder) == set()
    assert len(notes) == 5  # the config, three checkpoints, the log
    assert all(note.endswith("cannot be read: Input/output error") for note in notes)
    assert findings["INTEGRITY-001"].verdict is Verdict.UNOBSERVABLE


def test_an_io_error_in_a_large_tensor_is_told(fake_disk, failing_medium):
    """A large file is read in chunks, more than once; the medium fails at the second visit."""
    path = fake_disk.folder / "large.pth"
    values = floats(*[0.5] * (WHOLE // 4 + 10))
    path.write_bytes(zip_checkpoint({"model": {"w": values}}))
    contents = read_checkpoint(path, verify=False)
    assert contents.faults == ()
    failing_medium(1 << 20)
    (fault,) = read_checkpoint(path).faults
    assert fault.kind is FaultKind.UNREADABLE
    with pytest.raises(OSError, match="Input/output error"):
        scan_non_finite(contents, contents.root["model"])


def test_a_second_reading_that_fails_is_the_system_s_fault_and_no_defect(run, failing_medium):
    """A file that was read whole, and whose weights cannot be looked at after that."""
    contents = read_checkpoint(run / BEST)
    folder = scan_run(run)
    subject = Subject(folder, PROFILE, Options())
    best = subject.best
    assert best.contents.faults == ()
    failing_medium(10)
    with pytest.raises(OSError, match="Input/output error"):
        scan_non_finite(contents, contents.root["model"])
    with pytest.raises(OSError, match="Input/output error"):
        _ = best.non_finite


def test_a_checkpoint_that_shrinks_while_it_is_read_is_damaged(run, failing_medium):
    failing_medium(100, error=None)
    (fault,) = read_checkpoint(run / BEST).faults
    assert fault.kind is FaultKind.DAMAGED
    assert "shrank while it was read" in fault.message


# --- the guard ------------------------------------------------------------------------------


def test_reading_leaves_the_real_disk_alone(real_folder, fs):
    fs.makedirs(real_folder, exist_ok=True)
    with guarded(fs, real_folder):
        judged(scan_run(RUN.write(Path(str(real_folder)))))

    def escape():
        with guarded(fs, real_folder):
            subprocess.run(["touch", str(real_folder / "escaped")], check=True)  # noqa: S607

    with pytest.raises(EscapedWriteError, match="escaped"):
        escape()
