import numpy as np
import pytest
from quantised_nodes import compare, gradient

DRAWS = np.random.default_rng(0)
INPUTS, HIDDEN = 6, 5


def floats(*shape):
    return DRAWS.standard_normal(shape).astype(np.float32)


def levels(kind, *shape):
    return DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


@pytest.mark.wide_sums
@pytest.mark.parametrize(("kind", "zero"), [("int8", 0), ("uint8", 128)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("columns", [False, True])
def test_lstm(kind, zero, direction, columns):
    directions = 2 if direction == "bidirectional" else 1
    x = floats(4, 1, INPUTS)
    scales = [DRAWS.uniform(0.002, 0.01, (directions, 4 * HIDDEN)[: 1 + columns]).astype(np.float32) for _ in range(2)]
    zeros = [np.full(scale.shape, zero, kind) for scale in scales]
    weights = levels(kind, directions, INPUTS, 4 * HIDDEN), levels(kind, directions, HIDDEN, 4 * HIDDEN)
    optional = floats(directions, 8 * HIDDEN), None, floats(directions, 1, HIDDEN), floats(directions, 1, HIDDEN), None
    graph = compare(
        "DynamicQuantizeLSTM", x, *weights, *optional, scales[0], zeros[0], scales[1], zeros[1],
        hidden_size=HIDDEN, direction=direction, tolerance=1e-5,
    )  # fmt: skip
    assert graph.surrogates == ("DynamicQuantizeLSTM: straight-through, the scale held",)
    found = gradient(graph, x)
    assert np.isfinite(found).all()
    assert (found != 0).all()
