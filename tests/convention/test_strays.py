"""What a file's name says that a system, an editor or a tool left there."""

from __future__ import annotations

import pytest

from conformance.convention.rules import BY_ID
from conformance.convention.strays import stray

STRAYS = {
    "._Cartpole.pth": ("macos", "AppleDouble"),
    "._last_Cartpoleep2rew3.0.pth": ("macos", "macOS"),
    ".DS_Store": ("macos", "macOS"),
    "__MACOSX": ("macos", "macOS"),
    "Thumbs.db": ("windows", "Windows"),
    "desktop.ini": ("windows", "Windows"),
    "Cartpole.pth:Zone.Identifier": ("windows", "Windows"),
    ".directory": ("desktop", "desktop"),
    ".Cartpole.pth.swp": ("editor", "vim"),
    "#Cartpole.pth#": ("editor", "Emacs"),
    ".#Cartpole.pth": ("editor", "Emacs"),
    "Cartpole.pth~": ("editor", "backup"),
    "Cartpole.pth.bak": ("editor", "backup"),
    ".ipynb_checkpoints": ("editor", "Jupyter"),
    ".Cartpole.pth.Xa81bC": ("sync", "rsync"),
    ".~tmp~": ("sync", "rsync"),
    ".syncthing.Cartpole.pth.tmp": ("sync", "Syncthing"),
    "~syncthing~Cartpole.pth.tmp": ("sync", "Syncthing"),
    "Cartpole.sync-conflict-20260101-101429-ABCDEFG.pth": ("sync", "Syncthing"),
    "Cartpole (Ann's conflicted copy 2026-01-01).pth": ("sync", "Dropbox"),
    ".nfs000000000123abcd00000001": ("nfs", "NFS"),
    ".fuse_hidden0000000a00000001": ("nfs", "FUSE"),
    "Cartpole.pth.part": ("download", "part of a download"),
    "Cartpole.pth.crdownload": ("download", "part of a download"),
    ".gitkeep": ("tool", "version control"),
}


@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_is_told_by_its_name(name):
    cause, what = STRAYS[name]
    found = stray(name)
    assert found is not None
    assert found.cause == cause
    assert what in found.what


@pytest.mark.parametrize(
    "name",
    [
        "Cartpole.pth",
        "_Cartpole.pth",
        ".Cartpole.pth",
        "last_Cartpoleep2rew3.0.pth",
        "Cartpole.tmp.pth",
        "Thumbs.pth",
        "nfs0001.pth",
        "Cartpole.partial.pth",
        "conflicted.pth",
        "notes.txt",
        "A.b.c",
        "...",
        "._",
    ],
)
def test_a_name_that_only_resembles_a_stray_is_none(name):
    assert stray(name) is None


def test_each_kind_of_stray_has_its_remedy():
    remedies = {remedy.cause for remedy in BY_ID["LAYOUT-003"].remedies}
    assert remedies >= {cause for cause, _ in STRAYS.values()}
