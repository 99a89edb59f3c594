"""Sparse-RS. Croce, Andriushchenko, Singh, Flammarion and Hein, AAAI 2022, https://arxiv.org/abs/2006.12834"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.geometry import largest
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

SCHEDULE = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}
"""Of 10,000 steps, those after which alpha is divided by so much."""


@dataclass(frozen=True, kw_only=True)
class SparseRSRows(Rows):
    """changed, best_changed: the features that the proposal and the point kept change, bool. best, best_loss: the
    point kept and its loss; x is the proposal under judgement."""

    changed: Tensor
    best_changed: Tensor
    best: Tensor
    best_loss: Tensor


@dataclass(frozen=True, kw_only=True)
class SparseRS(Attack):
    """Random search over which features to change: some of them go back, as many others go to a bound.

    What is no worse than the best point is kept. Needs no gradient and asks the deployed model itself, so it is the
    second opinion on `sigma-zero` and `jsma`, and the main attack in l0 on models without a twin. epsilon counts
    features, each value of the array, and all of it is spent. A feature goes to either of its bounds at random, never
    to where it was; without bounds one weight up or down. Costs one query a step.

    alpha: share of the changed features that the first step exchanges; it goes down to a twentieth of that, and one
    feature at least, as the search goes on.
    """

    name: ClassVar[str] = "sparse-rs"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})

    steps: int = 1000
    alpha: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise UsageError(f"sparse-rs: alpha is above 0 and at most 1, got {self.alpha}.")

    def start(self, problem: Problem) -> SparseRSRows:
        nobody = torch.zeros_like(problem.inputs, dtype=torch.bool)
        changed = _random(problem, ~nobody, problem.epsilon.floor())
        x = problem.project(torch.where(changed, _ends(problem, problem.inputs), problem.inputs))
        nothing = torch.full_like(problem.epsilon, float("-inf"))
        return SparseRSRows(x=x, changed=changed, best_changed=changed, best=x, best_loss=nothing)

    def objective(self, scores: Tensor, problem: Problem, rows: SparseRSRows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SparseRSRows, reply: Reply) -> SparseRSRows:
        loss = reply.need_loss()
        better = loss >= rows.best_loss  # ties too, so that it walks about where the scores are flat
        best = torch.where(problem.wide(better), rows.x, rows.best)
        held = torch.where(problem.wide(better), rows.changed, rows.best_changed)
        count = (self.share(problem.ages + 1) * problem.epsilon.floor()).floor().clamp_min(1)
        leaving = _random(problem, held, count)
        kept = held & ~leaving
        # one that leaves may come back at its other bound, which matters where few others can change
        coming = _random(problem, ~kept, held.flatten(1).sum(dim=1) - kept.flatten(1).sum(dim=1))
        ends = _ends(problem, torch.where(leaving, best, problem.inputs))
        x = torch.where(coming, ends, torch.where(kept, best, problem.inputs))
        return SparseRSRows(
            x=problem.project(x),
            changed=kept | coming,
            best_changed=held,
            best=best,
            best_loss=torch.where(better, loss, rows.best_loss),
        )

    def share(self, ages: Tensor) -> Tensor:
        """Share of the changed features that a step exchanges, by the age of the proposal."""
        scaled = ages * 10_000 // max(self.steps, 1)
        passed = (scaled[:, None] > torch.tensor(list(SCHEDULE), device=ages.device)).sum(dim=1)
        return self.alpha / torch.tensor([1, *SCHEDULE.values()], device=ages.device, dtype=torch.float64)[passed]


def _random(problem: Problem, among: Tensor, count: Tensor) -> Tensor:
    """So many `[batch]` random features of those in a mask that may change, bool; all where there are fewer."""
    among = among & (problem.upper > problem.lower)
    order = torch.where(among, problem.draws.uniform(*problem.inputs.shape[1:], dtype=problem.inputs.dtype), -1)
    return largest(order, count) & among


def _ends(problem: Problem, now: Tensor) -> Tensor:
    """Each feature at a random one of its bounds, the other one where it is there now."""
    away = torch.ones_like(now) if problem.weights is None else problem.weights
    lower = torch.where(problem.lower.isinf(), problem.inputs - away, problem.lower)
    upper = torch.where(problem.upper.isinf(), problem.inputs + away, problem.upper)
    up = problem.draws.signs(*now.shape[1:], dtype=now.dtype) > 0
    return torch.where((up & (now < upper)) | (now <= lower), upper, lower)


@hookimpl
def register_attacks(register: Register) -> None:
    register(SparseRS)
