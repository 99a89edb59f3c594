"""R+FGSM (RAND+FGSM). Tramèr et al., https://arxiv.org/abs/1705.07204"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class RFGSM(Attack):
    """A random step of size alpha·epsilon, then one gradient step with what is left of epsilon.

    On a linear loss it gains, on average, 1 - alpha of what FGSM gains. Where it beats FGSM, the loss is curved around
    the samples: choose it beside FGSM to see gradients that are masked right at the data. Costs one gradient and one
    forward per restart. The random step is not clipped to the bounds, only the last point is. The paper has linf:
    random signs. Under l2 a normalised Gaussian takes their place, which is our generalisation.

    alpha: share of epsilon that the random step takes.
    """

    name: ClassVar[str] = "rfgsm"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.steps != 1:
            raise UsageError(f"{self.name}: steps is 1, use an iterated attack for more, got {self.steps}.")
        if not 0 <= self.alpha < 1:
            raise UsageError(f"{self.name}: alpha is a share of epsilon from 0 to below 1, got {self.alpha}.")

    def start(self, problem: Problem) -> Rows:
        return Rows(x=self._leap(problem))

    def query(self, problem: Problem, rows: Rows) -> Query:
        return Query(points=rows.x, probes=~problem.contains(rows.x))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        length = (1 - self.alpha) * problem.wide(problem.epsilon)
        return replace(rows, x=problem.project(rows.x + length * problem.steepest(reply.need_gradient())))

    def _leap(self, problem: Problem) -> Tensor:
        """The inputs after the random step."""
        if self.alpha == 0:
            return problem.project(problem.inputs)
        shape, dtype = problem.inputs.shape[1:], problem.inputs.dtype
        if problem.norm is Norm.LINF:
            noise = problem.draws.signs(*shape, dtype=dtype)
        else:
            noise = problem.draws.normal(*shape, dtype=dtype)
            noise = noise if problem.weights is None else noise / problem.weights  # `steepest` weighs it twice
        direction = torch.where(problem.upper > problem.lower, problem.steepest(noise), 0)
        return problem.inputs + self.alpha * problem.wide(problem.epsilon) * direction


@hookimpl
def register_attacks(register: Register) -> None:
    register(RFGSM)
