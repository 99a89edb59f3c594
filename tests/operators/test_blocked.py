import numpy as np
import pytest
import torch
from auditor.plugins.operators import blocked
from runtime_nodes import compare_optimised, network

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)

lacking = pytest.mark.skipif(not blocked.block_size(), reason="this machine's runtime has no blocked layout")

IMAGES = """
images (float[n, 3, 16, 16] x) => (float[n, 10] y)
{
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    a1 = Relu (a)
    b = Conv <pads = [1, 1, 1, 1]> (a1, w2, b2)
    sum = Add (b, a1)
    c = Relu (sum)
    d = Conv <pads = [1, 1, 1, 1], group = 16> (c, w3, b3)
    d1 = Clip (d, low, high)
    e = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (d1)
    f = Conv <strides = [2, 2]> (e, w4, b4)
    f1 = LeakyRelu <alpha = 0.1> (f)
    g = AveragePool <kernel_shape = [2, 2]> (f1)
    h = Conv <group = 2> (g, w5)
    pooled = GLOBAL (h)
    flat = Flatten (pooled)
    y = Gemm (flat, w6, b6)
}
"""
"""Three channels and 40, a sum, a depthwise convolution, two groups, and pools."""
WIDER = """
wider (float[n, 20, 5, 6] x) => (float[n, 16, 10, 18] y)
{
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    p = MaxPool <kernel_shape = [1, 1]> (a)
    u = Resize <mode = "MODE", coordinate_transformation_mode = "WHERE", nearest_mode = "floor"> (p, , scales)
    c = Concat <axis = 1> (u, u)
    d = Conv (c, w2)
    y = Sigmoid (d)
}
"""


def normal(*shape):
    return (RNG.standard_normal(shape) / max(np.prod(shape[1:]), 1) ** 0.5).astype(np.float32)


@lacking
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_a_file_saved_at_the_highest_level(tmp_path, pool):
    weights = {
        "w1": normal(16, 3, 3, 3),
        "w2": normal(16, 16, 3, 3),
        "w3": normal(16, 1, 3, 3),
        "w4": normal(40, 16, 3, 3),
        "w5": normal(64, 20, 1, 1),
        "w6": normal(64, 10),
    } | {f"b{i}": normal(n) for i, n in ((1, 16), (2, 16), (3, 16), (4, 40), (6, 10))}
    weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    operators = compare_optimised(network(IMAGES.replace("GLOBAL", pool), weights), "ALL", tmp_path, 3 * x)
    assert {f"{blocked.DOMAIN}:{name}" for name in ("Conv", "MaxPool", "ReorderOutput")} <= operators


@lacking
@pytest.mark.parametrize(
    ("mode", "where"),
    [("nearest", "asymmetric"), ("linear", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")],
)
def test_images_that_grow(tmp_path, mode, where):
    weights = {"w1": normal(32, 20, 3, 3), "w2": normal(16, 64, 1, 1), "scales": np.array([1, 1, 2, 3], np.float32)}
    model = network(WIDER.replace("MODE", mode).replace("WHERE", where), weights)
    x = RNG.standard_normal((2, 20, 5, 6)).astype(np.float32)
    operators = compare_optimised(model, "ALL", tmp_path, x)
    assert {f"{blocked.DOMAIN}:{name}" for name in ("ReorderInput", "Upsample")} <= operators


@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (16, 8, 3, 3), (32, 24, 1, 2)])
def test_blocks_of_weights_are_put_together_again(shape):
    weight, block = torch.arange(float(np.prod(shape))).reshape(shape), 8
    out, into, *kernel = shape
    if into < block:
        stored = weight.reshape(out // block, block, into, *kernel).permute(0, 2, 3, 4, 1)
    else:
        stored = weight.reshape(out // block, block, into // block, block, *kernel).permute(0, 2, 4, 5, 3, 1)
    torch.testing.assert_close(blocked.unblocked(stored.reshape(shape), block), weight)


def test_weights_of_no_whole_blocks_are_an_error():
    with pytest.raises(ValueError, match="does not consist of blocks of 8"):
        blocked.unblocked(torch.zeros(12, 8, 1, 1), 8)


def test_a_machine_without_blocks_is_not_covered(operators, monkeypatch):
    monkeypatch.setattr(blocked, "block_size", lambda: 0)
    node = Node(
        op_type="Conv", domain=blocked.DOMAIN, opset=1, name="n", inputs=("x", "w"), outputs=("y",), attributes={}
    )
    with pytest.raises(UnsupportedOperator, match="no blocked layout"):
        operators.find(node).build(node)
