"""Comma-separated tables of a record, for spreadsheets and scripts: every number in full, a file for each kind of row.

Takes milliseconds per thousand samples. RFC 4180 in UTF-8, one row a line: what is not known is empty, truth is `true`
or `false`, and text from elsewhere can neither hide a character nor begin a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from auditor.entry import Entry
from auditor.hardness import CurvePoint
from auditor.hookspecs import hookimpl
from auditor.metrics import class_name
from auditor.record import Record, Spent

from .judgements import numbered
from .text import clean

FOLDER = "tables"
FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@＝＋－＠]|[\t\r\n])")
"""Where a spreadsheet may take the rest of a text for a formula: at its beginning, and after a semicolon, which ends a
cell in half of the world. See OWASP, CSV Injection."""
SPELT = str.maketrans({"\t": "\\u0009", "\n": "\\u000a"})
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """Its columns, and its rows of one record."""

    columns: tuple[str, ...]
    rows: Callable[[Record], Iterable[Row]]


def tables(entry: Entry) -> dict[str, str]:
    """File name to CSV of one record. Every file is there, with its columns, also where it has no row."""
    return {f"{name}.csv": _csv(table.columns, table.rows(entry.record)) for name, table in TABLES.items()}


def render(entries: list[Entry]) -> dict[str, str]:
    """The tables of these records. With several, a first column `record` says whose a row is: model and threat."""
    if len(entries) == 1:
        return tables(entries[0])
    records = [entry.record for entry in entries]
    called = numbered(f"{record.model.name or record.model.path} {record.threat.name}" for record in records)
    named = dict(zip(called, records, strict=True))
    return {
        f"{name}.csv": _csv(
            ("record", *table.columns), ((own, *row) for own, record in named.items() for row in table.rows(record))
        )
        for name, table in TABLES.items()
    }


def cell(value: Any) -> str:
    """A value as it stands in a cell. Text that a spreadsheet might run gets an apostrophe in front."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return clean(FORMULA.sub(r"\1'", str(value))).translate(SPELT)


