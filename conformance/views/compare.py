"""Compares two runs: what a consumer that reads the first one would trip over in the second.

Made for a fork and its upstream that played the same scenario. Files are matched by role and epoch,
never by raw name, and nothing that is read is executed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.checks.finding import and_more, first_few
from conformance.checks.names import unsafe_part
from conformance.convention.profile import Kind
from conformance.convention.rewards import reward_text, same_reward
from conformance.convention.safe_globals import TORCH_DEFAULT
from conformance.evidence.checkpoint import MISSING, Opaque, Scalar, Storage, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject

_MOST_SHOWN = 4
_WRAPPERS = ("module.", "_orig_mod.")
_OPTIMIZER = "optimizer"
_SETTING = "a setting"
_STEP = "step"
_CPU = "cpu"
# What torch.optim puts into a group that lacks it, in __setstate__; with `...` what changes no
# step, or is the same whatever was stored.
_FILLED_IN = {
    **dict.fromkeys(
        ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"), ...
    ),
    **dict.fromkeys(("amsgrad", "maximize", "nesterov", "centered"), False),
}
_NUMBERED = (Kind.PERIODIC, Kind.FINAL, Kind.WIN)
_Place = tuple[Kind, "int | None"]


class Severity(str, Enum):
    """What a difference does to a consumer of the first run, worst first."""

    BREAKS = "breaks"  # it cannot find, load or resume what it needs
    MISLEADS = "misleads"  # it goes on with something else than it expects
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two runs, A and B.

    Attributes:
        severity: what it does to a consumer of A.
        topic: what differs: files, names, epochs, rewards, contents, model, optimizer, globals,
            logs.
        message: how it differs.
        consequence: what a consumer of A trips over in B; empty where nothing.
    """

    severity: Severity
    topic: str
    message: str
    consequence: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """A checkpoint that was not compared: it could not be read, or its name says no place.

    Attributes:
        run: whose it is, A or B.
        path: from that run's folder.
        why: what it is, or what is wrong with it.
    """

    run: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between two runs, worst first, and how much was compared.

    Attributes:
        differences: worst first.
        compared: how many checkpoints of A were read and compared with their like in B.
        unread: the checkpoints of both that were not compared for a fault of their own.
        nothing: why no checkpoint was compared; empty where some were.
    """

    differences: tuple[Difference, ...]
    compared: int
    unread: tuple[Unread, ...] = ()
    nothing: str = ""

    @property
    def trips(self) -> bool:
        """Whether a consumer of A trips over something in B."""
        return any(found.severity is not Severity.HARMLESS for found in self.differences)


def compare(first: Subject, second: Subject) -> Comparison:
    """Return how the run B (`second`) differs from the run A (`first`)."""
    a, b = _Side(first), _Side(second)
    apart = _apart(a, b)
    found = [
        *_names(a, b),
        *_trips_names(a, b),
        *_files(a, b),
        *_stored_epochs(a, b, apart),
        *_rewards(a, b, apart),
        *_loading(a, b),
        *_contents(a, b),
        *_devices(a, b),
        *_nans(a, b),
        *_logs(a, b),
    ]
    order = list(Severity)
    found.sort(key=lambda difference: order.index(difference.severity))
    compared = len(_read_pairs(a, b))
    unread = (*_unread("A", a), *_unread("B", b))
    return Comparison(tuple(found), compared, unread, "" if compared else _why_nothing(a, b))


class _Side:
    """One of the two runs, its checkpoints by role and epoch."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def places(self) -> Mapping[_Place, CheckpointFile]:
        """The checkpoints that a consumer finds, by role and epoch; of equals the newest."""
        found: dict[_Place, CheckpointFile] = {}
        for file in sorted(self.subject.files.checkpoints, key=lambda file: file.entry.modified):
            if file.name.kind is not None and not file.misplaced:
                found[file.name.kind, file.name.epoch] = file
        best = self.subject.best
        if best is not None and not best.misplaced:
            found.setdefault((Kind.BEST, None), best)
        return found

    def of(self, kind: Kind) -> list[int]:
        """The epochs of one role, sorted."""
        return sorted(epoch for found, epoch in self.places if found is kind and epoch is not None)

    @cached_property
    def spellings(self) -> Mapping[Kind, str]:
        """How the names of each role are spelled, with fields in the place of what varies."""
        found: dict[Kind, Counter[str]] = {}
        for (kind, _), file in self.places.items():
            found.setdefault(kind, Counter())[_spelled(file, self.subject.given.name)] += 1
        return {kind: counted.most_common(1)[0][0] for kind, counted in found.items()}


