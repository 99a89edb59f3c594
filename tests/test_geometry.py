"""l1 and l0 against general solvers and exhaustive search; all four norms in mixed batches and without an epsilon."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize
from torch import Tensor

from auditor import geometry
from auditor.bench import linear_bench
from auditor.errors import PluginError
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel
from auditor.verify import size

NORMS = [Norm.LINF, Norm.L2, Norm.L1, Norm.L0]
INF = float("inf")


def mixed(norm: Norm, features: int, epsilon: list[float], seed: int, dtype: torch.dtype = torch.float64) -> Problem:
    """Rows that differ in epsilon, weights and room: frozen features, one-sided, wide and infinite bounds."""
    rng = np.random.default_rng(seed)
    n = len(epsilon)
    bench = linear_bench(n=n, shape=(features,), seed=seed, threat=ThreatModel(norm=norm, epsilon=1.0))
    problem = bench.problem()
    down, up = rng.choice([0, 0.2, 2, INF], (2, n, features), p=[0.3, 0.3, 0.2, 0.2])
    weights = np.exp(rng.uniform(-1, 1, (n, features)))
    inputs = problem.inputs.to(dtype)
    weighted = torch.from_numpy(weights).float().to(dtype)
    limits = torch.tensor(epsilon, dtype=dtype)
    lower, upper = ((inputs + torch.from_numpy(s)).float().to(dtype) for s in (-down, up))
    if norm is Norm.LINF:  # whose ball is the box
        reach = problem.wide(limits).double() * weighted.double()
        lower, upper = ((inputs.double() + s * reach).float() for s in (-1, 1))
        lower, upper = (torch.nextafter(s, inputs.float()).to(dtype) for s in (lower, upper))
    return replace(
        problem,
        inputs=inputs,
        epsilon=limits,
        lower=lower,
        upper=upper,
        weights=weighted,
        found=problem.found.to(dtype),
    )


def somewhere(problem: Problem, scale: float, seed: int) -> Tensor:
    noise = torch.randn(problem.inputs.shape, generator=torch.Generator().manual_seed(seed)).to(problem.inputs)
    return problem.inputs + scale * noise


def outside(problem: Problem, points: Tensor) -> list[int]:
    """Rows whose float32 values a verifier refuses: in float64, without tolerance."""
    found = []
    for i in range(len(problem)):
        point, start, low, high = (
            t[i].float().double().numpy() for t in (points, problem.inputs, problem.lower, problem.upper)
        )
        weights = 1.0 if problem.weights is None else problem.weights[i].double().numpy()
        far = size(problem.norm, (point - start) / weights) > float(problem.epsilon[i])
        if far or (point < low).any() or (point > high).any():
            found.append(i)
    return found


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_l1_is_the_nearest_point_of_ball_and_box(epsilon: float, scale: float) -> None:
    problem = mixed(Norm.L1, 6, [epsilon] * 12, seed=3)
    assert problem.weights is not None
    points = somewhere(problem, scale, seed=1)
    found = (problem.project(points) - problem.inputs) / problem.weights
    wanted = ((points - problem.inputs) / problem.weights).numpy()
    room = [((b - problem.inputs) / problem.weights).numpy() for b in (problem.lower, problem.upper)]
    for row, change in enumerate(wanted):
        # the general solver has a variable for each direction, so that the size is linear
        limits = [(0, high) for high in (*room[1][row], *-room[0][row])]
        best = minimize(
            lambda u, change=change: (
                np.square(u[:6] - u[6:] - change).sum(),
                np.tile(u[:6] - u[6:] - change, 2) * SIGN,
            ),
            np.zeros(12),
            jac=True,
            bounds=limits,
            constraints={"type": "ineq", "fun": lambda u: epsilon - u.sum(), "jac": lambda u: -np.ones(12)},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        distance = np.linalg.norm(found[row].numpy() - change)
        assert distance <= np.sqrt(best.fun) + 1e-6
        np.testing.assert_allclose(found[row], best.x[:6] - best.x[6:], atol=2e-4 * max(scale, epsilon))


SIGN = np.repeat([2.0, -2.0], 6)


def test_l1_beats_clipping_after_the_ball() -> None:
    problem = linear_bench(n=1, shape=(3,), threat=ThreatModel(norm=Norm.L1, epsilon=1.0)).problem()
    x = problem.inputs
    problem = replace(problem, lower=x - 0.25, upper=x + 0.25)
    change = problem.project(x + torch.tensor([[2.0, 0.3, -0.1]])) - x  # the ball alone would leave (1, 0, 0)
    torch.testing.assert_close(change, torch.tensor([[0.25, 0.25, -0.1]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("allowed", [0, 1, 2.9, 4, 7, 100])
def test_l0_is_the_nearest_point_of_ball_and_box(allowed: float) -> None:
    problem = mixed(Norm.L0, 7, [allowed] * 15, seed=5)
    assert problem.weights is not None
    points = somewhere(problem, 1.0, seed=2)
    projected = problem.project(points)
    held = points.clamp(problem.lower, problem.upper)
    distances = []
    for kept in combinations(range(7), min(int(allowed), 7)):
        mask = torch.zeros(7, dtype=torch.bool)
        mask[list(kept)] = True
        distances.append(((torch.where(mask, held, problem.inputs) - points) / problem.weights).norm(dim=1))
    nearest = torch.stack(distances).amin(dim=0)
    torch.testing.assert_close(((projected - points) / problem.weights).norm(dim=1), nearest)
    assert bool(((projected == problem.inputs) | (projected == held)).all())
    assert not outside(problem, projected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
def test_mixed_rows_end_inside_and_stay_there(norm: Norm, dtype: torch.dtype) -> None:
    epsilon = [0, 1e-6, 0.03, 0.5, 1, 2, 3.7, 10, 40, 1000, INF] * 2
    if norm is Norm.L0:
        epsilon = [np.floor(e) for e in epsilon]
    for features in (1, 4, 60, 700):
        problem = mixed(norm, features, epsilon, seed=features, dtype=dtype)
        if norm is Norm.L2:  # where a value is infinite, there is no telling how it will round
            problem = replace(problem, lower=problem.lower.clamp_min(-9), upper=problem.upper.clamp_max(9))
        for scale in (1e-8, 1e-3, 0.1, 1.0, 1e4):
            points = somewhere(problem, scale, seed=7)
            once = problem.project(points)
            assert once.dtype is dtype
            assert not outside(problem, once)
            assert bool(problem.contains(once.clone()).all())
            again = problem.project(once)
            if norm is Norm.L2:
                torch.testing.assert_close(again, once, rtol=0, atol=1e-4 * scale)
            else:
                assert torch.equal(again, once)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1, Norm.L0])
def test_points_inside_are_left_alone_to_the_bit(norm: Norm) -> None:
    problem = mixed(norm, 50, [60.0, 100.0, INF], seed=0)
    points = problem.inputs + 1e-3 * (problem.random_point() - problem.inputs)
    assert torch.equal(problem.project(points), points.clamp(problem.lower, problem.upper))
    assert torch.equal(problem.project(problem.inputs), problem.inputs)


@pytest.mark.parametrize("bounds", [None, (-1.0, 1.0)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_without_an_epsilon_only_the_bounds_count(
    norm: Norm, weighted: bool, bounds: tuple[float, float] | None
) -> None:
    weights = np.array([1e-3, 1, 1, 2, 5.0]) if weighted else None
    frozen = np.array([0, 0, 1, 0, 0], bool)
    threat = ThreatModel(norm=norm, epsilon=INF, bounds=bounds, weights=weights, frozen=frozen)
    problem = linear_bench(n=6, shape=(5,), threat=threat).problem()
    far = somewhere(problem, 1e6, seed=0)
    assert torch.equal(problem.project(far), far.clamp(problem.lower, problem.upper))
    assert bool(problem.contains(problem.project(far).clone()).all())
    assert bool(problem.contains(far).all()) is False  # the frozen feature
    assert problem.radius().tolist() == [INF] * 6
    assert bool(problem.size(problem.project(far)).isfinite().all())
    points, corners = problem.random_point(), problem.random_corner()
    for found in (points, corners):
        assert bool(found.isfinite().all())
        assert bool(problem.contains(found.clone()).all())
        assert torch.equal(found[:, 2], problem.inputs[:, 2])
    assert bool((points[:, [0, 1, 3, 4]] != problem.inputs[:, [0, 1, 3, 4]]).all())
    low, high = (problem.lower, problem.upper) if bounds else problem._limits(problem.inputs)
    assert bool(((points >= low) & (points <= high)).all())
    edge = (corners - low).abs().minimum((corners - high).abs()) <= 1e-6
    if norm is Norm.L1:
        assert (problem.size(corners) > 0).all()
        assert ((corners != problem.inputs).sum(dim=1) == 1).all()
        assert bool((edge | (corners == problem.inputs)).all())
    else:
        assert bool(edge.all())


@pytest.mark.parametrize("norm", NORMS)
def test_a_grid_goes_with_an_infinite_epsilon(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=INF, bounds=(0, 1), grid=0.25)
    bench = linear_bench(n=4, shape=(5,), threat=threat)
    inputs = np.rint(bench.samples.inputs * 4).astype(np.float32) / 4
    problem = replace(bench, samples=replace(bench.samples, inputs=inputs)).problem()
    point = problem.on_grid(problem.project(problem.inputs + torch.tensor([0.1, 0.2, -0.3, 9, -9])))
    change = problem.on_grid(point) - problem.inputs
    expected = torch.tensor([0, 0.25, -0.25, 1, -1]) + 0 * change
    expected = (problem.inputs + expected).clamp(0, 1) - problem.inputs
    torch.testing.assert_close(change, expected)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_the_dual_norm_is_what_the_steepest_step_gains(norm: Norm) -> None:
    problem = mixed(norm, 30, [1.0] * 8, seed=11)
    frozen = torch.arange(30) % 3 == 0
    box = [torch.where(frozen, problem.inputs, bound) for bound in (problem.inputs - 9, problem.inputs + 9)]
    problem = replace(problem, lower=box[0], upper=box[1])
    gradient = somewhere(problem, 1.0, seed=1)
    step = torch.where(frozen, 0, problem.steepest(gradient))
    torch.testing.assert_close(problem.size(problem.inputs + step), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close((step * gradient).sum(dim=1), problem.dual(gradient))
    rival = somewhere(problem, 1.0, seed=2) - problem.inputs
    rival = torch.where(frozen, 0, rival)
    gained = (rival * gradient).sum(dim=1) / problem.size(problem.inputs + rival)
    assert bool((gained <= problem.dual(gradient)).all())
    assert problem.dual(torch.where(frozen, gradient, 0)).tolist() == [0] * 8


def test_l0_has_no_dual_norm() -> None:
    problem = mixed(Norm.L0, 5, [1.0], seed=0)
    with pytest.raises(PluginError, match="l0"):
        problem.dual(problem.inputs)


def one_row(norm: Norm, inputs: list[float], weights: list[float] | None = None) -> Problem:
    """Inputs with bounds [0, 1], the last one frozen."""
    frozen = np.arange(len(inputs)) == len(inputs) - 1
    given = None if weights is None else np.array(weights)
    threat = ThreatModel(norm=norm, epsilon=2.0, bounds=(0, 1), frozen=frozen, weights=given)
    bench = linear_bench(n=1, shape=(len(inputs),), threat=threat)
    return replace(bench, samples=replace(bench.samples, inputs=np.array([inputs], np.float32))).problem()


def test_l1_steps_along_the_steepest_feature_that_can_move() -> None:
    problem = one_row(Norm.L1, [0.5, 1.0, 0.5, 0.5], [1, 1, 4, 1])
    gradient = torch.tensor([[-3.0, 5.0, 1.0, 9.0]])
    assert problem.steepest(gradient).tolist() == [[0, 1, 0, 0]]
    assert problem.steepest(gradient, problem.inputs).tolist() == [[0, 0, 4, 0]]  # the second is at its bound
    assert problem.steepest(-gradient, problem.inputs).tolist() == [[0, -1, 0, 0]]
    assert problem.steepest(torch.tensor([[2.0, 2.0, 0.5, 0.0]])).tolist() == [[1, 0, 0, 0]]  # the first of equals
    assert not problem.steepest(torch.zeros_like(gradient)).any()


def test_l2_steps_pass_over_what_the_box_stops() -> None:
    problem = one_row(Norm.L2, [0.5, 1.0, 0.0, 0.5])
    gradient = torch.tensor([[-3.0, 5.0, -1.0, 9.0]])
    assert problem.steepest(gradient, problem.inputs).tolist() == [[-1, 0, 0, 0]]
    torch.testing.assert_close(problem.steepest(gradient), torch.tensor([[-3.0, 5.0, -1.0, 0.0]]) / 35**0.5)


def test_l0_steps_go_to_the_bound_that_gains_most() -> None:
    problem = one_row(Norm.L0, [0.25, 0.9, 0.5, 0.5])
    gradient = torch.tensor([[2.0, 9.0, -2.0, 99.0]])  # gains 1.5, 0.9, 1 and none
    torch.testing.assert_close(problem.steepest(gradient), torch.tensor([[0.75, 0, 0, 0]]))
    moved = problem.inputs + problem.steepest(gradient)
    torch.testing.assert_close(problem.steepest(gradient, moved), torch.tensor([[0, 0, -0.5, 0]]))
    assert not problem.steepest(torch.zeros_like(gradient)).any()


def test_the_largest_are_as_many_as_asked_for_and_ties_go_to_the_first() -> None:
    values = torch.tensor([[1.0, 3, 3, 3, 2], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
    chosen = geometry.largest(values, torch.tensor([2, 3, 0, INF]))
    assert chosen.int().tolist() == [[0, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert geometry.largest(values[:0], torch.zeros(0)).shape == (0, 5)


def many(norm: Norm, epsilon: float, features: int, bounds: tuple[float, float] | None = None) -> Problem:
    """Four thousand rows of one input, in the middle of [0, 1]."""
    bench = linear_bench(n=1, shape=(features,), threat=ThreatModel(norm=norm, epsilon=epsilon, bounds=bounds))
    inputs = np.full((1, features), 0.5, np.float32)
    problem = replace(bench, samples=replace(bench.samples, inputs=inputs)).problem()
    rows = problem.take(torch.zeros(4000, dtype=torch.int64))
    restarts = torch.arange(4000)
    return replace(rows, restarts=restarts, draws=replace(rows.draws, restarts=restarts))


def test_random_points_are_uniform_in_the_l1_ball() -> None:
    problem = many(Norm.L1, 2.0, 3)
    change = (problem.random_point() - problem.inputs).double().numpy() / 2
    assert stats.kstest(np.abs(change).sum(axis=1) ** 3, "uniform").pvalue > 0.01
    # the share that a coordinate has of the ball's size is that of a simplex's corner
    share = np.abs(change[:, 0]) / np.abs(change).sum(axis=1)
    assert stats.kstest(share, stats.beta(1, 2).cdf).pvalue > 0.01
    assert stats.binomtest(int((change[:, 1] > 0).sum()), 4000).pvalue > 0.01


def test_l1_corners_are_one_feature_by_epsilon_or_to_its_bound() -> None:
    problem = many(Norm.L1, 0.3, 4)
    change = (problem.random_corner() - problem.inputs).double()
    assert ((change != 0).sum(dim=1) == 1).all()
    torch.testing.assert_close(
        change.abs().sum(dim=1), torch.full((4000,), 0.3, dtype=torch.float64), rtol=1e-5, atol=0
    )
    corners, counts = np.unique(change.sign().numpy(), axis=0, return_counts=True)
    assert len(corners) == 8
    assert stats.chisquare(counts).pvalue > 0.01
    bounded = many(Norm.L1, 0.9, 4, (0, 1))
    assert set(bounded.random_corner().flatten().tolist()) == {0.0, 0.5, 1.0}
    edge = one_row(Norm.L1, [0.0, 1.0, 1.0])
    for seed in range(9):  # where only one side has room, that is where it goes
        moved = replace(edge, draws=replace(edge.draws, seed=seed)).random_corner()
        assert moved[0].tolist() in ([1.0, 1.0, 1.0], [0.0, 0.0, 1.0])


def test_random_l0_points_change_random_features_to_random_values() -> None:
    problem = many(Norm.L0, 2.9, 5, (0, 2))
    points = problem.random_point()
    changed = points != problem.inputs
    assert (changed.sum(dim=1) == 2).all()
    assert stats.chisquare(np.unique(changed.numpy(), axis=0, return_counts=True)[1]).pvalue > 0.01
    assert stats.kstest(points[changed].double() / 2, "uniform").pvalue > 0.01
    corners = problem.random_corner()
    assert set(corners.flatten().tolist()) == {0.0, 0.5, 2.0}
    assert ((corners != problem.inputs).sum(dim=1) == 2).all()


def test_on_the_grid_an_l1_budget_of_whole_steps_is_used_up() -> None:
    bench = linear_bench(n=1, shape=(3000,), threat=ThreatModel(norm=Norm.L1, epsilon=12.0, grid=1 / 255))
    inputs = (np.rint(bench.samples.inputs * 255) / 255).astype(np.float32)  # each a rounding off the grid
    problem = replace(bench, samples=replace(bench.samples, inputs=inputs)).problem()
    for steps in ([3060.0], [1530.6, -1529.4], [1.0] * 60 + [-3000.0], [20000.0]):
        change = torch.zeros(1, 3000)
        change[0, 7 : 7 + len(steps)] = torch.tensor(steps) / 255
        snapped = problem.on_grid(problem.project(problem.inputs + change))
        assert ((snapped - problem.inputs) * 255).round().abs().sum() == 3060
