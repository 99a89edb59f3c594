"""From what was found to the record's hardness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auditor.derived import derived
from auditor.explore import Explored, as_record
from auditor.hardness import ClassHardness, Hardness
from auditor.pairs import median
from auditor.record import Outcome
from auditor.risk import Confusion
from auditor.samples import Samples
from auditor.slopes import Slopes
from auditor.threat import ThreatModel


def weigh(
    explored: Explored, outcomes: list[Outcome], samples: Samples, threat: ThreatModel, confusions: Sequence[Confusion]
) -> Hardness:
    """The hardness of a record. outcomes: in the order of samples."""
    saliency = explored.slopes.saliency if explored.slopes else np.full(len(explored.reached.index), np.nan)
    row = explored.rows[-1] if explored.rows else None
    played = Hardness(
        why_not=explored.why_not,
        why_no_pairs=explored.why_no_pairs,
        attack=row.attack if row else "",
        parameters=row.parameters if row else {},
        each=explored.each,
        targets=explored.targets,
        classes=_measured(explored.slopes, samples) if explored.slopes else [],
        share=explored.share,
        runs=as_record(explored.reached, samples.ids, [float(a) if np.isfinite(a) else None for a in saliency]),
    )
    return derived(
        played,
        outcomes,
        norm=str(threat.norm),
        epsilon=None if threat.boxes else threat.epsilon,
        features=int(np.prod(samples.shape)),
        confusions=confusions,
    )


def _measured(slopes: Slopes, samples: Samples) -> list[ClassHardness]:
    """What was measured of each class's slopes."""
    labels = samples.labels[slopes.index]
    found = []
    for label in np.unique(labels):
        rows = labels == label
        radius = slopes.radius[rows]
        found.append(
            ClassHardness(
                label=int(label),
                n=0,
                measured=int(rows.sum()),
                margin=float(slopes.margin[rows].mean()),
                jacobian=float(slopes.jacobian[rows].mean()),
                radius=None if np.isnan(radius).any() else median(radius),
            )
        )
    return found