def _spelled(file: CheckpointFile, name: str) -> str:
    """A file's name with `{name}`, `{epoch}` and `{reward}` for what they are."""
    rest, tail = file.entry.name, ""
    for text, field in ((file.name.reward_text, "{reward}"), (file.name.epoch_text, "{epoch}")):
        before, found, after = rest.rpartition(text) if text else ("", "", "")
        if found:
            rest, tail = before, field + after + tail
    return rest.replace(name, "{name}", 1) + tail if name else rest + tail


def _pairs(a: _Side, b: _Side) -> list[tuple[CheckpointFile, CheckpointFile]]:
    """The checkpoints that stand in the same place in both."""
    return [(file, b.places[place]) for place, file in a.places.items() if place in b.places]


def _is_read(file: CheckpointFile) -> bool:
    """Whether a checkpoint could be read to its end, whatever it then holds."""
    return file.contents is not None and not file.damaged and file.contents.root is not MISSING


def _read_pairs(a: _Side, b: _Side) -> list[tuple[CheckpointFile, CheckpointFile]]:
    """The pairs of which both could be read: only these are compared by what they hold."""
    return [pair for pair in _pairs(a, b) if _is_read(pair[0]) and _is_read(pair[1])]


def _unread(run: str, side: _Side) -> Iterator[Unread]:
    placed = set(side.places.values())
    for file in side.subject.files.checkpoints:
        if not _is_read(file):
            yield Unread(run, file.path, _fault(file))
        elif file.name.kind is None and file not in placed:
            profile = side.subject.profile.name
            yield Unread(run, file.path, f"its name is none of profile {profile}")


def _fault(file: CheckpointFile) -> str:
    """Why a checkpoint could not be read."""
    if file.contents is None:
        return "no regular file with bytes in it"
    return next((fault.message for fault in file.contents.faults), "it holds no dict")


def _why_nothing(a: _Side, b: _Side) -> str:
    for letter, side in (("A", a), ("B", b)):
        if not side.places:
            return f"{letter} holds no checkpoint that profile {side.subject.profile.name} names"
    if not _pairs(a, b):
        return "no checkpoint of A has its like, by role and epoch, in B"
    read = [[_is_read(file) for file in pair] for pair in _pairs(a, b)]
    for letter, index in (("A", 0), ("B", 1)):
        if not any(pair[index] for pair in read):
            return f"no checkpoint of {letter} with its like in the other run can be read"
    return "of each checkpoint and its like one cannot be read"


# --- what a consumer finds --------------------------------------------------------------------


def _names(a: _Side, b: _Side) -> Iterator[Difference]:
    for kind, spelling in a.spellings.items():
        other = b.spellings.get(kind, spelling)
        if other != spelling:
            yield Difference(
                Severity.BREAKS,
                "names",
                f"{kind.value}: {spelling!a} in A, {other!a} in B",
                "what looks for the names of A finds none of these",
            )
    if a.subject.profile.checkpoints != b.subject.profile.checkpoints:
        folders = a.subject.files.place, b.subject.files.place
        yield Difference(
            Severity.BREAKS,
            "names",
            f"checkpoints stand in {folders[0]} in A, in {folders[1]} in B",
            "what looks into the folder of A finds nothing",
        )
    misspelled = [
        file.entry.name for file in b.subject.files.misspelled if file is not b.subject.best
    ]
    if misspelled and not a.subject.files.misspelled:
        yield Difference(
            Severity.BREAKS,
            "names",
            f"{len(misspelled)} checkpoint(s) of B are in no dialect: {_shown(misspelled)}",
            "what parses names fails on them or passes them over",
        )


