"""Margin, Jacobian, linear distance and saliency, where a linear model knows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.access import Access
from auditor.bench import Bench, LinearTarget
from auditor.samples import Samples
from auditor.slopes import EXACT, NEAR, Slopes, slopes, unsalient
from auditor.threat import Norm, ThreatModel
from auditor.towards import Reached

RNG = np.random.default_rng(3)
FEATURES = 6


def bench(classes: int, norm: Norm = Norm.LINF, weights: np.ndarray | None = None, n: int = 70) -> Bench:
    target = LinearTarget(RNG.normal(size=(classes, FEATURES)), RNG.normal(size=classes))
    x = RNG.random((n, FEATURES)).astype(np.float32)
    samples = Samples(inputs=x, labels=target.labels(x, batch=1), ids=np.arange(n))
    return Bench(target=target, samples=samples, threat=ThreatModel(norm=norm, epsilon=0.1, weights=weights))


def measured(made: Bench, folder: Path, runs: Reached | None = None) -> Slopes:
    found = slopes(made.search(folder), np.arange(len(made.samples)), runs or Reached())
    assert found is not None
    return found


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
@pytest.mark.parametrize("weights", [None, np.array([1, 2, 0.5, 1, 3, 1.0])])
def test_the_linear_distance_is_exact_on_linear_models(norm: Norm, weights: np.ndarray | None, tmp_path: Path) -> None:
    made = bench(4, norm, weights)
    assert isinstance(made.target, LinearTarget)
    known = made.target.radii(made.samples, made.threat)
    assert measured(made, tmp_path).radius == pytest.approx(known, rel=1e-4, abs=1e-6)


def test_margin_and_jacobian(tmp_path: Path) -> None:
    made = bench(4)
    assert isinstance(made.target, LinearTarget)
    found = measured(made, tmp_path)
    scores = np.sort(made.target.scores(made.samples.inputs), axis=1)
    assert found.margin == pytest.approx(scores[:, -1] - scores[:, -2], rel=1e-4, abs=1e-5)
    assert found.jacobian == pytest.approx(np.full(70, np.linalg.norm(made.target.weight)), rel=1e-5)


def test_of_many_classes_the_norm_is_estimated_and_the_nearest_are_looked_at(tmp_path: Path) -> None:
    made = bench(EXACT + 20)
    assert isinstance(made.target, LinearTarget)
    found = measured(made, tmp_path)
    whole = np.linalg.norm(made.target.weight)
    assert found.jacobian == pytest.approx(np.full(70, whole), rel=0.35)
    known = made.target.radii(made.samples, made.threat)
    assert (found.radius >= known * (1 - 1e-4)).all()
    assert np.isclose(found.radius, known, rtol=1e-4).mean() > 0.5
    assert NEAR < EXACT


@pytest.mark.parametrize("classes", [4, EXACT + 20])
def test_saliency_of_a_run_by_hand(classes: int, tmp_path: Path) -> None:
    made = bench(classes)
    assert isinstance(made.target, LinearTarget)
    runs = Reached(index=[0, 5, 5], target=[1, 2, 3], distance=[0.1] * 3)
    weight = made.target.weight.astype(float)
    by_hand = [1 - np.mean((weight[t] > 0) & (weight.sum(axis=0) - weight[t] < 0)) for t in runs.target]
    assert measured(made, tmp_path, runs).saliency == pytest.approx(by_hand)


def test_a_saturated_network_is_as_far_as_can_be(tmp_path: Path) -> None:
    target = LinearTarget(np.zeros((3, FEATURES)), np.array([1.0, 0, 0]))
    x = RNG.random((4, FEATURES)).astype(np.float32)
    samples = Samples(inputs=x, labels=np.zeros(4, np.int64), ids=np.arange(4))
    made = Bench(target=target, samples=samples, threat=ThreatModel(epsilon=0.1))
    found = measured(made, tmp_path, Reached(index=[0, 1], target=[1, 2], distance=[np.inf] * 2))
    assert found.saliency.tolist() == [1, 1]
    assert np.isinf(found.radius).all()
    assert not found.jacobian.any()
    assert unsalient(torch.zeros(5), torch.zeros(5)) == 1


def test_scaling_logits_scales_the_jacobian_and_not_the_distance(tmp_path: Path) -> None:
    made = bench(4)
    assert isinstance(made.target, LinearTarget)
    scaled = replace(made, target=LinearTarget(3 * made.target.weight, 3 * made.target.bias))
    once, thrice = measured(made, tmp_path / "a"), measured(scaled, tmp_path / "b")
    assert thrice.jacobian == pytest.approx(3 * once.jacobian, rel=1e-5)
    assert thrice.radius == pytest.approx(once.radius, rel=1e-3, abs=1e-6)


def test_l0_has_no_dual_and_without_gradients_there_are_no_slopes(tmp_path: Path) -> None:
    made = bench(4, Norm.L0)
    made = replace(made, threat=replace(made.threat, epsilon=2, bounds=(0.0, 1.0)))
    assert np.isnan(measured(made, tmp_path / "a").radius).all()
    blind = replace(bench(4), access=Access.SCORE)
    assert slopes(blind.search(tmp_path / "b"), np.arange(3), Reached()) is None
