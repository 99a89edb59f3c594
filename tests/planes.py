"""The smallest change that reaches a hyperplane within a box, by scipy's solvers, to hold other answers against."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, minimize

from auditor.bench import Bench, LinearTarget
from auditor.threat import Norm


def shortest(
    norm: Norm, slope: np.ndarray, rise: float, low: np.ndarray, high: np.ndarray, weights: np.ndarray | float = 1.0
) -> float:
    """Size of the smallest change in [low, high] with slope · change ≥ rise > 0, infinite where there is none.

    slope: one plane `[d]` or several `[k, d]`, all of which have to be reached; rise likewise.
    """
    slopes, d = np.atleast_2d(slope), np.shape(slope)[-1]
    rises, scale = np.atleast_1d(rise), np.broadcast_to(weights, d).astype(float)
    steepest = np.abs(slopes).max(axis=1)
    slopes, rises = slopes / steepest[:, None], rises / steepest
    box = list(zip(low, high, strict=True))
    if norm is Norm.L2:
        far = [np.where((row > 0), high, low) @ row if np.isfinite(low).all() else np.inf for row in slopes]
        if (np.array(far) < rises).any():
            return float("inf")
        unit = max(rises / np.linalg.norm(slopes * scale, axis=1))  # so that the answer is about 1
        result = minimize(
            lambda u: u @ u,
            np.zeros(d),
            jac=lambda u: 2 * u,
            bounds=[(a / s / unit, b / s / unit) for (a, b), s in zip(box, scale, strict=True)],
            constraints={
                "type": "ineq",
                "fun": lambda u: (slopes * scale) @ u - rises / unit,
                "jac": lambda _: slopes * scale,
            },
            options={"maxiter": 1000, "ftol": 1e-10},
        )
        assert result.success, result.message
        return float(unit * np.sqrt(result.fun))
    sizes = 1 if norm is Norm.LINF else d  # one size for all features, or one for each
    share = np.ones((d, 1)) if norm is Norm.LINF else np.eye(d)
    inverse = np.diag(1 / scale)
    rows = np.block([[inverse, -share], [-inverse, -share], [-slopes, np.zeros((len(rises), sizes))]])
    limits = np.concatenate([np.zeros(2 * d), -rises])
    result = linprog([0] * d + [1] * sizes, rows, limits, bounds=[*box, *[(0, None)] * sizes])
    return float(result.fun) if result.success else float("inf")


def distances(bench: Bench) -> np.ndarray:
    """The exact distance of each sample to the goal within the bounds, weights and frozen features of the threat."""
    target, threat = bench.target, bench.threat
    assert isinstance(target, LinearTarget)
    weight, found = target.weight.astype(float), []
    for x, y in zip(bench.samples.inputs, bench.samples.labels, strict=True):
        x = x.astype(float).ravel()
        fixed = np.zeros(x.size, bool) if threat.frozen is None else threat.frozen.ravel()
        low, high = (np.where(fixed, 0, end - x) for end in threat.bounds or (-np.inf, np.inf))
        scores = weight @ x + target.bias
        weights = 1.0 if threat.weights is None else threat.weights.ravel()
        aim = threat.goal.target
        others = [k for k in range(target.classes) if k != (y if aim is None else aim)]
        slopes = np.array([weight[k] - weight[y] if aim is None else weight[aim] - weight[k] for k in others])
        gaps = np.array([scores[y] - scores[k] if aim is None else scores[k] - scores[aim] for k in others])
        if aim is not None:
            found.append(shortest(threat.norm, slopes, gaps, low, high, weights))
        else:
            found.append(
                min(shortest(threat.norm, *plane, low, high, weights) for plane in zip(slopes, gaps, strict=True))
            )
    return np.array(found)
