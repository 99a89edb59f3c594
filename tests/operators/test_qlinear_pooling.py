import numpy as np
import pytest
from quantised_nodes import compare, gradient

from auditor.errors import UnsupportedOperator

DRAWS = np.random.default_rng(0)


def levels(kind, *shape):
    return DRAWS.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def f32(value):
    return np.array(value, np.float32)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("scales", [(0.03, 0.05), (0.0371, 0.0371)])
@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 1, 1, 1]}, {"pads": [1, 0, 1, 0], "count_include_pad": 1}])
def test_means_of_windows(kind, scales, attributes):
    x = levels(kind, 2, 3, 9, 9)
    given = f32(scales[0]), np.array(5, kind), f32(scales[1]), np.array(9, kind)
    compare("QLinearAveragePool", x, *given, kernel_shape=[3, 3], strides=[2, 2], **attributes)
    compare("QLinearAveragePool", x, *given, kernel_shape=[2, 2], **attributes, steps=1)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_means_of_everything(kind):
    x = levels(kind, 2, 3, 7, 7)
    graph = compare("QLinearGlobalAveragePool", x, f32(0.03), np.array(5, kind), f32(0.004), np.array(9, kind))
    assert graph.surrogates == ("QLinearGlobalAveragePool: straight-through",)
    compare("QLinearGlobalAveragePool", x[..., :2, :2], f32(0.03), np.array(5, kind), f32(0.03), np.array(9, kind))


def test_channels_may_lie_last():
    x = levels("uint8", 2, 7, 7, 3)
    given = f32(0.03), np.array(5, np.uint8), f32(0.02), np.array(9, np.uint8)
    compare("QLinearGlobalAveragePool", x, *given, channels_last=1)
    compare("QLinearAveragePool", x, *given, channels_last=1, kernel_shape=[3, 3])


def test_the_gradient_of_a_mean_is_spread_evenly():
    x = levels("uint8", 1, 2, 4, 4)
    zero = np.array(0, np.uint8)
    graph = compare("QLinearGlobalAveragePool", x, f32(0.03), zero, f32(0.06), zero)
    np.testing.assert_allclose(gradient(graph, x), np.full(x.shape, 0.5 / 16), rtol=1e-5)


def test_ceil_mode_that_counts_padding_is_refused():
    x, zero = levels("uint8", 1, 2, 5, 5), np.array(0, np.uint8)
    given = x, f32(1), zero, f32(0.5), zero
    compare("QLinearAveragePool", *given, kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1)
    with pytest.raises(UnsupportedOperator, match="count_include_pad"):
        compare("QLinearAveragePool", *given, kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1, count_include_pad=1)
