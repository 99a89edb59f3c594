import numpy as np
import pytest

X = np.cos(np.arange(60, dtype=np.float32)).reshape(3, 4, 5)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(check, axis):
    check("Concat", X, -X, X + 1, axis=axis, gradient=True)


@pytest.mark.parametrize("axis", [1, -2])
def test_split_by_lengths(check, axis):
    check("Split", X, opset=11, axis=axis, split=[1, 3], outputs=2)
    check("Split", X, ints(1, 3), opset=13, axis=axis, outputs=2, gradient=True)


def test_split_in_equal_parts(check):
    check("Split", X, opset=11, axis=1, outputs=2)
    check("Split", X, opset=13, axis=0, outputs=3)
    check("Split", X, opset=18, axis=2, num_outputs=3, outputs=3, gradient=True)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), None, None),
        ((0, 1), (2, -1), None, None),
        ((1,), (1000,), (2,), None),
        ((-3,), (-1,), (-1,), None),
        ((0,), (2**63 - 1,), (1,), (2,)),
        ((-1,), (-(2**63),), (2,), (-1,)),
        ((3,), (0,), (2,), (-2,)),
        ((4, 0), (1, 3), (2, 1), (-1, 2)),
        ((3,), (1,), (1,), None),
    ],
)
def test_slice(check, starts, ends, axes, steps):
    optional = [None if axes is None else ints(*axes), *([ints(*steps)] if steps else [])]
    given = optional if any(value is not None for value in optional) else []
    check("Slice", X, ints(*starts), ints(*ends), *given, opset=13, gradient=True)
    if steps is None:
        attributes = {"starts": list(starts), "ends": list(ends)} | ({"axes": list(axes)} if axes else {})
        check("Slice", X, opset=7, **attributes)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array(1), np.array(-1), ints(0, 2, 2, -3), np.array([[0, 1], [-1, 0]])])
def test_gather(check, axis, indices):
    check("Gather", X, indices.astype(np.int64), axis=axis, gradient=True)
    check("Gather", X, indices.astype(np.int32), axis=axis, dynamic=1)


def test_gather_elements(check):
    check("GatherElements", X, np.array([[[0, 1], [-1, 3]]], np.int64), axis=1, gradient=True)


def test_gather_nd(check):
    check("GatherND", X, np.array([[0, 1], [2, -1]], np.int64), gradient=True)
    check("GatherND", X, np.array([[0, 1, 4], [2, -1, 0]], np.int64), gradient=True)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_elements(check, reduction):
    indices = np.array([[[0, 1, -1, 2, 0]], [[1, 1, 0, 2, 0]], [[3, 1, -1, 2, 0]]], np.int64)
    given = {"axis": 1, "reduction": reduction, "opset": 18}
    check("ScatterElements", X, indices, X[:, :1] * 2, gradient=reduction == "add", **given)
    check("ScatterElements", X, indices, X[:, :1] * 2, dynamic=2, gradient=reduction == "none", **given)


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scatter_nd(check, reduction):
    indices = np.array([[0, 1], [2, -1]], np.int64)
    check("ScatterND", X, indices, X[:2, 0] * 3, reduction=reduction, opset=18, gradient=True)
    check("ScatterND", X, indices, X[:2, 0] * 3, dynamic=2, reduction=reduction, opset=18, gradient=True)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [-1, 1])
def test_top_k(check, largest, axis):
    check("TopK", X, ints(2), outputs=2, largest=largest, axis=axis)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [(), (np.array(1, np.int64),), (np.array(-1, np.int64),)])
def test_trilu(check, upper, diagonal):
    check("Trilu", X, *diagonal, upper=upper, gradient=True)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(check, axis):
    check("OneHot", ints(0, 3, -1), np.array(4, np.int64), np.array([0.5, 2.0], np.float32), axis=axis)


def test_nonzero(check):
    check("NonZero", np.array([[1.0, 0.0], [0.0, 2.0]], np.float32), mapped=False)
