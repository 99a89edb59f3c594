import numpy as np
import pytest
import torch
from auditor.plugins.operators.reduction import AXES_AS_INPUT, REDUCTIONS
from quantised_nodes import compare_carried

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

X = (np.cos(np.arange(24, dtype=np.float32)) + 1.5).reshape(2, 3, 4)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("op_type", REDUCTIONS)
@pytest.mark.parametrize("axes", [(1,), (0, -1), None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(check, op_type, axes, keepdims):
    fixed = {} if axes is None else {"axes": list(axes)}
    check(op_type, X, opset=11, keepdims=keepdims, tolerance=1e-5, **fixed)
    given = () if axes is None else (ints(*axes),)
    check(op_type, X, *given, opset=AXES_AS_INPUT.get(op_type, 18), keepdims=keepdims, gradient=True, tolerance=1e-5)


def test_no_axes_may_mean_nothing(check):
    check("ReduceSum", X, ints(), opset=13, noop_with_empty_axes=1)
    check("ReduceSum", X, ints(), opset=13, noop_with_empty_axes=0)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceProd", "ReduceMin"])
def test_integers_stay_integers(check, op_type):
    x = np.array([[5, 2], [-3, 4]], np.int32)
    axes = (ints(1),) if op_type == "ReduceSum" else ()
    attributes = {} if op_type == "ReduceSum" else {"axes": [1]}
    graph = check(op_type, x, *axes, opset=13, **attributes)
    assert graph(torch.from_numpy(x)).dtype == torch.int32


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_the_extremes_of_nothing(check, op_type, keepdims, dtype):
    check(op_type, np.zeros((2, 0, 4), dtype), ints(1), opset=20, keepdims=keepdims, mapped=False)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_cumulative_sum(check, exclusive, reverse, axis):
    check("CumSum", X, np.array(axis), exclusive=exclusive, reverse=reverse, gradient=True)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative_product(operators, exclusive, reverse):
    node = Node(
        op_type="CumProd",
        domain="",
        opset=26,
        name="products",
        inputs=("x", "axis"),
        outputs=("y",),
        attributes={"exclusive": exclusive, "reverse": reverse},
    )
    run = operators.find(node).build(node)
    x = X.astype(np.float64)
    turned = x[:, ::-1] if reverse else x
    expected = np.cumprod(turned, 1)
    if exclusive:
        expected = np.concatenate([np.ones_like(expected[:, :1]), expected[:, :-1]], 1)
    found = run(torch.from_numpy(x), torch.tensor(1))
    np.testing.assert_allclose(found.numpy(), expected[:, ::-1] if reverse else expected)
    assert torch.autograd.gradcheck(lambda x: run(x, torch.tensor(1)), torch.from_numpy(x).requires_grad_(True))
    whole = run(torch.tensor([[1, 2, 3]], dtype=torch.int32), torch.tensor(1))
    assert whole.dtype == torch.int32


@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_a_reduction_over_no_axes_is_of_each_entry(check, op_type):
    x = X if op_type == "ReduceLogSum" else -X
    check(op_type, x, opset=18, noop_with_empty_axes=1, gradient=True, tolerance=1e-5)


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceL2", "ReduceL1", "ReduceSum", "ReduceSumSquare"])
def test_reductions_of_whole_numbers_are_whole(check, kind, op_type):
    x = np.array([[-7, -3, 0, 0], [1, 2, 6, 11], [3, -2, 5, -11]])
    check(op_type, x.astype(kind), ints(1), opset=18)
    compare_carried(op_type, kind, x, ints(1))


def test_logarithms_of_whole_numbers_are_refused(check):
    for op_type in ("ReduceLogSum", "ReduceLogSumExp"):
        with pytest.raises(UnsupportedOperator, match="logarithms of integers"):
            check(op_type, np.array([[1, 2]], np.int32), ints(1), opset=18)
