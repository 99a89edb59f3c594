import numpy as np
import pytest
import torch
from onnx import helper
from quantised_nodes import compare, gradient, model, runtime, twin

DRAWS = np.random.default_rng(0)


def levels(kind, *shape):
    return DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def scale(*shape):
    return DRAWS.uniform(0.005, 0.02, shape).astype(np.float32)


PAIRS = [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")]


@pytest.mark.wide_sums
@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("zeros", ["none", "one", "columns"])
def test_matrix_products_are_exact(check, left, right, zeros):
    a, b = levels(left, 2, 3, 40), levels(right, 40, 6)
    given = {"none": [], "one": [np.array(7, left), np.array(3, right)]}
    given["columns"] = [np.array(7, left), np.zeros(6, right) if right == "int8" else levels(right, 6)]
    check("MatMulInteger", a, b, *given[zeros], tolerance=0)


@pytest.mark.wide_sums
def test_carried_levels_give_the_same_sums_and_a_gradient(check):
    a, b = levels("uint8", 3, 40), levels("int8", 40, 6)
    graph = check("MatMulInteger", a, b, np.array(7, np.uint8), np.array(3, np.int8))
    assert torch.equal(graph(torch.from_numpy(a).float()), graph(torch.from_numpy(a)).float())
    np.testing.assert_array_equal(gradient(graph, a), np.tile((b.astype(float) - 3).sum(1), (3, 1)))
    assert graph.surrogates == ()


@pytest.mark.wide_sums
def test_the_second_factor_may_be_the_moving_one(check):
    check("MatMulInteger", levels("uint8", 3, 40), levels("int8", 40, 6), dynamic=1, tolerance=0)


@pytest.mark.parametrize("zeros", [[], [np.array(100, np.uint8)], [np.array(100, np.uint8), np.array(5, np.uint8)]])
def test_convolutions_are_exact(check, zeros):
    x, w = levels("uint8", 2, 4, 7, 7), levels("uint8", 6, 2, 3, 3)
    check("ConvInteger", x, w, *zeros, pads=[1, 0, 1, 2], strides=[2, 1], group=2, tolerance=0)
    check("ConvInteger", x, w, *zeros, auto_pad="SAME_LOWER", group=2, tolerance=0)


@pytest.mark.parametrize("op_type", ["MatMulInteger", "ConvInteger"])
def test_a_long_sum_is_rounded_no_more_than_any_float(op_type):
    shape = (4608, 4) if op_type == "MatMulInteger" else (4, 512, 3, 3)
    x = np.full((2, 4608) if op_type == "MatMulInteger" else (2, 512, 3, 3), 255, np.uint8)
    x.flat[::3] -= 1
    node = helper.make_node(op_type, ["x", "w"], ["y"])
    whole = model([node], {"x": x, "w": np.abs(levels("int8", *shape) // 2 + 64).astype(np.uint8)}, "x", 17)
    (expected,) = runtime(whole, x)
    assert expected.max() > 2**24
    np.testing.assert_allclose(twin(whole)(torch.from_numpy(x).float()).numpy(), expected, rtol=2e-6)
    assert np.array_equal(twin(whole)(torch.from_numpy(x)).numpy(), expected)


@pytest.mark.wide_sums
@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("columns", [(), (1,), (6,)])
def test_quantised_matrix_products(check, left, right, columns):
    a, b = levels(left, 2, 3, 40), levels(right, 40, 6)
    b_zero = np.zeros(columns, right) if right == "int8" else np.full(columns, 120, right)
    out = np.array(11, left)
    result = check(
        "QLinearMatMul", a, scale(), np.array(90, left), b, scale(*columns), b_zero, np.float32(0.2) * 1, out,
        tolerance=0,
    )  # fmt: skip
    assert result.surrogates == ("QLinearMatMul: straight-through",)


@pytest.mark.wide_sums
def test_the_gradient_of_a_quantised_product_is_that_of_the_product_inside_and_zero_where_saturated(check):
    a, b = levels("uint8", 5, 8), levels("int8", 8, 6)
    a_scale, b_scale, y_scale = scale(), scale(6), np.array(0.02, np.float32)
    zeros = np.array(90, np.uint8), np.zeros(6, np.int8), np.array(100, np.uint8)
    graph = check("QLinearMatMul", a, a_scale, zeros[0], b, b_scale, zeros[1], y_scale, zeros[2], tolerance=0)
    factor = (a_scale * b_scale / y_scale).astype(float)
    y = (a.astype(float) - 90) @ b.astype(float) * factor + 100
    inside = (y >= 0) & (y <= 255)
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_allclose(gradient(graph, a), (inside * factor) @ b.T.astype(float), rtol=1e-4, atol=1e-5)


@pytest.mark.wide_sums
@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("channels", [(), (6,)])
@pytest.mark.parametrize("biased", [False, True])
def test_quantised_convolutions(check, left, right, channels, biased):
    x, w = levels(left, 2, 4, 7, 7), levels(right, 6, 2, 3, 3)
    w_zero = np.zeros(channels, right) if right == "int8" else np.full(channels, 120, right)
    bias = [DRAWS.integers(-5000, 5000, 6).astype(np.int32)] if biased else []
    check(
        "QLinearConv", x, scale(), np.array(90, left), w, scale(*channels), w_zero, np.float32(0.2) * 1,
        np.array(11, left), *bias, pads=[1, 1, 1, 1], group=2, strides=[1, 2], tolerance=0,
    )  # fmt: skip


def test_depthwise_and_dilated_and_in_one_dimension(check):
    zeros = np.array(128, np.uint8), np.zeros(4, np.int8), np.array(0, np.uint8)
    for x, w in (
        (levels("uint8", 1, 4, 9, 9), levels("int8", 4, 1, 3, 3)),
        (levels("uint8", 1, 4, 12), levels("int8", 4, 1, 3)),
    ):
        given = (x, scale(), zeros[0], w, scale(4), zeros[1], scale(), zeros[2])
        check("QLinearConv", *given, group=4, dilations=[2] * (w.ndim - 2), tolerance=0)


@pytest.mark.wide_sums
def test_channels_may_lie_last():
    x, w = levels("uint8", 2, 7, 7, 4), levels("int8", 6, 4, 3, 3)
    zeros = np.array(90, np.uint8), np.zeros(6, np.int8), np.array(11, np.uint8)
    compare(
        "QLinearConv", x, scale(), zeros[0], w, scale(6), zeros[1], np.float32(0.2) * 1, zeros[2],
        channels_last=1, pads=[1, 1, 1, 1],
    )  # fmt: skip
