"""Markdown for a pull request: the sentence, the gate, what speaks against the number, the weakest classes, the cost.

Takes milliseconds. Says less than the page; the page says where it is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from auditor.hookspecs import hookimpl
from auditor.record import Entry

from .page import Audit, build
from .text import clean

FILENAME = "report.md"
CLASSES = 10
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
    h, b, w, e = audit.headline, audit.belief, audit.weakness, audit.effort
    yield f"# {plain(audit.name)}: {plain(h.verdict)}\n"
    yield f"**{plain(h.sentence)}**\n"
    yield f"{plain(audit.threat)}.\n"
    for warning in h.warnings:
        yield f"> {plain(warning)}\n"
    yield from _table(("Figure", "Value", "How to read it"), ((f.name, f.value, f.note) for f in h.figures))
    yield from _table(("Status", "Samples", "Share"), ((s.name, s.n, s.share) for s in h.statuses))
    if h.rules:
        yield "## Did it pass?\n"
        rows = ((r.rule, r.status, r.value, r.threshold, r.reason) for r in h.rules)
        yield from _table(("Rule", "Judged", "Value", "Asked", "Why"), rows)
    yield "## Can it be believed?\n"
    for statement in b.statements:
        yield f"- {plain(statement.name)}: **{plain(statement.word)}**. {plain(statement.meaning)}"
    yield ""
    if b.story.chapters:
        yield f"{plain(b.story.lead)}\n"
        chapters = ((c.head, c.text, c.because, c.robust) for c in b.story.chapters)
        yield from _table(("Step", "What", "Because", "Robust accuracy"), chapters)
    findings = ((f.status, f.severity, f.title, f.explanation, f.advice) for f in b.findings)
    yield from _table(("Finding", "Severity", "Looked for", "Seen", "What to do"), findings)
    for group in b.quiet:
        yield f"{plain(group.title)}: {', '.join(plain(f.title) for f in group.findings)}.\n"
    yield f"{plain(b.twin)}\n"
    stand_ins = ((s.operator, s.name, s.meaning) for s in b.stand_ins)
    yield from _table(("Operator", "Stand-in", "What it does"), stand_ins)
    if b.advice:
        yield f"{plain(b.advice)}\n"
    agreement = ((f.inputs, f.n, f.agreement, f.difference) for f in b.fidelity)
    yield from _table(("Twin and file on", "n", "Same label", "Largest score difference"), agreement)
    yield f"{plain(b.fidelity_note)}\n"
    yield "## Where is it weak?\n"
    yield f"{plain(w.lead)}\n"
    classes = ((c.name, c.robust, c.interval, c.clean, c.n, c.into) for c in w.classes[:CLASSES])
    yield from _table(("Class", "Robust", "Interval", "Clean", "n", "Most often becomes"), classes)
    if len(w.classes) > CLASSES or w.note:
        yield f"The {min(CLASSES, len(w.classes))} weakest classes are shown. {plain(w.note)}\n"
    yield "## What was tried?\n"
    yield f"{plain(e.lead)}\n"
    stages = [*e.stages, e.total]
    cost = ((s.name, s.status, s.entered, s.broken, s.forwards, s.backwards, s.queries, s.seconds) for s in stages)
    yield from _table(("Stage", "Result", "Entered", "Broke", "Forwards", "Backwards", "Queries", "Time"), cost)
    for stage in e.stages:
        if stage.reason:
            yield f"- {plain(stage.name)}: {plain(stage.reason)}"
    for refused in e.refused:
        yield f"- {plain(refused.stage)}: {refused.n} candidates refused, {plain(refused.reason)}"
    yield ""
    if audit.provenance.command:
        yield "## How to get this again\n"
        yield f"{code(audit.provenance.command)}\n"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    body = [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    if body:
        yield f"| {' | '.join(heads)} |"
        yield f"|{' --- |' * len(heads)}"
        yield from body
        yield ""


@hookimpl
def register_reporters(register: Any) -> None:
    register("markdown", render, FILENAME)
