import numpy as np
import pytest

from auditor.errors import UnsupportedOperator

X = np.cos(np.arange(60, dtype=np.float32)).reshape(1, 2, 5, 6)
EMPTY = np.array([], np.float32)


def floats(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 2.6, 1.5), (1, 1, 0.6, 0.5)])
def test_by_scales(check, coordinates, mode, scales):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    check("Resize", X, EMPTY, floats(*scales), opset=11, tolerance=1e-5, **attributes)
    check("Resize", X, None, floats(*scales), opset=13, tolerance=1e-5, gradient=mode != "nearest", **attributes)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest(check, rounding, coordinates):
    attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    check("Resize", X, None, None, ints(1, 2, 9, 4), opset=13, **attributes)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_by_sizes(check, mode):
    check("Resize", X, None, None, ints(1, 2, 7, 3), opset=19, mode=mode, tolerance=1e-5, gradient=True)


def test_of_some_axes(check):
    check("Resize", X, None, None, ints(7, 3), opset=18, mode="linear", axes=[2, 3], tolerance=1e-5)


@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("cubic_coeff_a", [-0.5, -0.75])
def test_cubic(check, exclude_outside, cubic_coeff_a):
    attributes = {"mode": "cubic", "exclude_outside": exclude_outside, "cubic_coeff_a": cubic_coeff_a}
    check("Resize", X, None, floats(1, 1, 1.7, 2), opset=13, tolerance=1e-5, **attributes)


def test_what_is_not_covered_is_said(check):
    with pytest.raises(UnsupportedOperator, match="antialias"):
        check("Resize", X, None, floats(1, 1, 0.5, 0.5), opset=18, mode="linear", antialias=1)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(check, mode):
    check("Upsample", X, opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0], tolerance=1e-5)
    check("Upsample", X, floats(1, 1, 2, 3), opset=9, mode=mode, gradient=True, tolerance=1e-5)
