import numpy as np
import pytest
import torch
import torch.nn.functional as F
from runtime_nodes import CONTRIB, compare, compare_optimised, network, one_node, twin

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

RNG = np.random.default_rng(0)
PARAMETERS = {
    "LeakyRelu": [0.2],
    "HardSigmoid": [0.3, 0.4],
    "Clip": [-0.5, 0.6],
    "Elu": [0.7],
    "ThresholdedRelu": [0.3],
}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(op_type, *inputs, **options):
    compare(op_type, *inputs, domain=CONTRIB, **{"gradient": True, "tolerance": 5e-6, **options})


@pytest.mark.parametrize(
    "name",
    ["", "Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "HardSigmoid", "Clip"],
    ids=lambda name: name or "-",
)
def test_fused_convolution(name):
    x, weight, bias = normal(2, 4, 7, 7), normal(6, 4, 3, 3) / 3, normal(6)
    options = {"activation": name} if name else {}
    options |= {"activation_params": PARAMETERS[name]} if name in PARAMETERS else {}
    check("FusedConv", x, weight, bias, pads=[1, 1, 1, 1], strides=[2, 2], mapped=False, **options)
    check("FusedConv", x, weight, bias, normal(2, 6, 5, 5), mapped=False, **options)


@pytest.mark.parametrize(
    "name",
    ["Relu", "Sigmoid", "Tanh", "Softsign", "Softplus", "LeakyRelu", "HardSigmoid", "Elu", "ThresholdedRelu", "Selu"],
)
def test_fused_gemm(name):
    options = dict(zip(("activation_alpha", "activation_beta"), PARAMETERS.get(name, ()), strict=False))
    if name == "Selu":
        options = {"activation_alpha": 1.2, "activation_gamma": 1.1}
    check("FusedGemm", normal(3, 4), normal(4, 5), normal(5), activation=name, **options)
    check("FusedGemm", normal(4, 3), normal(5, 4), transA=1, transB=1, alpha=0.5, activation=name, **options)


@pytest.mark.parametrize("last", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("batch", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(last, batch):
    def stored(x, across, first):
        x = x.swapaxes(-1, -2) if across else x
        return np.ascontiguousarray(np.moveaxis(x, -2, 0) if first else x)

    a, b = stored(normal(2, 3, 4, 5), last[0], batch[0]), stored(normal(2, 3, 5, 6), last[1], batch[1])
    options = {"transA": last[0], "transB": last[1], "transBatchA": batch[0], "transBatchB": batch[1]}
    check("FusedMatMul", a, b, alpha=0.5, **options)


def test_matmul_of_vectors_and_by_its_older_name():
    check("FusedMatMul", normal(5), normal(5, 6), transA=1)
    check("FusedMatMul", normal(4, 5), normal(5), transB=1)
    check("TransposeMatMul", normal(5, 4), normal(5, 6), transA=1, alpha=2.0)


def test_gelus():
    x, bias = normal(3, 5), normal(5)
    check("Gelu", x)
    check("FastGelu", x)
    check("FastGelu", x, bias)
    check("QuickGelu", x)
    check("QuickGelu", x, alpha=1.0)
    check("BiasGelu", x, bias)


def test_sums_that_only_a_gpu_fuses():
    """The runtime has no kernel for the CPU; these are its formulas."""
    x, bias, skip = normal(2, 3, 8), normal(8), normal(2, 3, 8)
    (found,) = twin(one_node("BiasAdd", (x, bias, skip), ["y"], CONTRIB, 17))(*map(torch.from_numpy, (x, bias, skip)))
    np.testing.assert_allclose(found, x + bias + skip)
    (found,) = twin(one_node("BiasSplitGelu", (x, bias), ["y"], CONTRIB, 17))(*map(torch.from_numpy, (x, bias)))
    left, right = torch.from_numpy(x + bias).split(4, -1)
    torch.testing.assert_close(found, left * F.gelu(right))


def test_transposed_convolution_of_dynamic_pads():
    pads = np.array([1, 0, 1, 1])
    inputs = normal(1, 3, 4, 4), normal(3, 2, 3, 3), pads, normal(2)
    check("ConvTransposeWithDynamicPads", *inputs, strides=[2, 2], output_padding=[1, 0], mapped=False)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_max_pool_of_last_channels(kind):
    x = RNG.integers(0, 100, (2, 6, 7, 3)).astype(kind)
    check("NhwcMaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], mapped=False, gradient=False)
    check("NhwcMaxPool", x, kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2], mapped=False, gradient=False)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances(metric):
    check("CDist", normal(4, 5), normal(3, 5), metric=metric)


def test_inverse():
    check("Inverse", normal(2, 3, 3) + 2 * np.eye(3, dtype=np.float32), tolerance=1e-5)


@pytest.mark.parametrize(
    ("op_type", "attributes", "word"),
    [
        ("FusedConv", {"activation": "Cosh"}, "'Cosh'"),
        ("FusedConv", {"activation": "Clip", "activation_params": (0.0,)}, "'Clip' with parameters"),
        ("FusedGemm", {"activation": "LeakyRelu"}, "'LeakyRelu' with parameters"),
        ("CDist", {"metric": "cosine"}, "'cosine'"),
    ],
)
def test_what_is_not_covered(operators, op_type, attributes, word):
    node = Node(
        op_type=op_type,
        domain=CONTRIB,
        opset=1,
        name="n",
        inputs=("x", "w"),
        outputs=("y",),
        attributes=attributes,
    )
    with pytest.raises(UnsupportedOperator, match=word):
        operators.find(node).build(node)


DENSE = """
dense (float[n, 12] x) => (float[n, 8] y)
{
    h = Gemm (x, w1, b1)
    r = Relu (h)
    z = Gemm (r, w2, b2)
    mean = ReduceMean <axes = [-1]> (z)
    centred = Sub (z, mean)
    square = Pow (centred, two)
    variance = ReduceMean <axes = [-1]> (square)
    shifted = Add (variance, epsilon)
    deviation = Sqrt (shifted)
    standard = Div (centred, deviation)
    scaled = Mul (standard, scale)
    n1 = Add (scaled, shift)
    part = Div (n1, root)
    erf = Erf (part)
    more = Add (erf, one)
    product = Mul (n1, more)
    gelu = Mul (product, half)
    across = Transpose <perm = [1, 0]> (w3)
    m = MatMul (gelu, across)
    y = Mul (m, half)
}
"""
"""Products with activations, and a layer norm and a Gelu spelt out, as exporters wrote them."""


@pytest.mark.parametrize("level", ["EXTENDED", "ALL"])
@pytest.mark.parametrize("opset", [13, 17])
def test_a_file_saved_after_the_optimisation_of_the_runtime(tmp_path, level, opset):
    scalars = {"two": 2.0, "epsilon": 1e-5, "root": 2**0.5, "one": 1.0, "half": 0.5}
    weights = {name: np.array(value, np.float32) for name, value in scalars.items()}
    weights |= {"w1": normal(12, 16), "b1": normal(16), "w2": normal(16, 8), "b2": normal(8)}
    weights |= {"scale": normal(8), "shift": normal(8), "w3": normal(8, 8)}
    operators = compare_optimised(network(DENSE, weights, opset), level, tmp_path, normal(3, 12))
    assert {"com.microsoft:FusedGemm", ":LayerNormalization", "com.microsoft:Gelu"} <= operators
