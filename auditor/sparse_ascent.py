"""Sparse steps that climb a loss in the l1 ball, whose radius shrinks to epsilon: the l1 form of Auto-PGD.

Croce and Hein, https://arxiv.org/abs/2103.01208
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auditor.attack import Reply
from auditor.climb import ClimbRows, best_of, either
from auditor.problem import Problem

RADII = (3.0, 2.0, 1.0)
"""Radii over epsilon of the three phases, which take 30, 30 and 40 % of the steps."""
SHARE = 0.2
"""Share of the features that the first step moves."""
DENSER = 1.5
"""A step moves as many features as the best point has changed, divided by this; a step that stays shrinks by it too."""
SPARSER = 0.95
"""Where the best point has come to this share of the features it had changed, the row goes there with a full step."""
LEAST = 0.1
"""The smallest step over the radius; the largest is 1."""
LOOKBACK = 0.04
"""Checkpoints come after this share of the phase's steps."""


@dataclass(frozen=True, kw_only=True)
class SparseRows(ClimbRows):
    """The best point is that of the phase. length: step size over the phase's radius. features: how many features a
    step moves. support: how many the best point had changed at the last checkpoint."""

    length: Tensor
    features: Tensor
    support: Tensor


@dataclass(frozen=True)
class Phase:
    """Where rows stand: the age at which their phase began, its radius over epsilon, steps between checkpoints."""

    began: Tensor
    radius: Tensor
    every: Tensor


def phase(steps: int, ages: Tensor) -> Phase:
    """The phase that points of these ages are in. The last point is always in the last, however few the steps."""
    length = -(-3 * steps // 10)
    second, third = length, min(2 * length, steps)
    part = (ages >= second).long() + (ages >= third)
    part = torch.where(ages >= third, 2, part)

    def pick(*values: float) -> Tensor:
        return torch.tensor(values, device=ages.device)[part]

    checks = [max(int(LOOKBACK * count), 1) for count in (second, third - second, steps - third)]
    return Phase(pick(0, second, third), pick(*RADII), pick(*checks))


def start(problem: Problem, steps: int) -> SparseRows:
    """Rows at the nearest points of the first ball to normal noise."""
    noise = problem.draws.normal(*problem.inputs.shape[1:], dtype=problem.inputs.dtype)
    noise = noise if problem.weights is None else noise * problem.weights
    x = _within(problem, phase(steps, problem.ages).radius).project(problem.inputs + noise)
    nothing = torch.zeros_like(problem.epsilon)
    return SparseRows(
        x=x,
        best=x,
        best_loss=nothing,
        best_gradient=torch.zeros_like(x),
        length=nothing,
        features=nothing,
        support=nothing,
    )


def step(problem: Problem, rows: SparseRows, reply: Reply, steps: int) -> SparseRows:
    """A step, or where a phase ends the way from its best point into the next ball."""
    gradient, x = reply.need_gradient(), rows.x
    now, then = phase(steps, problem.ages), phase(steps, problem.ages + 1)
    fresh = problem.ages == now.began
    best, best_loss, best_gradient = best_of(rows, reply, fresh)

    due = ((problem.ages - now.began) % now.every == 0) & ~fresh
    count = (best != problem.inputs).flatten(1).sum(dim=1).to(best.dtype)
    again = due & (count < SPARSER * rows.support)
    length = torch.where(due, (rows.length / DENSER).clamp_min(LEAST), rows.length)
    length = torch.where(fresh | again, 1.0, length)
    features = torch.where(fresh | due, count / DENSER, rows.features)
    support = torch.where(fresh | due, count, rows.support)
    first = problem.ages == 0  # the start is noise, whose support says nothing
    total = float(problem.inputs[0].numel())
    features, support = torch.where(first, SHARE * total, features), torch.where(first, total, support)

    x, gradient = either(again, best, x), either(again, best_gradient, gradient)
    reach = problem.wide(length * now.radius * problem.epsilon)
    ahead = torch.addcmul(x, sparse_direction(problem, x, gradient, features), reach)
    ahead = either(problem.ages + 1 == then.began, best, ahead)
    return SparseRows(
        x=_within(problem, then.radius).project(ahead),
        best=best,
        best_loss=best_loss,
        best_gradient=best_gradient,
        length=length,
        features=features,
        support=support,
    )


def sparse_direction(problem: Problem, points: Tensor, gradient: Tensor, features: Tensor) -> Tensor:
    """The change of l1 size 1 that moves the features `[batch]` of largest gradient by as much each."""
    weighted = gradient if problem.weights is None else gradient * problem.weights
    free = torch.where(gradient > 0, points < problem.upper, points > problem.lower)
    weighted = torch.where(free, weighted, 0)
    flat = weighted.flatten(1)
    count = features.floor().clamp(1, flat.shape[1])
    signs = flat.sign() * (flat.abs() >= kth_largest(flat.abs(), count)[:, None])
    direction = (signs / signs.abs().sum(dim=1, keepdim=True).clamp_min(1)).reshape(gradient.shape)
    return direction if problem.weights is None else direction * problem.weights


def kth_largest(values: Tensor, k: Tensor) -> Tensor:
    """The k-th largest of each row, `[batch]`, of values `[batch, m]` >= 0; k: `[batch]`, 1 … m.

    Bisects on the bits, which order floats as integers do: much faster than sorting, and exact.
    """
    kind = torch.int32 if values.dtype is torch.float32 else torch.int64
    bits = values.view(kind)
    low, high = torch.zeros_like(bits[:, 0]), bits.amax(dim=1) + 1
    for _ in range(torch.iinfo(kind).bits - 1):
        middle = low + (high - low) // 2
        enough = (bits >= middle[:, None]).sum(dim=1, dtype=torch.int32) >= k
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return low.view(values.dtype)


def _within(problem: Problem, radius: Tensor) -> Problem:
    """The same problem in a ball of so many epsilon."""
    return replace(problem, epsilon=radius.to(problem.epsilon.dtype) * problem.epsilon, projected=[])
