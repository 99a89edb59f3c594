"""The gradient from scores alone: pairs of probes on both sides of a point, for attacks that climb what they estimate.

A probe goes a share of epsilon away from its point. It may leave the ball, since nobody proposes it, but not the values
that an input may have: a deployed model may refuse or clip those, and an attacker could not send them. Where that cuts
a probe off, the estimate counts the way it really went, so it stays unbiased but for the scale of single features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.attack import Query, Reply
from auditor.problem import Problem
from auditor.threat import Norm


def reach(problem: Problem) -> Tensor:
    """How far each feature goes when all of them go equally far, to a distance of epsilon; 0 for frozen ones.

    `[batch, *shape]`, for linf and l2, in units of the inputs. Steps and estimates are in units of it, so that they
    mind neither the scale of the data nor the weights.
    """
    free = (problem.upper > problem.lower).to(problem.inputs.dtype)
    size = problem.epsilon
    if problem.norm is Norm.L2:
        size = size / free.flatten(1).sum(dim=1).clamp_min(1).sqrt()
    free = problem.wide(size) * free
    return free if problem.weights is None else free * problem.weights


def probe(problem: Problem, x: Tensor, directions: Tensor, size: float) -> Query:
    """Asks about each point and then both ends of its directions `[batch, n, *shape]`: 2n + 1 points a row.

    size: of a probe's way, in units of `reach`. Memory is the price: all of them are held at once.
    """
    rows, n = directions.shape[:2]
    way = size * reach(problem)[:, None] * directions
    low, high = (problem.lower[:, None], problem.upper[:, None]) if problem.limits is None else problem.limits
    middle = x[:, None]
    ends = [torch.clamp(middle + way, low, high), torch.clamp(middle - way, low, high)]  # type: ignore[arg-type]
    points = torch.cat([middle, *ends], dim=1).flatten(0, 1)
    place = torch.arange(rows * (2 * n + 1), device=x.device)
    return Query(points=points, owner=place // (2 * n + 1), probes=place % (2 * n + 1) > 0)


def estimate(problem: Problem, reply: Reply, size: float) -> tuple[Tensor, Tensor]:
    """The loss at each row's point, `[batch]`, and its estimated gradient per unit of `reach`, `[batch, *shape]`.

    ĝ = (1/n) Σ (J(x + δv) - J(x - δv)) / 2δ · v, whose mean is the gradient where J is linear and v has the covariance
    of a unit matrix.
    """
    rows = len(problem)
    loss = reply.need_loss().reshape(rows, -1)
    points = reply.points.reshape(rows, loss.shape[1], -1)
    n = loss.shape[1] // 2
    unit = reach(problem).flatten(1)
    unit = torch.where(unit > 0, unit, 1)[:, None]
    rise = (loss[:, 1 : n + 1] - loss[:, n + 1 :]) / (2 * size)
    went = (points[:, 1 : n + 1] - points[:, n + 1 :]) / (2 * size * unit)
    mean = torch.einsum("bn,bnd->bd", rise, went) / n
    return loss[:, 0], mean.reshape(problem.inputs.shape)


def asked(steps: int, n: int) -> int:
    """Points that a row asks about which takes so many steps of n pairs, and then is judged."""
    return steps * (2 * n + 1) + 1
