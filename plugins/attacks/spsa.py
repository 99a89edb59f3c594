"""SPSA. Uesato, O'Donoghue, van den Oord and Kohli, https://arxiv.org/abs/1802.05666"""

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
from auditor.optimise import moments
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class SPSARows(Rows):
    """mean, square: Adam's moments of the estimated gradient."""

    mean: Tensor
    square: Tensor


@dataclass(frozen=True, kw_only=True)
class SPSA(Attack):
    """Estimate the margin's gradient from pairs of probes in random directions of ±1, and climb it by Adam.

    Needs no gradient and asks the deployed model itself. It averages over a neighbourhood, so it climbs where the
    scores are rounded, noisy or piecewise flat and a gradient says nothing; a search that keeps its best point, such as
    `square`, needs fewer queries where they are not. Choose it, with many directions, as a last resort against a model
    that seems to mask its gradients. Costs 2 `n` + 1 queries a step, all of a row's at once, and a query.

    It begins anywhere in the ball. Probes may leave the ball, but not the bounds. n: pairs of probes a step (published
    evaluations use up to some thousands). delta: how far a probe goes, as a share of epsilon; more than a step of the
    model's rounding. rate: Adam's step, as a share of epsilon. In l2 the shares are those of epsilon over the root of
    the number of features, which is what each feature has of it.
    """

    name: ClassVar[str] = "spsa"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 100
    n: int = 64
    delta: float = 0.1
    rate: float = 0.3

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"spsa: n is a number of pairs from 1 on, got {self.n}.")
        for name in ("delta", "rate"):
            if not 0 < getattr(self, name) <= 10:
                raise UsageError(
                    f"spsa: {name} is a share of epsilon above 0 and at most 10, got {getattr(self, name)}."
                )

    def cost(self, classes: int) -> tuple[int, int]:
        return probing.asked(self.steps, self.n), 0

    def start(self, problem: Problem) -> SPSARows:
        zero = torch.zeros_like(problem.inputs)
        return SPSARows(x=problem.random_point(), mean=zero, square=zero)

    def query(self, problem: Problem, rows: SPSARows) -> Query:
        directions = coins(problem, self.n, *problem.inputs.shape[1:])
        return probing.probe(problem, rows.x, directions, self.delta)

    def objective(self, scores: Tensor, problem: Problem, rows: SPSARows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SPSARows, reply: Reply) -> SPSARows:
        _, gradient = probing.estimate(problem, reply, self.delta)
        mean, square, slope, scale = moments(rows.mean, rows.square, gradient, problem.ages)
        moved = rows.x + self.rate * probing.reach(problem) * slope / scale
        return SPSARows(x=problem.project(moved), mean=mean, square=square)


def coins(problem: Problem, *shape: int) -> Tensor:
    """`[batch, *shape]` of -1 and 1 with equal probability, each from one bit of a draw: `signs` spends 32."""
    wanted = torch.Size(shape).numel()
    words = problem.draws.words(-(-wanted // 32))
    bits = (words[:, :, None] >> torch.arange(32, device=words.device)) & 1
    return (2 * bits.flatten(1)[:, :wanted] - 1).to(problem.inputs.dtype).reshape(len(words), *shape)


@hookimpl
def register_attacks(register: Register) -> None:
    register(SPSA)
