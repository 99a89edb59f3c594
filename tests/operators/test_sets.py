import numpy as np
import pytest
import torch

from auditor.errors import ModelError

X = np.array([[2, 1, 1], [3, 4, 3], [2, 1, 1]], np.float32)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("ordered", [0, 1])
def test_unique(check, axis, ordered):
    given = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    check("Unique", X, opset=11, outputs=4, mapped=False, **given)
    distinct = X + np.arange(9, dtype=np.float32).reshape(3, 3) / 20
    check("Unique", distinct, opset=11, mapped=False, gradient=True, **given)


def test_the_first_of_equal_entries_gets_the_gradient(check):
    graph = check("Unique", X, opset=11, mapped=False)
    x = torch.from_numpy(X).requires_grad_(True)
    (gradient,) = torch.autograd.grad(graph(x).sum(), x)
    assert gradient.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_no_order_among_what_is_no_number(check):
    graph = check("Unique", X, opset=11, mapped=False)
    with pytest.raises(ModelError, match="NaN"):
        graph(torch.full((3, 3), torch.nan))


@pytest.mark.parametrize(("axis", "condition"), [(None, [1, 0, 1, 1]), (0, [0, 1, 1]), (1, [1, 0]), (-1, [0, 0, 1])])
def test_compress(check, axis, condition):
    given = {} if axis is None else {"axis": axis}
    check("Compress", X, np.array(condition, bool), opset=11, gradient=True, **given)


def test_nonzero(check):
    check("NonZero", np.array([[1.0, 0.0], [0.0, 2.0]], np.float32), mapped=False)


@pytest.mark.parametrize("value", [2.0, 0.0])
def test_the_places_of_a_scalar(check, value):
    check("NonZero", np.array(value, np.float32), opset=13, mapped=False)
