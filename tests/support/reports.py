"""Reports of any content, with names that attack each format."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from conformance.checks.finding import Finding, RunReport, run_verdict
from conformance.convention.rules import RULES, Level, Verdict
from conformance.report import Report

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
def reports(draw: st.DrawFn) -> Report:
    runs = []
    for _ in range(draw(st.integers(0, 3))):
        found = tuple(draw(st.lists(findings(), max_size=4)))
        runs.append(
            RunReport(
                path="/runs/" + draw(texts),
                verdict=run_verdict(found),
                sessions=draw(st.integers(0, 3)),
                checkpoints=draw(st.integers(0, 10**6)),
                findings=found,
                notes=tuple(draw(st.lists(texts, max_size=2))),
            )
        )
    return Report("0.1.0", draw(texts), tuple(runs))


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


def a_report(*found: Finding, notes: tuple[str, ...] = ()) -> Report:
    run = RunReport("/runs/A", run_verdict(found), 1, 3, found, notes)
    return Report("0.1.0", "isaacgymenvs", (run,))
