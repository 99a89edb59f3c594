"""HopSkipJump (Chen et al. 2020): labels only, l2, rows in different phases with different numbers of probes.

A row seeks an adversarial point, bisects towards the clean input, estimates the normal from the labels of probes, jumps
along it, and bisects again. The edge may lie outside the ball; the row's own point is its projection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows, choose
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import linear_bench
from auditor.threat import Norm, ThreatModel

SEEK, BISECT, ESTIMATE, JUMP = range(4)


@dataclass(frozen=True, kw_only=True)
class HopRows(Rows):
    """edge: the nearest adversarial point so far. low, high: where between clean input and edge the boundary is.
    normal: the estimated direction of jumps. reach: length of the next jump. phase, turn: where the row is."""

    edge: Tensor
    low: Tensor
    high: Tensor
    normal: Tensor
    reach: Tensor
    phase: Tensor
    turn: Tensor


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack):
    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    steps: int = 150
    seeds: int = 32
    probes: int = 50
    precise: float = 1e-3

    def start(self, problem: Problem) -> HopRows:
        x, zero = problem.project(problem.inputs), torch.zeros_like(problem.epsilon)
        return HopRows(
            x=x,
            edge=x,
            low=zero,
            high=zero + 1,
            normal=torch.zeros_like(x),
            reach=zero,
            phase=torch.full_like(problem.ages, SEEK),
            turn=torch.ones_like(problem.ages),
        )

    def count(self, rows: HopRows) -> Tensor:
        """How many points each row asks about: ragged."""
        estimate = (self.probes * rows.turn.double().sqrt()).long()
        return torch.where(rows.phase == SEEK, self.seeds, torch.where(rows.phase == ESTIMATE, estimate, 1))

    def query(self, problem: Problem, rows: HopRows) -> Query:
        counts = self.count(rows)
        owner = torch.repeat_interleave(torch.arange(len(problem)), counts)
        place = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
        noise = problem.draws.normal(int(counts.max()), *problem.inputs.shape[1:], dtype=problem.inputs.dtype)
        corner = torch.where(noise > 0, problem.upper[:, None], problem.lower[:, None])
        noise = noise / noise.flatten(2).norm(dim=2).reshape(*noise.shape[:2], *([1] * (noise.ndim - 2)))
        middle = problem.inputs + problem.wide((rows.low + rows.high) / 2) * (rows.edge - problem.inputs)
        jump = rows.edge + problem.wide(rows.reach) * rows.normal
        felt = rows.edge[:, None] + self.delta(problem, rows)[(...,) + (None,) * (noise.ndim - 1)] * noise
        phase = problem.wide(rows.phase)
        lone = torch.where(phase == BISECT, middle, jump)
        points = torch.where(
            phase[:, None] == SEEK, corner, torch.where(phase[:, None] == ESTIMATE, felt, lone[:, None])
        )
        points = points[owner, place].clamp(problem.lower[owner], problem.upper[owner])
        return Query(points=points, owner=owner, probes=~problem.take(owner).contains(points))

    def delta(self, problem: Problem, rows: HopRows) -> Tensor:
        """How far probes are from the edge: the distance over the number of features."""
        return _length(rows.edge - problem.inputs) / problem.inputs[0].numel()

    def step(self, problem: Problem, rows: HopRows, reply: Reply) -> HopRows:
        targets, labels = problem.targets[reply.owner], problem.labels[reply.owner]
        reached = torch.where(targets >= 0, reply.labels == targets, reply.labels != labels)
        share = reply.sums(reached.double(), len(problem)) / self.count(rows)
        moved = self.sought(problem, rows, reply, reached)
        moved = choose(rows.phase == BISECT, self.bisected(problem, rows, share > 0), moved)
        moved = choose(rows.phase == ESTIMATE, self.estimated(problem, rows, reply, reached, share), moved)
        moved = choose(rows.phase == JUMP, self.jumped(problem, rows, share > 0), moved)
        return replace(moved, x=problem.project(moved.edge))

    def sought(self, problem: Problem, rows: HopRows, reply: Reply, reached: Tensor) -> HopRows:
        distance = _length(reply.points - problem.inputs[reply.owner]).masked_fill(~reached, float("inf"))
        nearest = torch.full_like(problem.epsilon, float("inf"))
        nearest = nearest.scatter_reduce(0, reply.owner, distance, "amin")
        first = (distance == nearest[reply.owner]) & distance.isfinite()
        edge = rows.edge.index_copy(0, reply.owner[first], reply.points[first])
        return replace(rows, edge=edge, phase=torch.where(nearest.isfinite(), BISECT, SEEK))

    def bisected(self, problem: Problem, rows: HopRows, reached: Tensor) -> HopRows:
        middle = (rows.low + rows.high) / 2
        high, low = torch.where(reached, middle, rows.high), torch.where(reached, rows.low, middle)
        ready = high - low <= self.precise
        edge = problem.inputs + problem.wide(high) * (rows.edge - problem.inputs)
        settled = replace(
            rows,
            edge=edge,
            low=torch.zeros_like(low),
            high=torch.ones_like(high),
            phase=torch.full_like(rows.phase, ESTIMATE),
        )
        return choose(ready, settled, replace(rows, low=low, high=high))

    def estimated(self, problem: Problem, rows: HopRows, reply: Reply, reached: Tensor, share: Tensor) -> HopRows:
        signs = (2 * reached.double() - 2 * share[reply.owner]).to(rows.edge.dtype)
        signs = torch.where((share == 0)[reply.owner], -1, torch.where((share == 1)[reply.owner], 1, signs))
        weighed = (reply.points - rows.edge[reply.owner]) * signs.reshape(-1, *([1] * (rows.edge.ndim - 1)))
        normal = reply.sums(weighed, len(problem))
        normal = normal / problem.wide(_length(normal).clamp_min(1e-12))
        reach = _length(rows.edge - problem.inputs) / rows.turn.sqrt()
        return replace(rows, normal=normal, reach=reach, phase=torch.full_like(rows.phase, JUMP))

    def jumped(self, problem: Problem, rows: HopRows, reached: Tensor) -> HopRows:
        landed = replace(
            rows,
            edge=rows.edge + problem.wide(rows.reach) * rows.normal,
            phase=torch.full_like(rows.phase, BISECT),
            turn=rows.turn + 1,
        )
        return choose(reached, landed, replace(rows, reach=rows.reach / 2))


def _length(change: Tensor) -> Tensor:
    return change.flatten(1).norm(dim=1)


def test_comes_close_to_the_nearest_boundary_from_labels_alone() -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=8, distance=0.1)
    trial = bench.at(0.105).play(HopSkipJump())
    assert trial.broken.all()
    assert trial.row.rejected == {}
    assert not bench.at(0.099).play(HopSkipJump()).broken.any()


def test_every_probe_is_metered() -> None:
    """Below the distance no row ever leaves: bisections are of fixed length, probes grow with the turn's root."""
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=1, distance=0.1).at(0.099)
    bisection = 10
    steps = 1 + 2 * (bisection + 1 + 1)
    trial = bench.play(HopSkipJump(steps=steps, precise=2.0**-bisection))
    asked = 32 + bisection + 50 + 1 + bisection + int(50 * sqrt(2)) + 1
    assert trial.row.queries == asked + 1 + trial.row.rejected.get("not misclassified", 0)


@pytest.mark.parametrize("width", [1, 5])
def test_ragged_rows_do_not_depend_on_their_company(width: int) -> None:
    """Samples enter as slots free up, so rows of one batch are at different turns and feel with different numbers."""
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=20, distance=0.1).at(0.12)
    narrow = replace(bench, execution=Execution(device="cpu", threads=1, width=width))
    one, other = (b.play(Restless(steps=40)).ledger for b in (bench, narrow))
    assert np.array_equal(one.broken, other.broken)
    assert 3 <= one.broken.sum() <= 17
    assert all(np.array_equal(one.adversarial[i], other.adversarial[i]) for i in one.adversarial)


@dataclass(frozen=True, kw_only=True)
class Restless(HopSkipJump):
    """Rows give up at different ages, so that others take their places in the middle."""

    name: ClassVar[str] = "restless"

    def step(self, problem: Problem, rows: HopRows, reply: Reply) -> HopRows:
        return replace(super().step(problem, rows, reply), done=problem.ages >= 15 + 5 * (problem.ids % 4))
