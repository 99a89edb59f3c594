"""Markdown for a pull request, in the order of the page: the figures, the weakest classes and pairs, the cost.

Takes milliseconds. Says less than the page; the page says where it is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from auditor.entry import Entry
from auditor.hookspecs import hookimpl

from .belief import Belief
from .classes import Classes
from .distances import Distances
from .effort import Effort
from .next_steps import StepLine
from .page import Audit, build
from .protected import Harm
from .text import clean
from .weakness import Weakness

FILENAME = "report.md"
CLASSES, PAIRS = 10, 8
SPECIAL = re.compile(r"([\\`*_{}\[\]#+!|~$]|^[-=])")


def render(entries: list[Entry]) -> str:
    """The records one after another, as GitHub-flavoured Markdown."""
    return "\n".join(line for audit in build(entries).audits for line in _audit(audit))


def plain(text: str) -> str:
    """Words from elsewhere in one line that no renderer takes for markup, a link or a mention."""
    line = " ".join(clean(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = SPECIAL.sub(r"\\\1", line)
    return line.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def code(text: str) -> str:
    """A code block that holds any text: its fence is longer than every run of backticks inside."""
    held = clean(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", held)), default=0))
    return f"{fence}sh\n{held}\n{fence}"


def _audit(audit: Audit) -> Iterator[str]:
    """One audit in the order of the page's questions."""
    yield from _headline(audit)
    yield "## Can it be believed?\n"
    yield from _belief(audit.belief)
    yield "## Where is it weak?\n"
    yield from _classes(audit.weakness.classes)
    yield from _pairs(audit.weakness)
    yield from _distances(audit.weakness.distances)
    yield from _protected(audit.weakness.protected)
    yield "## What was tried?\n"
    yield from _effort(audit.effort)
    if audit.steps:
        yield "## What to do next\n"
        yield from _steps(audit.steps)
    if audit.provenance.command:
        yield "## How to get this again\n"
        yield f"{code(audit.provenance.command)}\n"


def _headline(audit: Audit) -> Iterator[str]:
    h = audit.headline
    yield f"# {plain(audit.name)}: {plain(h.verdict)}\n"
    yield f"**{plain(h.sentence)}**\n"
    yield f"{plain(audit.summary)}\n"
    yield f"{plain(audit.threat)}. {plain(h.setting)}\n"
    for warning in h.warnings:
        yield f"> {plain(warning)}\n"
    yield from table(("Figure", "Value", "How to read it"), ((f.name, f.value, f.note) for f in h.figures))
    yield from table(("Status", "Samples", "Share"), ((s.name, s.n, s.share) for s in h.legend))
    if h.rules:
        yield "## Did it pass?\n"
        rows = ((r.rule, r.status, r.value, r.threshold, r.reason) for r in h.rules)
        yield from table(("Rule", "Judged", "Value", "Asked", "Why"), rows)


def _belief(b: Belief) -> Iterator[str]:
    for statement in b.statements:
        yield f"- {plain(statement.name)}: **{plain(statement.word)}**. {plain(statement.meaning)}"
    yield ""
    if b.story.chapters:
        yield f"{plain(b.story.lead)}\n"
        chapters = ((c.head, c.text, c.because, c.robust) for c in b.story.chapters)
        yield from table(("Step", "What", "Because", "Robust accuracy"), chapters)
    findings = ((f.status, f.severity, f.title, f.explanation, f.advice) for f in b.findings)
    yield from table(("Finding", "Severity", "Looked for", "Seen", "What to do"), findings)
    for group in b.quiet:
        named = f": {', '.join(plain(f.title) for f in group.findings)}" if group.open else ""
        yield f"{plain(group.title)}{named}.\n"
    yield f"{plain(b.twin.source)}\n"
    stand_ins = ((s.operator, s.name, s.meaning) for s in b.twin.stand_ins)
    yield from table(("Operator", "Stand-in", "What it does"), stand_ins)
    if b.twin.advice:
        yield f"{plain(b.twin.advice)}\n"
    agreement = ((f.inputs, f.n, f.agreement, f.difference) for f in b.twin.fidelity)
    yield from table(("Twin and file on", "n", "Same label", "Largest score difference"), agreement)
    yield f"{plain(b.twin.note)}\n"


