"""Files that a system, an editor or a tool leaves beside others: told by their names alone."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stray:
    """What a file is that no trainer wrote.

    Attributes:
        cause: in the words of LAYOUT-003's remedies.
        what: says it, with its maker.
    """

    cause: str
    what: str


_MACOS, _WINDOWS, _DESKTOP = "macos", "windows", "desktop"
_EDITOR, _SYNC, _NFS = "editor", "sync", "nfs"
_DOWNLOAD, _TOOL = "download", "tool"

_NAMED: tuple[tuple[str, str, str], ...] = (
    (r"\._.+", _MACOS, "AppleDouble, macOS's metadata of another file"),
    (r"\.DS_Store", _MACOS, "macOS's .DS_Store of a folder's view"),
    (r"__MACOSX|\.AppleDouble|\.LSOverride|Icon\r", _MACOS, "macOS's metadata"),
    (
        r"\.(Spotlight-V100|Trashes|fseventsd|TemporaryItems|DocumentRevisions-V100|localized)",
        *(_MACOS, "macOS's record of a disk"),
    ),
    (r"(?i:thumbs\.db|ehthumbs(_vista)?\.db)", _WINDOWS, "Windows' thumbnails of a folder"),
    (r"(?i:desktop\.ini|\$RECYCLE\.BIN|System Volume Information)", _WINDOWS, "Windows' metadata"),
    (r".+[:.]Zone\.Identifier", _WINDOWS, "Windows' mark of a download"),
    (r"\.directory|\.Trash(-\d+)?|lost\+found", _DESKTOP, "the desktop's or the disk's own"),
    (r"\.goutputstream-\w+", _DESKTOP, "a temporary file of the desktop"),
    (r"\.~tmp~|\.rsync-partial|\.rsync-tmp", _SYNC, "rsync's folder of parts"),
    (r"\.(?!nfs).*\.sw[a-p]", _EDITOR, "vim's swap file"),
    (r"#.+#|\.#.+", _EDITOR, "Emacs' copy or lock of an open file"),
    (r"~\$.+|\.~lock\..+#", _EDITOR, "an office program's lock"),
    (r".+~|.+\.(bak|orig|rej|kate-swp)", _EDITOR, "an editor's backup"),
    (r"\.ipynb_checkpoints", _EDITOR, "Jupyter's copies of notebooks"),
    (
        r"\.syncthing\..+|~syncthing~.+|\.st(folder|versions|ignore)",
        *(_SYNC, "Syncthing's temporary file or folder"),
    ),
    (r".+\.sync-conflict-\d{8}-\d{6}(-\w+)?(\..+)?", _SYNC, "Syncthing's copy of a conflict"),
    (r".+\((.+'s )?[Cc]onflicted copy.*\).*", _SYNC, "Dropbox's copy of a conflict"),
    (r"\.dropbox.*|\.owncloudsync\.log|\._sync_\w+\.db.*", _SYNC, "a synchroniser's own"),
    (r"\..+\.[A-Za-z0-9]{6}", _SYNC, "rsync's temporary file"),
    (r"\.nfs[0-9a-f]{8,}", _NFS, "NFS's name for a file that was removed while it was open"),
    (r"\.fuse_hidden[0-9a-f]+", _NFS, "FUSE's name for a file that was removed while it was open"),
    (
        r".+\.(part|partial|crdownload|download|opdownload|aria2|filepart|incomplete)",
        *(_DOWNLOAD, "the part of a download or a copy"),
    ),
    (r"\.git(keep|ignore|attributes)?|\.dvc(ignore)?|\.keep", _TOOL, "version control's own"),
)
_STRAYS = tuple((re.compile(pattern), Stray(cause, what)) for pattern, cause, what in _NAMED)


def stray(name: str) -> Stray | None:
    """What a file of this name is that a system or a tool leaves; None where the name tells none.

    >>> stray("._Ant.pth").cause
    'macos'
    """
    return next((found for pattern, found in _STRAYS if pattern.fullmatch(name)), None)
