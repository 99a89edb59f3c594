"""DDN, decoupled direction and norm. Rony et al., https://arxiv.org/abs/1811.09600"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.aims import AimingAttack, aims
from auditor.attack import Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.hyperplane import away, length, outer_box, scale_of
from auditor.losses import find_loss
from auditor.problem import Problem
from auditor.threat import Norm

LAST = 0.01
"""Length of the last step, as a share of the first."""


@dataclass(frozen=True, kw_only=True)
class DDNRows(Rows):
    """point: the iterate, which may leave the ball. unit: what lengths are measured in, infinite until the first
    gradient tells. radius: size that the change was brought to, before the bounds cut it. best, best_size: the nearest
    adversarial point so far, of infinite size while there is none."""

    point: Tensor
    unit: Tensor
    radius: Tensor
    best: Tensor
    best_size: Tensor


@dataclass(frozen=True, kw_only=True)
class DDN(AimingAttack):
    """Gradient steps for the direction of the change, while its size shrinks if adversarial and grows if not.

    Ends close to the smallest change after few steps, and tunes nothing per sample: choose it for l2 distances; with
    1000 steps it is among the strongest. Costs `steps` gradients and one forward per restart, and once a sample one
    forward. It begins at the clean input and draws nothing (but a direction where the gradient is 0): the first restart
    goes for whatever class comes first, as the paper has it, each further one for one class in particular, from the
    likeliest wrong one on.

    loss: ce, margin or dlr. gamma: by which share the size shrinks or grows a step. init: size of the first change.
    Sizes are in units of the range of inputs, as in the paper, where it is 1: the width of the bounds (in units of the
    weights, the mean over features), without bounds epsilon, without that too the distance that the first gradient
    predicts. Steps fall from one unit to a hundredth of it by a cosine. The paper's rounding to 8-bit values is the
    `grid` of a threat, not an option of the attack.
    """

    name: ClassVar[str] = "ddn"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})
    minimum_norm: ClassVar[bool] = True
    losses: ClassVar[tuple[str, ...]] = ("ce", "margin", "dlr")

    steps: int = 100
    loss: str = "ce"
    gamma: float = 0.05
    init: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise UsageError(f"ddn: gamma is above 0 and below 1, got {self.gamma}.")
        if not 0 < self.init < float("inf"):
            raise UsageError(f"ddn: init is a finite number above 0, got {self.init}.")

    def start(self, problem: Problem) -> DDNRows:
        unit = _unit(problem)
        return DDNRows(
            x=problem.project(problem.inputs),
            point=problem.inputs,
            unit=unit,
            radius=self.init * unit,
            best=problem.inputs,
            best_size=torch.full_like(unit, float("inf")),
        )

    def query(self, problem: Problem, rows: DDNRows) -> Query:
        return Query(points=rows.point, probes=~problem.contains(rows.point))

    def objective(self, scores: Tensor, problem: Problem, rows: DDNRows) -> Tensor:
        """The loss; the margin while the unit is unknown, since that is 0 at the boundary."""
        loss, margin = (find_loss(name)(scores, problem.labels, aims(problem)) for name in (self.loss, "margin"))
        return loss if problem.notes is None else torch.where(rows.unit.isinf(), margin, loss)

    def step(self, problem: Problem, rows: DDNRows, reply: Reply) -> DDNRows:
        adversarial = problem.margin(reply.need_scores()) < 0
        gradient, size = reply.need_gradient(), length(problem, reply.points - problem.inputs)
        nearer = adversarial & (size < rows.best_size)
        best = torch.where(problem.wide(nearer), reply.points, rows.best)
        best_size = torch.where(nearer, size, rows.best_size)

        predicted = away(problem, reply.need_loss()[:, None], gradient[:, None])[:, 0].nan_to_num(posinf=1.0)
        unknown = rows.unit.isinf()
        unit = torch.where(unknown, predicted, rows.unit)
        radius = torch.where(unknown, self.init * unit, rows.radius)
        low, high = outer_box(problem)
        farthest = length(problem, torch.maximum(problem.inputs - low, high - problem.inputs))
        radius = torch.minimum(radius * torch.where(adversarial, 1 - self.gamma, 1 + self.gamma), farthest)

        pace = LAST + (1 - LAST) * (1 + (problem.ages.to(size.dtype) * (pi / self.steps)).cos()) / 2
        change = rows.point - problem.inputs + problem.wide(pace * unit) * _uphill(problem, gradient)
        change = change * problem.wide(radius / length(problem, change).clamp_min(torch.finfo(size.dtype).tiny))
        point = (problem.inputs + change).clamp(low, high)
        newest = problem.epsilon.isinf() | best_size.isinf()  # without an epsilon all but it have been judged
        return DDNRows(
            x=problem.project(torch.where(problem.wide(newest), point, best)),
            point=point,
            unit=unit,
            radius=radius,
            best=best,
            best_size=best_size,
        )


def _unit(problem: Problem) -> Tensor:
    """The range of inputs in units of the weights, `[batch]`; epsilon where that is infinite."""
    low, high = outer_box(problem)
    scale = scale_of(problem)
    widths = torch.where(scale > 0, (high - low) / scale, 0).flatten(1)
    width = widths.sum(dim=1) / (scale > 0).flatten(1).sum(dim=1).clamp_min(1)
    return torch.where(width.isfinite(), width, problem.epsilon)


def _uphill(problem: Problem, gradient: Tensor) -> Tensor:
    """A change of size 1 along the gradient, in a random direction where that is 0."""
    flat = (gradient * scale_of(problem)).flatten(1).norm(dim=1) == 0
    uphill = problem.steepest(gradient)
    if bool(flat.any()):
        noise = problem.draws.normal(*gradient.shape[1:], dtype=gradient.dtype) * scale_of(problem)
        noise = noise / problem.wide(length(problem, noise).clamp_min(torch.finfo(gradient.dtype).tiny))
        uphill = torch.where(problem.wide(flat), noise, uphill)
    return uphill


@hookimpl
def register_attacks(register: Register) -> None:
    register(DDN)
