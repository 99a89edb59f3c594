"""The spread of scores among the classes, and scores brought to the usual one: losses are made for that."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from auditor.twin import Twin

SPREAD = 5.0
"""Standard deviation of a sample's scores: about that of nets trained on cross-entropy. Flatter ones would have it
climb towards all classes at once; on a net of 28 x 28 pictures a spread of 1 broke a quarter fewer."""


class Scaled(nn.Module):
    """A module whose scores are multiplied by a number."""

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.module(x)
        return self.factor * scores


def beside(twin: Twin, points: Tensor) -> Tensor:
    """The points on the device and in the precision of a twin, which a search may have moved."""
    values = (*twin.module.parameters(), *twin.module.buffers())
    like = next((value for value in values if value.is_floating_point()), points)
    return points.to(like.device, like.dtype)


def spread(twin: Twin, points: Tensor) -> float:
    """The mean standard deviation of a sample's scores among the classes; 0 where it is no number.

    points: `[n, *sample_shape]` in sample units.
    """
    with torch.no_grad():
        found = float(twin.logits(beside(twin, points)).std(dim=1, correction=0).mean())
    return found if math.isfinite(found) else 0.0
