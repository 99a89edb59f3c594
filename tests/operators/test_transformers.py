import numpy as np
import pytest
import torch
import torch.nn.functional as F
from runtime_nodes import CONTRIB, compare, one_node, twin

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

BATCH, TIME, WIDTH = 2, 5, 16
RNG = np.random.default_rng(0)
X, SCALE, SHIFT, BIAS = (RNG.standard_normal(s).astype(np.float32) for s in ((BATCH, TIME, WIDTH), WIDTH, WIDTH, WIDTH))


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(op_type, *inputs, **options):
    compare(op_type, *inputs, **{"tolerance": 5e-6, "gradient": True, **options})


def test_layer_norms_before_onnx_had_them():
    check("LayerNormalization", X, SCALE, SHIFT, opset=13, epsilon=0.1)
    check("LayerNormalization", X, normal(TIME, WIDTH), opset=11, axis=1)
    check("SimplifiedLayerNormalization", X, SCALE, opset=13, epsilon=0.1)
    check("SimplifiedLayerNormalization", X, normal(TIME, WIDTH), opset=17, axis=1)


@pytest.mark.parametrize("shape", [(BATCH, TIME, WIDTH), (1, TIME, WIDTH), (TIME, WIDTH)])
def test_norms_of_sums(shape):
    options = {"domain": CONTRIB, "outputs": ["y", "", "", "sum"], "epsilon": 0.01}
    skip = normal(*shape)
    check("SkipLayerNormalization", X, skip, SCALE, SHIFT, BIAS, **options)
    check("SkipLayerNormalization", X, skip, SCALE, **options)
    check("SkipLayerNormalization", X, skip, SCALE, None, BIAS, **options)
    check("SkipSimplifiedLayerNormalization", X, skip, SCALE, BIAS, **options)
    check("SkipSimplifiedLayerNormalization", X, skip, SCALE, **options)


def test_norms_of_embeddings():
    words, positions = RNG.integers(0, 9, (BATCH, TIME), np.int32), RNG.integers(0, 7, (BATCH, TIME), np.int32)
    segments = RNG.integers(0, 2, (BATCH, TIME), np.int32)
    mask = np.array([[1, 1, 1, 0, 0], [2, 1, 0, 1, 0]], np.int32)
    tables, norm = (normal(9, WIDTH), normal(7, WIDTH)), (SCALE, SHIFT)
    options = {"domain": CONTRIB, "outputs": 3, "epsilon": 1e-3}
    check("EmbedLayerNormalization", words, segments, *tables, normal(2, WIDTH), *norm, mask, **options)
    check("EmbedLayerNormalization", words, None, *tables, None, *norm, None, positions, **options)
    check("EmbedLayerNormalization", words, None, *tables, None, *norm, None, positions[:1], **options)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("active", [0, 1])
def test_group_norms(last, active):
    """The runtime has no kernel for the CPU; torch's group norm is the same formula."""
    x, skip, scale, shift, bias = normal(2, 4, 3, 5), normal(2, 4), normal(4), normal(4), normal(4)
    total = x + skip[..., None, None] + bias[:, None, None]
    attributes = {"groups": 2, "channels_last": last, "activation": active, "epsilon": 0.1}

    def expected(value):
        y = F.group_norm(torch.from_numpy(value), 2, torch.from_numpy(scale), torch.from_numpy(shift), 0.1)
        y = F.silu(y) if active else y
        return y.movedim(1, -1) if last else y

    stored = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
    inputs = stored, scale, shift
    (y,) = twin(one_node("GroupNorm", inputs, ["y"], CONTRIB, 17, **attributes))(*map(torch.from_numpy, inputs))
    torch.testing.assert_close(y, expected(x))
    inputs = stored, scale, shift, skip, bias
    graph = twin(one_node("SkipGroupNorm", inputs, ["y", "sum"], CONTRIB, 17, **attributes))
    y, found = graph(*map(torch.from_numpy, inputs))
    torch.testing.assert_close(y, expected(total))
    np.testing.assert_allclose(found, np.moveaxis(total, 1, -1) if last else total, atol=1e-6)


@pytest.mark.parametrize("op_type", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_statistics_are_not_covered(operators, op_type):
    node = Node(
        op_type=op_type,
        domain=CONTRIB,
        opset=1,
        name="n",
        inputs=("x", "s", "g"),
        outputs=("y", "mean"),
        attributes={},
    )
    with pytest.raises(UnsupportedOperator, match="mean and inverse deviation"):
        operators.find(node).build(node)
