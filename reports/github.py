"""A job summary for GitHub: the verdict, its rules, the numbers, the weakest classes, doubts, and what to do next.

Takes milliseconds. To be appended to `$GITHUB_STEP_SUMMARY`, which takes 1 MiB; short enough to be read in a pull
request, so long tables are cut, say how many lines they lack, and tell what failed first. The page has everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from auditor.entry import Entry
from auditor.hookspecs import hookimpl
from auditor.judgement import RuleRow
from auditor.metrics import by_weakness
from auditor.obscurity import doubts
from auditor.record import ClassRow, Record
from auditor.verdict import worst

from .headline import drawn, headline
from .judgements import NO_RULE, URGENCY, judgements, rank, titles
from .markdown import code, plain, table
from .names import capital, naming
from .next_steps import next_steps
from .numbers import at_most, count, interval, known, percent
from .text import shorten

FILENAME = "github.md"
LARGEST = 1 << 20
"""Bytes that GitHub takes of a step's summary; of a larger one it shows nothing."""
ROOM = LARGEST - (64 << 10)
"""Bytes that the records may take, so that the step can say something too."""
RULES, CLASSES, DOUBTS, COMMAND = 10, 5, 3, 400
"""Rules, classes and doubts that are told of a record, and characters of a command that is."""
RULE, REASON = 160, 300
"""Characters that a rule and a reason may take."""


def render(entries: list[Entry]) -> str:
    """The records one after another, those that failed first, as GitHub-flavoured Markdown of at most 1 MiB."""
    named = sorted(zip(titles(entries), entries, strict=True), key=lambda one: _urgency(one[1].record))
    told = [_lead([entry.record for entry in entries])] if len(entries) != 1 else []
    size = 0
    for place, (title, entry) in enumerate(named):
        text = "\n".join(_audit(title, entry.record))
        size += len(text.encode()) + 1
        if size > ROOM:
            told.append(f"{count(len(named) - place)} more audits have no room here; the report has them all.\n")
            break
        told.append(text)
    return "\n".join(told)


def _urgency(record: Record) -> int:
    return URGENCY.index(record.verdict) if record.verdict else len(URGENCY)


def _lead(records: Sequence[Record]) -> str:
    """The verdict over several records, and how many of them have which."""
    verdicts = [record.verdict for record in records]
    told = [f"{count(verdicts.count(verdict))} {verdict}" for verdict in URGENCY if verdict in verdicts]
    told += [f"{count(verdicts.count(None))} without a rule"] if None in verdicts else []
    over = worst(verdicts)
    return f"# {capital(over.value) if over else 'No verdict'}: {', '.join(told) or 'no audits'}\n"


def _audit(title: str, record: Record) -> Iterator[str]:
    verdict = capital(record.verdict.value) if record.verdict else "No verdict"
    yield f"## {verdict}: {plain(shorten(title, 2 * RULE))}\n"
    yield f"{plain(shorten(record.summary, REASON))}\n"
    for warning in headline(record).warnings:
        yield f"> {plain(shorten(warning, REASON))}\n"
    yield from _rules(judgements(record))
    yield from _numbers(record)
    yield from _classes(record)
    yield from _doubts(record)
    yield from _next(record)


def _rules(rows: list[RuleRow]) -> Iterator[str]:
    """How each rule was judged, and why."""
    if not rows:
        yield f"{capital(NO_RULE)}, so there is nothing to pass or fail.\n"
    ordered = sorted(rows, key=rank)
    shown = [(row.status.value, shorten(row.rule, RULE), shorten(row.reason, REASON)) for row in ordered[:RULES]]
    yield from table(("Judged", "Rule", "Why"), shown)
    if rest := ordered[RULES:]:
        kinds = [(status, sum(row.status is status for row in rest)) for status in URGENCY]
        told = ", ".join(f"{count(n)} {status}" for status, n in kinds if n)
        yield f"{count(len(rest))} more rules are left out here: {told}.\n"


def _numbers(record: Record) -> Iterator[str]:
    m, n = record.metrics, record.n
    heads = ["Robust accuracy", "95 % interval", "Clean"]
    row = [at_most(m.robust_accuracy, n), interval(m.robust_accuracy_interval), percent(m.clean_accuracy, n)]
    if known(m.certified_accuracy):
        heads, row = [*heads, "Certified"], [*row, percent(m.certified_accuracy, n)]
    yield from table(
        (*heads, "Samples", "Trust in the number", "Masking"), [(*row, count(n), record.trust, record.masking)]
    )
    for told in drawn(record):
        yield f"{plain(shorten(told, REASON))}\n"


def _classes(record: Record) -> Iterator[str]:
    """The weakest classes, where there are several."""
    rows = by_weakness(record) if len(record.by_class) > 1 else []
    name = naming(record)

    def cells(row: ClassRow) -> tuple[str, ...]:
        into = name(row.turns_into) if row.turns_into is not None else "–"
        return shorten(row.name), at_most(row.robust_accuracy, row.n), interval(row.interval), count(row.n), into

    heads = ("Weakest classes", "Robust", "95 % interval", "Samples", "Most often becomes")
    yield from table(heads, map(cells, rows[:CLASSES]))
    if len(rows) > CLASSES:
        yield f"{count(len(rows) - CLASSES)} more classes are left out here.\n"


def _doubts(record: Record) -> Iterator[str]:
    found = doubts(record.findings)
    for finding in found[:DOUBTS]:
        yield f"- Doubt: **{plain(shorten(finding.title))}**. {plain(shorten(finding.explanation, REASON))}"
    if more := len(found[DOUBTS:]):
        yield f"- {count(more)} more are left out here."
    if found:
        yield ""


def _next(record: Record) -> Iterator[str]:
    """The most urgent step."""
    for step in next_steps(record)[:1]:
        yield f"Next: **{plain(shorten(step.what, RULE))}** {plain(shorten(step.why, REASON))}\n"
        if step.command and len(step.command) <= COMMAND:  # a part of a command is none
            yield f"{code(step.command)}\n"


@hookimpl
def register_reporters(register: Any) -> None:
    register("github", render, FILENAME)
