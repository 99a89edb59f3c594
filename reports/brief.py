"""The first screen's answers: how robust, whether to believe it, which class is weakest and what it becomes, at what
distance, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.metrics import weakest
from auditor.rates import MISSING
from auditor.record import FindingStatus, Record, Severity, Status

from .belief import trust_words
from .classes import FEW, LEAST, no_weakest, share, turned_into
from .names import capital, in_words, naming
from .numbers import THIN, amount, at_least, at_most, count, interval, known, percent, times

LONG = 24
"""Characters of a class's name in a large figure."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the large numbers or words, with what it is called and how to read it. kind: how it is set. section: where
    to read on."""

    name: str
    value: str
    note: str
    kind: str
    section: str


def brief(record: Record) -> list[Figure]:
    """The answers, in the order of the page's sections."""
    return [_robust(record), _clean(record), _trust(record), _weakest(record), _distance(record), _next(record)]


def within(record: Record) -> str:
    """`95 % interval 37–46, n = 500`, of a sequential scan `n = 48 of 500, wherever it stopped`."""
    span = interval(record.metrics.robust_accuracy_interval, whole=True)
    part = f" of {count(record.samples.n)}, valid wherever it stopped" if record.n < record.samples.n else ""
    if record.drawn is not None and record.drawn.swept and record.metrics.statuses.get(Status.UNATTACKED, 0):
        part = ", those without the full budget counted both ways"
    return f"95{THIN}% interval {span}, n\xa0=\xa0{count(record.n)}{part}"


def _figure(name: str, value: str, note: str, section: str, kind: str = "number") -> Figure:
    return Figure(name=name, value=value, note=note, section=section, kind="missing" if value == MISSING else kind)


def _robust(record: Record) -> Figure:
    value, n = record.metrics.robust_accuracy, record.n
    note = f"{within(record)}. An upper bound: a stronger attack can only lower it."
    if not known(value):
        note = f"No attack judged any of the {count(n)} samples."
    return _figure("Robust accuracy", at_most(value, n), note, "result")


def _clean(record: Record) -> Figure:
    m, n = record.metrics, record.n
    note = "Without any attack. No certifier ran, so nothing is proved."
    if known(m.certified_accuracy):
        note = f"Without any attack. Proved robust: {at_least(m.certified_accuracy, n)}."
    return _figure("Clean accuracy", percent(m.clean_accuracy, n), note, "result")


def _trust(record: Record) -> Figure:
    raised = [f.title for f in record.findings if f.status is FindingStatus.RAISED and f.severity is not Severity.INFO]
    note = trust_words(record).get(record.trust, "")
    if raised and record.trust == "doubtful":
        note = "; ".join(raised) + "."
    clear, open_ = (
        sum(finding.status is status for finding in record.findings)
        for status in (FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE)
    )
    other = sum(finding.status is FindingStatus.RAISED for finding in record.findings) - len(raised)
    if record.findings:
        note += f" {clear} {'check is' if clear == 1 else 'checks are'} clear"
        note += f", {other} told something worth knowing" if other else ""
        note += f", {open_} can't be made here." if open_ else "."
    return _figure("Trust in the number", record.trust, note, "belief", kind=record.trust)


def _weakest(record: Record) -> Figure:
    row, name = weakest(record, LEAST), naming(record, LONG)
    if row is None or row.turns_into is None:
        return _figure("Weakest class", "none named", no_weakest(record), "weakness", kind="missing")
    own = turned_into(record).get(row.label)
    most = f", {share(own, row.turns_into)} times" if own else ""
    note = (
        f"Robust accuracy {at_most(row.robust_accuracy, row.n)} (interval {interval(row.interval, whole=True)}, "
        f"n\xa0=\xa0{count(row.n)}), clean {percent(row.clean_accuracy, row.n)}. Attacks turn it into "
        f"{in_words(name(row.turns_into))} most often{most}."
    )
    found = {entry.label: entry.distance for entry in record.hardness.classes} if record.hardness else {}
    distance = found.get(row.label)
    if distance is not None and known(distance):
        multiple = times(distance, record.threat.epsilon)
        far = f"{amount(distance)}{f' ({multiple})' if multiple else ''}"
        note += f" Half of what is right of it has an example of another class within ≤{THIN}{far}."
    if row.n < FEW:
        note += " Few samples, so a hint."
    return _figure("Weakest class", f"{name(row.label)} → {name(row.turns_into)}", note, "weakness", kind="word")


def _distance(record: Record) -> Figure:
    title, epsilon = "Median distance", record.threat.epsilon
    median = record.metrics.median_distance
    found = {row.label: row for row in record.hardness.classes if row.n} if record.hardness else {}
    if not found and not known(median):
        why = record.hardness.why_not if record.hardness else None
        note = capital(f"{why.rstrip('.')}.") if why else "Nothing was looked for beyond epsilon."
        return _figure(title, MISSING, note, "distance")
    if not known(median):
        note = "Fewer than half of the correctly classified samples have an adversarial example at any distance."
        return _figure(title, "beyond reach", note, "distance")
    multiple = times(median, epsilon)
    note = "Half of the correctly classified samples have an adversarial example so near or nearer"
    note += f": {multiple}." if multiple else "."
    note += " Looked for inside the threat and beyond it."
    return _figure(title, f"≤{THIN}{amount(median)}", note, "distance")


def _next(record: Record) -> Figure:
    if not record.next_steps:
        return _figure("What to do next", "nothing named", "The record names no step.", "next", kind="missing")
    first = record.next_steps[0]
    return _figure("What to do next", first.what, first.why, "next", kind="step")
