"""Finds run folders and lists what stands in them; follows no link out of a run but one's own."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.convention.names import CHECKPOINT_SUFFIXES
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 16
_MOST_ENTRIES = 500_000
# What a name that was listed says when it went meanwhile: a trainer at work renames its files.
_GONE = (errno.ENOENT, errno.ENOTDIR)
CONFIG_NAME = "config.yaml"


class NoRunError(Exception):
    """A path that leads to no run folder; the message says what was looked for."""


class EntryKind(str, Enum):
    """What stands under a name, links followed."""

    FILE = "file"
    FOLDER = "folder"
    BROKEN_LINK = "broken link"
    OTHER = "special file"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name inside a run.

    Attributes:
        relative: path from the run's folder, with `/`; bytes that are no UTF-8 as surrogates.
        path: the path to open.
        kind: what stands there, links followed.
        is_link: whether the name itself is a symbolic link.
        inside: whether it, or the link's target, lies inside the run.
        size: bytes; 0 for what is no file.
        modified: modification time in ns; orders equals, proves nothing.
    """

    relative: str
    path: Path
    kind: EntryKind
    is_link: bool
    inside: bool
    size: int
    modified: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.relative.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path of the folder from the run's; empty for the run's own."""
        return self.relative.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder and all that stands in it, sorted by path.

    `problems` holds one line for each folder that could not be listed whole, `unlisted` its path
    from the run's; empty for the run's own.
    """

    path: Path
    experiment: str
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    def at(self, folder: str) -> tuple[Entry, ...]:
        """The entries that stand directly in `folder` (a path from the run's folder)."""
        return tuple(entry for entry in self.entries if entry.folder == folder)

    def distributed_parts(self, entry: Entry) -> int | None:
        """How many parts a folder of torch's distributed checkpoint (DCP) has; None: it is none."""
        if entry.kind is not EntryKind.FOLDER:
            return None
        names = [inside.name for inside in self.at(entry.relative)]
        parts = sum(name.endswith(".distcp") for name in names)
        return parts if parts or ".metadata" in names else None


def scan_run(path: Path, *, follow: tuple[str, ...] = ("nn", "summaries")) -> RunFolder:
    """List the run folder at `path`, whole.

    Args:
        path: the run's folder; it may be missing (a trainer that wrote nothing).
        follow: folders of the run that may be links themselves, and are then followed.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would lose a link's own name
    real = os.path.realpath(absolute)
    scanner = _Scanner(real)
    entries = scanner.scan(absolute, follow) if absolute.is_dir() else []
    entries.sort(key=lambda entry: entry.relative)
    return RunFolder(
        absolute,
        absolute.name,
        tuple(entries),
        tuple(scanner.problems),
        tuple(scanner.unlisted),
    )


@dataclass(slots=True)
class _Scanner:
    real: str
    problems: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    seen: int = 0

    def scan(self, top: Path, follow: tuple[str, ...]) -> list[Entry]:
        found: list[Entry] = []
        waiting: list[tuple[str, str, int]] = [(str(top), "", 0)]
        while waiting:
            folder, prefix, depth = waiting.pop()
            if depth > _DEEPEST:
                self._give_up(prefix, f"it is more than {_DEEPEST} folders deep")
                continue
            for item in self._list(folder, prefix):
                self.seen += 1
                if self.seen > _MOST_ENTRIES:
                    self._give_up(prefix, f"the run has more than {_MOST_ENTRIES} entries")
                    return found
                entry = self._entry(item, prefix)
                if entry is None:
                    continue
                found.append(entry)
                descends = entry.kind is EntryKind.FOLDER and (
                    not entry.is_link or entry.relative in follow
                )
                if descends:
                    waiting.append((item.path, f"{entry.relative}/", depth + 1))
        return found

    def _give_up(self, prefix: str, why: str) -> None:
        folder = prefix.rstrip("/")
        if folder not in self.unlisted:
            self.problems.append(f"{folder or '.'!a} cannot be listed whole: {why}")
            self.unlisted.append(folder)

    def _list(self, folder: str, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listing:
                return list(listing)
        except OSError as error:
            self._give_up(prefix, str(error.strerror))
            return []

    def _entry(self, item: os.DirEntry[str], prefix: str) -> Entry | None:
        """What stands under a name; None where it has gone, or cannot be looked at."""
        relative = prefix + item.name
        is_link = item.is_symlink()
        inside = True
        try:
            status = item.stat()
        except OSError as error:
            if is_link and os.path.islink(item.path):  # noqa: PTH114 - as the listing is text
                kind = EntryKind.BROKEN_LINK
                return Entry(relative, Path(item.path), kind, is_link, inside, 0, 0)
            if error.errno not in _GONE:
                self._give_up(prefix, f"{item.name!a}: {error.strerror}")
            return None
        if is_link:
            target = os.path.realpath(item.path)
            inside = target.startswith(self.real + os.sep)
        if stat.S_ISREG(status.st_mode):
            kind, size = EntryKind.FILE, status.st_size
        elif stat.S_ISDIR(status.st_mode):
            kind, size = EntryKind.FOLDER, 0
        else:
            kind, size = EntryKind.OTHER, 0
        return Entry(relative, Path(item.path), kind, is_link, inside, size, status.st_mtime_ns)


def find_runs(
    path: Path, *, checkpoints: str = "nn", summaries: str = "summaries"
) -> tuple[Path, ...]:
    """Return the run folders that `path` means: a run, a root of runs, or an `nn/` folder.

    A folder that holds `nn/` or `summaries/` is a run. In a root, a folder without either that
    holds checkpoints or event files somewhere is a run too, one with a broken layout; so is one
    that cannot be listed, lest a run be passed over in silence.

    Raises:
        NoRunError: nothing there, not a folder, or no run in it.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would lose a link's own name
    try:
        status = absolute.stat()
    except OSError as error:
        raise NoRunError(f"{str(path)!a}: {error.strerror}; give a run folder or a root") from error
    if not stat.S_ISDIR(status.st_mode):
        raise NoRunError(f"{str(path)!a}: not a folder; give the run's folder that holds nn/")
    markers = {checkpoints, summaries}
    survey = _survey(absolute, markers)
    if survey.problem is not None:
        raise NoRunError(f"{str(path)!a}: cannot be listed: {survey.problem}")
    if absolute.name in markers and not survey.marked:
        return (absolute.parent,)
    if survey.marked or survey.holds:
        return (absolute,)
    found = sorted(path for path, _ in _runs_below(survey))
    if not found:
        raise NoRunError(
            f"{str(path)!a}: no run found; looked for folders that hold {checkpoints}/ or"
            f" {summaries}/, and for checkpoints and event files"
        )
    return tuple(found)


