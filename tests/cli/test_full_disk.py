"""What the command writes, on a fake disk that is full, read-only, or forbidden.

Whole or not at all: no half report, no temporary file, nothing lost that was there. The suite
itself cannot be played here, as the kernel's journal sees no fake file: what keeps its failures is
called with a failure at hand.
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from conformance import Scenario, audits
from conformance.cli import main
from conformance.convention import profile as profiles
from conformance.convention.oracle import Settings
from conformance.fixtures.cases import CASES
from conformance.fixtures.play import Session, play
from conformance.fixtures.publish import MANIFEST, publish, published
from conformance.report.formats import FORMATS
from conformance.suite.saving import save_failure, write_atomically

pytest_plugins = ["fake_disk"]

RUN = play(Settings("A", 2, 4), [Session((1.0, 3.0, 2.0, 4.0))])


@pytest.fixture(autouse=True)
def data(fake_disk):
    """The package's own data are those of the real disk; read now, they take no room later."""
    package = Path(profiles.__file__).parents[1]
    fake_disk.fs.add_real_directory(package / "convention" / "profiles", lazy_read=False)
    fake_disk.fs.add_real_directory(package / "schemas", lazy_read=False)


@pytest.fixture
def run(fake_disk):
    """A run on the fake disk that conforms."""
    root = fake_disk.folder / "runs"
    root.mkdir()
    return RUN.write(root)


@pytest.fixture
def out(fake_disk):
    """A folder for reports."""
    folder = fake_disk.folder / "out"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def told(capsys):
    """The lines on standard error; results apart."""
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


# --- reports --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_a_report_that_does_not_fit_leaves_the_old_one(fake_disk, run, out, capsys, kind):
    report = out / "report"
    report.write_text("the report of yesterday")
    fake_disk.leave(10)
    code = main(["check", str(run), "--format", kind, "--output", str(report)])
    printed, lines = told(capsys)
    assert (code, printed) == (2, ""), "\n".join(lines)
    assert lines == [f"conformance: --output '{report}': No space left on device"]
    assert names(out) == ["report"]
    assert report.read_text() == "the report of yesterday"

    fake_disk.leave(10_000_000)
    assert main(["check", str(run), "--format", kind, "--output", str(report)]) == 0
    assert names(out) == ["report"]
    assert "yesterday" not in report.read_text()


def test_of_two_reports_the_one_that_fits_is_whole(fake_disk, run, out, capsys):
    fits, does_not = out / "small.txt", out / "large.html"
    arguments = ["check", str(run), "--format", "text", "--output", str(fits)]
    assert main(arguments) == 0
    whole = fits.read_text()
    fits.unlink()
    fake_disk.leave(len(whole.encode()) + 100)
    assert main([*arguments, "--format", "html", "--output", str(does_not)]) == 2
    assert "large.html': No space left on device" in told(capsys)[1][-1]
    assert names(out) == ["small.txt"]
    assert fits.read_text() == whole


@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_folder_for_a_report_is_told(fake_disk, run, out, capsys, there):
    report = out / "report.json"
    if there:
        report.write_text("kept")
    fake_disk.fs.chmod(out, 0o555)
    fake_disk.become_nobody()
    assert main(["check", str(run), "--format", "json", "--output", str(report)]) == 2
    printed, lines = told(capsys)
    assert printed == ""
    assert lines == [f"conformance: --output '{report}': Permission denied"]
    assert names(out) == (["report.json"] if there else [])
    assert not there or report.read_text() == "kept"


def test_a_folder_that_becomes_a_file_before_the_report_is_written(
    fake_disk, run, out, capsys, monkeypatch
):
    """It was a folder when the command looked, before the audit."""
    report = out / "report.json"

    def audited(*arguments, **options):
        fake_disk.fs.remove_object(str(out))
        fake_disk.fs.create_file(str(out), contents="a file")
        return judge(*arguments, **options)

    judge = audits.judge
    monkeypatch.setattr(audits, "judge", audited)
    assert main(["check", str(run), "--format", "json", "--output", str(report)]) == 2
    _, lines = told(capsys)
    (line,) = lines
    assert re.fullmatch(
        r"conformance: --output '.*report\.json': (Not a directory|.*exist.*)", line
    )
    assert out.read_text() == "a file"


# --- audits of what cannot be read ----------------------------------------------------------


def test_a_root_that_may_not_be_read_is_one_line_and_exit_code_2(fake_disk, run, capsys):
    fake_disk.fs.chmod(run.parent, 0)
    fake_disk.become_nobody()
    assert main(["check", str(run.parent)]) == 2
    printed, (line,) = told(capsys)
    assert printed == ""
    assert "Permission denied" in line


