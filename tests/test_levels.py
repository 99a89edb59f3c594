import pytest
import torch

from auditor.errors import UnsupportedOperator
from auditor.levels import Levels, along, in_blocks
from auditor.operators import Node


def node(*types):
    names = tuple(f"x{i}" for i in range(len(types)))
    return Node(op_type="Q", domain="", opset=1, name="n", inputs=names, outputs=("y",), attributes={}, types=types)


def test_ties_go_to_the_even_level_and_what_lies_beyond_saturates():
    levels = Levels(-8, 7)
    x = torch.tensor([0.5, 1.5, -0.5, -1.5, 6.6, 7.6, torch.inf, -8.6])
    assert levels.hold(x).tolist() == [0, 2, 0, -2, 7, 7, 7, -8]


def test_the_gradient_passes_for_what_rounds_to_a_level_and_is_zero_beyond():
    x = torch.tensor([0.3, 7.0, 7.4, 7.6, -8.0, -8.4, -8.6, torch.inf], requires_grad=True)
    assert torch.autograd.grad(Levels(-8, 7).hold(x).sum(), x)[0].tolist() == [1, 1, 1, 0, 1, 1, 0, 0]


def test_a_zero_point_shifts_the_levels():
    x = torch.tensor([0.5, 1.5, 200.0, -torch.inf], requires_grad=True)
    held = Levels(0, 255).hold(x, torch.tensor(101, dtype=torch.uint8))
    assert held.tolist() == [101, 103, 255, 0]
    assert torch.autograd.grad(held.sum(), x)[0].tolist() == [1, 1, 0, 0]


def test_some_of_it_may_leak():
    levels = Levels(-8, 7, leak=0.25)
    x = torch.tensor([0.3, 7.6, -100.0], requires_grad=True)
    held = levels.hold(x)
    assert held.tolist() == [0, 7, -8]
    assert torch.autograd.grad(held.sum(), x)[0].tolist() == [1, 0.25, 0.25]


def test_without_rounding_values_are_held_within_the_limits_only():
    x = torch.tensor([0.3, 7.2, 100.0, -100.0], requires_grad=True)
    held = Levels(-8, 7, rounding=False).hold(x)
    torch.testing.assert_close(held, torch.tensor([0.3, 7.2, 7.5, -8.5]))
    assert torch.autograd.grad(held.sum(), x)[0].tolist() == [1, 1, 0, 0]


def test_the_first_known_type_decides():
    assert Levels.of(node("float32", "", "int8"), 5, 1, 2) == Levels(-128, 127)
    assert Levels.of(node("uint4"), 0) == Levels(0, 15)


@pytest.mark.parametrize(("kind", "words"), [("", "nothing in the file states"), ("float8_e4m3fn", "float8_e4m3fn")])
def test_an_unknown_type_is_refused(kind, words):
    with pytest.raises(UnsupportedOperator, match=words):
        Levels.of(node(kind), 0)


def test_scales_lie_along_an_axis_or_in_blocks():
    assert along(torch.ones(1), 1, 4).shape == ()
    assert along(torch.ones(3), 1, 4).shape == (1, 3, 1, 1)
    assert along(torch.ones(2, 1), -2, 2).shape == (2, 1)
    scales = torch.tensor([[1.0, 2.0, 3.0]])
    assert in_blocks(scales, 1, 2, 5).tolist() == [[1, 1, 2, 2, 3]]
