"""PDPGD: distances of linear models and of small ReLU nets, both exact, and its proximal maps."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pdpgd import PDPGD, shrink_l1, shrink_l2, shrink_linf
from scipy.optimize import linprog
from torch import Tensor, nn

from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from auditor.twin import Twin
from tests.planes import distances
from tests.walks import check_threats

WITHIN = 1.05
WEIGHTS = np.array([[0.3, 3.0, 1.0, 1.0], [2.0, 0.5, 1.0, 1.0], [1.0, 1.0, 4.0, 0.25]], np.float32)


class ReLUTarget(LinearTarget):
    """weight · max(first · x + offset, 0) + bias."""

    def __init__(self, first: np.ndarray, offset: np.ndarray, weight: np.ndarray, bias: np.ndarray):
        super().__init__(weight, bias, shape=(first.shape[1],))
        self.first, self.offset = first.astype(np.float32), offset.astype(np.float32)

    def _exact(self, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1).astype(float)
        return super()._exact(np.maximum(np.einsum("nd,hd->nh", flat, self.first) + self.offset, 0))

    def twin(self) -> Twin:
        first, last = nn.Linear(self.first.shape[1], len(self.offset)), nn.Linear(len(self.offset), self.classes)
        with torch.no_grad():
            for layer, arrays in ((first, (self.first, self.offset)), (last, (self.weight, self.bias))):
                layer.weight.copy_(torch.from_numpy(arrays[0]))
                layer.bias.copy_(torch.from_numpy(arrays[1]))
        module = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)
        return Twin(module=module, preprocess=self.preprocess, output=self.output)


def relu_bench(seed: int, classes: int, bounds: tuple[float, float] | None) -> Bench:
    rng = np.random.default_rng(seed)
    first, weight = rng.normal(size=(6, 5)), rng.normal(size=(classes, 6))
    target = ReLUTarget(first, rng.normal(size=6) / 4, weight, rng.normal(size=classes) / 4)
    inputs = rng.uniform(0.1, 0.9, size=(6, 5)).astype(np.float32)
    samples = Samples(inputs=inputs, labels=target.labels(inputs, batch=1).astype(np.int64), ids=np.arange(6))
    return Bench(target=target, samples=samples, threat=ThreatModel(norm=Norm.L1, bounds=bounds))


def relu_distances(bench: Bench) -> np.ndarray:
    """The exact l1 distances: a linear program for each wrong class and each set of units that may be on."""
    target = bench.target
    assert isinstance(target, ReLUTarget)
    first, weight, found = target.first.astype(float), target.weight.astype(float), []
    d = first.shape[1]
    sizes = np.block([[np.eye(d), -np.eye(d)], [-np.eye(d), -np.eye(d)]])
    for x, y in zip(bench.samples.inputs.astype(float), bench.samples.labels, strict=True):
        limits = [tuple(end - x[i] for end in bench.threat.bounds or (-np.inf, np.inf)) for i in range(d)]
        before, nearest = first @ x + target.offset, np.inf
        for on in product((0.0, 1.0), repeat=len(before)):
            gate, sign = np.array(on), 2 * np.array(on) - 1
            for k in set(range(target.classes)) - {int(y)}:
                slope = (weight[k] - weight[y]) * gate
                lead = slope @ before + target.bias[k] - target.bias[y]
                rows = np.block([[-sign[:, None] * first], [-(slope @ first)[None]]])
                rows = np.block([[rows, np.zeros_like(rows)], [sizes]])
                ends = np.concatenate([sign * before, [lead], np.zeros(2 * d)])
                result = linprog([0] * d + [1] * d, rows, ends, bounds=[*limits, *[(0, None)] * d])
                nearest = min(nearest, result.fun if result.success else np.inf)
        found.append(nearest)
    return np.array(found)


def near(bench: Bench, exact: np.ndarray, restarts: int = 1, within: float = WITHIN, **options: Any) -> None:
    """The nearest that is found is at the exact distance, or a little further."""
    trial = bench.play(PDPGD(**options), restarts=restarts, distance=True)
    assert trial.row.status == "ran", trial.row.reason
    reachable = np.isfinite(exact)
    assert reachable.sum() >= 3
    ratio = trial.ledger.nearest[reachable] / exact[reachable]
    assert (ratio > 1 - 1e-4).all(), ratio
    assert (ratio < within).all(), ratio
    assert np.isinf(trial.ledger.nearest[~reachable]).all()


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2, Norm.LINF])
@pytest.mark.parametrize(
    "options",
    [
        {"bounds": (-1.0, 0.85), "weights": WEIGHTS},
        {"bounds": (0.0, 1.0), "frozen": np.arange(12).reshape(3, 4) % 4 == 1},
    ],
)
def test_finds_the_nearest_point_of_a_linear_model(norm: Norm, options: dict[str, Any]) -> None:
    made = linear_bench(shape=(3, 4), n=6, seed=3, threat=ThreatModel(norm=norm, **options))
    near(made, distances(made), steps=250)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_restarts_find_the_class_that_is_nearest(norm: Norm) -> None:
    made = linear_bench(classes=3, n=10, seed=1, threat=ThreatModel(norm=norm, bounds=(-4.0, 4.0)))
    exact = distances(made)
    assert (made.play(PDPGD(steps=300), distance=True).ledger.nearest > 1.2 * exact).any()
    near(made, exact, restarts=3, steps=300)


def test_finds_the_nearest_point_of_the_class_that_is_aimed_at() -> None:
    made = linear_bench(classes=3, n=6, seed=1, threat=ThreatModel(norm=Norm.L1, bounds=(-4.0, 4.0), goal=Goal(1)))
    other = made.samples.labels != 1
    exact = np.where(other, distances(made), 0)
    trial = made.play(PDPGD(steps=300), distance=True)
    np.testing.assert_array_less(trial.ledger.nearest[other], WITHIN * exact[other])


@pytest.mark.parametrize(("seed", "classes", "bounds"), [(4, 2, (0.0, 1.0)), (3, 3, None)])
def test_finds_the_nearest_point_of_a_small_net(seed: int, classes: int, bounds: tuple[float, float] | None) -> None:
    made = relu_bench(seed, classes, bounds)
    near(made, relu_distances(made), restarts=8)


def test_a_point_within_epsilon_is_found_although_the_search_passes_outside() -> None:
    made = linear_bench(n=6, seed=2, threat=ThreatModel(norm=Norm.L1, bounds=(0.0, 1.0)))
    exact = float(distances(made)[0])
    one = replace(made, samples=made.samples.take([0]))
    assert one.at(WITHIN * exact).play(PDPGD()).broken.all()
    assert not one.at(0.99 * exact).play(PDPGD(steps=100)).broken.any()


@pytest.mark.parametrize("shrink", [shrink_l1, shrink_l2, shrink_linf])
def test_the_proximal_maps_minimise_what_they_should(shrink: Any) -> None:
    """½ |z - v|² + weight |z| is convex, so no small step from the minimum may lower it."""
    order = {shrink_l1: 1.0, shrink_l2: 2.0, shrink_linf: float("inf")}[shrink]
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(20, 2, 3, generator=generator, dtype=torch.float64)
    for size in (1e-3, 0.3, 2.0, 50.0):
        weight = torch.full((20, 1, 1), size, dtype=torch.float64)

        def value(z: Tensor, change: Tensor = change, size: float = size) -> Tensor:
            return (z - change).flatten(1).square().sum(dim=1) / 2 + size * z.flatten(1).norm(p=order, dim=1)

        least = shrink(change, weight)
        for _ in range(50):
            step = 1e-4 * torch.randn(change.shape, generator=generator, dtype=torch.float64)
            assert (value(least + step) >= value(least) - 1e-12).all()
    assert not shrink(change, weight).any()  # a weight above the dual norm leaves nothing


def test_the_weight_of_the_goal_falls_where_it_is_reached_and_grows_where_not() -> None:
    made = linear_bench(n=8, seed=3, threat=ThreatModel(norm=Norm.L1))
    attack, problem = PDPGD(), made.problem()
    rows = attack.start(problem)
    reply = Reply(
        points=problem.inputs,
        owner=torch.arange(8),
        labels=problem.labels,
        scores=torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 4)[torch.arange(8)],
        gradient=torch.ones_like(problem.inputs),
    )
    moved = attack.step(problem.at(problem.ages, 2), rows, reply)
    reached = problem.margin(reply.need_scores()) < 0
    assert reached.any()
    assert not reached.all()
    np.testing.assert_allclose(moved.dual - rows.dual, torch.where(reached, -0.1, 0.1), rtol=1e-5)
    assert ((moved.share < rows.share) == reached).all()


def test_keeps_to_every_threat() -> None:
    check_threats(PDPGD(steps=6))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": 0.0}, "rate is a finite number above 0, got 0.0."),
        ({"dual_rate": float("inf")}, "dual_rate is a finite number above 0, got inf."),
        ({"smoothing": 1.0}, "smoothing is at least 0 and below 1, got 1.0."),
        ({"spread": -1.0}, "spread is a finite number of at least 0, got -1.0."),
    ],
)
def test_options_are_checked(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^pdpgd: {sentence}$"):
        PDPGD(**options)


def test_it_is_right() -> None:
    check_attack(PDPGD(steps=180), above=1.1, seeds=1)
