"""The grid of values that a deployed input can hold: points are brought there without leaving the ball."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.geometry import ORDER, wide
from auditor.threat import Norm

SHORTENED = tuple(1 - step / 64 for step in range(16, -1, -1))
"""Shares of the way to a point, at which it is tried whether the nearest step of the grid lies in the ball."""


def snapped(
    norm: Norm, spacing: float, points: Tensor, inputs: Tensor, epsilon: Tensor, weights: Tensor | None
) -> Tensor:
    """The nearest values of the grid. What lies in the ball stays in it: where they would not, the way to the point
    is shortened first."""
    start = inputs.double() / spacing
    change = points.double() / spacing - start
    nearest = change.round()
    if norm not in (Norm.LINF, Norm.L0):  # the box of linf ends on the grid, and no other feature changes in l0
        scale = 1 if weights is None else weights.double()
        limit = epsilon.double() * (1 + 1e-12 if weights is None else 1 - 1e-6)  # weights are rounded here

        def inside(steps: Tensor) -> Tensor:
            size = (steps * spacing / scale).flatten(1).norm(p=ORDER[norm], dim=1)
            return wide(size <= limit, points)

        rounded = (change + 1e-6 * change.sign()).trunc()
        for share in SHORTENED:
            shorter = (share * change).round()
            rounded = torch.where(inside(shorter), shorter, rounded)
        nearest = torch.where(inside(change * (1 - 1e-6)), rounded, nearest)
    return ((start.round() + nearest) * spacing).float().to(points.dtype)
