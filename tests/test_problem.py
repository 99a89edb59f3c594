"""The norm's geometry: projections that the verifier never refuses, steepest steps, uniform random points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from auditor.arena import Arena, Place
from auditor.ledger import Ledger
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import LinearTarget
from auditor.threat import Norm, ThreatModel
from auditor.verify import Reason, Verifier

RNG = np.random.default_rng(0)
DTYPES = (torch.float32, torch.float64)


def pose(
    inputs: np.ndarray, threat: ThreatModel, dtype: torch.dtype = torch.float32, rows: int | None = None
) -> tuple[Problem, Verifier]:
    """The problem of these samples (of `rows` restarts of the first one), and a verifier whose target always errs."""
    n, shape = len(inputs), inputs.shape[1:]
    samples = Samples(inputs=inputs.astype(np.float32), labels=np.zeros(n, np.int64), ids=np.arange(n))
    target = LinearTarget(np.zeros((2, int(np.prod(shape)))), np.array([0.0, 1.0]), shape)
    target.fit(shape)
    region = threat.region(samples)
    ledger = Ledger.of(samples, np.ones(n, bool))
    place = Place(seed=3, stage=1, device="cpu", dtype=dtype, classes=2)
    arena = Arena(place, samples, threat, region, ledger, np.arange(n))
    slots = torch.arange(n) if rows is None else torch.zeros(rows, dtype=torch.int64)
    restarts = torch.zeros(n, dtype=torch.int64) if rows is None else torch.arange(rows)
    return arena.problem(slots, restarts), Verifier(target, samples, threat, region)


def refusals(verifier: Verifier, points: Tensor) -> set[Reason]:
    """Why the verifier refuses points, one a sample; staying where they are is no offence."""
    found = {verifier.judge(i, point.to(torch.float32).numpy()).reason for i, point in enumerate(points)}
    return {reason for reason in found if reason not in (None, Reason.UNCHANGED)}


THREATS: dict[str, dict[str, Any]] = {
    "linf": {},
    "linf bounded": {"bounds": (0, 1)},
    "linf on the grid": {"bounds": (0, 1), "grid": 1 / 255},
    "linf weighted": {"weights": "random"},
    "linf weighted, frozen, bounded": {"weights": "random", "frozen": "half", "bounds": (0, 1)},
    "l2": {"norm": Norm.L2},
    "l2 bounded": {"norm": Norm.L2, "bounds": (0, 1)},
    "l2 on the grid": {"norm": Norm.L2, "bounds": (0, 1), "grid": 1 / 255},
    "l2 weighted": {"norm": Norm.L2, "weights": "random"},
    "l2 weighted on the grid": {"norm": Norm.L2, "weights": "random", "grid": 1 / 255},
    "l2 weighted, frozen, bounded": {"norm": Norm.L2, "weights": "random", "frozen": "half", "bounds": (0, 1)},
    "l1": {"norm": Norm.L1},
    "l1 bounded": {"norm": Norm.L1, "bounds": (0, 1)},
    "l1 on the grid": {"norm": Norm.L1, "bounds": (0, 1), "grid": 1 / 255},
    "l1 weighted on the grid": {"norm": Norm.L1, "weights": "random", "grid": 1 / 255},
    "l1 weighted, frozen, bounded": {"norm": Norm.L1, "weights": "random", "frozen": "half", "bounds": (0, 1)},
    "l0 bounded": {"norm": Norm.L0, "bounds": (0, 1)},
    "l0 on the grid": {"norm": Norm.L0, "bounds": (0, 1), "grid": 1 / 255},
    "l0 weighted on the grid": {"norm": Norm.L0, "weights": "random", "bounds": (0, 1), "grid": 1 / 255},
    "l0 weighted, frozen, bounded": {"norm": Norm.L0, "weights": "random", "frozen": "half", "bounds": (-1, 1)},
}


def case(name: str, features: int, epsilon: float, n: int = 4) -> tuple[np.ndarray, ThreatModel]:
    """Pixels `[n, features]`, several of them 0 and 1, and the threat of this name."""
    levels = RNG.integers(0, 256, (n, features))
    levels[:, ::7] = RNG.choice([0, 255], levels[:, ::7].shape)
    options = dict(THREATS[name])
    if options.get("weights") == "random":
        options["weights"] = np.exp(RNG.uniform(-3, 3, features))
    if options.get("frozen") == "half":
        options["frozen"] = RNG.random(features) < 0.5
    return levels.astype(np.float32) / np.float32(255), ThreatModel(epsilon=epsilon, **options)


def wild_points(problem: Problem) -> list[Tensor]:
    """Points inside, on the edge, a rounding beyond it and far away, along dense and sparse directions."""
    x, found = problem.inputs, []
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(x.shape, generator=generator).to(x)
    sparse = noise * (torch.rand(x.shape, generator=generator).to(x) < 0.05)
    for direction in (problem.steepest(noise), problem.steepest(sparse), noise):
        found += [x + problem.wide(problem.epsilon) * scale * direction for scale in (0.3, 1, 1 + 1e-7, 3, 1e6)]
    found += [x + scale * sparse for scale in (1e-3, 1, 100)]
    return [*found, problem.random_point(), problem.random_corner(), torch.zeros_like(x), x]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 3, 100, 3000])
@pytest.mark.parametrize("name", THREATS)
def test_what_is_projected_is_never_refused(name: str, features: int, dtype: torch.dtype) -> None:
    for epsilon in (0.0, 1e-6, 8 / 255, 20.0):
        inputs, threat = case(name, features, epsilon)
        problem, verifier = pose(inputs, threat, dtype)
        for points in wild_points(problem):
            projected = problem.on_grid(problem.project(points))
            assert projected.dtype is dtype
            assert bool(problem.contains(projected).all())
            assert not refusals(verifier, projected), f"epsilon {epsilon}"


@pytest.mark.parametrize("magnitude", [1e-9, 1e-3, 255.0, 1e4, 1e15])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1, Norm.L0])
def test_neither_at_other_magnitudes(norm: Norm, magnitude: float) -> None:
    for relative in (1e-7, 1e-3, 1.0, 1e3):
        inputs = (magnitude * RNG.uniform(-1, 1, (6, 200))).astype(np.float32)
        problem, verifier = pose(inputs, ThreatModel(norm=norm, epsilon=magnitude * relative))
        for points in wild_points(problem):
            assert not refusals(verifier, problem.project(points)), f"relative epsilon {relative}"


@pytest.mark.parametrize("name", THREATS)
def test_projection_leaves_points_inside_alone(name: str) -> None:
    inputs, threat = case(name, 40, 16 / 255)
    problem, _ = pose(inputs, threat, torch.float64)
    assert torch.equal(problem.on_grid(problem.project(problem.inputs)).float(), problem.inputs.float())
    inside = problem.project(problem.random_point())
    torch.testing.assert_close(problem.project(inside), inside, rtol=0, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_l2_projection_reaches_the_sphere_in_the_same_direction(weighted: bool) -> None:
    inputs, threat = case("l2 weighted" if weighted else "l2", 50, 0.5)
    problem, _ = pose(inputs, threat, torch.float64)
    direction = torch.randn(problem.inputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    change = problem.project(problem.inputs + 100 * direction) - problem.inputs
    scaled = change if problem.weights is None else change / problem.weights
    np.testing.assert_allclose(scaled.norm(dim=1), 0.5, rtol=1e-4 if weighted else 1e-5)
    torch.testing.assert_close(change / change.norm(dim=1)[:, None], direction / direction.norm(dim=1)[:, None])


@pytest.mark.parametrize("name", ["l2 bounded", "l2 weighted, frozen, bounded"])
def test_l2_projection_is_the_nearest_point_of_ball_and_box(name: str) -> None:
    for seed in range(20):
        inputs, threat = case(name, 30, 0.3)
        problem, _ = pose(inputs, threat, torch.float64)
        generator = torch.Generator().manual_seed(seed)
        point = problem.inputs + 2 * torch.randn(problem.inputs.shape, dtype=torch.float64, generator=generator)
        weights = torch.ones_like(point) if problem.weights is None else problem.weights
        scaled = (point - problem.inputs) / weights
        low, high = (problem.lower - problem.inputs) / weights, (problem.upper - problem.inputs) / weights
        below, above = torch.zeros(len(point), 1, dtype=torch.float64), torch.ones(len(point), 1, dtype=torch.float64)
        for _ in range(60):  # nearest in the weighted norm: every free coordinate shrinks by one factor
            middle = (below + above) / 2
            inside = (scaled * middle).clamp(low, high).norm(dim=1, keepdim=True) <= problem.wide(problem.radius())
            below, above = torch.where(inside, middle, below), torch.where(inside, above, middle)
        nearest = (scaled * below).clamp(low, high)
        found = (problem.project(point) - problem.inputs) / weights
        assert float((found - nearest).norm(dim=1).max()) < 1e-4 * 0.3


@pytest.mark.parametrize("name", ["linf on the grid", "l2 on the grid", "l2 weighted on the grid", "l1 on the grid"])
def test_the_grid_is_reached_by_the_shortest_way(name: str) -> None:
    for features, epsilon in ((10, 40 / 255), (3000, 0.5)):
        inputs, threat = case(name, features, epsilon, n=40)
        problem, _ = pose(inputs, threat, torch.float64)
        direction = problem.steepest(problem.draws.normal(features, dtype=torch.float64))
        points = problem.project(problem.inputs + problem.wide(problem.epsilon) * direction)
        snapped = problem.on_grid(points)
        assert float((snapped * 255 - (snapped * 255).round()).abs().max()) < 1e-4
        if threat.norm is Norm.LINF:
            assert float((snapped - points).abs().max()) <= 0.5 / 255 + 1e-6
        else:  # the edge of the ball is not on the grid: a little of the way is given up
            weights = 1 if problem.weights is None else problem.weights
            order = 2 if threat.norm is Norm.L2 else 1
            before, after = (((p - problem.inputs) / weights).norm(order, dim=1) for p in (points, snapped))
            assert float((before - after).max()) < 0.04 * epsilon
            assert float(after.max()) <= epsilon * (1 + 1e-6)


def test_without_a_grid_points_stay_as_they_are_and_outside_points_stay_outside() -> None:
    inputs, threat = case("l2 bounded", 10, 0.1)
    problem, _ = pose(inputs, threat)
    points = problem.random_point()
    assert problem.on_grid(points) is points
    for name in ("linf on the grid", "l2 on the grid"):
        inputs, threat = case(name, 10, 0.1)
        problem, verifier = pose(inputs, threat)
        assert refusals(verifier, problem.on_grid(problem.inputs + 0.3)) <= {Reason.BALL, Reason.BOUNDS}
        assert refusals(verifier, problem.on_grid(problem.inputs + 0.3))


def test_linf_projection_is_the_nearest_point() -> None:
    problem, _ = pose(np.full((1, 3), 0.5), ThreatModel(epsilon=0.25, bounds=(0, 0.6)))
    np.testing.assert_allclose(problem.project(torch.tensor([[0.0, 0.55, 9.0]]))[0], [0.25, 0.55, 0.6], rtol=1e-6)


@pytest.mark.parametrize("name", ["linf weighted", "l2 weighted", "linf", "l2"])
def test_steepest_is_the_best_change_of_size_one(name: str) -> None:
    inputs, threat = case(name, 30, 0.1)
    problem, _ = pose(inputs, threat, torch.float64)
    weights = torch.ones(30) if problem.weights is None else problem.weights
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(problem.inputs.shape, dtype=torch.float64, generator=generator)
    step = problem.steepest(gradient)
    order, dual = (torch.inf, 1) if threat.norm is Norm.LINF else (2, 2)
    torch.testing.assert_close((step / weights).norm(order, dim=1), torch.ones(len(step), dtype=torch.float64))
    torch.testing.assert_close((step * gradient).sum(1), (gradient * weights).norm(dual, dim=1))
    others = torch.randn((200, *step.shape), dtype=torch.float64, generator=generator)
    others = others / (others / weights).norm(order, dim=2, keepdim=True)
    assert bool(((others * gradient).sum(2) <= (step * gradient).sum(1) + 1e-12).all())


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_no_gradient_no_step(name: str) -> None:
    inputs, threat = case(name, 5, 0.1)
    problem, _ = pose(inputs, threat)
    assert not problem.steepest(torch.zeros_like(problem.inputs)).any()


def test_frozen_features_take_no_share_of_an_l2_step() -> None:
    inputs, threat = case("l2 weighted, frozen, bounded", 40, 0.1)
    problem, _ = pose(inputs, threat)
    frozen = torch.from_numpy(np.asarray(threat.frozen))
    step = problem.steepest(torch.ones_like(problem.inputs))
    assert not step[:, frozen].any()
    assert problem.weights is not None
    np.testing.assert_allclose((step / problem.weights).norm(dim=1), 1, rtol=1e-5)


def test_random_points_are_uniform_in_the_linf_box() -> None:
    problem, _ = pose(np.array([[0.5, 0.05]]), ThreatModel(epsilon=0.1, bounds=(0, 1)), rows=4000)
    points = problem.random_point().double().numpy()
    for values, low, high in ((points[:, 0], 0.4, 0.6), (points[:, 1], 0.0, 0.15)):
        assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 0.01


def test_random_points_are_uniform_in_the_l2_ball() -> None:
    features = 3
    problem, _ = pose(np.zeros((1, features)), ThreatModel(norm=Norm.L2, epsilon=2.0), rows=4000)
    change = problem.random_point().double().numpy()
    radius = np.linalg.norm(change, axis=1) / 2
    assert stats.kstest(radius**features, "uniform").pvalue > 0.01
    assert (
        stats.kstest((change / np.linalg.norm(change, axis=1, keepdims=True))[:, 0] / 2 + 0.5, "uniform").pvalue > 0.01
    )


def test_corners_are_corners() -> None:
    linf, _ = pose(np.full((1, 20), 0.5), ThreatModel(epsilon=0.25), rows=50)
    corners = linf.random_corner()
    assert bool(((corners == linf.lower) | (corners == linf.upper)).all())
    assert len(corners.unique(dim=0)) == 50
    l2, _ = pose(np.full((1, 20), 0.5), ThreatModel(norm=Norm.L2, epsilon=0.25), rows=50)
    np.testing.assert_allclose((l2.random_corner() - l2.inputs).norm(dim=1), 0.25, rtol=1e-4)


def test_rows_may_be_taken_in_any_order_and_keep_their_draws() -> None:
    inputs, threat = case("l2 weighted", 6, 0.1)
    problem, _ = pose(inputs, threat)
    index = torch.tensor([3, 1, 1])
    some = problem.take(index)
    assert len(some) == 3
    for name in ("inputs", "lower", "upper", "weights", "labels", "ids", "best"):
        assert torch.equal(getattr(some, name), getattr(problem, name)[index])
    torch.testing.assert_close(some.random_point(), problem.random_point()[index])


def test_phases_and_ages_have_their_own_draws() -> None:
    problem, _ = pose(np.zeros((2, 4)), ThreatModel(epsilon=1))
    first = problem.at(problem.ages, 1)
    assert not torch.equal(first.draws.uniform(4), problem.draws.uniform(4))
    assert not torch.equal(
        problem.at(problem.ages + 1, 1).draws.uniform(4), problem.at(problem.ages, 1).draws.uniform(4)
    )
    assert torch.equal(problem.at(problem.ages, 1).draws.uniform(4), problem.at(problem.ages, 1).draws.uniform(4))


def test_contains_is_the_ball_and_the_box() -> None:
    problem, _ = pose(np.full((1, 2), 0.5), ThreatModel(norm=Norm.L2, epsilon=0.5, bounds=(0, 0.8)), rows=4)
    points = torch.tensor([[0.5, 0.5], [0.8, 0.9], [0.1, 0.1], [0.0, 0.5]])
    assert problem.contains(points).tolist() == [True, False, False, True]