def _trips_names(a: _Side, b: _Side) -> Iterator[Difference]:
    """Names of B that trip what takes the names of A as they come."""
    unsafe = [file.entry.name for file in b.places.values() if unsafe_part(file.entry.name)]
    if unsafe and not any(unsafe_part(file.entry.name) for file in a.places.values()):
        yield Difference(
            Severity.MISLEADS,
            "names",
            f"{len(unsafe)} name(s) of B trip a shell, a glob, a Hydra override or Windows, none of"
            f" A does: {_shown(unsafe)}",
            "a glob finds them not, an override is read as something else, a copy fails",
        )
    odd = [
        file.entry.name for (kind, _), file in b.places.items() if kind in _NUMBERED and _odd(file)
    ]
    if odd and not any(kind in _NUMBERED and _odd(file) for (kind, _), file in a.places.items()):
        yield Difference(
            Severity.MISLEADS,
            "names",
            f"{len(odd)} name(s) of B tell a reward that reads as no finite number, none of A does:"
            f" {_shown(odd)}",
            "what ranks by the rewards in names fails on them, or ranks them wrongly",
        )


def _odd(file: CheckpointFile) -> bool:
    """Whether a consumer that reads the name's reward with `float` gets none, or one to fear."""
    text = file.name.reward_text
    return bool(text) and (file.name.rounds or text in ("nan", "inf", "-inf"))


def _files(a: _Side, b: _Side) -> Iterator[Difference]:
    for kind in (Kind.BEST, Kind.LATEST):
        here, there = (kind, None) in a.places, (kind, None) in b.places
        if here and not there:
            what = f"A has a {kind.value} checkpoint, B none"
            yield Difference(Severity.BREAKS, "files", what, f"there is no {kind.value} to load")
        elif there and not here:
            what = f"B has a {kind.value} checkpoint, A none"
            yield Difference(Severity.HARMLESS, "files", what)
    for kind in _NUMBERED:
        yield from _numbered(kind, a.of(kind), b.of(kind))
    ours = max((epoch for kind in _NUMBERED for epoch in a.of(kind)), default=None)
    theirs = max((epoch for kind in _NUMBERED for epoch in b.of(kind)), default=None)
    periodic = a.of(Kind.PERIODIC)[-1:] != b.of(Kind.PERIODIC)[-1:]  # told with them
    if ours is not None and theirs is not None and theirs > ours and not periodic:
        yield Difference(
            Severity.MISLEADS,
            "files",
            f"the highest epoch in a name is {ours} in A, {theirs} in B",
            "what goes on from the highest epoch takes a checkpoint of another kind",
        )
    twice = _told_twice(b)
    if twice and not _told_twice(a):
        yield Difference(
            Severity.MISLEADS,
            "files",
            f"B has several numbered checkpoints for epoch(s) {_shown(twice)}, A never",
            "what keeps one file for each epoch takes either",
        )


def _told_twice(side: _Side) -> list[int]:
    """The epochs that several numbered checkpoints tell in their names."""
    counted = Counter(epoch for kind in _NUMBERED for epoch in side.of(kind))
    return sorted(epoch for epoch, count in counted.items() if count > 1)


def _numbered(kind: Kind, here: list[int], there: list[int]) -> Iterator[Difference]:
    gone = [epoch for epoch in here if epoch not in there]
    more = [epoch for epoch in there if epoch not in here]
    if gone:
        yield Difference(
            Severity.BREAKS if not there else Severity.MISLEADS,
            "files",
            f"B lacks the {kind.value} checkpoint(s) of epoch(s) {_shown(gone)}",
            "what goes on from one of these fails, or takes another one",
        )
    if more:
        latest = bool(here) and max(more) > max(here)
        yield Difference(
            Severity.MISLEADS if latest else Severity.HARMLESS,
            "files",
            f"only B has the {kind.value} checkpoint(s) of epoch(s) {_shown(more)}",
            "the latest one is of another epoch" if latest else "",
        )


def _apart(a: _Side, b: _Side) -> int | None:
    """The first epoch for which other rewards are logged: what follows from them differs too."""
    ours, theirs = _rewards_by_epoch(a.subject), _rewards_by_epoch(b.subject)
    both = sorted({*ours} & {*theirs})
    return next((epoch for epoch in both if not _alike(ours[epoch], theirs[epoch])), None)


