"""LOAD: that each checkpoint loads as users load it, and holds what a resume needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from conformance.checks.finding import (
    Outcome,
    and_more,
    failed,
    failed_files,
    first_few,
    not_applicable,
    passed,
    unobservable,
)
from conformance.convention.rewards import same_reward
from conformance.convention.safe_globals import ADDED_SINCE, NUMPY_DATA, SINCE
from conformance.evidence.checkpoint import (
    Checkpoint,
    FaultKind,
    Opaque,
    Tensor,
    kept_by,
    optimizer_problem,
)
from conformance.run.files import CheckpointFile, number

if TYPE_CHECKING:
    from conformance.evidence.checkpoint import Fault
    from conformance.run.subject import Subject

_SLACK = 1.25
_OVERHEAD = 64 * 1024
_PREFIXES = ("module.", "_orig_mod.")
_FUNCTIONAL = "torch.nn.functional."
_MOST_TENSORS = 20  # of a state_dict, in evidence
_NOT_LOADABLE = (FaultKind.REFUSED, FaultKind.TOO_LARGE, FaultKind.NOT_A_CHECKPOINT)


def loads_with_weights_only(subject: Subject) -> Outcome:
    """LOAD-001."""
    wrong: dict[str, str] = {}
    causes: dict[str, str] = {}
    looked = 0
    for file in subject.files.checkpoints:
        found = _distributed(subject, file)
        if found is None and _is_whole(file):
            looked += 1
            found = _refusal(file)
        if found is not None:
            causes[file.path], wrong[file.path] = found
    if wrong:
        return failed_files(wrong, " does not load with weights_only=True:", causes)
    judged = sum(not unsafe_globals(file) for file in _whole(subject))
    if not looked:
        return _nothing_read(subject)
    if not judged:
        return not_applicable("each checkpoint names a forbidden global (SAFETY-001 judges)")
    return passed(f"{judged} checkpoint(s) load with weights_only=True", checkpoints=judged)


def _refusal(file: CheckpointFile) -> tuple[str, str] | None:
    """Why torch refuses the file, where the reason is not SAFETY-001's or INTEGRITY-001's.

    The cause, in the words of the rule's remedies, and the reason.
    """
    contents = file.contents
    if contents is None or unsafe_globals(file):
        return None
    return _refused_global(contents) or next(
        (found for fault in contents.faults if (found := _refused_file(fault, contents))), None
    )


def _refused_global(contents: Checkpoint) -> tuple[str, str] | None:
    """What the pickle names that torch does not let through, and that runs nothing."""
    if contents.modules:
        classes = first_few(contents.modules)
        return "module", f"it holds a whole module, pickled by its class: {classes}"
    newer = [name for name in contents.disallowed if name in SINCE]
    if newer:
        version = max((SINCE[name] for name in newer), key=_numbers)
        return "newer-torch", f"it needs torch >= {version} ({', '.join(newer)})"
    data_only = [name for name in contents.disallowed if name in NUMPY_DATA]
    if data_only:
        needed = ", ".join(data_only)
        return "", f"it needs {needed}, NumPy data that torch does not allow by default"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _refused_file(fault: Fault, contents: Checkpoint) -> tuple[str, str] | None:
    """What the file is, or holds, that torch does not load."""
    if fault.kind is FaultKind.TOO_LARGE:
        asks = "it asks for more than any checkpoint needs and was not followed"
        return "too-large", f"{asks}: {fault.message}"
    if fault.kind is FaultKind.NOT_A_CHECKPOINT:
        known = "unknown" if fault.what is None else fault.what.value
        return known, f"it is {fault.message}"
    if fault.kind is FaultKind.REFUSED:
        return "refused", fault.message
    if fault.kind is FaultKind.DAMAGED and contents.format == "legacy":
        return "torn", fault.message
    return None


def _distributed(subject: Subject, file: CheckpointFile) -> tuple[str, str] | None:
    """Whether a folder of torch's distributed checkpoint bears the checkpoint's name."""
    parts = subject.folder.distributed_parts(file.entry)
    if parts is None:
        return None
    return "distributed", f"it is a folder of torch's distributed checkpoint (DCP), {parts} part(s)"


def unsafe_globals(file: CheckpointFile) -> tuple[str, ...]:
    """The globals that the file names and that are SAFETY-001's matter.

    Not NumPy's data, what a newer torch allows, and the classes of a whole module: these are
    LOAD-001's.
    """
    contents = file.contents
    if contents is None:
        return ()
    harmless = NUMPY_DATA | ADDED_SINCE | set(contents.modules)
    return tuple(
        name
        for name in contents.disallowed
        if name not in harmless and not (contents.modules and _is_functional(name))
    )


def _is_functional(name: str) -> bool:
    """Whether a global is one of torch's plain functions, as modules keep their activations."""
    return name.startswith(_FUNCTIONAL) and name.removeprefix(_FUNCTIONAL).isidentifier()


