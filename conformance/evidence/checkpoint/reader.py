"""Reads one file into a `Checkpoint`, whatever it holds, without running any of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from conformance.convention.safe_globals import TORCH_DEFAULT
from conformance.evidence.checkpoint.archive import (
    LOCAL_MAGIC,
    Archive,
    check_whole,
    read_archive,
)
from conformance.evidence.checkpoint.errors import RefusalError, damaged, refused, shown
from conformance.evidence.checkpoint.legacy import Legacy, is_legacy, read_legacy
from conformance.evidence.checkpoint.opcodes import PICKLE_LIMIT, Machine, check_tree
from conformance.evidence.checkpoint.rebuild import STORAGE_TYPES
from conformance.evidence.checkpoint.source import Source
from conformance.evidence.checkpoint.survey import named_globals
from conformance.evidence.checkpoint.tensors import addressed_bytes
from conformance.evidence.checkpoint.values import (
    ITEMSIZE,
    MISSING,
    Checkpoint,
    Fault,
    FaultKind,
    Opaque,
    Storage,
    Tensor,
)

if TYPE_CHECKING:
    from pathlib import Path

_NAMES_SHOWN = 10
_VERSIONS = range(1, 11)
_UINT64_MAX = (1 << 64) - 1


def read_checkpoint(
    path: Path, *, allowed: frozenset[str] = TORCH_DEFAULT, verify: bool = True
) -> Checkpoint:
    """Reads a checkpoint's structure; with `verify` also every record's CRC-32.

    Args:
        path: the file; symbolic links are followed.
        allowed: the globals that `torch.load` is told to let through.
        verify: compute every CRC-32, and report the records that have changed.

    Returns:
        What the file holds. Whatever is wrong with it is in `faults`; nothing is raised.
    """
    try:
        with closing(Source(path)) as source:
            return _Reading(path, source, allowed).read(verify=verify)
    except RefusalError as error:
        return Checkpoint(path, 0, "unknown", (error.fault,))


def looks_like_checkpoint(path: Path) -> bool:
    """Tells a checkpoint by its content, whatever its name: an archive with `data.pkl`, or legacy.

    Returns False for whatever cannot be read.
    """
    try:
        with closing(Source(path)) as source:
            if source.read(0, 4) == LOCAL_MAGIC:
                return read_archive(source).find("data.pkl") is not None
            return is_legacy(source)
    except RefusalError:
        return False


class _Reading:
    """One reading of one file: collects faults while its parts are read."""

    def __init__(self, path: Path, source: Source, allowed: frozenset[str]) -> None:
        self.path = path
        self.source = source
        self.allowed = allowed
        self.names: dict[str, bool] = {}
        self.faults: list[Fault] = []
        self.refusals: list[Fault] = []
        self.root: object = MISSING
        self.loads = False

    def read(self, *, verify: bool) -> Checkpoint:
        source = self.source
        if source.size == 0:
            self.faults.append(Fault(FaultKind.EMPTY, "the file is empty"))
            return self._finish("unknown", None)
        if source.read(0, 4) == LOCAL_MAGIC:
            return self._read_zip(verify=verify)
        return self._read_stream(verify=verify)

    def _read_zip(self, *, verify: bool) -> Checkpoint:
        try:
            archive = read_archive(self.source)
        except RefusalError as error:
            self.refusals.append(error.fault)
            return self._finish("zip", None)
        try:
            check_whole(archive, verify=verify)
        except RefusalError as error:
            archive.faults.append(error.fault)
        storages = _Storages(archive)
        try:
            self._check_format(archive)
            storages.swapped = _read_byteorder(archive)
            index = archive.find("data.pkl")
            if index is None:
                raise _not_a_checkpoint(
                    "the archive has no data.pkl: nothing that torch.save wrote"
                )
            data = archive.extract(index, PICKLE_LIMIT)
            self._walk(data, storages)
        except RefusalError as error:
            self.refusals.append(error.fault)
        self.faults += archive.faults
        return self._finish("zip", archive.has_crc)

    def _check_format(self, archive: Archive) -> None:
        """Checks what torch's reader checks before it looks at the pickle."""
        identity = archive.find(".data/serialization_id")
        if identity is not None:
            archive.locate(identity)
        index = archive.find(".data/version")
        if index is None:
            index = archive.find("version")
        if index is None:
            if archive.find("data.pkl") is None:
                raise _not_a_checkpoint(
                    "the archive has no data.pkl: nothing that torch.save wrote"
                )
            raise damaged("the archive has no version record")
        _check_version(archive.extract(index, 1 << 16))
        names = (record.name[len(archive.prefix) : 511] for record in archive.records)
        if any(name.split(b"\0", 1)[0] == b"constants.pkl" for name in names):
            raise _not_a_checkpoint("a TorchScript archive, which weights_only refuses")

    def _walk(self, data: bytes, storages: _Storages) -> None:
        machine = Machine(data, self.allowed, storages.load, self.names)
        try:
            root, _ = machine.run()
        except RefusalError as error:
            self.refusals.append(error.fault)
            self._survey(data)
            return
        self.loads = not machine.lenient
        self._set_root(root)

    def _survey(self, data: bytes) -> None:
        """Names also the globals that stand behind what the walk refused."""
        for name in named_globals(data):
            self.names.setdefault(name, name in self.allowed)

    def _set_root(self, root: object) -> None:
        try:
            check_tree(root)
        except RefusalError as error:
            self.faults.append(error.fault)
        else:
            self.root = root

    def _read_stream(self, *, verify: bool) -> Checkpoint:
        legacy = Legacy(self.source, self.allowed, self.names, verify=verify)
        form: Literal["legacy", "unknown"] = "unknown"
        try:
            form = "legacy" if is_legacy(self.source) else "unknown"
            read_legacy(legacy)
            self.loads = legacy.loads
        except RefusalError as error:
            self.refusals.append(error.fault)
        self.faults += legacy.faults
        if legacy.root is not MISSING:
            self._set_root(legacy.root)
        return self._finish(form, None)

    def _finish(
        self,
        form: Literal["zip", "legacy", "unknown"],
        has_crc: bool | None,
    ) -> Checkpoint:
        disallowed = tuple(name for name, fine in self.names.items() if not fine)
        if disallowed:
            names = ", ".join(shown(name)[1:-1] for name in disallowed[:_NAMES_SHOWN])
            more = len(disallowed) - _NAMES_SHOWN
            names += f" and {more} more" if more > 0 else ""
            self.refusals.insert(
                0, Fault(FaultKind.UNSAFE, f"the pickle names what is not allowed: {names}")
            )
        return Checkpoint(
            path=self.path,
            size=self.source.size,
            format=form,
            faults=(*self.faults, *self.refusals),
            globals=tuple(self.names),
            disallowed=disallowed,
            has_crc=has_crc,
            root=self.root,
            tensor_bytes=addressed_bytes(_tensors_in(self.root)),
            torch_loads=self.loads,
            identity=self.source.identity,
        )


