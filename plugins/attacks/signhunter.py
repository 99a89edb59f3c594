"""SignHunter. Al-Dujaili and O'Reilly, ICLR 2020, https://openreview.net/forum?id=SygW0TEFwH"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

LONG = 4.0
"""Times epsilon: how far a point of l2 goes before it is projected, which makes up for what the bounds cut off."""


@dataclass(frozen=True, kw_only=True)
class SignRows(Rows):
    """signs, best: of the proposal and of the point kept, 1 and -1. best_loss: the loss of that one."""

    signs: Tensor
    best: Tensor
    best_loss: Tensor


@dataclass(frozen=True, kw_only=True)
class SignHunter(Attack):
    """Flip the signs of all features, then of halves, of quarters, and so on: what raises the margin's loss is kept.

    A point is the corner of the box that its signs say (in l2 the change of these signs with the length epsilon). Once
    single features have been flipped it begins again with all of them, at the best point. Needs no gradient and asks
    the deployed model itself. Nothing is random, no option is to be tuned, and no feature has neighbours: choose it for
    tables, time series and other inputs that are no pictures, and elsewhere as a second opinion that shares nothing
    with `square`. On a linear model with two classes the first pass finds the signs of the gradient exactly,
    in at most 2^(1 + ⌈log₂ d⌉) queries for d features. Costs one query a step.

    The first restart begins with every feature at its upper end, as the paper has it, each further one with signs
    drawn at random.
    """

    name: ClassVar[str] = "signhunter"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 1000

    def start(self, problem: Problem) -> SignRows:
        drawn = problem.draws.signs(*problem.inputs.shape[1:], dtype=problem.inputs.dtype)
        signs = torch.where(problem.wide(problem.restarts) > 0, drawn, 1)
        nothing = torch.full_like(problem.epsilon, float("-inf"))
        return SignRows(x=_point(problem, signs), signs=signs, best=signs, best_loss=nothing)

    def objective(self, scores: Tensor, problem: Problem, rows: SignRows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SignRows, reply: Reply) -> SignRows:
        loss = reply.need_loss()
        better = loss > rows.best_loss
        best = torch.where(problem.wide(better), rows.signs, rows.best)
        free = (problem.upper > problem.lower).flatten(1)
        place = free.cumsum(dim=1) - 1
        first, last = chunk(free.sum(dim=1), problem.ages)
        inside = (place >= first[:, None]) & (place < last[:, None])
        signs = torch.where(inside.reshape(best.shape), -best, best)
        best_loss = torch.where(better, loss, rows.best_loss)
        return SignRows(x=_point(problem, signs), signs=signs, best=best, best_loss=best_loss)


def chunk(features: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Which of so many features (int64 `[batch]`) the flip of this number is about: from the first up to the last.

    Chunks are as long as all features, then half as long, rounded up, down to 1; then it begins anew.
    """
    features = features.clamp_min(1)
    lengths = [features]
    while bool((lengths[-1] > 1).any()):
        lengths.append((lengths[-1] + 1) // 2)
    length = torch.stack(lengths)  # [level, batch]
    # a row of fewer features comes to single ones earlier, and does not repeat them
    fresh = torch.cat([torch.ones_like(length[:1], dtype=torch.bool), length[1:] < length[:-1]])
    count = torch.where(fresh, (features + length - 1) // length, 0)
    ends = count.cumsum(dim=0)
    turn = turn % ends[-1]
    level = (ends <= turn).sum(dim=0, keepdim=True)
    size, begun = length.gather(0, level)[0], (ends - count).gather(0, level)[0]
    first = (turn - begun) * size
    return first, torch.minimum(first + size, features)


def _point(problem: Problem, signs: Tensor) -> Tensor:
    """The point that these signs mean."""
    if problem.norm is Norm.LINF:
        return problem.project(torch.where(signs > 0, problem.upper, problem.lower))
    return problem.project(problem.inputs + LONG * problem.wide(problem.epsilon) * problem.steepest(signs))


@hookimpl
def register_attacks(register: Register) -> None:
    register(SignHunter)
