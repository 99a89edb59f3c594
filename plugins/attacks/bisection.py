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
from auditor.hyperplane import outer_box
from auditor.problem import Problem
from auditor.threat import Norm

LOSSES = ("ce", "margin", "dlr")
FIRST, LAST = 0.3, 0.05
"""Shares of the radius that the first and the last step of a round are long; they go down by a cosine."""
NARROW, CLOSED, LOOSE = 0.97, 0.995, 0.85
"""low / high from which a bracket is closed after a hit and after a climb that failed, and what low is then taken back
to: it was never proved, and every hit just above makes it less likely."""
FINE = 0.9
"""low / high from which climbs follow the margin: in a ball that hardly reaches the boundary, cross-entropy is largest
elsewhere."""
INWARD = 0.8
"""The next radius over the size of an adversarial point, while no round has failed."""
AHEAD, PART = 1.2, 1 / 4
"""The first radius: over the distance that the first gradient predicts, at most over that of the farthest point."""
MOMENTUM = 0.6
"""What is kept of the directions so far, until a point is adversarial: the way there is long, the way back short."""


@dataclass(frozen=True, kw_only=True)
class BisectionRows(Rows):
    """radius: of the ball that x is kept in, 0 before the first reply. low: the largest radius at which a round failed
    of late. best, high: the nearest adversarial point so far and its size, infinite until there is one. turn: steps of
    this round so far. pull: decaying sum of this round's gradients."""

    radius: Tensor
    low: Tensor
    best: Tensor
    high: Tensor
    turn: Tensor
    pull: Tensor


@dataclass(frozen=True, kw_only=True)
class Bisection(Attack):
    """Short climbs inside a ball: where one gets there the ball shrinks below the point, where it fails the ball grows.

    A minimum-norm attack for models on which fmn and fab stop short: adversarial training and thresholds leave no slope
    near the clean input, and a climb from a random point of a wide ball does not start there. Elsewhere it is
    as near as fmn, in l2 up to a percent further. Costs `steps` gradients and one forward per restart.

    inner: steps of a climb. loss: ce, margin or dlr, until it is known to a tenth how far away the boundary is, then
    the margin. The first ball reaches as far as the first gradient says that the
    boundary is, and the first step goes there; where that is more than a quarter of what the bounds allow, the climb
    begins at a random point of a ball of that size. It is doubled as long as nothing was found, each time with a new
    random point. A climb that fails later goes on from where it is.
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
        if self.inner < 1:
            raise UsageError(f"bisection: inner is at least 1, got {self.inner}.")
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
            pull=torch.zeros_like(problem.inputs),
        )

    def objective(self, scores: Tensor, problem: Problem, rows: BisectionRows) -> Tensor:
        margin = -problem.margin(scores)  # at the clean input its slope predicts the distance
        fine = (rows.radius == 0) | (rows.low > FINE * rows.high)
        return torch.where(fine, margin, problem.loss(self.loss, scores))

    def step(self, problem: Problem, rows: BisectionRows, reply: Reply) -> BisectionRows:
        gradient, first = reply.need_gradient().nan_to_num(0, 0, 0), rows.radius == 0
        steepness, size = problem.dual(gradient), problem.size(reply.points)
        hit = (problem.margin(reply.need_scores()) < 0) & (size < rows.high)
        best = torch.where(problem.wide(hit), reply.points, rows.best)
        high = torch.where(hit, size, rows.high)
        level = ~hit & (steepness == 0)  # nothing to climb here
        failed = ~hit & ~first & (level | (rows.turn + 1 >= self.inner))
        low = torch.where(failed, rows.radius, rows.low)
        low = torch.where(low > torch.where(failed, CLOSED, NARROW) * high, LOOSE * high, low)

        predicted = AHEAD * reply.need_loss().abs() / steepness
        most = PART * furthest(problem)
        led = first & (predicted > 0) & (predicted <= most) & predicted.isfinite()
        blind = torch.where(most.isfinite(), most, 1)  # no slope and no bounds: any length will do
        radius = torch.where(first, torch.where(led, predicted, blind), rows.radius)
        between = torch.where(low > 0, (low + high) / 2, INWARD * high)
        wider = torch.where(high.isfinite(), between, 2 * rows.radius)
        radius = torch.where(hit, between, torch.where(failed, wider, radius))
        radius = torch.minimum(radius, furthest(problem))
        radius = torch.minimum(radius, problem.radius())  # not epsilon: `ball` leaves no room for rounding

        begins = first | hit | failed
        turn = torch.where(begins, 0, rows.turn + 1)
        step = gradient / problem.wide(steepness.clamp_min(torch.finfo(steepness.dtype).tiny))
        pull = torch.where(problem.wide(begins | high.isfinite()), step, MOMENTUM * rows.pull + step)
        inside, rate = ball(problem, radius), torch.where(led, 1, self._rate(problem, turn))
        # from where it is, not from where a grid took it, or it would come back there for ever
        x = rows.x + problem.wide(radius * rate) * problem.steepest(pull, rows.x)
        x = torch.where(problem.wide(level & high.isfinite()), best, x)
        lost = (failed | (first & ~led)) & high.isinf()
        if bool(lost.any()):
            x = torch.where(problem.wide(lost), inside.random_point(), x)
        x = inside.project(x)
        last = problem.ages >= self.steps - 1
        x = torch.where(problem.wide(last & high.isfinite()), best, x)
        return BisectionRows(x=x, radius=radius, low=low, best=best, high=high, turn=turn, pull=pull)

    def _rate(self, problem: Problem, turn: Tensor) -> Tensor:
        """The share of the radius that a step is long, `[batch]`."""
        cosine = (1 + (pi * turn.double() / self.inner).cos()) / 2
        return (LAST + (FIRST - LAST) * cosine).to(problem.inputs.dtype)


def furthest(problem: Problem) -> Tensor:
    """How far the bounds let an input go, `[batch]`; infinite without bounds."""
    lower, upper = outer_box(problem)
    far = torch.maximum(upper - problem.inputs, problem.inputs - lower)
    return problem.size(problem.inputs + far)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Bisection)
