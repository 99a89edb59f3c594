"""Auto-PGD. Croce and Hein, https://arxiv.org/abs/2003.01690"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class APGDRows(Rows):
    """previous: the point before x. best, best_loss, best_gradient: of the largest loss so far. last_loss: of the
    reply before. length: step size over epsilon. rises: how often the loss rose since the last checkpoint.
    checked_loss: best loss at the last checkpoint. halved: whether the step was halved there."""

    previous: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    last_loss: Tensor
    length: Tensor
    rises: Tensor
    checked_loss: Tensor
    halved: Tensor


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """PGD with momentum whose step halves by itself, when the loss stops rising, from 2 epsilon on.

    No step size to choose, and stronger than PGD at equal cost on nearly every model: the default white-box attack.
    Costs `steps` gradients and one forward per restart. loss: ce, margin or dlr (with two classes dlr is the margin).
    momentum: weight of the new step against the last move. patience: a step is halved when at most this share of the
    steps since the last checkpoint raised the loss.
    """

    name: ClassVar[str] = "apgd"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 100
    loss: str = "ce"
    momentum: float = 0.75
    patience: float = 0.75

    def __post_init__(self) -> None:
        for name in ("momentum", "patience"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"apgd: {name} is above 0 and at most 1, got {getattr(self, name)}.")

    def start(self, problem: Problem) -> APGDRows:
        x = problem.project(problem.inputs + problem.wide(problem.epsilon) * self._direction(problem))
        low = torch.full_like(problem.epsilon, float("-inf"))
        return APGDRows(
            x=x,
            previous=x,
            best=x,
            best_loss=low,
            best_gradient=torch.zeros_like(x),
            last_loss=low,
            length=torch.full_like(problem.epsilon, 2.0),
            rises=torch.zeros_like(problem.ages),
            checked_loss=low,
            halved=torch.zeros_like(problem.ages, dtype=torch.bool),
        )

    def objective(self, scores: Tensor, problem: Problem, rows: APGDRows) -> Tensor:
        return problem.loss(self.loss, scores)

    def step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        loss, gradient = reply.need_loss(), reply.need_gradient()
        first = problem.ages == 0
        better = loss > rows.best_loss
        best = torch.where(problem.wide(better), rows.x, rows.best)
        best_gradient = torch.where(problem.wide(better), gradient, rows.best_gradient)
        best_loss = torch.where(better, loss, rows.best_loss)
        rises = rows.rises + ((loss > rows.last_loss) & ~first)

        due, since = checkpoint(self.steps, problem.ages)
        stuck = (rises <= self.patience * since) | (~rows.halved & (rows.checked_loss >= best_loss))
        halve = due & stuck
        length = torch.where(halve, rows.length / 2, rows.length)
        x = torch.where(problem.wide(halve), best, rows.x)
        gradient = torch.where(problem.wide(halve), best_gradient, gradient)

        reach = problem.wide(length * problem.epsilon)
        ahead = problem.project(x + reach * problem.steepest(gradient))
        moved = problem.project(x + self.momentum * (ahead - x) + (1 - self.momentum) * (rows.x - rows.previous))
        return APGDRows(
            x=torch.where(problem.wide(first), ahead, moved),
            previous=rows.x,
            best=best,
            best_loss=best_loss,
            best_gradient=best_gradient,
            last_loss=loss,
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
    table = torch.tensor(_lookback(steps), device=ages.device)
    since = table[ages.clamp_max(steps)]
    return since > 0, since


@cache
def _lookback(steps: int) -> tuple[int, ...]:
    table = [0] * (steps + 1)
    distance, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    at = distance
    while at <= steps:
        table[at] = distance
        distance = max(distance - shrink, least)
        at += distance
    return tuple(table)


@hookimpl
def register_attacks(register: Register) -> None:
    register(APGD)
