import numpy as np
import pytest

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE, GRID = normal(2, 3, 5, 6), RNG.uniform(-1.4, 1.4, (2, 4, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(check, padding_mode, align_corners, mode):
    given = {"padding_mode": padding_mode, "align_corners": align_corners, "tolerance": 2e-5}
    check("GridSample", IMAGE, GRID, opset=20, mode=mode, **given)
    check("GridSample", IMAGE, GRID, opset=20, mode=mode, dynamic=1, **given)
    check("GridSample", IMAGE[:1, :1], GRID[:1], opset=20, mode=mode, gradient=True, **given)
    old = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    check("GridSample", IMAGE, GRID, opset=16, mode=old, **given)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample_of_volumes(check, mode, align_corners):
    grid = RNG.uniform(-1.2, 1.2, (1, 2, 3, 2, 3)).astype(np.float32)
    given = {"align_corners": align_corners, "tolerance": 2e-5}
    check("GridSample", normal(1, 2, 3, 4, 5), grid, opset=20, mode=mode, **given)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 2)])
def test_affine_grid(check, align_corners, size):
    rank = len(size) - 2
    theta = normal(2, rank, rank + 1)
    given = {"align_corners": align_corners, "gradient": True, "tolerance": 1e-5}
    check("AffineGrid", theta, np.array(size, np.int64), opset=20, **given)


def test_a_single_pixel_has_no_two_corners(check):
    one = np.array([2, 3, 1, 4], np.int64)
    check("AffineGrid", normal(2, 2, 3), one, opset=20, tolerance=1e-5)
    with pytest.raises(UnsupportedOperator, match="single pixel"):
        check("AffineGrid", normal(2, 2, 3), one, opset=20, align_corners=1)


@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 0, 1, 2], "strides": [2, 1]}, {"dilations": [2, 1]}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("group", "offset_group"), [(1, 1), (2, 1), (2, 2)])
def test_deformable_convolution(check, attributes, masked, group, offset_group):
    weight, pads = normal(6, 4 // group, 3, 2), attributes.get("pads", [0] * 4)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    sizes = [
        (n + pads[axis] + pads[axis + 2] - (k - 1) * dilations[axis] - 1) // strides[axis] + 1
        for axis, (n, k) in enumerate(((6, 3), (5, 2)))
    ]
    x, offset = normal(2, 4, 6, 5), normal(2, offset_group * 12, *sizes)
    mask = [normal(2, offset_group * 6, *sizes)] if masked else []
    given = {"opset": 19, "group": group, "offset_group": offset_group, "tolerance": 2e-5, **attributes}
    check("DeformConv", x, weight, offset, normal(6), *mask, kernel_shape=[3, 2], **given)
    check("DeformConv", x, weight, offset, None, *mask, dynamic=2, **given)


@pytest.mark.parametrize("dynamic", [0, 1, 2, 4])
def test_the_gradient_of_a_deformable_convolution(check, dynamic):
    inputs = normal(1, 2, 3, 4), normal(2, 2, 2, 2), normal(1, 8, 2, 3), normal(2), normal(1, 4, 2, 3)
    check("DeformConv", *inputs, opset=19, dynamic=dynamic, mapped=False, gradient=True, tolerance=2e-5)


def test_unknown_modes_are_refused(operators):
    node = Node(
        op_type="GridSample",
        domain="",
        opset=20,
        name="g",
        inputs=("x", "grid"),
        outputs=("y",),
        attributes={"mode": "lanczos"},
    )
    with pytest.raises(UnsupportedOperator, match="lanczos"):
        operators.find(node).build(node)
