"""What attacks that optimise share: Adam's moments, kept in their rows, and the scale of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.problem import Problem

MEAN, SQUARE = 0.9, 0.999
"""How much of each moment stays from step to step. Kingma and Ba, https://arxiv.org/abs/1412.6980"""
LEAST = 1e-8
"""Added to the scale, which may be 0."""


def moments(mean: Tensor, square: Tensor, gradient: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The new mean and square, then both without the bias towards their start at 0, the square as its root.

    turns: `[batch]`, gradients seen before this one. Adam's step is the third of what is returned over the fourth.
    """
    mean = MEAN * mean + (1 - MEAN) * gradient
    square = SQUARE * square + (1 - SQUARE) * gradient.square()
    seen = (turns + 1).to(torch.float64).reshape(-1, *([1] * (gradient.ndim - 1)))
    unbiased, spread = (1 - MEAN**seen).to(gradient.dtype), (1 - SQUARE**seen).to(gradient.dtype)
    return mean, square, mean / unbiased, (square / spread).sqrt() + LEAST


def width(problem: Problem) -> Tensor:
    """Width of the box, `[batch]`: of its widest feature in units of the weights, 1 without bounds."""
    between = problem.upper - problem.lower
    between = (between if problem.weights is None else between / problem.weights).flatten(1)
    widest = torch.where(between.isfinite(), between, 1).amax(dim=1)
    return torch.where(widest > 0, widest, 1)


def unit(problem: Problem) -> Tensor:
    """The change of each feature that is as large as the box is wide, `[batch, *shape]`."""
    size = problem.wide(width(problem)).expand_as(problem.inputs)
    return size if problem.weights is None else size * problem.weights
