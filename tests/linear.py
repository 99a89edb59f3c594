"""The worst case of a linear model in closed form, computed by none of the code under test.

The change that costs the most is one ray of points: under linf every feature goes up to epsilon in the direction that
hurts, under l2 each in proportion to its slope (Karush, Kuhn and Tucker), and both stop where the bounds stop them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from auditor.threat import Norm


class Ray:
    """The worst changes of one sample `[features]`, in units of the weights, by a growing parameter t."""

    def __init__(self, slope: np.ndarray, x: np.ndarray, norm: Norm, **limits: np.ndarray):
        """slope: of the label's lead. limits: weights (1 by default), low and high bounds (none by default)."""
        weights = limits.get("weights", np.ones_like(slope))
        self.fall = -slope * weights
        self.low = (limits.get("low", np.full_like(slope, -np.inf)) - x) / weights
        self.high = (limits.get("high", np.full_like(slope, np.inf)) - x) / weights
        self.linf = norm is Norm.LINF

    def at(self, t: float) -> np.ndarray:
        return np.clip((np.sign(self.fall) if self.linf else self.fall) * t, self.low, self.high)

    def drop(self, t: float) -> float:
        """What the lead loses."""
        return float(self.fall @ self.at(t))

    def size(self, t: float) -> float:
        """How large the change is in the norm."""
        z = self.at(t)
        return float(np.abs(z).max()) if self.linf else float(np.linalg.norm(z))


def worst_drop(slope: np.ndarray, x: np.ndarray, norm: Norm, epsilon: float, **limits: np.ndarray) -> float:
    """The most that `slope @ (x' - x)` can lose inside the threat model."""
    ray = Ray(slope, x, norm, **limits)
    return ray.drop(_first(lambda t: ray.size(t) >= epsilon))


def radius(slope: np.ndarray, lead: float, x: np.ndarray, norm: Norm, **limits: np.ndarray) -> float:
    """The epsilon at which the worst case eats up the lead, infinite where the bounds prevent it."""
    ray = Ray(slope, x, norm, **limits)
    t = _first(lambda t: ray.drop(t) >= lead)
    return ray.size(t) if ray.drop(t) >= lead * (1 - 1e-9) else float("inf")


def _first(reached: Callable[[float], bool]) -> float:
    """The least t at which a monotone condition holds, to the last bits; a huge one where it never does."""
    below, above = 0.0, 1.0
    while not reached(above) and above < 1e12:
        below, above = above, 2 * above
    for _ in range(80):
        middle = (below + above) / 2
        below, above = (below, middle) if reached(middle) else (middle, above)
    return above
