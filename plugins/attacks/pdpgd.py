"""Primal-dual proximal gradient descent. Matyasko and Chau, https://arxiv.org/abs/2106.01538

A reconstruction from the settings and formulas of its authors' and of a later public implementation, not from the
paper's text. In l1 the proximal step, which they iterate, is taken in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from auditor.access import Access
from auditor.aims import AimingAttack, aims
from auditor.attack import Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import margin
from auditor.optimise import moments, unit
from auditor.problem import Problem
from auditor.threat import Norm

PRIMAL_END, DUAL_END = 0.01, 0.1
"""What is left of the rates at the end: the primal one shrinks by a factor each step, the dual one by a difference."""
RATIO_START, RATIO_LEAST = 0.01, 1e-6
"""Weight of the size against the goal at first, and the least of either against the other."""
INNER, CLOSE = 5, 0.01
"""Rounds of the proximal step in l2 and linf at most, and the relative move at which a row is through with them."""


@dataclass(frozen=True, kw_only=True)
class PDPGDRows(Rows):
    """change: from the input, in widths of the box. mean, square: Adam's moments. dual: logarithm of the weight of the
    goal against that of the size. share: moving average of the goal's weight, of both together. best, best_size: the
    nearest adversarial point."""

    change: Tensor
    mean: Tensor
    square: Tensor
    dual: Tensor
    share: Tensor
    best: Tensor
    best_size: Tensor


@dataclass(frozen=True, kw_only=True)
class PDPGD(AimingAttack):
    """Find the smallest change as a game: one side shrinks it and crosses the boundary, the other weighs the two.

    Each step moves by Adam against the margin, then shrinks the change by the norm's proximal map; the weight of the
    goal grows while it is missed and falls while it is reached. Among the most accurate in l1, where it is the one to
    choose; in l2 and linf other minimum-norm attacks are as good. Costs `steps` gradients and one forward per restart.
    The first restart starts from the clean input, others from random points around it.

    rate, dual_rate: step sizes of change (in widths of the box) and weight at first; both shrink. smoothing: how much
    of the weight's moving average stays from step to step. spread: how far from the input other restarts start.
    """

    name: ClassVar[str] = "pdpgd"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L1, Norm.L2, Norm.LINF})
    minimum_norm: ClassVar[bool] = True

    steps: int = 500
    rate: float = 0.1
    dual_rate: float = 0.1
    smoothing: float = 0.9
    spread: float = 0.3

    def __post_init__(self) -> None:
        for name in ("rate", "dual_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"pdpgd: {name} is a finite number above 0, got {getattr(self, name)}.")
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"pdpgd: smoothing is at least 0 and below 1, got {self.smoothing}.")
        if not 0 <= self.spread < float("inf"):
            raise UsageError(f"pdpgd: spread is a finite number of at least 0, got {self.spread}.")

    def start(self, problem: Problem) -> PDPGDRows:
        zero = torch.zeros_like(problem.inputs)
        wild = 2 * problem.draws.uniform(*problem.inputs.shape[1:], dtype=zero.dtype) - 1
        first = torch.where(problem.wide(problem.restarts > 0), self.spread * wild, 0)
        return PDPGDRows(
            x=problem.project(problem.inputs),
            change=_boxed(problem, first, unit(problem)),
            mean=zero,
            square=zero,
            dual=torch.full_like(problem.epsilon, -log(RATIO_START)),
            share=torch.full_like(problem.epsilon, 1 / (1 + RATIO_START)),
            best=problem.inputs,
            best_size=torch.full_like(problem.epsilon, float("inf")),
        )

    def query(self, problem: Problem, rows: PDPGDRows) -> Query:
        points = (problem.inputs + rows.change * unit(problem)).clamp(problem.lower, problem.upper)
        return Query(points=points, probes=~problem.contains(points))

    def objective(self, scores: Tensor, problem: Problem, rows: PDPGDRows) -> Tensor:
        return -softplus(_gap(problem, scores).clamp_min(0))

    def step(self, problem: Problem, rows: PDPGDRows, reply: Reply) -> PDPGDRows:
        scores, size, scale = reply.need_scores(), problem.size(reply.points), unit(problem)
        nearer = (problem.margin(scores) < 0) & (size < rows.best_size)
        best = torch.where(problem.wide(nearer), reply.points, rows.best)

        age = problem.ages.to(torch.float64) / self.steps
        rate = problem.wide(self.rate * PRIMAL_END**age).to(scale.dtype)
        slope = -reply.need_gradient() * scale
        mean, square, move, metric = moments(rows.mean, rows.square, slope, problem.ages)
        change = _boxed(problem, rows.change - rate * move / metric, scale)
        weight = problem.wide((1 - rows.share) / rows.share) * rate
        change = _shrunk(problem, change, metric, weight, scale)

        dual_rate = (self.dual_rate * (1 - (1 - DUAL_END) * age)).to(scale.dtype)
        dual = (rows.dual + dual_rate * _gap(problem, scores).sign()).clamp(log(RATIO_LEAST), -log(RATIO_LEAST))
        return PDPGDRows(
            x=problem.project(best),
            change=change,
            mean=mean,
            square=square,
            dual=dual,
            share=self.smoothing * rows.share + (1 - self.smoothing) * dual.sigmoid(),
            best=best,
            best_size=torch.where(nearer, size, rows.best_size),
        )


def _gap(problem: Problem, scores: Tensor) -> Tensor:
    """The margin towards the class that the row goes for."""
    return margin(scores, problem.labels, aims(problem))


def _boxed(problem: Problem, change: Tensor, scale: Tensor) -> Tensor:
    return change.clamp((problem.lower - problem.inputs) / scale, (problem.upper - problem.inputs) / scale)


def _shrunk(problem: Problem, change: Tensor, metric: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """The change within the box that weighs its own size against how far it is from `change` in Adam's metric."""
    if problem.norm is Norm.L1:  # features don't depend on each other
        return _boxed(problem, shrink_l1(change, weight / metric), scale)
    steepest = problem.wide(metric.flatten(1).amax(dim=1))
    shrink = shrink_l2 if problem.norm is Norm.L2 else shrink_linf
    now, active = change, torch.ones_like(problem.ages, dtype=torch.bool)
    for _ in range(INNER):
        following = _boxed(problem, shrink(now + (change - now) * metric / steepest, weight / steepest), scale)
        following = torch.where(problem.wide(active), following, now)
        moved: Tensor = (following - now).flatten(1).norm(dim=1)
        active, now = active & (moved > CLOSE * following.flatten(1).norm(dim=1)), following
    return now


def shrink_l1(change: Tensor, weight: Tensor) -> Tensor:
    """The proximal map of weight · the l1 norm: every feature moves towards 0 by the weight."""
    return change.sign() * (change.abs() - weight).clamp_min(0)


def shrink_l2(change: Tensor, weight: Tensor) -> Tensor:
    """The proximal map of weight · the l2 norm: the change is shortened by the weight."""
    length: Tensor = change.flatten(1).norm(dim=1).reshape(weight.shape)
    return change * (1 - weight / length.clamp_min(torch.finfo(change.dtype).tiny)).clamp_min(0)


def shrink_linf(change: Tensor, weight: Tensor) -> Tensor:
    """The proximal map of weight · the linf norm: the largest features are cut to one height, by weight in all."""
    falling = change.flatten(1).abs().sort(dim=1, descending=True).values
    count = torch.arange(1, falling.shape[1] + 1, device=falling.device)
    heights = (falling.cumsum(dim=1) - weight.flatten(1)) / count
    height = heights.amax(dim=1).clamp_min(0).reshape(weight.shape)
    return torch.minimum(torch.maximum(change, -height), height)


@hookimpl
def register_attacks(register: Register) -> None:
    register(PDPGD)
