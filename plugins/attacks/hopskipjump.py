"""HopSkipJump. Chen, Jordan, Wainwright, https://arxiv.org/abs/1904.02144"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply
from auditor.errors import UsageError
from auditor.halving import (
    Columns,
    EdgeRows,
    begun,
    between,
    directions,
    halved,
    merged,
    middle,
    proposed,
    reached,
    sought,
    start_points,
)
from auditor.hookspecs import Register, hookimpl
from auditor.hyperplane import outer_box, scale_of
from auditor.problem import Problem
from auditor.threat import Norm

SEEK, HALVE, ESTIMATE, JUMP = range(4)
PORTION = 2**16
"""Numbers that the probes of one row have in one reply: an estimate of many comes in portions, for memory's sake."""
SHORTEST = 2.0**-12
"""Share of the size below which no shorter jump is tried: the normal was wrong, it is estimated anew."""
FINEST, COARSEST = 2.0**-20, 0.1
"""Shares of a size that float32 can tell at a boundary, and that few features need no better."""
MOST, FEWEST, PER_BUDGET = 100, 10, 50
"""Probes of a first estimate: the paper's, the least, and one for so many queries of the budget."""
JUMPS = 5
"""Queries that are kept for a jump at the end."""


@dataclass(frozen=True, kw_only=True)
class HopRows(EdgeRows):
    """best, best_size: the nearest adversarial point so far, of infinite size while there is none. every, hits: sums of
    an estimate's probes, and of those that were adversarial, as changes of the edge; count, wrong: how many those are.
    reach: length of the next jump as a share of the size. turn: number of the estimate. spent: queries so far."""

    best: Tensor
    best_size: Tensor
    every: Tensor
    hits: Tensor
    count: Tensor
    wrong: Tensor
    reach: Tensor
    turn: Tensor
    spent: Tensor


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack):
    """Follow the boundary by labels alone: estimate its normal from random probes, jump along it, halve the way back.

    The strongest of the attacks that need labels only in l2, and a minimum-norm one: with an epsilon it ends as soon as
    a point within is adversarial, in a distance stage it looks for the smallest change. Choose it for models that
    return nothing but labels, and where scores are suspected to mislead; a few thousand queries tell a broken model
    from an honest one, an estimate of the distance wants ten thousand or more. Costs `steps` queries and one at the
    end.

    steps: queries of a row; the last estimates have as many probes as are left. probes: of the first estimate, later
    ones have √t times as many; 0 for the paper's 100, or a fiftieth of `steps` where that is less, since with few
    queries many rough steps lead further than few exact ones. gamma: how far from the edge probes are, times the l2
    size of the change over the number of features, and by how much a halving may be off; 1 is the paper's, larger ones
    suit models whose inputs or arithmetic are coarse. warm: begin with the best point so far, walked outwards until it
    is adversarial, in place of random ones. In linf the paper's precision for halving is beyond float32: the one of l2
    serves both norms.
    """

    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})
    minimum_norm: ClassVar[bool] = True

    steps: int = 2500
    probes: int = 0
    gamma: float = 1.0
    warm: bool = False

    def __post_init__(self) -> None:
        if self.probes < 0:
            raise UsageError(
                f"hopskipjump: probes is a number of points, 0 to have it follow steps, got {self.probes}."
            )
        if not 0 < self.gamma < float("inf"):
            raise UsageError(f"hopskipjump: gamma is a finite number above 0, got {self.gamma}.")

    def start(self, problem: Problem) -> HopRows:
        zero, none = torch.zeros_like(problem.epsilon), torch.zeros_like(problem.ages)
        return HopRows(
            **begun(problem, warm=self.warm),
            best=problem.inputs.clone(),
            best_size=torch.full_like(zero, float("inf")),
            every=torch.zeros_like(problem.inputs),
            hits=torch.zeros_like(problem.inputs),
            count=none,
            wrong=none,
            reach=zero,
            turn=none + 1,
            spent=none,
        )

    def query(self, problem: Problem, rows: HopRows) -> Query:
        feels = rows.phase == ESTIMATE
        points, probes = proposed(problem, self._next(problem, rows))
        owner = torch.arange(len(problem), device=feels.device)
        if bool(feels.any()):
            felt, which = self._felt(problem, rows, feels.nonzero()[:, 0])
            points, owner = torch.cat([points[~feels], felt]), torch.cat([owner[~feels], which])
            probes = torch.cat([probes[~feels], torch.ones_like(which, dtype=torch.bool)])
        return Query(points=points, owner=owner, probes=probes, gradient=False)

    def step(self, problem: Problem, rows: HopRows, reply: Reply) -> HopRows:
        hit, spent = reached(problem, reply), rows.spent + torch.bincount(reply.owner, minlength=len(problem))
        alone = rows.phase != ESTIMATE
        first = int(alone.sum())  # the query has them before the probes
        points, found = rows.edge, alone.clone()
        if first:
            points = points.index_copy(0, reply.owner[:first], reply.points[:first])
            found[alone] = hit[:first]
        felt = {} if first == len(reply.owner) else self._felt_out(problem, rows, reply, hit, first)
        columns = self._alone(problem, rows, points, found)
        columns |= merged(replace(rows, **columns), ~alone, felt)
        moved = replace(rows, **columns, spent=spent)
        over = spent >= self.steps
        if bool(over.any()):
            moved = replace(moved, x=problem.project(moved.best))
        return replace(moved, over=over)

    @property
    def replies(self) -> int:
        return self.steps

    def cost(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, 0

    # what is asked

    def _next(self, problem: Problem, rows: HopRows) -> Tensor:
        """The point that a row asks about which does not estimate."""
        points = between(problem, rows.edge, middle(problem, rows.low, rows.high))
        jumps, seeks = rows.phase == JUMP, rows.phase == SEEK
        if bool(jumps.any()):
            jump = rows.edge + problem.wide(rows.reach) * self._normal(problem, rows)
            points = torch.where(problem.wide(jumps), jump, points)
        if bool(seeks.any()):
            points = torch.where(problem.wide(seeks), start_points(problem, rows.towards, rows.tries), points)
        return points

    def _felt(self, problem: Problem, rows: HopRows, felt: Tensor) -> tuple[Tensor, Tensor]:
        """The next probes of the rows that estimate `[m, *shape]`, and the row of each."""
        own, edge, counts = problem.take(felt), rows.edge[felt], self._portion(problem, rows)[felt]
        scale = scale_of(own)
        change = torch.where(scale > 0, (edge - own.inputs) / scale, 0)
        delta = self.gamma * change.flatten(1).norm(dim=1) / change[0].numel()  # euclidean, in linf too
        low, high = outer_box(own)
        points = directions(own, int(counts.max()))
        points.mul_((own.wide(delta) * scale)[:, None]).add_(edge[:, None]).clamp_(low[:, None], high[:, None])
        asked = torch.arange(points.shape[1], device=felt.device) < counts[:, None]
        return points[asked], felt[:, None].expand_as(asked)[asked]

    def _portion(self, problem: Problem, rows: HopRows) -> Tensor:
        """How many probes are next, int64 `[batch]`."""
        most = max(PORTION // problem.inputs[0].numel(), 1)
        return torch.minimum((self._wanted(problem, rows) - rows.count).clamp(1, most), self.steps - rows.spent)

    def _wanted(self, problem: Problem, rows: HopRows) -> Tensor:
        """How many probes the estimate is to have, `[batch]`: no more than leave queries for a jump and a halving."""
        reserve = JUMPS - log2(self._precise(problem))
        left = self.steps - (rows.spent - rows.count) - int(reserve)
        first = self.probes or min(max(self.steps // PER_BUDGET, FEWEST), MOST)
        return torch.minimum((first * rows.turn.double().sqrt()).long(), left)

    def _precise(self, problem: Problem) -> float:
        """By which share of the size a halving may be off."""
        finest: float = self.gamma * float(problem.inputs[0].numel()) ** -1.5
        return min(max(finest, FINEST), COARSEST)

    def _normal(self, problem: Problem, rows: HopRows) -> Tensor:
        """The change of size 1 in the threat's norm along the estimated normal."""
        share = (rows.wrong / rows.count.clamp_min(1)).to(rows.every.dtype)
        share = torch.where(share == 1, 0, torch.where(share == 0, 1, share))  # all alike: from the others, or to them
        uphill = rows.hits - problem.wide(share) * rows.every
        scale = scale_of(problem)
        uphill = torch.where(scale > 0, uphill / scale, 0)
        if problem.norm is Norm.LINF:
            return uphill.sign() * scale
        return uphill / problem.wide(uphill.flatten(1).norm(dim=1).clamp_min(torch.finfo(uphill.dtype).tiny)) * scale

    # what is made of the answers

    def _alone(self, problem: Problem, rows: HopRows, points: Tensor, found: Tensor) -> Columns:
        """Rows that asked about one point: a start is found, the bracket narrows, a jump lands or becomes shorter."""
        size = problem.size(points)
        nearer = found & (size < rows.best_size)
        columns = {
            "edge": torch.where(problem.wide(found), points, rows.edge),
            "best": torch.where(problem.wide(nearer), points, rows.best),
            "best_size": torch.where(nearer, size, rows.best_size),
        }
        columns |= merged(rows, rows.phase == SEEK, sought(rows, size, found, HALVE))
        ways = halved(problem, rows, found, self._precise(problem), ESTIMATE)
        columns |= merged(replace(rows, **columns), rows.phase == HALVE, ways)
        columns |= merged(replace(rows, **columns), rows.phase == JUMP, self._jumped(rows, size, found))
        begins = (columns["phase"] == ESTIMATE) & (rows.phase != ESTIMATE)
        if bool(begins.any()):
            columns |= {name: torch.where(begins, 0, getattr(rows, name)) for name in ("count", "wrong")}
            columns |= {name: torch.where(problem.wide(begins), 0, getattr(rows, name)) for name in ("every", "hits")}
        return columns

    def _jumped(self, rows: HopRows, size: Tensor, found: Tensor) -> Columns:
        """A jump that lands is followed by the way back; a shorter one else, or a new estimate where all fail."""
        shorter = rows.reach / 2
        again = ~found & (shorter < SHORTEST * rows.high)
        return {
            "low": torch.zeros_like(size),
            "high": torch.where(found, size, rows.high),
            "reach": shorter,
            "turn": rows.turn + (found | again).long(),
            "phase": torch.where(found, HALVE, torch.where(again, ESTIMATE, JUMP)),
        }

    def _felt_out(self, problem: Problem, rows: HopRows, reply: Reply, hit: Tensor, first: int) -> Columns:
        """The sums of an estimate, entered where they are; once it has all of its probes, it is time to jump."""
        owner, hit = reply.owner[first:], hit[first:]
        changes = reply.points[first:] - rows.edge[owner]
        rows.every.index_add_(0, owner, changes)
        rows.hits.index_add_(0, owner[hit], changes[hit])
        n = len(rows.phase)
        asked, wrong = torch.bincount(owner, minlength=n), torch.bincount(owner[hit], minlength=n)
        count = rows.count + asked
        ready = count >= self._wanted(problem, replace(rows, count=count, spent=rows.spent + asked))
        return {
            "count": count,
            "wrong": rows.wrong + wrong,
            "reach": rows.high / rows.turn.to(rows.high.dtype).sqrt(),
            "phase": torch.where(ready, JUMP, rows.phase),
        }


@hookimpl
def register_attacks(register: Register) -> None:
    register(HopSkipJump)