@dataclass(slots=True)
class _Survey:
    """One folder of a walk for runs: is it marked as one, what does it hold, what is below?"""

    path: Path
    marked: bool = False
    holds: bool = False
    problem: str | None = None
    below: list[_Survey] = field(default_factory=list)


def _survey(top: Path, markers: set[str]) -> _Survey:
    result = _Survey(top)
    waiting = [(result, 0)]
    seen = 0
    while waiting:
        survey, depth = waiting.pop()
        folders: list[Path] = []
        try:
            with os.scandir(survey.path) as listing:
                for item in listing:
                    seen += 1
                    if item.name in markers and _is_folder(item):
                        survey.marked = True
                    elif item.is_dir(follow_symlinks=False) or (
                        depth == 0 and _is_folder(item) and _leads_out(item.path, top)
                    ):
                        folders.append(Path(item.path))
                    elif _tells(item.name):
                        survey.holds = True
        except OSError as error:
            survey.problem = error.strerror
            continue
        if survey.marked or depth >= _DEEPEST or seen > _MOST_ENTRIES:
            continue
        survey.below = [_Survey(folder) for folder in folders]
        waiting.extend((folder, depth + 1) for folder in survey.below)
    return result


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether the name leads to a folder; a loop of links, for one, leads nowhere."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _leads_out(link: str, top: Path) -> bool:
    """Whether a link in a root leads out of it: to a run kept elsewhere, not to a neighbour."""
    real, target = os.path.realpath(top), os.path.realpath(link)
    return os.path.commonpath((real, target)) not in (real, target)


def _tells(name: str) -> bool:
    return name.endswith(CHECKPOINT_SUFFIXES) or is_event_file_name(name) or name == CONFIG_NAME


def _runs_below(survey: _Survey) -> Iterator[tuple[Path, bool]]:
    """The runs below a folder, each with whether it is marked as one."""
    for child in survey.below:
        if child.marked:
            yield child.path, True
            continue
        below = list(_runs_below(child))
        if any(marked for _, marked in below):
            yield from below
        elif child.holds or child.problem is not None or below:
            yield child.path, False
