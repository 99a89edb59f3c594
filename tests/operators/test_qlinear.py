import numpy as np
import pytest
import torch
from onnx import helper
from quantised_nodes import CONTRIB, compare, gradient, model, runtime, twin

DRAWS = np.random.default_rng(0)
KINDS = ["uint8", "int8"]


def levels(kind, *shape):
    return DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def f32(value):
    return np.array(value, np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 5, 1), (7,), ()])
def test_sums_and_products(op_type, kind, shape):
    a, b = levels(kind, 2, 5, 7), levels(kind, *shape)
    graph = compare(
        op_type, a, f32(0.0317), np.array(5, kind), b, f32(0.0173), np.array(9, kind), f32(0.0519), np.array(3, kind)
    )
    assert graph.surrogates == (f"{op_type}: straight-through",)


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_ties_are_rounded_as_the_runtime_does(op_type):
    a, b = levels("uint8", 64, 16), levels("uint8", 64, 16) // 16
    compare(
        op_type, a, f32(0.5), np.array(5, np.uint8), b, f32(0.25), np.array(9, np.uint8), f32(1), np.array(3, np.uint8)
    )


def test_the_gradient_of_a_sum_is_the_ratio_of_scales_inside_and_zero_where_saturated():
    a, b = levels("uint8", 6, 7), levels("uint8", 6, 7)
    zero = np.array(0, np.uint8)
    graph = compare("QLinearAdd", a, f32(0.03), zero, b, f32(0.02), zero, f32(0.025), zero)
    inside = (a * 0.03 + b * 0.02) / 0.025 <= 255
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_allclose(gradient(graph, a), inside * 0.03 / 0.025, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_activations(kind):
    x = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind).reshape(4, 64)
    low = np.array(np.iinfo(kind).min, kind)
    compare("QLinearSigmoid", x, f32(0.04), np.array(100, kind), f32(1 / 256), low)
    compare("QLinearLeakyRelu", x, f32(0.04), np.array(100, kind), f32(0.02), np.array(20, kind), alpha=0.1)


def test_the_gradient_of_an_activation_is_its_derivative_at_what_the_level_stands_for():
    x = np.arange(256).astype(np.uint8)
    graph = compare("QLinearSigmoid", x, f32(0.04), np.array(100, np.uint8), f32(1 / 256), np.array(0, np.uint8))
    s = 1 / (1 + np.exp(-(x - 100.0) * 0.04))
    expected = np.where(s * 256 <= 255.5, s * (1 - s) * 0.04 * 256, 0)
    np.testing.assert_allclose(gradient(graph, x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("axis", "opset"), [(-1, 13), (1, 13), (1, 12)])
@pytest.mark.parametrize("y_scale", [1 / 256, 1 / 255, 0.01])
def test_softmax(kind, axis, opset, y_scale):
    x, low = levels(kind, 3, 5, 6), np.array(np.iinfo(kind).min, kind)
    compare("QLinearSoftmax", x, f32(0.05), np.array(7, kind), f32(y_scale), low, axis=axis, opset=opset)


@pytest.mark.parametrize("kind", KINDS)
def test_concatenation(kind):
    a, b = levels(kind, 2, 3, 4), levels(kind, 2, 5, 4)
    first, second = (f32(0.1), np.array(3, kind)), (f32(0.07), np.array(0, kind))
    compare("QLinearConcat", *first, a, *second, b, *first, dynamic=2, axis=1)


def test_choice():
    a, b = levels("uint8", 4, 5), levels("uint8", 1, 5)
    condition = DRAWS.random((4, 5)) < 0.5
    zeros = [np.array(value, np.uint8) for value in (3, 0, 9)]
    node = helper.make_node("QLinearWhere", ["c", "a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"], domain=CONTRIB)
    values = {"a": a, "as": f32(0.1), "az": zeros[0], "b": b, "bs": f32(0.07), "bz": zeros[1], "ys": f32(0.08)}
    whole = model([node], {**values, "yz": zeros[2], "c": condition}, "a", 17)
    assert np.array_equal(twin(whole)(torch.from_numpy(a)).numpy(), runtime(whole, a)[0])
