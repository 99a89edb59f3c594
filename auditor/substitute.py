"""The net that is trained on a model's answers: small, smooth, and drawn from a generator of its own."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.preprocess import Shape, channels_at

GRID = 14
"""Rows and columns that a picture is brought to by the first convolution."""
CHANNELS = (16, 32)
UNITS = 64
EMPTY = "meta"
"""Where layers are made, so that torch's own generator draws nothing for them."""


class Substitute(nn.Module):
    """From samples `[batch, *shape]` in their own units to scores `[batch, classes]`.

    Two convolutions and two linear layers for pictures, whose axes may stand in any usual order; three linear layers
    for everything else. ELU between them, so that no unit is ever without a gradient. Inputs are standardised by the
    mean and spread of `seeds`, a few samples. Initial weights come from `generator`, on the CPU.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Shape, classes: int, seeds: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.picture = picture(shape)
        self.channels_last = channels_at(shape) == 2
        self.register_buffer("mean", seeds.mean())
        self.register_buffer("spread", seeds.std().clamp_min(1e-6))
        self.layers = nn.Sequential(*self._layers(shape, classes)).to_empty(device="cpu")
        for layer in self.layers:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                _draw(layer, generator)

    def _layers(self, shape: Shape, classes: int) -> Iterator[nn.Module]:
        if self.picture is None:
            flat = int(torch.Size(shape).numel())
            yield nn.Flatten()
        else:
            channels, rows, columns = self.picture
            stride = max(ceil(max(rows, columns) / GRID), 1)
            first, second = CHANNELS
            yield nn.Conv2d(channels, first, stride + 2, stride=stride, padding=1, device=EMPTY)
            yield nn.ELU()
            yield nn.Conv2d(first, second, 3, stride=2, padding=1, device=EMPTY)
            yield nn.ELU()
            yield nn.Flatten()
            rows, columns = rows // stride, columns // stride
            flat = second * ((rows - 1) // 2 + 1) * ((columns - 1) // 2 + 1)
        yield nn.Linear(flat, UNITS, device=EMPTY)
        yield nn.ELU()
        if self.picture is None:
            yield nn.Linear(UNITS, UNITS, device=EMPTY)
            yield nn.ELU()
        yield nn.Linear(UNITS, classes, device=EMPTY)

    def forward(self, x: Tensor) -> Tensor:
        if self.picture is not None:
            x = x.movedim(-1, 1) if self.channels_last else x.unsqueeze(1) if x.ndim == 3 else x
        scores: Tensor = self.layers((x - self.mean) / self.spread)
        return scores


def picture(shape: Shape) -> tuple[int, int, int] | None:
    """Channels, rows and columns of samples of this shape; None where they are no pictures."""
    if len(shape) == 2:
        return (1, shape[0], shape[1]) if min(shape) > 3 else None
    at = channels_at(shape)
    if at is None:
        return None
    rows, columns = shape[1:] if at == 0 else shape[:2]
    return (shape[at], rows, columns) if min(rows, columns) > 3 else None


def _draw(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Uniform weights of variance 1 / inputs, and no bias."""
    bound = sqrt(3 / layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def train(
    net: Substitute,
    points: Tensor,
    answers: Tensor,
    loss: str,
    epochs: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    """Fit a net to answers with Adam, in a new order each epoch.

    loss: `ce`, the cross-entropy of answers that are probabilities `[n, classes]`, or `mse`, the squared difference to
    answers that are scores.
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    with torch.enable_grad():
        for _ in range(epochs):
            order = torch.randperm(len(points), generator=generator)
            for start in range(0, len(points), batch):
                rows = order[start : start + batch].to(points.device)
                scores, wanted = net(points[rows]), answers[rows]
                error = F.cross_entropy(scores, wanted) if loss == "ce" else F.mse_loss(scores, wanted)
                optimiser.zero_grad()
                error.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
