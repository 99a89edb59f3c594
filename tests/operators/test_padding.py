import numpy as np
import pytest

X = np.arange(1, 61, dtype=np.float32).reshape(1, 3, 4, 5)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 2, 1), (0, 1, 0, 0, 0, 2, 0, 3), (0, 0, -1, 2, 0, 0, 2, -2)])
def test_constant(check, pads):
    check("Pad", X, opset=10, pads=list(pads), value=0.5)
    check("Pad", X, ints(*pads), opset=11)
    check("Pad", X, ints(*pads), np.array(-2.5, np.float32), opset=13, gradient=True)


@pytest.mark.parametrize(("mode", "opset"), [("reflect", 13), ("edge", 13), ("wrap", 19)])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 2, 1), (0, 1, 0, 0, 0, 2, 0, 3)])
def test_modes(check, mode, opset, pads):
    check("Pad", X, ints(*pads), opset=opset, mode=mode, gradient=True)


@pytest.mark.parametrize("shape", [(1, 3, 7, 2), (1, 2, 4, 8), (1, 4, 1, 1)])
def test_center_crop_pad(check, shape):
    check("CenterCropPad", X, ints(*shape), opset=18, gradient=True)
    check("CenterCropPad", X, ints(*shape[2:]), opset=18, axes=[-2, 3])


def test_of_some_axes(check):
    check("Pad", X, ints(1, 2, 3, 4), None, ints(3, -2), opset=18, gradient=True)
