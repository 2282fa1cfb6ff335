"""What the parts of a persistent id mean: a storage's type, its size and its location."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.evidence.checkpoint.errors import damaged, refused, shown
from conformance.evidence.checkpoint.rebuild import STORAGE_TYPES
from conformance.evidence.checkpoint.values import ITEMSIZE, Opaque, Storage, Tensor

if TYPE_CHECKING:
    from conformance.evidence.checkpoint.archive import Archive

_INT64_MAX = (1 << 63) - 1
_UINT64_MAX = (1 << 64) - 1
_UNTYPED = "torch.storage.UntypedStorage"


def storage_dtype(kind: object, *, untyped: bool = True) -> str:
    """Returns the dtype of what a persistent id calls a storage's type.

    Raises:
        RefusalError: it has none, or is the untyped storage where that may not be.
    """
    if isinstance(kind, (Tensor, Storage)):
        return kind.dtype
    if isinstance(kind, Opaque) and kind.args is None and (untyped or kind.name != _UNTYPED):
        dtype = STORAGE_TYPES.get(kind.name)
        if dtype is not None:
            return dtype
    raise refused("a storage's type is unknown")


def location_name(location: object) -> str:
    """Returns a storage's location, which `map_location="cpu"` makes torch ignore.

    Raises:
        RefusalError: it is bytes that are no ASCII.
    """
    if isinstance(location, bytes):
        try:
            return location.decode("ascii")
        except UnicodeDecodeError:
            raise refused("a storage's location is no text") from None
    return location if isinstance(location, str) else ""


def element_count(numel: object, dtype: str) -> int:
    """Returns a storage's number of elements.

    Raises:
        RefusalError: torch would take it for no size.
    """
    if not isinstance(numel, int) or not 0 <= numel * ITEMSIZE[dtype] <= _INT64_MAX:
        raise refused(f"a storage is said to have {shown(str(type(numel).__name__))} elements")
    return int(numel)


class ArchiveStorages:
    """The storages of an archive, by the persistent ids in its pickle."""

    __slots__ = ("archive", "loaded", "swapped")

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.swapped = False
        self.loaded: dict[Any, Storage] = {}

    def load(self, identifier: tuple[Any, ...]) -> Storage:
        """Returns the storage, as `persistent_load` of `torch.serialization._load` finds it.

        Raises:
            RefusalError: it would raise.
        """
        if len(identifier) != 4:
            raise refused("a persistent id has the wrong number of parts")
        kind, key, location, numel = identifier
        dtype = storage_dtype(kind)
        if type(key) not in {str, int, float, bool, bytes, type(None)}:
            raise refused("a storage's key is no text")
        found = self.loaded.get(key)
        if found is not None:
            return found
        location = location_name(location)
        storage = self._find(str(key), dtype, element_count(numel, dtype), location)
        if storage.nbytes:
            self.loaded[key] = storage
        return storage

    def _find(self, key: str, dtype: str, numel: int, location: str) -> Storage:
        archive = self.archive
        index = archive.find(f"data/{key}")
        if index is None:
            raise damaged(f"the record of storage {shown(key)} is missing")
        record = archive.records[index]
        offset = archive.locate(index)
        nbytes = numel * ITEMSIZE[dtype]
        if record.size != nbytes:
            raise damaged(
                f"the record of storage {shown(key)} has {record.size} bytes where the pickle "
                f"speaks of {nbytes}"
            )
        return Storage(
            key,
            dtype,
            numel,
            nbytes,
            archive.crcs.get(index, record.crc if archive.has_crc else None),
            location,
            offset,
            record.stored if offset is not None else 0,
            record.method != 0,
            _swap_width(dtype) if self.swapped else 1,
        )


def _swap_width(dtype: str) -> int:
    return ITEMSIZE[dtype] // 2 if dtype.startswith("complex") else ITEMSIZE[dtype]
