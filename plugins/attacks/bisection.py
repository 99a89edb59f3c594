"""Projected gradient descent in a ball whose radius is bisected: the distance that a fixed-budget attack can do with.

The fixed-budget search is Madry et al.'s, https://arxiv.org/abs/1706.06083; bisecting its budget for a distance is how
robustness was measured before minimum-norm attacks, and what remains where their gradients lead nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.ball import ball
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

LOSSES = ("ce", "margin", "dlr")
FIRST, LAST = 0.5, 0.05
"""Shares of the radius that the first and the last step of a round are long; they go down by a cosine."""
NARROW, LOOSE = 0.98, 0.85
"""low / high from which a bracket is closed, and what low is then taken back to: it was never proved."""
INWARD = 0.8
"""The next radius over the size of an adversarial point, while no round has failed."""
AHEAD = 1.2
"""The first radius over the distance that the first gradient predicts."""


@dataclass(frozen=True, kw_only=True)
class BisectionRows(Rows):
    """radius: of the ball that x is kept in, 0 before the first reply. low: the largest radius at which a round failed
    of late. best, high: the nearest adversarial point so far and its size, infinite until there is one. turn: steps of
    this round so far."""

    radius: Tensor
    low: Tensor
    best: Tensor
    high: Tensor
    turn: Tensor


@dataclass(frozen=True, kw_only=True)
class Bisection(Attack):
    """Short climbs inside a ball: where one gets there the ball shrinks below the point, where it fails the ball grows.

    A minimum-norm attack for models on which fmn and fab stop short: adversarial training and thresholds leave no slope
    near the clean input, and a climb from a random point of a wide ball does not start there. Elsewhere fmn comes
    nearer at the same cost. Costs `steps` gradients and one forward per restart.

    inner: steps of a climb. loss: ce, margin or dlr. The radius begins at what the first gradient predicts, but no
    further than the bounds reach; it is doubled as long as nothing was found.
    """

    name: ClassVar[str] = "bisection"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})
    losses: ClassVar[tuple[str, ...]] = LOSSES
    minimum_norm: ClassVar[bool] = True

    steps: int = 60
    inner: int = 8
    loss: str = "ce"

    def __post_init__(self) -> None:
        if not 1 <= self.inner <= self.steps:
            raise UsageError(f"bisection: inner is from 1 to steps ({self.steps}), got {self.inner}.")
        if self.loss not in self.losses:
            raise UsageError(f"bisection: loss is one of {', '.join(self.losses)}, got {self.loss!r}.")

    def start(self, problem: Problem) -> BisectionRows:
        none = torch.zeros_like(problem.epsilon)
        return BisectionRows(
            x=problem.project(problem.inputs),
            radius=none,
            low=none,
            best=problem.inputs,
            high=torch.full_like(none, float("inf")),
            turn=torch.zeros_like(problem.ages),
        )

    def objective(self, scores: Tensor, problem: Problem, rows: BisectionRows) -> Tensor:
        first = -problem.margin(scores)  # at the clean input its slope predicts the distance
        return torch.where(rows.radius > 0, problem.loss(self.loss, scores), first)

    def step(self, problem: Problem, rows: BisectionRows, reply: Reply) -> BisectionRows:
        gradient, first = reply.need_gradient(), rows.radius == 0
        size = problem.size(reply.points)
        hit = (problem.margin(reply.need_scores()) < 0) & (size < rows.high)
        best = torch.where(problem.wide(hit), reply.points, rows.best)
        high = torch.where(hit, size, rows.high)
        failed = ~hit & ~first & (rows.turn + 1 >= self.inner)
        low = torch.where(failed, rows.radius, rows.low)
        low = torch.where(low > NARROW * high, LOOSE * high, low)
        low = torch.where(first & high.isinf(), 0, low)

        radius = self._radius(problem, rows, reply, low=low, high=high, failed=failed)
        begins = first | hit | failed
        turn = torch.where(begins, 0, rows.turn + 1)
        inside = ball(problem, radius)
        climbed = reply.points + problem.wide(radius * self._rate(turn)) * problem.steepest(gradient, reply.points)
        # a round that fails with nothing found begins anew somewhere in the wider ball, others from the nearest point
        lost = high.isinf() & (failed | first)
        fresh = torch.where(problem.wide(lost), inside.random_point(), best)
        x = torch.where(problem.wide(begins & ~hit), fresh, climbed)
        x = inside.project(x)
        last = problem.ages >= self.steps - 1
        x = torch.where(problem.wide(last & high.isfinite()), best, x)
        return BisectionRows(x=x, radius=radius, low=low, best=best, high=high, turn=turn)

    def _radius(
        self, problem: Problem, rows: BisectionRows, reply: Reply, *, low: Tensor, high: Tensor, failed: Tensor
    ) -> Tensor:
        """The ball of the next point: as it was inside a round, else between what failed and what was found."""
        most = furthest(problem)
        predicted = AHEAD * reply.need_loss().abs() / problem.dual(reply.need_gradient()).clamp_min(1e-30)
        predicted = torch.minimum(predicted, torch.where(most.isfinite(), most / 4, predicted))
        predicted = torch.where(predicted.isfinite(), predicted, 1)  # no slope and no bounds: any length will do
        between = torch.where(low > 0, (low + high) / 2, INWARD * high)
        wider = torch.where(high.isfinite(), between, 2 * rows.radius)
        found = high.isfinite() & (high < rows.high)
        radius = torch.where(failed, wider, torch.where(found, between, rows.radius))
        radius = torch.where((rows.radius == 0) & ~found, predicted, radius)
        return torch.minimum(torch.minimum(radius, most), problem.epsilon)

    def _rate(self, turn: Tensor) -> Tensor:
        """The share of the radius that a step is long, `[batch]`."""
        cosine = (1 + (pi * turn.double() / self.inner).cos()) / 2
        return LAST + (FIRST - LAST) * cosine.to(torch.get_default_dtype())


def furthest(problem: Problem) -> Tensor:
    """How far the bounds let an input go, `[batch]`; infinite without bounds."""
    far = torch.maximum(problem.upper - problem.inputs, problem.inputs - problem.lower)
    return problem.size(problem.inputs + far)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Bisection)