def holds_a_state_dict(subject: Subject) -> Outcome:
    """LOAD-002."""
    wrong: dict[str, str] = {}
    looked = 0
    for file in _parsed(subject):
        looked += 1
        reason = _no_state_dict(file)
        if reason is not None:
            wrong[file.path] = reason
    if wrong:
        return failed_files(wrong)
    if not looked:
        return _nothing_read(subject)
    keys = " and ".join(subject.profile.models)
    return passed(f"{looked} checkpoint(s) hold a state_dict under {keys}", checkpoints=looked)


def _no_state_dict(file: CheckpointFile) -> str | None:
    root = None if file.contents is None else file.contents.root
    for name in file.models:
        if not isinstance(root, Mapping):
            return f"it holds a {_kind(root)}, no dict with a state_dict under {name!a}"
        reason = _no_state_dict_under(name, root)
        if reason is not None:
            return reason
    return None


def _no_state_dict_under(name: str, root: Mapping[object, object]) -> str | None:
    if name not in root:
        if root and all(isinstance(value, Tensor) for value in root.values()):
            return f"the state_dict stands at the top level, not under {name!a}"
        return f"it has no key {name!a}"
    model = root[name]
    if not isinstance(model, Mapping):
        return f"{name!a} is a {_kind(model)}, no state_dict"
    if not model:
        return f"the state_dict under {name!a} is empty"
    for key, value in model.items():
        if not isinstance(key, str):
            return f"the state_dict under {name!a} has the key {key!a}, which is no text"
        if not isinstance(value, Tensor):
            return f"{name}[{key!a}] is a {_kind(value)}, no tensor"
    return None


def _kind(value: object) -> str:
    return type(value).__name__


def session_agrees(subject: Subject) -> Outcome:
    """LOAD-003."""
    groups: dict[int, list[CheckpointFile]] = {}
    compared = 0
    for file in _parsed(subject):
        group = _session_of(subject, file)
        if file.model is not None and group is not None:
            groups.setdefault(group, []).append(file)
    for files in groups.values():
        signatures = {file: _signature(file) for file in files}
        usual = Counter(signatures.values()).most_common(1)[0][0]
        odd = [file for file in files if signatures[file] != usual]
        if odd:
            difference = _difference(signatures[odd[0]], usual)
            return failed(
                f"{odd[0].path!a} differs from the other checkpoints of its session: {difference}",
                [file.path for file in odd],
                file=odd[0].path,
                extra=_as_listed(signatures[odd[0]] - usual),
                lacking=_as_listed(usual - signatures[odd[0]]),
            )
        compared += len(files) if len(files) > 1 else 0
    if not compared:
        return not_applicable("no two checkpoints of one session to compare")
    return passed(f"{compared} checkpoints agree with their session's", checkpoints=compared)


_Signature = frozenset[tuple[str, tuple[int, ...], str]]


def _signature(file: CheckpointFile) -> _Signature:
    model = file.model or {}
    return frozenset((key, tensor.shape, tensor.dtype) for key, tensor in model.items())


def _difference(odd: _Signature, usual: _Signature) -> str:
    extra, lacking = sorted(odd - usual), sorted(usual - odd)
    parts = []
    if extra:
        key, shape, dtype = extra[0]
        parts.append(f"it has {key!a} as {dtype} {list(shape)}")
    if lacking:
        key, shape, dtype = lacking[0]
        parts.append(f"they have {key!a} as {dtype} {list(shape)}")
    return "; ".join(parts)


def _as_listed(part: _Signature) -> list[dict[str, object]]:
    """The first tensors of a part of a signature, as evidence holds them."""
    listed = sorted(part)[:_MOST_TENSORS]
    return [{"key": key, "shape": list(shape), "dtype": dtype} for key, shape, dtype in listed]


def _session_of(subject: Subject, file: CheckpointFile) -> int | None:
    """The session that wrote the file; None where that cannot be told."""
    sessions = subject.history.sessions
    if len(sessions) <= 1:
        return 0
    reward = file.watermark if file is subject.best else file.name.reward
    found = {
        session.index
        for session in sessions
        for epoch in file.epochs
        if reward is not None
        and epoch in session.rewards
        and same_reward(session.rewards[epoch], reward)
    }
    return found.pop() if len(found) == 1 else None


