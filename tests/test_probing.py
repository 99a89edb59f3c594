"""Estimated gradients: fixture F3, mean and variance on linear losses, and where probes may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.spsa import coins
from torch import Tensor

from auditor.attack import Query, Reply
from auditor.bench import linear_bench
from auditor.probing import asked, estimate, probe, reach
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel

SLOPE = torch.tensor([0.5, -2.0, 3.0, 0.25], dtype=torch.float64)


def problem(rows: int = 1, at: float | None = None, **threat: Any) -> Problem:
    """Rows of four features in float64. at: the value of them all; by default each its own."""
    made = linear_bench(shape=(4,), n=rows, threat=ThreatModel(**({"epsilon": 0.1} | threat)))
    if at is not None:
        made = replace(made, samples=replace(made.samples, inputs=np.full((rows, 4), at, np.float32)))
    given = made.problem()
    names = ("inputs", "epsilon", "lower", "upper")
    return replace(given, **{name: getattr(given, name).double() for name in names})


def replied(query: Query) -> Reply:
    """What a linear loss of this slope says."""
    assert query.owner is not None
    labels = torch.zeros_like(query.owner)
    return Reply(points=query.points, owner=query.owner, labels=labels, loss=query.points @ SLOPE)


def estimated(problem: Problem, directions: Tensor, size: float) -> Tensor:
    """The estimate in units of the inputs."""
    _, gradient = estimate(problem, replied(probe(problem, problem.inputs, directions.double(), size)), size)
    return gradient / reach(problem)


@pytest.mark.parametrize("size", [0.001, 0.01, 1.0])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_one_direction_of_ones_gives_the_sum_of_the_gradient(size: float, norm: Norm) -> None:
    """F3: ĝ = (Σ g) · v exactly, whatever the size."""
    gradient = estimated(problem(norm=norm), torch.ones(1, 1, 4), size)
    torch.testing.assert_close(gradient, SLOPE.sum() * torch.ones(1, 4, dtype=torch.float64), rtol=1e-9, atol=0)


def test_mean_and_variance_of_coins_on_a_linear_loss() -> None:
    """E ĝ = g, and Var ĝᵢ = (‖g‖² - gᵢ²) / n."""
    rows, n = 4000, 8
    given = problem(rows)
    gradient = estimated(given, coins(given, n, 4), 0.1)
    variance = (SLOPE.square().sum() - SLOPE.square()) / n
    torch.testing.assert_close(gradient.mean(0), SLOPE, rtol=0, atol=float(4 * (variance.max() / rows).sqrt()))
    torch.testing.assert_close(gradient.var(0), variance, rtol=0.1, atol=0)


def test_mean_and_variance_of_normal_directions_on_a_linear_loss() -> None:
    """E ĝ = g, and Var ĝᵢ = (‖g‖² + gᵢ²) / n."""
    rows, n = 4000, 8
    given = problem(rows)
    gradient = estimated(given, given.draws.normal(n, 4), 0.1)
    variance = (SLOPE.square().sum() + SLOPE.square()) / n
    torch.testing.assert_close(gradient.mean(0), SLOPE, rtol=0, atol=float(4 * (variance.max() / rows).sqrt()))
    torch.testing.assert_close(gradient.var(0), variance, rtol=0.1, atol=0)


def test_probes_leave_the_ball_but_not_the_bounds() -> None:
    given = problem(1, at=0.95, bounds=(0.0, 1.0))
    query = probe(given, given.inputs, torch.ones(1, 1, 4), 3.0)
    torch.testing.assert_close(query.points[:, 0], torch.tensor([0.95, 1.0, 0.65]).double(), rtol=0, atol=1e-6)
    assert query.probes is not None
    assert query.probes.tolist() == [False, True, True]


def test_what_the_bounds_cut_off_leaves_no_bias_between_features() -> None:
    """At a bound every probe goes half its way, so that the estimate is a quarter of the gradient."""
    given = problem(4000, at=1.0, bounds=(0.0, 1.0), frozen=np.array([False, False, False, True]))
    gradient = estimated(given, coins(given, 8, 4), 0.5)[:, :3]
    torch.testing.assert_close(gradient.mean(0), SLOPE[:3] / 4, rtol=0, atol=0.02)


@pytest.mark.parametrize(("norm", "free"), [(Norm.LINF, 1.0), (Norm.L2, 3**-0.5)])
def test_all_features_share_epsilon_by_their_weights_but_the_frozen(norm: Norm, free: float) -> None:
    weights, frozen = np.array([1.0, 2.0, 0.5, 1.0]), np.array([False, False, False, True])
    given = problem(2, norm=norm, weights=weights, frozen=frozen)
    wanted = 0.1 * free * torch.tensor([1.0, 2.0, 0.5, 0.0]).double()
    torch.testing.assert_close(reach(given), wanted.expand(2, 4), rtol=1e-6, atol=0)
    torch.testing.assert_close(given.size(given.inputs + reach(given)).double(), given.epsilon, rtol=1e-6, atol=0)
    query = probe(given, given.inputs, torch.ones(2, 5, 4), 1.0)
    assert (query.points[:, 3].reshape(2, 11) == given.inputs[:, 3:]).all()
    _, gradient = estimate(given, replied(query), 1.0)
    assert gradient[:, 3].tolist() == [0, 0]


def test_the_loss_at_the_point_comes_with_it_and_every_point_is_counted() -> None:
    given = problem(3)
    query = probe(given, given.inputs, torch.ones(3, 2, 4), 0.1)
    loss, _ = estimate(given, replied(query), 0.1)
    torch.testing.assert_close(loss, given.inputs @ SLOPE)
    assert query.owner is not None
    assert query.owner.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert asked(7, 2) == 7 * 5 + 1
