"""At what distance? Robust accuracy over epsilon between its two ends, for all samples and by class."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.hardness import ClassHardness, CurvePoint
from auditor.record import Record

from . import charts, words
from .charts import Step
from .classes import FAR, LEAST, order
from .names import capital, in_words, naming
from .numbers import amount, at_least, at_most, count, known, times

SMALL, ENDS = 12, 6
"""Up to `SMALL` classes each have a curve; of more, the weakest and the strongest."""
MULTIPLES = (0.5, 1.0, 2.0)
"""Of epsilon, where the table by class reads the curves."""
NOT_ASKED = "This scan looked at epsilon alone; with `--hardness` it looks for how near the nearest example is."


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epsilon, the upper and the lower bound there."""

    epsilon: str
    robust: str
    certified: str


@dataclass(frozen=True, kw_only=True)
class Small:
    """One class's curve beside others."""

    name: str
    note: str
    chart: Markup


@dataclass(frozen=True, kw_only=True)
class ClassDistance:
    """One class in numbers: how many were looked for, nearest and median, and what is left at multiples of epsilon."""

    name: str
    n: str
    nearest: str
    median: str
    left: list[str]


@dataclass(frozen=True, kw_only=True)
class Distances:
    """lead: the medians in words. estimate: that they are of some samples, empty where of all. notes: how the curve is
    to be read. proved: whether there is a lower end. heads: of
    the columns that the rows by class have of their own. why_not: in place of all else where nothing was looked for."""

    lead: str
    estimate: str
    notes: list[str]
    chart: Markup
    points: list[Point]
    proved: bool
    small: list[Small]
    small_note: str
    heads: list[str]
    by_class: list[ClassDistance]
    why_not: str


def distances(record: Record) -> Distances:
    """How far away adversarial examples are."""
    n = record.samples.n
    steps = _steps(record.curve)
    points = [
        Point(epsilon=name, robust=at_most(s.found, n), certified=at_least(s.proved, n))
        for name, s in _read(steps, record.threat.epsilon)
    ]
    proved = charts.says_something(steps)
    text = "Robust accuracy over epsilon: " + ", ".join(f"{p.robust} at {p.epsilon}" for p in points)
    found = _found(record)
    rows = [found[label] for label in order(record) if label in found]
    epsilon = record.threat.epsilon if known(record.threat.epsilon) else None
    multiples = MULTIPLES if epsilon else ()
    return Distances(
        lead=_lead(record),
        estimate=_estimate(record),
        notes=_notes(record, proved=proved) if points else [],
        chart=charts.curve(steps, n, text, epsilon) if points else Markup(""),
        points=points,
        proved=proved,
        small=_small(record, rows),
        small_note=f"Shown are the {ENDS} weakest classes and the {ENDS} strongest." if len(rows) > SMALL else "",
        heads=["left at epsilon" if m == 1 else f"left at {m:g} × epsilon" for m in multiples],
        by_class=[_row(record, row, [m * epsilon for m in multiples] if epsilon else []) for row in _ends(rows)],
        why_not=_why_not(record) if not points and not rows else "",
    )


def _steps(curve: list[CurvePoint]) -> list[Step]:
    steps = [
        Step(epsilon=p.epsilon, found=p.robust_accuracy, proved=p.certified if known(p.certified) else 0.0)
        for p in curve
        if known(p.epsilon) and known(p.robust_accuracy)
    ]
    return sorted(steps, key=lambda step: step.epsilon)


def _read(steps: list[Step], epsilon: float | None) -> list[tuple[str, Step]]:
    """The steps by how their epsilon reads: of several that read alike the last, but what holds at epsilon itself is
    never told with what holds just over it."""
    last: dict[str, Step] = {}
    for step in steps:
        over = known(epsilon) and step.epsilon > epsilon and amount(step.epsilon) == amount(epsilon)
        last[f"just over {amount(step.epsilon)}" if over else amount(step.epsilon)] = step
    return list(last.items())


def _found(record: Record) -> dict[int, ClassHardness]:
    return {row.label: row for row in record.hardness.classes if row.n} if record.hardness else {}


def _why_not(record: Record) -> str:
    if record.hardness is not None and record.hardness.why_not:
        return f"Nothing was looked for beyond epsilon: {record.hardness.why_not.rstrip('.')}."
    return NOT_ASKED


