import numpy as np
import pytest
from quantised_nodes import compare, gradient, one_node, twin

from auditor.errors import UnsupportedOperator

DRAWS = np.random.default_rng(0)
PAIRS = [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")]


def levels(kind, *shape):
    return DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def f32(value):
    return np.array(value, np.float32)


def scales(*shape):
    return DRAWS.uniform(0.005, 0.02, shape).astype(np.float32)


@pytest.mark.wide_sums
@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("columns", [(), (6,)])
@pytest.mark.parametrize("turned", [(0, 0), (1, 0), (0, 1)])
def test_gemm(left, right, columns, turned):
    a = levels(left, *((20, 5) if turned[0] else (5, 20)))
    b = levels(right, *((6, 20) if turned[1] else (20, 6)))
    zero = np.zeros(columns, right) if right == "int8" else np.full(columns, 100, right)
    bias = DRAWS.integers(-9000, 9000, 6).astype(np.int32)
    given = a, f32(0.02), np.array(90, left), b, scales(*columns), zero, bias
    attributes = {"transA": turned[0], "transB": turned[1], "alpha": 1.5}
    graph = compare("QGemm", *given, f32(0.3), np.array(3, left), **attributes)
    assert graph.surrogates == ("QGemm: straight-through",)
    graph = compare("QGemm", *given, **attributes, tolerance=1e-6)
    assert graph.surrogates == ()


@pytest.mark.wide_sums
def test_gemm_without_a_bias():
    given = levels("uint8", 5, 20), f32(0.02), np.array(90, np.uint8), levels("int8", 20, 6), scales()
    compare("QGemm", *given, np.array(0, np.int8), None, f32(0.3), np.array(3, np.uint8))


@pytest.mark.wide_sums
@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("columns", [(), (6,)])
def test_products_that_become_floats(left, right, columns):
    a, b = levels(left, 2, 5, 20), levels(right, 20, 6)
    zero = np.zeros(columns, right) if right == "int8" else np.full(columns, 100, right)
    scale, bias = scales(*columns), DRAWS.standard_normal(6).astype(np.float32)
    compare("MatMulIntegerToFloat", a, b, f32(0.02), scale, tolerance=1e-6)
    compare("MatMulIntegerToFloat", a, b, f32(0.02), scale, np.array(90, left), zero, bias, tolerance=1e-6)


@pytest.mark.wide_sums
@pytest.mark.parametrize("columns", [(), (6,)])
def test_products_that_quantise_on_the_way(columns):
    a, b = DRAWS.standard_normal((2, 5, 20)).astype(np.float32), levels("int8", 20, 6)
    scale, bias = scales(*columns), DRAWS.standard_normal(6).astype(np.float32)
    graph = compare("DynamicQuantizeMatMul", a, b, scale, tolerance=1e-6)
    assert graph.surrogates == ("DynamicQuantizeMatMul: straight-through, the scale held",)
    expected = np.broadcast_to((b * scale).sum(1), a.shape)
    np.testing.assert_allclose(gradient(graph, a), expected, rtol=1e-4, atol=1e-5)
    compare("DynamicQuantizeMatMul", a, b, scale, np.zeros(columns, np.int8), bias, tolerance=1e-6)


@pytest.mark.wide_sums
@pytest.mark.parametrize(("right", "columns"), [("int8", ()), ("uint8", ()), ("int8", (24,))])
def test_attention(right, columns):
    x, weight = levels("uint8", 2, 5, 12), levels(right, 12, 24)
    zero = np.zeros(columns, right) if right == "int8" else np.full(columns, 100, right)
    bias = DRAWS.standard_normal(24).astype(np.float32)
    given = x, weight, bias, f32(0.01), scales(*columns)
    compare("QAttention", *given, None, np.array(90, np.uint8), zero, num_heads=2, tolerance=1e-5)
    lengths = np.array([3, 5], np.int32)
    compare("QAttention", *given, lengths, np.array(90, np.uint8), zero, num_heads=2, tolerance=1e-5)


@pytest.mark.parametrize(
    ("bits", "zeros"), [(bits, zeros) for bits in (2, 4, 8) for zeros in ("none", "packed", "floats")][:-1]
)
def test_weights_of_few_bits(bits, zeros):
    rows, columns, block = 40, 6, 16
    blocks = 3
    a = DRAWS.standard_normal((2, 5, rows)).astype(np.float32)
    packed = levels("uint8", columns, blocks, block * bits // 8)
    given = {
        "none": [],
        "packed": [levels("uint8", columns * -(-blocks * bits // 8))],
        "floats": [DRAWS.uniform(0, 3, (columns, blocks)).astype(np.float32)],
    }[zeros]
    attributes = {"K": rows, "N": columns, "bits": bits, "block_size": block}
    compare("MatMulNBits", a, packed, scales(columns * blocks), *given, **attributes, tolerance=2e-6)


def test_products_in_int8_are_refused():
    given = np.ones((2, 16), np.float32), levels("uint8", 3, 1, 8), scales(3)
    whole = one_node("MatMulNBits", given, 0, node={"K": 16, "N": 3, "bits": 4, "block_size": 16, "accuracy_level": 4})
    with pytest.raises(UnsupportedOperator, match="products in int8"):
        twin(whole)
