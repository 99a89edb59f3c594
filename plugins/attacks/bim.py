"""Basic iterative method (I-FGSM). Kurakin, Goodfellow, Bengio, https://arxiv.org/abs/1607.02533"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class BIM(Attack):
    """FGSM in small steps from the clean input, projecting onto the threat model after each.

    Deterministic: restarts add nothing. Choose it as the iterated side of comparisons with one-step attacks; `pgd` adds
    the random start. Costs `steps` gradients and one forward.

    rel_step: fraction of epsilon moved a step; with less than 1/steps the edge of the ball is out of reach. The paper
    moves 1/255 a step, min(epsilon + 4, 1.25 epsilon) times for an epsilon in steps of 1/255 (`published_steps`): the
    defaults are that for 8/255.
    """

    name: ClassVar[str] = "bim"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 10
    rel_step: float = 0.125

    def __post_init__(self) -> None:
        if not 0 < self.rel_step <= 10:
            raise UsageError(f"{self.name}: rel_step is a share of epsilon above 0, up to 10, got {self.rel_step}.")

    @staticmethod
    def published_steps(levels: float) -> int:
        """The paper's number of steps of 1/255 for an epsilon of so many times 1/255."""
        return ceil(min(levels + 4, 1.25 * levels))

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.project(problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        length = self.rel_step * problem.wide(problem.epsilon)
        return Rows(x=problem.project(rows.x + length * problem.steepest(reply.need_gradient())))


@hookimpl
def register_attacks(register: Register) -> None:
    register(BIM)
