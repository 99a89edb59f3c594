"""Natural evolution strategies. Ilyas, Engstrom, Athalye and Lin, https://arxiv.org/abs/1804.08598"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor import probing
from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

DROP = 2.0
"""By which a step shrinks on a plateau."""
LEAST = 0.01
"""The smallest step, as a share of the first."""


@dataclass(frozen=True, kw_only=True)
class NESRows(Rows):
    """velocity: the running mean of estimated gradients. length: size of the step as a share of epsilon. best: the
    largest loss so far, and waited: steps since then, or since the step has shrunk."""

    velocity: Tensor
    length: Tensor
    best: Tensor
    waited: Tensor


@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Estimate the margin's gradient from pairs of normal probes, and take steps of one size up a running mean of it.

    Needs no gradient and asks the deployed model itself. The step is that of PGD: the sign in linf, the direction in
    l2. Choose it to compare with published numbers of black-box attackers that follow an estimated gradient, and beside
    `spsa`, which is the same search with other probes and Adam's steps; `square` needs fewer queries. Costs 2 `n` + 1
    queries a step, all of a row's at once, and a query.

    It begins at the input. Probes may leave the ball, but not the bounds. n: pairs of probes a step. sigma: their
    standard deviation, as a share of epsilon (in l2 of epsilon over the root of the number of features). rel_step: size
    of the first steps, as a share of epsilon. momentum: how much of the mean stays from step to step. plateau: after so
    many steps that bring no larger loss the step halves, down to a hundredth; 0 for never.
    """

    name: ClassVar[str] = "nes"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 100
    n: int = 25
    sigma: float = 0.1
    rel_step: float = 0.1
    momentum: float = 0.9
    plateau: int = 5

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"nes: n is a number of pairs from 1 on, got {self.n}.")
        for name in ("sigma", "rel_step"):
            if not 0 < getattr(self, name) <= 10:
                raise UsageError(
                    f"nes: {name} is a share of epsilon above 0 and at most 10, got {getattr(self, name)}."
                )
        if not 0 <= self.momentum < 1:
            raise UsageError(f"nes: momentum is at least 0 and below 1, got {self.momentum}.")
        if self.plateau < 0:
            raise UsageError(f"nes: plateau is a number of steps, or 0 for none, got {self.plateau}.")

    def cost(self, classes: int) -> tuple[int, int]:
        return probing.asked(self.steps, self.n), 0

    def start(self, problem: Problem) -> NESRows:
        nothing = torch.zeros_like(problem.epsilon)
        return NESRows(
            x=problem.inputs,
            velocity=torch.zeros_like(problem.inputs),
            length=torch.full_like(nothing, self.rel_step),
            best=torch.full_like(nothing, float("-inf")),
            waited=nothing,
        )

    def query(self, problem: Problem, rows: NESRows) -> Query:
        directions = problem.draws.normal(self.n, *problem.inputs.shape[1:], dtype=problem.inputs.dtype)
        return probing.probe(problem, rows.x, directions, self.sigma)

    def objective(self, scores: Tensor, problem: Problem, rows: NESRows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: NESRows, reply: Reply) -> NESRows:
        loss, slope = probing.estimate(problem, reply, self.sigma)
        unit = probing.reach(problem)
        gradient = torch.where(unit > 0, slope / unit, 0)
        velocity = self.momentum * rows.velocity + (1 - self.momentum) * gradient
        waited = torch.where(loss > rows.best, 0, rows.waited + 1)
        stuck = (waited >= self.plateau) & (self.plateau > 0)
        length = torch.where(stuck, (rows.length / DROP).clamp_min(LEAST * self.rel_step), rows.length)
        ahead = problem.wide(length * problem.epsilon) * problem.steepest(velocity, rows.x)
        return NESRows(
            x=problem.project(rows.x + ahead),
            velocity=velocity,
            length=length,
            best=torch.maximum(loss, rows.best),
            waited=torch.where(stuck, 0, waited),
        )


@hookimpl
def register_attacks(register: Register) -> None:
    register(NES)
