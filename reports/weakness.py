"""Where is it weak? Robust accuracy by class, and what the adversarial examples turn into."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from auditor.metrics import class_name, weakest
from auditor.rates import MISSING
from auditor.record import ClassRow, Outcome, Record

from . import svg
from .numbers import THIN, at_most, count, interval, known, percent, real
from .text import shorten

ALL, WEAKEST, LOSSES = 30, 20, 10
"""Up to `ALL` classes are all shown; of more, the weakest and then those that lost most samples."""
PAIRS = 8
FEW, LEAST = 30, 5
"""Samples under which a row says that they are few, and under which no class is called the weakest."""


@dataclass(frozen=True, kw_only=True)
class ClassLine:
    """One class. full: the whole name where it had to be cut. few: whether its row says that its samples are few.

    into: what its adversarial examples most often become.
    """

    name: str
    full: str
    n: str
    few: bool
    clean: str
    robust: str
    interval: str
    chart: Markup
    broken: str
    into: str


@dataclass(frozen=True, kw_only=True)
class PairLine:
    """How many adversarial examples of one class, of all its own, became another."""

    source: str
    into: str
    n: str
    own: str
    chart: Markup


@dataclass(frozen=True, kw_only=True)
class Weakness:
    """lead: the weakest class in words. note: what the tables leave out, empty where nothing."""

    lead: str
    note: str
    classes: list[ClassLine]
    pairs: list[PairLine]
    pairs_note: str


def weakness(record: Record) -> Weakness:
    """The classes, weakest first, and the confusions seen more than once among verified adversarial examples."""
    broken = [outcome for outcome in record.outcomes if outcome.adversarial_label is not None]
    by_label: dict[int, Counter[int]] = {}
    for outcome in broken:
        by_label.setdefault(outcome.label, Counter())[outcome.adversarial_label or 0] += 1
    rows = sorted(record.by_class, key=_rank)
    shown = _select(rows, by_label)
    pairs, pairs_note = _pairs(record, broken)
    tag = any(row.n >= FEW for row in shown)
    return Weakness(
        lead=_lead(record, by_label),
        note=_note(rows, shown),
        classes=[_line(record, row, by_label.get(row.label, Counter()), tag=tag) for row in shown],
        pairs=pairs,
        pairs_note=pairs_note,
    )


def order(record: Record) -> list[int]:
    """The labels, weakest class first, as the table shows them."""
    return [row.label for row in sorted(record.by_class, key=_rank)]


def _rank(row: ClassRow) -> tuple[bool, float, int]:
    robust = real(row.robust_accuracy)
    return robust is None, robust or 0.0, row.label


def _select(rows: list[ClassRow], by_label: dict[int, Counter[int]]) -> list[ClassRow]:
    if len(rows) <= ALL:
        return rows
    rest = sorted(rows[WEAKEST:], key=lambda row: (-by_label.get(row.label, Counter()).total(), row.label))
    return rows[:WEAKEST] + [row for row in rest[:LOSSES] if row.label in by_label]


def _lead(record: Record, turned: dict[int, Counter[int]]) -> str:
    row = weakest(record.by_class, LEAST)
    if row is None or row.turns_into is None:
        return no_weakest(record)
    names = _names(record)
    name, into = (shorten(class_name(k, names)) for k in (row.label, row.turns_into))
    name = f"Class {name}" if name.isdecimal() else name
    robust = percent(row.robust_accuracy, row.n, bound=True)
    within = f"95{THIN}% interval {interval(row.interval, whole=True)}"
    own = _share(turned.get(row.label, Counter()), row.turns_into)
    return (
        f"{name} is the weakest: at most {robust} of its {count(row.n)} samples are "
        f"robust ({within}). Its adversarial examples most often become {into} ({own})."
    )


def _share(turned: Counter[int], into: int) -> str:
    return f"{count(turned[into])} of {count(turned.total())}"


def no_weakest(record: Record) -> str:
    """Why no class is called the weakest."""
    if not known(record.metrics.robust_accuracy):
        return f"By class, robust accuracy is {MISSING}: no attack judged any sample."
    if all(row.n < LEAST for row in record.by_class):
        return f"No class has the {LEAST} samples that it takes to call one the weakest."
    return f"Nothing was broken in any class of at least {LEAST} samples."


def _note(rows: list[ClassRow], shown: list[ClassRow]) -> str:
    notes = []
    hidden = len(rows) - len(shown)
    if hidden:
        extra = len(shown) - WEAKEST
        more = f" and the {extra} others that lost most samples" if extra > 0 else ""
        notes.append(
            f"Shown are the {WEAKEST} weakest of {count(len(rows))} classes{more}; {count(hidden)} are not shown. "
            "The record has them all."
        )
    few = sum(row.n < FEW for row in shown)
    if few:
        which = (
            "All of these classes have"
            if few == len(shown)
            else f"{few} of these classes {'has' if few == 1 else 'have'}"
        )
        notes.append(f"{which} fewer than {FEW} samples: their rates are hints, and their intervals are wide.")
    return " ".join(notes)


def _line(record: Record, row: ClassRow, turned: Counter[int], *, tag: bool) -> ClassLine:
    robust, clean = real(row.robust_accuracy), real(row.clean_accuracy)
    name = shorten(row.name)
    bound = at_most(robust, row.n)
    title = f"{name}: robust accuracy {bound} ({interval(row.interval)}), clean {percent(clean, row.n)}, n = {row.n}"
    into = "none found"
    if row.turns_into is not None:
        into = shorten(class_name(row.turns_into, _names(record)))
        if turned:
            into += f" ({_share(turned, row.turns_into)})"
    return ClassLine(
        name=name,
        full=row.name if name != row.name else "",
        n=count(row.n),
        few=tag and row.n < FEW,
        clean=percent(clean, row.n),
        robust=bound,
        interval=interval(row.interval),
        chart=svg.share_bar(robust, row.interval if robust is not None else None, clean, title),
        broken=count(turned.total()),
        into=into,
    )


def _pairs(record: Record, broken: list[Outcome]) -> tuple[list[PairLine], str]:
    counted = Counter((o.label, o.adversarial_label) for o in broken if o.adversarial_label is not None)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    best = [item for item in ranked[:PAIRS] if item[1] > 1]
    names = _names(record)
    most = max(Counter(o.label for o in broken).values(), default=0)
    lines = []
    for (label, into), n in best:
        source, target = shorten(class_name(label, names)), shorten(class_name(into, names))
        own = sum(k for (source_, _), k in counted.items() if source_ == label)
        title = f"{source} to {target}: {n} of the class's {own} adversarial examples"
        bar = svg.part_bar("broken", n, own, most, title)
        lines.append(PairLine(source=source, into=target, n=count(n), own=count(own), chart=bar))
    if not broken:
        return lines, "No adversarial example was found, so there is no confusion to show."
    hidden = len(counted) - len(best)
    if not best:
        return lines, f"None of {count(hidden)} confusions was seen twice, so none is called frequent."
    note = f"These are {count(sum(n for _, n in best))} of {count(len(broken))} verified adversarial examples"
    return lines, f"{note}; {count(hidden)} rarer confusions are not shown." if hidden else f"{note}."


def _names(record: Record) -> tuple[str, ...] | None:
    return tuple(record.class_names) if record.class_names else None
