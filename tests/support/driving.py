"""Driving a trainer in a test: a driver around it, and journals written by hand."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from conformance.checks import audit
from conformance.convention.profile import load_profile
from conformance.convention.scenario import Scenario
from conformance.convention.sessions import played
from conformance.evidence.journal import Watcher
from conformance.evidence.runs import scan_run
from conformance.evidence.summaries import read_event_file
from conformance.mutants.trainer import Trainer
from conformance.run.driven import DrivenSession, Writes
from conformance.run.settings import Options
from conformance.suite.driver import Driver
from conformance.trainers import open_object, open_trainer
from conformance.trainers.workspace import Workspace

PROFILE = load_profile("isaacgymenvs")


def session(rewards, save_freq=1, *, resume=None, experiment="A", **fields):
    """A session over all of its rewards."""
    return Scenario(
        experiment, Path("runs"), save_freq, len(rewards), tuple(rewards), resume=resume, **fields
    )


@contextmanager
def driver(spec, *, profile=PROFILE, watched=True, **options):
    """A driver around the trainer that a spec names, or around an object or a class."""
    opened = open_trainer if isinstance(spec, str) else open_object
    with ExitStack() as stack:
        trainer = stack.enter_context(opened(spec, time_limit=20.0))
        workspace = stack.enter_context(Workspace())
        watcher = stack.enter_context(Watcher()) if watched else None
        unwatched = "" if watched else "this system keeps no journal"
        yield Driver(trainer, profile, workspace, watcher, unwatched=unwatched, **options)


def judged(root, chain, journal, *, trainer=Trainer, **last):
    """The findings on a run that a mutant wrote, were this the journal of its last session.

    Args:
        root: an empty folder.
        chain: the sessions.
        journal: `P2 B` for the periodic checkpoint of epoch 2, then the best; a `Writes` as it is.
        trainer: the mutant.
        last: fields of the last `DrivenSession` to replace.
    """
    chain = tuple(replace(scenario, root=root) for scenario in chain)
    run = root / chain[0].experiment
    driven, logs = [], set()
    for scenario, due in zip(chain, played(PROFILE, chain), strict=True):
        trainer().train(scenario)
        written = set(run.glob("summaries/*")) - logs
        logs |= written
        driven.append(
            DrivenSession(
                rewards=due.rewards,
                first=due.first,
                last=due.last,
                save_freq=scenario.save_freq,
                resumed_from=scenario.resume,
                watermark=None if due.resumed_from is None else due.watermark,
                logs=tuple(map(read_event_file, sorted(written))),
                writes=Writes(()),
            )
        )
    if isinstance(journal, str):
        journal = Writes(tuple(_name(run, word) for word in journal.split()))
    driven[-1] = replace(driven[-1], writes=journal, **last)
    report = audit(
        scan_run(run),
        PROFILE,
        Options(save_freq=chain[-1].save_freq, max_epochs=chain[-1].max_epochs),
        driven=tuple(driven),
    )
    return {finding.rule: finding for finding in report.findings}


def failing(findings):
    """The rules that are broken."""
    return {rule for rule, finding in findings.items() if finding.verdict.value == "fail"}


def _name(run, word):
    """The file name that a word of a journal means."""
    if word == "B":
        return f"{run.name}.pth"
    found = [path.name for path in run.glob(f"nn/last_{run.name}ep{word[1:]}rew*")]
    return found[0] if found else f"last_{run.name}ep{word[1:]}rew0.0.pth"
