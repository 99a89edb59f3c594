"""What a build server has to know of a record: its rules as they were judged, and the findings that were raised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auditor.entry import Entry
from auditor.foreign import one_line
from auditor.judgement import RuleRow, Verdict
from auditor.record import Record

from .numbers import known

NO_RULE = "no rule was given"
EMPTY = RuleRow(
    rule="the gate",
    value=None,
    threshold=None,
    status=Verdict.INCONCLUSIVE,
    reason="the rules that were given hold for none of the samples",
)
UNFINISHED = RuleRow(
    rule="the scan", value=None, threshold=None, status=Verdict.INCONCLUSIVE, reason="the record is not complete"
)

URGENCY = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


def judgements(record: Record) -> list[RuleRow]:
    """The rules as they were judged; empty only where none was given. What says nothing is a row of its own."""
    rows = list(record.gate.rules)
    if not rows and record.verdict is not None:
        rows = [EMPTY]
    return rows if record.complete else [*rows, UNFINISHED]


def rank(row: RuleRow) -> tuple[int, float]:
    """To sort rules by, the most important first: failed before undecided before passed, and of those alike the one
    that misses the largest share of what was asked."""
    short = row.threshold - row.value if known(row.threshold) and known(row.value) else 0.0
    return URGENCY.index(row.status), -short / max(abs(row.threshold or 0.0), 1e-9)


def numbered(names: Iterable[str]) -> Iterator[str]:
    """The names, each once: the second of a kind ends in `(2)`, as the third does in `(3)`."""
    seen: dict[str, int] = {}
    used = set()
    for name in names:
        made = name
        while made in used:
            seen[name] = seen.get(name, 1) + 1
            made = f"{name} ({seen[name]})"
        used.add(made)
        yield made


def titles(entries: list[Entry]) -> list[str]:
    """What each record is called: its model and its threat, numbered where several would have the same name."""
    return list(numbered(line(f"{model(entry.record)} {entry.record.threat.name}") for entry in entries))


def model(record: Record) -> str:
    """What the model under audit is called."""
    return line(record.model.name or record.model.path)


def line(text: str) -> str:
    """Words from elsewhere in one line, every hidden character spelt out."""
    return one_line(text)


def sentence(row: RuleRow) -> str:
    """A rule, how it was judged and why, with its numbers in full; of an undecided one also what would decide it."""
    told: dict[str, float | None] = {"value": row.value, "asked": row.threshold}
    if row.status is Verdict.INCONCLUSIVE:
        low, high = row.interval or (None, None)
        told |= {"low": low, "high": high, "needed": row.needed}
    return line(f"{row.rule}: {row.status.value}, {row.reason}{numbers(**told)}")


def numbers(**named: float | None) -> str:
    """` (value 0.25, asked 0.4)`, in full; empty where there is none."""
    told = [f"{name} {value!r}" for name, value in named.items() if known(value)]
    return f" ({', '.join(told)})" if told else ""
