"""Random points of the threat model. The floor that every other attack has to clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Draw points at random: uniform in the ball at even ages, corners at odd ones.

    Choose it as the baseline: a model that falls to noise is not robust at all, and where noise breaks samples that a
    gradient attack left standing, the gradient attack has failed. Costs one query of the target per step.
    """

    name: ClassVar[str] = "noise"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 8

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.random_corner())

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        even = problem.wide(problem.ages % 2 == 0)
        return Rows(x=torch.where(even, problem.random_point(), problem.random_corner()))


@hookimpl
def register_attacks(register: Register) -> None:
    register(Noise)
