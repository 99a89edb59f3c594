"""Projected gradient descent. Madry et al., https://arxiv.org/abs/1706.06083

The loss kl is the inner attack of TRADES. Zhang et al., https://arxiv.org/abs/1901.08573
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

NUDGE = 0.001
"""Standard deviation of the start of kl, in input units (times the threat's weights): TRADES' own."""


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Climb the loss in fixed steepest-ascent steps from a random point, projecting onto the threat model after each.

    The baseline that every stronger attack must beat. Costs `steps` gradients and one forward per restart. Under l1 the
    steepest step moves one feature of those that the bounds let move, and a projection takes from all that were moved
    before: slow and weak, since a good change takes more features than there are steps; use apgd there.

    rel_step: fraction of epsilon moved a step. loss: ce, margin, dlr, cw or kl. cw is the margin until it has gone
    kappa beyond the boundary. kl is the divergence of the clean prediction from the new one, TRADES' attack (rel_step
    .226, or 2/steps under l2): it knows no label and may well climb towards more confidence, starts a little
    Gaussian noise away from the input, where its gradient is zero, and costs one forward more a sample; under a
    targeted goal it is ce. random_start: otherwise from the clean input. kappa: of cw; with 0 its gradient vanishes
    once a point is adversarial.
    """

    name: ClassVar[str] = "pgd"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1})
    losses: ClassVar[tuple[str, ...]] = ("ce", "margin", "dlr", "cw", "kl")

    steps: int = 40
    rel_step: float = 0.075
    loss: str = "ce"
    random_start: bool = True
    kappa: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.rel_step <= 10:
            raise UsageError(
                f"{self.name}: rel_step is a share of epsilon above 0 and at most 10, got {self.rel_step}."
            )
        if self.loss not in self.losses:
            raise UsageError(f"{self.name}: loss is one of {', '.join(self.losses)}, got {self.loss!r}.")
        if not 0 <= self.kappa < float("inf"):
            raise UsageError(f"{self.name}: kappa is a margin of at least 0, got {self.kappa}.")
        if self.loss == "kl" and not self.random_start:
            raise UsageError(
                f"{self.name}: random_start is true for the loss kl, which is flat at the clean input, got false."
            )

    def survey(self, problem: Problem) -> Query | None:
        return Query(points=problem.inputs, gradient=False) if self.loss == "kl" else None

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        return log_softmax(reply.need_scores(), dim=1)

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return (1, 0) if self.loss == "kl" else (0, 0)

    def start(self, problem: Problem) -> Rows:
        if self.loss == "kl":
            noise = NUDGE * problem.draws.normal(*problem.inputs.shape[1:], dtype=problem.inputs.dtype)
            noise = noise if problem.weights is None else noise * problem.weights
            return Rows(x=problem.project(problem.inputs + noise))
        return Rows(x=problem.random_point() if self.random_start else problem.project(problem.inputs))

    def query(self, problem: Problem, rows: Rows) -> Query:
        if self.loss != "kl" or problem.grid is None:
            return Query(points=rows.x)
        clean = (problem.on_grid(rows.x) == problem.inputs).flatten(1).all(dim=1)
        return Query(points=rows.x, probes=clean)  # off the grid while it would bring them back to where kl is flat

    def objective(self, scores: Tensor, problem: Problem, rows: Rows) -> Tensor:
        if self.loss == "cw":
            return -(problem.margin(scores) + self.kappa).relu()
        if self.loss != "kl":
            return problem.loss(self.loss, scores)
        towards = problem.loss("ce", scores)
        if problem.notes is None:  # in the survey, whose loss is not read
            return towards
        return torch.where(problem.targets >= 0, towards, divergence(problem.notes, scores))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=problem.project(self._ahead(problem, rows.x, reply.need_gradient())))

    def _ahead(self, problem: Problem, x: Tensor, gradient: Tensor) -> Tensor:
        """A step up the gradient, not projected."""
        places = x if problem.norm is Norm.L1 else None  # one feature that stands at its bound would end the walk
        return x + self.rel_step * problem.wide(problem.epsilon) * problem.steepest(gradient, places)


def divergence(clean: Tensor, scores: Tensor) -> Tensor:
    """KL(p‖q) of p, given as log-probabilities, and q, given as scores, `[batch]`; 0·log 0 is 0."""
    p = clean.exp()
    return torch.where(p > 0, p * (clean - log_softmax(scores, dim=1)), 0).sum(dim=1)


@hookimpl
def register_attacks(register: Register) -> None:
    register(PGD)
