import numpy as np
import pytest
from runtime_nodes import CONTRIB, compare

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(op_type, *inputs, **options):
    compare(op_type, *inputs, domain=CONTRIB, **options)


def test_pad():
    value = np.array([1.5], np.float32)
    check("Pad", normal(2, 3), np.array([0, 1, 2, 0]), value, mapped=False)
    check("Pad", normal(3, 4), np.array([[0, 1, 2, 0]]), mode="reflect", gradient=True)
    check("Pad", normal(3, 4), np.array([0, -1, 2, 0]), mode="edge", gradient=True)


@pytest.mark.parametrize("indices", [[[0, 1], [1, 2]], [[[0, 1, 3]], [[1, 2, -1]]]])
def test_gather_nd(indices):
    check("GatherND", normal(2, 3, 4), np.array(indices), gradient=True)


@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(upper):
    check("Trilu", normal(2, 3, 4), np.array(1), upper=upper, gradient=True)
    check("Trilu", normal(2, 3, 4), upper=upper)


def test_range():
    check("Range", np.array(1.5, np.float32), np.array(7, np.float32), mapped=False)
    check("Range", np.array(10), np.array(3), np.array(-2), mapped=False)


@pytest.mark.parametrize("axis", [0, 2, -1, -2])
def test_expand_dims(axis):
    check("ExpandDims", normal(2, 3), np.array(axis, np.int32), gradient=True)
