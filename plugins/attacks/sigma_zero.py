"""σ-zero. Cinà, Villani, Pintor, Schönherr, Biggio and Pelillo, https://arxiv.org/abs/2402.01879"""

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
from auditor.losses import margin
from auditor.optimise import moments
from auditor.problem import Problem
from auditor.threat import Norm

LAST = 0.1
"""The last step over the first."""


@dataclass(frozen=True, kw_only=True)
class SigmaRows(Rows):
    """point: the iterate. mean, square: Adam's moments of the gradient. tau: what a feature has to change by to be
    kept. best, best_size: the adversarial point of fewest changes so far, the clean input and infinity until then."""

    point: Tensor
    mean: Tensor
    square: Tensor
    tau: Tensor
    best: Tensor
    best_size: Tensor


@dataclass(frozen=True, kw_only=True)
class SigmaZero(AimingAttack):
    """Adam on the margin plus a smooth count of changed features, dropping those that change by less than a threshold.

    The strongest attack in l0: it finds which few features to change, each as far as it likes. Needs bounds, whose
    width is its unit of change. It starts at the clean input and draws nothing: the first restart goes for whatever
    class comes first, as the paper has it, each further one for one class in particular, from the likeliest wrong one
    on. Costs `steps` gradients and one forward per restart, and a forward.

    step_size: Adam's first step; it goes down to a tenth by a cosine. sigma: how smooth the count Σ δ²/(δ² + sigma)
    is. tau: the first threshold. tau_rate: by what share of the step size it rises when the point is adversarial, and
    falls when it is not.
    """

    name: ClassVar[str] = "sigma-zero"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})
    minimum_norm: ClassVar[bool] = True

    steps: int = 1000
    step_size: float = 1.0
    sigma: float = 1e-3
    tau: float = 0.3
    tau_rate: float = 0.01

    def __post_init__(self) -> None:
        for name in ("step_size", "sigma", "tau_rate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"sigma-zero: {name} is above 0, got {getattr(self, name)}.")
        if not 0 <= self.tau <= 1:
            raise UsageError(f"sigma-zero: tau is a share of the bounds' width from 0 to 1, got {self.tau}.")

    def start(self, problem: Problem) -> SigmaRows:
        if not bool((problem.upper - problem.lower).isfinite().all()):
            raise UsageError("sigma-zero counts changes in units of the bounds' width; give --bounds LO HI.")
        zero = torch.zeros_like(problem.inputs)
        return SigmaRows(
            x=problem.inputs,
            point=problem.inputs,
            mean=zero,
            square=zero,
            tau=torch.full_like(problem.epsilon, self.tau),
            best=problem.inputs,
            best_size=torch.full_like(problem.epsilon, float("inf")),
        )

    def query(self, problem: Problem, rows: SigmaRows) -> Query:
        return Query(points=rows.point, probes=~problem.contains(rows.point))

    def objective(self, scores: Tensor, problem: Problem, rows: SigmaRows) -> Tensor:
        return -margin(scores, problem.labels, aims(problem)).clamp_min(0)

    def step(self, problem: Problem, rows: SigmaRows, reply: Reply) -> SigmaRows:
        size = problem.size(reply.points)
        adversarial = problem.margin(reply.need_scores()) < 0
        fewer = adversarial & (size < rows.best_size)
        best = torch.where(problem.wide(fewer), reply.points, rows.best)
        best_size = torch.where(fewer, size, rows.best_size)

        width = problem.upper - problem.lower
        unit = torch.where(width > 0, width, 1)
        change = (rows.point - problem.inputs) / unit
        count = 2 * self.sigma * change / (change.square() + self.sigma).square()
        gradient = count / change[0].numel() - reply.need_gradient() * width
        gradient = gradient / problem.wide(gradient.flatten(1).abs().amax(dim=1).clamp_min(1e-12))

        cosine = (1 + (pi * problem.ages.double() / self.steps).cos()) / 2
        rate = (self.step_size * (LAST + (1 - LAST) * cosine)).to(gradient.dtype)
        mean, square, slope, scale = moments(rows.mean, rows.square, gradient, problem.ages)
        change = change - problem.wide(rate) * slope / scale

        moved = (problem.inputs + change * unit).clamp(problem.lower, problem.upper)
        tau = (rows.tau + self.tau_rate * rate * torch.where(adversarial, 1.0, -1.0)).clamp(0, 1)
        kept = (moved - problem.inputs).abs() >= problem.wide(tau) * unit
        point = torch.where(kept, moved, problem.inputs)

        last = problem.ages >= self.steps - 1
        x = problem.project(best) if bool(last.any()) else best  # only the point that a row ends on is judged
        newest = problem.epsilon.isinf()  # all but it have been judged
        return SigmaRows(
            x=torch.where(problem.wide(newest), point, x),
            point=point,
            mean=mean,
            square=square,
            tau=tau,
            best=best,
            best_size=best_size,
        )


@hookimpl
def register_attacks(register: Register) -> None:
    register(SigmaZero)