def model_accepts(subject: Subject) -> Outcome:
    """LOAD-004."""
    if subject.options.model is None:
        return not_applicable("no model was given (--model)")
    files = [file for file in _parsed(subject) if file.model is not None and _refusal(file) is None]
    files = [file for file in files if not unsafe_globals(file)]
    if not files:
        return unobservable("no checkpoint with a loadable state_dict")
    wrong = {}
    for file in files:
        reason = _load_into(subject.options.model, file, subject.profile.allowed_globals)
        if reason is not None:
            wrong[file.path] = reason
    if wrong:
        return failed_files(wrong)
    return passed(f"the model accepts {len(files)} checkpoint(s)", checkpoints=len(files))


def _load_into(
    build: Callable[[], Any], file: CheckpointFile, allowed: frozenset[str]
) -> str | None:
    """What the model says against the file's state_dict; None where it takes it."""
    from conformance.checks.model import strict_load_error  # noqa: PLC0415 - it imports torch

    return strict_load_error(build, file.entry.path, allowed)


def no_wrapper_prefix(subject: Subject) -> Outcome:
    """LOAD-005."""
    return _for_each_model(
        subject,
        lambda file: next((key for key in file.model or {} if _is_wrapped(key)), None),
        "keys carry a wrapper's prefix",
        "keys carry no wrapper's prefix",
    )


def _is_wrapped(key: str) -> bool:
    return key.startswith(_PREFIXES) or "._orig_mod." in key


def no_nan(subject: Subject) -> Outcome:
    """LOAD-006."""
    return _for_each_model(
        subject,
        lambda file: next((key for key, bad in file.non_finite.items() if bad.nan), None),
        "a tensor under model holds a NaN",
        "no tensor under model holds a NaN",
    )


def no_infinity(subject: Subject) -> Outcome:
    """LOAD-009."""
    return _for_each_model(
        subject,
        lambda file: next((key for key, bad in file.non_finite.items() if bad.inf), None),
        "a tensor under model holds an infinity",
        "no tensor under model holds an infinity",
    )


def _for_each_model(
    subject: Subject, find: Callable[[CheckpointFile], str | None], bad: str, good: str
) -> Outcome:
    """Judge each state_dict by the first key that `find` objects to."""
    files = [file for file in _parsed(subject) if file.model is not None]
    if not files:
        return _nothing_read(subject)
    wrong = {file.path: key for file in files if (key := find(file)) is not None}
    if wrong:
        path, key = next(iter(wrong.items()))
        return failed(f"{bad}: {key!a} in {path!a}" + and_more(wrong), wrong, keys=wrong)
    return passed(f"{good} ({len(files)} checkpoint(s))", checkpoints=len(files))


def no_dead_weight(subject: Subject) -> Outcome:
    """LOAD-007."""
    files = [
        file
        for file in _parsed(subject)
        if file.contents is not None and not _refusal(file) and not unsafe_globals(file)
    ]
    if not files:
        return _nothing_read(subject)
    wrong = {}
    for file in files:
        contents = file.contents
        if contents is not None and contents.size > _SLACK * contents.tensor_bytes + _OVERHEAD:
            wrong[file.path] = {"size": contents.size, "tensor_bytes": contents.tensor_bytes}
    if wrong:
        path, sizes = next(iter(wrong.items()))
        return failed(
            f"{path!a} is {sizes['size']} bytes for {sizes['tensor_bytes']} bytes of tensors"
            + and_more(wrong),
            wrong,
            sizes=wrong,
        )
    return passed(f"{len(files)} checkpoint(s) are no larger than their tensors need")


def holds_what_a_resume_needs(subject: Subject) -> Outcome:
    """LOAD-008."""
    required = subject.profile.resume_keys
    files = [
        file
        for file in _parsed(subject)
        if file.values is not None and _no_state_dict(file) is None
    ]
    if not files:
        return _nothing_read(subject)
    wrong = {file.path: reason for file in files if (reason := _lacks(file, required)) is not None}
    if wrong:
        return failed_files(
            {path: reason for path, (_, reason) in wrong.items()},
            causes={path: cause for path, (cause, _) in wrong.items()},
        )
    return passed(f"{len(files)} checkpoint(s) hold {', '.join(required)}", checkpoints=len(files))


def _lacks(file: CheckpointFile, required: Iterable[str]) -> tuple[str, str] | None:
    """What a resume lacks: the cause, in the words of the rule's remedies, and the reason."""
    values, contents = file.values or {}, file.contents
    missing = [key for key in required if key not in values]
    if missing:
        return "", f"it lacks {', '.join(missing)}"
    if contents is None:
        return None
    if file.epoch is None and "epoch" in required:
        kind = _kind(values["epoch"])
        return "", f"its epoch is no whole number below 10^18 (it is a {kind})"
    watermark = values.get("last_mean_rewards")
    if "last_mean_rewards" in required and not _may_be_number(watermark, contents):
        return "", f"its last_mean_rewards is a {_kind(watermark)}, no number"
    for key in required:
        pickled = isinstance(values[key], Opaque) and unsafe_globals(file)  # SAFETY-001's matter
        problem = optimizer_problem(values[key]) if key.endswith("optimizer") else None
        if problem is not None and not pickled:
            return "optimizer", f"its {key} {problem}"
    return None


