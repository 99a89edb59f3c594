"""Search over the cells and leaves of tree ensembles, after Zhang, Zhang, Hsieh, https://arxiv.org/abs/2010.11598"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.leaves import (
    after_random_leaves,
    budget_of,
    costs,
    entered,
    floored,
    how_many,
    leaf_at,
    shared,
    within_reach,
)
from auditor.problem import Problem
from auditor.threat import Norm
from auditor.thresholds import TreeTable

KICKS = 6
"""Leaves that a row which is stuck is moved to at most, one after the other."""
STRIDES = 16
"""Random leaves that a later restart begins with."""


@dataclass(frozen=True, kw_only=True)
class ThresholdsRows(Rows):
    """x is the point whose neighbours are asked about, loss its loss (minus infinity: any neighbour will do).

    kept, kept_loss: the best point so far. fails: replies in turn that brought no improvement. place: how far the
    leaves within reach have been gone through. ranks: int32 `[batch, leaves]`, how many of the leaves up to each are
    within reach. cells: how many cells the box has, 0 where they are too many to try each. axes, sizes, first: the
    features that have several, into how many the box is cut there, and the number of the first.
    """

    loss: Tensor
    kept: Tensor
    kept_loss: Tensor
    fails: Tensor
    place: Tensor
    ranks: Tensor
    cells: Tensor
    axes: Tensor
    sizes: Tensor
    first: Tensor


@dataclass(frozen=True, kw_only=True)
class Thresholds(Attack):
    """Move a sample from leaf to leaf of a tree ensemble, in place of climbing a gradient that it does not have.

    Between two thresholds nothing changes, so a feature has only as many values worth trying as the ball holds cells.
    Where all cells of the ball are fewer than the queries of a row, each is asked about once, at its point nearest to
    the input: then a sample that withstands is robust. Elsewhere a step asks about neighbours: for each leaf within
    reach, the point with all features of its path moved into the leaf's box, the others kept; a quarter of the points
    and those left over enter two leaves at once. The best neighbour is kept while the margin shrinks; a row that no
    leaf helps goes on from its best point after a few random leaves.

    Choose it for forests and boosted trees in any norm, where `square` is the next best: it reads thresholds and leaf
    boxes off the file, which takes an attacker who has the file (white-box, though the file itself is asked). It is
    skipped on models that are no tree ensembles and behind defences. Costs `candidates` queries a step and one more at
    the end. In l2, l1 and l0 what a move costs too much is taken from features that other moves changed. The original
    goes only to leaves next to the row's own and weighs them by distance; this one minimises the margin in the ball.

    candidates: points asked about in a step.
    """

    name: ClassVar[str] = "thresholds"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1, Norm.L0})
    needs_trees: ClassVar[bool] = True

    steps: int = 120
    candidates: int = 16

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise UsageError(f"thresholds asks about at least 1 of its candidates, got {self.candidates}.")

    def cost(self, classes: int) -> tuple[int, int]:
        """Queries: `candidates` a step, and the point it ends on."""
        return self.steps * self.candidates + 1, 0

    def objective(self, scores: Tensor, problem: Problem, rows: Rows) -> Tensor:
        return problem.loss("margin", scores)

    def start(self, problem: Problem) -> ThresholdsRows:
        trees = self.trees(problem)
        ranks = within_reach(problem, trees).cumsum(dim=1, dtype=torch.int32)
        cells, axes, sizes, first = self._cells(problem, trees)
        later = after_random_leaves(problem, problem.inputs.flatten(1), trees, ranks, STRIDES, STRIDES)
        later = later.reshape(problem.inputs.shape)
        x = torch.where(problem.wide(problem.restarts == 0), problem.inputs, later)
        lost = torch.full_like(problem.epsilon, -torch.inf)
        return ThresholdsRows(
            x=x,
            loss=lost,
            kept=problem.random_point(),
            kept_loss=lost,
            fails=torch.zeros_like(problem.ages),
            place=problem.draws.integers(how_many(ranks).clamp_min(1)),
            ranks=ranks,
            cells=cells,
            axes=axes,
            sizes=sizes,
            first=first,
        )

    def query(self, problem: Problem, rows: ThresholdsRows) -> Query:
        trees = self.trees(problem)
        owner = torch.arange(len(problem), device=problem.labels.device).repeat_interleave(self.candidates)
        points = self._neighbours(problem, rows, trees)
        every = rows.cells > 0
        if every.any():
            points = torch.where(every[:, None, None], self._every(problem, rows, trees), points)
        return Query(points=points.reshape(-1, *problem.inputs.shape[1:]), owner=owner, gradient=False)

    def step(self, problem: Problem, rows: ThresholdsRows, reply: Reply) -> ThresholdsRows:
        each = len(problem), self.candidates
        points = reply.points.reshape(*each, *problem.inputs.shape[1:])
        changed = (points != problem.inputs[:, None]).flatten(2).any(dim=2)
        losses, place = torch.where(changed, reply.need_loss().reshape(each), -torch.inf).max(dim=1)
        found = points[torch.arange(len(problem), device=place.device), place]
        better = losses > rows.kept_loss
        kept = torch.where(problem.wide(better), found, rows.kept)
        improved = losses > rows.loss
        x = torch.where(problem.wide(improved), found, rows.x)
        loss = torch.where(improved, losses, rows.loss)
        fails = torch.where(improved, 0, rows.fails + 1)
        count, alone = how_many(rows.ranks), self._alone(rows.ranks)
        stuck = fails * alone >= count
        trees = self.trees(problem)
        most = problem.draws.integers(KICKS) + 1
        kicked = after_random_leaves(problem, kept.flatten(1), trees, rows.ranks, most, KICKS).reshape(kept.shape)
        needed = torch.where(rows.cells > 0, (rows.cells / self.candidates).ceil().long(), self.steps)
        last = (problem.ages + 1 >= needed) | (count == 0)
        x = torch.where(problem.wide(stuck), kicked, x)
        return ThresholdsRows(
            x=torch.where(problem.wide(last), kept, x),
            over=last,
            loss=torch.where(stuck, -torch.inf, loss),
            kept=kept,
            kept_loss=torch.where(better, losses, rows.kept_loss),
            fails=torch.where(stuck, 0, fails),
            place=(rows.place + alone) % count.clamp_min(1),
            ranks=rows.ranks,
            cells=rows.cells,
            axes=rows.axes,
            sizes=rows.sizes,
            first=rows.first,
        )

    def trees(self, problem: Problem) -> TreeTable:
        """The model's trees, each interval's ends brought inward to the threat's grid."""
        trees = problem.need_trees()
        if problem.grid is None:
            return trees
        return TreeTable(
            thresholds=floored(trees.thresholds, problem.grid),
            features=trees.features,
            low=-floored(-trees.low, problem.grid),
            high=floored(trees.high, problem.grid),
        )

    def _alone(self, ranks: Tensor) -> Tensor:
        """Points of a step that enter a single leaf: the others, a quarter at least, enter two."""
        return how_many(ranks).clamp_max(max(self.candidates - self.candidates // 4, 1))

    def _neighbours(self, problem: Problem, rows: ThresholdsRows, trees: TreeTable) -> Tensor:
        """Points of the next leaves in turn, and of random pairs, `[batch, candidates, features]`."""
        count, alone = how_many(rows.ranks).clamp_min(1), self._alone(rows.ranks)
        slot = torch.arange(self.candidates, device=count.device)[None]
        drawn = problem.draws.integers(count, 2, self.candidates)
        first = torch.where(slot < alone[:, None], (rows.place[:, None] + slot) % count[:, None], drawn[:, 0])
        order = problem.draws.uniform(problem.inputs[0].numel()) if shared(problem) else None
        here = rows.x.flatten(1)[:, None].expand(-1, self.candidates, -1)
        once = entered(problem, here, leaf_at(rows.ranks, first), trees, order)
        twice = entered(problem, once, leaf_at(rows.ranks, drawn[:, 1]), trees, order)
        single = (slot < alone[:, None]) & (once != here).any(dim=2)
        return torch.where(single[:, :, None], once, twice)

    def _cells(self, problem: Problem, trees: TreeTable) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How many cells the box of each row has, if they can all be asked about, and how it is cut (see the rows)."""
        lower, upper = problem.lower.flatten(1)[:, :, None], problem.upper.flatten(1)[:, :, None]
        cuts = trees.thresholds[None]
        sizes = ((cuts >= lower) & (cuts < upper)).sum(dim=2) + 1
        first = (cuts < lower).sum(dim=2)
        budget = self.steps * self.candidates
        sizes, axes = sizes.topk(min(ceil(log2(budget)) + 1, sizes.shape[1]), dim=1)
        cells = sizes.double().prod(dim=1)
        return torch.where(cells <= budget, cells, 0).long(), axes, sizes, first.gather(1, axes)

    def _every(self, problem: Problem, rows: ThresholdsRows, trees: TreeTable) -> Tensor:
        """The next cells in order, each at its point nearest to the input, `[batch, candidates, features]`."""
        number = problem.ages[:, None] * self.candidates + torch.arange(self.candidates, device=problem.ages.device)
        number = number.minimum((rows.cells - 1).clamp_min(0)[:, None])[:, :, None]
        strides = rows.sizes.double().cumprod(dim=1) / rows.sizes  # beyond 2^53 only where cells are 0
        digit = rows.first[:, None] + number.div(strides.long().clamp_min(1)[:, None], rounding_mode="floor").remainder(
            rows.sizes[:, None]
        )
        table = trees.thresholds
        high = torch.cat([table, torch.full_like(table[:, :1], torch.inf)], dim=1)
        raw = torch.cat([torch.full_like(table[:, :1], -torch.inf), problem.need_trees().thresholds], dim=1)
        low = torch.nextafter(raw.float(), torch.full_like(raw, torch.inf).float()).to(raw.dtype)
        low = low if problem.grid is None else -floored(-low, problem.grid)
        axes = rows.axes[:, None].expand_as(digit)
        flat = problem.inputs.flatten(1)
        value = flat.gather(1, rows.axes)[:, None].expand_as(digit).clone()
        value = value.maximum(low[axes, digit].maximum(problem.lower.flatten(1).gather(1, rows.axes)[:, None]))
        value = value.minimum(high[axes, digit].minimum(problem.upper.flatten(1).gather(1, rows.axes)[:, None]))
        points = flat[:, None].expand(-1, self.candidates, -1).scatter(2, axes, value)
        if shared(problem):
            fits = costs(problem, points).sum(dim=2) <= budget_of(problem)[:, None]
            points = torch.where(fits[:, :, None], points, flat[:, None])
        return points


@hookimpl
def register_attacks(register: Register) -> None:
    register(Thresholds)
