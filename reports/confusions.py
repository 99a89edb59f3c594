"""What adversarial examples became, whatever the attacks happened to find first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import Record

from . import svg
from .classes import turned_into
from .names import naming
from .numbers import count

SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class ConfusionLine:
    """How many adversarial examples of one class, of all its own, became another."""

    source: str
    into: str
    n: str
    own: str
    chart: Markup


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """The confusions seen more than once, most frequent first. note: what they leave out."""

    rows: list[ConfusionLine]
    note: str


def confusions(record: Record) -> Confusions:
    """The most frequent confusions among verified adversarial examples."""
    turned = turned_into(record)
    counted = {(label, into): n for label, own in turned.items() for into, n in own.items()}
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    best = [item for item in ranked[:SHOWN] if item[1] > 1]
    total = sum(counted.values())
    rows = _rows(record, best, turned)
    if not total:
        return Confusions(rows=[], note="No adversarial example was found, so there is no confusion to show.")
    hidden = len(counted) - len(best)
    if not best:
        return Confusions(
            rows=[], note=f"None of {count(hidden)} confusions was seen twice, so none is called frequent."
        )
    note = f"These are {count(sum(n for _, n in best))} of {count(total)} verified adversarial examples"
    return Confusions(
        rows=rows, note=f"{note}; {count(hidden)} rarer confusions are not shown." if hidden else f"{note}."
    )


def _rows(
    record: Record, best: list[tuple[tuple[int, int], int]], turned: dict[int, Counter[int]]
) -> list[ConfusionLine]:
    name = naming(record)
    most = max((own.total() for own in turned.values()), default=0)
    lines = []
    for (label, into), n in best:
        own = turned[label].total()
        title = f"{name(label)} to {name(into)}: {n} of the class's {own} adversarial examples"
        lines.append(
            ConfusionLine(
                source=name(label),
                into=name(into),
                n=count(n),
                own=count(own),
                chart=svg.part_bar("broken", n, own, most, title),
            )
        )
    return lines
