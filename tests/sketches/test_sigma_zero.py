"""σ-zero (Cinà et al. 2025): fewest features, by Adam on a smooth count, with a threshold that each row adapts.

Adam's moments and the threshold are columns of the rows. The smooth count depends on the change, not on the scores, so
its gradient is added in the step. The norm is l0: bounds 0 to 1 are the box, and an iterate that changes more features
than epsilon is a probe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.problem import Problem
from auditor.testing import Bench, linear_bench
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class SigmaRows(Rows):
    """change: δ. mean, square: Adam's moments of its gradient. tau: what a feature has to change by to be kept."""

    change: Tensor
    mean: Tensor
    square: Tensor
    tau: Tensor


@dataclass(frozen=True, kw_only=True)
class SigmaZero(Attack):
    name: ClassVar[str] = "sigma-zero"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})

    steps: int = 500
    sigma: float = 1e-3
    tau: float = 0.3
    tau_rate: float = 0.01

    def start(self, problem: Problem) -> SigmaRows:
        zero = torch.zeros_like(problem.inputs)
        return SigmaRows(
            x=problem.inputs, change=zero, mean=zero, square=zero, tau=torch.full_like(problem.epsilon, self.tau)
        )

    def query(self, problem: Problem, rows: SigmaRows) -> Query:
        points = problem.project(problem.inputs + rows.change)  # adding the change back may round over the bounds
        return Query(points=points, probes=~problem.contains(points))

    def objective(self, scores: Tensor, problem: Problem, rows: SigmaRows) -> Tensor:
        return -problem.margin(scores).clamp_min(0)

    def step(self, problem: Problem, rows: SigmaRows, reply: Reply) -> SigmaRows:
        adversarial = problem.margin(reply.need_scores()) < 0
        count = 2 * rows.change * self.sigma / (rows.change.square() + self.sigma).square()
        gradient = count / rows.change[0].numel() - reply.need_gradient()
        gradient = gradient / problem.wide(gradient.flatten(1).abs().amax(dim=1).clamp_min(1e-12))

        age = problem.ages.double()
        rate = (0.1 + 0.9 * 0.5 * (1 + (pi * age / self.steps).cos())).to(gradient.dtype)
        mean = 0.9 * rows.mean + 0.1 * gradient
        square = 0.999 * rows.square + 0.001 * gradient.square()
        unbiased = mean / problem.wide((1 - 0.9 ** (age + 1)).to(mean.dtype))
        scale = (square / problem.wide((1 - 0.999 ** (age + 1)).to(mean.dtype))).sqrt() + 1e-8
        change = rows.change - problem.wide(rate) * unbiased / scale
        change = (problem.inputs + change).clamp(problem.lower, problem.upper) - problem.inputs
        tau = (rows.tau + self.tau_rate * rate * torch.where(adversarial, 1.0, -1.0)).clamp(0, 1)
        change = torch.where(change.abs() < problem.wide(tau), 0, change)

        point = problem.project(problem.inputs + change)
        x = torch.where(problem.wide(problem.contains(point)), point, problem.inputs)
        return SigmaRows(x=x, change=change, mean=mean, square=square, tau=tau)


THREAT = ThreatModel(norm=Norm.L0, bounds=(-0.1, 1.1))


def bench() -> Bench:
    """Samples one l2 unit from the boundary, so that it takes several features to cross it."""
    made = linear_bench(shape=(30,), seed=3, threat=ThreatModel(norm=Norm.L2), n=5, distance=1.0)
    return replace(made, threat=THREAT)


def test_finds_the_fewest_features() -> None:
    """The answer is exact: push the features of largest gain to their bounds until the gap is closed."""
    made = bench()
    fewest = made.target.radii(made.samples, THREAT)
    assert fewest.min() >= 2
    assert fewest.max() >= 3
    for index, k in enumerate(fewest):
        one = replace(made, samples=made.samples.take([index]))
        assert one.at(float(k)).play(SigmaZero()).broken.all(), (index, k)
        assert not one.at(float(k - 1)).play(SigmaZero(steps=100)).broken.any(), (index, k)


def test_each_row_adapts_its_own_threshold() -> None:
    """A row that starts adversarial raises its threshold at the first step, the others lower theirs."""
    seen: dict[int, float] = {}

    @dataclass(frozen=True, kw_only=True)
    class Watched(SigmaZero):
        def start(self, problem: Problem) -> SigmaRows:
            rows = super().start(problem)
            return replace(rows, change=torch.where(problem.wide(problem.ids % 2 == 0), across(problem), rows.change))

        def step(self, problem: Problem, rows: SigmaRows, reply: Reply) -> SigmaRows:
            moved = super().step(problem, rows, reply)
            seen.update({int(i): round(float(tau), 4) for i, tau in zip(problem.ids, moved.tau, strict=True)})
            return moved

    made = bench()
    normal = torch.from_numpy(made.target.weight[1] - made.target.weight[0])

    def across(problem: Problem) -> torch.Tensor:
        far = torch.where(normal * problem.wide(1 - 2 * problem.labels) > 0, problem.upper, problem.lower)
        return far - problem.inputs

    made.at(1.0).play(Watched(steps=1))
    assert seen == {i: 0.31 if i % 2 == 0 else 0.29 for i in range(5)}
