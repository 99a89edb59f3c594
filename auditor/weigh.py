"""From what was found to the record's hardness: curves and distances by class, pairs, extremes, and what costs most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from auditor.curve import correct, curve, ranged, smallest_found
from auditor.explore import Explored, as_record
from auditor.hardness import ClassHardness, Hardness
from auditor.pairs import budgets, median, pairs, prediction
from auditor.record import Outcome
from auditor.risk import Confusion, protected, risk
from auditor.samples import Samples
from auditor.slopes import Slopes
from auditor.threat import ThreatModel

CLASS_POINTS = 24
"""Most points of the curve of one class."""
EXTREMES = 8
"""How many of the easiest and of the hardest samples are named."""


def weigh(
    explored: Explored, outcomes: list[Outcome], samples: Samples, threat: ThreatModel, confusions: Sequence[Confusion]
) -> Hardness:
    """The hardness of a record. outcomes: in the order of samples."""
    epsilon = None if threat.boxes else threat.epsilon
    looked = ranged(outcomes)
    saliency = explored.slopes.saliency if explored.slopes else np.full(len(explored.reached.index), np.nan)
    runs = as_record(explored.reached, samples.ids, [float(a) if np.isfinite(a) else None for a in saliency])
    features = int(np.prod(samples.shape))
    cells = pairs(runs, {o.id: o.label for o in outcomes}, str(threat.norm), threat.epsilon, features)
    predicted = prediction(cells)
    order = sorted((o for o in looked if o.nearest is not None), key=lambda o: (o.nearest, o.id))
    row = explored.rows[-1] if explored.rows else None
    return Hardness(
        why_not=explored.why_not,
        why_no_pairs=explored.why_no_pairs,
        correct=sum(map(correct, outcomes)),
        ranged=len(looked),
        attack=row.attack if row else "",
        parameters=row.parameters if row else {},
        n=len(explored.chosen),
        each=explored.each,
        targets=explored.targets,
        budgets=budgets(str(threat.norm), threat.epsilon, features) if cells else [],
        pairs=cells,
        classes=[
            by_class(label, [o for o in outcomes if o.label == label], epsilon, explored.slopes, samples)
            for label in sorted({o.label for o in outcomes})
        ],
        robustness=min((a for a in runs.saliency if a is not None), default=None),
        correlation=predicted.hardness,
        correlation_distance=predicted.distance,
        over=predicted.over,
        easiest=[o.id for o in order[:EXTREMES]],
        hardest=[o.id for o in order[: -EXTREMES - 1 : -1]],
        protected=[protected(one, outcomes, runs, epsilon) for one in confusions],
        risk=risk(outcomes, runs, epsilon, confusions) if confusions else None,
        share=explored.share,
        runs=runs,
    )


def by_class(
    label: int, own: list[Outcome], epsilon: float | None, slopes: Slopes | None, samples: Samples
) -> ClassHardness:
    """One class: its outcomes, and of the slopes those of its samples."""
    looked = ranged(own)
    distances = smallest_found(looked, epsilon) if epsilon is not None else np.zeros(0)
    found = ClassHardness(
        label=label,
        n=len(looked),
        distance=median(distances),
        nearest=float(distances.min()) if len(distances) and np.isfinite(distances.min()) else None,
        curve=curve(own, epsilon, CLASS_POINTS),
    )
    rows = samples.labels[slopes.index] == label if slopes is not None else np.zeros(0, bool)
    if slopes is None or not rows.any():
        return found
    radius = slopes.radius[rows]
    return structs.replace(
        found,
        measured=int(rows.sum()),
        margin=float(slopes.margin[rows].mean()),
        jacobian=float(slopes.jacobian[rows].mean()),
        radius=None if np.isnan(radius).any() else median(radius),
    )
