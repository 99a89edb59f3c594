"""Linear models whose twins have gradients that lie: what honest attacks meet on models that mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from auditor.bench import Bench

Bend = Callable[[Tensor, Tensor], Tensor]
"""The change `[batch, features]` from the nearest clean input, and the gradient there, to the gradient that is given
instead."""


class Bent(nn.Module):
    """Computes what it is given; its gradient is bent as a function of how far the nearest clean input is away."""

    def __init__(self, inner: nn.Module, clean: Tensor, bend: Bend):
        super().__init__()
        self.inner, self.clean, self.bend = inner, clean, bend

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(_Bend.apply(x, self.clean.to(x), self.bend))
        return scores


class _Bend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clean: Tensor, bend: Bend) -> Tensor:
        flat = x.flatten(1)
        nearest = torch.cdist(flat.double(), clean.flatten(1).double(), p=float("inf")).argmin(dim=1)
        ctx.change, ctx.bend = flat - clean.flatten(1)[nearest], bend
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        bent = ctx.bend(ctx.change, gradient.flatten(1))
        return bent.reshape(gradient.shape), None, None


def bent(bench: Bench, bend: Bend) -> Bench:
    """The bench, with a twin whose gradients are bent."""
    plain, clean = bench.target.twin(), torch.from_numpy(bench.samples.inputs)
    bench.target.twin = lambda: replace(plain, module=Bent(plain.module, clean, bend))  # type: ignore[method-assign]
    return bench


def at_clean(change: Tensor) -> Tensor:
    """Which rows are clean inputs, `[batch, 1]`."""
    return (change.abs().amax(dim=1, keepdim=True) < 1e-6).to(change)


def nowhere(change: Tensor, gradient: Tensor) -> Tensor:
    """No gradient at all."""
    return torch.zeros_like(gradient)


def right_at_first(change: Tensor, gradient: Tensor) -> Tensor:
    """Right at clean inputs, reversed everywhere else."""
    return gradient * (2 * at_clean(change) - 1)


def wrong_at_first(change: Tensor, gradient: Tensor) -> Tensor:
    """Reversed at clean inputs, right everywhere else."""
    return gradient * (1 - 2 * at_clean(change))
