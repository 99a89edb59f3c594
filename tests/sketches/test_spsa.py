"""SPSA (Uesato et al. 2018): the gradient from pairs of random probes of the deployed model, then a step of Adam.

2n + 1 points a row: the point itself, and 2n probes that may lie outside the threat model. The directions are drawn in
the query, and read back from the reply's points in the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import LinearTarget, linear_bench
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class SPSARows(Rows):
    """mean, square: Adam's moments."""

    mean: Tensor
    square: Tensor


@dataclass(frozen=True, kw_only=True)
class SPSA(Attack):
    name: ClassVar[str] = "spsa"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 60
    n: int = 32
    delta: float = 0.01
    rate: float = 0.01

    def start(self, problem: Problem) -> SPSARows:
        zero = torch.zeros_like(problem.inputs)
        return SPSARows(x=problem.random_point(), mean=zero, square=zero)

    def query(self, problem: Problem, rows: SPSARows) -> Query:
        shape = problem.inputs.shape[1:]
        v = problem.draws.signs(self.n, *shape, dtype=problem.inputs.dtype)
        x = rows.x[:, None]
        points = torch.cat([x, x + self.delta * v, x - self.delta * v], dim=1)
        owner = torch.arange(len(problem)).repeat_interleave(2 * self.n + 1)
        probes = (torch.arange(2 * self.n + 1) > 0).repeat(len(problem))
        return Query(points=points.reshape(-1, *shape), owner=owner, probes=probes)

    def objective(self, scores: Tensor, problem: Problem, rows: SPSARows) -> Tensor:
        return problem.loss("margin", scores)

    def step(self, problem: Problem, rows: SPSARows, reply: Reply) -> SPSARows:
        gradient = self.estimate(reply, len(problem))
        age = problem.ages.to(gradient.dtype) + 1
        mean = 0.9 * rows.mean + 0.1 * gradient
        square = 0.999 * rows.square + 0.001 * gradient.square()
        slope = mean / problem.wide(1 - 0.9**age)
        scale = (square / problem.wide(1 - 0.999**age)).sqrt() + 1e-8
        return SPSARows(x=problem.project(rows.x + self.rate * slope / scale), mean=mean, square=square)

    def estimate(self, reply: Reply, rows: int) -> Tensor:
        """ĝ = (1/n) Σ (J(x + δv) - J(x - δv)) / 2δ · v, `[rows, *shape]`."""
        shape = reply.points.shape[1:]
        loss = reply.need_loss().reshape(rows, -1)
        points = reply.points.reshape(rows, -1, *shape)
        rise = (loss[:, 1 : self.n + 1] - loss[:, self.n + 1 :]) / (2 * self.delta)
        v = ((points[:, 1 : self.n + 1] - points[:, self.n + 1 :]) / (2 * self.delta)).sign()
        return torch.einsum("bn,bn...->b...", rise, v) / self.n


def replied(v: Tensor, gradient: Tensor, delta: float) -> Reply:
    """The reply of a linear loss to the probes x ± δv, x = 0; v is `[n, d]`."""
    points = torch.cat([torch.zeros_like(v[:1]), delta * v, -delta * v])
    return Reply(
        points=points,
        owner=torch.zeros(len(points), dtype=torch.int64),
        labels=torch.zeros(len(points), dtype=torch.int64),
        loss=points @ gradient,
    )


@pytest.mark.parametrize("delta", [0.001, 0.01, 1.0])
def test_one_direction_of_ones_gives_the_sum_of_the_gradient(delta: float) -> None:
    gradient = torch.tensor([0.5, -2.0, 3.0, 0.25], dtype=torch.float64)
    v = torch.ones(1, 4, dtype=torch.float64)
    estimate = SPSA(n=1, delta=delta).estimate(replied(v, gradient, delta), 1)[0]
    assert torch.allclose(estimate, gradient.sum() * torch.ones(4, dtype=torch.float64), rtol=1e-9)


