"""From leaf to leaf of a tree ensemble inside the threat model: which leaves are within reach, and points moved there.

`ranks`, int32 `[batch, leaves]`, counts for each row the leaves up to each that are within reach.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auditor import geometry
from auditor.problem import Problem
from auditor.threat import Norm
from auditor.thresholds import TreeTable

ENTRIES = 1 << 22
"""Numbers that are compared at once to find the leaves within reach."""


def within_reach(problem: Problem, trees: TreeTable) -> Tensor:
    """Which leaves some points of each row's ball are in, but not all of its box: bool `[batch, leaves]`."""
    lower, upper, inputs = (values.flatten(1) for values in (problem.lower, problem.upper, problem.inputs))
    width = max(ENTRIES // (len(problem) * trees.features.shape[1] or 1), 1)
    parts = []
    for start in range(0, max(len(trees.features), 1), width):
        features, low, high = (table[start : start + width] for table in (trees.features, trees.low, trees.high))
        least, most = lower[:, features], upper[:, features]
        inside = (low <= high) & (low <= most) & (high >= least)
        partly = (low > least) | (high < most)
        reached = inside.all(dim=2) & partly.any(dim=2)
        if shared(problem):
            own = features != features[:, :1]  # what fills a short path up is counted once
            own[:, 0] = True
            clean = inputs[:, features]
            change = clean.clamp(low, high) - clean
            scale = 1 if problem.weights is None else problem.weights.flatten(1)[:, features]
            reached &= (_powers(problem.norm, change / scale) * own).sum(dim=2) <= budget_of(problem)[:, None]
        parts.append(reached)
    return torch.cat(parts, dim=1)


def entered(problem: Problem, points: Tensor, leaf: Tensor, trees: TreeTable, order: Tensor | None) -> Tensor:
    """The points `[batch, k, features]`, each moved into the box of a leaf `[batch, k]` (-1: left alone).

    order: which changes are taken back first where the norm is of all features together, `[batch, features]`.
    """
    if not len(trees.features):
        return points
    chosen = leaf.clamp_min(0)
    features = trees.features[chosen]
    wide = features.flatten(1)
    lower, upper, clean = (
        values.flatten(1).gather(1, wide).reshape(features.shape)
        for values in (problem.lower, problem.upper, problem.inputs)
    )
    low, high = trees.low[chosen].maximum(lower), trees.high[chosen].minimum(upper)
    here = points.gather(2, features)
    value = here.clamp(low, high)
    if order is not None:
        value = torch.where(value == here, here, clean.clamp(low, high))
    moved = torch.where((leaf >= 0)[:, :, None], points.scatter(2, features, value), points)
    return moved if order is None else _afforded(problem, moved, features, order)


def _afforded(problem: Problem, points: Tensor, entered: Tensor, order: Tensor) -> Tensor:
    """The points within the ball: changes are taken back in a random order, those of the leaf just entered last."""
    cost = costs(problem, points)
    first = order[:, None].to(cost.dtype).expand_as(cost).scatter(2, entered, -1.0)
    ranked = first.argsort(dim=2, stable=True)
    kept = cost.gather(2, ranked).cumsum(dim=2) <= budget_of(problem)[:, None, None]
    keeps = torch.zeros_like(kept).scatter(2, ranked, kept)
    return torch.where(keeps, points, problem.inputs.flatten(1)[:, None])


def after_random_leaves(
    problem: Problem, points: Tensor, trees: TreeTable, ranks: Tensor, number: Tensor | int, most: int
) -> Tensor:
    """The points `[batch, features]` after so many random leaves within reach, at most `most`."""
    count = how_many(ranks)
    drawn = leaf_at(ranks, problem.draws.integers(count.clamp_min(1), most))
    order = problem.draws.uniform(points.shape[1]) if shared(problem) else None
    for turn in range(most):
        here = torch.as_tensor(number, device=count.device) > turn
        leaf = torch.where(here & (count > 0), drawn[:, turn], -1)
        points = entered(problem, points[:, None], leaf[:, None], trees, order)[:, 0]
    return points


def how_many(ranks: Tensor) -> Tensor:
    """How many leaves each row can reach, int64 `[batch]`."""
    return ranks[:, -1].long() if ranks.shape[1] else ranks.new_zeros(len(ranks), dtype=torch.int64)


def leaf_at(ranks: Tensor, rank: Tensor) -> Tensor:
    """The leaves that come at these places among those within reach, `[batch, k]`; -1 where there are none."""
    found = torch.searchsorted(ranks, (rank + 1).to(ranks.dtype).contiguous())
    return torch.where(found < ranks.shape[1], found, -1)


def shared(problem: Problem) -> bool:
    """Whether features share epsilon, so that one can only change as far as the others leave it room."""
    return problem.norm is not Norm.LINF


def _powers(norm: Norm, change: Tensor) -> Tensor:
    """What each feature's change takes of the budget, float64."""
    size = change.double().abs()
    return (size > 0).double() if norm is Norm.L0 else size ** geometry.ORDER[norm]


def costs(problem: Problem, points: Tensor) -> Tensor:
    """The same for points `[batch, k, features]`."""
    change = points.double() - problem.inputs.flatten(1)[:, None].double()
    return _powers(problem.norm, change if problem.weights is None else change / problem.weights.flatten(1)[:, None])


def budget_of(problem: Problem) -> Tensor:
    """What all features may take together, float64 `[batch]`."""
    radius = problem.radius().double()
    return radius if problem.norm is Norm.L0 else radius ** geometry.ORDER[problem.norm]


def floored(values: Tensor, grid: float) -> Tensor:
    """The largest values of a grid, as float32 has them, that are not above these."""
    steps = (values.double() / grid).round()
    below, nearest = (((steps - back) * grid).float().to(values.dtype) for back in (1, 0))
    return torch.where(nearest <= values, nearest, below)