def _classes(c: Classes) -> Iterator[str]:
    yield f"{plain(c.lead)}\n"
    heads = ["Class", "Robust", "Interval", "Clean", "n", "Natural errors", "Boundary errors"]
    heads += ["Certified"] if c.certified else []
    heads += ["Median distance"] if c.distances else []
    rows = []
    for line in c.rows[:CLASSES]:
        row = [line.name, line.robust, line.interval, line.clean, line.n, line.natural, line.boundary]
        row += [line.certified] if c.certified else []
        row += [line.distance] if c.distances else []
        rows.append((*row, line.into))
    yield from table((*heads, "Most often becomes"), rows)
    if len(c.rows) > CLASSES:
        yield f"The {CLASSES} weakest classes are shown.\n"
    if c.note:
        yield f"{plain(c.note)}\n"


def _pairs(w: Weakness) -> Iterator[str]:
    if w.why_no_pairs:
        yield f"{plain(w.why_no_pairs)}\n"
    if w.pairs is None:
        rows = [(c.source, c.into, f"{c.n} of {c.own}") for c in w.confusions.rows]
        yield from table(("Class", "Becomes", "Examples"), rows)
        yield f"{plain(w.confusions.note)}\n"
        return
    yield f"{plain(w.pairs.lead)}\n"
    heads = ("From", "To", "Within epsilon", "Interval", "Median distance")
    best = (w.pairs.numbers or w.pairs.easiest)[:PAIRS]
    yield from table(heads, ((p.source, p.target, p.broken, p.interval, p.distance) for p in best))
    yield f"{plain(w.pairs.note)}\n"
    if w.pairs.prediction:
        yield f"{plain(w.pairs.prediction)}\n"


def _distances(d: Distances) -> Iterator[str]:
    for text in (d.why_not, d.lead, d.estimate):
        if text:
            yield f"{plain(text)}\n"


def _protected(harm: Harm | None) -> Iterator[str]:
    if harm is None:
        return
    rows = ((r.name, r.into, r.n, r.clean, r.broken, r.reached, r.precision, r.cost) for r in harm.rows)
    heads = ("Must not happen", "Into", "n", "Without attack", "With attack", "Went for it", "Precision", "Cost")
    yield from table(heads, rows)
    if harm.risk:
        yield f"{plain(harm.risk)}\n"


def _effort(e: Effort) -> Iterator[str]:
    yield f"{plain(e.lead)}\n"
    heads = ("Stage", "Result", "Left", "Entered", "Broke", "Forwards", "Backwards", "Queries", "Time")
    yield from table(
        heads,
        (
            (s.name, s.status, s.left, s.entered, s.broken, s.forwards, s.backwards, s.queries, s.seconds)
            for s in [*e.stages, e.total]
        ),
    )
    for stage in e.stages:
        if stage.reason:
            yield f"- {plain(stage.name)}: {plain(stage.reason)}"
    for refused in e.refused:
        yield f"- {plain(refused.stage)}: {refused.n} candidates refused, {plain(refused.reason)}"
    yield ""


def _steps(steps: Iterable[StepLine]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield f"{number}. **{plain(step.what)}** {plain(step.why)}"
        if step.command:
            yield f"\n{code(step.command)}\n"
    yield ""


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table, none where there are no rows; an empty one ends it."""
    body = [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    if body:
        yield f"| {' | '.join(heads)} |"
        yield f"|{' --- |' * len(heads)}"
        yield from body
        yield ""


@hookimpl
def register_reporters(register: Any) -> None:
    register("markdown", render, FILENAME)
