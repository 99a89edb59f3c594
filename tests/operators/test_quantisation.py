import ml_dtypes
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from quantised_nodes import gradient, model, runtime, twin

from auditor.errors import UnsupportedOperator

DRAWS = np.random.default_rng(0)
X = (DRAWS.standard_normal((2, 4, 5)) * 20).astype(np.float32)
TIES = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9, np.inf, -np.inf], np.float32)
HALF = np.array(0.5, np.float32)
SCALES = np.array([0.1, 0.2, 0.03, 1.7], np.float32)
NAMES = ["int8", "uint8", "int16", "uint16"]


def roundtrip(x, zero, opset=21, scale=HALF, **attributes):
    """A model that quantises and takes back, for types that no array of the runtime can hold."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node(
            "DequantizeLinear", ["q", "s", "z"], ["y"], **{k: v for k, v in attributes.items() if k != "saturate"}
        ),
    ]
    return model(nodes, {"x": x, "s": scale, "z": zero}, "x", opset)


@pytest.mark.parametrize("kind", NAMES)
def test_a_tensor_has_one_scale(check, kind):
    graph = check("QuantizeLinear", TIES, HALF, np.array(3, kind), opset=21)
    assert graph.surrogates == ("QuantizeLinear: straight-through",)


def test_a_scale_of_one_entry_is_that_of_the_tensor(check):
    check("QuantizeLinear", X, HALF[None], np.array([3], np.uint8), opset=13)
    check("QuantizeLinear", X, HALF, np.array(3, np.uint8), opset=10)


def test_without_a_zero_point_levels_are_bytes_or_what_an_attribute_says(check):
    check("QuantizeLinear", X, HALF)
    check("QuantizeLinear", X, HALF, opset=21, output_dtype=TensorProto.INT16)


@pytest.mark.parametrize("axis", [1, -2])
def test_an_axis_has_a_scale_for_each_entry(check, axis):
    zeros = np.array([0, 1, -7, 100], np.int8)
    check("QuantizeLinear", X, SCALES, zeros, axis=axis)
    check("DequantizeLinear", DRAWS.integers(-128, 128, (2, 4, 5)).astype(np.int8), SCALES, zeros, axis=axis)


def test_blocks_of_an_axis_have_scales_of_their_own(check):
    scales = DRAWS.uniform(0.1, 2, (2, 4, 3)).astype(np.float32)
    zeros = DRAWS.integers(0, 255, (2, 4, 3)).astype(np.uint8)
    check("QuantizeLinear", X, scales, zeros, opset=21, axis=2, block_size=2, mapped=False)
    levels = DRAWS.integers(0, 255, X.shape).astype(np.uint8)
    check("DequantizeLinear", levels, scales, zeros, opset=21, axis=2, block_size=2, mapped=False)


@pytest.mark.parametrize("kind", NAMES)
def test_levels_stand_for_floats(check, kind):
    levels = DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, (2, 4, 5), endpoint=True).astype(kind)
    if kind == "uint16":
        levels = levels // 2  # the fixture hands the runtime's array to torch, which lacks most of uint16
    check("DequantizeLinear", levels, np.array(0.013, np.float32), np.array(5, kind), opset=21, mapped=kind != "uint16")


def test_so_do_whole_numbers_of_four_bytes(check):
    check("DequantizeLinear", DRAWS.integers(-(2**30), 2**30, (2, 4)).astype(np.int32), HALF)


@pytest.mark.parametrize(
    "kind", ["int4", "uint4", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
)
def test_types_of_few_bits(kind):
    x = np.concatenate([TIES, X.ravel() / 8]).astype(np.float32)
    whole = roundtrip(x, np.zeros((), getattr(ml_dtypes, kind)))
    graph = twin(whole)
    assert np.array_equal(graph(torch.from_numpy(x)).numpy(), runtime(whole, x)[0])
    assert gradient(graph, x)[:7].tolist() == [1, 1, 1, 1, float(kind != "uint4"), 0, 0]


def test_a_float_of_eight_bits_that_does_not_saturate_is_nan():
    x = np.array([1.3, 224, 260, -1e9], np.float32)
    whole = roundtrip(x, np.zeros((), ml_dtypes.float8_e4m3fn), saturate=0)
    assert np.array_equal(twin(whole)(torch.from_numpy(x)).numpy(), runtime(whole, x)[0], equal_nan=True)


def test_a_byte_may_be_taken_back_by_the_runtime_s_own_operators():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain="com.microsoft"),
    ]
    whole = model(nodes, {"x": X, "s": HALF, "z": np.array(9, np.uint8)}, "x", 17)
    assert np.array_equal(twin(whole)(torch.from_numpy(X)).numpy(), runtime(whole, X)[0])


def test_a_type_that_nothing_states_is_refused():
    nodes = [
        helper.make_node("Unknown", ["z0"], ["z"], domain="com.microsoft"),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"]),
    ]
    whole = model(nodes, {"x": X, "s": HALF, "z0": np.array(9, np.uint8)}, "x", 17)
    from quantised_nodes import OPERATORS

    from auditor.program import read_program

    program = read_program(whole, OPERATORS)
    with pytest.raises(UnsupportedOperator, match="zero point whose type"):
        OPERATORS.find(program.nodes[1]).build(program.nodes[1])


def test_the_gradient_is_that_of_the_quotient_inside_and_zero_where_saturated(check):
    graph = check("QuantizeLinear", np.array([-1, 0.1, 60, 127.4, 127.8], np.float32), HALF, np.array(0, np.uint8))
    found = gradient(graph, np.array([-1, 0.1, 60, 127.4, 127.8], np.float32))
    assert found.tolist() == [0, 2, 2, 2, 0]


def test_quantised_and_taken_back_the_gradient_is_one_inside():
    whole = roundtrip(X, np.array(100, np.uint8))
    graph = twin(whole)
    inside = (X >= -50) & (X <= 77.5)
    assert np.array_equal(gradient(graph, X), inside.astype(np.float32))


@pytest.mark.parametrize("x", [X, np.abs(X), -np.abs(X), np.zeros_like(X), np.full((2, 3), 7.0, np.float32)])
def test_a_range_is_measured(check, x):
    check("DynamicQuantizeLinear", x, outputs=3)


def test_the_measured_scale_has_no_gradient():
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = twin(model(nodes, {"x": X}, "x", 17))
    assert graph.surrogates == ("DynamicQuantizeLinear: straight-through, the scale held",)
    np.testing.assert_allclose(gradient(graph, X), np.ones_like(X), rtol=1e-6)
