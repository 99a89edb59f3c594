"""Random points of the threat model. The floor that every other attack has to clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

POINTS = ("both", "uniform", "corners")
DRAWN = 2
"""Phase of the draws: that of a step, also where several points of a step are drawn before the query."""


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Draw points at random: corners and points of the ball in turn, or one kind alone.

    Choose it as the baseline: a model that falls to noise is not robust at all, and where noise breaks samples that a
    gradient attack left standing, the gradient attack has failed. For that question ask often: `steps=625,at_once=16`
    is a random search of 10,000 points. Costs `steps` times `at_once` queries of the target and one more.

    points: both (a corner first), uniform (in the ball), or corners: those of the linf box, points of the l2 sphere,
    one feature moved by epsilon (l1), or epsilon features at their bounds (l0). at_once: points of a step. They are the
    same points however many are asked together; more fill the runtime's batches, one saves queries where samples fall.
    """

    name: ClassVar[str] = "noise"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1, Norm.L0})

    steps: int = 8
    points: str = "both"
    at_once: int = 1

    def __post_init__(self) -> None:
        if self.points not in POINTS:
            raise UsageError(f"noise: points is one of {', '.join(POINTS)}, got {self.points!r}.")
        if self.at_once < 1:
            raise UsageError(f"noise: at_once is at least 1, got {self.at_once}.")

    def cost(self, classes: int) -> tuple[int, int]:
        return self.steps * self.at_once + 1, 0

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.random_point() if self.points == "uniform" else problem.random_corner())

    def query(self, problem: Problem, rows: Rows) -> Query:
        if self.at_once == 1:
            return Query(points=rows.x, gradient=False)
        order = torch.arange(len(problem), device=rows.x.device)
        owner = order.repeat_interleave(self.at_once - 1)
        number = torch.arange(self.at_once - 1, device=owner.device).repeat(len(problem))
        further = self._drawn(problem.take(owner), problem.ages[owner] * self.at_once + number)
        return Query(points=torch.cat([rows.x, further]), owner=torch.cat([order, owner]), gradient=False)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=self._drawn(problem, problem.ages * self.at_once + self.at_once - 1))

    def _drawn(self, problem: Problem, ages: Tensor) -> Tensor:
        """The points that follow the one of these numbers, `[batch]`: what a row of that age would draw alone."""
        uniform = torch.full_like(ages, self.points == "uniform", dtype=torch.bool)
        uniform = ages % 2 == 0 if self.points == "both" else uniform
        if bool(uniform.all()):
            return problem.at(ages, DRAWN).random_point()
        if not bool(uniform.any()):
            return problem.at(ages, DRAWN).random_corner()
        points = torch.empty_like(problem.inputs)
        points[uniform] = problem.take(uniform.nonzero()[:, 0]).at(ages[uniform], DRAWN).random_point()
        points[~uniform] = problem.take((~uniform).nonzero()[:, 0]).at(ages[~uniform], DRAWN).random_corner()
        return points


@hookimpl
def register_attacks(register: Register) -> None:
    register(Noise)