def test_what_may_not_be_looked_at_is_incomplete_and_never_a_failure(fake_disk, run, capsys):
    fake_disk.fs.chmod(run / "nn/A.pth", 0)
    fake_disk.become_nobody()
    assert main(["check", "--strict", "--format", "json", str(run)]) == 3
    printed, lines = told(capsys)
    assert json.loads(printed)["counts"]["fail"] == 0
    assert lines == [f"conformance: {run}: 'nn' cannot be listed whole: 'A.pth': Permission denied"]


# --- fixtures -------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 5_000, 100_000])
def test_fixtures_that_do_not_fit_are_not_there(fake_disk, capsys, free):
    folder = fake_disk.folder / "fixtures"
    fake_disk.leave(free)
    assert main(["fixtures", str(folder)]) == 2
    printed, (line,) = told(capsys)
    assert printed == ""
    assert line.endswith("No space left on device")
    assert names(fake_disk.folder) == []


def test_fixtures_that_no_longer_fit_can_be_written_again(fake_disk):
    """An earlier output is replaced file by file: what was reached is mended by the next time."""
    files = published(CASES[:2])
    folder = fake_disk.folder / "fixtures"
    publish(folder, files)
    path = next(name for name in files if name.endswith(".pth"))
    (folder / path).unlink()
    left = names(folder)
    fake_disk.leave(10)
    with pytest.raises(OSError, match="No space left") as caught:
        publish(folder, files)
    assert caught.value.errno == errno.ENOSPC
    assert names(folder) == left
    assert (folder / MANIFEST).read_bytes() == files[MANIFEST]
    fake_disk.leave(10_000_000)
    publish(folder, files)
    assert (folder / path).read_bytes() == files[path]


def test_fixtures_in_a_read_only_folder_are_told(fake_disk, capsys):
    fake_disk.fs.chmod(fake_disk.folder, 0o555)
    fake_disk.become_nobody()
    assert main(["fixtures", str(fake_disk.folder / "fixtures")]) == 2
    _, (line,) = told(capsys)
    assert line.endswith("Permission denied")
    assert names(fake_disk.folder) == []


# --- failures that are kept -----------------------------------------------------------------


class Driver:
    """Leaves a run where it is asked to play."""

    def __init__(self, root):
        self._root = root

    def drive(self, chain, *, keep):
        """Let `keep` have the run."""
        del chain
        keep(self._root)


@pytest.fixture
def failure():
    """A failure of BEST-003, as the engine has it."""
    chain = (Scenario("A", Path("runs"), 0, 2, (5.0, 5.0)),)
    return SimpleNamespace(rule="BEST-003", chain=chain)


def test_a_failure_that_does_not_fit_leaves_the_earlier_one(fake_disk, run, failure):
    folder = fake_disk.folder / "failures"
    driver = Driver(run.parent)
    save_failure(folder, failure, driver)
    kept = names(folder)
    assert "BEST-003.json" in kept
    assert "BEST-003/A/nn/A.pth" in kept
    before = (folder / "BEST-003.json").read_bytes()
    fake_disk.leave(10)
    with pytest.raises(OSError, match="No space left"):
        save_failure(folder, failure, driver)
    assert names(folder) == kept
    assert (folder / "BEST-003.json").read_bytes() == before


def test_a_failure_whose_run_does_not_fit_says_what_is_missing(fake_disk, run, failure):
    folder = fake_disk.folder / "failures"
    fake_disk.leave(4_000)
    kept = save_failure(folder, failure, Driver(run.parent))
    assert (folder / "BEST-003.json").exists()
    assert not [name for name in names(folder) if name.startswith(".")]
    for path in (folder / "BEST-003").rglob("*.pth"):
        assert path.read_bytes() == (run / path.relative_to(folder / "BEST-003/A")).read_bytes()
    assert "No space left on device" in str(kept)


def test_a_failure_in_a_read_only_folder_leaves_nothing(fake_disk, run, failure):
    folder = fake_disk.folder / "failures"
    folder.mkdir()
    fake_disk.fs.chmod(folder, 0o555)
    fake_disk.become_nobody()
    with pytest.raises(PermissionError):
        save_failure(folder, failure, Driver(run.parent))
    assert names(folder) == []


def test_a_file_that_cannot_take_its_place_leaves_no_temporary_one(fake_disk):
    (fake_disk.folder / "there").mkdir()
    with pytest.raises(OSError, match="director"):
        write_atomically(fake_disk.folder / "there", "text")
    assert names(fake_disk.folder) == ["there"]
