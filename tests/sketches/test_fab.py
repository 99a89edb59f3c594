"""FAB (Croce and Hein 2020): a minimum-norm attack, from linearised class differences and projections.

One query asks for the gradients of all class differences (`cotangents`). The iterate may lie outside the ball, so it is
a probe there; the row's own point is the best adversarial point so far, projected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.problem import Problem
from auditor.testing import Bench, linear_bench
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class FABRows(Rows):
    """point: the iterate. best, best_size: the nearest adversarial point so far, the clean input until there is one."""

    point: Tensor
    best: Tensor
    best_size: Tensor


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    name: ClassVar[str] = "fab"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})

    steps: int = 20
    towards_clean: float = 0.1
    overshoot: float = 1.05
    back: float = 0.9

    def start(self, problem: Problem) -> FABRows:
        x = problem.project(problem.inputs)
        return FABRows(x=x, point=x, best=x, best_size=torch.full_like(problem.epsilon, float("inf")))

    def query(self, problem: Problem, rows: FABRows) -> Query:
        differences = one_hot(_others(problem), problem.classes) - one_hot(problem.labels, problem.classes)[:, None]
        return Query(
            points=rows.point, cotangents=differences.to(rows.point.dtype), probes=~problem.contains(rows.point)
        )

    def step(self, problem: Problem, rows: FABRows, reply: Reply) -> FABRows:
        scores = reply.need_scores()
        gaps = scores.gather(1, _others(problem)) - scores.gather(1, problem.labels[:, None])
        slopes = reply.need_gradients().flatten(2)
        order = 1 if problem.norm is Norm.LINF else 2
        nearest = (gaps.abs() / slopes.norm(p=order, dim=2).clamp_min(1e-12)).argmin(dim=1)
        every = torch.arange(len(problem))
        gap, slope = gaps[every, nearest], slopes[every, nearest]

        adversarial = (gaps > 0).any(dim=1)
        size = _size(problem, rows.point)
        better = adversarial & (size < rows.best_size)
        best = torch.where(problem.wide(better), rows.point, rows.best)
        best_size = torch.where(better, size, rows.best_size)
        back = problem.inputs + self.back * (rows.point - problem.inputs)

        here = to_plane(rows.point, slope, -gap, problem)
        clean_gap = gap + (slope * (problem.inputs - rows.point).flatten(1)).sum(dim=1)
        clean = to_plane(problem.inputs, slope, -clean_gap, problem)
        one, other = _norm(problem, here), _norm(problem, clean)
        share = problem.wide((one / (one + other).clamp_min(1e-12)).clamp_max(self.towards_clean))
        mixed = (1 - share) * (rows.point + self.overshoot * here) + share * (problem.inputs + self.overshoot * clean)
        point = torch.where(problem.wide(adversarial), back, mixed.clamp(problem.lower, problem.upper))
        return FABRows(x=problem.project(best), point=point, best=best, best_size=best_size)


def _others(problem: Problem) -> Tensor:
    """The classes that are not the label, `[batch, classes - 1]`."""
    every = torch.arange(problem.classes - 1)
    return every + (every >= problem.labels[:, None])


def _norm(problem: Problem, change: Tensor) -> Tensor:
    return change.flatten(1).norm(p=float("inf") if problem.norm is Norm.LINF else 2, dim=1)


def _size(problem: Problem, points: Tensor) -> Tensor:
    return _norm(problem, points - problem.inputs)


def to_plane(points: Tensor, slope: Tensor, rise: Tensor, problem: Problem) -> Tensor:
    """The smallest change in the norm after which slope · change = rise, within the box: or as far as the box lets it.

    Along t, each feature moves min(t, what its room allows): sorted by where they stop, the rise is piecewise linear.
    """
    shape = points.shape
    towards = slope * rise.sign()[:, None]
    room = torch.where(towards > 0, problem.upper - points, points - problem.lower).flatten(1).clamp_min(0)
    size = towards.abs()
    rate, stop = (size, room) if problem.norm is Norm.LINF else (size.square(), room / size.clamp_min(1e-12))
    stop, order = stop.sort(dim=1)
    rate = rate.gather(1, order)
    total = rate.sum(dim=1, keepdim=True)
    left = torch.cat([total, total - rate.cumsum(dim=1)], dim=1)  # how fast it rises after so many have stopped
    stop = torch.cat([torch.zeros_like(total), stop], dim=1)
    reached = torch.cat([torch.zeros_like(total), (left[:, :-1] * stop.diff(dim=1)).cumsum(dim=1)], dim=1)
    segment = ((reached < rise.abs()[:, None]).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    missing = rise.abs()[:, None] - reached.gather(1, segment)
    t = stop.gather(1, segment) + missing / left.gather(1, segment).clamp_min(1e-12)
    move = t.expand_as(room) if problem.norm is Norm.LINF else t * size
    return (towards.sign() * torch.minimum(move, room)).reshape(shape)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("classes", [2, 5])
def test_finds_the_nearest_boundary(norm: Norm, classes: int) -> None:
    bench = linear_bench(classes=classes, seed=1, threat=ThreatModel(norm=norm), n=10)
    for index, radius in enumerate(bench.target.radii(bench.samples, bench.threat)):
        one = Bench(target=bench.target, samples=bench.samples.take([index]), threat=bench.threat)
        trial = one.at(1.01 * radius).play(FAB())
        assert trial.broken.all()
        assert trial.row.rejected == {}
        assert radius < trial.ledger.distance[0] <= 1.01 * radius
        assert not one.at(0.99 * radius).play(FAB()).broken.any()


def test_one_query_takes_a_gradient_for_each_class_difference() -> None:
    trial = linear_bench(classes=5, n=4).at(1e-4).play(FAB(steps=3))
    assert trial.row.forwards == 4 * (3 + 1)
    assert trial.row.backwards == 4 * (3 * 4)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_the_projection_is_the_smallest_change_that_reaches_the_plane(norm: Norm) -> None:
    """Against scipy's solvers, with a box that cuts some features short."""
    from scipy.optimize import linprog, minimize

    bench = linear_bench(n=1, shape=(5,), threat=ThreatModel(norm=norm, bounds=(0.0, 1.0))).at(2.0)
    slope = np.array([1.0, -2.0, 0.5, 3.0, -0.1])
    seen: list[Tensor] = []

    @dataclass(frozen=True, kw_only=True)
    class Peek(FAB):
        def step(self, problem: Problem, rows: FABRows, reply: Reply) -> FABRows:
            wide = torch.tensor(slope, dtype=torch.float32)[None]
            seen.append(to_plane(problem.inputs, wide, torch.tensor([2.0]), problem)[0])
            return rows

    bench.play(Peek(steps=1))
    x = bench.samples.inputs[0].astype(float)
    box = list(zip(-x, 1 - x, strict=True))
    found = seen[0].numpy().astype(float)
    assert slope @ found == pytest.approx(2.0, rel=1e-5)
    if norm is Norm.LINF:
        rows = np.block([[np.eye(5), -np.ones((5, 1))], [-np.eye(5), -np.ones((5, 1))]])
        best = linprog([0] * 5 + [1], rows, np.zeros(10), [[*slope, 0]], [2.0], [*box, (0, None)]).fun
        assert np.abs(found).max() == pytest.approx(best, rel=1e-4)
    else:
        result = minimize(
            lambda d: d @ d, np.zeros(5), bounds=box, constraints={"type": "eq", "fun": lambda d: slope @ d - 2.0}
        )
        assert found @ found == pytest.approx(result.fun, rel=1e-4)
