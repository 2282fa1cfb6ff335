"""Reads one file into a `Checkpoint`, whatever it holds, without running any of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from conformance.convention.safe_globals import NUMPY_DATA, TORCH_DEFAULT
from conformance.evidence.checkpoint.archive import (
    LOCAL_MAGIC,
    NAME_SHOWN,
    Archive,
    check_whole,
    read_archive,
)
from conformance.evidence.checkpoint.errors import RefusalError, damaged, refused, shown
from conformance.evidence.checkpoint.legacy import Legacy, classify, is_legacy
from conformance.evidence.checkpoint.opcodes import PICKLE_LIMIT, Machine, check_tree
from conformance.evidence.checkpoint.source import Source
from conformance.evidence.checkpoint.storages import ArchiveStorages
from conformance.evidence.checkpoint.survey import (
    LEGACY_PICKLES,
    is_allowed,
    module_classes,
    named_globals,
)
from conformance.evidence.checkpoint.template import Templates
from conformance.evidence.checkpoint.tensors import addressed_bytes
from conformance.evidence.checkpoint.values import (
    MISSING,
    Checkpoint,
    Fault,
    FaultKind,
    Opaque,
    Tensor,
    What,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TEMPLATES = Templates()
_NAMES_SHOWN = 10
_VERSIONS = range(1, 11)


def read_checkpoint(
    path: Path,
    *,
    allowed: frozenset[str] = TORCH_DEFAULT,
    verify: bool = True,
    look: Callable[[Checkpoint, Source], None] | None = None,
) -> Checkpoint:
    """Reads a checkpoint's structure; with `verify` also every record's CRC-32.

    Args:
        path: the file; symbolic links are followed.
        allowed: the globals that `torch.load` is told to let through.
        verify: compute every CRC-32, and report the records that have changed.
        look: what looks into the tensors' bytes while the file is open.

    Returns:
        What the file holds. Whatever is wrong with it is in `faults`; nothing is raised.
    """
    try:
        with closing(Source(path)) as source:
            checkpoint = _Reading(path, source, allowed).read(verify=verify)
            if look is not None:
                look(checkpoint, source)
            return checkpoint
    except RefusalError as error:
        return Checkpoint(path, 0, "unknown", (error.fault,))
    except (MemoryError, RecursionError):
        fault = Fault(FaultKind.TOO_LARGE, "the file asks for more memory than there is")
        return Checkpoint(path, 0, "unknown", (fault,))


def narrowed(checkpoint: Checkpoint, allowed: frozenset[str]) -> Checkpoint | None:
    """Returns what the same file is where fewer globals are allowed than it was read with.

    None where only another reading tells: something else is wrong with it too, or what is allowed
    no more is not NumPy's data alone.
    """
    disallowed = tuple(name for name in checkpoint.globals if not is_allowed(name, allowed))
    if disallowed == checkpoint.disallowed:
        return checkpoint
    if checkpoint.faults or not NUMPY_DATA.issuperset(disallowed):
        return None
    faults = (_unsafe(disallowed),)
    return replace(checkpoint, faults=faults, disallowed=disallowed, torch_loads=False)


def looks_like_checkpoint(path: Path) -> bool:
    """Tells a checkpoint by its content, whatever its name: an archive with `data.pkl`, or legacy.

    Returns False for whatever cannot be read.
    """
    try:
        with closing(Source(path)) as source:
            if source.read(0, 4) == LOCAL_MAGIC:
                return read_archive(source).find("data.pkl") is not None
            return is_legacy(source.read(0, 32))
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
        self.pickle = b""
        self.compressed: tuple[str, ...] = ()

    def read(self, *, verify: bool) -> Checkpoint:
        source = self.source
        if source.size == 0:
            self.faults.append(Fault(FaultKind.EMPTY, "the file is empty"))
            return self._finish("unknown", None)
        if source.read(0, 4) == LOCAL_MAGIC:
            known = _TEMPLATES.find(self.path, source, self.allowed, verify=verify)
            return known or self._read_zip(verify=verify)
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
        self.compressed = archive.compressed
        storages = ArchiveStorages(archive)
        try:
            self._check_format(archive)
            storages.swapped = _read_byteorder(archive)
            index = archive.find("data.pkl")
            if index is None:
                raise _without_pickle(archive)
            data = archive.extract(index, PICKLE_LIMIT)
            self._walk(data, storages)
        except RefusalError as error:
            self.refusals.append(error.fault)
        self.faults += archive.faults
        checkpoint = self._finish("zip", archive.has_crc)
        if checkpoint.whole and checkpoint.has_crc and checkpoint.root is not MISSING:
            _TEMPLATES.learn(checkpoint, archive, storages, self.allowed)
        return checkpoint

    def _check_format(self, archive: Archive) -> None:
        """Checks what torch's reader checks before it looks at the pickle."""
        identity = archive.find(".data/serialization_id")
        if identity is not None:
            _check_text(archive.extract(identity, 1 << 16), "the serialization id")
        index = archive.find(".data/version")
        if index is None:
            index = archive.find("version")
        if index is None:
            if archive.find("data.pkl") is None:
                raise _without_pickle(archive)
            raise damaged("the archive has no version record")
        _check_version(archive.extract(index, 1 << 16))
        for record in archive.records:
            shown_name = record.name[len(archive.prefix) : NAME_SHOWN].split(b"\0", 1)[0]
            if shown_name == b"constants.pkl":
                raise _not_a_checkpoint(
                    "a TorchScript archive (torch.jit.save), which weights_only refuses",
                    What.TORCHSCRIPT,
                )
            if not shown_name.isascii():
                _check_text(shown_name, f"the name of record {shown(shown_name)}")

    def _walk(self, data: bytes, storages: ArchiveStorages) -> None:
        self.pickle = data
        machine = Machine(data, self.allowed, storages.load, self.names)
        try:
            root, _ = machine.run()
        except RefusalError as error:
            self.refusals.append(error.fault)
            self._survey(data)
            return
        self.loads = not machine.lenient
        self._set_root(root)

    def _survey(self, data: bytes, pickles: int = 1) -> None:
        """Names also the globals that stand behind what the walk refused."""
        for name in named_globals(data, pickles=pickles):
            self.names.setdefault(name, is_allowed(name, self.allowed))

    def _set_root(self, root: object) -> None:
        try:
            check_tree(root)
        except RefusalError as error:
            self.faults.append(error.fault)
        else:
            self.root = root

    def _read_stream(self, *, verify: bool) -> Checkpoint:
        """Reads what does not begin as an archive: the legacy format, or nothing of torch's."""
        head = self.source.read(0, PICKLE_LIMIT)
        self.pickle = head
        if not is_legacy(head):
            self.refusals.append(classify(self.source).fault)
            self._survey_stream(head)
            return self._finish("unknown", None)
        legacy = Legacy(self.source, self.allowed, self.names, verify)
        try:
            legacy.read()
            self.loads = legacy.loads
        except RefusalError as error:
            self.refusals.append(error.fault)
            self._survey(legacy.data, LEGACY_PICKLES)
        self.faults += legacy.faults
        if legacy.root is not MISSING:
            self._set_root(legacy.root)
        return self._finish("legacy", None)

    def _survey_stream(self, head: bytes) -> None:
        """Names what a plain pickle would import, if the file is one."""
        for name in named_globals(head, complete=head[:1] != b"\x80"):
            self.names.setdefault(name, is_allowed(name, self.allowed))

    def _finish(
        self,
        form: Literal["zip", "legacy", "unknown"],
        has_crc: bool | None,
    ) -> Checkpoint:
        disallowed = tuple(name for name, fine in self.names.items() if not fine)
        if disallowed:
            self.refusals.insert(0, _unsafe(disallowed))
        return Checkpoint(
            path=self.path,
            size=self.source.size,
            format=form,
            # What a medium refuses, it refuses each part that asks for it.
            faults=tuple(dict.fromkeys((*self.faults, *self.refusals))),
            globals=tuple(self.names),
            disallowed=disallowed,
            has_crc=has_crc,
            modules=() if NUMPY_DATA.issuperset(disallowed) else module_classes(self.pickle),
            compressed=self.compressed,
            root=self.root,
            tensor_bytes=addressed_bytes(_tensors_in(self.root)),
            torch_loads=self.loads,
            identity=self.source.identity,
        )


def _unsafe(disallowed: tuple[str, ...]) -> Fault:
    names = ", ".join(shown(name)[1:-1] for name in disallowed[:_NAMES_SHOWN])
    more = len(disallowed) - _NAMES_SHOWN
    names += f" and {more} more" if more > 0 else ""
    return Fault(FaultKind.UNSAFE, f"the pickle names what is not allowed: {names}")


def _not_a_checkpoint(message: str, what: What = What.ZIP) -> RefusalError:
    return RefusalError(FaultKind.NOT_A_CHECKPOINT, message, what)


def _without_pickle(archive: Archive) -> RefusalError:
    """What an archive is that has records of torch's, and no data.pkl."""
    if archive.find("archive_format") is not None:
        return _not_a_checkpoint("a program that torch.export saved", What.OTHER_FRAMEWORK)
    return _not_a_checkpoint("an archive without data.pkl, nothing that torch.save wrote")


def _check_text(data: bytes, what: str) -> None:
    """Makes sure that torch can turn this into a Python text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        raise damaged(f"{what} is no UTF-8") from None


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
