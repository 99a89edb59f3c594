"""Robust accuracy over epsilon, between what was found for each sample and what is proved of it.

A sample's true distance lies between its certified radius and the distance of its nearest adversarial example that was
found. The two empirical curves are drawn from these; nothing is fitted, and nothing is assumed beyond what was found.
"""

from __future__ import annotations

import numpy as np

from auditor.hardness import CurvePoint
from auditor.metrics import nearest_found
from auditor.record import Outcome, Status

POINTS = 60
"""Most points of a curve; a page with more says no more."""


def smallest_found(outcomes: list[Outcome], epsilon: float) -> np.ndarray:
    """Distance of each sample's nearest adversarial example by any stage, `[n]`: 0 where it is wrong when clean,
    infinite where none was found. What was broken lies within epsilon, however its distance was rounded."""
    distances = [0.0 if o.status is Status.MISCLASSIFIED else nearest_found(o, epsilon) for o in outcomes]
    return np.array(distances, float)


def curve(outcomes: list[Outcome], epsilon: float | None, points: int = POINTS) -> list[CurvePoint]:
    """The share of samples with no adversarial example found up to each distance, an upper bound at every point, and
    the share proved to have none, a lower bound.

    Empty unless a distance stage ran, since without one nothing was looked for but at epsilon. What the other stages
    found counts from its own distance on, so there the curve may fall in a step at epsilon, which is among the points.
    Where the stage met a part of the correctly classified samples only, these stand for all of them: an estimate, which
    is held between what is proved of all and, from epsilon on, what stands of all.
    """
    looked = ranged(outcomes)
    if epsilon is None or not looked:
        return []
    distances = smallest_found(looked, epsilon)
    radii = np.array([outcome.radius if correct(outcome) else -1.0 for outcome in outcomes])
    right, everybody = sum(map(correct, outcomes)), len(looked) * len(outcomes)
    finite = np.unique(np.concatenate([distances[np.isfinite(distances)], radii]))
    finite = finite[finite > 0]
    if len(finite) > points:
        finite = finite[np.linspace(0, len(finite) - 1, points).round().astype(int)]
    at = np.unique(np.concatenate([[0.0, epsilon], finite]))
    standing = sum(outcome.status not in (Status.BROKEN, Status.MISCLASSIFIED) for outcome in outcomes) / len(outcomes)
    drawn = []
    for e in at:
        proved, found = float((radii >= e).mean()), int((distances > e).sum()) * right / everybody
        if len(looked) < right:
            found = max(min(found, standing) if e >= epsilon else found, proved)
        drawn.append(CurvePoint(epsilon=float(e), robust_accuracy=found, certified=proved))
    return drawn


def median_distance(outcomes: list[Outcome], epsilon: float | None) -> float | None:
    """The distance within which half of the correctly classified samples have an adversarial example that was found.

    None unless a distance stage ran, and where it is further than anything that was found.
    """
    looked = ranged(outcomes)
    if epsilon is None or not looked:
        return None
    median = float(np.median(smallest_found(looked, epsilon)))
    return median if np.isfinite(median) else None


def ranged(outcomes: list[Outcome]) -> list[Outcome]:
    """The correctly classified samples on which a distance stage ran its full budget."""
    return [outcome for outcome in outcomes if outcome.ranged and correct(outcome)]


def correct(outcome: Outcome) -> bool:
    """Whether the model is right about it without an attack."""
    return outcome.status is not Status.MISCLASSIFIED
