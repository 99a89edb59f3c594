import numpy as np
import pytest
import torch

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

X = np.cos(np.arange(60, dtype=np.float32)).reshape(3, 4, 5)
PLACES = np.array([[0, 1], [2, -1], [0, 1]], np.int64)
REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_elements(check, reduction):
    indices = np.array([[[0, 1, -1, 2, 0]], [[1, 1, 0, 2, 0]], [[3, 1, -1, 2, 0]]], np.int64)
    given = {"axis": 1, "reduction": reduction, "opset": 18}
    check("ScatterElements", X, indices, X[:, :1] * 2, gradient=True, **given)
    check("ScatterElements", X, indices, X[:, :1] * 2, dynamic=2, gradient=True, **given)


def test_scatter_was_its_name_once(check):
    indices = np.array([[[0, 1, 3, 2, 0]]], np.int64)
    check("Scatter", X, indices, X[:1, :1] * 2, opset=9, axis=1, gradient=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_nd(check, reduction):
    places = PLACES[:2] if reduction == "none" else PLACES
    updates = X[: len(places), 0] * 3
    check("ScatterND", X, places, updates, reduction=reduction, opset=18, gradient=True)
    check("ScatterND", X, places, updates, dynamic=2, reduction=reduction, opset=18, gradient=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3,), (2, 1)])
def test_scatter_nd_of_single_entries(check, reduction, shape):
    places = np.array([[0, 1, 2], [2, -1, 0], [1, 0, 4]], np.int64)[: np.prod(shape)].reshape(*shape, 3)
    check("ScatterND", X, places, np.ones(shape, np.float32), reduction=reduction, opset=18)


def test_unknown_reductions_are_refused(operators):
    for op_type in ("ScatterND", "ScatterElements"):
        node = made(op_type, 18, reduction="median")
        with pytest.raises(UnsupportedOperator, match="median"):
            operators.find(node).build(node)


def test_carried_updates_turn_integers_into_floats(operators):
    node = made("ScatterND", 18)
    x, updates = torch.arange(4), torch.tensor([7.0], requires_grad=True)
    y = operators.find(node).build(node)(x, torch.tensor([[2]]), updates)
    assert y.tolist() == [0, 1, 7, 3]
    assert y.requires_grad


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [-2, 2, 1])
@pytest.mark.parametrize("starts", [None, [0, 1], [2, 3]])
def test_tensor_scatter(operators, mode, axis, starts):
    if mode == "linear" and starts == [2, 3]:
        starts = [2, 0]
    cache = torch.arange(2 * 5 * 5 * 3, dtype=torch.float64).reshape(2, 5, 5, 3)
    update = -cache.narrow(axis, 0, 3) - 1
    expected = cache.clone()
    for sample in range(2):
        for step in range(3):
            place = ((starts or [0, 0])[sample] + step) % 5
            expected[sample].select(axis % 4 - 1, place).copy_(update[sample].select(axis % 4 - 1, step))
    node = made("TensorScatter", 24, mode=mode, axis=axis)
    run = operators.find(node).build(node)
    given = None if starts is None else torch.tensor(starts)
    assert torch.equal(run(cache, update, given), expected)
    assert torch.autograd.gradcheck(lambda part: run(cache, part, given), update.requires_grad_(True), fast_mode=True)


def test_a_piece_that_ends_outside_is_an_error(operators):
    node = made("TensorScatter", 24)
    with pytest.raises(RuntimeError, match="out of bounds"):
        operators.find(node).build(node)(torch.zeros(1, 4, 2), torch.ones(1, 3, 2), torch.tensor([2]))


def made(op_type, opset, **attributes):
    names = {"inputs": ("x", "indices", "updates"), "outputs": ("y",)}
    return Node(op_type=op_type, domain="", opset=opset, name="scatter", attributes=attributes, **names)
