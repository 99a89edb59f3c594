"""The bench's closed forms, against solvers and against trying everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from auditor import Norm, Samples, ThreatModel
from auditor.bench import LinearTarget, linear_bench, single


def distance_by_programme(target: LinearTarget, x: np.ndarray, label: int, norm: Norm, weights: np.ndarray) -> float:
    """The least size of δ/w for which some other class gets the label's score."""
    best = np.inf
    d = len(x)
    for k in set(range(target.classes)) - {label}:
        slope = (target.weight[k] - target.weight[label]).astype(float) * weights
        gap = float((target.weight[label] - target.weight[k]) @ x + target.bias[label] - target.bias[k])
        if norm is Norm.L2:
            result = minimize(
                lambda z: z @ z,
                slope * gap / (slope @ slope) + 0.1,
                constraints={"type": "eq", "fun": lambda z, s=slope, g=gap: s @ z - g},
                options={"ftol": 1e-16},
            )
            best = min(best, float(np.sqrt(result.fun)))
            continue
        # z = p - q with p, q >= 0; linf bounds every p + q by t, l1 sums them
        if norm is Norm.LINF:
            c = np.r_[np.zeros(2 * d), 1]
            upper = np.c_[np.eye(d), np.eye(d), -np.ones(d)]
            result = linprog(c, upper, np.zeros(d), np.r_[slope, -slope, 0][None], [gap])
        else:
            result = linprog(np.ones(2 * d), A_eq=np.r_[slope, -slope][None], b_eq=[gap])
        best = min(best, float(result.fun))
    return best


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_radii_are_those_of_a_solver(norm: Norm, weighted: bool) -> None:
    weights = np.random.default_rng(0).uniform(0.5, 2, 6) if weighted else None
    threat = ThreatModel(norm=norm, weights=weights)
    bench = linear_bench(classes=4, shape=(6,), n=5, threat=threat)
    radii = bench.target.radii(bench.samples, threat)
    for x, label, radius in zip(bench.samples.inputs, bench.samples.labels, radii, strict=True):
        expected = distance_by_programme(bench.target, x, label, norm, np.ones(6) if weights is None else weights)
        assert radius == pytest.approx(expected, rel=1e-4)


def test_radii_in_l0_are_those_of_trying_every_set() -> None:
    from itertools import combinations

    threat = ThreatModel(norm=Norm.L0, bounds=(0.0, 1.0))
    bench = linear_bench(classes=3, shape=(7,), n=12, seed=8, threat=threat)
    target = bench.target
    for x, label, radius in zip(
        bench.samples.inputs, bench.samples.labels, target.radii(bench.samples, threat), strict=True
    ):
        fewest = np.inf
        for k in set(range(3)) - {int(label)}:
            slope = target.weight[k].astype(float) - target.weight[label]
            far = np.where(slope > 0, 1.0, 0.0)
            for count in range(8):
                for chosen in combinations(range(7), count):
                    moved = x.astype(float)
                    moved[list(chosen)] = far[list(chosen)]
                    if slope @ moved + target.bias[k] - target.bias[label] > 0:
                        fewest = min(fewest, count)
        assert radius == fewest


def test_frozen_features_lie_on_no_way() -> None:
    target = LinearTarget(np.array([[1.0, 3.0], [0.0, 0.0]]), np.zeros(2))
    samples = Samples(inputs=np.ones((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    assert target.radii(samples, ThreatModel()).tolist() == [1.0]
    assert target.radii(samples, ThreatModel(frozen=np.array([False, True]))).tolist() == [4.0]


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_samples_can_be_put_at_one_distance(norm: Norm) -> None:
    bench = linear_bench(n=9, seed=2, threat=ThreatModel(norm=norm), distance=0.25)
    assert bench.target.radii(bench.samples, bench.threat) == pytest.approx([0.25] * 9, rel=1e-5)
    assert np.array_equal(bench.target.labels(bench.samples.inputs), bench.samples.labels)


def test_one_sample_keeps_its_id() -> None:
    bench = single(linear_bench(n=5), 3, epsilon=0.5)
    assert (bench.samples.ids.tolist(), bench.threat.epsilon) == ([3], 0.5)


def test_a_problem_can_be_fed_by_hand() -> None:
    problem = linear_bench(classes=3, n=4).at(0.1).problem()
    assert len(problem) == 4
    assert (problem.classes, problem.ages.tolist(), problem.restarts.tolist()) == (3, [0] * 4, [0] * 4)
    assert torch.allclose(problem.upper - problem.lower, torch.tensor(0.2))
