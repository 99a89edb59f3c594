"""What of a record's hardness follows from its outcomes and runs: computed for the record, and again to check it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from msgspec import structs

from auditor.curve import correct, curve, ranged, smallest_found
from auditor.hardness import ClassHardness, Hardness
from auditor.metrics import by_label
from auditor.pairs import budgets, median, pairs, prediction
from auditor.record import Outcome
from auditor.risk import Confusion, protected, risk

CLASS_POINTS = 24
"""Most points of the curve of one class."""
EXTREMES = 8
"""How many of the easiest and of the hardest samples are named."""


def derived(
    hardness: Hardness,
    outcomes: list[Outcome],
    *,
    norm: str,
    epsilon: float | None,
    features: int,
    confusions: Sequence[Confusion],
) -> Hardness:
    """The hardness with everything that follows from outcomes and runs. It needs, of the classes, what was measured of
    their slopes; of the rest, what was played. features: of a sample. epsilon: None for boxes."""
    looked, runs = ranged(outcomes), hardness.runs
    cells = []
    if epsilon is not None:
        cells = pairs(runs, {o.id: o.label for o in outcomes}, norm, epsilon, features)
    predicted = prediction(cells)
    distances = smallest_found(looked, epsilon) if epsilon is not None else np.full(len(looked), np.inf)
    order = sorted((float(d), o.id) for d, o in zip(distances, looked, strict=True) if isfinite(d))
    ids = [i for _, i in order]
    measured = {own.label: own for own in hardness.classes}
    return structs.replace(
        hardness,
        correct=sum(map(correct, outcomes)),
        ranged=len(looked),
        n=len(set(runs.ids)),
        budgets=budgets(norm, epsilon, features) if cells and epsilon is not None else [],
        pairs=cells,
        classes=[by_class(measured.get(label), label, own, epsilon) for label, own in by_label(outcomes).items()],
        robustness=min((a for a in runs.saliency if a is not None), default=None),
        correlation=predicted.hardness,
        correlation_distance=predicted.distance,
        over=predicted.over,
        easiest=ids[:EXTREMES],
        hardest=ids[: -EXTREMES - 1 : -1],
        protected=[protected(one, outcomes, runs, epsilon) for one in confusions],
        risk=risk(outcomes, runs, epsilon, confusions) if confusions else None,
    )


def by_class(measured: ClassHardness | None, label: int, own: list[Outcome], epsilon: float | None) -> ClassHardness:
    """One class, from its outcomes. measured: its slopes."""
    looked = ranged(own)
    distances = smallest_found(looked, epsilon) if epsilon is not None else np.zeros(0)
    return structs.replace(
        measured or ClassHardness(label=label, n=0),
        n=len(looked),
        distance=median(distances),
        nearest=float(distances.min()) if len(distances) and np.isfinite(distances.min()) else None,
        curve=curve(own, epsilon, CLASS_POINTS),
    )
