"""Early-stopped PGD, the sampler of friendly adversarial training. Zhang et al., https://arxiv.org/abs/2002.11242"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from auditor.attack import Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem

from .pgd import PGD


@dataclass(frozen=True, kw_only=True)
class FriendlyRows(Rows):
    """spare: misclassified points that each row may still walk away from."""

    spare: Tensor


@dataclass(frozen=True, kw_only=True)
class FriendlyPGD(PGD):
    """PGD whose rows freeze where they have just crossed the boundary: a sampler for training, not for evaluation.

    It looks for points that are misclassified with little confidence, so that training on them hurts accuracy less; as
    an attack it is `pgd` with few steps and a little noise, which finds no more. Choose it to see what a model trained
    on such points was trained against. Costs at most `steps` gradients and one forward per restart.

    tau: misclassified points that a row walks on from; at the next one it stays. With tau = steps and omega = 0 it is
    `pgd`. omega: standard deviation of the Gaussian noise on each step, in input units (times the threat's weights).
    rel_step: the paper's .007 of .031. Others as in `pgd`; its variant for TRADES is loss = kl with omega = 0.
    """

    name: ClassVar[str] = "friendly"

    steps: int = 10
    rel_step: float = 7 / 31
    tau: int = 0
    omega: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau < 0:
            raise UsageError(f"friendly: tau is a number of steps of at least 0, got {self.tau}.")
        if not 0 <= self.omega < float("inf"):
            raise UsageError(f"friendly: omega is a standard deviation of at least 0, got {self.omega}.")

    def start(self, problem: Problem) -> FriendlyRows:
        spare = torch.full_like(problem.ages, self.tau)
        return FriendlyRows(x=super().start(problem).x, spare=spare, done=torch.zeros_like(spare, dtype=torch.bool))

    def step(self, problem: Problem, rows: Any, reply: Reply) -> FriendlyRows:
        reached = torch.where(problem.targets >= 0, reply.labels == problem.targets, reply.labels != problem.labels)
        frozen = reached & (rows.spare == 0)
        frozen = frozen if rows.done is None else frozen | rows.done
        moved = self._ahead(problem, rows.x, reply.need_gradient())
        if self.omega:
            noise = self.omega * problem.draws.normal(*rows.x.shape[1:], dtype=rows.x.dtype)
            moved = moved + (noise if problem.weights is None else noise * problem.weights)
        return FriendlyRows(
            x=torch.where(problem.wide(frozen), rows.x, problem.project(moved)),
            spare=torch.where(reached & ~frozen, rows.spare - 1, rows.spare),
            done=frozen,
        )


@hookimpl
def register_attacks(register: Register) -> None:
    register(FriendlyPGD)