def optimizer_has_stepped(subject: Subject) -> Outcome:
    """LOAD-010."""
    files = [file for file in _parsed(subject) if file.optimizers]
    if not _parsed(subject):
        return _nothing_read(subject)
    if not files:
        return not_applicable(
            "no checkpoint holds the state_dict of an optimizer (LOAD-008 judges)"
        )
    wrong: dict[str, str] = {}
    causes: dict[str, str] = {}
    for file in files:
        if file.optimizer_nans:
            causes[file.path] = "nan"
            wrong[file.path] = f"{file.optimizer_nans[0]} holds a NaN"
        elif (found := _unstepped(file)) is not None:
            causes[file.path], wrong[file.path] = "", found
    if wrong:
        return failed_files(wrong, causes=causes)
    return passed(
        f"the optimizers of {len(files)} checkpoint(s) are as after a step", checkpoints=len(files)
    )


def _unstepped(file: CheckpointFile) -> str | None:
    """Which optimizer keeps nothing although its kind does from its first step on."""
    epoch = file.epoch if file.epoch is not None else file.name.epoch
    if epoch is None or epoch < 1:
        return None
    for key, optimizer in file.optimizers.items():
        setting = kept_by(optimizer)
        if setting and not optimizer["state"]:
            return (
                f"the state of its {key} is empty in epoch {epoch}, and an optimizer with"
                f" {setting} keeps one from its first step on"
            )
    return None


def records_are_stored(subject: Subject) -> Outcome:
    """LOAD-011."""
    archives = [
        file for file in _parsed(subject) if file.contents and file.contents.format == "zip"
    ]
    if not _parsed(subject):
        return _nothing_read(subject)
    if not archives:
        return not_applicable("the run holds no archive")
    wrong = {
        file.path: f"its record(s) {first_few(file.contents.compressed)} are compressed"
        for file in archives
        if file.contents is not None and file.contents.compressed
    }
    if wrong:
        return failed_files(wrong)
    return passed(
        f"{len(archives)} archive(s) store their records as they are", archives=len(archives)
    )


def _may_be_number(value: object, contents: Checkpoint) -> bool:
    """Whether a stored value is a number, or a NumPy array, whose shape is not read.

    SAC's watermark is an array of no dimension.
    """
    if isinstance(value, Opaque) and value.name == "numpy.ndarray":
        return True
    return number(value, contents) is not None


def _whole(subject: Subject) -> list[CheckpointFile]:
    """The checkpoints for torch to read: not those whose damage is INTEGRITY-001's matter."""
    return [file for file in subject.files.checkpoints if _is_whole(file)]


def _is_whole(file: CheckpointFile) -> bool:
    return file.contents is not None and not _has_other_judge(file.contents)


def _has_other_judge(contents: Checkpoint) -> bool:
    kinds = {fault.kind for fault in contents.faults}
    damaged = FaultKind.DAMAGED in kinds and contents.format != "legacy"
    return damaged or FaultKind.UNREADABLE in kinds


def _parsed(subject: Subject) -> list[CheckpointFile]:
    """The whole checkpoints whose pickle could be followed to its end.

    One that names a forbidden global counts where its `model` could be read all the same.
    """
    return [
        file
        for file in subject.files.readable
        if file.contents is not None
        and (file.contents.torch_loads or (file.model is not None and not _has_refusal(file)))
    ]


def _has_refusal(file: CheckpointFile) -> bool:
    return file.contents is None or any(
        fault.kind in _NOT_LOADABLE for fault in file.contents.faults
    )


def _nothing_read(subject: Subject) -> Outcome:
    if not subject.files.checkpoints:
        return not_applicable("the run holds no checkpoint")
    if _parsed(subject):
        return not_applicable("no checkpoint holds a state_dict (LOAD-002 judges)")
    return unobservable("no checkpoint could be read to its end (see the rules that failed)")


CHECKS = {
    "LOAD-001": loads_with_weights_only,
    "LOAD-002": holds_a_state_dict,
    "LOAD-003": session_agrees,
    "LOAD-004": model_accepts,
    "LOAD-005": no_wrapper_prefix,
    "LOAD-006": no_nan,
    "LOAD-007": no_dead_weight,
    "LOAD-008": holds_what_a_resume_needs,
    "LOAD-009": no_infinity,
    "LOAD-010": optimizer_has_stepped,
    "LOAD-011": records_are_stored,
}