def _stored_epochs(a: _Side, b: _Side, apart: int | None) -> Iterator[Difference]:
    for here, there in _pairs(a, b):
        if None in (here.epoch, there.epoch) or here.epoch == there.epoch:
            continue
        follows = apart is not None and here.name.epoch is None
        yield Difference(
            Severity.HARMLESS if follows else Severity.MISLEADS,
            "epochs",
            f"{_called(here)} stores epoch {here.epoch} in A, {there.epoch} in B",
            "" if follows else "what resumes or reports counts other epochs",
        )


def _rewards(a: _Side, b: _Side, apart: int | None) -> Iterator[Difference]:
    if apart is not None:
        yield Difference(
            Severity.HARMLESS,
            "rewards",
            f"the logged rewards differ from epoch {apart} on: the runs did not play one scenario,"
            " and what follows from the rewards differs with them",
        )
    off: list[str] = []
    for here, there in _pairs(a, b):
        for what, x, y in (
            ("the name says", here.name.reward, there.name.reward),
            ("last_mean_rewards is", here.watermark, there.watermark),
        ):
            if x is not None and y is not None and not same_reward(x, y):
                off.append(f"{_called(here)}: {what} {reward_text(x)} in A, {reward_text(y)} in B")
    if off:
        yield Difference(
            Severity.HARMLESS if apart is not None else Severity.MISLEADS,
            "rewards",
            f"{off[0]}{and_more(off)}",
            "" if apart is not None else "what ranks by reward, or resumes, takes another value",
        )


def _rewards_by_epoch(subject: Subject) -> Mapping[int, tuple[float, ...]]:
    """The rewards logged for each epoch, session by session."""
    epochs = sorted({epoch for session in subject.history.sessions for epoch in session.rewards})
    return {epoch: subject.history.rewards_at(epoch) for epoch in epochs}