def _not_a_checkpoint(message: str) -> RefusalError:
    return RefusalError(FaultKind.NOT_A_CHECKPOINT, message)


def _check_version(data: bytes) -> None:
    """Checks the version as C++'s `stoull` reads it."""
    text = data.lstrip(b" \t\n\v\f\r")
    sign = text[:1] if text[:1] in {b"+", b"-"} else b""
    digits = text[len(sign) :]
    count = next((at for at, code in enumerate(digits) if not 48 <= code <= 57), len(digits))
    value = int(digits[: min(count, 40)] or b"-1")
    if sign == b"-":
        value = -value
    if value not in _VERSIONS:
        raise refused(f"the archive's version {shown(data[:40])} is none that torch reads")


def _read_byteorder(archive: Archive) -> bool:
    """Returns whether torch swaps bytes on loading; checks the small records beside it."""
    version = archive.find(".format_version")
    if version is not None:
        archive.extract(version, 1 << 16)
    swapped = False
    index = archive.find("byteorder")
    if index is not None:
        order = archive.extract(index, 1 << 16)
        if order not in {b"little", b"big"}:
            raise refused(f"the archive's byte order is {shown(order)}")
        swapped = order == b"big"
    index = archive.find(".storage_alignment")
    if index is not None:
        text = archive.extract(index, 1 << 16)
        try:
            int(text)
        except ValueError:
            raise refused(f"the archive's storage alignment is {shown(text)}") from None
    return swapped


class _Storages:
    """The storages of an archive, by the persistent ids in its pickle."""

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
        location = location_name(location)
        if type(key) not in {str, int, float, bool, bytes, type(None)}:
            raise refused("a storage's key is no text")
        found = self.loaded.get(key)
        if found is not None:
            return found
        if not isinstance(numel, int) or not 0 <= numel * ITEMSIZE[dtype] <= _UINT64_MAX:
            raise refused(f"a storage has {shown(str(numel)[:40])} elements")
        storage = self._find(str(key), dtype, int(numel), location)
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


def storage_dtype(kind: object) -> str:
    """Returns the dtype of what a persistent id calls a storage's type.

    Raises:
        RefusalError: it has none.
    """
    if isinstance(kind, (Tensor, Storage)):
        return kind.dtype
    if isinstance(kind, Opaque) and kind.args is None and kind.name in STORAGE_TYPES:
        return STORAGE_TYPES[kind.name]
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


def _tensors_in(root: object) -> list[Tensor]:
    found: list[Tensor] = []
    pending = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, Opaque) and item.args:
            pending.extend(item.args)
    return found
