"""Several audits beside each other: one line for each, and robust accuracy by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import ClassRow, Record

from . import svg
from .headline import SIGNS
from .numbers import amount, at_most, count, interval, known, percent, real
from .text import shorten

CLASSES = 30
"""Shared classes that are shown, the weakest first."""
SHADES = 5


@dataclass(frozen=True, kw_only=True)
class SummaryLine:
    """One record in the table at the top of a page of several."""

    key: str
    name: str
    threat: str
    n: str
    clean: str
    robust: str
    interval: str
    certified: str
    distance: str
    chart: Markup
    trust: str
    verdict: str
    sign: str
    mark: Markup


@dataclass(frozen=True, kw_only=True)
class ClassCell:
    """Robust accuracy of one class in one audit. title: with its interval. shade: `s0` to `s5`, darker is weaker."""

    text: str
    title: str
    shade: str


@dataclass(frozen=True, kw_only=True)
class ClassAcross:
    """One class in every audit."""

    name: str
    cells: list[ClassCell]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """certified, distances: whether any audit has them. classes: those that all audits share, the weakest first. note:
    what is left out."""

    lines: list[SummaryLine]
    certified: bool
    distances: bool
    classes: list[ClassAcross]
    note: str


def summary(records: Sequence[Record], keys: Sequence[str], names: Sequence[str]) -> Summary:
    """The summary of these records, whose audits have these keys and names in the page."""
    lines = [_line(record, key, name) for record, key, name in zip(records, keys, names, strict=True)]
    tables = [{(row.label, row.name): row for row in record.by_class} for record in records]
    shared = [own for own in tables[0] if all(own in table for table in tables)] if tables else []
    shared.sort(key=lambda own: (min(real(table[own].robust_accuracy) or 0.0 for table in tables), own[0]))
    hidden = len({own for table in tables for own in table}) - min(len(shared), CLASSES)
    note = f"{count(hidden)} classes that not all audits share, or that are stronger, are not shown." if hidden else ""
    return Summary(
        lines=lines,
        certified=any(known(record.metrics.certified_accuracy) for record in records),
        distances=any(known(record.metrics.median_distance) for record in records),
        classes=[
            ClassAcross(name=shorten(name), cells=[_cell(table[label, name]) for table in tables])
            for label, name in shared[:CLASSES]
        ],
        note=note,
    )


def _line(record: Record, key: str, name: str) -> SummaryLine:
    m, n = record.metrics, record.n
    robust, bound = real(m.robust_accuracy), at_most(m.robust_accuracy, n)
    title = f"{name}: robust accuracy {bound}, clean {percent(m.clean_accuracy, n)}"
    sign = SIGNS[record.verdict] if record.verdict else "none"
    return SummaryLine(
        key=key,
        name=name,
        threat=record.threat.name,
        n=count(n),
        clean=percent(m.clean_accuracy, n),
        robust=bound,
        interval=interval(m.robust_accuracy_interval),
        certified=percent(m.certified_accuracy, n),
        distance=amount(m.median_distance),
        chart=svg.share_bar(robust, m.robust_accuracy_interval, real(m.clean_accuracy), title),
        trust=record.trust,
        verdict=str(record.verdict) if record.verdict else "no verdict",
        sign=sign,
        mark=svg.mark(sign),
    )


def _cell(row: ClassRow) -> ClassCell:
    robust = real(row.robust_accuracy)
    bound = at_most(robust, row.n)
    return ClassCell(
        text=bound,
        title=f"{shorten(row.name)}: {bound}, interval {interval(row.interval)}, n = {count(row.n)}",
        shade=f"s{-int(-(1 - robust) * SHADES // 1)}" if known(robust) else "",
    )