def _csv(columns: tuple[str, ...], rows: Iterable[Row]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return file.getvalue()


def _class(record: Record, label: int | None) -> str | None:
    return None if label is None else class_name(label, record.names)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _spent(spent: Spent) -> Row:
    return spent.forwards, spent.backwards, spent.queries


def _metrics(record: Record) -> Iterator[Row]:
    m = record.metrics
    low, high = m.robust_accuracy_interval or (None, None)
    yield (
        record.model.name, record.threat.name, record.n, m.clean_accuracy, m.robust_accuracy, low, high,
        m.certified_accuracy, m.attack_success_rate, m.median_distance, record.masking, record.trust, record.verdict,
    )  # fmt: skip


def _classes(record: Record) -> Iterator[Row]:
    hard = {row.label: row for row in record.hardness.classes} if record.hardness else {}
    for row in record.by_class:
        low, high = row.interval or (None, None)
        h = hard.get(row.label)
        yield (
            row.label, row.name, row.n, row.clean_accuracy, row.robust_accuracy, low, high, row.turns_into,
            _class(record, row.turns_into), row.misclassified, row.broken, row.certified,
            *((h.n, h.distance, h.nearest, h.measured, h.margin, h.jacobian, h.radius) if h else (None,) * 7),
        )  # fmt: skip


def _pairs(record: Record) -> Iterator[Row]:
    for p in record.hardness.pairs if record.hardness else ():
        low, high = p.interval or (None, None)
        yield (
            p.source, _class(record, p.source), p.target, _class(record, p.target), p.n, p.broken, low, high, p.reached,
            p.distance, p.mean_distance, p.hardness, p.adversarial_distance,
        )  # fmt: skip


def _runs(record: Record) -> Iterator[Row]:
    if record.hardness is None:
        return
    runs, labels = record.hardness.runs, {outcome.id: outcome.label for outcome in record.outcomes}
    for id, target, distance, saliency in zip(runs.ids, runs.targets, runs.distances, runs.saliency, strict=True):
        yield id, labels.get(id), target, distance, saliency


def _samples(record: Record) -> Iterator[Row]:
    for o in record.outcomes:
        yield (
            o.id, o.label, _class(record, o.label), o.clean_label, o.status, o.attack, o.distance, o.adversarial_label,
            o.target, o.nearest, o.ranged, o.radius, *_spent(o.spent),
        )  # fmt: skip


def _curve(record: Record) -> Iterator[Row]:
    def points(label: int | None, curve: list[CurvePoint]) -> Iterator[Row]:
        for p in curve:
            yield label, _class(record, label), p.epsilon, p.robust_accuracy, p.certified

    yield from points(None, record.curve)
    for row in record.hardness.classes if record.hardness else ():
        yield from points(row.label, row.curve)


def _stages(record: Record) -> Iterator[Row]:
    for a in record.attacks:
        yield (
            a.name, a.attack, a.phase, " ".join(a.because), a.status, a.reason, a.access, a.source, a.restarts, a.share,
            a.near, a.rounds, a.most_rounds, a.sample, a.distance, a.entered, a.broken, a.forwards, a.backwards,
            a.queries, a.seconds, *_spent(a.budget), _json(a.rejected), _json(a.parameters),
            None if a.transfer is None else _json(a.transfer),
        )  # fmt: skip


def _findings(record: Record) -> Iterator[Row]:
    for f in record.findings:
        yield (
            f.id, f.status, f.severity, f.title, f.value, f.threshold, f.masks, f.technique, " ".join(f.answers),
            f.source, f.explanation, f.advice, *_spent(f.spent),
        )  # fmt: skip


def _rules(record: Record) -> Iterator[Row]:
    for r in record.gate.rules:
        low, high = r.interval or (None, None)
        yield r.rule, r.metric, r.table, r.value, r.threshold, r.status, r.n, r.bound, low, high, r.needed, r.reason


def _protected(record: Record) -> Iterator[Row]:
    for p in record.hardness.protected if record.hardness else ():
        yield (
            p.label, _class(record, p.label), p.into, _class(record, p.into), p.cost, p.n, p.clean, p.broken, p.tried,
            p.got_there, p.precision,
        )  # fmt: skip


def _table(columns: str, rows: Callable[[Record], Iterable[Row]]) -> Table:
    return Table(tuple(columns.split()), rows)


TABLES = {
    "metrics": _table(
        "model threat n clean_accuracy robust_accuracy robust_low robust_high certified_accuracy attack_success_rate "
        "median_distance masking trust verdict",
        _metrics,
    ),
    "classes": _table(
        "label name n clean_accuracy robust_accuracy low high turns_into turns_into_name misclassified broken "
        "certified ranged distance nearest measured margin jacobian radius",
        _classes,
    ),
    "pairs": _table(
        "source source_name target target_name n broken low high reached distance mean_distance hardness "
        "adversarial_distance",
        _pairs,
    ),
    "runs": _table("id label target distance saliency", _runs),
    "samples": _table(
        "id label name clean_label status attack distance adversarial_label target nearest ranged radius forwards "
        "backwards queries",
        _samples,
    ),
    "curve": _table("label name epsilon robust_accuracy certified", _curve),
    "stages": _table(
        "name attack phase because status reason access source restarts share near rounds most_rounds sample distance "
        "entered broken forwards backwards queries seconds budget_forwards budget_backwards budget_queries rejected "
        "parameters transfer",
        _stages,
    ),
    "findings": _table(
        "id status severity title value threshold masks technique answers source explanation advice forwards backwards "
        "queries",
        _findings,
    ),
    "rules": _table("rule metric table value threshold status n bound low high needed reason", _rules),
    "protected": _table("label name into into_name cost n clean broken tried got_there precision", _protected),
}
"""By file: its columns and rows. In `curve` the rows of all samples have no label; dictionaries are JSON."""


@hookimpl
def register_reporters(register: Any) -> None:
    register("csv", render, FOLDER)
