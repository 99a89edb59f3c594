"""Losses against values worked out by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from auditor.errors import UsageError
from auditor.losses import LOSSES, chosen, find_loss, margin, others

NONE = -1
F1 = torch.tensor([[1.4, -0.2, -0.3]], dtype=torch.float64)


def row(*scores: float) -> Tensor:
    return torch.tensor([scores], dtype=torch.float64)


def loss(name: str, scores: Tensor, label: int, target: int = NONE) -> float:
    return float(find_loss(name)(scores, torch.tensor([label]), torch.tensor([target])))


def test_chosen_and_others() -> None:
    scores, labels = torch.tensor([[3.0, 1.0, 2.0], [-1.0, -2.0, -3.0]]), torch.tensor([0, 0])
    assert chosen(scores, labels).tolist() == [3, -1]
    assert others(scores, labels).tolist() == [2, -2]  # also where all wrong scores are negative


def test_cross_entropy_of_the_fixture() -> None:
    assert loss("ce", F1, 0) == pytest.approx(0.3253969, abs=1e-7)
    assert loss("ce", row(1.0, 0.1, 0.0), 0) == pytest.approx(0.5734900, abs=1e-7)


def test_targeted_cross_entropy_is_turned_round() -> None:
    expected = log(exp(1.4) + exp(-0.2) + exp(-0.3)) + 0.3
    assert loss("ce", F1, 0, target=2) == pytest.approx(-expected)


@pytest.mark.parametrize(
    ("label", "target", "expected"),
    [(0, NONE, 1.0), (1, NONE, -2.0), (2, NONE, -1.0), (0, 1, 2.0), (0, 2, 1.0), (2, 0, -1.0)],
)
def test_margin(label: int, target: int, expected: float) -> None:
    scores = row(3.0, 1.0, 2.0)
    assert float(margin(scores, torch.tensor([label]), torch.tensor([target]))) == expected
    assert loss("margin", scores, label, target) == -expected


def test_margin_is_negative_exactly_where_the_goal_is_reached() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((500, 5), generator=generator)
    labels = torch.randint(5, (500,), generator=generator)
    assert torch.equal(margin(scores, labels, torch.full((500,), NONE)) < 0, scores.argmax(1) != labels)
    targets = torch.randint(5, (500,), generator=generator)
    assert torch.equal(margin(scores, labels, targets) < 0, scores.argmax(1) == targets)


def test_goals_may_differ_from_row_to_row() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0]]).expand(2, -1)
    found = margin(scores, torch.tensor([0, 0]), torch.tensor([NONE, 1]))
    assert found.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("scores", "label", "target", "expected"),
    [
        ((4.0, 2.0, 1.0, -3.0), 0, NONE, -2 / 3),  # -(z_y - max) / (z1 - z3)
        ((4.0, 2.0, 1.0, -3.0), 1, NONE, 2 / 3),
        ((4.0, 2.0, 1.0, -3.0), 0, 1, -2 / 5),  # over z1 - (z3 + z4) / 2 = 4 + 1
        ((4.0, 2.0, 1.0, -3.0), 0, 3, -7 / 5),
        ((4.0, 2.0, 1.0), 0, NONE, -2 / 3),
        ((4.0, 2.0, 1.0), 0, 2, -3.0),  # three classes and a target: the margin
        ((4.0, 2.0), 0, NONE, -2.0),  # two classes: the margin
        ((4.0, 2.0), 0, 1, -2.0),
    ],
)
def test_difference_of_logits_ratio(scores: tuple[float, ...], label: int, target: int, expected: float) -> None:
    assert loss("dlr", row(*scores), label, target) == pytest.approx(expected)


def test_dlr_does_not_see_a_scale() -> None:
    scores = row(4.0, 2.0, 1.0, -3.0)
    assert loss("dlr", 1000 * scores, 0) == pytest.approx(loss("dlr", scores, 0))


def test_every_loss_has_a_gradient_where_probabilities_have_saturated() -> None:
    saturated = torch.tensor([[200.0, 0.0, -1.0]], requires_grad=True)
    sizes = {}
    for name in LOSSES:
        value = find_loss(name)(saturated, torch.tensor([0]), torch.tensor([NONE])).sum()
        (gradient,) = torch.autograd.grad(value, saturated)
        sizes[name] = float(gradient.abs().sum())
    assert 0 < sizes["ce"] < 1e-12
    assert sizes["margin"] == 2
    assert sizes["dlr"] > 0


@pytest.mark.parametrize("target", [NONE, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name: str, target: int) -> None:
    scores = torch.tensor([[1.4, -0.2, -0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    labels, targets = torch.tensor([0]), torch.tensor([target])
    assert torch.autograd.gradcheck(lambda z: find_loss(name)(z, labels, targets), scores)


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(UsageError, match="'hinge'"):
        find_loss("hinge")


@pytest.mark.parametrize("gap", [-40.0, 0.0, 5.0, 20.0, 29.0])
def test_cross_entropy_keeps_its_digits_where_float32_softmax_has_lost_them(gap: float) -> None:
    scores = torch.tensor([[gap, 0.0, -1.0]], requires_grad=True)
    exact = scores.detach().double().requires_grad_()
    value = find_loss("ce")(scores, torch.tensor([0]), torch.tensor([NONE])).sum()
    behind = exact[:, 1:].logsumexp(dim=1) - exact[:, 0]
    wanted = torch.log1p(behind.exp()).sum()
    torch.testing.assert_close(value.double(), wanted, rtol=2e-6, atol=0.0)
    (one,), (other,) = torch.autograd.grad(value, scores), torch.autograd.grad(wanted, exact)
    torch.testing.assert_close(one.double(), other, rtol=2e-6, atol=0.0)


def test_cross_entropy_goes_on_falling_where_it_has_underflowed() -> None:
    gaps = torch.tensor([25.0, 29.9, 30.1, 60.0, 200.0, 1e4])
    scores = torch.stack([gaps, torch.zeros(6)], dim=1)
    values = find_loss("ce")(scores, torch.zeros(6, dtype=torch.int64), torch.full((6,), NONE))
    assert (values.diff() < 0).all()
