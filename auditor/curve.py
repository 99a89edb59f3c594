"""Robust accuracy over epsilon, from the smallest change that was found for each sample."""

from __future__ import annotations

import numpy as np

from auditor.record import CurvePoint, Outcome, Status

POINTS = 60
"""Most points of a curve; a page with more says no more."""


def smallest_found(outcomes: list[Outcome], epsilon: float) -> np.ndarray:
    """Distance of each sample's nearest adversarial example by any stage, `[n]`: 0 where it is wrong when clean,
    infinite where none was found. What was broken lies within epsilon, however its distance was rounded."""
    distances = []
    for outcome in outcomes:
        near = np.inf if outcome.nearest is None else outcome.nearest
        if outcome.status is Status.BROKEN:
            near = min(near, epsilon if outcome.distance is None else outcome.distance, epsilon)
        distances.append(0.0 if outcome.status is Status.MISCLASSIFIED else near)
    return np.array(distances, float)


def curve(outcomes: list[Outcome], epsilon: float | None) -> list[CurvePoint]:
    """The share of samples with no adversarial example found up to each distance: an upper bound at every point.

    Empty unless a distance stage ran, since without one nothing was looked for but at epsilon. What the other stages
    found counts from its own distance on, so there the curve may fall in a step at epsilon, which is among the points.
    """
    if epsilon is None or not ranged(outcomes):
        return []
    distances = smallest_found(outcomes, epsilon)
    finite = np.unique(distances[np.isfinite(distances) & (distances > 0)])
    if len(finite) > POINTS:
        finite = finite[np.linspace(0, len(finite) - 1, POINTS).round().astype(int)]
    at = np.unique(np.concatenate([[0.0, epsilon], finite]))
    return [CurvePoint(epsilon=float(e), robust_accuracy=float((distances > e).mean())) for e in at]


def median_distance(outcomes: list[Outcome], epsilon: float | None) -> float | None:
    """The distance within which half of the correctly classified samples have an adversarial example that was found.

    None unless a distance stage ran, and where it is further than anything that was found.
    """
    if epsilon is None or not ranged(outcomes):
        return None
    correct = np.array([outcome.status is not Status.MISCLASSIFIED for outcome in outcomes])
    median = float(np.median(smallest_found(outcomes, epsilon)[correct]))
    return median if np.isfinite(median) else None


def ranged(outcomes: list[Outcome]) -> bool:
    """Whether a distance stage ran its full budget on any sample."""
    return any(outcome.ranged for outcome in outcomes)
