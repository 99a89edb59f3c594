"""Probability margin attack. Xie, Wang, Ma and others, https://arxiv.org/abs/2411.15210"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import chosen, others
from auditor.problem import Problem
from auditor.threat import Norm

GAP = 10.0
"""The largest distance between label and rival, in scores, at which probabilities still have a gradient to speak of."""


@dataclass(frozen=True, kw_only=True)
class PMARows(Rows):
    """scale: what the scores are divided by, `[batch]`."""

    scale: Tensor


@dataclass(frozen=True, kw_only=True)
class PMA(Attack):
    """Climb one half of the probability margin, then all of it, in steps that shrink twice from 2 epsilon on.

    Either half alone, `-p(label)` or `p(rival)`, leads somewhere else than the whole: so the first half of the steps
    climbs `-p(label)` in even restarts and `p(rival)` in odd ones, the second half `p(rival) - p(label)`. Choose it,
    with 2 restarts, as a strong and cheap first stage. Costs `steps` gradients and one forward per restart.

    steps: of both halves together. The very first climbs `p(label)`: as published, it begins by moving away.

    Probabilities saturate where scores are large, and their gradients round to 0. So scores are divided by a tenth of
    the largest distance between label and rival that the row has seen, where that is more than 10: a constant without
    a gradient, so this is the same attack at another temperature. Rows that have seen no larger one are as published.
    With a target, the rival is the target, and the label whichever other class is likeliest.
    """

    name: ClassVar[str] = "pma"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 100

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UsageError(f"pma: steps is at least 2, since the first moves away, got {self.steps}.")

    def start(self, problem: Problem) -> PMARows:
        return PMARows(x=problem.random_point(), scale=torch.ones_like(problem.epsilon))

    def objective(self, scores: Tensor, problem: Problem, rows: PMARows) -> Tensor:
        scale = _scale(scores.detach(), problem, rows)
        p = (scores / scale[:, None]).softmax(dim=1)
        aimed, aim = problem.targets >= 0, problem.targets.clamp_min(0)
        label = torch.where(aimed, others(p, aim), chosen(p, problem.labels))
        rival = torch.where(aimed, chosen(p, aim), others(p, problem.labels))
        half = torch.where(problem.restarts % 2 == 0, -label, rival)
        climb = torch.where(problem.ages < self.steps / 2, half, rival - label)
        return torch.where(problem.ages == 0, label, climb)

    def step(self, problem: Problem, rows: PMARows, reply: Reply) -> PMARows:
        length = problem.wide(self.share(problem.ages).to(problem.epsilon) * problem.epsilon)
        moved = problem.project(rows.x + length * problem.steepest(reply.need_gradient()))
        return PMARows(x=moved, scale=_scale(reply.need_scores(), problem, rows))

    def share(self, ages: Tensor) -> Tensor:
        """Size of the step at each age, as a share of epsilon: two half waves of a cosine, each from 2 to 0.

        The first has begun one step before the rows do, and ends with the first step of the second half.
        """
        half = self.steps / 2
        since = torch.where(ages > half, ages - half, ages) - 1
        return 1 + (pi * since / half).cos()


def _scale(scores: Tensor, problem: Problem, rows: PMARows) -> Tensor:
    """What the scores are divided by, now that a row has seen these too."""
    return torch.maximum(rows.scale, problem.margin(scores).abs().to(rows.scale) / GAP)


@hookimpl
def register_attacks(register: Register) -> None:
    register(PMA)
