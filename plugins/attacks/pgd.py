"""Projected gradient descent. Madry et al., https://arxiv.org/abs/1706.06083"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Climb the loss in fixed steepest-ascent steps from a random point, projecting onto the threat model after each.

    The baseline that every stronger attack must beat. With the cross-entropy it fails on models whose probabilities
    saturate; the margin does not. Costs `steps` gradients and one forward per restart.

    rel_step: fraction of epsilon moved a step. loss: ce, margin or dlr. random_start: otherwise from the clean input.
    """

    name: ClassVar[str] = "pgd"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 40
    rel_step: float = 0.075
    loss: str = "ce"
    random_start: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.rel_step <= 10:
            raise UsageError(f"pgd: rel_step is a share of epsilon above 0 and at most 10, got {self.rel_step}.")

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.random_point() if self.random_start else problem.project(problem.inputs))

    def objective(self, scores: Tensor, problem: Problem, rows: Rows) -> Tensor:
        return problem.loss(self.loss, scores)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        length = self.rel_step * problem.wide(problem.epsilon)
        return Rows(x=problem.project(rows.x + length * problem.steepest(reply.need_gradient())))


@hookimpl
def register_attacks(register: Register) -> None:
    register(PGD)
