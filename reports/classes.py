"""Which classes are weak? Each with its bound, its errors with and without an attack, and how far attacks had to go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from auditor.hardness import ClassHardness
from auditor.metrics import by_weakness, weakest
from auditor.rates import MISSING
from auditor.record import ClassRow, Record, Status

from . import svg
from .names import first, in_words, naming
from .numbers import THIN, amount, at_most, count, interval, known, percent, real
from .text import shorten

ALL, WEAKEST, STRONGEST = 30, 20, 10
"""Up to `ALL` classes are all shown; of more, the weakest and the strongest."""
FEW, LEAST = 30, 5
"""Samples under which a row says that they are few, and under which no class is called the weakest."""
NONE_FOUND = "none found"
FAR = "beyond reach"
"""In place of a median distance where fewer than half of the samples have an example at any distance."""
SLOPES = (
    "Measured at the clean samples, without an attack. A class falls easily where its margin (the label's score less "
    "the largest other) is small and its Jacobian (how fast scores change with the input) is large. The linear radius "
    "is margin over slope: how far an attack would have to go if the model were linear."
)


@dataclass(frozen=True, kw_only=True)
class ClassLine:
    """One class. full: the whole name where it had to be cut. few: whether its row says that its samples are few.

    natural: errors without an attack; boundary: those that took one. into: what its adversarial examples most often
    become.
    """

    name: str
    full: str
    n: str
    few: bool
    clean: str
    robust: str
    interval: str
    chart: Markup
    natural: str
    boundary: str
    certified: str
    distance: str
    into: str


@dataclass(frozen=True, kw_only=True)
class SlopeLine:
    """How steep a class is around its samples."""

    name: str
    n: str
    margin: str
    jacobian: str
    radius: str


@dataclass(frozen=True, kw_only=True)
class Classes:
    """lead: the weakest class in words. note: what the tables leave out, empty where nothing. certified, distances:
    whether there is any to show. strongest: where not all classes are shown."""

    lead: str
    note: str
    rows: list[ClassLine]
    strongest: list[ClassLine]
    certified: bool
    distances: bool
    slopes: list[SlopeLine]
    slopes_note: str


def classes(record: Record) -> Classes:
    """The classes of a record, weakest first."""
    rows = by_weakness(record)
    shown = rows if len(rows) <= ALL else rows[:WEAKEST]
    strongest = [] if len(rows) <= ALL else rows[: -STRONGEST - 1 : -1]
    turned = turned_into(record)
    far = {row.label: row for row in record.hardness.classes} if record.hardness else {}
    tag = any(row.n >= FEW for row in [*shown, *strongest])
    told = _counted(record)
    lines = [
        [_line(record, row, turned.get(row.label, Counter()), far.get(row.label), tag=tag, told=told) for row in part]
        for part in (shown, strongest)
    ]
    return Classes(
        lead=_lead(record, turned),
        note=_note(rows, [*shown, *strongest]),
        rows=lines[0],
        strongest=lines[1],
        certified=any(row.certified for row in rows) or known(record.metrics.certified_accuracy),
        distances=any(row.n for row in far.values()),
        slopes=[_slope(record, far[row.label]) for row in shown if row.label in far and far[row.label].measured],
        slopes_note=SLOPES,
    )


def order(record: Record) -> list[int]:
    """The labels, weakest class first, as the table shows them."""
    return [row.label for row in by_weakness(record)]


def turned_into(record: Record) -> dict[int, Counter[int]]:
    """How many adversarial examples of each class got which label."""
    turned: dict[int, Counter[int]] = {}
    for outcome in record.outcomes:
        if outcome.adversarial_label is not None:
            turned.setdefault(outcome.label, Counter())[outcome.adversarial_label] += 1
    return turned


def no_weakest(record: Record) -> str:
    """Why no class is called the weakest."""
    if not known(record.metrics.robust_accuracy):
        return f"By class, robust accuracy is {MISSING}: no attack judged any sample."
    if all(row.n < LEAST for row in record.by_class):
        return f"No class has the {LEAST} samples that it takes to call one the weakest."
    return f"Nothing was broken in any class of at least {LEAST} samples."


def share(turned: Counter[int], into: int) -> str:
    """`12 of 17`: how many of a class's adversarial examples got this label."""
    return f"{count(turned[into])} of {count(turned.total())}"


def median(found: ClassHardness | None) -> str:
    """A class's median distance in words."""
    if found is None or not found.n:
        return MISSING
    return amount(found.distance) if known(found.distance) else FAR


def _counted(record: Record) -> bool:
    """Whether errors are counted by class; records of before that was done have 0 everywhere."""
    statuses = record.metrics.statuses
    found = sum(row.misclassified + row.broken for row in record.by_class)
    return found == statuses.get(Status.MISCLASSIFIED, 0) + statuses.get(Status.BROKEN, 0)


def _lead(record: Record, turned: dict[int, Counter[int]]) -> str:
    row = weakest(record, LEAST)
    if row is None or row.turns_into is None:
        return no_weakest(record)
    name, bound = naming(record), percent(row.robust_accuracy, row.n, bound=True)
    span = interval(row.interval, whole=True)
    small = by_weakness(record)[0].n < LEAST
    most = share(turned.get(row.label, Counter()), row.turns_into)
    return (
        f"{first(name(row.label))} is the weakest: at most {bound} of its {count(row.n)} samples are "
        f"robust (95{THIN}% interval {span}). Its adversarial examples most often become "
        f"{in_words(name(row.turns_into))} ({most})."
        + (f" Classes of fewer than {LEAST} samples are not called so." if small else "")
    )


def _note(rows: list[ClassRow], shown: list[ClassRow]) -> str:
    notes = []
    hidden = len(rows) - len(shown)
    if hidden:
        notes.append(
            f"Shown are the {WEAKEST} weakest and the {STRONGEST} strongest of {count(len(rows))} classes; "
            f"{count(hidden)} are not shown. The record has them all."
        )
    few = sum(row.n < FEW for row in shown)
    if few:
        every, some = "All of these classes have", f"{few} of these classes {'has' if few == 1 else 'have'}"
        notes.append(
            f"{every if few == len(shown) else some} fewer than {FEW} samples: their rates are hints, and their "
            "intervals are wide."
        )
    return " ".join(notes)


def _line(
    record: Record, row: ClassRow, turned: Counter[int], found: ClassHardness | None, *, tag: bool, told: bool
) -> ClassLine:
    robust, clean = real(row.robust_accuracy), real(row.clean_accuracy)
    name = shorten(row.name)
    bound = at_most(robust, row.n)
    title = f"{name}: robust accuracy {bound} ({interval(row.interval)}), clean {percent(clean, row.n)}, n = {row.n}"
    into = NONE_FOUND
    if row.turns_into is not None:
        into = naming(record)(row.turns_into)
        if turned:
            into += f" ({share(turned, row.turns_into)})"
    return ClassLine(
        name=name,
        full=row.name if name != row.name else "",
        n=count(row.n),
        few=tag and row.n < FEW,
        clean=percent(clean, row.n),
        robust=bound,
        interval=interval(row.interval),
        chart=svg.share_bar(robust, row.interval if robust is not None else None, clean, title),
        natural=count(row.misclassified) if told else MISSING,
        boundary=count(row.broken) if told else MISSING,
        certified=count(row.certified),
        distance=median(found),
        into=into,
    )


def _slope(record: Record, found: ClassHardness) -> SlopeLine:
    return SlopeLine(
        name=naming(record)(found.label),
        n=count(found.measured),
        margin=amount(found.margin),
        jacobian=amount(found.jacobian),
        radius=amount(found.radius),
    )
