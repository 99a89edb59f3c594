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


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
@pytest.mark.parametrize("exclude_outside", [0, 1])
def test_antialias(check, mode, coordinates, exclude_outside):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "exclude_outside": exclude_outside}
    check("Resize", X, None, floats(1, 1, 0.6, 0.4), opset=18, antialias=1, tolerance=1e-5, **attributes)
    check("Resize", X, None, None, ints(1, 2, 3, 9), opset=18, antialias=1, tolerance=1e-5, gradient=True, **attributes)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("sizes", [(7, 8), (3, 9), (2, 3)])
def test_the_aspect_ratio_may_be_kept(check, policy, sizes):
    given = {"opset": 18, "axes": [2, 3], "keep_aspect_ratio_policy": policy, "mapped": False}
    check("Resize", X, None, None, ints(*sizes), mode="linear", tolerance=1e-5, **given)
    check("Resize", X, None, None, ints(*sizes), **given)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("region", [(0.2, 0.1, 0.9, 0.8), (-0.2, 0.3, 0.7, 1.4), (0.8, 0.5, 0.1, 0.5)])
@pytest.mark.parametrize("sizes", [(1, 2, 7, 3), (1, 2, 1, 9)])
def test_crop_and_resize(check, mode, region, sizes):
    roi = floats(0, 0, *region[:2], 1, 1, *region[2:])
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
    check("Resize", X, roi, None, ints(*sizes), opset=13, tolerance=1e-5, gradient=mode != "nearest", **attributes)


LENGTHS = [1, 2, 3, 5, 8, 13]
SCALES = [0.25, 0.5, 0.6, 0.7, 1.2, 1.5, 2, 2.6, 3]


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
def test_ties_between_pixels_fall_as_in_the_runtime(check, rounding, coordinates):
    attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    for length in LENGTHS:
        x = np.arange(length, dtype=np.float32).reshape(1, 1, 1, -1)
        for scale in SCALES:
            if int(length * scale):
                check("Resize", x, None, floats(1, 1, 1, scale), opset=19, mapped=False, tolerance=0, **attributes)


def test_nearest_keeps_infinities(check):
    x = np.array([np.inf, 1, -np.inf], np.float32).reshape(1, 1, 1, 3)
    check("Resize", x, None, floats(1, 1, 1, 2), opset=13)


def test_integers(check):
    whole = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    check("Resize", whole, None, floats(1, 1, 2, 0.5), opset=13)
    with pytest.raises(UnsupportedOperator, match="integers between integers"):
        check("Resize", whole, None, floats(1, 1, 2, 0.5), opset=13, mode="linear")


def test_what_is_not_covered_is_said(check):
    roi, crop = floats(0, 0, 0, 0, 1, 1, 1, 1), {"coordinate_transformation_mode": "tf_crop_and_resize"}
    with pytest.raises(UnsupportedOperator, match="by scales"):
        check("Resize", X, roi, floats(1, 1, 0.5, 0.5), opset=18, mode="linear", **crop)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_before_opset_11(check, mode):
    for scale in SCALES:
        check("Resize", X, floats(1, 1, scale, 2), opset=10, mode=mode, tolerance=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(check, mode):
    check("Upsample", X, opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0], tolerance=1e-5)
    check("Upsample", X, floats(1, 1, 2, 3), opset=9, mode=mode, gradient=True, tolerance=1e-5)