def _lead(record: Record) -> str:
    """The medians: of all, of the weakest class and of the class that is farthest away."""
    median, name = record.metrics.median_distance, naming(record)
    found = [row for row in _found(record).values() if row.n >= LEAST and known(row.distance)]
    parts = []
    if known(median):
        parts.append(
            f"Half of the correctly classified samples have an adversarial example within {_far(record, median)}"
        )
    if len(found) > 1:
        near, far = (pick(found, key=lambda row: row.distance or 0.0) for pick in (min, max))
        few = "" if len(found) == len(_found(record)) else f", of the classes with at least {LEAST} such samples,"
        text = f"nearest{few} is {in_words(name(near.label))} with a median of {amount(near.distance)}"
        parts.append(f"{text}, farthest {in_words(name(far.label))} with {amount(far.distance)}")
    return f"{capital('; '.join(parts))}." if parts else ""


def _far(record: Record, distance: float) -> str:
    multiple = times(distance, record.threat.epsilon)
    return f"{amount(distance)} ({record.threat.norm}{f', {multiple}' if multiple else ''})"


def _notes(record: Record, *, proved: bool) -> list[str]:
    """What the curve is made of."""
    notes = [
        f"A distance is {words.distance(record.threat)}. The {'upper ' if proved else ''}curve is the share of samples "
        "with no adversarial example found so close: attacks can only push it down."
    ]
    if proved:
        notes.append("The lower one is the share proved to have none. The truth lies in the band between them.")
    if not _estimate(record) and any(not row.distance and row.broken for row in record.attacks):
        notes.append("Other stages looked at epsilon alone: where the curve falls in a step there, the step is theirs.")
    looked = [outcome for outcome in record.outcomes if outcome.ranged]
    missing = sum(outcome.nearest is None for outcome in looked)
    if missing:
        notes.append(
            f"For {count(missing)} of {count(len(looked))} no example was found at any distance, so beyond the last "
            "point the curve says little."
        )
    return notes


def _estimate(record: Record) -> str:
    hardness = record.hardness
    if hardness is None or hardness.ranged >= hardness.correct:
        return ""
    return (
        f"The nearest example was looked for on {count(hardness.ranged)} of {count(hardness.correct)} correctly "
        "classified samples, so distances are estimates, and the curve need not meet the robust accuracy at epsilon."
    )


def _ends(rows: list[ClassHardness]) -> list[ClassHardness]:
    return rows if len(rows) <= SMALL else rows[:ENDS] + rows[-ENDS:]


def _small(record: Record, rows: list[ClassHardness]) -> list[Small]:
    """A curve for each class, on one scale."""
    shown = [(row, _steps(row.curve)) for row in _ends(rows)]
    right = max((steps[-1].epsilon for _, steps in shown if steps), default=0.0)
    name = naming(record, 24)
    if len(shown) < 2 or right <= 0:
        return []
    small = []
    for row, steps in shown:
        if steps:
            note = f"median {amount(row.distance) if known(row.distance) else FAR}, n = {count(row.n)}"
            text = f"{name(row.label)}: {note}; " + _ticks(record, steps, row.n)
            chart = charts.small_curve(steps, right, record.threat.epsilon, text)
            small.append(Small(name=name(row.label), note=note, chart=chart))
    return small


def _ticks(record: Record, steps: list[Step], n: int) -> str:
    epsilon = record.threat.epsilon
    if not known(epsilon):
        return f"{at_most(steps[-1].found, n)} left at {amount(steps[-1].epsilon)}"
    return f"{at_most(_at(steps, epsilon).found, n)} left at epsilon"


def _at(steps: list[Step], epsilon: float) -> Step:
    """The curve at this epsilon: it is level between its points."""
    return next((step for step in reversed(steps) if step.epsilon <= epsilon), steps[0])


def _row(record: Record, row: ClassHardness, at: list[float]) -> ClassDistance:
    steps = _steps(row.curve)
    return ClassDistance(
        name=naming(record)(row.label),
        n=count(row.n),
        nearest=amount(row.nearest),
        median=amount(row.distance) if known(row.distance) else FAR,
        left=[at_most(_at(steps, epsilon).found, row.n) if steps else "" for epsilon in at],
    )
