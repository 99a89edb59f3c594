"""Random points of the threat model. The floor that every other attack has to clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

POINTS = ("both", "uniform", "corners")


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Draw points at random, one a step: corners and points of the ball in turn, or one kind alone.

    Choose it as the baseline: a model that falls to noise is not robust at all, and where noise breaks samples that a
    gradient attack left standing, the gradient attack has failed. Costs one query of the target per step.

    points: both (a corner first), uniform (in the ball), or corners: those of the linf box, points of the l2 sphere,
    one feature moved by epsilon (l1), or epsilon features at their bounds (l0).
    """

    name: ClassVar[str] = "noise"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1, Norm.L0})

    steps: int = 8
    points: str = "both"

    def __post_init__(self) -> None:
        if self.points not in POINTS:
            raise UsageError(f"noise: points is one of {', '.join(POINTS)}, got {self.points!r}.")

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.random_point() if self.points == "uniform" else problem.random_corner())

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=self._drawn(problem))

    def _drawn(self, problem: Problem) -> Tensor:
        if self.points == "uniform":
            return problem.random_point()
        if self.points == "corners":
            return problem.random_corner()
        even = problem.wide(problem.ages % 2 == 0)
        return torch.where(even, problem.random_point(), problem.random_corner())


@hookimpl
def register_attacks(register: Register) -> None:
    register(Noise)
