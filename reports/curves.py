"""How robust accuracy falls as epsilon grows, where the record has it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import Record

from . import svg
from .numbers import amount, at_most, count, known


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epsilon and the bound there."""

    epsilon: str
    robust: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The curve as a chart, and its numbers. lead: how to read it."""

    lead: str
    chart: Markup
    points: list[Point]


def curve(record: Record) -> Curve | None:
    """The curve of a record, None where it has none."""
    n = record.samples.n
    points = [(p.epsilon, p.robust_accuracy) for p in record.curve if known(p.epsilon) and known(p.robust_accuracy)]
    if not points:
        return None
    points = sorted({amount(x): (x, y) for x, y in sorted(points)}.values())  # of those that read alike, the last
    shown = [Point(epsilon=amount(x), robust=at_most(y, n)) for x, y in points]
    label = "Robust accuracy over epsilon: " + ", ".join(f"{p.robust} at {p.epsilon}" for p in shown)
    return Curve(lead=_lead(record), chart=svg.curve(points, n, label, record.threat.epsilon), points=shown)


def _lead(record: Record) -> str:
    """What the curve is made of, and where half of the samples have fallen."""
    text = (
        "Each correctly classified sample had the same budget to find its nearest adversarial example, whether it was "
        "broken at epsilon or not. The curve is the share for which none was found so close: an upper bound everywhere."
    )
    looked = [outcome for outcome in record.outcomes if outcome.ranged]
    missing = sum(outcome.nearest is None for outcome in looked)
    if any(not row.distance and row.broken for row in record.attacks):
        text += " Other stages looked at epsilon alone: where it falls in a step there, the step is theirs."
    if missing:
        text += (
            f" For {count(missing)} of {count(len(looked))} no example was found at any distance, so beyond the last "
            "point the curve says little."
        )
    median = record.metrics.median_distance
    if median is None or not known(median):
        return text
    return f"{text} Half of them have one within {amount(median)} ({record.threat.norm})."