def test_mean_and_variance_on_a_linear_loss() -> None:
    """E ĝ = g, and Var ĝᵢ = (‖g‖² - gᵢ²) / n."""
    gradient = torch.tensor([0.5, -2.0, 3.0, 0.25], dtype=torch.float64)
    rng = np.random.default_rng(0)
    n, runs = 8, 4000
    v = torch.from_numpy(rng.choice([-1.0, 1.0], size=(runs, n, 4)))
    estimates = torch.stack([SPSA(n=n).estimate(replied(one, gradient, 0.01), 1)[0] for one in v])
    variance = (gradient.square().sum() - gradient.square()) / n
    assert torch.allclose(estimates.mean(0), gradient, atol=float(4 * (variance.max() / runs).sqrt()))
    assert torch.allclose(estimates.var(0), variance, rtol=0.1)


def test_breaks_above_the_distance_and_meters_every_probe() -> None:
    bench = linear_bench(seed=5, n=6, distance=0.1)
    assert bench.at(0.103).play(SPSA()).broken.all()
    below = bench.at(0.099).play(SPSA(steps=5))
    assert not below.broken.any()
    assert below.row.rejected == {}
    assert below.row.queries == 6 * (5 * (2 * 32 + 1) + 1)


def test_what_the_target_is_asked_is_booked_though_rows_leave_at_all_times() -> None:
    class Counted(LinearTarget):
        asked = 0

        def _run(self, x: np.ndarray) -> np.ndarray:
            self.asked += len(x)
            return super()._run(x)

    plain = linear_bench(seed=5, n=40, shape=(30,), distance=0.1)
    target = Counted(plain.target.weight, plain.target.bias)
    trial = replace(plain, target=target).at(0.13).play(SPSA(n=4, steps=40))
    assert 0 < trial.broken.sum() < 40
    clean = 40
    assert target.asked == trial.row.queries + clean
    assert target.asked == trial.ledger.spent[:, 2].sum() + clean


def test_probes_outside_the_bounds_are_allowed() -> None:
    """The box is [0, 1], the probes step over its edge, and no claim is refused for it."""
    bench = linear_bench(seed=5, n=6, threat=ThreatModel(norm=Norm.LINF, epsilon=1.0, bounds=(0.0, 1.0)))
    trial = bench.play(SPSA(steps=20, delta=0.3, rate=0.5))
    assert trial.broken.all()
    assert trial.row.rejected == {}


@pytest.mark.parametrize("width", [4, 64])
def test_the_objective_sees_the_row_and_the_problem_of_each_point(width: int) -> None:
    """Points in any order, asked in pieces: each is weighed by its own row's column and its own sample's id."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    @dataclass(frozen=True, kw_only=True)
    class Weighed(SPSA):
        def start(self, problem: Problem) -> SPSARows:
            x = problem.project(problem.inputs)
            return SPSARows(x=x, mean=10.0 + problem.ids.to(x.dtype), square=torch.zeros_like(x))

        def query(self, problem: Problem, rows: SPSARows) -> Query:
            owner = torch.tensor([2, 0, 1, 2, 3, 0, 1, 1, 3])
            return Query(points=rows.x[owner], owner=owner)

        def objective(self, scores: Tensor, problem: Problem, rows: SPSARows) -> Tensor:
            return 0 * scores[:, 0] + rows.mean + 100 * problem.ids + 1000 * problem.draws.uniform().round()

        def step(self, problem: Problem, rows: SPSARows, reply: Reply) -> SPSARows:
            seen.append((reply.owner, reply.need_loss(), problem.ids))
            return rows

    bench = linear_bench(n=4).at(1e-4)
    made = replace(bench, execution=Execution(device="cpu", threads=1, width=width))
    assert made.play(Weighed(steps=1)).row.status == "ran"
    ((owner, loss, ids),) = seen
    parts = loss % 1000
    assert parts.tolist() == (10 + ids[owner] + 100 * ids[owner]).tolist()
    coins = (loss - parts).tolist()
    assert len({(int(o), coin) for o, coin in zip(owner, coins, strict=True)}) == 4
