"""Momentum iterative method (MI-FGSM). Dong et al., https://arxiv.org/abs/1710.06081"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor import Access, Attack, Norm, Problem, Register, Reply, Rows, UsageError, hookimpl


@dataclass(frozen=True, kw_only=True)
class MomentumRows(Rows):
    """velocity: the gradients so far, each brought to an l1 size of 1, older ones faded; `[batch, *shape]`."""

    velocity: Tensor


@dataclass(frozen=True, kw_only=True)
class Momentum(Attack):
    """Climb along a running sum of gradients, in equal steps that add up to epsilon.

    Choose it to find examples on a surrogate that carry over to another model: the sum forgets what is peculiar to
    single points. On the model itself, PGD with restarts is stronger. Costs `steps` gradients and one forward per
    restart.

    decay: share of the velocity that a step keeps; 0 leaves the basic iterative method.
    """

    name: ClassVar[str] = "momentum"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1:
            raise UsageError(f"momentum takes a decay from 0 to 1, got {self.decay:g}.")

    def start(self, problem: Problem) -> MomentumRows:
        return MomentumRows(x=problem.project(problem.inputs), velocity=torch.zeros_like(problem.inputs))

    def step(self, problem: Problem, rows: MomentumRows, reply: Reply) -> MomentumRows:
        gradient = reply.need_gradient()
        size = gradient.flatten(1).abs().sum(dim=1)
        gradient = gradient / problem.wide(size.clamp_min(torch.finfo(gradient.dtype).tiny))
        velocity = self.decay * rows.velocity + gradient
        length = problem.wide(problem.epsilon) / self.steps
        return MomentumRows(x=problem.project(rows.x + length * problem.steepest(velocity)), velocity=velocity)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Momentum)
