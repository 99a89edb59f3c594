"""Smooth functions that stand in, backwards only, for steps whose derivative is zero or nowhere.

The fast sigmoid's derivative, 1/2 (1 + |gap|)^-2, stays useful at any scale of the gap (Zenke and Ganguli 2018,
arXiv:1705.11146).
"""

from __future__ import annotations

from torch import Tensor

STRAIGHT_THROUGH = "straight-through"
"""Backwards the step is the identity; see `auditor.operators.straight_through`."""
FAST_SIGMOID = "fast sigmoid"
"""Backwards a comparison is a smooth function of the gap between its sides."""


def above(gap: Tensor) -> Tensor:
    """A smooth step, from 0 to 1 as the gap goes from below to above 0."""
    return 0.5 + 0.5 * gap / (1 + gap.abs())


def near(gap: Tensor) -> Tensor:
    """A smooth bump, 1 where the gap is 0."""
    return 1 / (1 + gap.abs())
