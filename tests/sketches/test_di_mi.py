"""DI²-MI-FGSM (Xie et al. 2019): momentum, and a random resizing in front of the model at every step.

The resizing is a `view`: differentiable, and another one for each row. What the model sees through it is not the row's
point, so it is never judged; the point a row ends on is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import Bench, LinearTarget
from auditor.threat import Norm, ThreatModel

SHAPE = (1, 8, 8)


@dataclass(frozen=True, kw_only=True)
class MomentumRows(Rows):
    """velocity: the running sum of gradients, each of l1 size 1."""

    velocity: Tensor


@dataclass(frozen=True, kw_only=True)
class DIMI(Attack):
    name: ClassVar[str] = "di-mi"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 10
    decay: float = 1.0
    smallest: float = 0.75
    chance: float = 0.7

    def start(self, problem: Problem) -> MomentumRows:
        return MomentumRows(x=problem.project(problem.inputs), velocity=torch.zeros_like(problem.inputs))

    def query(self, problem: Problem, rows: MomentumRows) -> Query:
        theta = self.placement(problem)
        return Query(points=rows.x, view=lambda points: placed(points, theta))

    def placement(self, problem: Problem) -> Tensor:
        """Each row's map of the padded picture onto the input, `[batch, 2, 3]`: shrunk to a share, put anywhere."""
        u = problem.draws.uniform(4, dtype=problem.inputs.dtype)
        share = torch.where(u[:, 3] < self.chance, self.smallest + (1 - self.smallest) * u[:, 0], 1)
        shift = (2 * u[:, 1:3] - 1) * (1 - share)[:, None]
        theta = u.new_zeros(len(u), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / share
        theta[:, :, 2] = shift / share[:, None]
        return theta

    def step(self, problem: Problem, rows: MomentumRows, reply: Reply) -> MomentumRows:
        gradient = reply.need_gradient()
        size = gradient.flatten(1).abs().sum(dim=1).clamp_min(1e-12)
        velocity = self.decay * rows.velocity + gradient / problem.wide(size)
        length = problem.wide(problem.epsilon) / self.steps
        return MomentumRows(x=problem.project(rows.x + length * problem.steepest(velocity)), velocity=velocity)


def placed(points: Tensor, theta: Tensor) -> Tensor:
    return grid_sample(points, affine_grid(theta, list(points.shape), align_corners=False), align_corners=False)


def smooth_bench(epsilon: float = 0.0, width: int = 64) -> Bench:
    """A linear model whose weights are one low wave, which shrinking and shifting change little."""
    rows = np.cos(np.linspace(0, np.pi / 2, 8))
    weight = np.stack([np.outer(rows, rows).ravel(), -np.outer(rows, rows).ravel()])
    target = LinearTarget(weight, np.array([-8.0, 8.0]), SHAPE)
    inputs = np.random.default_rng(0).uniform(0.2, 0.8, size=(9, *SHAPE)).astype(np.float32)
    samples = Samples(inputs=inputs, labels=target.labels(inputs, batch=1), ids=np.arange(9))
    execution = Execution(device="cpu", threads=1, width=width)
    return Bench(target=target, samples=samples, threat=ThreatModel(epsilon=epsilon), execution=execution)


@dataclass(frozen=True, kw_only=True)
class Watched(DIMI):
    """Keeps what each row was shown and told, by id."""

    shown: dict[int, Tensor]
    told: dict[int, Tensor]

    def placement(self, problem: Problem) -> Tensor:
        theta = super().placement(problem)
        self.shown.update(zip(problem.ids.tolist(), theta, strict=True))
        return theta

    def step(self, problem: Problem, rows: MomentumRows, reply: Reply) -> MomentumRows:
        self.told.update(zip(problem.ids.tolist(), reply.need_gradient(), strict=True))
        return super().step(problem, rows, reply)


@pytest.mark.parametrize("width", [2, 7, 64])
def test_the_gradient_comes_back_through_each_rows_own_view(width: int) -> None:
    """For a linear model it is the transposed view of its weights: worked out here picture by picture."""
    bench = smooth_bench(0.01, width)
    attack = Watched(shown={}, told={}, steps=1)
    bench.play(attack)
    basis = torch.eye(64).reshape(64, *SHAPE)
    places = []
    for i, label in enumerate(bench.samples.labels):
        theta, gradient = attack.shown[i], attack.told[i]
        view = placed(basis, theta.expand(64, 2, 3)).flatten(1)
        slope = torch.from_numpy(bench.target.weight[1 - label] - bench.target.weight[label])
        expected = view @ slope
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected, dim=0) > 0.999999
        places.append(tuple(np.round(theta.flatten().tolist(), 6)))
    assert len(set(places)) > 5


def test_without_views_it_is_momentum_and_breaks_at_the_distance() -> None:
    bench = smooth_bench()
    radii = bench.target.radii(bench.samples, bench.threat)
    for index, radius in enumerate(radii):
        one = replace(bench, samples=bench.samples.take([index]))
        assert one.at(1.01 * radius).play(DIMI(chance=0.0)).broken.all()
        assert not one.at(0.99 * radius).play(DIMI()).broken.any()


def test_with_views_it_breaks_a_little_further_out() -> None:
    bench = smooth_bench()
    radii = bench.target.radii(bench.samples, bench.threat)
    broken = bench.at(1.1 * float(radii.max())).play(DIMI())
    assert broken.broken.all()
    assert broken.row.rejected == {}


def test_what_is_seen_through_a_view_is_not_judged() -> None:
    """The view turns every picture into one of the other class: nothing is claimed, and no margin is kept from it."""

    @dataclass(frozen=True, kw_only=True)
    class Turned(DIMI):
        def query(self, problem: Problem, rows: MomentumRows) -> Query:
            return Query(
                points=rows.x, view=lambda points: torch.where(problem.wide(problem.labels == 0), 0, 1) + 0 * points
            )

    trial = smooth_bench(1e-3).play(Turned())
    assert not trial.broken.any()
    assert trial.row.rejected == {"unchanged input": 9}
    assert (trial.ledger.margin > 0).all()


def test_rows_do_not_depend_on_their_company() -> None:
    one, other = (smooth_bench(0.05, width).play(DIMI()).ledger for width in (64, 1))
    assert np.array_equal(one.broken, other.broken)
    assert np.allclose(one.best, other.best, atol=1e-6)
