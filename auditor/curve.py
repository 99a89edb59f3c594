"""Robust accuracy over epsilon, from the smallest change that was found for each sample."""

from __future__ import annotations

import numpy as np

from auditor.ledger import Ledger
from auditor.record import CurvePoint

POINTS = 60
"""Most points of a curve; a page with more says no more."""


def smallest_found(ledger: Ledger) -> np.ndarray:
    """Distance of each sample's nearest adversarial example by any stage, `[n]`: 0 where it is wrong when clean,
    infinite where none was found."""
    broken = np.where(ledger.broken & np.isfinite(ledger.distance), ledger.distance, np.inf)
    return np.where(ledger.correct, np.minimum(ledger.nearest, broken), 0.0)


def curve(ledger: Ledger, epsilon: float) -> list[CurvePoint]:
    """The share of samples with no adversarial example found up to each distance: an upper bound at every point.

    Empty unless a distance stage ran, since without one nothing was looked for but at epsilon. What the other stages
    found counts from its own distance on, so there the curve may fall in a step at epsilon, which is among the points.
    """
    if not ledger.ranged.any():
        return []
    distances = smallest_found(ledger)
    finite = np.unique(distances[np.isfinite(distances) & (distances > 0)])
    if len(finite) > POINTS:
        finite = finite[np.linspace(0, len(finite) - 1, POINTS).round().astype(int)]
    at = np.unique(np.concatenate([[0.0, epsilon], finite]))
    return [CurvePoint(epsilon=float(e), robust_accuracy=float((distances > e).mean())) for e in at]


def median_distance(ledger: Ledger) -> float | None:
    """The distance within which half of the correctly classified samples have an adversarial example that was found.

    None unless a distance stage ran, and where it is further than anything that was found.
    """
    if not ledger.ranged.any():
        return None
    median = float(np.median(smallest_found(ledger)[ledger.correct]))
    return median if np.isfinite(median) else None
