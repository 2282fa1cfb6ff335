"""Finds run folders and lists what stands in them; follows no link out of a run but one's own.

What is a run? Checkpoints (by their suffix), event files and a `config.yaml` tell of one; `nn/` and
`summaries/`, by these names or the profile's, are its parts. All follows from this:

- A folder is a run for certain if it has both parts; or one, which holds a checkpoint or an event
  file; or if it holds checkpoints and event files itself, and no run with parts lies below it.
- What lies below such a run is its own, save what belongs to another one there. One that lacks a
  part is only that much wider: of what lies up to two folders below it, what that part would hold.
- A folder with anything that tells, or with an empty part, is a run if it belongs to no other and
  no run lies below it. So runs below win over what lies beside them, which is then a stray.
- A folder that cannot be listed is a run, lest one be passed over in silence.
- Whatever stands in a part belongs to the run, and a folder called `nn` is none if it only holds
  folders. A hidden file tells nothing, nor does a hidden folder's `config.yaml`.
- A link to a folder elsewhere is followed, save in a run that is certain by its parts; one to what
  can be reached without it is not.

Each sentence speaks of what lies below a folder and of the folders above it, never of where a
search began. So a path means the runs at or below it, else the run in which it lies; and a file
means itself.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.convention.names import has_checkpoint_suffix
from conformance.evidence.checkpoint import looks_like_checkpoint
from conformance.evidence.summaries import is_event_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Where Python packages are installed `.pth` files are paths for Python, and no checkpoints.
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_DEEPEST = 16
_MOST_ENTRIES = 500_000
_MOST_KEPT = 100_000  # entries of listings that wait for the runs to be listed
_MOST_TOLD = 5
_MOST_NAMED = 2
_REACH = 2  # folders below a run that lacks a part, where that part's files may stand
_SAME_START = 300  # seconds between the starts of one training's ranks
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# The end of a folder's name that says when the training began: dd-HH-MM-SS, or Y-m-d_H-M-S.
_STAMPED = re.compile(
    r"(?P<base>.*?_|)(?P<month>[0-9]{4}-[0-9]{2}-|)"
    r"(?P<day>[0-9]{2})[-_](?P<hour>[0-9]{2})-(?P<minute>[0-9]{2})-(?P<second>[0-9]{2})",
    re.DOTALL,
)
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
    """A run's folder and all that stands in it, sorted by path; or a checkpoint by itself.

    Attributes:
        path: the folder, or the file.
        experiment: its name.
        entries: what stands in it; what belongs to another run in it is left out.
        problems: one line for each folder that could not be listed whole.
        unlisted: the paths of these folders from the run's; empty for the run's own.
        target: the folder's own name, where `path` is a link.
        namesakes: the runs beside it whose names differ from its own by case only.
        twin: of a run that left nothing: the one of the same training beside it.
        is_file: whether this is a checkpoint that was named by itself, without its run.
    """

    path: Path
    experiment: str
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    target: str = ""
    namesakes: tuple[str, ...] = ()
    twin: str = ""
    is_file: bool = False

    def at(self, folder: str) -> tuple[Entry, ...]:
        """The entries that stand directly in `folder` (a path from the run's folder).

        A checkpoint by itself stands in any: where it belongs is not known.
        """
        return tuple(entry for entry in self.entries if self.is_file or entry.folder == folder)

    def distributed_parts(self, entry: Entry) -> int | None:
        """How many parts a folder of torch's distributed checkpoint (DCP) has; None: it is none."""
        if entry.kind is not EntryKind.FOLDER:
            return None
        names = [inside.name for inside in self.at(entry.relative)]
        parts = sum(name.endswith(".distcp") for name in names)
        return parts if parts or ".metadata" in names else None


@dataclass(frozen=True, slots=True)
class Found:
    """A run that a search has found, to be listed by `scan_run`.

    Attributes:
        path: its folder; or the file, where a checkpoint was named by itself.
        is_file: which of the two.
        others: the runs inside it, by their paths from it.
        namesakes: the runs beside it whose names differ from its own by case only.
        beside: the names of the folders beside it.
        listings: what the search has listed of it already, by path.
    """

    path: Path
    is_file: bool = False
    others: frozenset[str] = frozenset()
    namesakes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    listings: dict[str, list[os.DirEntry[str]]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a path leads to: runs, and a line for each thing that is told of the search."""

    runs: tuple[Found, ...]
    remarks: tuple[str, ...] = ()


def scan_run(run: Path | Found, *, follow: tuple[str, ...] = ("nn", "summaries")) -> RunFolder:
    """List a run, whole.

    Args:
        run: its folder, which may be missing (a trainer that wrote nothing); or what a search has
            found.
        follow: folders of the run that may be links themselves, and are then followed.
    """
    found = run if isinstance(run, Found) else Found(run)
    absolute = Path(os.path.abspath(found.path))  # noqa: PTH100 - resolve() loses a link's name
    if found.is_file:
        return _scan_file(absolute)
    real = os.path.realpath(absolute)
    scanner = _Scanner(real, found.others, found.listings)
    entries = scanner.scan(absolute, follow) if absolute.is_dir() else []
    entries.sort(key=lambda entry: entry.relative)
    return RunFolder(
        absolute,
        absolute.name,
        tuple(entries),
        tuple(scanner.problems),
        tuple(scanner.unlisted),
        target=os.path.basename(real) if absolute.is_symlink() else "",  # noqa: PTH119 - text
        namesakes=found.namesakes,
        twin=_twin(absolute, entries, found.beside, follow),
    )


def _scan_file(path: Path) -> RunFolder:
    """A checkpoint by itself, as a run that holds nothing else."""
    scanner = _Scanner(os.path.realpath(path.parent))
    entry = scanner.entry(str(path), path.name, is_link=path.is_symlink())
    entries = () if entry is None else (entry,)
    return RunFolder(path, path.stem, entries, tuple(scanner.problems), is_file=True)


@dataclass(slots=True)
class _Scanner:
    real: str
    others: frozenset[str] = frozenset()
    listings: dict[str, list[os.DirEntry[str]]] = field(default_factory=dict)
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
                relative = prefix + item.name
                if relative in self.others:
                    continue
                entry = self.entry(item.path, relative, is_link=item.is_symlink(), item=item)
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
        listed = self.listings.pop(folder, None)
        if listed is not None:
            return listed
        try:
            with os.scandir(folder) as listing:
                return list(listing)
        except OSError as error:
            self._give_up(prefix, str(error.strerror))
            return []

    def entry(
        self, path: str, relative: str, *, is_link: bool, item: os.DirEntry[str] | None = None
    ) -> Entry | None:
        """What stands under a name; None where it has gone, or cannot be looked at."""
        inside = True
        try:
            status = os.stat(path) if item is None else item.stat()  # noqa: PTH116 - text
        except OSError as error:
            if is_link and os.path.islink(path):  # noqa: PTH114 - as the listing is text
                kind = EntryKind.BROKEN_LINK
                return Entry(relative, Path(path), kind, is_link, inside, 0, 0)
            if error.errno not in _GONE:
                folder, _, name = relative.rpartition("/")
                self._give_up(folder, f"{name!a}: {error.strerror}")
            return None
        if is_link:
            target = os.path.realpath(path)
            inside = target.startswith(self.real + os.sep)
        if stat.S_ISREG(status.st_mode):
            kind, size = EntryKind.FILE, status.st_size
        elif stat.S_ISDIR(status.st_mode):
            kind, size = EntryKind.FOLDER, 0
        else:
            kind, size = EntryKind.OTHER, 0
        return Entry(relative, Path(path), kind, is_link, inside, size, status.st_mtime_ns)


# --- the search -----------------------------------------------------------------------------


def find_runs(
    path: Path, *, checkpoints: str = "nn", summaries: str = "summaries"
) -> tuple[Path, ...]:
    """Return the folders of the runs that `path` means, sorted.

    Raises:
        NoRunError: nothing there, no folder, or no run in it.
    """
    found = discover(path, checkpoints=checkpoints, summaries=summaries, files=False)
    return tuple(run.path for run in found.runs)


def discover(
    path: Path, *, checkpoints: str = "nn", summaries: str = "summaries", files: bool = True
) -> Discovery:
    """Return the runs that `path` means: those at or below it, else the one in which it lies.

    Args:
        path: a run, a root of runs, a folder of a run; or a checkpoint by itself.
        checkpoints: the name of the checkpoints' folder in a run.
        summaries: that of the event files' folder.
        files: whether a checkpoint by itself is of use.

    Raises:
        NoRunError: nothing there, no run in it, or a file that is of no use.
    """
    start = _settled(Path(os.path.abspath(path)))  # noqa: PTH100 - resolve() loses a link's name
    try:
        status = start.stat()
    except OSError as error:
        raise NoRunError(f"{str(path)!a}: {error.strerror}; give a run folder or a root") from error
    if not stat.S_ISDIR(status.st_mode):
        refusal = _refused(start, status.st_mode, files=files)
        if refusal is not None:
            raise NoRunError(f"{str(path)!a}: {refusal}")
        return Discovery((Found(start, is_file=True),))
    search = _Search(checkpoints, summaries)
    found = search.runs(str(start))
    if search.problem is not None:
        raise NoRunError(f"{str(path)!a}: cannot be listed: {search.problem}")
    if not found.runs:
        raise NoRunError(
            f"{str(path)!a}: no run found; looked for folders that hold {checkpoints}/ or"
            f" {summaries}/, and for checkpoints and event files"
            + "".join(f"; {remark}" for remark in found.remarks)
        )
    return found


def _refused(file: Path, mode: int, *, files: bool) -> str | None:
    """Why a path that is no folder is of no use; None: it is a checkpoint to be audited."""
    if not stat.S_ISREG(mode):
        return "neither a folder nor a regular file; give the run's folder that holds nn/"
    if is_event_file_name(file.name):
        return "an event file; give the run's folder, in which summaries/ stands"
    if file.name.casefold().endswith(_ARCHIVES):
        return "an archive; unpack it, and give the folder"
    if not has_checkpoint_suffix(file.name) and not looks_like_checkpoint(file):
        return "not a folder; give the run's folder that holds nn/" + (
            ", or a checkpoint" if files else ""
        )
    if not files:
        return "a checkpoint by itself; give the run's folder that holds nn/"
    return None


def _settled(start: Path) -> Path:
    """The path with each link to a neighbour replaced by it: `runs/latest` is a run by its name."""
    settled = Path(start.anchor)
    for part in start.parts[1:]:
        path = settled / part
        if path.is_symlink():
            parent, name = os.path.split(os.path.realpath(path))
            if parent == os.path.realpath(settled) and name:
                path = settled / name
        settled = path
    return settled


@dataclass(slots=True)
class _Folder:
    """One folder as the search sees it.

    Attributes:
        path: as it was reached.
        top: the start, or the link that was followed, from which the walk came here.
        depth: how far below that.
        parts: the parts of a run that stand in it, by name.
        told: the files in it that tell of a run, by name.
        folders: the paths of the folders in it that are no parts.
        links: the paths of the links to folders in it.
        is_whole: whether it has both parts.
        is_filled: whether a part without the other holds a checkpoint or an event file.
        problem: why it cannot be listed.
        below: the folders in it, once they are looked at; where links lead to as well.
        is_over: whether a run with parts lies below it.
    """

    path: str
    top: str = ""
    depth: int = 0
    parts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    is_whole: bool = False
    is_filled: bool = False
    problem: str | None = None
    below: list[_Folder] = field(default_factory=list)
    is_over: bool = False

    @property
    def has_checkpoints(self) -> bool:
        """Whether it holds a checkpoint itself."""
        return any(map(has_checkpoint_suffix, self.told))

    @property
    def has_logs(self) -> bool:
        """Whether it holds an event file itself."""
        return any(map(is_event_file_name, self.told))

    @property
    def is_certain(self) -> bool:
        """Whether it is a run whatever stands above it."""
        if self.is_certain_by_parts:
            return True
        return self.has_checkpoints and self.has_logs and not self.is_over

    @property
    def is_certain_by_parts(self) -> bool:
        """Whether its parts make it a run."""
        return self.is_whole or self.is_filled

    @property
    def tells(self) -> bool:
        """Whether anything in it tells of a run."""
        return bool(self.parts or self.told) or self.problem is not None


@dataclass(frozen=True, slots=True)
class _Way:
    """The way from the top of a walk to a folder.

    Attributes:
        beside_parts: whether it leads through a folder with a part: what is listed is then kept.
        in_run: whether it leads into a run that is certain by its parts.
    """

    beside_parts: bool = False
    in_run: bool = False

    def on(self, folder: _Folder) -> _Way:
        """The way on through a folder."""
        return _Way(
            self.beside_parts or bool(folder.parts), self.in_run or folder.is_certain_by_parts
        )


# A run with the depth in which it stands, from the top of the folders that it may own.
_Owner = tuple[_Folder, int]


class _Search:
    """One search for runs: lists each folder once, and what stands in a run's only part."""

    def __init__(self, checkpoints: str, summaries: str) -> None:
        self.problem: str | None = None
        self._profile = checkpoints, summaries
        # The usual names are parts for each profile: a folder is no other run for being held
        # against another dialect.
        self._holds_checkpoints = frozenset({checkpoints, "nn"})
        self._holds_logs = frozenset({summaries, "summaries"})
        self._names = self._holds_checkpoints | self._holds_logs
        self._listings: dict[str, list[os.DirEntry[str]]] = {}
        self._remarks: list[str] = []
        self._strays: list[_Folder] = []
        self._outside: dict[str, tuple[_Owner, ...]] = {}
        self._looked: dict[str, _Folder] = {}
        self._seen = 0
        self._kept = 0

    def runs(self, start: str) -> Discovery:
        """The runs that the folder `start` means; none where it means none."""
        whole = self._run_of_part(start)
        if whole is not None:
            return self._again().run_at(whole)
        tree = self._walk(start)
        self.problem = tree.problem
        found = self._runs_in(tree, ())
        if not found:
            owner = self._owner_of(tree)
            nothing = Discovery((), tuple(self._remarks))
            return nothing if owner is None else self._again().run_at(owner.path)
        return Discovery(self._described(tree, found), (*self._remarks, *self._told_strays()))

    def run_at(self, path: str) -> Discovery:
        """The run whose folder is `path`; none where it is not one."""
        tree = self._walk(path)
        runs = self._described(tree, self._runs_in(tree, ()))
        return Discovery(tuple(run for run in runs if str(run.path) == path), tuple(self._remarks))

    def is_run(self, path: str) -> bool:
        """Whether the folder `path` is a run."""
        return any(folder.path == path for folder in self._runs_in(self._walk(path), ()))

    def _again(self) -> _Search:
        return _Search(*self._profile)

    # --- what stands there ------------------------------------------------------------------

    def _walk(self, start: str) -> _Folder:
        """The tree of folders at and below `start`, parts left out; links that lead out included.

        A link in a run is not followed, nor one to what is, or may be, in the tree without it.
        """
        root = self._look(start, keep=False)
        root.top = start
        tops = _Tops()
        tops.add(os.path.realpath(start))
        waiting = deque([(root, _Way().on(root))])
        links: deque[tuple[str, _Folder]] = deque()
        while waiting or links:
            if not waiting:
                path, folder = links.popleft()
                if not self._lies_in_a_run(start) and tops.add(os.path.realpath(path)):
                    child = self._look(path, keep=False)
                    child.top = path
                    folder.below.append(child)
                    waiting.append((child, _Way().on(child)))
                continue
            folder, way = waiting.popleft()
            if not way.in_run:
                links.extend((path, folder) for path in folder.links)
            if self._is_too_much(folder):
                continue
            for path in folder.folders:
                child = self._look(path, keep=way.beside_parts)
                child.top, child.depth = folder.top, folder.depth + 1
                folder.below.append(child)
                waiting.append((child, way.on(child)))
        _tell_what_is_below(root)
        return root

    def _is_too_much(self, folder: _Folder) -> bool:
        if not folder.folders:
            return False
        if folder.depth >= _DEEPEST:
            why = f"more than {_DEEPEST} folders deep"
        elif self._seen > _MOST_ENTRIES:
            why = f"more than {_MOST_ENTRIES} entries"
        else:
            return False
        self._remark(f"{folder.path!a}: no run was looked for below: {why}")
        return True

    def _remark(self, text: str) -> None:
        if len(self._remarks) < _MOST_TOLD:
            self._remarks.append(text)

    def _look(self, path: str, *, keep: bool) -> _Folder:
        """A folder as it is listed; of one with a single part, that part is listed as well."""
        folder = _Folder(path)
        listing = self._list(folder)
        marked: list[os.DirEntry[str]] = []
        for item in filterfalse(self._is_installed, listing):
            if item.name in self._names and _is_folder(item):
                marked.append(item)
            elif item.is_dir(follow_symlinks=False):
                folder.folders.append(item.path)
            elif _tells(item.name):
                folder.told.append(item.name)
            elif item.is_symlink() and _is_folder(item):
                folder.links.append(item.path)
        folder.parts = [item.name for item in marked]
        kinds = self._holds_checkpoints, self._holds_logs
        folder.is_whole = not any(kind.isdisjoint(folder.parts) for kind in kinds)
        if not folder.is_whole:
            for item in marked:
                self._look_into_the_part(folder, item)
        if _is_hidden(path) and CONFIG_NAME in folder.told:
            folder.told.remove(CONFIG_NAME)  # Hydra's record of its own
        if keep or folder.parts:
            self._keep(path, listing)
        self._looked[path] = folder
        return folder

    def _is_installed(self, item: os.DirEntry[str]) -> bool:
        """Whether a folder holds installed packages; it is passed over, and that is told."""
        if item.name not in _INSTALLED or not item.is_dir(follow_symlinks=False):
            return False
        self._remark(f"{item.path!a}: passed over: installed Python packages")
        return True

    def _look_into_the_part(self, folder: _Folder, part: os.DirEntry[str]) -> None:
        """Settle whether a part without the other is one, and does not only hold folders."""
        stands = _Folder(part.path)
        listing = self._list(stands)
        tells = any(_tells(item.name) and item.name != CONFIG_NAME for item in listing)
        is_filled = tells or stands.problem is not None
        folder.is_filled |= is_filled
        holds_folders = any(item.is_dir(follow_symlinks=False) for item in listing)
        self._keep(part.path, listing)
        if not is_filled and holds_folders and not part.is_symlink():
            folder.parts.remove(part.name)
            folder.folders.append(part.path)

    def _list(self, folder: _Folder) -> list[os.DirEntry[str]]:
        kept = self._listings.pop(folder.path, None)
        if kept is not None:
            self._kept -= len(kept)
            return kept
        listed: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder.path) as listing:
                for item in listing:
                    listed.append(item)
                    if len(listed) > _MOST_ENTRIES:
                        break
        except OSError as error:
            folder.problem = error.strerror
        self._seen += len(listed)
        return listed

    def _keep(self, path: str, listing: list[os.DirEntry[str]]) -> None:
        """Keep what was listed for `scan_run`, so that a run is listed once."""
        if self._kept + len(listing) <= _MOST_KEPT and listing:
            self._kept += len(listing)
            self._listings[path] = listing

    # --- what it is -------------------------------------------------------------------------

    def _runs_in(self, folder: _Folder, owners: tuple[_Owner, ...]) -> list[_Folder]:
        """The runs at and below a folder that lies in these certain runs, the nearest one first."""
        inner = ((folder, folder.depth), *owners) if folder.is_certain else owners
        below = [
            run
            for child in folder.below
            for run in self._runs_in(child, inner if child.top == folder.top else ())
        ]
        if folder.is_certain:
            return [folder, *below]
        if not folder.tells or self._is_owned(folder, owners):
            return below
        if not below:
            return [folder]
        if folder.told:
            self._strays.append(folder)
        return below

    def _is_owned(self, folder: _Folder, owners: tuple[_Owner, ...]) -> bool:
        """Whether a folder that may be a run belongs to one that is for certain."""
        if any(self._owns(owner, folder) for owner in owners):
            return True
        return any(self._owns(owner, folder) for owner in self._owners_outside(folder.top))

    def _owns(self, owner: _Owner, folder: _Folder) -> bool:
        run, depth = owner
        if not run.parts or run.is_whole or folder.problem is not None:
            return True
        lacks_logs = not self._holds_checkpoints.isdisjoint(run.parts)
        is_lacking = folder.has_logs is lacks_logs and folder.has_checkpoints is not lacks_logs
        return is_lacking and folder.depth - depth <= _REACH

    def _owners_outside(self, top: str) -> tuple[_Owner, ...]:
        """The certain runs above the top of a walk, the nearest one first."""
        if top not in self._outside:
            origin = os.path.realpath(top) if os.path.islink(top) else top  # noqa: PTH114 - text
            found: list[_Owner] = []
            for distance, parent in enumerate(Path(origin).parents[:_DEEPEST], start=1):
                path = str(parent)
                if self._run_of_part(path) is not None:
                    continue
                folder = self._again()._look(path, keep=False)  # noqa: SLF001 - of its own kind
                if folder.has_checkpoints and folder.has_logs:
                    folder = self._again()._walk(path)  # noqa: SLF001 - see above
                if folder.is_certain:
                    found.append((folder, -distance))
            self._outside[top] = tuple(found)
        return self._outside[top]

    def _lies_in_a_run(self, top: str) -> bool:
        """Whether a run that is certain by its parts stands above the top of a walk."""
        return any(owner.is_certain_by_parts for owner, _ in self._owners_outside(top))

    def _owner_of(self, tree: _Folder) -> _Folder | None:
        """The run in which a tree lies that holds none."""
        telling = [folder for folder in _all(tree) if folder.tells] or [tree]
        return next(
            (
                owner[0]
                for owner in self._owners_outside(tree.top)
                if any(self._owns(owner, folder) for folder in telling)
            ),
            None,
        )

    def _run_of_part(self, path: str) -> str | None:
        """The folder of which `path` is, or lies in, a part; None where there is none."""
        place = Path(path)
        for folder in reversed((place, *place.parents)):
            if folder.name in self._names:
                above = self._again()._look(str(folder.parent), keep=False)  # noqa: SLF001 - own
                if folder.name in above.parts:
                    return above.path
        return None

    # --- what is told of it -----------------------------------------------------------------

    def _described(self, tree: _Folder, found: list[_Folder]) -> tuple[Found, ...]:
        """The runs with what stands in them and beside them, in the order of their paths."""
        paths = sorted(folder.path for folder in found)
        known = frozenset(paths)
        beside: dict[str, _Neighbours] = {}
        described = []
        for folder in sorted(found, key=lambda folder: Path(folder.path)):
            parent, name = os.path.split(folder.path)
            if parent not in beside:
                beside[parent] = self._neighbours(parent)
            others = _inside(folder.path, paths)
            described.append(
                Found(
                    Path(folder.path),
                    others=others,
                    namesakes=tuple(
                        other
                        for other in beside[parent].alike(name)
                        # A start's neighbours lie outside of its tree.
                        if self._is_run(
                            f"{parent.rstrip('/')}/{other}", None if folder is tree else known
                        )
                    ),
                    beside=beside[parent].names,
                    listings=self._listings,
                )
            )
        return tuple(described)

    def _neighbours(self, parent: str) -> _Neighbours:
        folder = self._looked.get(parent) or self._again()._look(parent, keep=False)  # noqa: SLF001
        names = [os.path.basename(path) for path in folder.folders]  # noqa: PTH119 - text
        return _Neighbours(tuple(names))

    def _is_run(self, path: str, known: frozenset[str] | None) -> bool:
        return self._again().is_run(path) if known is None else path in known

    def _told_strays(self) -> tuple[str, ...]:
        """A line for each folder whose files belong to no run, or one for many of them."""
        lines = [
            f"{folder.path!a}: passed over: {len(folder.told)} file(s) beside the runs belong to"
            f" none of them: {', '.join(ascii(name) for name in sorted(folder.told)[:_MOST_NAMED])}"
            + (", ..." if len(folder.told) > _MOST_NAMED else "")
            for folder in self._strays
        ]
        if len(lines) > _MOST_TOLD:
            more = len(lines) - _MOST_TOLD
            lines[_MOST_TOLD:] = [f"so are files beside the runs of {more} more folder(s)"]
        return tuple(lines)


class _Tops:
    """Where walks began, by their real paths: each folder is walked once, by one way."""

    def __init__(self) -> None:
        self._tops: set[str] = set()
        self._above: set[str] = set()

    def add(self, path: str) -> bool:
        """Take a folder in; False where it lies in, or above, one that was taken in."""
        above = {str(parent) for parent in Path(path).parents}
        if path in self._tops or path in self._above or not above.isdisjoint(self._tops):
            return False
        self._tops.add(path)
        self._above |= above
        return True


class _Neighbours:
    """The names of the folders in a root, and which of them are alike."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    @cached_property
    def _folded(self) -> Mapping[str, list[str]]:
        folded: dict[str, list[str]] = {}
        for name in self.names:
            folded.setdefault(fold(name), []).append(name)
        return folded

    def alike(self, name: str) -> tuple[str, ...]:
        """The others that a disk may take for it: they differ by case or normalisation only."""
        return tuple(sorted(other for other in self._folded.get(fold(name), ()) if other != name))


def fold(name: str) -> str:
    """A name as a disk sees it that knows neither case nor normalisation."""
    return unicodedata.normalize("NFC", name).casefold()


def _all(folder: _Folder) -> Iterator[_Folder]:
    yield folder
    for child in folder.below:
        yield from _all(child)


def _tell_what_is_below(folder: _Folder) -> bool:
    """Set `is_over` in a tree; returns whether a run with parts stands at or below the folder."""
    below = [_tell_what_is_below(child) for child in folder.below]  # each is to be set
    folder.is_over = any(below)
    return folder.is_over or folder.is_certain_by_parts


def _inside(path: str, paths: Sequence[str]) -> frozenset[str]:
    """Those of the sorted paths that lie below a folder, from it."""
    prefix = path.rstrip("/") + "/"
    first = bisect_left(paths, prefix)
    found = []
    for other in paths[first:]:
        if not other.startswith(prefix):
            break
        found.append(other.removeprefix(prefix))
    return frozenset(found)


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether the name leads to a folder; a loop of links, for one, leads nowhere."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")  # noqa: PTH119 - text


def _tells(name: str) -> bool:
    """Whether a file tells of a run; a hidden one (`._A.pth` of macOS, for one) does not."""
    if name.startswith("."):
        return False
    return has_checkpoint_suffix(name) or is_event_file_name(name) or name == CONFIG_NAME


# --- runs that left nothing -----------------------------------------------------------------


def _twin(run: Path, entries: Iterable[Entry], beside: Iterable[str], parts: Iterable[str]) -> str:
    """Of a run that left nothing: the one that another rank of the same training has written.

    Its name differs by the time stamp alone, and not by much; empty where there is none.
    """
    own = _STAMPED.fullmatch(run.name)
    if own is None or any(_tells(entry.name) and entry.name != CONFIG_NAME for entry in entries):
        return ""
    near = {
        name: abs(_seconds(other) - _seconds(own))
        for name in beside
        if name != run.name
        and (other := _STAMPED.fullmatch(name)) is not None
        and other["base"] == own["base"]
    }
    nearest = sorted((apart, name) for name, apart in near.items() if apart <= _SAME_START)
    for _, name in nearest[:_MOST_TOLD]:
        if any(_holds_files(run.parent / name / part) for part in parts):
            return name
    return ""


def _seconds(stamp: re.Match[str]) -> int:
    """The seconds of a stamp from the begin of its month."""
    day, hour, minute, second = (int(stamp[part]) for part in ("day", "hour", "minute", "second"))
    return ((day * 24 + hour) * 60 + minute) * 60 + second


def _holds_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as listing:
            return any(_tells(item.name) for item in listing)
    except OSError:
        return False
