"""Reports of any content, with names that attack each format."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from conformance.checks.finding import Finding, RunReport, run_verdict
from conformance.convention.rules import RULES, Level, Verdict
from conformance.report import Driven, Report
from conformance.run.remark import Remark

HOSTILE = (
    *("\x1b[31mred\x1b[0m", "a\nverdict: conforms (1 run)", "\r", "\0", "\x07", "\x9b2J", "\x7f"),
    *("\u202egnp.\u202c", "\u200b", "\ufeff", "\u2028", "\u2029", "\x85", "\x0b\x0c"),
    *("\ud800", "\udcff\udcfe", "\ue000", "\uffff", "\U000e0041", '"', "\\", "</script>", "%s{}"),
    *("]]>", "<!--", "-->", "&lt;&#0;", "' onload='x", "<img src=x>", "::error::", "\n::error::x"),
    *(
        "##[error]x",
        "%0A::error::x",
        "a,b:c",
        "|",
        "a|b\\|c",
        "`",
        "```",
        "**b**",
        "_i_",
        "[x](//evil)",
    ),
    *(
        "@everyone",
        "#1",
        "www.evil.example",
        "http://evil",
        "{0}",
        "$x$",
        "~~x~~",
        "../..",
        "a#b?c",
    ),
)
texts = st.sampled_from(HOSTILE) | st.text(
    st.characters(codec=None, exclude_categories=()), max_size=20
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | texts
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.frozensets(texts, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    rule = draw(st.sampled_from(RULES))
    verdict = draw(st.sampled_from(Verdict))
    failed = verdict is Verdict.FAIL
    return Finding(
        rule.id,
        rule.level,
        verdict,
        message=draw(texts.filter(bool)),
        paths=tuple(draw(st.lists(texts, max_size=10))),
        evidence=draw(st.dictionaries(texts, values, max_size=3)),
        fix=rule.fix if failed else "",
        waived=draw(st.none() | texts) if failed else None,
    )


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    rewards = draw(st.lists(st.floats() | st.none(), min_size=1, max_size=3))
    return {
        "experiment": draw(texts.filter(bool)),
        "root": "runs",
        "save_freq": draw(st.integers(0, 3)),
        "max_epochs": draw(st.integers(1, 3)),
        "rewards": rewards,
        "save_best_after": draw(st.integers(0, 3)),
        "resume": draw(st.sampled_from([None, "best", "last"])),
        "seed": draw(st.integers(0, 3)),
    }


@st.composite
def driven_reports(draw: st.DrawFn) -> Report:
    """What is said of a trainer: its title, its scenarios and where they are kept are hostile."""
    rules = draw(st.lists(st.sampled_from(RULES), min_size=1, max_size=3, unique=True))
    found = tuple(
        a_finding(
            rule=rule.id,
            level=rule.level,
            message=draw(texts.filter(bool)),
            paths=tuple(draw(st.lists(texts, max_size=2))),
            waived=draw(st.none() | texts),
        )
        for rule in rules
    )
    failures = tuple(
        {
            "rule": finding.rule,
            "level": finding.level.value,
            "message": finding.message,
            "scenario": draw(scenarios() | st.lists(scenarios(), min_size=1, max_size=2)),
            "replay": draw(texts),
        }
        for finding in found
    )
    run = RunReport(
        path=draw(texts.filter(bool)),
        verdict=run_verdict(found),
        sessions=1,
        checkpoints=1,
        findings=found,
        notes=tuple(draw(st.lists(texts, max_size=2))),
        driven=True,
    )
    driven = Driven(
        trainer=draw(texts),
        options=("--profile", draw(texts)),
        seed=draw(st.none() | st.integers(0)),
        summary=draw(texts),
        evaluations={rule.id: 1 for rule in rules},
        unsteady=frozenset(rule.id for rule in rules[1:]),
        left={rule.id: (tuple(draw(st.lists(texts, max_size=9))), draw(texts)) for rule in rules},
    )
    return Report("0.1.0", draw(texts), (run,), failures, driven)


@st.composite
def audits(draw: st.DrawFn) -> Report:
    runs = []
    for _ in range(draw(st.integers(0, 3))):
        found = tuple(draw(st.lists(findings(), max_size=3)))
        runs.append(
            RunReport(
                path="/runs/" + draw(texts),
                verdict=run_verdict(found),
                sessions=draw(st.integers(0, 3)),
                checkpoints=draw(st.integers(0, 10**6)),
                findings=found,
                notes=tuple(draw(st.lists(texts, max_size=2))),
                remarks=tuple(draw(st.lists(remarks(), max_size=1))),
            )
        )
    return Report("0.1.0", draw(texts), tuple(runs))


def reports() -> st.SearchStrategy[Report]:
    """Reports on audits and on driven trainers."""
    return audits() | driven_reports()


def a_finding(**changes: object) -> Finding:
    given_values: dict[str, Any] = {
        "rule": "BEST-003",
        "level": Level.MUST,
        "verdict": Verdict.FAIL,
        "message": "a tie rewrote it",
        "paths": ("nn/A.pth",),
        "evidence": {},
        "fix": "Compare strictly.",
        **changes,
    }
    return Finding(**given_values)


def a_remark(message: str, evidence: dict[str, Any] | None = None) -> Remark:
    return Remark(message, ("nn/B.pth",), evidence or {})


@st.composite
def remarks(draw: st.DrawFn) -> Remark:
    return Remark(draw(texts.filter(bool)), (draw(texts),), {"reward": draw(st.floats())})


def a_report(*found: Finding, notes: tuple[str, ...] = ()) -> Report:
    run = RunReport("/runs/A", run_verdict(found), 1, 3, found, notes)
    return Report("0.1.0", "isaacgymenvs", (run,))
