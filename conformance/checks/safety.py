"""SAFETY: that no pickle names what a loader would have to trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.finding import (
    Outcome,
    and_more,
    failed,
    not_applicable,
    passed,
    unobservable,
)
from conformance.checks.load import unsafe_globals

if TYPE_CHECKING:
    from conformance.run.files import CheckpointFile
    from conformance.run.subject import Subject


def names_no_forbidden_global(subject: Subject) -> Outcome:
    """SAFETY-001.

    NumPy's plain data types are not blamed here: they make torch refuse the file (LOAD-001), but
    they run nothing. (decisions.md: "NumPy data outside the profile is LOAD-001".)
    """
    read = [file for file in subject.files.readable if file.contents is not None]
    if not read:
        if not subject.files.checkpoints:
            return not_applicable("the run holds no checkpoint")
        return unobservable("no checkpoint's pickle could be read (see the rules that failed)")
    wrong = {file.path: list(unsafe_globals(file)) for file in read if unsafe_globals(file)}
    if wrong:
        path, names = next(iter(wrong.items()))
        shown = ", ".join(ascii(name) for name in names[:5])
        modules = next(_modules(file) for file in read if file.path == path)
        return failed(
            f"{path!a} names {shown}, outside what weights_only allows{modules}; it was not"
            f" executed{and_more(wrong)}",
            wrong,
            globals=wrong,
        )
    return passed(f"{len(read)} pickle(s) name nothing but allowed globals", checkpoints=len(read))


def _modules(file: CheckpointFile) -> str:
    """What else explains such names: a module that was pickled whole."""
    held = () if file.contents is None else file.contents.modules
    return f" (beside the whole module {held[0]!a}, as torch.save(model) saves it)" if held else ""


CHECKS = {"SAFETY-001": names_no_forbidden_global}
