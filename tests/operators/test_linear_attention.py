import numpy as np
import pytest
from runtime_nodes import CONTRIB, compare

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

BATCH, TIME = 2, 5
RNG = np.random.default_rng(0)

domains = pytest.mark.parametrize("where", [{"domain": CONTRIB}, {"opset": 27, "standard": True}])


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@domains
@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("narrow", [False, True])
def test_linear_attention(where, rule, narrow):
    """Two heads of keys for four of queries; decay and rate for each head, or for each key and for all heads."""
    q, k, v = normal(BATCH, TIME, 16), normal(BATCH, TIME, 8) / 3, normal(BATCH, TIME, 6)
    decay = -np.abs(normal(BATCH, TIME, 2 if narrow else 8)) if "gated" in rule else None
    rate = np.abs(normal(BATCH, TIME, 1 if narrow else 2)) if "delta" in rule else None
    options = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule, **where}
    optional = [decay, rate]
    while optional and optional[-1] is None:
        optional.pop()
    inputs = (q, k, v, normal(BATCH, 2, 4, 3), *optional)
    compare("LinearAttention", *inputs, outputs=2, tolerance=1e-5, gradient=True, **options)
    compare("LinearAttention", q, k, v, None, *optional, outputs=2, tolerance=1e-5, scale=0.3, **options)


@domains
@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_causal_convolution(where, activation, kernel):
    x, weight = normal(BATCH, 6, TIME), normal(6, 1, kernel)
    options = {"outputs": 2, "activation": activation, "gradient": True, **where}
    compare("CausalConvWithState", x, weight, **options)
    if kernel > 1:
        compare("CausalConvWithState", x, weight, normal(6), normal(BATCH, 6, kernel - 1), **options)


def test_causal_convolution_with_gaps():
    x, weight, bias = normal(BATCH, 6, TIME), normal(6, 1, 3), normal(6)
    compare("CausalConvWithState", x, weight, bias, normal(BATCH, 6, 4), domain=CONTRIB, outputs=2, dilation=2)


@pytest.mark.parametrize(
    ("op_type", "attributes", "word"),
    [
        ("LinearAttention", {"update_rule": "other"}, "'other'"),
        ("LinearAttention", {"state_window": 2}, "state_window"),
        ("CausalConvWithState", {"activation": "relu"}, "'relu'"),
        ("CausalConvWithState", {"ndim": 2}, "ndim"),
        ("CausalConvWithState", {"channels_last": 1}, "channels_last"),
    ],
)
def test_what_is_not_covered(operators, op_type, attributes, word):
    node = Node(
        op_type=op_type,
        domain=CONTRIB,
        opset=1,
        name="n",
        inputs=("x",),
        outputs=("y",),
        attributes={"q_num_heads": 2, "kv_num_heads": 2, **attributes},
    )
    with pytest.raises(UnsupportedOperator, match=word):
        operators.find(node).build(node)
