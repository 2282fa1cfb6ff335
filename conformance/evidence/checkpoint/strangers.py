"""Tells what a file is that is no checkpoint: what people find under a checkpoint's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.evidence.checkpoint.errors import shown
from conformance.evidence.checkpoint.values import Fault, FaultKind, What

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = 4096
"""How many of a file's first bytes tell what it is."""

_BLANKS = b" \t\r\n\v\f"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LFS = re.compile(rb"version https?://(git-lfs\.github\.com|git-media\.io|hawser\.github\.com)/")
_LFS_SIZE = re.compile(rb"^size (\d{1,18})\r?$", re.MULTILINE)
_ANNEX = re.compile(rb"(/|\.\./|\.git/)*annex/objects/")
_HTML = re.compile(rb"<(!doctype html|html|head|body|script|title)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)
_XML = re.compile(rb"\s*<(\?xml|[A-Za-z][\w.:-]*[\s/>])")
_JSON = re.compile(rb'\s*(\{\s*("|\}|$)|\[\s*(["\[{\]\d-]|true|false|null|$)|null\s*$)')
_TEXT = re.compile(r"[\t\n\r\f -~\u00a0-\ud7ff\ue000-\uffff\U00010000-\U0010ffff]*")
_SAFETENSORS_KEYS = (b'"dtype"', b'"__metadata__"', b'"data_offsets"')
_MOST_SAFETENSORS_HEADER = 100_000_000
_MAGICS: tuple[tuple[bytes, What, str], ...] = (
    (b"\x1f\x8b", What.COMPRESSED, "a gzip file"),
    (b"\x1f\x9d", What.COMPRESSED, "a file of compress (.Z)"),
    (b"BZh", What.COMPRESSED, "a bzip2 file"),
    (b"\xfd7zXZ\0", What.COMPRESSED, "an xz file"),
    (b"\x28\xb5\x2f\xfd", What.COMPRESSED, "a zstd file"),
    (b"\x04\x22\x4d\x18", What.COMPRESSED, "an lz4 file"),
    (b"7z\xbc\xaf\x27\x1c", What.COMPRESSED, "a 7z archive"),
    (b"Rar!\x1a\x07", What.COMPRESSED, "a rar archive"),
    (b"\x89HDF\r\n\x1a\n", What.OTHER_FRAMEWORK, "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", What.OTHER_FRAMEWORK, "a NumPy array (.npy)"),
    (b"GGUF", What.OTHER_FRAMEWORK, "a GGUF file"),
    (b"\x00\x05\x16\x07", What.APPLE_DOUBLE, "macOS's AppleDouble metadata of a file"),
    (b"\x00\x05\x16\x00", What.APPLE_DOUBLE, "macOS's AppleSingle copy of a file"),
)
_ONNX = re.compile(rb"\x08[\x01-\x20]\x12.(pytorch|onnx|tf2onnx)", re.DOTALL)


def recognised(head: bytes, size: int) -> Fault | None:
    """What a file is by its first bytes; None where they do not tell.

    Args:
        head: the first bytes, at most `HEAD` of them.
        size: of the whole file.
    """
    text = head.removeprefix(_BYTE_ORDER_MARK)
    for what, message in (
        _pointer(head),
        _magic(head),
        _safetensors(head, size),
        _markup(text),
        _plain(text, size),
    ):
        if what is not None:
            return Fault(FaultKind.NOT_A_CHECKPOINT, message, what)
    return None


_Found = tuple["What | None", str]
_NOTHING: _Found = (None, "")


def _pointer(head: bytes) -> _Found:
    if _LFS.match(head):
        size = _LFS_SIZE.search(head)
        stands = f"for a file of {int(size[1])} bytes" if size else "for the file"
        return What.LFS_POINTER, f"a Git LFS pointer that stands {stands}, which was not fetched"
    if _ANNEX.match(head):
        return What.ANNEX_POINTER, "a git-annex pointer; the file that it stands for is not here"
    return _NOTHING


def _magic(head: bytes) -> _Found:
    for magic, what, message in _MAGICS:
        if head.startswith(magic):
            return what, message
    if _ONNX.match(head):
        return What.OTHER_FRAMEWORK, "an ONNX model"
    return _NOTHING


def _safetensors(head: bytes, size: int) -> _Found:
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or not 2 <= length <= _MOST_SAFETENSORS_HEADER:
        return _NOTHING
    if not (length == 2 or any(key in head for key in _SAFETENSORS_KEYS)):
        return _NOTHING
    cut = ", cut short" if 8 + length > size else ""
    return What.SAFETENSORS, f"a safetensors file{cut}"


def _markup(text: bytes) -> _Found:
    if not text.lstrip(_BLANKS).startswith(b"<"):
        return _NOTHING
    if _HTML.search(text):
        title = _TITLE.search(text)
        told = f" ({shown(title[1].strip())})" if title else ""
        return What.PAGE, f"an HTML page{told}, as a failed download leaves it"
    if _XML.match(text):
        return What.PAGE, "an XML document, as an object store answers a refused download"
    return _NOTHING


def _plain(text: bytes, size: int) -> _Found:
    """What a text is: blank, JSON, or any other."""
    if not text.strip(_BLANKS) and size <= HEAD:
        return What.BLANK, f"an empty text: {size} bytes of white space"
    try:
        read = text.decode()
    except UnicodeDecodeError as error:
        if size <= HEAD or error.start < len(text) - 3:  # else the head ends inside a character
            return _NOTHING
        read = text[: error.start].decode()
    if not _TEXT.fullmatch(read):
        return _NOTHING
    if _JSON.match(text):
        return What.TEXT, "a JSON text"
    first = next((line.strip() for line in read.splitlines() if line.strip()), "")
    return What.TEXT, f"a text that begins with {shown(first)}"


def zip_fault(names: Iterable[bytes]) -> Fault:
    """What a zip archive without a checkpoint's records is, by the names of its records."""
    listed = [name for name in names if not name.endswith(b"/")]
    inside = [name for name in listed if name.lower().endswith((b".pth", b".pt", b".ckpt"))]
    if listed and all(name.endswith(b".npy") for name in listed):
        message, what = "a NumPy archive (.npz)", What.OTHER_FRAMEWORK
    elif inside:
        what, message = What.ZIP, f"a zip archive that holds {shown(inside[0])}"
        message += f" and {len(inside) - 1} more" if len(inside) > 1 else ""
    else:
        some = f" of {len(listed)} files, {shown(listed[0])} among them" if listed else ""
        what, message = What.ZIP, f"a zip archive{some}, and no data.pkl of torch.save"
    return Fault(FaultKind.NOT_A_CHECKPOINT, message, what)
