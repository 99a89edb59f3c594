"""Two models' gradients side by side: closed forms on logistic models, and the bound on fooling both at once."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.access import OutputKind
from auditor.bench import LinearTarget
from auditor.preprocess import Preprocess
from auditor.similarity import NOTE, Bound, Slopes, alignment, bound, left_side, slopes, smoothness
from auditor.twin import Twin

RNG = np.random.default_rng(0)


def logistic(w: np.ndarray, b: float = 0.0) -> Twin:
    """A model of two classes with p(1) = sigmoid(w·x + b), in float64."""
    twin = LinearTarget(np.stack([-w / 2, w / 2]), np.array([-b / 2, b / 2])).twin()
    twin.module.double()
    return twin


def points(n: int, d: int, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(RNG.normal(size=(n, d)) * scale)


def test_losses_and_gradients_of_a_logistic_model() -> None:
    w = np.float32(RNG.normal(size=5)).astype(float)
    x, y = points(150, 5), torch.arange(150) % 2
    made = slopes(logistic(w, 0.5), x, y)
    behind = -(2 * y.numpy() - 1) * (x.numpy() @ w + 0.5)  # ℓ = log(1 + e^behind)
    np.testing.assert_allclose(made.losses, np.log1p(np.exp(behind)), rtol=1e-6)
    sigmoid = 1 / (1 + np.exp(-behind))
    np.testing.assert_allclose(made.gradients, -(sigmoid * (2 * y.numpy() - 1))[:, None] * w, atol=1e-6)


def test_a_model_is_aligned_with_itself_and_not_with_an_orthogonal_one() -> None:
    w, x, y = RNG.normal(size=6), points(80, 6), torch.arange(80) % 2
    own = slopes(logistic(w), x, y)
    same = alignment(own, own)
    assert (same.mean, same.least, same.most) == pytest.approx((1, 1, 1))
    assert (same.n, same.flat) == (80, 0)
    other = RNG.normal(size=6)
    other -= w * (other @ w) / (w @ w)
    across = alignment(own, slopes(logistic(other), x, y))
    assert (across.mean, across.least, across.most) == pytest.approx((0, 0, 0), abs=1e-6)
    against = alignment(own, slopes(logistic(-2 * w), x, y))
    assert (against.mean, against.least, against.most) == pytest.approx((-1, -1, -1))


def test_gradients_of_zero_have_no_direction() -> None:
    one = Slopes(np.zeros(3), np.array([[1.0, 0], [0, 0], [3, 4]]))
    other = Slopes(np.zeros(3), np.array([[2.0, 0], [1, 0], [4, 3]]))
    made = alignment(one, other)
    assert (made.n, made.flat, made.most, made.least) == (3, 1, 1.0, pytest.approx(24 / 25))
    assert made.mean == pytest.approx((1 + 24 / 25) / 2)
    nowhere = alignment(one, Slopes(np.zeros(3), np.zeros((3, 2))))
    assert (nowhere.flat, nowhere.mean, nowhere.least, nowhere.most) == (3, None, None, None)


def test_the_smoothness_of_a_logistic_model_is_a_quarter_of_its_squared_length() -> None:
    w = np.float32(RNG.normal(size=20) * 3).astype(float)
    beta = float(w @ w) / 4
    x = points(60, 20)
    on_boundary = x - torch.from_numpy(np.outer(x.numpy() @ w, w) / (w @ w))
    labels = torch.arange(60) % 2
    found = smoothness(logistic(w), on_boundary, labels, radius=1e-3)
    np.testing.assert_allclose(found, beta, rtol=1e-4)
    anywhere = smoothness(logistic(w), x, labels, radius=1e-3)
    assert (anywhere <= beta * (1 + 1e-6)).all()
    p = 1 / (1 + np.exp(-(x.numpy() @ w)))
    np.testing.assert_allclose(anywhere, 4 * p * (1 - p) * beta, rtol=0.02, atol=1e-6)
    first = smoothness(logistic(w), on_boundary, labels, radius=1e-3, rounds=1)
    assert first.mean() < beta / 2  # a random direction is hardly along w: the rounds that follow are


def test_a_linear_loss_is_smooth_and_a_quadratic_one_has_its_largest_eigenvalue() -> None:
    class Quadratic(nn.Module):
        """Scores of which the cross-entropy is close to a quadratic form near 0, far behind the label's."""

        def forward(self, x: Tensor) -> Tensor:
            form = (x.square() * torch.tensor([1.0, 4.0, 9.0], dtype=x.dtype)).sum(dim=1) / 2
            return torch.stack([torch.zeros_like(form), form + 40], dim=1)

    plain = Preprocess(sample_shape=(3,), model_shape=(3,))
    twin = Twin(module=Quadratic(), preprocess=plain, output=OutputKind.LOGITS)
    labels = torch.zeros(30, dtype=torch.int64)  # ℓ = form + 40 + log(1 + e^-(form + 40))
    found = smoothness(twin, points(30, 3, 0.1), labels, radius=0.1, rounds=12)
    np.testing.assert_allclose(found, 9, rtol=0.02)