def _alike(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and all(map(same_reward, first, second))


# --- what a consumer loads --------------------------------------------------------------------


def _loading(a: _Side, b: _Side) -> Iterator[Difference]:
    """What B needs to be loaded and A does not, and what of it cannot be loaded at all."""
    broken = [
        there for here, there in _pairs(a, b) if here.values is not None and there.values is None
    ]
    if broken:
        why = _fault(broken[0])
        yield Difference(
            Severity.BREAKS,
            "contents",
            f"{len(broken)} checkpoint(s) of B cannot be read: {broken[0].entry.name!a}: {why}",
            "loading fails",
        )
    ours, theirs = _globals(a), _globals(b)
    new = sorted(theirs - ours)
    refused = [name for name in new if name not in TORCH_DEFAULT]
    if refused:
        yield Difference(
            Severity.BREAKS,
            "globals",
            f"B needs {_shown(refused)} to be loaded, A does not",
            "torch.load(weights_only=True) with what A needs refuses B",
        )
    elif new:
        yield Difference(Severity.HARMLESS, "globals", f"only B names {_shown(new)}")
    gone = sorted(ours - theirs)
    if gone:
        yield Difference(Severity.HARMLESS, "globals", f"only A needs {_shown(gone)}")


def _globals(side: _Side) -> set[str]:
    return {
        name
        for file in side.places.values()
        if file.contents is not None
        for name in file.contents.globals
    }


def _contents(a: _Side, b: _Side) -> Iterator[Difference]:
    """What the checkpoints hold; a difference that all of them show is told once."""
    told: dict[tuple[str, str], Difference] = {}
    for here, there in _pairs(a, b):
        if here.values is None or there.values is None:
            continue
        for difference in _values(here.values, there.values, a.subject.profile.models):
            told.setdefault((difference.topic, difference.message), difference)
    yield from told.values()


def _devices(a: _Side, b: _Side) -> Iterator[Difference]:
    """Devices that storages of B are said to lie on, and none of A is."""
    ours: set[str] = set()
    theirs: set[str] = set()
    for here, there in _read_pairs(a, b):
        ours |= _locations(here)
        theirs |= _locations(there)
    new = sorted(theirs - ours - {_CPU, ""})
    if new:
        yield Difference(
            Severity.BREAKS,
            "contents",
            f"storages of B lie on {_shown(new)}, those of A on {_shown(sorted(ours))}",
            "torch.load without map_location asks for that device, and fails where there is none",
        )
    elif theirs and not theirs & ours:
        yield Difference(
            Severity.HARMLESS,
            "contents",
            f"storages of A lie on {_shown(sorted(ours))}, those of B on {_shown(sorted(theirs))}",
        )


def _locations(file: CheckpointFile) -> set[str]:
    """The devices that a checkpoint's storages lay on when they were saved."""
    found: set[str] = set()
    pending: list[object] = [file.values]
    while pending:
        item = pending.pop()
        if isinstance(item, Tensor):
            found.add(item.storage.location)
        elif isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
    return found


def _nans(a: _Side, b: _Side) -> Iterator[Difference]:
    """NaN in weights or in an optimizer's state of B alone."""
    weights: list[str] = []
    moments: list[str] = []
    for here, there in _read_pairs(a, b):
        known = {key for key, bad in here.non_finite.items() if bad.nan}
        new = [key for key, bad in there.non_finite.items() if bad.nan and key not in known]
        if new:
            weights.append(f"{new[0]!a} of {_called(there)}")
        if there.optimizer_nans and not here.optimizer_nans:
            moments.append(f"{there.optimizer_nans[0]} of {_called(there)}")
    if weights:
        yield Difference(
            Severity.MISLEADS,
            "model",
            f"weights of B alone hold NaN: {weights[0]}{and_more(weights)}",
            "it loads, and every action or update that follows is NaN",
        )
    if moments:
        yield Difference(
            Severity.MISLEADS,
            "optimizer",
            f"the optimizer's state of B alone holds NaN: {moments[0]}{and_more(moments)}",
            "it loads, and the first step makes the weights NaN",
        )


def _values(
    here: Mapping[str, object], there: Mapping[str, object], models: tuple[str, ...]
) -> Iterator[Difference]:
    gone = [key for key in here if key not in there]
    if gone:
        yield Difference(
            Severity.BREAKS,
            "contents",
            f"B lacks the key(s) {_shown(gone)}",
            "what reads them raises KeyError",
        )
    more = [key for key in there if key not in here]
    if more:
        yield Difference(Severity.HARMLESS, "contents", f"only B has the key(s) {_shown(more)}")
    for key in here:
        if key not in there:
            continue
        if key == _OPTIMIZER:
            yield from _optimizer(here[key], there[key])
        elif key in models or (_is_state_dict(here[key]) and _is_state_dict(there[key])):
            yield from _state_dict(key, here[key], there[key])
        elif _kind_of(here[key]) != _kind_of(there[key]):
            yield Difference(
                Severity.MISLEADS,
                "contents",
                f"{key!a} is {_kind_of(here[key])} in A, {_kind_of(there[key])} in B",
                "what compares or prints it meets another type",
            )


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(inner, Tensor) for inner in value.values())
    )


def _state_dict(where: str, here: object, there: object) -> Iterator[Difference]:
    ours, theirs = _tensors(here), _tensors(there)
    if ours is None or theirs is None:
        if (ours is None) != (theirs is None):
            yield Difference(
                Severity.BREAKS if theirs is None else Severity.HARMLESS,
                "model",
                f"{where!a} is a state_dict in {'A' if theirs is None else 'B'} alone",
                "load_state_dict fails" if theirs is None else "",
            )
        return
    wrapper = _wrapper(ours, theirs)
    if wrapper is not None:
        prefix, side = wrapper
        yield Difference(
            Severity.BREAKS,
            "model",
            f"all keys of {where!a} begin with {prefix!a} in {side} alone",
            "load_state_dict(strict=True) fails",
        )
        strip = len(prefix)
        if side == "A":
            ours = {key[strip:]: value for key, value in ours.items()}
        else:
            theirs = {key[strip:]: value for key, value in theirs.items()}
    gone, more = [k for k in ours if k not in theirs], [k for k in theirs if k not in ours]
    for keys, what in ((gone, "B lacks"), (more, "only B has")):
        if keys:
            yield Difference(
                Severity.BREAKS,
                "model",
                f"{what} {len(keys)} key(s) of {where!a}: {_shown(keys)}",
                "load_state_dict(strict=True) fails",
            )
    yield from _tensors_differ(where, ours, theirs)


