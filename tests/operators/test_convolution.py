import numpy as np
import pytest

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE, BIAS = normal(2, 4, 7, 8), normal(6)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"pads": [1, 2, 1, 2]},
        {"pads": [0, 1, 2, 0], "strides": [2, 2]},
        {"dilations": [2, 2], "pads": [1, 1, 1, 1]},
        {"auto_pad": "VALID"},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 2]},
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_conv(check, attributes, group):
    check("Conv", IMAGE, normal(6, 4 // group, 3, 2), BIAS, group=group, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_of_each_rank(check, rank):
    x, weight = normal(2, 3, *[5] * rank), normal(4, 3, *[3] * rank)
    check("Conv", x, weight, pads=[1] * rank + [0] * rank, opset=11, gradient=True)


def test_depthwise_conv(check):
    check("Conv", IMAGE, normal(8, 1, 3, 3), normal(8), group=4, pads=[1, 1, 1, 1], gradient=True)


def test_conv_of_a_computed_weight(check):
    check("Conv", IMAGE, normal(6, 4, 3, 2), BIAS, dynamic=1, mapped=False, gradient=True)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"pads": [1, 1, 1, 1]},
        {"pads": [1, 0, 0, 1], "strides": [2, 2]},
        {"dilations": [2, 1], "strides": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID", "strides": [2, 2]},
        {"output_shape": [14, 16], "strides": [2, 2]},
        {"output_shape": [14, 16], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
)
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_conv(check, attributes, group):
    check("ConvTranspose", IMAGE, normal(4, 6 // group, 3, 3), BIAS, group=group, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_conv_of_each_rank(check, rank):
    x, weight = normal(1, 3, *[3] * rank), normal(3, 2, *[3] * rank)
    check("ConvTranspose", x, weight, strides=[2] * rank, pads=[1] * rank + [0] * rank, gradient=True)