def test_it_draws_from_its_seed_only() -> None:
    twin, x, y = logistic(RNG.normal(size=4)), points(5, 4), torch.zeros(5, dtype=torch.int64)
    one, again, other = (smoothness(twin, x, y, radius=0.1, seed=seed, rounds=1) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_fools_two_logistic_models_at_once_satisfies_the_inequality() -> None:
    """Random pairs, samples near both boundaries, changes that fool both: none violates it, and many would do so
    without the term of smoothness, so it is not true for nothing."""
    cases = without = 0
    for _ in range(60):
        d = int(RNG.integers(2, 8))
        models = RNG.normal(size=(2, d)) * RNG.uniform(0.5, 4)
        labels = torch.ones(200, dtype=torch.int64)
        x = points(200, d)
        epsilon = float(RNG.uniform(0.1, 1.5))
        way = models.sum(axis=0)
        change = -epsilon * way / np.linalg.norm(way)
        fooled = ((x.numpy() + change) @ models.T < 0).all(axis=1)
        one, other = (slopes(logistic(np.float32(w).astype(float)), x, labels) for w in models)
        betas = tuple(float(w @ w) / 4 for w in models)
        made = bound(one, other, epsilon=epsilon, betas=(betas[0], betas[1]))
        left = left_side(one, other, epsilon)
        assert (left[fooled] >= made.threshold - 1e-5).all()
        assert fooled.mean() <= made.share <= made.probability + 1e-12
        cases += int(fooled.sum())
        without += int((left[fooled] < 2 * log(2) - 1e-5).sum())
    assert cases > 2000
    assert without > 20


def test_the_bound_by_hand() -> None:
    """Two samples: losses .1 + .2 and .5 + .3, gradients that add up to length 5 and cancel each other."""
    one = Slopes(np.array([0.1, 0.5]), np.array([[3.0, 0], [1, 1]]))
    other = Slopes(np.array([0.2, 0.3]), np.array([[0, 4.0], [-1, -1]]))
    made = bound(one, other, epsilon=0.1, betas=(2.0, 4.0))
    assert made.threshold == pytest.approx(2 * log(2) - 0.03)
    assert made.mean == pytest.approx((0.3 + 0.5 + 0.8) / 2)
    assert made.probability == pytest.approx(0.8 / (2 * log(2) - 0.03))
    assert (made.n, made.share, made.note) == (2, 0.0, NOTE)
    assert "never a guarantee" in NOTE
    near = bound(one, other, epsilon=0.25, betas=(0.0, 0.0))
    assert near.share == 0.5  # .3 + 1.25 is above 2 ln 2, .8 is not


@pytest.mark.parametrize("n", [0, 3])
def test_it_is_vacuous_for_rough_models_and_without_samples(n: int) -> None:
    nothing = Slopes(np.zeros(n), np.zeros((n, 2)))
    made: Bound = bound(nothing, nothing, epsilon=1.0, betas=(100.0, 100.0) if n else (0.0, 0.0))
    assert (made.probability, made.share) == (1.0, 1.0)
