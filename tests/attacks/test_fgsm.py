"""FGSM on models whose worst case is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fgsm import FGSM
from walks import BIAS, WEIGHT, X, check_threats, fixture, walk

from auditor.bench import LinearTarget, Trial, linear_bench
from auditor.execution import Execution
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

RADII = {Norm.LINF: (0.228571, 0.242857), Norm.L2: (0.413118, 0.471495)}
"""Least epsilon at which class 1 and class 2 overtake class 0 at X, worked out by hand."""


def play(attack: FGSM, epsilon: float, norm: Norm = Norm.LINF, goal: Goal | None = None) -> Trial:
    return fixture(epsilon, norm, goal).play(attack)


def test_the_fixture() -> None:
    trial = play(FGSM(), 0.1)
    np.testing.assert_allclose(trial.ledger.best[0], [0.8, 0.3, 0.5, 0.7], atol=1e-6)
    assert trial.ledger.margin[0] == pytest.approx(0.9, abs=1e-6)  # 1 - 0.1, the worst there is for class 1
    assert trial.ledger.spent[0].tolist() == [2, 1, 1]


def test_the_fixtures_gradient_and_losses() -> None:
    """The cross-entropy after the step is the largest that any corner of the box has, so that of the whole box."""
    made = fixture()
    rows, replies = walk(made, FGSM())
    assert float(replies[0].need_loss()) == pytest.approx(0.3253969, abs=1e-6)
    np.testing.assert_allclose(replies[0].need_scores()[0], [1.4, -0.2, -0.3], atol=1e-6)
    np.testing.assert_allclose(replies[0].need_gradient()[0], [-0.409701, 0.701337, 0.409701, -0.423577], atol=1e-6)
    corners = X.astype(float) + 0.1 * np.array(list(product((-1, 1), repeat=4)))
    scores = torch.from_numpy(np.concatenate([rows[1].x.double().numpy(), corners]) @ WEIGHT.T + BIAS)
    np.testing.assert_allclose(scores[0], [1, 0.1, 0], atol=1e-6)
    loss = -scores.log_softmax(dim=1)[:, 0]
    assert float(loss[0]) == pytest.approx(0.5734900, abs=1e-6)
    assert float(loss[1:].max()) == pytest.approx(0.5734900, abs=1e-6)


def test_under_l2_the_fixtures_step_is_along_its_gradient() -> None:
    rows, _ = walk(fixture(norm=Norm.L2), FGSM())
    gradient = np.array([-0.409701, 0.701337, 0.409701, -0.423577])
    np.testing.assert_allclose(rows[1].x[0].numpy() - X[0], 0.1 * gradient / np.linalg.norm(gradient), atol=1e-6)


def test_with_the_fixtures_first_two_classes_the_margin_falls_by_the_dual_norm() -> None:
    for norm, dual in ((Norm.LINF, 7.0), (Norm.L2, 15**0.5)):
        made = replace(fixture(norm=norm), target=LinearTarget(WEIGHT[:2], BIAS[:2]))
        assert np.linalg.norm(WEIGHT[0] - WEIGHT[1], 1 if norm is Norm.LINF else 2) == pytest.approx(dual)
        margin = made.play(FGSM()).ledger.margin[0]
        assert margin == pytest.approx(1.6 - 0.1 * dual, abs=2e-6)


@pytest.mark.parametrize("norm", RADII)
def test_the_fixtures_radii(norm: Norm) -> None:
    for goal, radius in ((None, RADII[norm][0]), (Goal(2), RADII[norm][1])):
        assert not play(FGSM(), 0.999 * radius, norm, goal).broken.any()
    # under linf both classes are served by the same signs; under l2 one step points between the two
    assert play(FGSM(), 1.001 * RADII[norm][0], norm).broken.all() == (norm is Norm.LINF)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_with_two_classes_the_margin_falls_by_the_dual_norm(norm: Norm) -> None:
    made = linear_bench(n=20, threat=ThreatModel(norm=norm))
    made = replace(made, execution=Execution(device="cpu", threads=1, precision="float64"))
    target = made.target
    assert isinstance(target, LinearTarget)
    slope = (target.weight[0] - target.weight[1]).astype(float)
    before = np.abs(made.samples.inputs.astype(float) @ slope + float(target.bias[0] - target.bias[1]))
    epsilon = 0.2 * float(target.radii(made.samples, made.threat).min())
    after = made.at(epsilon).play(FGSM()).ledger.margin
    fall = epsilon * np.linalg.norm(slope, ord=1 if norm is Norm.LINF else 2)
    np.testing.assert_allclose(before - after, fall, rtol=1e-4)


def test_features_without_a_gradient_stay() -> None:
    made = linear_bench(n=3)
    target = made.target
    assert isinstance(target, LinearTarget)
    target.weight[:, :6] = 0
    made = replace(made, samples=made.samples.with_labels(target.labels(made.samples.inputs)))
    best = made.at(0.01).play(FGSM()).ledger.best
    np.testing.assert_array_equal(best[:, :6], made.samples.inputs[:, :6])
    assert (best[:, 6:] != made.samples.inputs[:, 6:]).all()


def test_it_is_right() -> None:
    check_attack(FGSM(), seeds=2)
    check_threats(FGSM())
