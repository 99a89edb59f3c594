import numpy as np
import pytest
from auditor.plugins.operators.reduction import AXES_AS_INPUT, REDUCTIONS

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
    import torch

    assert graph(torch.from_numpy(x)).dtype == torch.int32


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("attributes", [{}, {"keepdims": 0}, {"select_last_index": 1}])
def test_ties_fall_as_the_file_says(check, op_type, axis, attributes):
    x = np.array([[1, 5, 5, 0], [5, 0, 0, 5], [1, 5, 5, 0]], np.float32)
    check(op_type, x, opset=13, axis=axis, **attributes)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_cumulative_sum(check, exclusive, reverse, axis):
    check("CumSum", X, np.array(axis), exclusive=exclusive, reverse=reverse, gradient=True)
