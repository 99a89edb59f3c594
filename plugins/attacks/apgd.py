"""Auto-PGD. Croce and Hein, https://arxiv.org/abs/2003.01690; its l1 form, https://arxiv.org/abs/2103.01208"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from auditor import sparse_ascent
from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.climb import ClimbRows, best_of, either
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class APGDRows(ClimbRows):
    """previous: the point that the last move came from. last_loss: of the reply before. length: step size over
    epsilon. rises: how often the loss rose since the last checkpoint. checked_loss: best loss at the last checkpoint.
    halved: whether the step was halved there."""

    previous: Tensor
    last_loss: Tensor
    length: Tensor
    rises: Tensor
    checked_loss: Tensor
    halved: Tensor


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """PGD with momentum whose step halves by itself, when the loss stops rising, from 2 epsilon on.

    No step size to choose, and stronger than PGD at equal cost on nearly every model: the default white-box attack.
    Costs `steps` gradients and one forward per restart. In l1 it steps along the signs of the largest gradients only,
    of fewer and fewer features, and comes down from 3 and 2 epsilon, so that only its last two fifths count.

    loss: ce, margin or dlr (with two classes dlr is the margin). momentum: weight of the new step against the last
    move (not in l1). patience: a step is halved when at most this share of the steps since the last checkpoint raised
    the loss (not in l1).
    """

    name: ClassVar[str] = "apgd"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1})
    losses: ClassVar[tuple[str, ...]] = ("ce", "margin", "dlr")

    steps: int = 100
    loss: str = "ce"
    momentum: float = 0.75
    patience: float = 0.75

    def __post_init__(self) -> None:
        if self.loss not in self.losses:
            raise UsageError(f"{self.name}: loss is one of {', '.join(self.losses)}, got {self.loss!r}.")
        for name in ("momentum", "patience"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{self.name}: {name} is above 0 and at most 1, got {getattr(self, name)}.")

    def start(self, problem: Problem) -> Rows:
        if problem.norm is Norm.L1:
            return sparse_ascent.start(problem, self.steps)
        x = problem.project(problem.inputs + problem.wide(problem.epsilon) * self._direction(problem))
        low = torch.full_like(problem.epsilon, float("-inf"))
        return APGDRows(
            x=x,
            previous=x,
            best=x,
            best_loss=low,
            best_gradient=torch.zeros_like(x),
            last_loss=-low,
            length=torch.full_like(problem.epsilon, 2.0),
            rises=torch.zeros_like(problem.ages),
            checked_loss=low,
            halved=torch.ones_like(problem.ages, dtype=torch.bool),  # the first checkpoint looks at the rises alone
        )

    def query(self, problem: Problem, rows: Any) -> Query:
        return Query(points=rows.x, probes=~problem.contains(rows.x) if problem.norm is Norm.L1 else None)

    def objective(self, scores: Tensor, problem: Problem, rows: Any) -> Tensor:
        return problem.loss(self.loss, scores)

    def step(self, problem: Problem, rows: Any, reply: Reply) -> Rows:
        if problem.norm is Norm.L1:
            return sparse_ascent.step(problem, rows, reply, self.steps)
        return self._step(problem, rows, reply)

    def _step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        loss, gradient, x = reply.need_loss(), reply.need_gradient(), rows.x
        first = problem.ages == 0
        best, best_loss, best_gradient = best_of(rows, reply, first)
        rises = rows.rises + (loss > rows.last_loss)

        due, since = checkpoint(self.steps, problem.ages)
        stuck = (rises <= self.patience * since) | (~rows.halved & (rows.checked_loss >= best_loss))
        halve = due & stuck
        length = torch.where(halve, rows.length / 2, rows.length)
        if bool(halve.any()):
            # the row stands at its best point from now on, and its momentum leads there from where it came from
            x, gradient = either(halve, best, x), either(halve, best_gradient, gradient)

        reach = problem.wide(length * problem.epsilon)
        ahead = problem.project(torch.addcmul(x, problem.steepest(gradient), reach))
        rest = problem.wide(torch.where(first, 0.0, 1 - self.momentum).to(x.dtype))
        moved = ahead.lerp_(x, rest).add_(x - rows.previous, alpha=1 - self.momentum)  # in place: memory costs time
        return APGDRows(
            x=problem.project(moved),
            previous=x,
            best=best,
            best_loss=best_loss,
            best_gradient=best_gradient,
            last_loss=torch.where(first, 0, loss),  # as published: the first step counts as a rise if its loss is > 0
            length=length,
            rises=torch.where(due, 0, rises),
            checked_loss=torch.where(due | first, best_loss, rows.checked_loss),
            halved=torch.where(due, halve, rows.halved),
        )

    def _direction(self, problem: Problem) -> Tensor:
        """A random direction of size 1 in the norm: scaled so that its largest coordinate (linf) or length (l2) is."""
        shape, dtype = problem.inputs.shape[1:], problem.inputs.dtype
        if problem.norm is Norm.L2:
            return problem.steepest(problem.draws.normal(*shape, dtype=dtype))
        u = 2 * problem.draws.uniform(*shape, dtype=dtype) - 1
        u = u / problem.wide(u.flatten(1).abs().amax(dim=1).clamp_min(1e-12))
        return u if problem.weights is None else u * problem.weights


def checkpoint(steps: int, ages: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each age is a checkpoint, and how many steps it looks back on.

    The first is at 22 % of the steps; the distance then shrinks by 3 % of them each time, to no less than 6 %.
    """
    since = _lookback(steps, ages.device)[ages.clamp_max(steps)]
    return since > 0, since


@cache
def _lookback(steps: int, device: torch.device) -> Tensor:
    table = [0] * (steps + 1)
    distance, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    at = distance
    while at <= steps:
        table[at] = distance
        distance = max(distance - shrink, least)
        at += distance
    return torch.tensor(table, device=device)


@hookimpl
def register_attacks(register: Register) -> None:
    register(APGD)
