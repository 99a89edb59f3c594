"""Fast gradient sign method. Goodfellow, Shlens, Szegedy, https://arxiv.org/abs/1412.6572"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One full step of size epsilon up the cross-entropy, from the clean input.

    Exact on a linear model with two classes, weak elsewhere. Choose it first, since it is cheap and what it breaks
    need not be attacked again, and as the one-step side of the masking checks. Costs one gradient and one forward.
    """

    name: ClassVar[str] = "fgsm"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.project(problem.inputs))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        direction = problem.steepest(reply.need_gradient())
        return Rows(x=problem.project(rows.x + problem.wide(problem.epsilon) * direction))


@hookimpl
def register_attacks(register: Register) -> None:
    register(FGSM)