def _tensors_differ(
    where: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> Iterator[Difference]:
    both = [key for key in ours if key in theirs]
    shapes = [key for key in both if ours[key].shape != theirs[key].shape]
    if shapes:
        key = shapes[0]
        yield Difference(
            Severity.BREAKS,
            "model",
            f"{where}[{key!a}] has shape {_shape(ours[key])} in A, {_shape(theirs[key])} in B"
            f"{and_more(shapes)}",
            "load_state_dict fails on the sizes",
        )
    dtypes = [key for key in both if ours[key].dtype != theirs[key].dtype]
    if dtypes:
        key = dtypes[0]
        yield Difference(
            Severity.MISLEADS,
            "model",
            f"{where}[{key!a}] is {ours[key].dtype} in A, {theirs[key].dtype} in B"
            f"{and_more(dtypes)}",
            "load_state_dict converts the values without a word",
        )


def _tensors(value: object) -> dict[str, Tensor] | None:
    """A state_dict's tensors; None where the value is none."""
    if not isinstance(value, Mapping) or not value:
        return None
    return {
        key: tensor
        for key, tensor in value.items()
        if isinstance(key, str) and isinstance(tensor, Tensor)
    }


def _wrapper(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """A wrapper's prefix that all keys of one side carry, and none of the other's."""
    for prefix in _WRAPPERS:
        wrapped = [
            bool(keys) and all(k.startswith(prefix) for k in keys) for keys in (ours, theirs)
        ]
        if wrapped[0] != wrapped[1]:
            return prefix, "A" if wrapped[0] else "B"
    return None


def _optimizer(here: object, there: object) -> Iterator[Difference]:
    kept = [_has_state(here), _has_state(there)]
    if kept[0] and kept[1] is False:
        yield Difference(
            Severity.BREAKS,
            "optimizer",
            "the optimizer's state is empty in B alone: no parameter has its moments",
            "training goes on with a fresh optimizer, without a word",
        )
    elif kept[1] and kept[0] is False:
        yield Difference(
            Severity.HARMLESS, "optimizer", "the optimizer's state is empty in A alone"
        )
    with_state = None not in kept and kept[0] == kept[1]
    yield from _steps(here, there)
    ours, theirs = dict(_layout(here, with_state)), dict(_layout(there, with_state))
    places = [place for place in {**ours, **theirs} if ours.get(place) != theirs.get(place)]
    settings = [place for place in places if _SETTING in (ours.get(place), theirs.get(place))]
    layout = [place for place in places if place not in settings]
    if layout:
        place = layout[0]
        yield Difference(
            Severity.BREAKS,
            "optimizer",
            f"{place}: {ours.get(place, 'nothing')} in A, {theirs.get(place, 'nothing')} in B"
            f"{and_more(layout)}",
            "load_state_dict of the optimizer fails, or training goes on with other moments",
        )
    filled = [place for place in settings if place in ours and _is_filled_in(here, place)]
    if filled:
        yield Difference(
            Severity.HARMLESS,
            "optimizer",
            f"B lacks {filled[0]}{and_more(filled)}, which torch fills in on loading",
        )
    gone = [place for place in settings if place in ours and place not in filled]
    if gone:
        yield Difference(
            Severity.MISLEADS,
            "optimizer",
            f"B lacks {gone[0]}{and_more(gone)}",
            "the optimizer goes on without this setting",
        )
    more = [place for place in settings if place in theirs]
    if more:
        yield Difference(Severity.HARMLESS, "optimizer", f"only B has {more[0]}{and_more(more)}")


def _has_state(value: object) -> bool | None:
    """Whether an optimizer's state_dict keeps anything; None where it is none."""
    state = value.get("state") if isinstance(value, Mapping) else None
    return bool(state) if isinstance(state, Mapping) else None


def _steps(here: object, there: object) -> Iterator[Difference]:
    """How the steps are counted, where one run stores a tensor and the other a plain number."""
    ours, theirs = _kinds_of_step(here), _kinds_of_step(there)
    if ours and theirs and ours != theirs:
        yield Difference(
            Severity.HARMLESS,
            "optimizer",
            f"the optimizer's step is {_shown(sorted(ours))} in A, {_shown(sorted(theirs))} in B:"
            " torch takes both",
        )


def _kinds_of_step(value: object) -> set[str]:
    states = value.get("state") if isinstance(value, Mapping) else None
    return {
        _kind_of(moments[_STEP])
        for moments in (states.values() if isinstance(states, Mapping) else ())
        if isinstance(moments, Mapping) and _STEP in moments and _is_count(moments[_STEP])
    }


def _is_count(value: object) -> bool:
    """Whether a stored value may be a number of steps: a number, or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.numel == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_filled_in(value: object, place: str) -> bool:
    """Whether torch puts the same in on loading where a group lacks this setting."""
    for number, group in enumerate(_groups(value)):
        for key, held in group.items():
            if _place(number, key) == place:
                return key in _FILLED_IN and (_FILLED_IN[key] is ... or held is _FILLED_IN[key])
    return False


def _groups(value: object) -> list[Mapping[str, object]]:
    groups = value.get("param_groups") if isinstance(value, Mapping) else None
    listed = groups if isinstance(groups, (list, tuple)) else ()
    return [group if isinstance(group, Mapping) else {} for group in listed]


def _place(number: int, key: object) -> str:
    return f"param_groups[{number}][{key!a}]"


def _layout(state: object, with_state: bool) -> Iterator[tuple[str, str]]:
    """The layout of an optimizer's state_dict: what stands where, without the numbers in it."""
    if not isinstance(state, Mapping):
        yield "optimizer", _kind_of(state)
        return
    groups = state.get("param_groups")
    if isinstance(groups, Sequence) and not isinstance(groups, str):
        yield "param_groups", f"{len(groups)} group(s)"
        for number, group in enumerate(groups):
            if isinstance(group, Mapping):
                parameters = group.get("params")
                count = len(parameters) if isinstance(parameters, Sequence) else 0
                yield f"param_groups[{number}].params", f"{count} parameter(s)"
                for key in group:
                    if key != "params":
                        yield _place(number, key), _SETTING
    states = state.get("state") if with_state else None
    for index, moments in states.items() if isinstance(states, Mapping) else ():
        if isinstance(moments, Mapping):
            for key, value in moments.items():
                count = key == _STEP and _is_count(value)
                yield f"state[{index!a}][{key!a}]", "a number" if count else _kind_of(value)


def _logs(a: _Side, b: _Side) -> Iterator[Difference]:
    ours, theirs = _tags(a.subject), _tags(b.subject)
    reward = a.subject.profile.reward_tag
    if reward in ours and reward not in theirs:
        yield Difference(
            Severity.BREAKS,
            "logs",
            f"A logs {reward!a}, B does not",
            "what plots or ranks by it finds no reward",
        )
    gone = sorted(ours - theirs - {reward})
    if gone:
        yield Difference(
            Severity.MISLEADS,
            "logs",
            f"B lacks the tag(s) {_shown(gone)}",
            "what plots them shows nothing",
        )
    more = sorted(theirs - ours)
    if more:
        yield Difference(Severity.HARMLESS, "logs", f"only B logs {_shown(more)}")
    if ours and not b.subject.logs.files:
        yield Difference(
            Severity.BREAKS, "logs", "A has event files, B none", "there is nothing to plot"
        )


def _tags(subject: Subject) -> set[str]:
    return {tag for file in subject.logs.files for tag in file.tags}


# --- words ------------------------------------------------------------------------------------


def _kind_of(value: object) -> str:
    """What a stored value is, without its numbers."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {_shape(value)}"
    if isinstance(value, Scalar):
        return f"a NumPy {value.dtype}"
    if isinstance(value, Opaque):
        return value.name
    if isinstance(value, Storage):
        return "a storage"
    if value is MISSING:
        return "unreadable"
    return type(value).__name__


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _called(file: CheckpointFile) -> str:
    kind = "the checkpoint" if file.name.kind is None else f"the {file.name.kind.value} checkpoint"
    return kind if file.name.epoch is None else f"{kind} of epoch {file.name.epoch}"


def _shown(values: Iterable[object]) -> str:
    return first_few(values, _MOST_SHOWN)
