"""Fast Minimum-Norm attack. Pintor, Roli, Brendel and Biggio, https://arxiv.org/abs/2102.12827"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.aims import AimingAttack, aims
from auditor.attack import Query, Reply, Rows
from auditor.ball import ball
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import find_loss
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class FMNRows(Rows):
    """point: the iterate. radius: of the ball it is kept in, of the row's own. best, best_size: the nearest
    adversarial point so far, the clean input and infinity until there is one. unit: l2 length of a step of size 1."""

    point: Tensor
    radius: Tensor
    best: Tensor
    best_size: Tensor
    unit: Tensor


@dataclass(frozen=True, kw_only=True)
class FMN(AimingAttack):
    """Steepest steps inside a ball that shrinks while the point is adversarial and grows while it is not.

    The minimum-norm attack for all four norms: one run tells the distance of each sample, so it needs no epsilon.
    Robust models want more steps (the literature takes 1000). It starts at the clean input and draws nothing: the
    first restart goes for whatever class comes first, as the paper has it, each further one for one class in
    particular, from the likeliest wrong one on. Costs `steps` gradients and one forward per restart, and a forward.

    step_size, last_step: l2 length of the first and the last step, in units of what an input may change by: for
    inputs in [0, 1] as in the paper; elsewhere times the mean width of a feature (in units of its weight); in linf
    with an epsilon times the half diagonal of the box; without bounds times the distance that the first gradient
    predicts (in linf times the half diagonal of a box of that size). gamma, last_gamma: by which share the ball
    shrinks or grows, at first and last (in l0 by one feature at least). Both go down by a cosine. loss: margin, the
    paper's, or dlr.
    """

    name: ClassVar[str] = "fmn"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1, Norm.L0})
    losses: ClassVar[tuple[str, ...]] = ("margin", "dlr")
    minimum_norm: ClassVar[bool] = True

    steps: int = 100
    step_size: float = 1.0
    last_step: float = 0.01
    gamma: float = 0.05
    last_gamma: float = 0.001
    loss: str = "margin"

    def __post_init__(self) -> None:
        if not 0 < self.last_step <= self.step_size:
            raise UsageError(
                f"fmn: last_step is above 0 and at most step_size, got {self.last_step} and {self.step_size}."
            )
        if not 0 < self.last_gamma <= self.gamma < 1:
            raise UsageError(
                f"fmn: last_gamma is above 0 and at most gamma, gamma below 1, got {self.last_gamma} and {self.gamma}."
            )
        if self.loss not in self.losses:  # the loss has to be 0 at the boundary
            raise UsageError(f"fmn: loss is one of {', '.join(self.losses)}, got {self.loss!r}.")

    def start(self, problem: Problem) -> FMNRows:
        x, infinite = problem.project(problem.inputs), torch.full_like(problem.epsilon, float("inf"))
        return FMNRows(
            x=x,
            point=x,
            radius=torch.ones_like(infinite) if problem.norm is Norm.L0 else infinite,
            best=problem.inputs,
            best_size=infinite,
            unit=torch.zeros_like(infinite),
        )

    def query(self, problem: Problem, rows: FMNRows) -> Query:
        return Query(points=rows.point, probes=~problem.contains(rows.point))

    def objective(self, scores: Tensor, problem: Problem, rows: FMNRows) -> Tensor:
        return find_loss(self.loss)(scores, problem.labels, aims(problem))

    def step(self, problem: Problem, rows: FMNRows, reply: Reply) -> FMNRows:
        point, size = reply.points, problem.size(reply.points)
        adversarial = problem.margin(reply.need_scores()) < 0
        nearer = adversarial & (size < rows.best_size)
        best = torch.where(problem.wide(nearer), point, rows.best)
        best_size = torch.where(nearer, size, rows.best_size)

        weights = 1 if problem.weights is None or problem.norm is Norm.L0 else problem.weights
        slope = torch.where(problem.upper > problem.lower, reply.need_gradient() * weights, 0)
        away = reply.need_loss().abs() / _nonzero(_dual(problem, slope))
        unit = torch.where(rows.unit > 0, rows.unit, _unit(problem, away))

        gamma = self._at(problem, self.gamma, self.last_gamma)
        if problem.norm is Norm.L0:
            less, more = (rows.radius * (1 - gamma)).floor(), (rows.radius * (1 + gamma)).floor()
            shrunk = torch.minimum(torch.minimum(less, rows.radius - 1), best_size).clamp_min(0)
            grown = torch.maximum(more, rows.radius + 1).clamp_max(point[0].numel())
        else:
            # of the point before it came to a grid, or it would come back there for ever; and a little further, for
            # on the boundary itself nothing is adversarial, by rounding or a tie
            ahead = (problem.size(rows.point) + away) * (1 + self.last_gamma)
            shrunk = torch.minimum(rows.radius * (1 - gamma), best_size)
            grown = torch.where(best_size.isfinite(), rows.radius * (1 + gamma), ahead)
        radius = torch.where(adversarial, shrunk, grown)

        rate = self._at(problem, self.step_size, self.last_step) * unit / _nonzero(slope.flatten(1).norm(dim=1))
        point = ball(problem, radius).project(rows.point + problem.wide(rate) * slope * weights)
        last = problem.ages >= self.steps - 1
        x = problem.project(best) if bool(last.any()) else best  # only the point that a row ends on is judged
        newest = problem.wide(problem.epsilon.isinf())  # all but it have been judged
        return FMNRows(
            x=torch.where(newest, point, x), point=point, radius=radius, best=best, best_size=best_size, unit=unit
        )

    def _at(self, problem: Problem, first: float, last: float) -> Tensor:
        """What goes down from the first value to the last by a cosine, `[batch]`."""
        cosine = (1 + (pi * problem.ages.double() / self.steps).cos()) / 2
        return (last + (first - last) * cosine).to(problem.inputs.dtype)


def _dual(problem: Problem, slope: Tensor) -> Tensor:
    """Size of a gradient per unit of weight in the dual norm, `[batch]`; in l0, whose ball has no edge, that of l1."""
    order = {Norm.LINF: 1.0, Norm.L2: 2.0}.get(problem.norm, float("inf"))
    size: Tensor = slope.flatten(1).norm(p=order, dim=1)
    return size


def _unit(problem: Problem, distance: Tensor) -> Tensor:
    """The l2 length of a step of size 1, `[batch]`; distance: the first-order one, for where there are no bounds."""
    width = problem.upper - problem.lower
    count = (width > 0).flatten(1).sum(dim=1).clamp_min(1)
    if problem.weights is not None and problem.norm is not Norm.L0:
        width = width / problem.weights
    mean = width.flatten(1).sum(dim=1) / count
    if problem.norm is Norm.LINF:  # a ball is as long as its diagonal, since every feature is to be moved
        mean = torch.where(problem.epsilon.isfinite(), mean / 2 * count.sqrt(), mean)
        distance = distance * count.sqrt()
    return torch.where(mean.isfinite(), mean, distance)


def _nonzero(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)


@hookimpl
def register_attacks(register: Register) -> None:
    register(FMN)
